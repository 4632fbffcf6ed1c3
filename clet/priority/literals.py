"""Which texts may hold one of many strings: a filter that skips most bytes, and sends hardly a text on for nothing.

Each string is looked for by an *anchor*, that piece of `stride` + 3 bytes of it which has the fewest blanks and is
likely to be rarest elsewhere. Of every `stride` neighbouring blocks of four bytes of a text one is looked up, by a
hash, among the blocks that anchors have, 16 at a time, so that each anchor is met by exactly one of its own (the q-gram
filter of Wu and Manber, 1994). What is met is compared with the anchors.

Letters match in either case, and any white space any other; a text in which an anchor has more white space than its
string is missed, one that has something like an anchor is sent on. Time: 0.2 ns a byte with a stride of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit
from clet.vectors import LANES, first_bit, marked

MAX_BYTES = 1 << 20  # of a text that are read; who hides something behind a megabyte hides it from readers too
BLOCK = 4  # bytes
MAX_STRIDE = 4
LEAST = BLOCK + 1  # bytes of a string that can be looked for
_BLOCK_BITS, _MARK_BITS = 15, 14
_U, _U32 = np.uint64, np.uint32
_GOLDEN = _U(0x9E3779B97F4A7C15)
_MULTIPLY = _U32(0x9E3779B1)
# Folding sets the bit that tells letters of either case apart. It also sets it in white space.
_FOLD, _FOLD_BLOCK = _U(0x2020202020202020), _U32(0x20202020)
_SPACES = b" \t\n\r\v\f"
_BLANKS = sorted({byte | 32 for byte in _SPACES})
# What anchors are better not made of: common letters, the most common first, and the most frequent blocks of English.
_COMMON = b" etaoinsrhldcumfpgwyb"
_FREQUENT = frozenset(
    b"tion|ion |ing | the|the | to | and|and | of | wit|with|that| for|for |ment|atio|ent |here|this| is | in |you "
    b"| are|are ".split(b"|")
)
MAX_BLANKS = 3  # in an anchor, each of which may be any other; where there are more they are alike


class Literals:
    """Strings of at least LEAST bytes. `find` says which texts may hold one."""

    def __init__(self, strings: Sequence[bytes]):
        self._stride = min(MAX_STRIDE, min(map(len, strings)) - BLOCK + 1)
        size = self._stride + BLOCK - 1
        self._blocks = np.zeros((1 << _BLOCK_BITS) + BLOCK - 1, np.bool_)  # four are read at a place, for the first
        anchors = set()
        for string in strings:
            begin = min(range(len(string) - size + 1), key=lambda at: _commonness(string[at : at + size]))
            for form in _forms(string[begin : begin + size]):
                body = np.frombuffer(form + bytes(8), np.uint8)
                for at in range(self._stride):
                    self._blocks[_block(body, _U(at))] = True
                anchors.add(int(_anchor(body, _U(0), _U(size))))
        self._anchors = np.array(sorted(anchors), np.uint64)
        self._marks = np.zeros(1 << _MARK_BITS, np.bool_)
        for key in self._anchors:
            self._marks[_mark(key)] = True
        self._size = _U(size)

    def find(self, values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """`[n]` bool: which of the texts `values[starts[i]:ends[i]]` may hold one of the strings."""
        return _find(values, starts, ends, *self.tables)

    def among(self, text: Ragged, rows: np.ndarray) -> np.ndarray:
        """`[n]` bool: which texts among `rows` `[n]` may hold one of the strings."""
        values = text.values.view()
        values.flags.writeable = False
        out, found = np.zeros(len(text), np.bool_), np.flatnonzero(rows)
        out[found] = self.find(values, text.offsets[found], text.offsets[found + 1])
        return out

    @property
    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, np.uint64]:
        """What `next_anchor` is to be given."""
        return self._blocks, self._marks, self._anchors, self._stride, self._size


def _commonness(anchor: bytes) -> tuple[int, int]:
    """(How many blanks an anchor has, which a second one hides; how common its most common block is likely to be)."""
    folded = anchor.lower()
    blocks = [folded[at : at + BLOCK] for at in range(len(folded) - BLOCK + 1)]
    return sum(byte in _SPACES for byte in anchor), max(
        sum(len(_COMMON) - _COMMON.find(byte) for byte in block if byte in _COMMON) + 100 * (block in _FREQUENT)
        for block in blocks
    )


def _forms(anchor: bytes) -> list[bytes]:
    """The anchor folded, with each kind of white space."""
    blanks = sum(byte in _SPACES for byte in anchor)
    kinds = product(_BLANKS, repeat=blanks) if blanks <= MAX_BLANKS else [(blank,) * blanks for blank in _BLANKS]
    forms = []
    for chosen in kinds:
        left = iter(chosen)
        forms.append(bytes(next(left) if byte in _SPACES else byte | 32 for byte in anchor))
    return forms


@njit
def _block(values, at):
    key = _U32(values[at])
    for i in range(1, BLOCK):
        key |= _U32(values[at + _U(i)]) << _U32(8 * i)
    return _U32((key | _FOLD_BLOCK) * _MULTIPLY) >> _U32(32 - _BLOCK_BITS)


@njit
def _anchor(values, at, size):
    key = _U(0)
    for i in range(size):
        key |= _U(values[at + i]) << (_U(8) * i)
    return key | (_FOLD >> (_U(8) * (_U(8) - size)))


@njit
def _mark(key):
    return (key * _GOLDEN) >> _U(64 - _MARK_BITS)


@njit
def _is_anchor(key, marks, anchors):
    if not marks[_mark(key)]:
        return False
    at = np.searchsorted(anchors, key)
    return at < len(anchors) and anchors[at] == key


@njit
def next_anchor(values, at, begin, end, blocks, marks, anchors, stride, size):
    """(the block at or behind `at` that belongs to an anchor of the text `values[begin:end]`, where that begins).

    Both are `end` where there is none. The next one is found from `stride` behind the block on.
    """
    step, last = _U(stride), end - _U(BLOCK)
    lanes = _U(LANES) * step
    while at + lanes - step <= last:
        found = marked(values, at, step, blocks, _FOLD_BLOCK, _MULTIPLY, _U32(32 - _BLOCK_BITS))
        while found:
            block = at + first_bit(found) * step
            start = _anchor_at(values, block, step, begin, end, marks, anchors, size)
            if start < end:
                return block, start
            found &= found - _U(1)
        at += lanes
    while at <= last:
        if blocks[_block(values, at)]:
            start = _anchor_at(values, at, step, begin, end, marks, anchors, size)
            if start < end:
                return at, start
        at += step
    return end, end


@njit
def _anchor_at(values, at, step, begin, end, marks, anchors, size):
    """Where the anchor begins that the block at `at` is of; `end` if it is of none."""
    for back in range(step):
        start = at - back
        inside = at >= begin + back and start + size <= end
        if inside and _is_anchor(_anchor(values, start, size), marks, anchors):
            return start
    return end


@njit
def _find(values, starts, ends, blocks, marks, anchors, stride, size):
    out = np.zeros(len(starts), np.bool_)
    for row in range(len(starts)):
        begin, end = _U(starts[row]), _U(min(ends[row], starts[row] + MAX_BYTES))
        if end - begin >= size:
            _, found = next_anchor(values, begin, begin, end, blocks, marks, anchors, stride, size)
            out[row] = found < end
    return out
