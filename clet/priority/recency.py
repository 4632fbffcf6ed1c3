"""Recency: how fresh a document is, as a factor that halves every half-life.

    recency = 2 ** (-age / half_life), age = max(0, now - time), in days

The time of a record is when it was published, but never later than when it was fetched: dates are claims of the
publisher, and a date in the future would buy the best place. Without either a record counts as infinitely old.

`now` is given (`--now`) or the clock of the stream: the newest `fetched` among the records so far, remembered in the
state. `fetched` is written by whoever fetched, so in a running pipeline it is the time of day; for an archive it is
that of the archive; and the result depends on the input alone, never on when the command ran.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from clet.record import format_time, parse_time

HALF_LIFE_DAYS = 7.0  # news is old after a week; give a longer one for papers or code
_DAY_S = 86400.0


def recency(fields: dict[str, Any], now: datetime | None, half_life_days: float) -> float:
    """The factor in [0, 1] of a record's fields; 0 where it has no time or nothing is known about now."""
    moment = time_of(fields)
    if moment is None or now is None:
        return 0.0
    age = max(0.0, (now - moment).total_seconds() / _DAY_S)
    return 2.0 ** (-age / half_life_days)


def time_of(fields: dict[str, Any]) -> datetime | None:
    """When a record was published, at the latest when it was fetched."""
    published, fetched = _parsed(fields.get("published")), _parsed(fields.get("fetched"))
    if published is None or fetched is None:
        return published or fetched
    return min(published, fetched)


def _parsed(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except (ValueError, OverflowError):  # records of strangers: an unreadable date is no date
        return None


class Clock:
    """What time it is: fixed, or the newest `fetched` seen so far. `now` is None before the first."""

    def __init__(self, fixed: datetime | None = None, newest: datetime | None = None):
        self._fixed = fixed is not None
        self.now = fixed if fixed is not None else newest

    def see(self, fields: dict[str, Any]) -> None:
        """Let a record move the clock on; it never goes back."""
        if self._fixed:
            return
        moment = _parsed(fields.get("fetched"))
        if moment is not None and (self.now is None or moment > self.now):
            self.now = moment

    @property
    def text(self) -> str | None:
        """RFC 3339."""
        return format_time(self.now)

    @property
    def day(self) -> str | None:
        """The day in UTC, YYYY-MM-DD."""
        return self.now.astimezone(UTC).date().isoformat() if self.now else None
