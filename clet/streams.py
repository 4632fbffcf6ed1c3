"""Streams of records: reading either encoding from anywhere, writing the one that fits where it goes.

Readers take files, `-` and concatenations, in JSONL (plain, zstd, gzip) or token batches, and yield `Batch`es as they
arrive. A malformed line is reported with its place and passed over; a malformed or truncated stream is an error.
Writers choose: token batches into pipes and files once records carry tokens, zstd JSONL before that or where the name
says so, plain JSONL to a terminal or on request. A file appears whole, under its name, at `close`; `abort` leaves none.

Memory: one batch (at most 4 MB of JSON lines, or the writer's frame) at a time.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from clet import codecs
from clet.batch import Batch, Row, pack_row
from clet.container import DEFAULT_LEVEL, Kind, end_frame, read_frames
from clet.exits import InputError, UsageError
from clet.record import MAX_LINE_BYTES, LongLine, Record, RecordError, parse_line
from clet.sinks import IDLE_S, Sink, widen_pipe

BATCH_RECORDS = 1024
BATCH_BYTES = 4 << 20
JSONL_LEVEL = 3
MAX_PASSED_BYTES = 1 << 30  # of a line that is passed over: inflated and hashed in a second
KEPT_BYTES = 4 << 10  # of its beginning

OnBad = Callable[[str, str, bytes], None]  # (place "file:line", reason, the line)


def refuse_bad(place: str, reason: str, line: bytes) -> None:
    """An `on_bad` for callers that tolerate no bad line."""
    raise InputError(f"{place}: {reason}")


# ---- reading


def read_batches(
    inputs: Sequence[str], on_bad: OnBad = refuse_bad, idle: Callable[[], None] | None = None
) -> Iterator[Batch]:
    """Batches of records of all inputs in order; no inputs, or `-`, is stdin.

    `idle` is called every `IDLE_S` while an input has nothing to read. Raises UsageError for a file that cannot be
    opened, InputError for truncation or damage.
    """
    for name in inputs or ["-"]:
        with open_input(name, idle) as stream:
            yield from read_stream(codecs.Peekable(stream), "stdin" if name == "-" else name, on_bad)


def read_records(inputs: Sequence[str], on_bad: OnBad = refuse_bad) -> Iterator[Record]:
    """The same, as dicts."""
    for batch in read_batches(inputs, on_bad):
        for i in range(len(batch)):
            yield batch.record(i)


class InputFile(io.FileIO):
    """A file opened for reading, or stdin (`-`): a read gives at least one byte unless at the end.

    While a read has to wait, `idle` is called every `IDLE_S`. Raises UsageError for a file that cannot be opened,
    InputError for one that cannot be read.
    """

    def __init__(self, name: str, idle: Callable[[], None] | None = None):
        self._shown = "stdin" if name == "-" else name
        self._idle = idle
        try:
            super().__init__(0 if name == "-" else name, closefd=name != "-")
        except OSError as error:
            raise UsageError(f"{self._shown}: {error.strerror}") from None
        widen_pipe(self.fileno())

    def read(self, size: int = -1) -> bytes:
        """What one system call gives; a file that was made non-blocking by another process is waited for."""
        return self._wait_for(super().read, size)

    def readinto(self, buffer: Any) -> int:
        """The same, into `buffer`."""
        return self._wait_for(super().readinto, buffer)

    def _wait_for(self, call: Callable[[Any], Any], argument: Any) -> Any:
        while self._idle and not select.select([self], [], [], IDLE_S)[0]:
            self._idle()
        try:
            while (got := call(argument)) is None:
                select.select([self], [], [])
        except OSError as error:
            raise InputError(f"{self._shown}: cannot be read: {error.strerror}") from None
        return got


@contextlib.contextmanager
def open_input(name: str, idle: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
    """An input by its name; `-` is stdin. Raises UsageError where it cannot be opened."""
    if name != "-" and os.path.isdir(name):
        raise UsageError(f"{name}: is a directory; name the files in it")
    with InputFile(name, idle) as stream:
        yield stream


def read_stream(stream: codecs.Peekable, name: str, on_bad: OnBad) -> Iterator[Batch]:
    """Batches of one open stream, whichever its encoding."""
    if codecs.sniff(stream.peek(4)) == "clet":
        yield from _read_container(stream, name)
        return
    inner = codecs.Peekable(codecs.ChunkReader(codecs.plain_chunks(stream, name)))
    if codecs.sniff(inner.peek(4)) == "clet":  # a .clet file that someone compressed once more
        yield from _read_container(inner, name)
    else:
        yield from _read_lines(inner, name, on_bad)


def _read_container(stream: BinaryIO, name: str) -> Iterator[Batch]:
    for frame in read_frames(stream, name):
        if frame.kind is not Kind.DOCUMENTS:
            raise InputError(f"{name}: holds {frame.kind.name.lower()} frames, not records; clet cat shows them")
        yield Batch.from_frame(frame, name)


def line_blocks(chunks: Iterable[bytes], name: str, least: int = 0) -> Iterator[tuple[bytes, bool]]:
    """(lines without the newline of the last, whether that is because the stream ended before it came).

    Lines come as soon as they are whole and together have `least` bytes. One of over `MAX_LINE_BYTES` is passed over
    and comes alone, as a `LongLine`; in memory are at most so many bytes. Raises InputError for a line that seems to
    have no end.
    """
    pieces: list[bytes] = []
    size = line_size = 0  # of the pieces, and of what follows their last newline
    long: LongLine | None = None

    def whole_lines() -> bytes:
        nonlocal pieces, size
        last = len(pieces[-1]) - line_size - 1
        if last >= 0:  # its newline is in the last piece, which is cut without a further copy
            lines = b"".join([*pieces[:-1], memoryview(pieces[-1])[:last]])
            pieces = [pieces[-1][last + 1 :]]
        else:
            joined = b"".join(pieces)
            lines, _, rest = joined.rpartition(b"\n")
            pieces = [rest]
        size = line_size
        return lines

    try:
        for chunk in _bounded(chunks):
            if long is not None:
                passed, newline, chunk = chunk.partition(b"\n")
                long.pass_over(passed)
                if long.size > MAX_PASSED_BYTES:
                    raise InputError(f"{name}: a line of over {MAX_PASSED_BYTES >> 20} MB; this is no JSONL")
                if not newline:
                    continue
                yield long, False
                long = None
            last = chunk.rfind(b"\n")
            line_size = len(chunk) - last - 1 if last >= 0 else line_size + len(chunk)
            pieces.append(chunk)
            size += len(chunk)
            if size > line_size and size >= least:
                yield whole_lines(), False
            if line_size > MAX_LINE_BYTES:
                long = LongLine(b"".join(pieces)[:KEPT_BYTES])
                for piece in pieces:
                    long.pass_over(piece)
                pieces, size, line_size = [], 0, 0
    except InputError:
        if size > line_size:  # what came before the damage
            yield whole_lines(), False
        raise
    if size > line_size:
        yield whole_lines(), False
    if long is not None or size:
        yield long or b"".join(pieces), True


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at most `codecs.CHUNK`: a bite of zstd may inflate to 128 MB."""
    for chunk in chunks:
        if len(chunk) <= codecs.CHUNK:
            yield chunk
        else:
            yield from (chunk[at : at + codecs.CHUNK] for at in range(0, len(chunk), codecs.CHUNK))


