"""The documents of a shard put together again from their pieces, in the order of its table.

Memory: for a shard its table of segments (24 bytes a piece), and at a time the ids of `CHUNK_TOKENS` tokens or of one
longer document. Time: one sequential read of the segments, one gather of the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.exits import InputError
from clet.shards.mask import segment_starts
from clet.shards.reader import ShardReader
from clet.shards.windows import ranges

CHUNK_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class Documents:
    """Some documents: `heads` with every field but text and tokens, `ids` with their end-of-document tokens, and
    which of these are masked (`masked`, True: not to be learned), flat as `ids.values`."""

    heads: list[dict[str, Any]]
    ids: Ragged
    masked: np.ndarray


def documents_of(reader: ShardReader) -> Iterator[Documents]:
    """All documents of a shard, some at a time. Raises InputError on damage, or where tokens are missing."""
    pieces = _pieces(reader)
    row = 0
    for heads in reader.tables():
        sizes = np.asarray([head["shard"]["tokens"] for head in heads], np.int64)
        start = 0
        while start < len(heads):
            fit = int(np.searchsorted(np.cumsum(sizes[start:]), CHUNK_TOKENS, side="right"))
            stop = start + max(1, fit)
            found = _assemble(reader, pieces, row + start, row + stop)
            if not np.array_equal(found.ids.lengths, sizes[start:stop]):
                raise InputError(f"{reader.path}: documents of another length than its table says")
            yield Documents(heads[start:stop], found.ids, found.masked)
            start = stop
        row += len(heads)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """All segments, those of a document together and in its order: `bounds[row]` to `bounds[row + 1]`."""

    bounds: np.ndarray
    starts: np.ndarray  # positions, counted through all windows
    lengths: np.ndarray


def _pieces(reader: ShardReader) -> _Pieces:
    rows, starts, lengths = [], [], []
    position = 0
    for windows in reader.all_windows():
        found = windows.layout
        rows.append(found.rows)
        starts.append(position + segment_starts(found.lengths, found.ends, reader.seq_len))
        lengths.append(found.lengths)
        position += windows.ids.size
    if not rows:
        return _Pieces(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    all_rows = np.concatenate(rows)
    order = np.argsort(all_rows, kind="stable")
    bounds = np.searchsorted(all_rows[order], np.arange(reader.num_documents + 1))
    return _Pieces(bounds, np.concatenate(starts)[order], np.concatenate(lengths)[order])


def _assemble(reader: ShardReader, pieces: _Pieces, first: int, last: int) -> Documents:
    """The documents of rows `first` to `last` of the table."""
    begin, end = pieces.bounds[first], pieces.bounds[last]
    starts, lengths = pieces.starts[begin:end], pieces.lengths[begin:end]
    needed = np.unique(starts // reader.seq_len)
    windows = reader.windows(needed)
    there = np.searchsorted(needed, starts // reader.seq_len) * reader.seq_len + starts % reader.seq_len
    picked, ends = ranges(there, lengths)
    masked = np.zeros(0, bool)
    if reader.num_masked:
        masked = (~windows.loss_mask).reshape(-1)[picked]
    ends = np.concatenate(([0], ends))
    offsets = ends[pieces.bounds[first : last + 1] - begin]
    return Documents([], Ragged(windows.ids.reshape(-1)[picked], offsets), masked)
