"""Sharding a stream that never ends: what has arrived is sealed when it fills a shard, or has waited long enough.

After each batch, and while there is none, it is looked whether shards are full (they appear at once) and whether the
oldest open document has waited for the interval (then all that is open is sealed). A stop asked for by `stop` is
heard in the same places and nowhere else; what had arrived whole is sealed then too, as it is where the stream breaks
off: the stages before may have counted it as delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from clet.batch import Batch
from clet.exits import InputError
from clet.shards.build import ShardBuilder


class _Stopped(Exception):
    """The end was asked for."""


class Follower:
    """Feeds a builder; `commit` makes visible what is sealed. Times are seconds of `clock`."""

    def __init__(
        self,
        builder: ShardBuilder,
        commit: Callable[[], None],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._builder, self._commit, self._interval_s, self._clock = builder, commit, interval_s, clock
        self._due: float | None = None
        self._stopping = False

    def stop(self) -> None:
        """Ask for the end; safe in a signal handler."""
        self._stopping = True

    def run(self, batches: Callable[[Callable[[], None]], Iterator[Batch]]) -> None:
        """Shard until the stream ends or the end is asked for; `batches(idle)` calls `idle` while it waits."""
        try:
            for batch in batches(self._look):
                self._builder.add(batch)
                self._look()
        except _Stopped:
            pass
        except InputError:
            self._seal()
            if not self._stopping:  # else whoever writes the stream was stopped too, a moment earlier
                raise
        self._seal()

    def _look(self) -> None:
        if self._stopping:
            raise _Stopped
        self._commit()
        if not self._builder.has_open:
            self._due = None
        elif self._due is None:
            self._due = self._clock() + self._interval_s
        elif self._clock() >= self._due:
            self._seal()

    def _seal(self) -> None:
        self._builder.seal_all()
        self._commit()
        self._due = None
