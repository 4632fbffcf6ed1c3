"""The loss mask: which tokens of a document are there to be read, and not to be learned.

A record says so itself, in `dedup.spans`: a list of [start, end) in its own tokens, which `clet dedup --spans` writes
for what repeats an earlier document, and in `policy.spans`, which `clet prioritize` writes for what a rule masks. Spans
are sparse (50 tokens or more), so they stay spans all the way: in the
record, in the shard as positions of a frame, and only in a batch of windows as one boolean a position.

Memory: 16 bytes a span of the shard that is being written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from clet.shards import fit

Spans = list[tuple[int, int]]


def spans_of(found: Any, size: int) -> Spans:
    """`dedup.spans` of a record with `size` tokens, ascending and apart. Raises ValueError where it is no such list."""
    if found is None:
        return []
    if not isinstance(found, list):
        raise ValueError("no list")
    spans: Spans = []
    for span in sorted(map(_span, found)):
        if span[1] > size:
            raise ValueError(f"beyond {size} tokens")
        if spans and span[0] <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(span[1], spans[-1][1]))
        else:
            spans.append(span)
    return spans


def _span(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value)):
        raise ValueError("not [start, end]")
    if not 0 <= value[0] < value[1]:
        raise ValueError("start after end")
    return value[0], value[1]


class MaskWriter:
    """Follows the masked documents of a shard into its frames."""

    def __init__(self) -> None:
        self._spans: dict[int, Spans] = {}
        self._passed: dict[int, int] = {}  # tokens of a document that are in earlier segments

    def add(self, row: int, spans: Spans) -> None:
        """Say which tokens of the document in that row of the table are masked."""
        self._spans[row] = spans
        self._passed[row] = 0

    def place(self, room: fit.Room) -> np.ndarray:
        """The masked spans of a frame that is about to be written: `[m, 2]` positions, counted through its windows."""
        if not self._spans:
            return np.zeros((0, 2), np.uint32)
        windows, segments, _ = room.fill.tolist()
        rows, lengths = room.rows[:segments], room.lengths[:segments].astype(np.int64)
        concerned = np.flatnonzero(np.isin(rows, np.fromiter(self._spans, np.int64, len(self._spans))))
        placed: list[tuple[int, int]] = []
        if len(concerned):
            starts = segment_starts(lengths, room.ends[:windows].astype(np.int64), room.ids.shape[1])
            for segment in concerned.tolist():
                placed += self._intersect(int(rows[segment]), int(lengths[segment]), int(starts[segment]))
        return np.asarray(placed, np.uint32).reshape(-1, 2)

    def _intersect(self, row: int, length: int, at: int) -> Spans:
        """The spans of a document within its next `length` tokens, as positions from `at` on."""
        if row not in self._spans:
            return []  # its last span ended in an earlier segment
        first = self._passed[row]
        self._passed[row] = last = first + length
        cut = [(max(start, first), min(end, last)) for start, end in self._spans[row]]
        self._spans[row] = [(start, end) for start, end in self._spans[row] if end > last]
        if not self._spans[row]:
            del self._spans[row], self._passed[row]
        return [(at + start - first, at + end - first) for start, end in cut if start < end]


def segment_starts(lengths: np.ndarray, ends: np.ndarray, seq_len: int) -> np.ndarray:
    """The position of each segment `[s]`, counted through windows that have the segments up to `ends` [n]."""
    before = np.cumsum(lengths) - lengths
    firsts = np.concatenate(([0], ends[:-1]))
    counts = ends - firsts
    return before + np.repeat(np.arange(len(ends)) * seq_len - before[firsts], counts)


def is_placed(masked: np.ndarray, num_windows: int, seq_len: int) -> bool:
    """Whether `[m, 2]` spans of a frame are ascending, apart, not empty, and each within one of its windows."""
    if masked.ndim != 2 or masked.shape[1] != 2 or masked.dtype != np.uint32:
        return False
    if not len(masked):
        return True
    starts, ends = masked.astype(np.int64).T
    apart = (starts < ends).all() and (ends[:-1] <= starts[1:]).all()
    return bool(apart and (starts // seq_len == (ends - 1) // seq_len).all() and (ends <= num_windows * seq_len).all())
