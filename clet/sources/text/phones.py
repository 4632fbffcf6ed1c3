"""Phone numbers: with a country code (E.164), in the North American form, or where a word says that it is one.

`+` and an assigned code, 9 to 15 digits; (NXX) NXX-XXXX and NXX-NXX-XXXX or with dots; any 7 to 15 digits behind
`Tel.`, `Fax:`, `call` and the like. Times, dates and coordinates look much the same and are told apart by their form.
Counted numbers (12345678) are left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clet.sources.text.finds import Find, stands_free
from clet.sources.text.registries import CALLING_CODES

SEPARATORS = " ().-/\u00a0\u2010\u2011\u2012\u2013"
WITHOUT_SEPARATORS = str.maketrans("", "", SEPARATORS)

_INTERNATIONAL = re.compile(r"\+[0-9]{1,15}(?:[ ().\-/\u00a0\u2010-\u2013]{1,3}[0-9]{1,10}){0,6}")
_LAST_GROUP = re.compile(r"[ ().\-/\u00a0\u2010-\u2013]+[0-9]+\Z")
# +471551-1014640 is a place, +20200123-1 a version, +35236450.6 a number.
_NO_PHONE = re.compile(r"\+[0-9]{4,}[-./][0-9]+\Z|\+(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_SINGLE = re.compile(r"(?<![0-9])[0-9](?![0-9])")  # many of them are a table
_DECIMALS = re.compile(r"[.,][0-9]")
_NANP_DIGITS = re.compile(r"1[2-9][0-9]{2}[2-9][0-9]{6}\Z")
_NANP = re.compile(
    r"(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|(?<![\w/+])(?<![0-9][.-])(?:1[ .-])?[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1[0-9]{4})(?![.-]?\w)"
)
_LABEL = re.compile(
    r"(?<![\w-])(?:tel(?:efon|efono|ephone)?|t\u00e9l(?:\u00e9phone)?|phone(?:number)?|fax|mobil|mobile|cell|handy"
    r"|whatsapp|hotline|call(?: us)?(?: at| on)?|ph[.:])(?:[ .]{0,2}(?:no|nr|number|#))?[^\w\n+(]{0,4}\(?\Z",
    re.IGNORECASE,
)
_NATIONAL = re.compile(r"[0-9 ().\-/\u00a0\u2010-\u2013]+")
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-/.][01]?[0-9][-/.][0-3]?[0-9]"
    r"|[0-3]?[0-9][-/.][01]?[0-9][-/.](?:19|20)?[0-9]{2}(?![0-9])"
)
_GOES_ON = re.compile(r"[.-]?\w")  # 1-800-LETTERS


def find_phones(text: str, start: int, end: int) -> Iterator[Find]:
    """The phone numbers in a run of digits and separators; what stands before it may be `+` or `(`."""
    before = text[max(0, start - 2) : start].rstrip("(")
    if before.endswith("+"):
        yield from _international(text, text.rindex("+", 0, start), end)
    for match in _NANP.finditer(text, max(0, start - 2), min(len(text), end + 2)):
        if not _is_example(match[0].translate(WITHOUT_SEPARATORS)) and stands_free(text, *match.span()):
            yield Find(*match.span(), "phone", "<phone>")
    if _LABEL.search(text, max(0, start - 24), start) and not _DATE.match(text, start, end):
        yield from _labelled(text, start, end)


def _international(text: str, start: int, end: int) -> Iterator[Find]:
    match = _INTERNATIONAL.match(text, start, end)
    before = text[start - 1 : start]
    if match is None or _NO_PHONE.match(match[0]) or len(_SINGLE.findall(match[0])) > 2:
        return
    shown = match[0]
    if shown[1:].isdigit() and (not before or before in "\n)]" or before.isalpha() or len(shown) > 14):
        return  # an added line of a patch, a sum, a time
    code = _calling_code(shown[1:].translate(WITHOUT_SEPARATORS))
    most = 11 if code == "1" else 15
    while len(digits := shown[1:].translate(WITHOUT_SEPARATORS)) > most and (rest := _LAST_GROUP.search(shown)):
        shown = shown[: rest.start()]
    whole = _NANP_DIGITS.match(digits) if code == "1" else code is not None and 9 <= len(digits) <= 15
    end = start + len(shown)
    if whole and not _is_example(digits) and not _DECIMALS.match(text, end) and stands_free(text, start, end):
        yield Find(start, end, "phone", "<phone>")


def _calling_code(digits: str) -> str | None:
    """The country calling code that a number in international form begins with."""
    return next((digits[:length] for length in (1, 2, 3) if digits[:length] in CALLING_CODES), None)


def _is_example(digits: str) -> bool:
    """Whether a number belongs to nobody: digits counted up."""
    return "12345678" in digits


def _labelled(text: str, start: int, end: int) -> Iterator[Find]:
    match = _NATIONAL.match(text, start, end)
    shown = match[0].partition("  ")[0].rstrip(SEPARATORS)
    digits, end = shown.translate(WITHOUT_SEPARATORS), start + len(shown)
    if _GOES_ON.match(text, end) or (digits == shown and text.endswith('": ', 0, start)):
        return  # the second is a number of JSON
    if 7 <= len(digits) <= 15 and not _is_example(digits) and stands_free(text, start, end):
        yield Find(start, end, "phone", "<phone>")
