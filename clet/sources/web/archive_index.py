"""The index of an archive, finding in it the bytes behind a document, and mending what a killed run left.

`index.jsonl` is only appended to: one line a record, with the digest and length of its payload, its URL, date and
type, and where it lies. A file that is being written is named `.open` and locked; one that nobody holds was left by a
killed run: its whole records are kept, the rest is cut off. Finding reads the index once and holds a megabyte of a
payload at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from clet.exits import InputError, WriteError
from clet.sources.web.warc_record import parse_fields
from clet.state import fsync_directory

INDEX = "index.jsonl"
OPEN = ".open"
_CHUNK = 1 << 20
_HEAD_BYTES = 1 << 16  # of a record: its own fields end within it
_LINE_BYTES = 400  # of the index, about


@dataclass(frozen=True)
class Entry:
    """One line of the index. `digest`: the payload's SHA-256 in hex; `offset` and `length`: of the gzip member."""

    digest: str
    url: str
    date: str
    type: str
    file: str
    offset: int
    length: int

    def line(self) -> bytes:
        """As it stands in the index."""
        return orjson.dumps(asdict(self)) + b"\n"


def entries(folder: Path, containing: bytes = b"", last: int | None = None) -> Iterator[Entry]:
    """The lines of an index that contain some bytes; with `last`, only about so many from its end.

    Lines that a crash damaged are passed over.
    """
    try:
        file = open(folder / INDEX, "rb")  # noqa: SIM115 - closed below; a with-block would catch the caller's errors
    except FileNotFoundError:
        return
    with file:
        if last is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last * _LINE_BYTES))
        for line in file:
            if containing in line:
                try:
                    yield Entry(**orjson.loads(line))
                except (ValueError, TypeError):
                    continue


def path_of(folder: Path, name: str) -> Path | None:
    """Where a file of the archive is, also while it is being written."""
    name = os.path.basename(name)  # whatever an index says, it is in the folder
    return next((path for path in (folder / name, folder / (name + OPEN)) if path.exists()), None)


def find(folder: Path, raw: str) -> bytes:
    """The bytes of which `raw` is the SHA-256 (hex), as they were fetched. Raises InputError."""
    into = io.BytesIO()
    copy(folder, raw, into)
    return into.getvalue()


def copy(folder: Path, raw: str, into: BinaryIO) -> int:
    """The same for what is too large for memory, into a file that can be sought. Returns its length."""
    failure = f"{folder}: nothing with the SHA-256 {raw} is archived"
    for entry in entries(folder, raw.encode()):
        if entry.digest != raw or entry.type == "revisit":
            continue
        into.seek(0)
        into.truncate()
        digest = hashlib.sha256()
        try:
            for chunk in _payload(folder, entry):
                digest.update(chunk)
                into.write(chunk)
        except ValueError as error:
            failure = f"{folder}/{entry.file}: the record at {entry.offset} cannot be read: {error}"
            continue
        if digest.hexdigest() == raw:
            return into.tell()
        failure = f"{folder}/{entry.file}: the record at {entry.offset} is not what was archived"
    raise InputError(failure)


def _payload(folder: Path, entry: Entry) -> Iterator[bytes]:
    """Raises ValueError where there is no whole record."""
    from fastwarc.warc import ArchiveIterator

    path = path_of(folder, entry.file)
    if path is None:
        raise ValueError("no such file")
    with open(path, "rb") as file:
        file.seek(entry.offset)
        try:
            for record in ArchiveIterator(io.BytesIO(file.read(entry.length)) if entry.length < _CHUNK else file):
                while chunk := record.reader.read(_CHUNK):
                    yield chunk
                return
        except Exception as error:  # the reader's own, undocumented
            raise ValueError(str(error)) from None
    raise ValueError("no record")


# ---- what a killed run left


def recover(folder: Path) -> None:
    """Finish what killed runs left open: cut off a damaged tail, complete the index, give the file its name."""
    for path in sorted(folder.glob(f"clet-*{OPEN}")):
        try:
            with open(path, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _finish(folder, path, file)
        except BlockingIOError:  # another process writes it
            continue
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None


def _finish(folder: Path, path: Path, file: BinaryIO) -> None:
    name = path.name.removesuffix(OPEN)
    known = {entry.offset for entry in entries(folder, name.encode()) if entry.file == name}
    end, missing = 0, []
    for offset, length, head in members(file):
        end = offset + length
        fields = parse_fields(head)
        told = [fields.get(field, "") for field in ("warc-payload-digest", "warc-target-uri", "warc-date", "warc-type")]
        if all(told) and offset not in known:
            missing.append(Entry(told[0].removeprefix("sha256:"), *told[1:], name, offset, length))
    if not end:
        path.unlink()
        return
    file.truncate(end)
    os.fsync(file.fileno())
    if missing:
        append(folder, b"".join(entry.line() for entry in missing))
    os.rename(path, folder / name)
    fsync_directory(folder)


def members(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(offset, length, first bytes) of each whole gzip member, up to the first that is damaged or cut."""
    file.seek(0)
    offset, pending = 0, b""
    while True:
        decoder, head, length = zlib.decompressobj(31), b"", 0
        while not decoder.eof:
            if not pending and not (pending := file.read(_CHUNK)):
                return
            try:
                out = decoder.decompress(pending, _CHUNK)
            except zlib.error:
                return
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            length += len(pending) - len(rest)
            pending = rest
            head += out[: max(0, _HEAD_BYTES - len(head))]
        yield offset, length, head
        offset += length


def append(folder: Path, lines: bytes) -> None:
    """Add lines to the index, durably; a line that a crash cut is ended first."""
    with open_index(folder) as file:
        file.write(lines)
        os.fsync(file.fileno())


def open_index(folder: Path) -> BinaryIO:
    """The index, to be appended to in whole lines."""
    file = open(folder / INDEX, "a+b", buffering=0)  # noqa: SIM115 - the caller's to close
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file
