"""The breaker: stops harm before it is learned, and undoes what it touched.

Detectors look at each step after its gradient is known and before it is applied (`spikes`; `newness` tells what they
object to from data of a new kind), and at the checks made every so many steps (`drift`); a person or a signal may trip
it by hand (`requests`). A trip makes no update and goes back, bit for bit, to the last good state: for a spike the last
one saved before the harm began, for what a check or a person saw the last one whose checks passed. The windows learned
since that are suspect (`suspects`) are put in quarantine with the ids of their documents; training goes on without
them, or pauses.

Where no window stands out nothing is put in quarantine at first: what was not the data's fault (a flipped bit, a rate
set wrong for a moment) does not come again, and the run then ends as if nothing had been. What comes again at the same
step takes with it all windows learned since the good state. After `max_trips` in one invocation the run stops.

RUN/breaker.json is written before anything is undone, and says by itself which saved states and releases are not true
any more, so a run killed at any moment of a trip goes on from the good state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clet.container import seal_document, unsealed_document
from clet.exits import InputError
from clet.state import write_atomically
from clet.train.drift import Check, Watch
from clet.train.feed import Window
from clet.train.newness import Newness
from clet.train.order import Unigram
from clet.train.spikes import Objection, Signals, detectors

FILE = "breaker.json"
MAX_BYTES = 256 << 20


class GaveUp(InputError):
    """The breaker tripped too often for it to be the data."""


class Breaker:
    """Watches the steps of a run. What it has seen of them is saved and taken back with the weights."""

    def __init__(self, run: Path, max_trips: int, *, vocab_size: int, drift: float):
        self._run = run
        self._max_trips = max_trips
        self._limit = drift
        self._detectors = detectors(vocab_size)
        self._newness = Newness()
        self.unigram = Unigram(vocab_size)
        self.watch = Watch(drift)
        self.trips: list[dict[str, Any]] = read_trips(run)
        self.num_new = 0  # trips of this invocation

    def quarantine(self, segment: int) -> frozenset[Window]:
        """The windows in quarantine as far as `segment` is concerned: not to be learned there, in any invocation.

        What was freed (see `quarantine.free`) stays out of all segments before that which hands it out.
        """
        kept = [trip for trip in self.trips if trip["freed"] is None or trip["freed"] > segment]
        return frozenset((root, i) for trip in kept for root, indices in trip["windows"] for i in indices)

    @property
    def recalled(self) -> dict[int, str]:
        """The releases that a trip has taken back, and why."""
        return {number: trip["why"] for trip in self.trips for number in trip["recalled"]}

    @property
    def undone(self) -> frozenset[int]:
        """The releases that are not of the run's present history: a trip went back to before them, recalled or not."""
        return frozenset(number for trip in self.trips for number in trip["undone"])

    def objection(self, now: Signals) -> Objection | None:
        """Why a step must not be applied, from the first detector that objects; None if none does.

        It is a doubt only where the data are orderly, and may be of a new kind.
        """
        found = [objection for detect in self._detectors.values() if (objection := detect.objection(now))]
        certain = [each for each in found if not each.is_doubt]
        if certain or not found:
            return certain[0] if certain else None
        return replace(found[0], is_doubt=self.may_be_new(now))

    def may_be_new(self, now: Signals) -> bool:
        """Whether the strange data of a step are orderly, and of a kind that the model may not know yet."""
        return self._newness.explains(now.segment, now.strange_order)

    def is_new(self, now: Signals, then: Sequence[float], still: Sequence[float]) -> bool:
        """Whether they are: losses `then` of what was learned before are `still` about these. Kept for the segment."""
        nothing = math.log(len(self.unigram.counts))
        return self._newness.accepts(now.segment, now.strange_loss, then, still, nothing)

    def add(self, now: Signals, targets: np.ndarray) -> None:
        """A step is being applied that learns `targets`."""
        understood = not any(detect.puzzles(now) for detect in self._detectors.values())
        for detect in self._detectors.values():
            detect.add(now)
        self._newness.add(now.segment, now.own_order, now.strange_order, understood=understood)
        self.unigram.add(targets)

    def check(self, check: Check) -> str | None:
        """What harm a check shows."""
        return self.watch.objection(check)

    def checks(self) -> Watch:
        """What the checks have shown so far, as a copy."""
        copy = Watch(self._limit)
        copy.load(self.watch.state())
        return copy

    # ---- what is saved with the weights

    def state(self) -> dict[str, Any]:
        """What was seen so far, as JSON, and how many trips were known."""
        seen = {name: detect.state() for name, detect in self._detectors.items()}
        return {
            "trips": len(self.trips),
            "steps": seen,
            "newness": self._newness.state(),
            "checks": self.watch.state(),
        }

    def load(self, state: Mapping[str, Any], counts: np.ndarray) -> None:
        """What `state` gave, and the counts of `unigram`."""
        self.unigram.counts = counts.copy()
        for name, detect in self._detectors.items():
            detect.load(state["steps"][name])
        self._newness.load(state["newness"])
        self.watch.load(state["checks"])

    def is_true(self, values: Mapping[str, Any]) -> bool:
        """Whether a saved state is: no trip that it did not know of went back to before it."""
        return is_true(values, self.trips)

    # ---- trips

    def came_again(self, step: int, back_to: int) -> bool:
        """Whether a trip at this step went back to the same state before, and put nothing in quarantine."""
        if not self.trips:
            return False
        last = self.trips[-1]
        return (last["step"], last["back_to"], last["windows"]) == (step, back_to, [])

    def trip(self, facts: dict[str, Any], windows: Sequence[Window]) -> None:
        """Record a trip, durably.

        `facts`: time, step, why, onset, back_to, documents, undone, recalled, request, and lines: the xxh3 of undone/.
        """
        by_root: dict[str, list[int]] = {}
        for root, index in windows:
            by_root.setdefault(root, []).append(index)
        names = sorted([root, sorted(which)] for root, which in by_root.items())
        self.trips.append(facts | {"windows": names, "freed": None})
        self.num_new += 1
        write_trips(self._run, self.trips)

    def refuse_more(self) -> None:
        """Raise GaveUp when there were more than `max_trips`."""
        if self.num_new > self._max_trips:
            last = self.trips[-1]
            raise GaveUp(
                f"the breaker tripped {self.num_new} times, last at step {last['step']}: {last['why']}; the state of "
                f"step {last['back_to']} stands. See clet release trips {self._run}: if it was not the data, lower "
                "--lr and free them"
            )


def is_true(values: Mapping[str, Any], trips: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a saved state is: see `Breaker.is_true`."""
    later = trips[values["breaker"]["trips"] :]
    return all(values["position"]["step"] <= trip["back_to"] for trip in later)


def write_trips(run: Path, trips: Sequence[Mapping[str, Any]]) -> None:
    """Replace breaker.json, durably. Raises WriteError."""
    write_atomically(run / FILE, seal_document({"trips": trips}))


def read_trips(run: Path) -> list[dict[str, Any]]:
    """All trips of a run, oldest first. Raises InputError where breaker.json is damaged."""
    path = run / FILE
    try:
        with open(path, "rb") as file:
            trips = (unsealed_document(file.read(MAX_BYTES)) or {})["trips"]
        for trip in trips:
            numbers = [trip["step"], trip["back_to"], *trip["undone"], *trip["recalled"]]
            numbers += [] if trip["freed"] is None else [trip["freed"]]
            for root, indices in trip["windows"]:
                numbers += indices
                if not isinstance(root, str):
                    raise TypeError
            texts = (trip["why"], trip["lines"])
            if not all(type(n) is int for n in numbers) or not all(isinstance(text, str) for text in texts):
                raise TypeError
        return trips
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: damaged; restore it from a copy") from None
