"""A binary heap from which entries may also be taken elsewhere: the dead are passed over and now and then cleared."""

from __future__ import annotations

import heapq
from typing import Any, Protocol


class Mortal(Protocol):
    """What a heap holds: something that may have left by another way."""

    alive: bool


class LazyHeap:
    """Least key first, among the entries that are alive. Keys are unique. Memory: at most twice the living entries."""

    def __init__(self) -> None:
        self._heap: list[tuple[Any, Mortal]] = []
        self._pushes = 0

    def push(self, key: Any, entry: Mortal) -> None:
        """Add an entry; O(log n)."""
        heapq.heappush(self._heap, (key, entry))
        self._pushes += 1
        if self._pushes > 64 + len(self._heap) // 2:  # clearing costs O(n), so it happens once in n / 2 pushes
            self._heap = [item for item in self._heap if item[1].alive]
            heapq.heapify(self._heap)
            self._pushes = 0

    def peek(self) -> tuple[Any, Any] | None:
        """(key, entry) of the least living one, or None."""
        while self._heap and not self._heap[0][1].alive:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> Any:
        """Remove and return the least living entry, which must exist."""
        found = self.peek()
        assert found is not None, "pop from a heap without living entries"
        heapq.heappop(self._heap)
        return found[1]
