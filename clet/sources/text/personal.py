"""What leads to a person and has a form of its own: one scan that hands candidates to the rules of each kind.

E-mail addresses (RFC 5321, ASCII and international) are found here, from each `@` outwards. Phone numbers
(`phones.py`), accounts and papers (`accounts.py`) and addresses of machines (`hosts.py`) are made of digits, so the
text is translated into classes once, a byte a character, and only runs of digits and what stands between digits are
looked at. Each candidate is bounded, so time is linear. Names and postal addresses have no form and are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clet.sources.text.accounts import find_cards, find_iban, find_passports, find_ssns
from clet.sources.text.finds import Find, stands_free
from clet.sources.text.hosts import find_ipv4, find_ipv6
from clet.sources.text.phones import find_phones
from clet.sources.text.registries import TOP_LEVEL

_DOMAIN = re.compile(r"@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8})([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w@]|[.-]\w)")
_LOCAL_REVERSED = re.compile(r"[\w.+%-]{1,65}")
_SPECIAL = frozenset(("example", "invalid", "localhost", "test"))  # top levels of RFC 2606: masked like any other
_USERINFO = re.compile(r"//[^\s/@]{0,80}\Z")
_PATH = re.compile(r":\S")  # user@host:path

# Classes: `0` a digit, `A` a capital, `.`, `:`, `-` what else may stand between digits, a space for all else.
_BETWEEN = b" ()-/?"  # `?` stands for whatever is not ASCII, no-break spaces and dashes among it
_CLASSES = bytes(
    ord("0" if 48 <= byte <= 57 else "A" if 65 <= byte <= 90 else "-" if byte in _BETWEEN else " ")
    if byte not in b".:"
    else byte
    for byte in range(256)
)
_RUN = re.compile(rb"0[0.-]{5,}")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IBAN_HEAD = b"AA00"


def find_personal(text: str) -> Iterator[Find]:
    """Everything in a text that leads to a person and has a form."""
    if "@" in text:
        yield from _emails(text)
    shape = text.encode("ascii", "replace").translate(_CLASSES)
    for run in _RUN.finditer(shape):
        num_digits, num_dots = run[0].count(b"0"), run[0].count(b".")
        if num_digits >= 7:
            yield from find_phones(text, *run.span())
        if num_digits >= 9:
            yield from find_ssns(text, *run.span())
        if num_digits >= 13:
            yield from find_cards(text, *run.span())
        if num_dots >= 3:
            yield from find_ipv4(text, *run.span())
    if ":" in text:
        for match in _COLONS.finditer(text):
            yield from find_ipv6(text, match.start() - 4)
    place = shape.find(_IBAN_HEAD)
    while place >= 0:
        yield from find_iban(text, place)
        place = shape.find(_IBAN_HEAD, place + len(_IBAN_HEAD))
    if "assport" in text or "ASSPORT" in text:
        yield from find_passports(text)


def _emails(text: str) -> Iterator[Find]:
    for match in _DOMAIN.finditer(text):
        at, end, top = match.start(), match.end(), match[2].lower()
        known = top in TOP_LEVEL or top in _SPECIAL or top.startswith("xn--")
        if len(top) > 2 and top.isascii() and not known:
            continue
        local = _LOCAL_REVERSED.match(text[max(0, at - 65) : at][::-1])
        if local is None or len(local[0]) > 64 or local[0].startswith("."):
            continue
        name = local[0][::-1].lstrip(".+%-")
        start = at - len(name)
        if not name or name.lower() == "git":
            continue
        if _PATH.match(text, end) or _USERINFO.search(text, max(0, start - 90), start):
            continue
        if stands_free(text, start, end):
            yield Find(start, end, "email", "<email>")
