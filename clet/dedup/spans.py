"""Repeated spans: runs of tokens that stood in an earlier document, or earlier in the same one.

A token is *repeated* if it lies in a window of SPAN consecutive tokens that occurred before (Lee et al. 2022,
2107.06499, with 50 tokens; theirs finds all by a suffix array over everything at once). Here documents stream by and
the past may be a month, so windows are sampled by their content: of any GUARANTEE consecutive windows the one with the
least hash is kept (winnowing; Schleimer, Wilkerson and Aiken, SIGMOD 2003), and kept windows are looked up. The same
window is then kept wherever it stands, two in GUARANTEE + 1 are stored, and no repeated run of SPAN + GUARANTEE - 1
tokens or more is missed. What is found is exact, since a hit is 64 bits of hash over all tokens of the window; missed
are at most GUARANTEE - 1 tokens at either end of a run. Sampling one window in so many by its hash alone (Manber 1994)
finds less at the same memory, because its gaps have no bound: 84% of repeated tokens where this finds 95%.

The first occurrence stays whole, also inside one document: a window counts as seen only behind its own last token.

Cost: 15 to 25 ns a token; 8 bytes a kept window, 2.7 bytes a token that is new.
"""

from __future__ import annotations

import numpy as np

from clet.batch import Ragged
from clet.dedup.words import WordTable
from clet.kernels import njit

GUARANTEE = 5  # consecutive windows, of which one at least is kept
MIN_SLOTS = 1 << 12

Span = list[int]  # [start, end) in tokens of a document

_U = np.uint64
_BASE = _U(0x9E3779B97F4A7C15)
_P1, _P2 = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)


class SpanSet:
    """Hashes of sampled windows; 0 is none."""

    def __init__(self) -> None:
        self._slots = np.zeros(MIN_SLOTS, np.uint64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def sorted(self) -> np.ndarray:
        """All of them, ascending."""
        return np.sort(self._slots[self._slots != 0])

    def reserve(self, more: int) -> np.ndarray:
        """The slots, with room for so many more."""
        if 3 * (self._size + more) > 2 * len(self._slots):
            longer = np.zeros(1 << (2 * (self._size + more) - 1).bit_length(), np.uint64)
            _refill(self._slots, longer)
            self._slots = longer
        return self._slots

    def grew(self, by: int) -> None:
        """Count what was put into the slots."""
        self._size += by


def sampled_windows(tok: Ragged, span: int, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hashes, starts, offsets): the sampled windows of `span` tokens of each row, row i's at offsets[i] to [i + 1]."""
    ids = tok.values.view()
    ids.flags.writeable = False  # as they come from a frame: kernels are compiled for one kind of array
    offsets = np.zeros(len(tok) + 1, np.int64)
    room = len(ids) // 2 + 4096
    while True:
        hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int32)
        count = _sample(ids, np.array(tok.offsets), span, _U(key), hashes, starts, offsets)
        if count >= 0:
            return hashes[:count], starts[:count], offsets
        room = len(ids) + 1


