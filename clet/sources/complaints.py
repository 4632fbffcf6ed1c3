"""Bad pieces of one source, a few lines a kind: a damaged archive must not bury what else there is to say."""

from __future__ import annotations

from collections import Counter
from typing import Self

from clet.sources.adapter import Context

MAX_LINES = 20  # of one kind for one source


class Complaints:
    """`bad` reports a piece as `Context.bad` does and counts it under its kind; leaving it sums up what went unsaid."""

    def __init__(self, context: Context):
        self._context = context
        self._said: Counter[str] = Counter()

    def bad(self, kind: str, message: str) -> None:
        """Report one bad piece. `kind` is the word under which it is counted."""
        self._context.count(kind)
        self._said[kind] += 1
        if self._said[kind] <= MAX_LINES:
            self._context.bad(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for kind, number in self._said.items():
            if number > MAX_LINES:
                self._context.bad(f"and {number - MAX_LINES} more: {kind}")
