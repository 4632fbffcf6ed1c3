"""Sources into a stage: judged at the door, tokenised, written, and remembered, in this order.

`round` reads every source once; documents come out in the order of the sources as named, whichever answers first.
`follow` reads each whenever it is due, and passes on what comes as it comes. Memory: what `reading.py` holds, one
batch, and the cursors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from clet.exits import InputError
from clet.log import log
from clet.notify import notify, watchdog_interval_s
from clet.record import format_time, parse_time
from clet.sources.adapter import MAX_TEXT_BYTES, Columns, Context, Document, SourceFailed
from clet.sources.ledger import Ledger
from clet.sources.reading import Bad, BadLine, Chunk, Crew, Reading
from clet.sources.report import Report
from clet.sources.schedule import Standing
from clet.sources.surroundings import Surroundings
from clet.sources.table import Source
from clet.sources.tokenise import Tokeniser
from clet.sources.turns import Agenda, Places
from clet.stage import Stage

QUIET_S = 0.005  # while following, nothing arrived for so long: what was collected goes out
LINGER_S = 0.02  # while following, a document waits no longer for company in its batch
COMMIT_S = 1.0  # at most so often while following
MAX_MEMBERS = 100_000  # sources that lists may add
STOP_S = 5.0  # what sources get to end by themselves on SIGTERM


class Intake:
    """One run of the intake; `report` says how it went. The stage commits the ledger."""

    def __init__(
        self,
        stage: Stage,
        tokeniser: Tokeniser,
        ledger: Ledger,
        surroundings: Surroundings,
        *,
        since: datetime | None = None,
        limit: int | None = None,
        interval_s: float = 300.0,
    ):
        self.report = Report()
        self._stage = stage
        self._tokeniser = tokeniser
        self._ledger = ledger
        self._surroundings = surroundings
        self._since = format_time(since)
        self._room = limit
        self._interval_s = interval_s
        self._crew = Crew(lockstep=limit is not None, early_cursors=surroundings.follow)
        self._connections = 1 if limit is not None else surroundings.connections
        self._met: dict[str, Standing] = {}  # documents and newest of each reading in progress
        self._known: set[str] = set()  # keys of all sources of this run
        self._alone = False  # one source was named: damage in it is damage of the input
        self._collected_s = 0.0  # when the first document of the batch was collected
        self._committed_s = 0.0
        self._dirty = False

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._room is not None and self._room <= 0

    # ---- once

    def round(self, sources: Sequence[Source]) -> None:
        """Read each source once and pass everything on, in the order of the sources.

        A source with an interval of its own is passed over until it is due.
        """
        now = self._surroundings.clock()
        places = Places()
        self._alone = len(sources) == 1
        for source in sources:
            self._known.add(source.key)
            if source.interval_s is None or self._ledger.standing(source.key).is_due(now, source.interval_s):
                places.add(source)
            else:
                self.report.totals["not-due"] += 1
        while (first := places.first()) is not None and not self.full:
            while (place := places.next(self._crew.busy, len(self._crew.busy) < self._connections)) is not None:
                places.readings[place] = self._start(places.source(place), now)
            reading = places.readings[first]
            self._crew.follow_head(reading)
            if (chunk := self._crew.take(reading)) is None:
                self._crew.wait(None)
                continue
            self._deal_with(reading, chunk, now)
            if chunk.idle:  # not when nothing came for a while: the bytes that go out must not depend on time
                self.flush()
            for source in self._members(reading.source, chunk):
                places.add(source, after=first)
            if chunk.ended:
                places.end(first)
        self._crew.stop()
        self.flush()

    # ---- for ever

    def follow(self, sources: Sequence[Source]) -> None:
        """Read each source whenever it is due, until SIGTERM, or until nothing is left to follow."""
        stop, crew, agenda = self._surroundings.interruption.stop, self._crew, Agenda()
        self._surroundings.interruption.install(crew.wake)
        now = self._surroundings.clock()
        for source in sources:
            self._known.add(source.key)
            agenda.add(time.monotonic() + self._seconds_until_due(source, now), source)
        notify(f"READY=1\nSTATUS=following {len(sources)} sources")
        while (agenda or crew.open) and not self.full and not stop.is_set():
            while len(crew.busy) < self._connections and (source := agenda.next(time.monotonic(), crew.busy)):
                self._start(source, self._surroundings.clock())
            self._follow_once(agenda)
        if stop.is_set():
            log.info("terminated; what was read so far is written")
        notify("STOPPING=1")
        self._wind_up()

    def _follow_once(self, agenda: Agenda) -> None:
        """Wait for one chunk, or until something else is to be done."""
        left_s = [watchdog_interval_s() or 3600.0]
        if len(self._tokeniser):
            left_s.append(QUIET_S)
        elif self._dirty:
            left_s.append(max(0.0, self._committed_s + COMMIT_S - time.monotonic()))
        if len(self._crew.busy) < self._connections:
            left_s.append(agenda.seconds_left(time.monotonic()))
        reading = self._crew.wait(min(left_s))
        notify("WATCHDOG=1")
        if reading is None or (chunk := self._crew.take(reading)) is None:
            self.flush()
        else:
            now = self._surroundings.clock()
            self._deal_with(reading, chunk, now)
            again = [reading.source] if chunk.ended and not reading.source.is_stdin else []
            for source in [*self._members(reading.source, chunk), *again]:
                agenda.add(time.monotonic() + self._seconds_until_due(source, now), source)
        if len(self._tokeniser) and time.monotonic() - self._collected_s > LINGER_S:
            self.flush()
        if self._dirty and time.monotonic() - self._committed_s > COMMIT_S:
            self._checkpoint()

    def _wind_up(self) -> None:
        """Take what the readings still hand over, for a short while, so that little is read again next time."""
        crew, deadline = self._crew, time.monotonic() + STOP_S
        crew.stop()
        while not self.full and time.monotonic() < deadline:
            if not any(reading.chunks or not reading.idling for reading in crew.open):
                break  # what still waits for its host or for stdin has nothing to give
            if (reading := crew.wait(0.1)) and (chunk := crew.take(reading)) is not None:
                self._deal_with(reading, chunk, self._surroundings.clock())
        self.flush()

    def _checkpoint(self) -> None:
        self.flush()
        self._stage.checkpoint()
        self._committed_s = time.monotonic()
        self._dirty = False

    # ---- one source

    def _start(self, source: Source, now: datetime) -> Reading:
        cursor = self._ledger.cursor(source.key)
        self._met[source.key] = Standing()

        def context(reading: Reading) -> Context:
            in_columns = self._since is None and not self._crew.lockstep  # else each is looked at by itself
            return self._surroundings.context(source, cursor, now, reading, in_columns=in_columns)

        return self._crew.start(source, context)

    def _members(self, source: Source, chunk: Chunk) -> list[Source]:
        """The sources that a list named, without those that are read already."""
        members = []
        for locator in chunk.included:
            member = source.member(locator)
            self._alone = False
            if member.key not in self._known and len(self._known) < MAX_MEMBERS:
                self._known.add(member.key)
                members.append(member)
        return members

    def _deal_with(self, reading: Reading, chunk: Chunk, now: datetime) -> None:
        """Pass on what a chunk holds. The ledger is told at once, and committed only after a flush."""
        source = reading.source
        for item in chunk.items:
            if isinstance(item, Bad):
                self._stage.bad(f"{source.name}: {item.message}")
            elif isinstance(item, BadLine):
                self._stage.bad_line(*item)
            elif isinstance(item, Columns):
                self._admit_columns(source, item)
            elif not self.full:
                self._admit(source, item)
        self.report.add(source, chunk.counts)
        self._crew.dealt_with(reading, halt=self.full)
        if self.full and not chunk.ended:
            chunk = self._last_words(reading)
        if chunk.cursor is not None:
            self._ledger.put_cursor(source.key, chunk.cursor)
        if chunk.ended:
            self._conclude(source, chunk, now)
        self._dirty = True

    def _last_words(self, reading: Reading) -> Chunk:
        """What a halted reading hands over at its end: the cursor as of its last document."""
        while (chunk := self._crew.take(reading)) is None or not chunk.ended:
            if chunk is None:
                self._crew.wait(None)
            else:
                self._crew.dealt_with(reading, halt=True)
        self._crew.dealt_with(reading, halt=True)
        return chunk

    def _conclude(self, source: Source, chunk: Chunk, now: datetime) -> None:
        met, standing = self._met.pop(source.key, Standing()), self._ledger.standing(source.key)
        standing.name = source.options.label
        error = chunk.failure or chunk.error
        expected = SourceFailed if self._alone else SourceFailed | InputError
        if error is not None and not isinstance(error, expected):
            raise error
        if error is not None:
            standing.documents += met.documents
            standing.failed(now, self._interval_of(source), source.key, str(error), getattr(error, "retry_s", None))
            self.report.failed(source, error)
        elif chunk.complete:
            standing.succeeded(now, self._interval_of(source), met.documents, met.newest)
            self.report.succeeded(source)
        else:
            standing.documents += met.documents
        self._ledger.put_standing(source.key, standing)

    def _admit(self, source: Source, document: Document) -> None:
        self._stage.counts.records_in += 1
        published = document["published"]
        text = document["text"]
        size = len(text) if text.isascii() else len(text.encode())
        if not size:
            self._stage.reject_object(document, "deleted" if document["meta"].get("deleted") is True else "empty")
        elif size > MAX_TEXT_BYTES:
            self._stage.reject_object(document, "too-large")
        elif self._since is not None and published is not None and published < self._since:
            self._stage.reject_object(document, "old")
        else:
            self.report.count(source, "documents")
            met = self._met[source.key]
            met.documents += 1
            if published is not None and (met.newest is None or published > met.newest):
                met.newest = published
            if self._room is not None:
                self._room -= 1
            if not len(self._tokeniser):
                self._collected_s = time.monotonic()
            if self._tokeniser.add(document, size):
                self.flush()

    def _admit_columns(self, source: Source, columns: Columns) -> None:
        """`_admit` for many: none of them is empty, too large or too many, and no age was asked for."""
        self._stage.counts.records_in += len(columns)
        self.report.count(source, "documents", len(columns))
        met = self._met[source.key]
        met.documents += len(columns)
        met.newest = max(filter(None, [met.newest, *columns.published]), default=None)
        batch = columns.batch
        while len(batch):
            if not len(self._tokeniser):
                self._collected_s = time.monotonic()
            taken, due = self._tokeniser.add_columns(batch)
            batch = batch.part(taken, len(batch))
            if due:
                self.flush()

    # ---- time

    def _interval_of(self, source: Source) -> float:
        return self._interval_s if source.interval_s is None else source.interval_s

    def _seconds_until_due(self, source: Source, now: datetime) -> float:
        standing = self._ledger.standing(source.key)
        if standing.due is None or standing.is_due(now, self._interval_of(source)):
            return 0.0
        return max(0.0, (parse_time(standing.due) - now) / timedelta(seconds=1))

    def flush(self) -> None:
        """Pass on what was collected."""
        if len(self._tokeniser):
            self._stage.write(self._tokeniser.take())
