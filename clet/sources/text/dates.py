"""Dates as people and programs write them, into UTC; what cannot be read is None, never a guess.

Read are RFC 3339 and the rest of ISO 8601 (basic form, weeks, days of the year, a month or a year alone, 24:00), RFC
822 to 5322 as it is really written (two-digit years by RFC 2822, no seconds, no weekday or a wrong one, zones by name
or offset, "GMT+1"), asctime, "January 2, 2026 3:04 PM", seconds, milliseconds or microseconds since 1970, and month
names of CLDR in nine languages, with the Greek, Hungarian and Korean forms that feedparser knows. A date alone is its
midnight. A date without a zone, or with a zone name that is unknown or has several meanings, is taken as UTC: it may
be hours off, but never a day and a night. "02/03/2026" has two meanings and is None.

About 10 us a date, RFC 3339 2 us.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

MAX_DATE_CHARS = 100
YEARS = range(1000, 2201)
_EPOCH_MS = 100_000_000_000  # as seconds this is the year 5138; as milliseconds, 1973
_EPOCH_US = 100_000_000_000_000  # as milliseconds, again 5138

# CLDR's abbreviated and full names without accents; a written name may be any beginning of at least three letters.
_MONTH_NAMES = (
    "january januar janner janvier enero gennaio janeiro januari",
    "february februar fevrier febrero febbraio fevereiro februari februarius",
    "march marz maerz mars marzo marco maart mrt marcius",
    "april avril abril aprile aprilis avr abr",
    "may mai mayo maggio maio mei majus",
    "june juni juin junio giugno junho junius",
    "july juli juillet julio luglio julho julius",
    "august aout agosto augustus augusztus",
    "september septembre septiembre setiembre settembre setembro szeptember",
    "october oktober octobre octubre ottobre outubro",
    "november novembre noviembre novembro",
    "december dezember decembre diciembre dicembre dezembro",
)
_GREEK_MONTHS = (
    "\u03b9\u03b1\u03bd",
    "\u03c6\u03b5\u03b2",
    "\u03bc\u03b1\u03c1 \u03bc\u03b1\u03c9",
    "\u03b1\u03c0\u03c1",
    "\u03bc\u03b1\u03b9",
    "\u03b9\u03bf\u03c5\u03bd \u03b9\u03bf\u03bd",
    "\u03b9\u03bf\u03c5\u03bb \u03b9\u03bf\u03bb",
    "\u03b1\u03c5\u03b3",
    "\u03c3\u03b5\u03c0",
    "\u03bf\u03ba\u03c4",
    "\u03bd\u03bf\u03b5",
    "\u03b4\u03b5\u03ba",
)


def _months() -> dict[str, int]:
    months: dict[str, int] = {}
    shared = set()
    for number, names in enumerate(_MONTH_NAMES, 1):
        for name in names.split():
            for length in range(3, len(name) + 1):
                if months.setdefault(name[:length], number) != number:
                    shared.add(name[:length])  # "jui" is June and July
    for number, names in enumerate(_GREEK_MONTHS, 1):
        months |= dict.fromkeys(names.split(), number)
    return {name: number for name, number in months.items() if name not in shared}


_MONTHS = _months()
_HOURS = {  # names with one meaning in dates that programs write
    name: hours
    for hours, names in (
        (0, "ut utc gmt z wet"),
        (1, "west bst cet mez"),
        (2, "cest mesz eet sast"),
        (3, "eest msk"),
        (8, "sgt hkt awst"),
        (9, "jst kst"),
        (9.5, "acst"),
        (10, "aest"),
        (11, "aedt"),
        (12, "nzst"),
        (13, "nzdt"),
        (-3, "brt art"),
        (-4, "edt"),
        (-5, "est cdt"),
        (-6, "cst mdt"),
        (-7, "mst pdt"),
        (-8, "pst akdt"),
        (-9, "akst"),
        (-10, "hst"),
    )
    for name in names.split()
}

_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?"
)
_ZONE = r"(?P<zone>(?:[a-z]{1,5})?\s?[+-]\d{1,2}(?::?\d{2})?(?!\d)|[a-z]{1,5}\b)?"
_CLOCK = re.compile(rf"(?<![\d:]){_TIME}\s*{_ZONE}", re.IGNORECASE)
_REMARK = r"(?:\s?[(\[]\D*)?\Z"  # "(CET)", "[UTC]"
_NUMERIC = re.compile(
    rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}})(?:[T_\s,]+{_TIME}\s?{_ZONE})?{_REMARK}", re.IGNORECASE
)
_ORDINAL = re.compile(rf"(\d{{4}})-?(\d{{3}})(?:[T ]{_TIME}{_ZONE})?\Z", re.IGNORECASE)
_MONTH_ALONE = re.compile(r"(\d{4})(?:-(\d{2}))?\Z")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})\Z")
_WORD = r"([^\W\d_]{3,12})"
_GAP = r"(?:[\s.,/-]|\bde\b|\bdel\b){1,6}"
_DAY_FIRST = re.compile(rf"(?<![\d:])(\d{{1,2}})(?:st|nd|rd|th)?{_GAP}{_WORD}{_GAP}(\d{{2,4}})(?![\d:])", re.IGNORECASE)
_YEAR_FIRST = re.compile(rf"(?<!\d)(\d{{4}}){_GAP}{_WORD}{_GAP}(\d{{1,2}})(?![\d:])", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"{_WORD}{_GAP}(\d{{1,2}})(?:st|nd|rd|th)?(?![\d:])", re.IGNORECASE)
_YEAR = re.compile(r"(?<![\d:+-])(\d{4})(?![\d:])")
_EAST_ASIAN = re.compile(r"(\d{4})\s?[\u5e74\ub144]\s?(\d{1,2})\s?[\u6708\uc6d4]\s?(\d{1,2})\s?[\u65e5\uc77c]")
_KOREAN_HALF = re.compile(r"(\uc624[\uc804\ud6c4])\s*(\d{1,2}:\d{1,2}(?::\d{1,2})?)")
_KOREAN_TIME = timedelta(hours=9)


def read_date(value: Any) -> datetime | None:
    """A moment in UTC from text or from a number of seconds, milliseconds or microseconds since 1970."""
    try:
        if isinstance(value, str):
            moment = _from_text(value) if len(value) <= MAX_DATE_CHARS else None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = _from_number(value)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment and moment.year in YEARS else None


def _from_number(value: float) -> datetime:
    if abs(value) >= _EPOCH_US:
        value /= 1_000_000
    elif abs(value) >= _EPOCH_MS:
        value /= 1000
    return datetime.fromtimestamp(value, UTC)


def _from_text(text: str) -> datetime | None:
    text = " ".join(text.split())
    if len(text) > 18 and text[4] == text[7] == "-":  # the common form has a faster reader
        try:
            return _utc(datetime.fromisoformat(text))
        except ValueError:
            pass
    if text.isascii() and text.isdigit() and len(text) in (9, 10, 13, 16):
        return _from_number(int(text))
    if match := _NUMERIC.match(text):
        year, _, month, day = match.groups()[:4]
        return _moment(int(year), int(month), int(day), match)
    if text[:4].isdigit():
        if match := _ORDINAL.match(text):
            year, day_of_year = int(match[1]), int(match[2])
            return _moment(year, 1, 1, match) + timedelta(days=day_of_year - 1) if 0 < day_of_year < 367 else None
        if match := _MONTH_ALONE.match(text):
            return datetime(int(match[1]), int(match[2] or 1), 1, tzinfo=UTC)
        if match := _COMPACT.match(text):
            return datetime(*map(int, match.groups()), tzinfo=UTC)
        try:
            return _utc(datetime.fromisoformat(text))  # the basic and the week forms
        except ValueError:
            pass
    return _from_words(text)


def _from_words(text: str) -> datetime | None:
    """A date whose month is a word, or which East Asian signs name."""
    text, korean = _without_korean(text)
    if match := _EAST_ASIAN.search(text):
        year, month, day = map(int, match.groups())
        moment = _moment(year, month, day, _CLOCK.search(text))
        return moment - _KOREAN_TIME if "\ub144" in match[0] else moment
    if korean:
        match = _NUMERIC.match(text)
        return _moment(int(match[1]), int(match[3]), int(match[4]), match) - _KOREAN_TIME if match else None
    clock = _CLOCK.search(text)
    for match in _DAY_FIRST.finditer(text):
        if month := _month(match[2]):
            return _moment(_full_year(match[3]), month, int(match[1]), clock)
    for match in _YEAR_FIRST.finditer(text):
        if month := _month(match[2]):
            return _moment(int(match[1]), month, int(match[3]), clock)
    for match in _MONTH_FIRST.finditer(text):
        if (month := _month(match[1])) and (year := _YEAR.search(text, match.end())):
            return _moment(int(year[1]), month, int(match[2]), clock)
    return None


def _without_korean(text: str) -> tuple[str, bool]:
    """(the text with a Korean "before noon" or "after noon" written as AM or PM, whether there was one)."""
    match = _KOREAN_HALF.search(text)
    if match is None:
        return text, False
    half = "PM" if match[1].endswith("\ud6c4") else "AM"
    return f"{text[: match.start()]}{match[2]} {half}{text[match.end() :]}", True


def _month(word: str) -> int | None:
    if not word.isascii():
        word = "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))
    return _MONTHS.get(word.lower())


def _full_year(digits: str) -> int:
    """RFC 2822, 4.3: two digits below 50 are of this century; two and three digits else count from 1900."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _moment(year: int, month: int, day: int, clock: re.Match[str] | None) -> datetime:
    """The moment in UTC; `clock` has the groups of _TIME and _ZONE. Raises ValueError where no calendar has it."""
    moment = datetime(year, month, day, tzinfo=UTC)
    if clock is None or clock["hour"] is None:
        return moment
    hour, minute, second = int(clock["hour"]), int(clock["minute"]), min(int(clock["second"] or 0), 60)
    if clock["half"] and hour <= 12:
        hour = hour % 12 + (12 if clock["half"] in "pP" else 0)
    if minute > 59 or hour > 24 or (hour == 24 and minute + second > 0):
        raise ValueError
    microsecond = int((clock["part"] or "0").ljust(6, "0")[:6])
    moment += timedelta(hours=hour, minutes=minute, seconds=min(second, 59), microseconds=microsecond)
    return moment - _offset(clock["zone"] or "")


def _offset(zone: str) -> timedelta:
    """Distance of a zone from UTC: an offset, also after a name ("GMT+0100"), else a name. Raises ValueError."""
    sign = max(zone.find("+"), zone.find("-"))
    if sign < 0:
        return timedelta(hours=_HOURS.get(zone.lower(), 0))
    digits = zone[sign + 1 :].replace(":", "")
    hours, minutes = (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (int(digits), 0)
    if hours > 23 or minutes > 59:
        raise ValueError
    distance = timedelta(hours=hours, minutes=minutes)
    return -distance if zone[sign] == "-" else distance


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
