"""Byte streams under the records: magic-byte sniffing, zstd and gzip checked to their end, bounded windows.

Names say nothing here; the first bytes do. Concatenated members are one stream. A stream cut inside a member is an
error (python-zstandard's own `stream_reader` and `read_across_frames` let a cut pass silently, so each frame gets its
own decompressor here, which must report its end).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import zstandard

from clet.container import MAGIC
from clet.exits import InputError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC = b"\x1f\x8b"
MAX_ZSTD_WINDOW = 1 << 27
CHUNK = 1 << 20
BITE = 1 << 12  # zstd inflates at most 32,768-fold (4 bytes a 128 KB block): a bomb is met 128 MB at a time
GZIP_BITE = 1 << 16  # what follows a member is copied out of its bite: a stream of tiny members stays linear


def sniff(head: bytes) -> str:
    """`clet`, `zstd`, `gzip` or `plain`, from the first four bytes or fewer."""
    if head[:4] == MAGIC:
        return "clet"
    if head[:4] == ZSTD_MAGIC or (len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    if head[:2] == GZIP_MAGIC:
        return "gzip"
    return "plain"


class Peekable(io.RawIOBase):
    """A binary stream of which the first bytes can be looked at before reading.

    `read1` returns what one system call gives, so that a slow pipe is passed on as it arrives.
    """

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._head = b""
        self.position = 0

    def peek(self, size: int) -> bytes:
        """Up to `size` bytes without consuming them; fewer only at the end."""
        while len(self._head) < size and (more := self._stream.read(size - len(self._head))):
            self._head += more
        return self._head

    def read1(self, size: int = CHUNK) -> bytes:
        """At least one byte unless at the end."""
        if self._head:
            out, self._head = self._head[:size], self._head[size:]
        else:
            out = self._stream.read(size) or b""
        self.position += len(out)
        return out

    def read(self, size: int = -1) -> bytes:
        """As `read1` for a positive size; everything for -1."""
        if size >= 0:
            return self.read1(size)
        parts = []
        while part := self.read1(CHUNK):
            parts.append(part)
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """What one system call gives, into `buffer`; 0 at the end only."""
        if self._head:
            view = memoryview(buffer)
            size = min(len(self._head), len(view))
            view[:size], self._head = self._head[:size], self._head[size:]
        else:
            size = self._stream.readinto(buffer) or 0
        self.position += size
        return size

    def readable(self) -> bool:
        """True."""
        return True


def plain_chunks(stream: Peekable, name: str) -> Iterator[bytes]:
    """Decoded bytes of a stream, piece by piece as they arrive. Raises InputError on damage or truncation."""
    codec = sniff(stream.peek(4))
    decode = {"zstd": _zstd_chunks, "gzip": _gzip_chunks}.get(codec)
    if decode is None:
        while chunk := stream.read1():
            yield chunk
    else:
        yield from decode(stream, name)


def _zstd_chunks(stream: Peekable, name: str) -> Iterator[bytes]:
    pending = memoryview(b"")
    while pending or (pending := memoryview(stream.read1())):
        frame = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
        while not frame.eof:
            if not pending and not (pending := memoryview(stream.read1())):
                raise InputError(f"{name}: truncated zstd frame; its end is missing")
            bite = pending[:BITE]
            try:
                out = frame.decompress(bite)
            except zstandard.ZstdError as error:
                raise InputError(f"{name}: damaged zstd data: {error}") from None
            pending = pending[len(bite) - len(frame.unused_data) :]
            if out:
                yield out


def _gzip_chunks(stream: Peekable, name: str) -> Iterator[bytes]:
    pending = memoryview(b"")
    while pending or (pending := memoryview(stream.read1())):
        if pending[0] == 0:  # tapes and some writers pad with zeros after the last member
            pending = memoryview(bytes(pending).lstrip(b"\0"))
            continue
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            at_end = not pending and not (pending := memoryview(stream.read1()))
            bite = pending[:GZIP_BITE]
            try:
                out = member.decompress(bite, CHUNK)
            except zlib.error as error:
                raise InputError(f"{name}: damaged gzip data: {error}") from None
            rest = member.unused_data if member.eof else member.unconsumed_tail  # at the end both hold the same
            pending = pending[len(bite) - len(rest) :]
            if out:
                yield out
            elif at_end and not member.eof:
                raise InputError(f"{name}: truncated gzip member")


class ChunkReader(io.RawIOBase):
    """A binary file over an iterator of chunks: lets a container be read from inside zstd or gzip."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; empty at the end only."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        out = bytes(self._rest[:size] if size >= 0 else self._rest)
        self._rest = self._rest[len(out) :]
        return out

    def readinto(self, buffer: Any) -> int:
        """What is there, into `buffer`; 0 at the end only."""
        view = memoryview(buffer)
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(self._rest), len(view))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def readable(self) -> bool:
        """True."""
        return True
