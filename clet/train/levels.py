"""Robust running statistics of a positive signal: where it is, and how far it usually strays.

Everything is on the logarithm: a loss or a gradient norm that doubles has moved as far at 0.5 as at 8. The level is an
exponential moving average with a half-life of HALF_LIFE steps that follows falls at once and rises by at most
MAX_RISE scales a step, so that a spike does not become the new normal. The scale is that of the noise alone, whatever
the trend: 1.4826 / sqrt(2) times the median of the last WINDOW absolute differences from step to step (the median
absolute deviation of Hampel 1974, on von Neumann's differences), which half of them would have to corrupt to move. A
new segment of data may lie elsewhere: there the level is found anew in SETTLE steps, the scale is kept.

Cost: a median of WINDOW numbers a step. The state is a few numbers, saved with the run: a resumed run judges alike.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Side = Literal["above", "below"]  # of a level

HALF_LIFE = 16
ALPHA = 1 - 0.5 ** (1 / HALF_LIFE)
WINDOW = 128
MIN_DIFFERENCES = 24  # before these are seen nothing is judged
SETTLE = 16
MAX_RISE = 3.0
TO_SIGMA = 1.4826  # of a normal distribution's MAD
TO_NOISE = TO_SIGMA / math.sqrt(2)  # of one value, where differences of two are measured


class Level:
    """The running level and scale of a signal; `floor` is the least scale, in logarithms."""

    def __init__(self, floor: float):
        self._floor = floor
        self.level: float | None = None
        self._settled = 0
        self._segment = -1
        self._last: float | None = None
        self._differences: list[float] = []

    def residual(self, segment: int, value: float) -> tuple[float, float] | None:
        """(log-distance from the level, the same in scales) of a value that was not added; None while settling."""
        if segment != self._segment or self._settled < SETTLE or len(self._differences) < MIN_DIFFERENCES:
            return None
        away = math.log(max(value, 1e-12)) - self.level
        return away, away / self.scale

    @property
    def scale(self) -> float:
        """How far the signal usually strays, in logarithms."""
        spread = TO_NOISE * float(np.median(self._differences)) if self._differences else 0.0
        return max(spread, self._floor)

    def add(self, segment: int, value: float) -> None:
        """Take in the value of a step that was made."""
        x = math.log(max(value, 1e-12))
        if segment != self._segment:
            self._segment, self._settled, self.level, self._last = segment, 0, x, None
        away = x - self.level
        if self._settled < SETTLE:
            self._settled += 1
            self.level += away / self._settled
        else:
            self.level += ALPHA * min(away, MAX_RISE * self.scale)
        if self._last is not None:
            self._differences = [*self._differences[1 - WINDOW :], abs(x - self._last)]
        self._last = x

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""
        return {
            "level": self.level,
            "settled": self._settled,
            "segment": self._segment,
            "last": self._last,
            "differences": self._differences,
        }

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self.level, self._settled, self._segment = state["level"], state["settled"], state["segment"]
        self._last, self._differences = state["last"], list(state["differences"])
