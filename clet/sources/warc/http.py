"""The HTTP answer inside an archive's record: status, headers, and the body with its codings taken off.

What crawlers keep differs: some take the chunks or the compression off and leave the header that speaks of them. So a
coding is taken off where the body has it, whatever the header says of one that it has not. Cost: that of inflating;
memory: the body twice, at most MAX_FILE_BYTES.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from clet.codecs import GZIP_BITE, GZIP_MAGIC, MAX_ZSTD_WINDOW, ZSTD_MAGIC
from clet.sources.adapter import MAX_FILE_BYTES
from clet.sources.warc.records import parse_headers

MAX_RATIO = 200  # deflate reaches 1032; pages stay below 50
RATIO_FREE_BYTES = 1 << 20  # below this much output the ratio is nobody's problem
_PIECE = 1 << 16
_ZSTD_BITE = 1 << 10  # inflates to at most 32 MB
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t][^\n]{0,1000})?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_MAX_HEAD_BYTES = 256 << 10
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\n]{0,1000})?\r?\n")


class BadBody(ValueError):
    """An answer that cannot be read; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have their names in lower case; `body` has its codings still on."""

    status: int
    headers: dict[str, str]
    body: bytes

    def decoded(self, *, cut: bool = False) -> bytes:
        """The body with its codings taken off. `cut`: it is known to be cut short, and what there is will do.

        Raises BadBody on damage, past a limit, and for a coding that is unknown here.
        """
        body = self.body
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = _join_chunks(body)
        codings = re.split(r"[\s,]+", self.headers.get("content-encoding", "").strip().lower())
        for coding in reversed([coding for coding in codings if coding not in ("", "identity", "none", "utf-8")]):
            body = _take_off(coding, body, cut)
        return body


def is_answer(block: bytes) -> bool:
    """Whether a block begins as an HTTP answer does."""
    return _STATUS.match(block, 0, 2048) is not None


def parse_answer(block: bytes) -> Answer:
    """The answer in a block. Raises BadBody."""
    match = _STATUS.match(block, 0, 2048)
    if match is None:
        raise BadBody("no HTTP answer")
    end = _HEAD_END.search(block, match.end() - 1, _MAX_HEAD_BYTES)
    if end is None and len(block) >= _MAX_HEAD_BYTES:
        raise BadBody("its HTTP header does not end")
    head, body = (block[match.end() : end.start()], block[end.end() :]) if end else (block[match.end() :], b"")
    return Answer(int(match[1]), parse_headers(head.decode("utf-8", "replace").split("\n")), body)


def _join_chunks(body: bytes) -> bytes:
    """The data of the chunks; the body itself where it does not begin with one. Raises BadBody."""
    parts, at = [], 0
    while match := _CHUNK.match(body, at, at + 1200):
        begin = match.end()
        at = begin + int(match[1], 16)
        parts.append(body[begin:at])
        if at == begin or at >= len(body):
            return b"".join(parts)
        at += 2 if body[at : at + 2] == b"\r\n" else body[at : at + 1] == b"\n"
    if parts and at < len(body):
        raise BadBody("its chunks are damaged")
    return b"".join(parts) or body


def _take_off(coding: str, body: bytes, cut: bool) -> bytes:
    decode = _CODINGS.get(coding)
    if decode is None:
        raise BadBody(f"is coded in {coding[:40]!a}, which clet does not read")
    parts, size = [], 0
    for part in decode(body, cut):
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise BadBody(f"inflates to over {MAX_FILE_BYTES} bytes")
        if size > RATIO_FREE_BYTES and size > MAX_RATIO * len(body):
            raise BadBody(f"inflates over {MAX_RATIO}-fold")
        parts.append(part)
    return b"".join(parts)


def _gzip(body: bytes, cut: bool) -> Iterator[bytes]:
    if not body.startswith(GZIP_MAGIC):
        yield body
        return
    pending = memoryview(body)
    while pending[:2] == GZIP_MAGIC:  # also several members; what stands behind the last is no page's
        pending = yield from _inflate(zlib.decompressobj(31), pending, cut)


def _deflate(body: bytes, cut: bool) -> Iterator[bytes]:
    """zlib's format, or, as many servers mean it, bare deflate; else the body is not coded at all."""
    for wbits in (15, -15):
        try:
            zlib.decompressobj(wbits).decompress(body[:_PIECE], 1)
        except zlib.error:
            continue
        yield from _inflate(zlib.decompressobj(wbits), memoryview(body), cut)
        return
    yield body


def _inflate(inner: zlib._Decompress, pending: memoryview, cut: bool) -> Iterator[bytes]:
    """What one member inflates to; returns what stands behind it."""
    while not inner.eof:
        if not pending:
            if cut:
                return pending
            raise BadBody("its body is cut short")
        bite = pending[:GZIP_BITE]
        try:
            part = inner.decompress(bite, _PIECE)
        except zlib.error:
            raise BadBody("its compressed body is damaged") from None
        rest = inner.unused_data if inner.eof else inner.unconsumed_tail  # at the end both hold the same
        pending = pending[len(bite) - len(rest) :]
        yield part
    return pending


def _zstd(body: bytes, cut: bool) -> Iterator[bytes]:
    if not body.startswith(ZSTD_MAGIC):
        yield body
        return
    pending = memoryview(body)
    while pending:
        frame = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
        while not frame.eof:
            if not pending:
                if cut:
                    return
                raise BadBody("its body is cut short")
            bite = pending[:_ZSTD_BITE]
            try:
                yield frame.decompress(bite)
            except zstandard.ZstdError:
                raise BadBody("its compressed body is damaged") from None
            pending = pending[len(bite) - len(frame.unused_data) :]


def _brotli(body: bytes, cut: bool) -> Iterator[bytes]:
    try:
        import brotli
    except ImportError:
        raise BadBody("is coded in br; pip install brotli") from None
    decompressor, fed, out = brotli.Decompressor(), 0, 0
    try:
        while not decompressor.is_finished():
            bite = b""
            if decompressor.can_accept_more_data():
                bite = body[fed : fed + _PIECE]
                fed += len(bite)
                if not bite:
                    if cut:
                        return
                    raise BadBody("its body is cut short")
            part = decompressor.process(bite, output_buffer_limit=_PIECE)
            out += len(part)
            yield part
    except brotli.error:
        if out or not body.lstrip().startswith(b"<"):
            raise BadBody("its compressed body is damaged") from None
        yield body  # brotli has no magic number


_CODINGS: dict[str, Callable[[bytes, bool], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}
