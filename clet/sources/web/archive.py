"""Keeping what was fetched, as WARC/1.1, so that an auditor can see the bytes behind a document.

Every body that was fetched whole becomes a record in a file `clet-TIME-PID-NUMBER.warc.gz`, a gzip member each, files
of up to a gigabyte; what comes again is a revisit record that names the first. `index.jsonl` leads from the digest of
a payload, which is the field `raw` of documents, to its record: see `archive_index.find`. robots.txt, redirects and
errors are not kept.

Records are compressed outside the lock; a body that was downloaded into a file gets a WARC file of its own, so that
its writing holds nobody up. Memory: one body, and the places of the last MAX_SEEN payloads (some 8 MB).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import itertools
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from clet.codecs import sniff
from clet.exits import WriteError
from clet.sources.web import archive_index as index
from clet.sources.web.archive_index import OPEN, Entry
from clet.sources.web.warc_record import (
    END,
    TIME,
    Head,
    Seen,
    info_record,
    payload_record,
    record_id,
    revisit_record,
)
from clet.state import fsync_directory

MAX_SEEN = 1 << 14
MAX_FILE_BYTES = 1 << 30
_CHUNK = 1 << 20
_LEVEL = 6
_IDS = itertools.count(1)  # no two records of a process share a name


class Archive:
    """A folder of WARC files that this process adds to. For several threads, and several processes on one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.folder = folder
        self._max_file_bytes = max_file_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._file: _WarcFile | None = None
        self._dirty = False
        self._torn = False  # whether the index ends inside a line
        self._numbers = itertools.count(1)
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        with _as_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._stem = f"clet-{clock().strftime('%Y%m%dT%H%M%SZ')}-{os.getpid()}"
            index.recover(folder)
            self._index = index.open_index(folder)
            sizes: dict[str, int] = {}
            for entry in index.entries(folder, last=MAX_SEEN):
                if entry.file not in sizes:
                    path = index.path_of(folder, entry.file)
                    sizes[entry.file] = path.stat().st_size if path else 0
                if entry.type != "revisit" and entry.offset + entry.length <= sizes[entry.file]:
                    self._remember(entry)

    def store(self, url: str, head: Head, body: bytes, address: str | None) -> None:
        """Keep an answer and its body. Raises WriteError."""
        raw, date = hashlib.sha256(body).hexdigest(), self._clock()
        with self._lock:
            seen = self._seen_before(raw)
            ident = self._ident()
        if seen:
            kind = "revisit"
            record = revisit_record(ident, url, date, raw, len(body), head, address, seen)
        else:
            kind = "response"
            record = payload_record(ident, url, date, raw, len(body), head, "", address) + body + END
        member = gzip.compress(record, _LEVEL, mtime=0)
        with self._lock, _as_write_errors(self.folder):
            if self._file is None:
                self._file = self._create()
            offset = self._file.write([member])
            self._add(Entry(raw, url, date.strftime(TIME), kind, self._file.name, offset, len(member)))
            if self._file.size >= self._max_file_bytes:
                self._file.finish()
                self._file = None

    def store_file(
        self, url: str, head: Head | None, path: Path, raw: str, content_type: str, address: str | None
    ) -> None:
        """Keep a body that lies in a file; without `head` (a resumed one) as a resource record. Raises WriteError."""
        date = self._clock()
        with _as_write_errors(self.folder):
            length = path.stat().st_size
            with self._lock:
                seen = self._seen_before(raw)
                ident = self._ident()
                file = self._create()
            try:
                if seen:
                    kind = "revisit"
                    record = revisit_record(ident, url, date, raw, length, head, address, seen)
                    offset = file.write([gzip.compress(record, _LEVEL, mtime=0)])
                else:
                    kind = "response" if head else "resource"
                    record = payload_record(ident, url, date, raw, length, head, content_type, address)
                    offset = file.write(_compressed(record, path))
                with self._lock:  # before the file gets its name: a killed run's open file is looked through again
                    self._add(Entry(raw, url, date.strftime(TIME), kind, file.name, offset, file.size - offset))
                file.finish()
            except BaseException:
                file.drop()
                raise

    def sync(self) -> None:
        """Make durable what was stored. Call it before anything is committed that rests on it. Raises WriteError."""
        with self._lock:
            if not self._dirty:
                return
            self._dirty = False
            open_files = [self._index.fileno()] + ([self._file.fd] if self._file else [])
            copies = [os.dup(fd) for fd in open_files]
        try:
            with _as_write_errors(self.folder):
                for fd in reversed(copies):
                    os.fsync(fd)
                fsync_directory(self.folder)
        except WriteError:
            self._dirty = True
            raise
        finally:
            for fd in copies:
                os.close(fd)

    def close(self) -> None:
        """Finish the file. Raises WriteError."""
        self.sync()
        with self._lock, _as_write_errors(self.folder):
            if self._file is not None:
                self._file.finish()
                self._file = None
            self._index.close()

    # ---- under the lock

    def _ident(self) -> str:
        return record_id(f"{os.uname().nodename}/{self.folder}/{self._stem}/{next(_IDS)}")

    def _create(self) -> _WarcFile:
        return _WarcFile.create(self.folder, self._stem, self._numbers, self._clock)

    def _add(self, entry: Entry) -> None:
        line = (b"\n" if self._torn else b"") + entry.line()
        self._torn = True
        if self._index.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn, self._dirty = False, True
        if entry.type != "revisit":
            self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        self._seen[entry.digest] = Seen(entry.url, entry.date, entry.file)
        self._seen.move_to_end(entry.digest)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def _seen_before(self, raw: str) -> Seen | None:
        """Where the payload is, unless that file was taken away."""
        seen = self._seen.get(raw)
        if seen is None or index.path_of(self.folder, seen.file) is None:
            return None
        self._seen.move_to_end(raw)
        return seen


