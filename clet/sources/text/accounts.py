"""Numbers of cards, accounts and papers, told by their check digits and by who issues them.

Payment cards: ISO/IEC 7812, an issuer's range and length and the Luhn digit; in groups, or 15 or 16 digits in one,
or any length behind a word like `card`. IBAN: ISO 13616, length by country, mod 97. US social security numbers:
AAA-GG-SSSS with areas, groups and serials that the SSA issues. Passport numbers: only where they are called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clet.sources.text.finds import Find, stands_free
from clet.sources.text.registries import IBAN_LENGTHS

_CARD = re.compile(
    r"(?<![\w.,+-])(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?!\w|[.,-]?[0-9])"
)
_CARD_LABEL = re.compile(r"\b(?:card|visa|mastercard|amex|diners|maestro|unionpay|pan)\b[^\n]*\Z", re.IGNORECASE)
_LABEL_CHARS = 30
_TABLE_BEFORE = re.compile(r"[0-9]\w* \Z")  # one of many groups of four
_TABLE_AFTER = re.compile(r" (?![0-9]{2}/[0-9]{2})[0-9A-F]{1,5}\b")  # what may follow is the month of expiry
_SUM_BEFORE = re.compile(r"(?:[-+*/^%(,=] |[*/^%])\Z")  # a term of a formula
_SUM_AFTER = re.compile(r" ?[*^%]")
_SSN = re.compile(r"(?<![\w.+/-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![.-]?\w)")
_PASSPORT = re.compile(
    r"assport(?: ?(?:no|nr|num|number|id|#))?[.:#]{0,2}[ \t]{0,3}(?:is )?([A-Z]{0,2}[0-9]{6,9})(?![.-]?\w)",
    re.IGNORECASE,
)


def find_cards(text: str, start: int, end: int) -> Iterator[Find]:
    """The payment cards in a run of digits and separators."""
    for match in _CARD.finditer(text, start, min(len(text), end + 2)):
        digits = match[0].replace(" ", "").replace("-", "")
        if not (is_card(digits) and stands_free(text, *match.span())):
            continue
        if _CARD_LABEL.search(text, max(0, match.start() - _LABEL_CHARS), match.start()) or (
            _alone(text, match) if digits == match[0] else _no_table(text, match)
        ):
            yield Find(*match.span(), "card", "<card>")


def _alone(text: str, match: re.Match[str]) -> bool:
    """Whether a number without separators may be a card; one of 18 digits is the key of a table."""
    start, end = match.span()
    in_sum = _SUM_BEFORE.search(text, max(0, start - 2), start) or _SUM_AFTER.match(text, end)
    return end - start in (15, 16) and not in_sum


def _no_table(text: str, match: re.Match[str]) -> bool:
    start, end = match.span()
    return not _TABLE_BEFORE.search(text, max(0, start - 8), start) and not _TABLE_AFTER.match(text, end)


def is_card(digits: str) -> bool:
    """Whether digits are a payment card's number: an issuer's range and length, and the Luhn digit."""
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


def find_ssns(text: str, start: int, end: int) -> Iterator[Find]:
    """The US social security numbers in a run of digits and separators."""
    for match in _SSN.finditer(text, start, min(len(text), end + 2)):
        if stands_free(text, *match.span()):
            yield Find(*match.span(), "ssn", "<ssn>")


def find_iban(text: str, start: int) -> Iterator[Find]:
    """The IBAN that begins with the two capitals and two digits at `start`, if there is one."""
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


def find_passports(text: str) -> Iterator[Find]:
    """Numbers that the text calls a passport's."""
    for match in _PASSPORT.finditer(text):
        if stands_free(text, *match.span(1)):
            yield Find(*match.span(1), "passport", "<passport>")
