"""Trips by hand and pauses: two small files between a person at `clet release` and the trainer of a run.

    RUN/trip.json     a person asks for a trip: seen by the trainer at its next step, or at its next start
    RUN/paused.json   the breaker has paused the run; it is not trained until this is taken away

SIGUSR1 to the trainer asks for a trip too. Files are written whole, and removed by whoever carries the request out.
No torch here: `clet release` need not load it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from clet.exits import NothingToDo
from clet.record import format_time
from clet.release import check_run
from clet.state import fsync_directory, write_atomically

TRIP = "trip.json"
PAUSED = "paused.json"
MAX_BYTES = 1 << 16
MAX_WHY = 1000


def request_trip(run: Path, why: str, now: datetime) -> dict[str, Any]:
    """Ask for a trip; what was written. One that was asked for and not seen yet is joined with it.

    Raises UsageError for what is no run.
    """
    check_run(run)
    clean = "".join(c if c.isprintable() else " " for c in why)[:MAX_WHY].strip()
    if (waiting := open_request(run)) is not None:
        clean = f"{waiting['why']}; {clean}"[:MAX_WHY]
    request = {"id": secrets.token_hex(8), "time": format_time(now), "why": clean or "by hand"}
    write_atomically(run / TRIP, orjson.dumps(request) + b"\n")
    return request


def open_request(run: Path) -> dict[str, Any] | None:
    """The trip that was asked for, or None. A file that says nothing, or nothing legible, asks for one all the same.

    Such a file is known by when it was made: it is carried out once, and so is the next one.
    """
    path = run / TRIP
    try:
        made = os.stat(path)
    except OSError:
        return None
    request = _read(path) or {}
    identity = request.get("id")
    if not isinstance(identity, str) or not identity:
        identity = f"{made.st_ino:x}-{made.st_mtime_ns:x}"
    why = request.get("why")
    return {"id": identity[:MAX_WHY], "why": why[:MAX_WHY] if isinstance(why, str) and why else f"a file {TRIP}"}


def close_request(run: Path) -> None:
    """The trip was carried out."""
    _remove(run / TRIP)


def pause(run: Path, why: str, step: int, now: datetime) -> None:
    """Nothing is trained until `resume`."""
    write_atomically(run / PAUSED, orjson.dumps({"time": format_time(now), "step": step, "why": why}) + b"\n")


def paused(run: Path) -> str | None:
    """Why a run is paused, or None."""
    found = _read(run / PAUSED)
    return None if found is None else str(found.get("why", "unknown"))[:MAX_WHY]


def resume(run: Path) -> str:
    """End a pause; why it was. Raises UsageError for what is no run, NothingToDo where it is not paused."""
    check_run(run)
    if (why := paused(run)) is None:
        raise NothingToDo(f"{run}: is not paused")
    _remove(run / PAUSED)
    return why


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            found = orjson.loads(file.read(MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        fsync_directory(path.parent)
