"""The breaker: stops harm before it is learned, and undoes what it touched.

Detectors look at each step after its gradient is known and before it is applied. One that objects trips the breaker:
the update is not made, the run goes back to its last saved state bit for bit, the windows are put in quarantine with
the ids of their documents (RUN/breaker.json), and training goes on without them. Steps between the saved state and
the trip are computed again, to the same numbers. Which windows: those whose own loss is not finite; all of the batch
where none can be told apart. After `max_trips` in one invocation the run stops: then it is not the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError
from clet.record import format_time
from clet.state import write_atomically
from clet.train.feed import Window

FILE = "breaker.json"
MAX_BYTES = 256 << 20

Detector = Callable[[float, float], str | None]  # (loss, gradient norm) of a step -> why it must not be applied


def non_finite(loss: float, grad_norm: float) -> str | None:
    """Loss or gradient is infinite or not a number."""
    if not math.isfinite(loss):
        return "non-finite loss"
    return None if math.isfinite(grad_norm) else "non-finite gradient"


DETECTORS: dict[str, Detector] = {"non-finite": non_finite}


class Breaker:
    """Watches the steps of a run. `quarantine` are the windows not to be learned, of all invocations."""

    def __init__(self, run: Path, max_trips: int):
        self._path = run / FILE
        self._max_trips = max_trips
        self.trips: list[dict[str, Any]] = read_trips(run)
        self.num_new = 0  # trips of this invocation

    @property
    def quarantine(self) -> frozenset[Window]:
        """All windows in quarantine."""
        return frozenset((root, i) for trip in self.trips for root, indices in trip["windows"] for i in indices)

    def objection(self, loss: float, grad_norm: float) -> str | None:
        """Why a step must not be applied, from the first detector that objects; None if none does."""
        return next((why for detect in DETECTORS.values() if (why := detect(loss, grad_norm))), None)

    def trip(
        self, step: int, why: str, windows: Sequence[Window], documents: Sequence[str], back_to: int, now: datetime
    ) -> None:
        """Record a trip at `step`, durably. Raises InputError when there were more than `max_trips`."""
        by_root: dict[str, list[int]] = {}
        for root, index in windows:
            by_root.setdefault(root, []).append(index)
        self.trips.append(
            {
                "time": format_time(now),
                "step": step,
                "why": why,
                "back_to": back_to,
                "windows": sorted([root, sorted(indices)] for root, indices in by_root.items()),
                "documents": sorted(documents),
            }
        )
        self.num_new += 1
        write_atomically(self._path, orjson.dumps({"trips": self.trips}, option=orjson.OPT_INDENT_2) + b"\n")
        if self.num_new > self._max_trips:
            raise InputError(
                f"the breaker tripped {self.num_new} times, last at step {step}: {why}; the state of step {back_to} "
                f"stands. Lower --lr, or look at the windows in {self._path}"
            )


def culprits(windows: Sequence[Window], window_losses: Sequence[float]) -> list[Window]:
    """The windows whose loss is not finite, or all where every one is (a gradient does not say whose it is)."""
    bad = [window for window, loss in zip(windows, window_losses, strict=True) if not math.isfinite(loss)]
    return bad or list(windows)


def read_trips(run: Path) -> list[dict[str, Any]]:
    """All trips of a run, oldest first. Raises InputError where breaker.json is damaged."""
    path = run / FILE
    try:
        with open(path, "rb") as file:
            trips = orjson.loads(file.read(MAX_BYTES))["trips"]
        for trip in trips:
            for root, indices in trip["windows"]:
                if not isinstance(root, str) or not all(isinstance(i, int) for i in indices):
                    raise TypeError
        return trips
    except FileNotFoundError:
        return []
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: damaged; restore it from a copy, or remove it to forget the quarantine") from None
