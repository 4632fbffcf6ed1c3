"""Records out of many batches into one, in any order: one copy of each column, without a Python object a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clet.batch import Batch, Ragged
from clet.kernels import njit
from clet.streams import BATCH_RECORDS

MAX_BYTES = 16 << 20  # of a batch that is put together


@dataclass
class Part:
    """Records and their rows of the window's table."""

    batch: Batch
    held: np.ndarray


def gather(chunks: Sequence[Batch], held: np.ndarray) -> Iterator[Part]:
    """The records that `held` (rows with `chunk`, `row` and `size`) names, in its order.

    A batch ends where the next record has another kind of tokens than its first, or where it is full.
    """
    if not len(held):
        return
    kinds = np.array([_kind(chunks, number) for number in range(len(chunks))])[held["chunk"]]
    breaks = np.flatnonzero(np.diff(kinds)) + 1
    for begin, end in pairwise([0, *breaks.tolist(), len(held)]):
        while begin < end:
            sizes = np.cumsum(held["size"][begin:end])
            count = min(BATCH_RECORDS, max(1, int(np.searchsorted(sizes, MAX_BYTES, side="right"))), end - begin)
            part = held[begin : begin + count]
            yield Part(_together(chunks, part), part)
            begin += count


def _kind(chunks: Sequence[Batch], number: int) -> int:
    return next(k for k in range(number + 1) if chunks[k].joins(chunks[number]))


def _together(chunks: Sequence[Batch], part: np.ndarray) -> Batch:
    numbers, rows = part["chunk"], part["row"].astype(np.int64)
    distinct = np.unique(numbers).tolist()
    first = chunks[distinct[0]]
    if len(distinct) == 1 and np.array_equal(rows, np.arange(len(first))):
        return first
    places = [np.flatnonzero(numbers == number) for number in distinct]

    def column(name: str) -> Ragged:
        parts = [getattr(chunks[number], name) for number in distinct]
        lengths = np.empty(len(part), np.int64)
        for each, place in zip(parts, places, strict=True):
            lengths[place] = each.lengths[rows[place]]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        out = np.empty(int(offsets[-1]), parts[0].values.dtype)
        target = out.view(np.uint8)
        width = out.itemsize
        for each, place in zip(parts, places, strict=True):
            source = np.ascontiguousarray(each.values).view(np.uint8)
            source.flags.writeable = False
            _copy(source, each.offsets[rows[place]] * width, lengths[place] * width, offsets[place] * width, target)
        return Ragged(out, offsets)

    has_text = np.empty(len(part), np.uint8)
    for number, place in zip(distinct, places, strict=True):
        has_text[place] = chunks[number].has_text[rows[place]]
    tok = None if first.tok is None else column("tok")
    return Batch(column("head"), column("text"), has_text, tok, first.fingerprint)


@njit
def _copy(source, begins, lengths, targets, out):
    for i in range(len(begins)):
        begin, target = np.uint64(begins[i]), np.uint64(targets[i])
        for k in range(np.uint64(lengths[i])):
            out[target + np.uint64(k)] = source[begin + np.uint64(k)]
