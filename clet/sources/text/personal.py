"""Numbers and addresses that lead to a person, by their own rules.

E-mail addresses (RFC 5321, ASCII and international), phone numbers (E.164 with a country code; North American ones;
others where a word like `Tel.` stands before them), public IPv4 and IPv6 addresses, payment cards (ISO/IEC 7812:
issuer ranges, Luhn), IBANs (ISO 13616: length by country, mod 97), US social security numbers (SSA's ranges), and
passport numbers that are called so. What is set aside for examples (example.com, 555-01xx, documentation networks) is
left. Names and postal addresses are not found.

E-mail starts at `@`; all numbers at one scan for runs of digits and separators. Each candidate is bounded, so time is
linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from clet.sources.text.finds import Find, stands_free
from clet.sources.text.registries import CALLING_CODES, IBAN_LENGTHS, TOP_LEVEL

_DOMAIN = re.compile(r"@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8})([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w@]|[.-]\w)")
_LOCAL_REVERSED = re.compile(r"[\w.+%-]{1,65}")
_RESERVED_DOMAIN = re.compile(r"(?:\A|\.)example\.(?:com|net|org|edu)\Z|\.(?:example|test|invalid|localhost)\Z")
_USERINFO = re.compile(r"//[^\s/@]{0,80}\Z")

# Of the text in classes: 0 for a digit, A for a capital, `.`, `-` for what else stands between digits, `:`.
_CLASSES = bytes(
    ord("0")
    if byte in b"0123456789"
    else ord("A")
    if byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    else ord("-")
    if byte in b" ()-/?"  # `?` stands for all that is not ASCII, no-break spaces and dashes among it
    else byte
    if byte in b".:"
    else ord(" ")
    for byte in range(256)
)
_RUN = re.compile(rb"0[0.-]{5,}")
_INTERNATIONAL = re.compile(r"\+[0-9]{1,15}(?:[ ().\-/\u00a0\u2010-\u2013]{1,3}[0-9]{1,10}){0,6}")
_LAST_GROUP = re.compile(r"[ ().\-/\u00a0\u2010-\u2013]+[0-9]+\Z")
_DECIMAL = re.compile(r"\+[0-9]{4,}\.[0-9]+\Z")
_NANP_DIGITS = re.compile(r"1[2-9][0-9]{2}[2-9][0-9]{6}\Z")
_NANP = re.compile(
    r"(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|(?<![\w/+])(?<![0-9][.-])(?:1[ .-])?[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1[0-9]{4})(?![.-]?\w)"
)
_LABEL = re.compile(
    r"\b(?:tel(?:efon|efono|ephone)?|t\u00e9l(?:\u00e9phone)?|phone|ph|fax|mobil|mobile|cell|handy|whatsapp|hotline"
    r"|call(?: us)?(?: at| on)?)(?:[ .]{0,2}(?:no|nr|number|#))?[^\w\n+(]{0,4}\(?\Z",
    re.IGNORECASE,
)
_NATIONAL = re.compile(r"[0-9 ().\-/\u00a0\u2010-\u2013]+")
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-/.][01]?[0-9][-/.][0-3]?[0-9]"
    r"|[0-3]?[0-9][-/.][01]?[0-9][-/.](?:19|20)?[0-9]{2}(?![0-9])"
)
_GOES_ON = re.compile(r"[.-]?\w")
_CARD = re.compile(
    r"(?<![\w.,+-])(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?"
    r"|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![\w]|[.,-]?[0-9])"
)
_CARD_LABEL = re.compile(r"\b(?:card|visa|mastercard|amex|diners|maestro|unionpay|pan)\b[^\n]*\Z", re.IGNORECASE)
_SSN = re.compile(r"(?<![\w.+/-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![.-]?\w)")
_IPV4 = re.compile(r"(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?\w|-\w)")
_VERSION = re.compile(
    r"(?:\b(?:v|ver|vers|version|release|rev|section|sec|chapter|clause|rfc|oid|build|firmware|update|patch)s?\.?"
    r"[ :=#]{0,3}|[<>=~!^]= ?|[A-Za-z]/|\u00a7 ?)\Z",
    re.IGNORECASE,
)
_HOST_WORD = re.compile(
    r"(?:\bip(?:v4)?(?: addr(?:ess)?)?|\baddr(?:ess)?|\bhost|\bserver|\bclient|//|@)[^\w\n]{0,4}\Z", re.IGNORECASE
)
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,35}")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_PASSPORT = re.compile(
    r"assport(?: ?(?:no|nr|num|number|id|#))?[.:#]{0,2}[ \t]{0,3}(?:is )?([A-Z]{0,2}[0-9]{6,9})(?![.-]?\w)",
    re.IGNORECASE,
)
_SPACES = str.maketrans("", "", " ().-/\u00a0\u2010\u2011\u2012\u2013")


def find_personal(text: str) -> Iterator[Find]:
    """Everything in a text that leads to a person and has a pattern."""
    if "@" in text:
        yield from _emails(text)
    # One byte a character, so that places in it are places in the text.
    shape = text.encode("ascii", "replace").translate(_CLASSES)
    yield from _numbers(text, shape)
    if ":" in text:
        for match in _COLONS.finditer(text):
            yield from _ipv6(text, match.start() - 4)
    place = shape.find(b"AA00")
    while place >= 0:
        yield from _iban(text, place)
        place = shape.find(b"AA00", place + 4)
    if "assport" in text or "ASSPORT" in text:
        for match in _PASSPORT.finditer(text):
            if stands_free(text, *match.span(1)):
                yield Find(*match.span(1), "passport", "<passport>")


# ---- e-mail


def _emails(text: str) -> Iterator[Find]:
    for match in _DOMAIN.finditer(text):
        at, domain, top = match.start(), match[1] + match[2], match[2].lower()
        if len(top) > 2 and top.isascii() and top not in TOP_LEVEL and not top.startswith("xn--"):
            continue
        local = _LOCAL_REVERSED.match(text[max(0, at - 65) : at][::-1])
        if local is None or len(local[0]) > 64 or local[0][0] == ".":
            continue
        name = local[0][::-1].lstrip(".+%-")
        start = at - len(name)
        if not name or name.lower() == "git" or _RESERVED_DOMAIN.search(domain.lower()):
            continue
        if text[match.end() : match.end() + 1] == ":" and text[match.end() + 1 : match.end() + 2].strip():
            continue  # user@host:path
        if text[max(0, start - 2) : start] == "//" or _USERINFO.search(text, max(0, start - 90), start):
            continue
        if stands_free(text, start, match.end()):
            yield Find(start, match.end(), "email", "<email>")


# ---- numbers


def _numbers(text: str, shape: bytes) -> Iterator[Find]:
    for run in _RUN.finditer(shape):
        start, end = run.span()
        number, dots = run[0].count(b"0"), run[0].count(b".")
        if number < 7 and dots < 3:
            continue
        # Patterns see what stands before and after the run, which may be `+`, `(` or a letter.
        first, last = max(0, start - 2), min(len(text), end + 2)
        if number >= 13:
            yield from _cards(text, start, last)
        if number >= 8 and text[first:start].rstrip("(").endswith("+"):
            yield from _international(text, text.rindex("+", first, start), end)
        if number >= 9:
            yield from _matches(_SSN, text, first, last, "ssn")
            for match in _NANP.finditer(text, first, last):
                if not _is_fictional(match[0]) and stands_free(text, *match.span()):
                    yield Find(*match.span(), "phone", "<phone>")
        if dots >= 3:
            yield from _ipv4(text, start, last)
        if 7 <= number <= 20:
            yield from _labelled(text, start, end)


def _matches(pattern: re.Pattern[str], text: str, start: int, end: int, kind: str) -> Iterator[Find]:
    for match in pattern.finditer(text, start, end):
        if stands_free(text, *match.span()):
            yield Find(*match.span(), kind, f"<{kind}>")


def _cards(text: str, start: int, end: int) -> Iterator[Find]:
    for match in _CARD.finditer(text, start, end):
        digits = match[0].translate(_SPACES)
        plain = digits == match[0]
        if (
            plain
            and len(digits) not in (15, 16)
            and not _CARD_LABEL.search(text, max(0, match.start() - 30), match.start())
        ):
            continue  # a number of 18 digits is somebody's key in a table
        if is_card(digits) and stands_free(text, *match.span()):
            yield Find(*match.span(), "card", "<card>")


def is_card(digits: str) -> bool:
    """Whether digits are a payment card's number: an issuer's range and length, and the Luhn check digit."""
    head, length = int(digits[:6]), len(digits)
    issued = (
        (length in (13, 16, 19) and digits[0] == "4")
        or (length == 16 and (510000 <= head <= 559999 or 222100 <= head <= 272099))
        or (length == 15 and digits[:2] in ("34", "37"))
        or (16 <= length <= 19 and (head // 100 == 6011 or 644 <= head // 1000 <= 649 or digits[:2] in ("65", "62")))
        or (length == 14 and (300 <= head // 1000 <= 305 or digits[:2] in ("36", "38", "39")))
        or (16 <= length <= 19 and 3528 <= head // 100 <= 3589)
    )
    return issued and len(set(digits)) > 1 and _luhn(digits)


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


# ---- phones


def _international(text: str, start: int, end: int) -> Iterator[Find]:
    match = _INTERNATIONAL.match(text, start, end)
    if match is None:
        return
    shown = match[0]
    before = text[start - 1 : start]
    if shown[1:].isdigit() and (start == 0 or before in "\n)]" or before.isalpha()):
        return  # an added line of a patch, a sum
    if _DECIMAL.match(shown):
        return
    code = _calling_code(shown[1:].translate(_SPACES))
    most = 11 if code == "1" else 15
    while len(digits := shown[1:].translate(_SPACES)) > most and (rest := _LAST_GROUP.search(shown)):
        shown = shown[: rest.start()]
    whole = _NANP_DIGITS.match(digits) if code == "1" else code is not None and 9 <= len(digits) <= 15
    if whole and stands_free(text, start, start + len(shown)):
        yield Find(start, start + len(shown), "phone", "<phone>")


def _calling_code(digits: str) -> str | None:
    """The country calling code that a number in international form begins with."""
    return next((digits[:length] for length in (1, 2, 3) if digits[:length] in CALLING_CODES), None)


def _is_fictional(number: str) -> bool:
    """555-0100 to 555-0199 of every area belong to nobody."""
    return number.translate(_SPACES)[-7:-2] == "55501"


def _labelled(text: str, start: int, end: int) -> Iterator[Find]:
    """A number of any country's form, if a word says that it is one for calling."""
    if not _LABEL.search(text, max(0, start - 24), start) or _DATE.match(text, start, end):
        return
    shown = _NATIONAL.match(text, start, end)[0].rstrip(" ().-/\u00a0\u2010\u2011\u2012\u2013")
    digits, end = shown.translate(_SPACES), start + len(shown)
    if _GOES_ON.match(text, end) or (digits == shown and text.endswith('": ', 0, start)):
        return  # 1-800-LETTERS; a number of JSON
    if 7 <= len(digits) <= 15 and not _is_fictional(digits) and stands_free(text, start, end):
        yield Find(start, end, "phone", "<phone>")


