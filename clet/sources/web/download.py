"""A body too large for memory, taken into a file: resumed where it broke off, also by the next run.

The file grows under a name made of the URL, with `.part`; beside it `.json` says what it is a part of. It is resumed
with Range and If-Range, and only where the server gave a strong validator (RFC 9110, 8.8.1 and 13.1.5: an ETag not
marked W/, or a Last-Modified older than the answer). A whole file that a killed run left behind is used again where
the server says that it is still the same. What was written under another boot of this machine is not believed, since a
loss of power can leave holes. A transfer that brings less than `stall_bytes` in `stall_s` counts as broken. The body
is kept as it was sent, content codings and all. Memory: one piece. One URL, one user of its file at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO

import httpcore
import httpx
import orjson

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interruption
from clet.sources.web.exchange import Answer, Broken

RESERVE_BYTES = 64 << 20  # what is left free on the disk
PROGRESS_BYTES = 1 << 20  # a try that brought so much does not count against the number of tries
CONDITIONAL = (b"If-None-Match", b"If-Modified-Since")
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")


class Part:
    """The file that a download grows in. Belongs to one thread; the file is locked. Use as a context manager."""

    def __init__(self, folder: Path, url: str, interruption: Interruption):
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        self.path = folder / name
        self._part = folder / f"{name}.part"
        self._told = folder / f"{name}.json"
        self._file = self._open(folder)
        self._hash = hashlib.sha256()
        self.size = 0
        self.total: int | None = None
        self.content_type = ""
        self.validators: dict[str, str] = {}
        self.validator: str | None = None  # strong: what If-Range may carry
        try:
            self._resume(interruption)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what can be resumed, delete what cannot."""
        if self._file.closed:
            return
        if not (self.whole or (self.size and self.validator)):
            self.discard()
        self._file.close()

    def _open(self, folder: Path) -> BinaryIO:
        while True:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if self.path.exists() and self._told.exists() and not self._part.exists():
                    os.rename(self.path, self._part)
                fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise SourceFailed(f"{self._part}: {error.strerror}") from None
            file = os.fdopen(fd, "r+b", buffering=0)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(fd), os.stat(self._part)):
                    return file
            except BlockingIOError:
                file.close()
                raise SourceFailed("another download of it is under way", unreachable=True) from None
            except FileNotFoundError:  # finished by another between the two calls, as is one with another inode
                pass
            file.close()

    def _resume(self, interruption: Interruption) -> None:
        """Take up what an earlier run left, if it is known what it is."""
        try:
            told = orjson.loads(self._told.read_bytes())
            known = told["boot"] == _boot()
            self.total, self.content_type, self.validators = told["total"], told["content_type"], told["validators"]
            self.validator = told["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        while known and (chunk := self._file.read(_CHUNK)):
            interruption.check()
            self._hash.update(chunk)
            self.size += len(chunk)
        if not (known and (self.whole or self.validator)):
            self.restart()

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, as far as is known."""
        return self.size > 0 and self.size == self.total

    def headers(self) -> Iterator[tuple[bytes, bytes]]:
        """What asks for the missing rest only, or whether a whole file is still the same."""
        if self.whole:
            yield from conditional(self.validators)
        elif self.size and self.validator:
            yield b"Range", b"bytes=%d-" % self.size
            yield b"If-Range", self.validator.encode("latin-1", "replace")

    def continues(self, answer: Answer) -> bool:
        """Whether an answer with status 206 brings what is missing, of the same body."""
        match = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        etag = answer.headers.get("etag")
        if not match or (etag and etag != self.validators.get("etag", etag)):
            return False
        total = int(match[2])
        if int(match[1]) != self.size or self.total not in (None, total):
            return False
        self.total = total
        return True

    def restart(self, answer: Answer | None = None) -> None:
        """Begin anew, with the body that an answer brings."""
        self._told.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size, self.total, self.content_type, self.validators, self.validator = 0, None, "", {}, None
        if answer is not None:
            self.total = answer.length
            self.content_type = answer.headers.get("content-type", "")[:1000]
            self.validators = validators_of(answer.headers)
            self.validator = strong_validator(answer.headers)
            if self.validator:
                self._tell()

    def _tell(self) -> None:
        told = {
            "boot": _boot(),
            "total": self.total,
            "content_type": self.content_type,
            "validators": self.validators,
            "validator": self.validator,
        }
        self._told.write_bytes(orjson.dumps(told))

    def append(self, piece: bytes) -> None:
        """Add what arrived."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._hash.update(piece)
        self.size += len(piece)

    def finish(self) -> str:
        """The file is whole and gets its name. Returns its SHA-256. Raises SourceFailed."""
        self.total = self.size
        try:
            self._told.unlink(missing_ok=True)
            os.replace(self._part, self.path)
            if self.validators:
                self._tell()
        except OSError as error:
            raise SourceFailed(f"{self.path}: {error.strerror}") from None
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Delete it."""
        self._told.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)
        self.size = 0


def receive(
    answer: Answer,
    part: Part,
    allow: Callable[[float], None],
    interruption: Interruption,
    max_bytes: int,
    stall_s: float,
    stall_bytes: int,
) -> None:
    """Take the body of an answer (200, 203, 206 or 416) into the file. Raises SourceFailed and Broken.

    `allow` says for how many seconds from now the exchange may go on.
    """
    try:
        if answer.status == 416 or (answer.status == 206 and not part.continues(answer)):
            part.restart()
            raise Broken("the rest that was asked for does not fit what is there")
        if answer.status != 206:
            part.restart(answer)
        _check_size(part, max_bytes)
        mark = part.size
        allow(stall_s)
        for piece in answer.pieces:
            part.append(piece)
            interruption.check()
            if part.size - mark >= stall_bytes:
                mark = part.size
                allow(stall_s)
            if part.size > max_bytes or part.size // RESERVE_BYTES > (part.size - len(piece)) // RESERVE_BYTES:
                _check_size(part, max_bytes)
    except httpcore.ReadTimeout:
        raise Broken(f"stalled: under {stall_bytes} bytes in {stall_s:g} s") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            part.discard()
        raise SourceFailed(f"{part.path.parent}: {error.strerror}") from None
    if part.total is not None and part.size != part.total:
        if part.size > part.total:
            part.restart()
        raise Broken(f"{part.size} of {part.total} bytes came")


def _check_size(part: Part, max_bytes: int) -> None:
    if max(part.size, part.total or 0) > max_bytes:
        part.discard()
        raise SourceFailed(f"over {max_bytes} bytes")
    missing = max(0, (part.total or 0) - part.size)
    free = shutil.disk_usage(part.path.parent).free
    if missing + RESERVE_BYTES > free:
        raise SourceFailed(f"{missing} bytes are missing yet, and {part.path.parent} has only {free} free")


def validators_of(headers: httpx.Headers) -> dict[str, str]:
    """What a later request may send back to learn whether anything changed, where it can be sent at all."""
    found = {name: headers.get(name, "").strip() for name in ("etag", "last-modified")}
    return {name: value for name, value in found.items() if 0 < len(value) <= 1000 and value.isprintable()}


def conditional(validators: dict[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """The headers that send them back."""
    for name, field in zip(("etag", "last-modified"), CONDITIONAL, strict=True):
        if validators.get(name):
            yield field, validators[name].encode("latin-1", "replace")


def strong_validator(headers: httpx.Headers) -> str | None:
    """What identifies the very bytes of a body, if the server gave it."""
    validators = validators_of(headers)
    etag, modified = validators.get("etag", ""), validators.get("last-modified", "")
    if len(etag) > 1 and etag[0] == etag[-1] == '"':
        return etag
    if headers.get("etag") or not modified:  # a date may not stand in for a weak ETag
        return None
    with contextlib.suppress(ValueError, TypeError, KeyError):
        age = parsedate_to_datetime(headers["date"]) - parsedate_to_datetime(modified)
        if age.total_seconds() >= 1:
            return modified
    return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
