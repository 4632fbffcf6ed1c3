"""When a source is read next, and how it stands: last success, items, errors.

A source that was read is due again after its interval. One that failed is due after twice as long for each failure in
a row, a day at most, with a tenth of jitter, so that a thousand feeds on one broken host do not come back together; a
server that asked to be left alone for longer is. Times are wall-clock, in UTC; a due time that lies further ahead than
any rule here could have put it is a clock that jumped, and is not believed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import xxhash

from clet.record import format_time, parse_time

FIRST_BACKOFF_S = 60.0
MAX_BACKOFF_S = 86_400.0
MAX_ERROR_CHARS = 300


@dataclass
class Standing:
    """What `clet ingest --status` shows of one source. Times are RFC 3339; `failures` counts those since the last
    success, `newest` is the latest time of publication seen."""

    name: str | None = None  # what the sources file calls it
    documents: int = 0
    tried: str | None = None
    success: str | None = None
    newest: str | None = None
    due: str | None = None
    failures: int = 0
    error: str | None = None

    @staticmethod
    def from_json(value: Any) -> Standing:
        """From what `to_json` gave; what is missing takes its default."""
        known = {field.name for field in fields(Standing)}
        return Standing(**{name: held for name, held in value.items() if name in known}) if value else Standing()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)

    def is_due(self, now: datetime, interval_s: float) -> bool:
        """Whether the source may be read at `now`."""
        if self.due is None:
            return True
        due = parse_time(self.due)
        return due <= now or due - now > timedelta(seconds=1.2 * max(MAX_BACKOFF_S, interval_s))

    def succeeded(self, now: datetime, interval_s: float, documents: int, newest: str | None) -> None:
        """The source was read to its end; `documents` came out of it."""
        self.tried = self.success = format_time(now)
        self.documents += documents
        self.newest = max(filter(None, (self.newest, newest)), default=None)
        self.due = _after(now, interval_s)
        self.failures, self.error = 0, None

    def failed(self, now: datetime, interval_s: float, key: str, reason: str, retry_s: float | None = None) -> None:
        """The source could not be read."""
        self.tried = format_time(now)
        self.failures += 1
        self.error = reason[:MAX_ERROR_CHARS]
        backoff = min(FIRST_BACKOFF_S * 2.0 ** min(self.failures - 1, 30), MAX_BACKOFF_S)
        wait = (
            max(interval_s, backoff, min(retry_s or 0.0, MAX_BACKOFF_S)) if self.failures > 1 or retry_s else interval_s
        )
        self.due = _after(now, wait * (1 + _jitter(key, self.failures)))


def _after(now: datetime, seconds: float) -> str | None:
    return format_time((now + timedelta(seconds=min(seconds, 400 * MAX_BACKOFF_S))).astimezone(UTC))


def _jitter(key: str, failures: int) -> float:
    """0 to 0.1, the same for the same failure of the same source."""
    return xxhash.xxh3_64_intdigest(f"{key}\0{failures}".encode()) / 2**64 / 10
