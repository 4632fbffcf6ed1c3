"""Windows as they are read: ids, and where which document lies in them.

Ids are those of the file, where it could be helped not even copied. What can be rebuilt from the lengths of the
segments (segment numbers and loss mask, five bytes a position) is rebuilt when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass
class Windows:
    """`n` windows of `seq_len` positions.

    `ids` [n, seq_len] are of the shard's dtype and may be read-only. Window i has the segments `ends[i - 1]` to
    `ends[i]`: each has its number of tokens in `lengths` and its row of the shard's document table in `rows`.
    `masked` [m, 2] are spans of positions, counted through the windows, whose tokens are not to be learned.
    """

    ids: np.ndarray
    ends: np.ndarray  # [n] int64
    lengths: np.ndarray  # [s] int64
    rows: np.ndarray  # [s] int64
    masked: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @cached_property
    def segments(self) -> np.ndarray:
        """`[n, seq_len]` int32: the number of the document inside its window, from 0, -1 on padding."""
        size, seq_len = self.ids.shape
        starts = np.concatenate(([0], self.ends[:-1])).astype(np.int64)
        used = np.add.reduceat(self.lengths, starts) if size else np.zeros(0, np.int64)
        # One more segment a window, of number -1, is its padding.
        numbers = np.insert(np.arange(len(self.lengths)) - np.repeat(starts, self.ends - starts), self.ends, -1)
        lengths = np.insert(self.lengths, self.ends, seq_len - used)
        return np.repeat(numbers.astype(np.int32), lengths).reshape(size, seq_len)

    @cached_property
    def loss_mask(self) -> np.ndarray:
        """`[n, seq_len]` bool: True on tokens to be learned, False on padding and on what is masked."""
        mask = self.segments >= 0
        flat = mask.reshape(-1)
        for start, end in self.masked.tolist():
            flat[start:end] = False
        return mask

    @cached_property
    def documents(self) -> list[np.ndarray]:
        """For each window the rows of the document table that its segments 0, 1, ... come from."""
        return np.split(self.rows, self.ends[:-1]) if len(self.ends) else []

    @property
    def num_tokens(self) -> int:
        """Positions that are no padding."""
        return int(self.lengths.sum())

    def take(self, places: np.ndarray) -> Windows:
        """The windows `[k]` named, in that order; they may repeat."""
        ends = self.ends[places]
        starts = np.where(places > 0, self.ends[places - 1], 0)
        picked, total = ranges(starts, ends - starts)
        masked = take_spans(self.masked, places, self.ids.shape[1])
        return Windows(self.ids[places], total, self.lengths[picked], self.rows[picked], masked)


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


def joined(parts: list[Windows]) -> Windows:
    """The windows of all parts, one behind the other; they must be of one length and dtype."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([part.ids for part in parts])
    segments = np.cumsum([0] + [len(part.rows) for part in parts])
    positions = np.cumsum([0] + [part.ids.size for part in parts])
    return Windows(
        ids,
        np.concatenate([part.ends + before for part, before in zip(parts, segments[:-1], strict=True)]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.masked + before for part, before in zip(parts, positions[:-1], strict=True)]),
    )
