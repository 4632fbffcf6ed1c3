"""Dates as people and programs write them, into UTC; what cannot be read is None, never a guess."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import struct_time
from typing import Any

from clet.record import parse_time

_SPACED = re.compile(r"(\d{4}-\d{2}-\d{2})[ _](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?) ?(Z|UTC|GMT|[+-]\d{2}:?\d{2})?\Z")
_EPOCH_MS = 100_000_000_000  # as seconds this is the year 5138; as milliseconds, 1973


def read_date(value: Any) -> datetime | None:
    """A moment in UTC from RFC 3339, RFC 2822, seconds or milliseconds since 1970, or a struct_time in UTC."""
    try:
        moment = _read(value)
        return moment if moment and 1000 <= moment.year <= 2200 else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _read(value: Any) -> datetime | None:
    if isinstance(value, struct_time):
        return datetime(*value[:5], min(value[5], 59), tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if abs(value) >= _EPOCH_MS else value, UTC)
    return _from_text(value.strip()) if isinstance(value, str) and len(value) < 100 else None


def _from_text(text: str) -> datetime | None:
    if match := _SPACED.match(text):
        day, time, zone = match.groups()
        text = f"{day}T{time}{'+00:00' if zone in (None, 'Z', 'UTC', 'GMT') else zone}"
    try:
        return parse_time(text)
    except ValueError:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
