"""Gradient clipping: how long a gradient may be, given how long those before it were.

`norm` is the usual bound of 1. `zclip` (ZClip, Kumar et al. 2025, arXiv:2504.02507) also keeps running moments of the
norm, and a gradient that is z > 2.5 deviations above the mean is shortened to mean + 2.5^2 / z deviations: the more
unusual, the shorter. A fixed bound is too wide late in training, when norms are a tenth of it, and a burst ten times
the usual passes. The bound of 1 holds besides. The moments start as those of the first 25 steps and then forget by
0.97 a step; a gradient that was shortened counts as long as it was made, and one that is not finite does not count.

The moments are part of the training state: a resumed run clips as the undisturbed one, and a roll-back forgets what
it undoes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CLIP_NORM = 1.0
WARMUP = 25
Z_LIMIT = 2.5
ALPHA = 0.97
EPS = 1e-6


@dataclass(slots=True)
class NormMoments:
    """Mean and variance of the norms of a run's gradients, `count` of which were seen."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation, never zero."""
        return math.sqrt(self.variance) + EPS

    def add(self, norm: float) -> None:
        """Take one more norm in."""
        self.count += 1
        if self.count <= WARMUP:  # Welford's update of the moments of all
            before = norm - self.mean
            self.mean += before / self.count
            self.variance += (before * (norm - self.mean) - self.variance) / self.count
            return
        self.mean = ALPHA * self.mean + (1.0 - ALPHA) * norm
        self.variance = ALPHA * self.variance + (1.0 - ALPHA) * (norm - self.mean) ** 2

    def to_tensor(self) -> Tensor:
        """As the saved state keeps them."""
        return torch.tensor([self.count, self.mean, self.variance], dtype=torch.float64)

    @staticmethod
    def from_tensor(values: Tensor) -> NormMoments:
        """What `to_tensor` gave."""
        count, mean, variance = values.tolist()
        return NormMoments(int(count), mean, variance)


Clip = Callable[[float, NormMoments], float]  # (norm, those before) -> the norm it counts as, the usual bound aside


def by_norm(norm: float, seen: NormMoments) -> float:
    """Nothing but the usual bound."""
    return norm


def by_z_score(norm: float, seen: NormMoments) -> float:
    """Shorter, if it is unusually long."""
    if seen.count < WARMUP:
        return norm
    z = (norm - seen.mean) / seen.deviation
    return norm if z <= Z_LIMIT else seen.mean + Z_LIMIT**2 / z * seen.deviation


CLIPS: dict[str, Clip] = {"zclip": by_z_score, "norm": by_norm}
