"""The table of token triples: how often each was met, and which are being watched, found with one look at memory.

A block of 16 bytes stands for one of 2^20 ranges of the triple's hash: four counts for the quarters of that range
(`clet.priority.counts`), which the n-gram model (`clet.priority.novelty`) reads and adds to, and the place of one
watched phrase (`clet.priority.burst`). The table is larger than a processor's cache, so that what a triple costs is the
wait for its block; kept apart, the two would be waited for twice. Blocks begin at a multiple of their size, so that
none lies in two lines of the cache.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf

BLOCK_BITS = 20
COUNTS = 4  # of a block, 16 bits each: the first half of it
PLACE = 1  # column of the place, where a block is two uint64
WIDTH = 2

_U = np.uint64
_BLOCK_SHIFT, _QUARTER_SHIFT = _U(64 - BLOCK_BITS), _U(64 - BLOCK_BITS - 2)
_ONE, _THREE = _U(1), _U(3)


def new_blocks() -> np.ndarray:
    """Empty blocks `[2^20, WIDTH]` uint64."""
    size = WIDTH << BLOCK_BITS
    room = np.zeros(size + WIDTH, np.uint64)
    skip = -room.ctypes.data // 8 % WIDTH
    return room[skip : skip + size].reshape(-1, WIDTH)


@leaf(forceinline=True)
def place_of(triple):
    """Where the place for a triple is, by its hash, in the table as one row of uint64: behind the counts of a block."""
    return (triple >> _BLOCK_SHIFT << _ONE) | _ONE


@leaf(forceinline=True)
def count_at(triple):
    """Where the count of a triple is, by its hash, in the table as one row of uint16."""
    return (triple >> _BLOCK_SHIFT << _THREE) | (triple >> _QUARTER_SHIFT & _THREE)
