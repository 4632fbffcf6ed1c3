"""Where bytes go: a file that appears whole, a stream that is flushed as it goes, a file that grows."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import zstandard

from clet import codecs
from clet.exits import UsageError, WriteError
from clet.state import fsync_directory

MAX_PARTS = 1024  # buffers that one system call takes (IOV_MAX)
PIPE_BYTES = 1 << 18  # 64 KB unasked, and a switch of processes for each; a user's pipes share a limit of 64 MB
IDLE_S = 0.25

_BEGIN_WRITE = 2  # SYNC_FILE_RANGE_WRITE of sync_file_range(2), which Python does not have
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

# What fsync says of pipes, terminals and devices, which have nothing to sync.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}


class Sink:
    """A binary output that appears whole (a named file) or is flushed as it goes (stdout, a FIFO, a device).

    A name that is a link stays one; what it leads to is replaced. `idle` is called every IDLE_S while the reader of a
    stream takes nothing, and may raise; without it such a write waits for ever.
    """

    def __init__(self, target: str, idle: Callable[[], None] | None = None):
        self._idle = idle
        self._name = "stdout" if target == "-" else target
        self._path = Path(os.path.realpath(target))
        # Asked of the target, not of the path: a shell's >(command) is /dev/fd/63, which leads to no name at all.
        self.is_file = target != "-" and (os.path.isfile(target) or not os.path.exists(target))
        self._closed = False
        try:
            if self.is_file:
                self._tmp = self._path.with_name(f"{self._path.name}.tmp-{os.getpid()}")
                self._file: BinaryIO = open(self._tmp, "wb")  # noqa: SIM115 - lives until close or abort
            elif target == "-":
                self._file = io.FileIO(1, "wb", closefd=False)
            else:
                self._file = io.FileIO(target, "wb")
        except OSError as error:
            raise WriteError(f"{self._name}: {error.strerror}") from None
        self.is_pipe = widen_pipe(self._file.fileno())

    def write(self, data: bytes) -> None:
        """Write all of `data`. Raises WriteError; BrokenPipeError passes, it has a status of its own."""
        self.write_parts([data])

    def write_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write buffers one behind the other. Raises as `write`."""
        try:
            if self.is_file:
                self._file.writelines(parts)
            else:
                write_all(self._file.fileno(), parts, self._idle)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failed(error) from None

    def sync(self) -> None:
        """Make everything durable; a named file is still hidden. Raises WriteError."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.is_file or error.errno not in _NO_SYNC:
                raise self._failed(error) from None

    def close(self) -> None:
        """Make everything durable and visible. Raises WriteError."""
        if self._closed:
            return
        self.sync()
        self._closed = True
        try:
            self._file.close()
            if self.is_file:
                os.replace(self._tmp, self._path)
                fsync_directory(self._path.parent)
        except OSError as error:
            self._discard()
            raise WriteError(f"{self._name}: {error.strerror}") from None

    def _failed(self, error: OSError) -> WriteError:
        """What is wrong; of a named file nothing stays behind."""
        if self.is_file:
            self.abort()
        return WriteError(f"{self._name}: {error.strerror}")

    def abort(self) -> None:
        """Forget what was written to a named file; never fails."""
        if not self._closed:
            self._closed = True
            self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if self.is_file:
            with contextlib.suppress(OSError):
                self._tmp.unlink()


def write_all(fd: int, parts: Sequence[bytes | memoryview], idle: Callable[[], None] | None = None) -> None:
    """Write buffers one behind the other, however little a call takes. Raises OSError, and what `idle` raises.

    With `idle` no call takes longer than IDLE_S: a pipe that can be written to has room for PIPE_BUF bytes.
    """
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        while idle and not select.select([], [fd], [], IDLE_S)[1]:
            idle()
        try:
            done = os.write(fd, views[0][: select.PIPE_BUF]) if idle else os.writev(fd, views[:MAX_PARTS])
        except BlockingIOError:  # another process that has the pipe made it non-blocking
            select.select([], [fd], [])
            continue
        while views and done >= len(views[0]):
            done -= len(views.pop(0))
        if done:
            views[0] = views[0][done:]


def file_to_replace(name: str, flag: str) -> Path:
    """Where a file that is replaced as a whole lies: links are followed. Raises UsageError for what is no file."""
    path = Path(os.path.realpath(name))
    if name == "-" or (path.exists() and not path.is_file()):
        raise UsageError(f"{flag} {name}: want a file; it is replaced as a whole")
    return path


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Have the system begin to write part of a file to disk, so that there is less to wait for at its fsync.

    A hint: nothing is durable by it, and what goes wrong is told by fsync.
    """
    if _LIBC is not None:
        _LIBC.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _BEGIN_WRITE)


def widen_pipe(fd: int) -> bool:
    """Whether a descriptor is a pipe, which is then made to hold more, so that its ends wait for each other less."""
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return False
        if hasattr(fcntl, "F_SETPIPE_SZ") and fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_BYTES:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # a lower limit for this user, or many pipes: it works as it is
    return True


class AppendSink:
    """A file of zstd frames or of lines that grows: what was written since the last `sync` is added by one write.

    A frame or line that a killed run left unfinished is cut off at opening, which reads the file once.
    """

    def __init__(self, target: str):
        self._name = target
        self._waiting: list[bytes] = []
        try:
            self._file = open(target, "a+b", buffering=0)  # noqa: SIM115 - lives until close or abort
            whole = _whole_length(self._file)
            if whole < self._file.seek(0, os.SEEK_END):
                self._file.truncate(whole)
        except OSError as error:
            raise WriteError(f"{target}: {error.strerror}") from None

    def write(self, data: bytes) -> None:
        """Add to what the next `sync` writes."""
        self._waiting.append(data)

    def sync(self) -> None:
        """Write and make durable. Raises WriteError."""
        body, self._waiting = b"".join(self._waiting), []
        try:
            view = memoryview(body)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise WriteError(f"{self._name}: {error.strerror}") from None

    def close(self) -> None:
        """Write what is left. Raises WriteError."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def abort(self) -> None:
        """Leave the file as the last `sync` left it."""
        self._file.close()


def _whole_length(file: BinaryIO) -> int:
    """How much of a file is whole zstd frames, or whole lines."""
    file.seek(0)
    if codecs.sniff(file.read(4)) != "zstd":
        length = file.seek(0, os.SEEK_END)
        while length:
            start = max(0, length - codecs.CHUNK)
            file.seek(start)
            end = file.read(length - start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            length = start
        return 0
    file.seek(0)
    whole = read = 0
    frame = zstandard.ZstdDecompressor().decompressobj()
    while data := file.read(codecs.CHUNK):
        read += len(data)
        while data:
            try:
                frame.decompress(data)
            except zstandard.ZstdError:
                return whole
            data = frame.unused_data
            if frame.eof:
                whole = read - len(data)
                frame = zstandard.ZstdDecompressor().decompressobj()
    return whole
