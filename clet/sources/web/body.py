"""Reading a body: gzip, deflate or zstd taken off piece by piece, within caps on size and on inflation.

The caps are looked at after every piece, so no cap is passed by more than one: 64 KB of deflate's output, 8 MB of
zstd's. An end that comes too early is `Broken`, never a shorter document.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from clet.sources.adapter import SourceFailed
from clet.sources.web.exchange import Answer, Broken

ACCEPTED = b"gzip, deflate, zstd"
MAX_RATIO = 200  # deflate reaches 1032; feeds and pages stay below 50
RATIO_FREE_BYTES = 1 << 20  # below this much output the ratio is nobody's problem
MAX_ZSTD_WINDOW = 8 << 20  # RFC 9659: all that a content coding may ask for
_PIECE = 1 << 16
_ZSTD_BITE = 256  # four bytes can stand for a block of 128 KB


class _Coding(Protocol):
    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece inflates to. Raises SourceFailed where it is damaged."""

    def complete(self) -> bool:
        """Whether the body may end here."""


def read_body(answer: Answer, max_bytes: int, *, cut: bool = False) -> bytes:
    """The body of an answer, decoded. Raises SourceFailed past a limit; with `cut` its first `max_bytes` are enough."""
    name = answer.headers.get("content-encoding", "").strip().lower() or "identity"
    if name not in _CODINGS:
        raise SourceFailed(f"answers in {name[:40]}, which was not asked for")
    if not cut and (answer.length or 0) > max_bytes:
        raise SourceFailed(f"over {max_bytes} bytes")
    coding = _CODINGS[name]()
    parts, received, size = [], 0, 0
    for piece in answer.pieces:
        received += len(piece)
        for part in coding.feed(piece):
            size += len(part)
            parts.append(part)
            if size > max_bytes:
                if cut:
                    return b"".join(parts)[:max_bytes]
                raise SourceFailed(f"{'' if name == 'identity' else 'inflates to '}over {max_bytes} bytes")
            if size > RATIO_FREE_BYTES and size > MAX_RATIO * received:
                raise SourceFailed(f"inflates over {MAX_RATIO}-fold")
        if received > max_bytes:
            raise SourceFailed(f"over {max_bytes} bytes")
    if not coding.complete():
        raise Broken("the compressed body is cut short")
    return b"".join(parts)


class _Identity:
    def feed(self, piece: bytes) -> Iterator[bytes]:
        yield piece

    def complete(self) -> bool:
        return True


class _Deflate:
    """gzip (also several members) and deflate, which many servers send raw."""

    def __init__(self, gzip: bool):
        self._gzip = gzip
        self._wbits = 31 if gzip else 15
        self._decoder = zlib.decompressobj(self._wbits)
        self._started = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        more = False  # output may wait inside the decoder when all input is taken
        while piece or more:
            if self._decoder.eof:
                if not self._gzip or not piece.strip(b"\0"):
                    return
                self._decoder = zlib.decompressobj(self._wbits)
            part = self._decompress(piece)
            self._started = True
            more = len(part) == _PIECE
            if part:
                yield part
            piece = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail

    def _decompress(self, piece: bytes) -> bytes:
        try:
            return self._decoder.decompress(piece, _PIECE)
        except zlib.error as error:
            if self._wbits == 15 and not self._started:
                self._wbits = -15
                self._decoder = zlib.decompressobj(self._wbits)
                return self._decompress(piece)
            raise SourceFailed(f"damaged {'gzip' if self._gzip else 'deflate'} body: {error}") from None

    def complete(self) -> bool:
        return self._decoder.eof or not self._started


class _Zstd:
    """RFC 8878; several frames are one body."""

    def __init__(self) -> None:
        self._factory = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        rest = memoryview(piece)
        while rest:
            self._frame = self._frame or self._factory.decompressobj()
            bite = rest[:_ZSTD_BITE]
            try:
                part = self._frame.decompress(bite)
            except zstandard.ZstdError as error:
                raise SourceFailed(f"damaged zstd body: {error}") from None
            rest = rest[len(bite) - len(self._frame.unused_data) :]
            if self._frame.eof:
                self._frame = None
            if part:
                yield part

    def complete(self) -> bool:
        return self._frame is None


_CODINGS: dict[str, Callable[[], _Coding]] = {
    "identity": _Identity,
    "gzip": lambda: _Deflate(gzip=True),
    "x-gzip": lambda: _Deflate(gzip=True),
    "deflate": lambda: _Deflate(gzip=False),
    "zstd": _Zstd,
}