def split_lines(stream: codecs.Peekable, name: str) -> Iterator[list[bytes]]:
    """Lists of whole lines without newline, a list for what arrived together; a `LongLine` comes alone."""
    for block, _ in line_blocks(iter(stream.read1, b""), name):
        yield [block] if isinstance(block, LongLine) else block.split(b"\n")


def _read_lines(stream: codecs.Peekable, name: str, on_bad: OnBad) -> Iterator[Batch]:
    number = 0
    pending = _Pending()
    for lines in split_lines(stream, name):
        for line in lines:
            number += 1
            if not line or line.isspace():
                continue
            try:
                row = pack_row(parse_line(line))
            except RecordError as error:
                on_bad(f"{name}:{number}", str(error), line)
                continue
            if pending.rows and pending.rows[0].kind != row.kind:
                yield pending.take()
            pending.add(row, len(line))
            if pending.full:
                yield pending.take()
        if pending.rows:
            yield pending.take()


class _Pending:
    """Records waiting to become one homogeneous batch."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    def add(self, row: Row, size: int) -> None:
        self.rows.append(row)
        self._bytes += size

    def take(self) -> Batch:
        batch = Batch.from_rows(self.rows)
        self.rows, self._bytes = [], 0
        return batch


# ---- writing


class RecordWriter:
    """Writes batches to a file or stdout in the encoding that fits (see the module's head).

    Into a named file frames are cut at fixed sizes and compressed, so that bytes depend on the records alone and not
    on how they arrived; into a pipe each batch goes out at once, and as it is: zstd would cost ten times the pipe.
    """

    def __init__(self, target: str = "-", *, plain: bool = False, idle: Callable[[], None] | None = None):
        self._sink = Sink(target, idle)
        self._encoding = _encoding(target, plain)
        self._zstd: zstandard.ZstdCompressionObj | None = None
        self._frames = 0
        self._waiting: list[Batch] = []
        self._waiting_bytes = 0
        self._finished = False

    def write(self, batch: Batch) -> None:
        """Add the records of a batch."""
        if not len(batch):
            return
        if self._encoding == "auto":
            self._encoding = "clet" if batch.tok is not None else "zstd"
        if self._encoding != "clet":
            self._write_lines(batch)
        elif self._sink.is_file:
            self._collect(batch)
        else:
            self._write_frame(batch)

    def _write_lines(self, batch: Batch) -> None:
        body = b"".join([batch.line(i) + b"\n" for i in range(len(batch))])
        if self._encoding == "zstd":
            self._zstd = self._zstd or zstandard.ZstdCompressor(level=JSONL_LEVEL, write_checksum=True).compressobj()
            body = self._zstd.compress(body)
            if not self._sink.is_file:
                body += self._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._sink.write(body)

    def _collect(self, batch: Batch) -> None:
        if self._waiting and not self._waiting[0].joins(batch):
            self._write_waiting()
        start = 0
        while start < len(batch):  # cut where the frame is full, wherever the arriving batch happened to end
            room_records = BATCH_RECORDS - sum(map(len, self._waiting))
            sizes = batch.text.lengths + batch.head.lengths + (4 * batch.tok.lengths if batch.tok is not None else 0)
            running = sizes[start:].cumsum()
            fit = int((running <= max(0, BATCH_BYTES - self._waiting_bytes)).sum())
            count = min(room_records, max(fit, 0 if self._waiting else 1), len(batch) - start)
            if count:
                self._waiting.append(batch.take(range(start, start + count)))
                self._waiting_bytes += int(running[count - 1])
                start += count
            if start < len(batch):
                self._write_waiting()

    def _write_waiting(self) -> None:
        if self._waiting:
            self._write_frame(Batch.concat(self._waiting))
            self._waiting, self._waiting_bytes = [], 0

    def _write_frame(self, batch: Batch) -> None:
        self._sink.write_parts(batch.frame_parts(None if self._sink.is_pipe else DEFAULT_LEVEL))
        self._frames += 1

    def sync(self) -> None:
        """Make durable what was written to a stream so far."""
        self._sink.sync()

    def finish(self) -> None:
        """End the stream and make it durable; nothing can be added. A named file is still hidden."""
        if self._finished:
            return
        self._finished = True
        self._write_waiting()
        if self._encoding == "clet":
            self._sink.write(end_frame(self._frames))
        elif self._encoding in ("zstd", "auto"):  # an empty stream of unknown kind is an empty zstd frame
            zstd = self._zstd or zstandard.ZstdCompressor(level=JSONL_LEVEL, write_checksum=True).compressobj()
            self._sink.write(zstd.flush())
        self._sink.sync()

    def close(self) -> None:
        """Finish the stream; a named file appears now."""
        self.finish()
        self._sink.close()

    def abort(self) -> None:
        """Leave no file behind."""
        self._sink.abort()


def _encoding(target: str, plain: bool) -> str:
    name = Path(target).name
    if plain or (target == "-" and os.isatty(1)) or name.endswith((".jsonl", ".json")):
        return "plain"
    if name.endswith((".jsonl.zst", ".json.zst", ".zst")):
        return "zstd"
    return "clet" if name.endswith(".clet") else "auto"


def stdin_is_idle_terminal(inputs: Iterable[str]) -> bool:
    """Whether a command would wait for a person to type records: no operand, and stdin is a terminal."""
    return not list(inputs) and sys.stdin is not None and sys.stdin.isatty()


def same_file(path: str, others: Iterable[str]) -> bool:
    """Whether an output is a regular file, existing or not, that is also one of the others."""
    named = [name for name in others if name != "-"]
    try:
        target = os.stat(path)
    except OSError:
        return os.path.realpath(path) in map(os.path.realpath, named)
    if not stat.S_ISREG(target.st_mode):
        return False
    for name in named:
        with contextlib.suppress(OSError):
            if os.path.samestat(target, os.stat(name)):
                return True
    return False
