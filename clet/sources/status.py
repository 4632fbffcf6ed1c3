"""How each source stands, read from a state that a running intake may be writing at the same time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from clet.exits import InputError
from clet.record import format_time, parse_time
from clet.sources.ledger import Ledger
from clet.state import State

COLUMNS = ("name", "source", "documents", "success", "lag_s", "newest", "due", "failures", "error")
TRIES = 3  # a running intake drops a journal seldom


def read_status(directory: str, now: datetime) -> list[dict[str, Any]]:
    """A row a source with the fields of COLUMNS and `state`: ok, failing or never.

    `lag_s` is how long ago it was read with success, in seconds of `now`'s clock; `newest` the latest time of
    publication. Raises UsageError where the directory holds no state of an intake.
    """
    ledger = _peek(directory)
    return [_row(key, ledger, now) for key in ledger]


def _peek(directory: str) -> Ledger:
    for _ in range(TRIES - 1):
        try:
            return Ledger(State.peek(directory, "ingest"))
        except InputError:
            continue
    return Ledger(State.peek(directory, "ingest"))


def _row(key: str, ledger: Ledger, now: datetime) -> dict[str, Any]:
    standing = ledger.standing(key)
    success = parse_time(standing.success) if standing.success else None
    lag_s = None if success is None else round(max(timedelta(0), now - success).total_seconds())
    failing = "failing" if standing.failures else "never" if success is None else "ok"
    return {
        "name": standing.name,
        "source": key,
        "state": failing,
        "documents": standing.documents,
        "success": format_time(success),
        "lag_s": lag_s,
        "newest": standing.newest,
        "due": standing.due,
        "failures": standing.failures,
        "error": standing.error,
    }
