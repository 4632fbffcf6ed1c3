"""Recency: how fresh a document is, as a factor that halves every half-life.

    recency = 2 ** (-age / half_life), age = max(0, now - time), in days

The time of a record is when it was published, but never later than when it was fetched: dates are claims of the
publisher, and a date in the future would buy the best place. A record without a date of its own may be from any time
before it was fetched, and counts half: else whoever gives no date would be the freshest of all. Without either a record
counts as infinitely old.

`now` is given (`--now`) or the clock of the stream: the newest `fetched` among the records so far that no rule drops,
remembered in the state. `fetched` is written by whoever fetched, so in a running pipeline it is the time of day; for an
archive it is that of the archive; and the result depends on the input alone, not on when the command ran. But one
`fetched` in the future would end the days of all budgets to come and make every other record old: a time later than
the machine's (by more than SKEW_S) is not believed. It moves no clock, and counts as none.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from clet.heads import NO_TIME
from clet.record import format_time

HALF_LIFE_DAYS = 7.0  # news is old after a week; give a longer one for papers or code
UNDATED = 0.5
DAY_S = 86400
SKEW_S = 600  # clocks of machines that fetch differ by less, or tickets of theirs (Kerberos: 300) would not work


def times_of(published: np.ndarray, fetched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each record was published, at the latest when it was fetched: `[n]` int64 seconds, or NO_TIME; and which
    records say when they were published."""
    both, dated = np.minimum(published, fetched), published != NO_TIME
    return np.where(dated, np.where(fetched == NO_TIME, published, both), fetched), dated


def recency(times: np.ndarray, dated: np.ndarray, nows: np.ndarray, half_life_days: float) -> np.ndarray:
    """The factor in [0, 1] `[n]`; 0 where a record has no time or nothing is known about now."""
    known = (times != NO_TIME) & (nows != NO_TIME)
    age = np.where(known, np.maximum(0, nows - np.where(known, times, 0)), 0) / DAY_S
    return np.where(known, np.exp2(-age / half_life_days), 0.0) * np.where(dated, 1.0, UNDATED)


class Clock:
    """What time it is: fixed, or the newest `fetched` seen so far. `now` is None before the first.

    No time after `latest` is believed, not even `newest`; None believes all. `unbelieved` counts the records that had
    one.
    """

    def __init__(self, fixed: datetime | None = None, newest: datetime | None = None, latest: datetime | None = None):
        self._fixed = fixed is not None
        self._latest = np.iinfo(np.int64).max if latest is None else int(latest.timestamp()) + SKEW_S
        self.unbelieved = 0
        known = newest is not None and newest.timestamp() <= self._latest
        self.now = fixed if fixed is not None else newest if known else None

    def believed(self, times: np.ndarray) -> np.ndarray:
        """Times `[n]`, NO_TIME where nothing can have happened then yet."""
        return np.where(times > self._latest, NO_TIME, times)

    def see(self, fetched: np.ndarray) -> np.ndarray:
        """The time at each record `[n]` int64, in order; the clock moves on with them and never goes back."""
        start = NO_TIME if self.now is None else int(self.now.timestamp())
        if self._fixed or not len(fetched):
            return np.full(len(fetched), start)
        nows = np.maximum.accumulate(np.maximum(fetched, start))
        if nows[-1] != NO_TIME:
            self.now = datetime.fromtimestamp(int(nows[-1]), UTC)
        return nows

    @property
    def day(self) -> str | None:
        """YYYY-MM-DD."""
        return None if self.now is None else day_text(int(self.now.timestamp()))

    @property
    def text(self) -> str | None:
        """RFC 3339."""
        return format_time(self.now)


def day_text(seconds: int) -> str | None:
    """The day in UTC of a time, YYYY-MM-DD."""
    return None if seconds == NO_TIME else datetime.fromtimestamp(seconds, UTC).date().isoformat()
