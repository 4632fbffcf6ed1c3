"""A curve of unknown length in bounded memory: buckets that double their width when they are full.

Each bucket keeps the least, the greatest and the weighted mean of its values, so that a spike of one step is seen
among a million. `limit` buckets at most, between `limit / 2` and `limit` once there were as many values; adding one
costs less than a microsecond, and every merge is paid for by the values before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Values from `first` to `last` on the x axis: `low`, `high`, and `total` over `weight`."""

    first: float
    last: float
    low: float
    high: float
    total: float
    weight: float

    @property
    def mean(self) -> float:
        """The weighted mean; what lies between low and high where the weights are nothing."""
        return self.total / self.weight if self.weight else (self.low + self.high) / 2


class Series:
    """A curve. `add` in order of x; `buckets` is the curve."""

    def __init__(self, limit: int = 512):
        self._limit = limit
        self._width = 1  # values in a full bucket
        self._inside = 0  # values in the last bucket
        self.buckets: list[Bucket] = []

    def add(self, x: float, value: float, weight: float = 1.0) -> None:
        """One more value, which must be finite; others are passed over."""
        if not math.isfinite(value):
            return
        if self._inside < self._width and self.buckets:
            self._inside += 1
            _merge(self.buckets[-1], Bucket(x, x, value, value, value * weight, weight))
            return
        if len(self.buckets) == self._limit:
            self._double()
        self.buckets.append(Bucket(x, x, value, value, value * weight, weight))
        self._inside = 1

    def _double(self) -> None:
        left, right = self.buckets[0::2], self.buckets[1::2]
        for bucket, other in zip(left, right, strict=False):
            _merge(bucket, other)
        self.buckets = left
        self._width *= 2


def _merge(into: Bucket, other: Bucket) -> None:
    into.last = other.last
    into.low, into.high = min(into.low, other.low), max(into.high, other.high)
    into.total += other.total
    into.weight += other.weight
