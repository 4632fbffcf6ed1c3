"""Learning-rate schedules: pure functions of the step, so that a run resumes and grows without a plan of its end.

`infinite` (Ibrahim et al. 2024, arXiv:2403.08763, section 7; Singh et al. 2025, arXiv:2503.02844) warms up, decays
along a cosine to a constant, and stays there for ever: new data never meet a re-warmed rate, which is what makes a
model forget. `constant` warms up and stays at its peak. Neither ends; a release that wants a cooldown branches off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

CONSTANT_SHARE = 0.55  # of the peak, for ever: 1.65e-4 of 3e-4 in arXiv:2403.08763
DECAY_WARMUPS = 20  # the decay lasts so many warm-ups: warm-up 1% and decay some 20% of a first phase


@dataclass(frozen=True, slots=True)
class Rate:
    """What a schedule is made from: peak learning rate, and steps of warm-up."""

    peak: float
    warmup: int


def infinite(step: int, rate: Rate) -> float:
    """Linear warm-up to the peak, cosine to `CONSTANT_SHARE` of it, then constant. Steps count from 1."""
    if step <= rate.warmup:
        return _warm(step, rate)
    decay = DECAY_WARMUPS * rate.warmup
    done = min(1.0, (step - rate.warmup) / decay) if decay else 1.0
    floor = CONSTANT_SHARE * rate.peak
    return floor + (rate.peak - floor) * 0.5 * (1.0 + math.cos(math.pi * done))


def constant(step: int, rate: Rate) -> float:
    """Linear warm-up to the peak, then the peak. Steps count from 1."""
    return _warm(step, rate) if step <= rate.warmup else rate.peak


def _warm(step: int, rate: Rate) -> float:
    return rate.peak * step / rate.warmup


def phase(name: str, step: int, rate: Rate) -> str:
    """Where in its schedule a step is: `warmup`, `decay` or `constant`."""
    if step <= rate.warmup:
        return "warmup"
    return "decay" if name == "infinite" and step < rate.warmup * (1 + DECAY_WARMUPS) else "constant"


SCHEDULES: dict[str, Callable[[int, Rate], float]] = {"infinite": infinite, "constant": constant}
