"""Where the documents of packed windows begin and end, and how threads share them out."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

IDLE = 2.0  # times its fair share of the work that a thread may have before the others are idle too long
SHORT = 64  # tokens: what a document costs beside the square of its length


class Documents:
    """The documents of a batch, `spans` [N, 3] of (row, first token, first token after it)."""

    def __init__(self, spans: np.ndarray) -> None:
        self.spans = spans
        self._shares: dict[tuple[int, int], tuple[np.ndarray, np.ndarray] | None] = {}

    @staticmethod
    def of(segments: Tensor) -> Documents | None:
        """Those of segments [B, T], negative on padding; None unless numbers never fall within a window."""
        numbers = segments.masked_fill(segments < 0, torch.iinfo(segments.dtype).max)
        steps = numbers[:, 1:] != numbers[:, :-1]
        if bool((numbers[:, 1:] < numbers[:, :-1]).any()):
            return None
        starts: list[list[int]] = [[0] for _ in range(segments.shape[0])]
        for row, before in steps.nonzero().tolist():
            starts[row].append(before + 1)
        ends = ([*documents[1:], segments.shape[1]] for documents in starts)
        pairs = (zip(*both, strict=True) for both in zip(starts, ends, strict=True))
        return Documents(np.array([(row, *span) for row, spans in enumerate(pairs) for span in spans], np.int64))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return map(tuple, self.spans.tolist())

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return int((self.spans[:, 2] - self.spans[:, 1]).max(initial=1))

    def shares(self, heads: int, parts: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Items (row, start, stop, head) in the order of `parts` threads, and where each thread's begin.

        The longest documents are given out first, each to whom has least; a head is work of its own. None where that
        leaves threads idle.
        """
        if (heads, parts) not in self._shares:
            self._shares[heads, parts] = self._share(heads, parts)
        return self._shares[heads, parts]

    def _share(self, heads: int, parts: int) -> tuple[np.ndarray, np.ndarray] | None:
        lengths = self.spans[:, 2] - self.spans[:, 1]
        costs = lengths * (lengths + SHORT)
        loads = [(0, part) for part in range(parts)]
        given: list[list[tuple[int, ...]]] = [[] for _ in range(parts)]
        for number in np.argsort(-costs, kind="stable").tolist():
            for head in range(heads):
                load, part = heapq.heappop(loads)
                given[part].append((*self.spans[number].tolist(), head))
                heapq.heappush(loads, (load + int(costs[number]), part))
        if max(loads)[0] * parts > IDLE * sum(load for load, _ in loads):
            return None
        items = np.array([item for share in given for item in share], np.int64).reshape(-1, 4)
        return items, np.cumsum([0, *map(len, given)])


@functools.lru_cache(maxsize=8)
def whole_windows(rows: int, length: int) -> Documents:
    """Windows that hold one document each."""
    return Documents(np.array([(row, 0, length) for row in range(rows)], np.int64).reshape(-1, 3))
