"""Windows as they are read: ids, and where which document lies in them.

Ids are those of the file, where it could be helped not even copied. What follows from the lengths of the segments
(segment numbers and loss mask, five bytes a position) is made when it is asked for, and so are the segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

NO_SPANS = np.zeros((0, 2), np.int64)


class Segments(NamedTuple):
    """Which documents lie in windows: window i has the segments `ends[i - 1]` to `ends[i]`.

    Each segment has its number of tokens in `lengths` and its row of the shard's document table in `rows`. `masked`
    are spans of positions, counted through the windows, whose tokens are not to be learned.
    """

    ends: np.ndarray  # [n] int64
    lengths: np.ndarray  # [s] int64
    rows: np.ndarray  # [s] int64
    masked: np.ndarray = NO_SPANS  # [m, 2] int64

    def take(self, places: np.ndarray, seq_len: int) -> Segments:
        """Those of the windows `[k]` named, in that order; they may repeat."""
        starts = np.where(places > 0, self.ends[places - 1], 0)
        picked, ends = ranges(starts, self.ends[places] - starts)
        return Segments(ends, self.lengths[picked], self.rows[picked], take_spans(self.masked, places, seq_len))


class Windows:
    """`n` windows of `seq_len` positions: `ids` [n, seq_len] of the shard's dtype, which may be read-only.

    Where documents lie in them is given, or found by a function when it is first asked for.
    """

    def __init__(self, ids: np.ndarray, layout: Segments | Callable[[], Segments]):
        self.ids, self._layout = ids, layout

    @cached_property
    def layout(self) -> Segments:
        """Which documents lie where. Raises InputError where the file has changed."""
        return self._layout if isinstance(self._layout, Segments) else self._layout()

    @cached_property
    def segments(self) -> np.ndarray:
        """`[n, seq_len]` int32: the number of the document inside its window, from 0, -1 on padding."""
        size, seq_len = self.ids.shape
        ends, lengths = self.layout.ends, self.layout.lengths
        starts = np.concatenate(([0], ends[:-1])).astype(np.int64)
        used = np.add.reduceat(lengths, starts) if size else np.zeros(0, np.int64)
        # One more segment a window, of number -1, is its padding.
        numbers = np.insert(np.arange(len(lengths)) - np.repeat(starts, ends - starts), ends, -1)
        return np.repeat(numbers.astype(np.int32), np.insert(lengths, ends, seq_len - used)).reshape(size, seq_len)

    @cached_property
    def loss_mask(self) -> np.ndarray:
        """`[n, seq_len]` bool: True on tokens to be learned, False on padding and on what is masked."""
        mask = self.segments >= 0
        flat = mask.reshape(-1)
        for start, end in self.layout.masked.tolist():
            flat[start:end] = False
        return mask

    @cached_property
    def documents(self) -> list[np.ndarray]:
        """For each window the rows of the document table that its segments 0, 1, ... come from."""
        return np.split(self.layout.rows, self.layout.ends[:-1]) if len(self.ids) else []

    def part(self, start: int, end: int) -> Windows:
        """The windows from `start` to `end`; ids are not copied."""
        return Windows(self.ids[start:end], lambda: self.layout.take(np.arange(start, end), self.ids.shape[1]))


def merged(parts: Sequence[Segments], places: Sequence[np.ndarray], seq_len: int) -> Segments:
    """The segments of all parts, window i of part p at place `places[p][i]`, from 0 without gap."""
    if len(parts) == 1 and (np.diff(places[0]) == 1).all():
        return parts[0]
    segments = np.cumsum([0] + [len(part.rows) for part in parts])
    positions = np.cumsum([0] + [len(part.ends) * seq_len for part in parts])
    behind = Segments(
        np.concatenate([part.ends + before for part, before in zip(parts, segments[:-1], strict=True)]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.masked + before for part, before in zip(parts, positions[:-1], strict=True)]),
    )
    return behind.take(np.argsort(np.concatenate(places)), seq_len)


def ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All of `starts[i]` to `starts[i] + counts[i]`, one range behind the other, and where each ends there."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total), ends


def take_spans(spans: np.ndarray, places: np.ndarray, seq_len: int) -> np.ndarray:
    """Spans `[m, 2]` of ascending positions in windows, as those of the windows `places` in their new places."""
    if not len(spans):
        return spans
    first = np.searchsorted(spans[:, 0], places * seq_len)  # no span crosses the end of a window
    counts = np.searchsorted(spans[:, 0], (places + 1) * seq_len) - first
    picked, _ = ranges(first, counts)
    return spans[picked] + np.repeat((np.arange(len(places)) - places) * seq_len, counts)[:, None]
