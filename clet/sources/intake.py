"""Rounds over all sources: documents are judged at the door, tokenised, and handed to the command's stage.

The order is that of the sources as named and of the documents within each. Memory: one batch, and the cursors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

from clet.log import log
from clet.notify import notify
from clet.record import format_time
from clet.sources.adapter import MAX_TEXT_BYTES, Document, Report, SourceFailed
from clet.sources.interruption import Interrupted
from clet.sources.surroundings import Surroundings
from clet.sources.table import Source
from clet.sources.tokenise import Tokeniser
from clet.stage import Stage


class Intake:
    """Reads sources into a stage. `cursors` maps a source's key to its cursor; it is changed in place."""

    def __init__(
        self,
        stage: Stage,
        tokeniser: Tokeniser,
        cursors: dict[str, dict[str, Any]],
        surroundings: Surroundings,
        *,
        since: datetime | None = None,
        limit: int | None = None,
    ):
        self.report = Report(stage.bad, stage.bad_line)
        self._stage = stage
        self._tokeniser = tokeniser
        self._cursors = cursors
        self._surroundings = surroundings
        self._since = format_time(since)
        self._room = limit

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._room is not None and self._room <= 0

    def round(self, sources: Sequence[Source]) -> None:
        """Read each source once and pass everything on. Raises Interrupted after what was read has been passed on."""
        now = self._surroundings.clock()
        try:
            for source in sources:
                if self.full:
                    break
                self._read(source, now)
        except Interrupted:
            self.flush()
            raise
        self.flush()

    def follow(self, sources: Sequence[Source], interval_s: float, commit: Callable[[], None]) -> None:
        """Rounds until SIGTERM (or until nothing is left to follow); `commit` is called after each was flushed."""
        interruption = self._surroundings.interruption
        interruption.install()
        notify("READY=1")
        try:
            while sources and not self.full:
                self.round(sources)
                with suppress(OSError):  # a pipe cannot be synced
                    os.fsync(1)
                commit()
                sources = [source for source in sources if not source.is_stdin]
                if sources and not self.full:
                    notify(f"STATUS=next round in {interval_s:g} s")
                    interruption.sleep(interval_s)
        except Interrupted:
            log.info("terminated; what was read so far is written")
        notify("STOPPING=1")

    def _read(self, source: Source, now: datetime) -> None:
        self.report.begin(source.name)
        cursor = self._cursors.setdefault(source.key, {})
        context = self._surroundings.context(source, cursor, now, self.report, self.flush)
        try:
            with closing(source.load().read(source.locator, context)) as documents:
                for document in documents:
                    self._admit(document)
                    if self.full:
                        return
                    if context.interruption.requested:
                        raise Interrupted
        except SourceFailed as error:
            self.report.begin(source.name)
            self.report.failed(error)

    def _admit(self, document: Document) -> None:
        self._stage.counts.records_in += 1
        self.report.count("documents")
        size = len(document["text"].encode())
        published = document["published"]
        if not size:
            self._stage.reject_object(document, "empty")
        elif size > MAX_TEXT_BYTES:
            self._stage.reject_object(document, "too-large")
        elif self._since is not None and published is not None and published < self._since:
            self._stage.reject_object(document, "old")
        else:
            if self._room is not None:
                self._room -= 1
            if self._tokeniser.add(document, size):
                self.flush()

    def flush(self) -> None:
        """Pass on what was collected."""
        if len(self._tokeniser):
            self._stage.write(self._tokeniser.take())
