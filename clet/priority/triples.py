"""The table of token triples: how often each was met, and which are being watched, found with one look at memory.

A block of 32 bytes stands for one of 2^20 ranges of the triple's hash: four counts for the quarters of that range,
which the n-gram model (`clet.priority.novelty`) reads and adds to, and the place of one watched phrase
(`clet.priority.burst`). The table is larger than a processor's cache, so that what a triple costs is the wait for its
block; kept apart, the two would be waited for twice. Blocks begin at a multiple of their size, so that none lies in two
lines of the cache.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit

BLOCK_BITS = 20
COUNTS = 4  # a block: float32 each, the first half of it
HEAD, WORD = 2, 3  # columns of the place, where a block is four uint64
WIDTH = 4

_U = np.uint64
BLOCK_SHIFT = _U(64 - BLOCK_BITS)
_COUNT_SHIFT, _COUNT_MASK = _U(64 - BLOCK_BITS - 2), _U(COUNTS - 1)


def new_blocks() -> np.ndarray:
    """Empty blocks `[2^20, WIDTH]` uint64."""
    size = WIDTH << BLOCK_BITS
    room = np.zeros(size + WIDTH, np.uint64)
    skip = -room.ctypes.data // 8 % WIDTH
    return room[skip : skip + size].reshape(-1, WIDTH)


@njit
def count_of(triple):
    """Which of its block's counts is a triple's, by its hash."""
    return (triple >> _COUNT_SHIFT) & _COUNT_MASK
