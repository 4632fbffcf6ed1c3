"""Sources read in threads of their own, and what they yield handed over in chunks.

A chunk is cut by count and bytes, and wherever the adapter is about to wait, so that a document never lies behind a
slow network. What is handed over and not yet taken is bounded by BUFFER_BYTES over all sources together; the source
that the consumer waits for is never held up by what the others have delivered, only by HEAD_BYTES of its own. A cursor
travels with the documents that it stands for: as JSON, at the end of a source and, where it may be kept earlier, with
a chunk.

Python runs one thread at a time, so threads do not make parsing faster: they let sources wait for the network
together, and reading go on while the tokenizer, which is not Python, has a core of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple

import orjson

from clet.sources.adapter import Columns, Context, Document, SourceFailed
from clet.sources.interruption import Interrupted
from clet.sources.table import Source

CHUNK_DOCUMENTS = 64
CHUNK_BYTES = 256 << 10
BUFFER_BYTES = 16 << 20
HEAD_BYTES = 4 << 20
CURSOR_S = 10.0  # a cursor that may be kept early is written down at most so often while nothing waits


class Bad(NamedTuple):
    """One bad piece of a source."""

    message: str


class BadLine(NamedTuple):
    """A line that is no document."""

    place: str
    reason: str
    line: bytes


@dataclass
class Chunk:
    """What a source handed over: documents and complaints in order, counts, sources that it lists, its cursor."""

    items: list[Document | Columns | Bad | BadLine] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    included: list[str] = field(default_factory=list)
    size: int = 0
    cursor: bytes | None = None
    idle: bool = False  # the source waits for the world now
    ended: bool = False
    complete: bool = False  # ended because there was no more
    failure: SourceFailed | None = None
    error: BaseException | None = None  # what ends the command: a damaged input, a bug


class Reading:
    """One source being read; the outlet of its context. Made by `Crew.start`."""

    def __init__(self, crew: Crew, source: Source, context: Callable[[Reading], Context]):
        self.source = source
        self.chunks: deque[Chunk] = deque()
        self.buffered = 0  # bytes of the chunks
        self.halted = False
        self.idling = False  # it waits for the world, and has handed over all it had
        self._crew = crew
        self._chunk = Chunk()
        self._context = context(self)
        self._cursor_at = time.monotonic()

    # ---- the outlet

    def count(self, what: str, number: int) -> None:
        """See `clet.sources.adapter.Outlet`."""
        self._chunk.counts[what] += number

    def bad(self, message: str) -> None:
        """See `clet.sources.adapter.Outlet`."""
        self._chunk.items.append(Bad(message))

    def bad_line(self, place: str, reason: str, line: bytes) -> None:
        """See `clet.sources.adapter.Outlet`."""
        self._chunk.items.append(BadLine(place, reason, line))
        self._chunk.size += len(line)

    def include(self, locator: str) -> None:
        """See `clet.sources.adapter.Outlet`."""
        self._chunk.included.append(locator)

    def idle(self) -> None:
        """See `clet.sources.adapter.Outlet`. The adapter stands between two documents, so its cursor holds."""
        if self._chunk.items or not self.idling:
            self._chunk.idle = self.idling = True
            self._hand_over(with_cursor=self._crew.early_cursors)

    # ---- the thread

    def run(self) -> None:
        """Read the source to its end, a halt or a failure."""
        crew = self._crew
        try:
            with closing(self.source.load().read(self.source.locator, self._context)) as documents:
                for document in documents:
                    self.idling = False
                    chunk = self._chunk
                    chunk.items.append(document)
                    chunk.size += _size(document)
                    if crew.lockstep or len(chunk.items) >= CHUNK_DOCUMENTS or chunk.size >= CHUNK_BYTES:
                        due = crew.early_cursors and time.monotonic() - self._cursor_at > CURSOR_S
                        self._hand_over(with_cursor=due)
                    if self.halted or crew.stopping:
                        break
                else:
                    self._chunk.complete = True
        except SourceFailed as failure:
            self._chunk.failure = failure
        except Interrupted:
            pass
        except BaseException as error:
            self._chunk.error = error
        self._chunk.ended = True
        self._hand_over(with_cursor=True)

    def _hand_over(self, *, with_cursor: bool) -> None:
        chunk, self._chunk = self._chunk, Chunk()
        if with_cursor:
            try:
                chunk.cursor = orjson.dumps(self._context.cursor)
            except TypeError as error:
                chunk.error = chunk.error or error
            self._cursor_at = time.monotonic()
        self._crew.hand_over(self, chunk)


def _size(document: Document | Columns) -> int:
    """About how much memory it takes."""
    if isinstance(document, Columns):
        return document.batch.num_bytes + len(document.batch.head.values) + 100 * len(document)
    return 4 * len(document["text"]) + 1000


class Crew:
    """The readings in progress. `head` is the one whose chunks the consumer takes next, if it keeps an order.

    `lockstep`: a source goes on after a document only when that was dealt with, so that it can be halted exactly.
    `early_cursors`: whether cursors are wanted before a source has ended.
    """

    def __init__(self, *, lockstep: bool = False, early_cursors: bool = False):
        self.lockstep = lockstep
        self.early_cursors = early_cursors
        self.stopping = False
        self.head: Reading | None = None
        self.busy: Counter[str] = Counter()  # hosts whose sources are being read now
        self.open: set[Reading] = set()  # readings whose last chunk was not dealt with yet
        self._mail: SimpleQueue[Reading | None] = SimpleQueue()
        self._room = threading.Condition()
        self._buffered = 0

    def start(self, source: Source, context: Callable[[Reading], Context]) -> Reading:
        """Begin to read a source."""
        reading = Reading(self, source, context)
        with self._room:
            self.busy[source.host] += 1
            self.open.add(reading)
        threading.Thread(target=reading.run, name=source.key[:80], daemon=True).start()
        return reading

    def hand_over(self, reading: Reading, chunk: Chunk) -> None:
        """Called by a reading's thread; waits while too much lies here."""
        with self._room:
            while self._is_held_up(reading) and not self.stopping:
                self._room.wait()
            self._buffered += chunk.size
            reading.buffered += chunk.size
            reading.chunks.append(chunk)
            if chunk.ended:
                self.busy -= Counter([reading.source.host])  # which leaves out what has come to nothing
        self._mail.put(reading)
        if self.lockstep and not chunk.ended:
            with self._room:
                while reading.chunks and not self.stopping:
                    self._room.wait()

    def _is_held_up(self, reading: Reading) -> bool:
        """The head is held up by nothing but its own."""
        buffered = reading.buffered if reading is self.head else self._buffered
        return buffered > (HEAD_BYTES if reading is self.head else BUFFER_BYTES)

    def wake(self) -> None:
        """Make a waiting `wait` return; safe in a signal handler."""
        self._mail.put(None)

    def wait(self, seconds: float | None) -> Reading | None:
        """The reading that handed over something; None after so many seconds, or when woken."""
        try:
            return self._mail.get(timeout=seconds) if seconds is None or seconds > 0 else self._mail.get_nowait()
        except Empty:
            return None

    def take(self, reading: Reading) -> Chunk | None:
        """The next chunk of a reading, if it is there. In lockstep the reading goes on at `dealt_with`."""
        with self._room:
            if not reading.chunks:
                return None
            chunk = reading.chunks[0]
            if not self.lockstep:
                self._remove(reading)
        return chunk

    def dealt_with(self, reading: Reading, *, halt: bool = False) -> None:
        """The chunk that was taken has been dealt with; `halt` ends the reading where it stands."""
        with self._room:
            reading.halted = reading.halted or halt
            if self.lockstep:
                self._remove(reading)

    def _remove(self, reading: Reading) -> None:
        chunk = reading.chunks.popleft()
        self._buffered -= chunk.size
        reading.buffered -= chunk.size
        if chunk.ended:
            self.open.discard(reading)
        self._room.notify_all()

    def follow_head(self, reading: Reading) -> None:
        """From now on the consumer waits for this one."""
        with self._room:
            self.head = reading
            self._room.notify_all()

    def stop(self) -> None:
        """Let every reading end at its next document or wait."""
        with self._room:
            self.stopping = True
            self._room.notify_all()