# ---- addresses of machines, accounts


def _ipv4(text: str, start: int, end: int) -> Iterator[Find]:
    for match in _IPV4.finditer(text, start, end):
        parts = [int(part) for part in match[0].split(".")]
        before = text[max(0, match.start() - 16) : match.start()]
        if max(parts) > 255 or parts[0] == 0 or any(part[0] == "0" and part != "0" for part in match[0].split(".")):
            continue
        if _VERSION.search(before) or (max(parts) < 20 and not _HOST_WORD.search(before)):
            continue  # four small numbers are a version or a section more often
        if ipaddress.IPv4Address(match[0]).is_global and stands_free(text, *match.span()):
            yield Find(*match.span(), "ip", "<ip>")


def _ipv6(text: str, start: int) -> Iterator[Find]:
    match = _IPV6.match(text, max(0, start))
    if match is None or start < 0:
        return
    shown = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
    end = start + len(shown)
    try:
        address = ipaddress.IPv6Address(shown)
    except ValueError:
        return
    if (
        address.is_global
        and text[match.start() - 1 : match.start()] not in (":", ".")
        and stands_free(text, match.start(), end)
    ):
        yield Find(match.start(), end, "ip", "<ip>")


def _iban(text: str, start: int) -> Iterator[Find]:
    length = IBAN_LENGTHS.get(text[start : start + 2])
    if length is None:
        return
    place, chars = start + 4, text[start : start + 4]
    while len(chars) < length and place < len(text):
        char = text[place]
        if char.isascii() and (char.isdigit() or char.isupper()):
            chars += char
        elif char != " " or text[place - 1] == " ":
            return
        place += 1
    if len(chars) == length and _remainder(chars) == 1 and stands_free(text, start, place):
        yield Find(start, place, "iban", "<iban>")


def _remainder(iban: str) -> int:
    """ISO 7064 mod 97-10 of an IBAN, 1 if it is well-formed."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97