class _WarcFile:
    """A file that is being written: `.open`, and locked so that no other process takes it for a dead one's."""

    def __init__(self, folder: Path, name: str, fd: int):
        self.name = name
        self.fd = fd
        self.size = 0
        self._folder = folder
        self._path = folder / (name + OPEN)

    @staticmethod
    def create(folder: Path, stem: str, numbers: Iterator[int], clock: Callable[[], datetime]) -> _WarcFile:
        while True:
            name = f"{stem}-{next(numbers):05d}.warc.gz"
            path = folder / (name + OPEN)
            if (folder / name).exists():
                continue
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    break
            except (BlockingIOError, FileNotFoundError):  # another process cleared it away as an empty one
                pass
            os.close(fd)
        file = _WarcFile(folder, name, fd)
        try:
            file.write([gzip.compress(info_record(record_id(str(path)), name, clock()), _LEVEL, mtime=0)])
        except BaseException:
            file.drop()
            raise
        return file

    def write(self, parts: list[bytes] | Iterator[bytes]) -> int:
        """Add a member; returns its offset. A failure leaves no part of it."""
        offset = self.size
        try:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    written = os.write(self.fd, rest)
                    self.size += written
                    rest = rest[written:]
        except BaseException:
            self.size = offset
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, offset)
                os.lseek(self.fd, offset, os.SEEK_SET)
            raise
        return offset

    def finish(self) -> None:
        """Make it durable and give it its name."""
        os.fsync(self.fd)
        os.rename(self._path, self._folder / self.name)
        self._close()
        fsync_directory(self._folder)

    def drop(self) -> None:
        """Delete it."""
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _compressed(record: bytes, path: Path) -> Iterator[bytes]:
    """A member with a file's bytes as payload; what is compressed already is only wrapped."""
    with open(path, "rb") as file:
        chunk = file.read(_CHUNK)
        packer = zlib.compressobj(_LEVEL if sniff(chunk[:4]) == "plain" else 0, wbits=31)
        yield packer.compress(record)
        while chunk:
            yield packer.compress(chunk)
            chunk = file.read(_CHUNK)
        yield packer.compress(END)
        yield packer.flush()


@contextlib.contextmanager
def _as_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{folder}: {error.strerror}") from None
