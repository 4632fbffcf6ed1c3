"""Detectors that look at the checks made every so many steps: drift on held-out text, and canaries that are lost.

Drift is a Page-Hinkley test (Page 1954; Hinkley 1971) on each held-out set's loss: rises above a moving reference are
summed, less ALLOWANCE a check, and the sum trips at `limit` nats a token. The reference is an average over about
REFERENCE checks, not over all of the past: a set that has been getting better for a thousand steps would otherwise
have to become as bad as its average before anything is noticed. The text is the same at every check, so there is no
sampling noise; what is left is the weights' own, below 0.01 nats, and no false alarm can come of that.

A canary is a prompt whose answer must be kept. It *holds* when the answer is what the model would say greedily. One
that held is lost when it no longer holds and its answer has become less than half as likely a token as at best: an
answer that is neck and neck with another one does not trip at every check.

State: a few numbers a set, one a canary; saved with the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALLOWANCE = 0.01  # nats a token: a rise of so much from check to check is never summed
REFERENCE = 4
LOST = math.log(2)  # nats a token below its best


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found: loss (nats a token) of each held-out set, and of each canary (loss, whether it holds)."""

    held_out: Mapping[str, float]
    canaries: Mapping[str, tuple[float, bool]]

    def to_json(self) -> dict[str, Any]:
        """As it is told and kept."""
        held = sum(holds for _, holds in self.canaries.values())
        return {"held_out": dict(self.held_out), "canaries": {"of": len(self.canaries), "hold": held}}


class PageHinkley:
    """Drift of one held-out set."""

    def __init__(self, limit: float, state: Mapping[str, Any] | None = None):
        self._limit = limit
        state = state or {"reference": None, "sum": 0.0}
        self._reference: float | None = state["reference"]
        self._sum: float = state["sum"]

    def add(self, loss: float) -> float | None:
        """Take in a check; by how many nats the set has drifted, where that is above the limit."""
        if not math.isfinite(loss):
            return math.inf
        if self._reference is None:
            self._reference = loss
        self._sum = max(0.0, self._sum + loss - self._reference - ALLOWANCE)
        self._reference += (loss - self._reference) / REFERENCE
        return self._sum if self._sum >= self._limit else None

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""
        return {"reference": self._reference, "sum": self._sum}


class Watch:
    """All held-out sets and canaries of a run; those that are not checked any more are forgotten."""

    def __init__(self, limit: float):
        self._limit = limit
        self._drift: dict[str, PageHinkley] = {}
        self._best: dict[str, float] = {}  # canary -> lowest loss while it held

    def objection(self, check: Check) -> str | None:
        """Take in a check; what harm it shows."""
        self._drift = {name: self._drift.get(name) or PageHinkley(self._limit) for name in check.held_out}
        why = None
        for name, loss in check.held_out.items():
            if (drifted := self._drift[name].add(loss)) is not None:
                why = why or f"drift: {name} is {drifted:.2f} nats a token worse, at {loss:.3f}"
        lost = self.lost(check)
        self._best = {
            key: min(loss, self._best.get(key, math.inf)) if holds else self._best[key]
            for key, (loss, holds) in check.canaries.items()
            if holds or key in self._best
        }
        return why or (f"canary lost: {', '.join(lost[:3])}" if lost else None)

    def lost(self, check: Check) -> list[str]:
        """The canaries that held once and are lost."""
        return [
            key
            for key, (loss, holds) in check.canaries.items()
            if not holds and key in self._best and not loss <= self._best[key] + LOST
        ]

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""
        return {"drift": {name: found.state() for name, found in self._drift.items()}, "canaries": self._best}

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self._drift = {name: PageHinkley(self._limit, values) for name, values in state["drift"].items()}
        self._best = dict(state["canaries"])
