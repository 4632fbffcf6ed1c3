"""Work ahead on a thread: the next items of an iterator are ready when the device asks for them.

Items keep their order, an exception of the iterator is raised where its item would have come, and the time that the
consumer waited is counted. Memory: `depth` items and the one in the making.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
DEPTH = 4  # a shard's next frame is checked when it is first read: a longer item now and then
_END = object()


class Prefetch(Generic[Item]):
    """Iterate over `source` a few items ahead; `wait_s` is how long the last `next` waited, in seconds."""

    def __init__(self, source: Iterator[Item], depth: int = DEPTH):
        self.wait_s = 0.0
        self._queue: queue.Queue = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), name="clet-prefetch", daemon=True)
        self._thread.start()

    def _run(self, source: Iterator[Item]) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
            self._put((_END, None))
        except BaseException as error:  # handed to the consumer, whatever it is
            self._put((_END, error))

    def _put(self, entry: tuple) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Prefetch[Item]:
        return self

    def __next__(self) -> Item:
        if self._stopped.is_set():
            raise StopIteration
        began = time.perf_counter()
        item, error = self._queue.get()
        self.wait_s = time.perf_counter() - began
        if item is _END:
            self.close()
            if error is not None:
                raise error
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop working ahead; what is ready is dropped."""
        self._stopped.set()
        self._thread.join()
