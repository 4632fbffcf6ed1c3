"""Immutable files of 64-bit words, mapped into memory and checked page by page at the first touch.

A file is named sections of words, each from a page boundary on, and behind them one frame of the container that says
where they are and holds a checksum for each page of 4 KB. Opening costs the frame alone, 0.2% of the file; a page is
checked when a lookup first reads it, in 0.3 us, so that a small run over a large index reads little. Files up to
SMALL_BYTES are checked at once.

The checksum is four lanes of a rotate-xor-multiply chain. Each step is a bijection of the lane, so that one changed
word, however many of its bits, is always found, several with probability 1 - 2^-64.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clet.container import Kind, pack_frame, read_frame
from clet.exits import InputError, WriteError
from clet.kernels import leaf, njit

PAGE_WORDS = 512
PAGE_BYTES = 8 * PAGE_WORDS
SMALL_BYTES = 32 << 20
WRITE_BYTES = 4 << 20
_CHUNK = 1 << 19

_U = np.uint64
_P1, _P2 = _U(0x9E3779B185EBCA87), _U(0xC2B2AE3D27D4EB4F)


class Mapped(NamedTuple):
    """The words of a file for kernels. `bad[0]` is 1 + a page that failed its check, once there is one."""

    words: np.ndarray  # [pages * PAGE_WORDS] uint64
    halves: np.ndarray  # the same as uint32
    sums: np.ndarray  # [pages] uint64
    checked: np.ndarray  # [pages] uint8
    bad: np.ndarray  # [1] int64


@leaf
def page_sum(words, page):
    """The checksum of a page."""
    a, b, c, d = _P1, _P2, ~_P1, ~_P2
    at = page * PAGE_WORDS
    for i in range(at, at + PAGE_WORDS, 4):
        a = (a ^ words[i]) * _P1
        b = (b ^ words[i + 1]) * _P1
        c = (c ^ words[i + 2]) * _P1
        d = (d ^ words[i + 3]) * _P1
        a = (a << _U(29)) | (a >> _U(35))
        b = (b << _U(29)) | (b >> _U(35))
        c = (c << _U(29)) | (c >> _U(35))
        d = (d << _U(29)) | (d >> _U(35))
    total = a
    for lane in (b, c, d):
        total = (total ^ lane) * _P2
        total ^= total >> _U(31)
    return total


@leaf
def check_page(mapped, page):
    """Check a page that was not checked before."""
    if page_sum(mapped.words, page) == mapped.sums[page]:
        mapped.checked[page] = 1
    elif mapped.bad[0] == 0:
        mapped.bad[0] = page + 1


@leaf
def check_words(mapped, begin, end):
    """Check the pages of `words[begin:end]`."""
    for page in range(begin // PAGE_WORDS, -(-end // PAGE_WORDS)):
        if not mapped.checked[page]:
            check_page(mapped, page)


@leaf
def word(mapped, at):
    """A word, checked."""
    if not mapped.checked[at // PAGE_WORDS]:
        check_page(mapped, at // PAGE_WORDS)
    return mapped.words[at]


@leaf
def half(mapped, begin, at):
    """The `at`-th uint32 of the section that begins at word `begin`, checked."""
    place = begin + (at >> 1)
    if not mapped.checked[place // PAGE_WORDS]:
        check_page(mapped, place // PAGE_WORDS)
    return mapped.halves[2 * begin + at]


@njit
def _sums(words, out):
    for page in range(len(out)):
        out[page] = page_sum(words, page)


class PageWriter:
    """Writes one file: `add` arrays section by section, then `close` with what the file says of itself.

    Raises WriteError; `abort` leaves no file. The file is durable after `close`, its name once the folder is.
    """

    def __init__(self, path: Path):
        self.path = path
        self._sections: dict[str, list[Any]] = {}
        self._sums: list[np.ndarray] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._size = 0
        try:
            self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - lives as long as the writer
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None

    def add(self, name: str, parts: Iterable[np.ndarray], dtype: Any) -> None:
        """A section from arrays of one dtype, uint32 or uint64."""
        begin, count = self._size // 8, 0
        for part in parts:
            count += len(part)
            for start in range(0, len(part), _CHUNK):  # a part may be gigabytes of another file
                self._put(np.ascontiguousarray(part[start : start + _CHUNK], dtype).tobytes())
        self._put(b"\0" * (-self._size % PAGE_BYTES))
        self._flush(everything=True)
        self._sections[name] = [begin, count, np.dtype(dtype).itemsize]

    @property
    def num_pages(self) -> int:
        """Pages so far."""
        return self._size // PAGE_BYTES

    def close(self, info: Mapping[str, Any]) -> None:
        """Write the frame with `info`, and make the file durable."""
        sums = np.concatenate([np.zeros(0, np.uint64), *self._sums])
        body = {"pages": len(sums), "sections": self._sections, **info}
        try:
            _write(self._file, pack_frame(Kind.JOURNAL, body, {"sums": sums}, None))
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self.abort()
            raise WriteError(f"{self.path}: {error.strerror}") from None

    def abort(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):  # what stays behind counts for nothing
            self._file.close()
        remove(self.path)

    def _put(self, body: bytes) -> None:
        self._waiting.append(body)
        self._waiting_bytes += len(body)
        self._size += len(body)
        if self._waiting_bytes >= WRITE_BYTES:
            self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        body = b"".join(self._waiting)
        whole = len(body) if everything else len(body) - len(body) % PAGE_BYTES
        words = np.frombuffer(body, "<u8", whole // 8)
        sums = np.empty(len(words) // PAGE_WORDS, np.uint64)
        _sums(words, sums)
        self._sums.append(sums)
        try:
            _write(self._file, body[:whole])
        except OSError as error:
            self.abort()
            raise WriteError(f"{self.path}: {error.strerror}") from None
        self._waiting, self._waiting_bytes = [body[whole:]], len(body) - whole


class Pages:
    """A file opened for reading: `mapped` for kernels, `info` and `sections` as they were written.

    `copy` maps it privately for writing: what is changed in memory does not reach the file. Raises InputError where
    the file is not what was written.
    """

    def __init__(self, path: Path, num_pages: int, *, copy: bool = False):
        self.path = path
        try:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size <= num_pages * PAGE_BYTES:
                    raise InputError(f"{path}: truncated; the state is damaged")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY if copy else mmap.ACCESS_READ)
                file.seek(num_pages * PAGE_BYTES)
                got = read_frame(file, str(path), num_pages * PAGE_BYTES)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; the state is damaged") from None
        self.info: dict[str, Any] = got[0].info if got else {}
        sums = got[0].arrays.get("sums") if got else None
        if self.info.get("pages") != num_pages or sums is None or len(sums) != num_pages:
            raise InputError(f"{path}: holds other pages than the state says; the state is damaged")
        self.sections: dict[str, list[int]] = self.info["sections"]
        words = np.frombuffer(self._map, "<u8", num_pages * PAGE_WORDS)
        checked, bad = np.zeros(num_pages, np.uint8), np.zeros(1, np.int64)
        self.mapped = Mapped(words, words.view(np.uint32), np.array(sums), checked, bad)
        if words.nbytes <= SMALL_BYTES:
            check_words(self.mapped, 0, len(words))
            self.check()

    def section(self, name: str) -> np.ndarray:
        """A whole section, checked."""
        begin, count, width = self.sections[name]
        check_words(self.mapped, begin, begin + -(-count * width // 8))
        self.check()
        if width == 4:
            return self.mapped.halves[2 * begin : 2 * begin + count]
        return self.mapped.words[begin : begin + count]

    def check(self) -> None:
        """Raise InputError where a page that was read is damaged."""
        if self.mapped.bad[0]:
            raise InputError(
                f"{self.path}: checksum of page {self.mapped.bad[0] - 1} differs: the state is damaged; "
                "restore it or give another --state"
            )


def remove(path: Path) -> None:
    """Delete a file that nobody names any more; if that fails it is tried again by whoever finds it."""
    with contextlib.suppress(OSError):
        path.unlink()


def remove_unnamed(folder: Path, prefix: str, named: Iterable[str]) -> int:
    """Delete the files of runs that did not commit, those with the prefix that the state does not name; how many."""
    known, count = set(named), 0
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name not in known:
                remove(folder / name)
                count += 1
    return count


def _write(file: Any, body: bytes) -> None:
    view = memoryview(body)
    while len(view):
        view = view[file.write(view) :]