def find_repeated(
    hashes: np.ndarray,
    starts: np.ndarray,
    offsets: np.ndarray,
    span: int,
    known: np.ndarray,
    new: SpanSet,
    needed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(spans `[m, 2]`, how many each row has `[n]`): what is repeated in rows of sampled windows, in order.

    `known` says which hashes segments have. The others are looked up in `new`, and join it; not those of a row of
    which more than `needed[i]` tokens are repeated: it will be dropped, and what only it had was never passed on.
    """
    out = np.empty((len(hashes), 2), np.int32)
    counts = np.zeros(len(offsets) - 1, np.int64)
    if needed is None:
        needed = np.full(len(counts), np.iinfo(np.int64).max)
    slots = new.reserve(len(hashes))
    num_spans, added, _ = _find(slots, hashes, starts, offsets, span, known, needed, out, counts)
    new.grew(added)
    return out[:num_spans], counts


def cut_text(
    tok: Ragged, remove: np.ndarray, text: Ragged, table: WordTable, has_text: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(bytes, lengths `[n]`): texts without the bytes of the tokens that `remove`, bool a token, says.

    A text that is not what its ids spell cannot be cut: `has_text` becomes 0 for it.
    """
    out, lengths = np.empty(len(text.values), np.uint8), np.zeros(len(tok), np.int64)
    ids = tok.values.view()
    ids.flags.writeable = False
    size = _cut(
        ids, np.array(tok.offsets), remove, text.values, np.array(text.offsets), table.values, table.offsets,
        has_text, out, lengths,
    )  # fmt: skip
    return out[:size], lengths


@njit
def _cut(ids, offsets, remove, text, text_offsets, values, value_offsets, has_text, out, lengths):
    size = 0
    for row in range(len(offsets) - 1):
        begin, end = text_offsets[row], text_offsets[row + 1]
        first = size
        changed = False
        for i in range(offsets[row], offsets[row + 1]):
            changed |= remove[i]
        if not changed:
            for at in range(begin, end):
                out[size] = text[at]
                size += 1
        elif has_text[row]:
            at = begin
            for i in range(offsets[row], offsets[row + 1]):
                for j in range(value_offsets[ids[i]], value_offsets[ids[i] + 1]):
                    if at == begin and values[j] == 32 and i == offsets[row] and text[at] != 32:
                        continue  # a space that the tokenizer put in front of all texts
                    if at == end or text[at] != values[j]:
                        has_text[row] = 0
                        break
                    if not remove[i]:
                        out[size] = text[at]
                        size += 1
                    at += 1
                if not has_text[row]:
                    break
            if at != end:
                has_text[row] = 0
            if not has_text[row]:
                size = first
        lengths[row] = size - first
    return size


@njit
def _sample(ids, offsets, span, key, hashes, starts, row_offsets):
    """Winnow the window hashes of each row; how many were kept, -1 where `hashes` has no room."""
    count = 0
    leaving = _U(1)  # _BASE^span
    for _ in range(span):
        leaving *= _BASE
    # The low three bits of a hash say where its window begins, modulo 8: then the least of the last few is one number,
    # found without a branch. Equal windows that are near each other have equal hashes but for that.
    values = np.empty(1 << 12, np.uint64)
    for row in range(len(offsets) - 1):
        begin, size = offsets[row], offsets[row + 1] - offsets[row] - span + 1
        row_offsets[row + 1] = count
        if size <= 0:
            continue
        if size > len(values):
            values = np.empty(2 * size, np.uint64)
        if count + size > len(hashes):
            return -1
        total = _U(0)
        for at in range(begin, begin + span):
            total = total * _BASE + _U(ids[at]) + _U(1)
        for at in range(size):
            x = (total ^ key) * _P1
            values[at] = ((x ^ (x >> _U(32))) * _P2 & ~_U(7)) | _U(at & 7)
            if at + 1 < size:
                total = total * _BASE + _U(ids[begin + at + span]) + _U(1) - (_U(ids[begin + at]) + _U(1)) * leaving
        last = values[0]
        for at in range(1, min(size, GUARANTEE)):
            last = min(last, values[at])
        place = min(size, GUARANTEE) - 1
        hashes[count], starts[count] = last | _U(7), place - ((place - np.int64(last & _U(7))) & 7)
        count += 1
        for at in range(GUARANTEE, size):
            least = values[at]
            for back in range(1, GUARANTEE):
                least = min(least, values[at - back])
            hashes[count], starts[count] = least | _U(7), at - ((at - np.int64(least & _U(7))) & 7)
            count += least != last
            last = least
        row_offsets[row + 1] = count
    return count


@njit
def _find(slots, hashes, starts, offsets, span, known, needed, out, counts):
    mask = len(slots) - 1
    num_spans = added = 0
    touched = _U(0)
    places = np.empty(1 << 10, np.int64)  # of the slots that a row has filled
    for row in range(len(offsets) - 1):
        waiting = offsets[row]  # the next window that is not in the set
        first = num_spans
        filled = covered = 0
        if offsets[row + 1] - offsets[row] > len(places):
            places = np.empty(2 * (offsets[row + 1] - offsets[row]), np.int64)
        for i in range(offsets[row], offsets[row + 1]):  # fetch what is about to be read, many lines at a time
            touched ^= slots[np.int64(hashes[i] >> _U(3)) & mask]
        for i in range(offsets[row], offsets[row + 1]):
            while starts[waiting] + span <= starts[i]:
                filled = _add(slots, mask, hashes[waiting], known[waiting], places, filled)
                waiting += 1
            found = known[i]
            if not found:
                at = np.int64(hashes[i] >> _U(3)) & mask
                while slots[at] and slots[at] != hashes[i]:
                    at = (at + 1) & mask
                found = slots[at] != 0
            if not found:
                continue
            if num_spans > first and out[num_spans - 1, 1] >= starts[i]:
                covered += starts[i] + span - out[num_spans - 1, 1]
                out[num_spans - 1, 1] = starts[i] + span
            else:
                out[num_spans, 0], out[num_spans, 1] = starts[i], starts[i] + span
                covered += span
                num_spans += 1
        for i in range(waiting, offsets[row + 1]):
            filled = _add(slots, mask, hashes[i], known[i], places, filled)
        if covered > needed[row]:
            for i in range(filled - 1, -1, -1):  # the last ones first: nothing was put behind them
                slots[places[i]] = _U(0)
            filled = 0
        added += filled
        counts[row] = num_spans - first
    return num_spans, added, touched


@njit
def _add(slots, mask, value, known, places, filled):
    if known:
        return filled
    at = np.int64(value >> _U(3)) & mask
    while slots[at]:
        if slots[at] == value:
            return filled
        at = (at + 1) & mask
    slots[at] = value
    places[filled] = at
    return filled + 1


@njit
def _refill(old, new):
    mask = len(new) - 1
    for value in old:
        if value:
            at = np.int64(value >> _U(3)) & mask
            while new[at]:
                at = (at + 1) & mask
            new[at] = value
