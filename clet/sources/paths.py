"""Local files that a locator names: a file, a folder (walked in order) or a glob; and reading one safely.

Names are compared as bytes, so the order does not depend on the locale. A walk enters no hidden folder and follows no
link, and only regular files are read, so that a FIFO or a device cannot hang the intake.
"""

from __future__ import annotations

import glob
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from clet.codecs import Peekable, plain_chunks, sniff
from clet.exits import InputError
from clet.sources.adapter import MAX_FILE_BYTES, Context, SourceFailed
from clet.streams import InputFile

MAX_FILES = 5_000_000


@dataclass(frozen=True)
class Found:
    """One file: its path, and the folder that it was found under (its own folder where it was named itself)."""

    path: str
    root: str
    named: bool  # by itself, not met in a walk: then it is read whatever its name says

    @property
    def shown(self) -> str:
        """The path as text that JSON can carry."""
        return shown(self.path)

    @property
    def relative(self) -> str:
        """The path below `root`, as text."""
        return shown(os.path.relpath(self.path, self.root))

    @property
    def origin(self) -> str:
        """The name of the folder."""
        return shown(os.path.basename(os.path.abspath(self.root))) or "/"


def shown(path: str) -> str:
    """A path as text: bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def expand(locator: str, unreadable: Callable[[str], None] | None = None) -> Iterator[Found]:
    """Every file that a locator names, in order. Raises SourceFailed where it names none.

    `unreadable` is told of each folder that cannot be listed, other than the one that was named; the rest is read.
    """
    if os.path.isdir(locator):
        yield from walk(locator, unreadable)
    elif os.path.lexists(locator) or not glob.has_magic(locator):
        if not os.path.exists(locator):
            raise SourceFailed("no such file", unreachable=True)
        yield Found(locator, os.path.dirname(locator) or ".", named=True)
    else:
        matches = sorted(glob.iglob(locator, recursive=True), key=os.fsencode)
        if not matches:
            raise SourceFailed("matches no file", unreachable=True)
        for match in matches:
            if os.path.isdir(match):
                if "**" not in locator:  # ** names what is inside by itself
                    yield from _walk_match(match, unreadable)
            else:
                yield Found(match, os.path.dirname(match) or ".", named=True)


def one_file(locator: str, context: Context, suffixes: tuple[str, ...] = ()) -> Found | None:
    """The file that a locator names; None where it names several, each of which is then a source of its own.

    Of a folder only files with one of the `suffixes` (in lower case) count, where any are given.
    """
    found = list(islice(expand(locator), 2)) if not os.path.isdir(locator) else []
    if len(found) == 1 and found[0].path == locator:
        return found[0]
    for each in expand(locator, context.bad):
        if each.named or not suffixes or each.path.lower().endswith(suffixes):
            context.include(each.path)
    return None


def walk(root: str, unreadable: Callable[[str], None] | None = None) -> Iterator[Found]:
    """Every regular file below a folder, names sorted as bytes. Raises SourceFailed where it cannot be listed."""
    number = 0
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if folder == root:
                raise SourceFailed(error.strerror or "cannot be listed", unreachable=True) from None
            if unreadable:
                unreadable(f"{shown(folder)}: {error.strerror}")
            continue
        folders = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                number += 1
                if number > MAX_FILES:
                    raise SourceFailed(f"over {MAX_FILES} files; name a smaller folder")
                yield Found(entry.path, root, named=False)
        pending.extend(reversed(folders))


def _walk_match(folder: str, unreadable: Callable[[str], None] | None) -> Iterator[Found]:
    """`walk` of one match among others, which it must not end."""
    try:
        yield from walk(folder, unreadable)
    except SourceFailed as error:
        if unreadable is None:
            raise
        unreadable(f"{shown(folder)}: {error}")


class Stdin(io.RawIOBase):
    """Standard input. Before each read, which may wait for long, what was yielded is passed on."""

    def __init__(self, context: Context):
        self._context = context
        self._file = InputFile("-")

    def read(self, size: int = -1) -> bytes:
        """What one system call gives: at least a byte unless at the end. Raises InputError, Interrupted."""
        self._context.idle()
        return self._file.read(size)

    def readable(self) -> bool:
        """True."""
        return True


def file_signature(path: str) -> tuple[int, int]:
    """(mtime in ns, size in bytes) of a regular file. Raises SourceFailed."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceFailed("not a regular file")
    return status.st_mtime_ns, status.st_size


def open_regular(path: str) -> BinaryIO:
    """A regular file opened for reading, unbuffered. Raises SourceFailed, also for a FIFO put there meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceFailed("not a regular file")
    return io.FileIO(fd, "rb")


def read_file(path: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a regular file. Raises SourceFailed where it cannot be read or has more than `limit`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            body = b"" if size > limit else read_bounded(file, limit)
        except OSError as error:
            raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
    if max(size, len(body)) > limit:
        raise SourceFailed(f"over the limit of {limit} bytes")
    return body


def read_bounded(stream: BinaryIO, limit: int) -> bytes:
    """Everything a stream gives, but stops once there are more than `limit` bytes."""
    parts, total = [], 0
    while total <= limit and (part := stream.read(min(1 << 20, limit + 1 - total))):
        parts.append(part)
        total += len(part)
    return b"".join(parts)


def inflate(body: bytes, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """A body with gzip or zstd taken off, told by its first bytes. Raises SourceFailed on damage or over `limit`."""
    if sniff(body[:4]) not in ("gzip", "zstd"):
        return body
    parts, total = [], 0
    try:
        for chunk in plain_chunks(Peekable(io.BytesIO(body)), name):
            total += len(chunk)
            if total > limit:
                raise SourceFailed(f"inflates to over {limit} bytes")
            parts.append(chunk)
    except InputError as error:
        raise SourceFailed(str(error)) from None
    return b"".join(parts)


def file_url(path: str) -> str:
    """The file: URL of a path."""
    return Path(os.path.abspath(path)).as_uri()
