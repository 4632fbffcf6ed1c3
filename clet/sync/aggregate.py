"""How deltas become versions: acceptance, weights, and delayed Nesterov momentum.

A delta is a pseudo-gradient, global minus local weights after a worker's inner steps (DiLoCo, arXiv:2311.08105). It is
applied the moment it arrives, times a weight of three factors, none above one:

- 1 / (1 + staleness), where staleness counts the versions made since the worker's base. In an even fleet of M workers
  everybody is M - 1 versions late, so the weights of one turn add up to one mean delta: this is the 1/M of a barrier,
  without counting workers.
- min(1, tokens / median tokens of recent deltas): a short round counts for less, a boast for nothing.
- min(1, CLIP x median norm of recent deltas / norm): centred on what the fleet does, one worker cannot pull harder
  than CLIP typical deltas. A norm above that of the weights themselves is refused: no honest round rewrites a model.

Momentum follows delayed Nesterov (Liu et al., asynchronous Local-SGD, arXiv:2401.09135): deltas step plainly, and a
buffer gathers them; when the gathered weight reaches one (a turn of the fleet, whatever its size), momentum takes in
the buffer's mean and steps once. With one worker this is exactly Nesterov momentum as torch defines it.

All arithmetic on vectors is elementwise float32 with scalars computed once and recorded, so that a replayed journal
gives the same bits. Memory: three vectors, and three more while a version is made (readers keep the old one).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DEFAULT_LR = 0.7  # DiLoCo's outer Nesterov settings, found best there for 2 to 64 workers
DEFAULT_MOMENTUM = 0.9
CLIP = 3.0
RECENT = 32  # deltas remembered for the medians
MIN_RECENT = 4  # before that many, a median says nothing
FULL_TURN = 1.0 - 1e-6  # three thirds must count as one


class Refused(Exception):
    """A delta that must not be applied; the text is the reason a worker is given."""


@dataclass(frozen=True)
class Verdict:
    """How an accepted delta counts: the product of all factors, the norm it came with and the clip alone."""

    weight: float
    norm: float
    clip: float


class Acceptance:
    """Judges deltas by those accepted lately."""

    def __init__(self, norms: list[float] = [], tokens: list[int] = []) -> None:
        self._norms = deque(norms, RECENT)
        self._tokens = deque(tokens, RECENT)

    def judge(self, delta: np.ndarray, *, tokens: int, staleness: int, weights_norm: float) -> Verdict:
        """The verdict on a finite `delta`. Raises Refused; changes nothing."""
        norm = l2_norm(delta)
        if not math.isfinite(norm) or norm > weights_norm:
            raise Refused(f"norm {norm:.3g} is above that of the weights, {weights_norm:.3g}")
        clip = share = 1.0
        if len(self._norms) >= MIN_RECENT:
            bound = CLIP * statistics.median(self._norms)
            clip = min(1.0, bound / norm) if norm > 0 else 1.0
            share = min(1.0, tokens / statistics.median(self._tokens))
        return Verdict(clip * share / (1 + staleness), norm, clip)

    def remember(self, norm: float, clip: float, tokens: int) -> None:
        """Count an accepted delta, by the norm it was clipped to."""
        self._norms.append(norm * clip)
        self._tokens.append(tokens)

    def values(self) -> dict[str, Any]:
        """What `Acceptance(**values)` restores."""
        return {"norms": list(self._norms), "tokens": list(self._tokens)}


class DelayedNesterov:
    """The global weights and their momentum. `weights` [size] is replaced, never written into: readers may keep it."""

    def __init__(
        self,
        weights: np.ndarray,
        momentum: np.ndarray | None = None,
        buffer: np.ndarray | None = None,
        mass: float = 0.0,
    ) -> None:
        self.weights = weights
        self.momentum = np.zeros_like(weights) if momentum is None else momentum
        self.buffer = np.zeros_like(weights) if buffer is None else buffer
        self.mass = mass

    def apply(self, delta: np.ndarray, *, weight: float, lr: float, momentum: float) -> None:
        """Take one step by `delta` [size]; every vector is replaced by a new one."""
        step = delta * np.float32(weight)
        buffer = self.buffer + step
        self.mass += weight
        if self.mass >= FULL_TURN:
            self.momentum = self.momentum * np.float32(momentum) + buffer * np.float32(1.0 / self.mass)
            step += self.momentum * np.float32(momentum)
            buffer = np.zeros_like(buffer)
            self.mass = 0.0
        self.buffer = buffer
        self.weights = self.weights - step * np.float32(lr)

    def vectors(self) -> Mapping[str, np.ndarray]:
        """What a snapshot keeps, beside `mass`."""
        return {"weights": self.weights, "momentum": self.momentum, "buffer": self.buffer}


def l2_norm(vector: np.ndarray) -> float:
    """Euclidean norm, summed in float64 by pieces: float32 would overflow at 1e19."""
    total = 0.0
    for start in range(0, vector.size, 1 << 20):
        part = vector[start : start + (1 << 20)].astype(np.float64)
        total += float(part @ part)
    return math.sqrt(total)
