"""Update gates: whether the gradient of a step is worth its update (event-triggered updates).

A gate is a pure function of what the step knows, so it has nothing to save; what it needs of the past is in the running
moments of the gradient's norm. Where it says no, the gradient is dropped: weights and moments stay, the windows count
as learned, and the line of the step says `"skipped": NAME`. `always` is what every trainer does.

To add one: a function here, and a line in `GATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clet.train.clipping import NormMoments


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What a gate sees: the norm of the gradient before clipping, those before it, and the rate of the update."""

    norm: float
    seen: NormMoments
    rate: float


Gate = Callable[[StepFacts], bool]


def always(facts: StepFacts) -> bool:
    """Every step is applied."""
    return True


GATES: dict[str, Gate] = {"always": always}
