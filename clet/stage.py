"""The frame around a stage of the pipeline: what is read, written, counted, rejected and committed, and in which order.

    with Stage(inputs, output, rejects=rejects, state=state) as stage:
        for batch in drop_repeats(stage.batches(), ...):
            stage.write(batch)
    return stage.status

At the end of the block, and only if it ended well: output and rejects are made durable, then they appear, then the
state is committed, then the summary is printed, in which in = out + rejected + bad. If it ended badly nothing is
committed and no named file appears, so the same command can simply be run again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import orjson
import zstandard

from clet.batch import Batch
from clet.exits import ExitCode, InputError, UsageError
from clet.log import Counts, log
from clet.progress import Progress
from clet.sinks import AppendSink, Sink
from clet.streams import (
    JSONL_LEVEL,
    RecordWriter,
    read_batches,
    same_file,
    stdin_is_idle_terminal,
)

Reject = Callable[[Batch, Sequence[str]], None]  # (batch, reasons): all its records are dropped, each for its reason


class Committable(Protocol):
    """What a stage may commit at its end: a state directory, or something that wraps one."""

    def commit(self) -> None:
        """Make durable; called once, after the output is."""


class Rejects:
    """The `--rejects` file: dropped records and unreadable lines as JSONL, each with `reject: {stage, reason}`.

    Compressed unless the name says `.jsonl`; appears whole at `close`, which `finish` must precede. With `append`, for
    a run that never ends, what there is gets longer at each `sync` instead.
    """

    def __init__(self, target: str | None, stage: str, *, append: bool = False):
        self._stage = stage
        self._sink: Sink | AppendSink | None = None
        if target:
            self._sink = AppendSink(target) if append else Sink(target)
        plain = target is not None and target.endswith((".jsonl", ".json"))
        self._zstd = None if plain else _compressor()

    @property
    def kept(self) -> bool:
        """Whether there is a file at all."""
        return self._sink is not None

    def add_record(self, batch: Batch, row: int, reason: str) -> None:
        """Keep a dropped record."""
        if self._sink:
            self._write(batch.take([row]).annotate("reject", [{"stage": self._stage, "reason": reason}]).line(0))

    def add_object(self, record: dict[str, Any], reason: str) -> None:
        """Keep a dropped record that never became part of a batch."""
        if self._sink:
            text = record.pop("text", None)
            record = record | {"reject": {"stage": self._stage, "reason": reason}}
            self._write(orjson.dumps(record if text is None else record | {"text": text}))

    def add_line(self, place: str, reason: str, line: bytes) -> None:
        """Keep a line that is no record: as text where it is UTF-8, else in base64."""
        if self._sink:
            reject = {"stage": self._stage, "reason": reason, "place": place}
            try:
                body: dict[str, Any] = {"line": line.decode()}
            except UnicodeDecodeError:
                body = {"line_base64": base64.b64encode(line).decode()}
            self._write(orjson.dumps({"reject": reject, **body}))

    def _write(self, line: bytes) -> None:
        self._sink.write(self._zstd.compress(line + b"\n") if self._zstd else line + b"\n")

    def sync(self) -> None:
        """Make durable what there is, as a zstd frame of its own; for a file that is appended to."""
        if self._sink and self._zstd:
            self._sink.write(self._zstd.flush())
            self._zstd = _compressor()
        if self._sink:
            self._sink.sync()

    def finish(self) -> None:
        """Make the file durable; unless it is appended to, it is still hidden."""
        if self._sink:
            if self._zstd:
                self._sink.write(self._zstd.flush())
            self._sink.sync()

    def close(self) -> None:
        """Make the finished file appear."""
        if self._sink:
            self._sink.close()

    def abort(self) -> None:
        """Leave no file behind."""
        if self._sink:
            self._sink.abort()


def _compressor() -> zstandard.ZstdCompressionObj:
    return zstandard.ZstdCompressor(level=JSONL_LEVEL, write_checksum=True).compressobj()


class Stage:
    """One run of a stage command over streams of records; see the module's head.

    `output=None` is for stages whose product is not a stream of records. `endless`: the run has no end to wait for;
    the output is a stream, the rejects are appended to their file, and `checkpoint` commits on the way. `unread` is
    called now and then while nobody reads the output, and may raise.
    """

    def __init__(
        self,
        inputs: Sequence[str] | None,
        output: str | None = "-",
        *,
        rejects: str | None = None,
        state: Committable | None = None,
        plain: bool = False,
        limit: int | None = None,
        max_errors: int | None = None,
        endless: bool = False,
        unread: Callable[[], None] | None = None,
    ):
        self.inputs = list(inputs or [])
        for target in (output, rejects):
            if target and target != "-" and same_file(target, self.inputs):
                raise UsageError(f"{target}: is both input and output; write to another file")
        if rejects == "-" or (rejects and output and output != "-" and same_file(rejects, [output])):
            raise UsageError("--rejects needs a file of its own")
        self.counts = log.counts = Counts()
        self._limit = limit
        self._max_errors = max_errors
        self._state = state
        self._rejects = Rejects(rejects, log.command, append=endless)
        try:
            self._writer = RecordWriter(output, plain=plain, idle=unread) if output else None
        except BaseException:
            self._rejects.abort()
            raise
        self._progress = Progress(self.counts)

    def batches(self, idle: Callable[[], None] | None = None) -> Iterator[Batch]:
        """The input, counted, up to the limit; bad lines are reported, kept in the rejects and passed over.

        `idle` is called now and then while there is nothing to read.
        """
        if stdin_is_idle_terminal(self.inputs):
            raise UsageError(f"no input: name a file, or pipe records in; see clet {log.command} --help")
        room = self._limit
        if room == 0:
            return
        for batch in read_batches(self.inputs, self.bad_line, idle):
            if room is not None:
                batch = batch.take(range(min(room, len(batch))))
                room -= len(batch)
            self.counts.records_in += len(batch)
            self._progress.tick()
            if len(batch):
                yield batch
            if room == 0:
                return

    def bad_line(self, place: str, reason: str, line: bytes) -> None:
        """Report a line that is no record. Raises InputError once there were more than `max_errors`."""
        self.bad(f"{place}: {reason}")
        self._rejects.add_line(place, reason, line)

    def bad(self, message: str) -> None:
        """Report and count one bad piece of input; the command ends with status 1."""
        self.counts.records_in += 1
        self.counts.bad += 1
        log.error(message)
        if self._max_errors is not None and self.counts.bad > self._max_errors:
            raise InputError(f"more than {self._max_errors} bad records; giving up")

    def reject(self, batch: Batch, row: int, reason: str) -> None:
        """Drop record `row` of `batch`: counted by reason, kept in the rejects."""
        self.counts.rejected[reason] += 1
        self._rejects.add_record(batch, row, reason)

    def reject_all(self, batch: Batch, reasons: Sequence[str]) -> None:
        """Drop every record of a batch, each for its reason: costs next to nothing where no rejects are kept."""
        self.counts.rejected.update(reasons)
        if self._rejects.kept:
            for row, reason in enumerate(reasons):
                self._rejects.add_record(batch, row, reason)

    def reject_object(self, record: dict[str, Any], reason: str) -> None:
        """Drop a record that is still a dict."""
        self.counts.rejected[reason] += 1
        self._rejects.add_object(record, reason)

    def write(self, batch: Batch) -> None:
        """Send a batch on."""
        self.counts.records_out += len(batch)
        self.counts.tokens += batch.num_tokens
        self._writer.write(batch)
        self._progress.tick()

    @property
    def status(self) -> ExitCode:
        """0, or 1 where some input was bad."""
        return ExitCode.SOME_BAD if self.counts.bad else ExitCode.OK

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._progress.close()
            self._rejects.abort()
            if self._writer:
                self._writer.abort()
        if kind is None:
            log.summary(self.counts)

    def checkpoint(self) -> None:
        """In an endless run: what was written so far is made durable, then the state is committed."""
        if self._writer:
            self._writer.sync()
        self._rejects.sync()
        if self._state:
            self._state.commit()

    def _finish(self) -> None:
        # Whatever may fail for want of room fails before the first file appears.
        if self._writer:
            self._writer.finish()
        self._rejects.finish()
        if self._writer:
            self._writer.close()
        self._rejects.close()
        if self._state:
            self._state.commit()
