"""How far an epoch has come, and who takes what of the rest: a few bytes, whatever the number of readers.

The windows of an epoch stand in one order (see `shuffle`). What is left of it is dealt out: of `world` readers,
number r takes every world-th from r on. A place is therefore enough to go on with any other number of readers: none of
the windows comes twice or is lost. Readers need not keep in step: where one was faster, those that the others left out
are named in the place, at most `world` times the steps between the fastest and the slowest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clet.exits import UsageError

_HEAD = struct.Struct("<QIQ")  # whose place it is, epoch, passed


@dataclass(frozen=True, slots=True)
class Place:
    """In `epoch`, all positions of its order below `passed` have been taken but those `left`, ascending."""

    epoch: int = 0
    passed: int = 0
    left: tuple[int, ...] = ()

    def remaining(self, total: int) -> int:
        """How many of `total` windows are not taken yet."""
        return len(self.left) + total - self.passed

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """The positions in the epoch's order of the rest's windows `numbers` [n], counted from 0."""
        left = np.asarray(self.left, np.int64)
        behind = self.passed + numbers - len(left)
        return np.where(numbers < len(left), left[np.minimum(numbers, len(left) - 1)], behind) if len(left) else behind

    def after(self, total: int, taken: Sequence[int]) -> Place:
        """The place once reader r of `len(taken)` has taken the first `taken[r]` of its share of what was left.

        Raises ValueError where that is more than its share.
        """
        world, size = len(taken), self.remaining(total)
        if any(not 0 <= count <= share(size, rank, world) for rank, count in enumerate(taken)):
            raise ValueError("a reader took more than its share")
        end = max((rank + world * (count - 1) + 1 for rank, count in enumerate(taken) if count), default=0)
        numbers = np.arange(min(taken) * world, max(end, len(self.left)))
        open_ = numbers[numbers // world >= np.asarray(taken)[numbers % world]]
        return Place(self.epoch, self.passed + max(0, end - len(self.left)), tuple(self.positions(open_).tolist()))

    def to_bytes(self, owner: int) -> bytes:
        """The place of the set of shards and order `owner` (64 bits): 20 bytes, and 8 for each window left out."""
        return _HEAD.pack(owner, self.epoch, self.passed) + np.asarray(self.left, "<i8").tobytes()

    @staticmethod
    def from_bytes(body: bytes, owner: int) -> Place:
        """The place that `to_bytes` wrote. Raises UsageError where it is none, or of other shards or another order."""
        if len(body) < _HEAD.size or (len(body) - _HEAD.size) % 8:
            raise UsageError(f"{len(body)} bytes are no place in an epoch")
        whose, epoch, passed = _HEAD.unpack_from(body)
        if whose != owner:
            raise UsageError("the place is one in other shards, or in another order of them")
        left = np.frombuffer(body, "<i8", offset=_HEAD.size)
        if (np.diff(left) <= 0).any() or (left < 0).any() or (left >= passed).any():
            raise UsageError("the place names windows that it cannot have left out")
        return Place(epoch, passed, tuple(left.tolist()))


def share(size: int, rank: int, world: int) -> int:
    """How many of `size` windows reader `rank` of `world` takes."""
    return max(0, size - rank + world - 1) // world
