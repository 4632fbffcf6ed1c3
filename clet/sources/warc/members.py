"""The bytes of a web archive, inflated, with the places from which reading can begin again.

Archives are plain, or compressed in members (gzip) or frames (zstd), as a rule one a record, so that any record can be
reached by its offset and damage costs one record. FastWARC stops for good at the first damaged or empty member and
lets a record with a wrong length swallow all that follow; here the next member that begins with a record is looked for
byte by byte. A zstd archive may begin with a dictionary in a skippable frame (the .warc.zst specification of IIPC).

Memory: one piece (1 MB; of a hostile zstd frame 32 MB) and the last 1 MB of compressed bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

import zstandard

from clet.codecs import GZIP_BITE, GZIP_MAGIC, MAX_ZSTD_WINDOW, ZSTD_MAGIC, sniff

PIECE = 1 << 20
MAX_DICTIONARY_BYTES = 32 << 20
_HISTORY = 1 << 20  # compressed bytes kept for looking again where a damaged member might have ended
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
_MAGIC_BYTES = 4
_FRAME = re.compile(re.escape(ZSTD_MAGIC) + rb"|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)  # or one to be skipped
_ZSTD_BITE = 1 << 10  # inflates to at most 32 MB
_TELLING = 4096  # inflated bytes that tell whether a record begins
_PROBE_IN = 8192  # bytes of a presumed member that are looked at


class Place(NamedTuple):
    """Where reading can begin: the start of a member (in a plain file any byte), and inflated bytes to pass over."""

    offset: int
    skip: int

    def after(self, size: int, *, plain: bool) -> Place:
        """The place so many inflated bytes later."""
        return Place(self.offset + size, 0) if plain else Place(self.offset, self.skip + size)

    def __str__(self) -> str:
        return f"byte {self.offset}" + (f", inflated {self.skip} further" if self.skip else "")


START = Place(0, 0)


class Piece(NamedTuple):
    """Inflated bytes, at least one. `first`: a member begins with them."""

    data: bytes
    place: Place
    first: bool


class Damage(NamedTuple):
    """Here bytes are missing. What follows begins with a record. `at_end`: nothing does, the archive ends too early."""

    reason: str
    place: Place
    at_end: bool


class _Cut(ValueError):
    """A member does not end."""


class NotReadable(ValueError):
    """The archive cannot be read at all; the text is the reason."""


class Inflater(Protocol):
    """One member being inflated."""

    eof: bool

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """(what came out, how many bytes of `data` were used). Raises ValueError on damage."""


class _Codec(NamedTuple):
    name: str
    magic: bytes
    starts: re.Pattern[bytes]
    inflater: Callable[[], Inflater]
    bite: int


Starts = Callable[[bytes], object]  # whether bytes begin with a record


class Archive:
    """A stream of archive bytes. `plain` says whether offsets in it are those of the records themselves.

    `seekable` is read from any place; another stream from its beginning only. Raises NotReadable.
    """

    def __init__(self, stream: BinaryIO, *, seekable: bool):
        self._input = _Input(stream)
        self._seek = stream.seek if seekable else None
        head = self._input.peek(8)
        self._codec = None
        if head[:2] == GZIP_MAGIC:
            self._codec = _Codec(
                "gzip", GZIP_MAGIC + b"\x08", re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"), _Gzip, GZIP_BITE
            )
        elif sniff(head) == "zstd":
            self._codec = _Codec("zstd", ZSTD_MAGIC, _FRAME, _zstd_inflater(self._input), _ZSTD_BITE)
        self.plain = self._codec is None

    def pieces(self, begin: Place, starts: Starts) -> Iterator[Piece | Damage]:
        """Everything from a place on. `starts` tells whether bytes begin with a record."""
        if begin.offset > 0:
            if self._seek is None:
                raise NotReadable("cannot be read from its middle")
            self._seek(begin.offset)
            self._input.moved_to(begin.offset)
        if self._codec is None:
            return self._plain()
        return self._members(self._codec, begin.skip, starts)

    def _plain(self) -> Iterator[Piece]:
        while self._input.fill():
            piece = Piece(self._input.buffered(), Place(self._input.offset, 0), False)
            self._input.drop(len(piece.data))
            yield piece

    def _members(self, codec: _Codec, skip: int, starts: Starts) -> Iterator[Piece | Damage]:
        source = self._input
        while source.fill():
            offset, head = source.offset, source.peek(_MAGIC_BYTES)
            if codec.starts.match(head):
                source.mark()
                try:
                    yield from self._member(codec, skip)
                    skip = 0
                    continue
                except ValueError as error:
                    damage = error
                source.back_to_mark()
            elif source.take_zeros():  # tapes and some writers pad with them
                continue
            elif len(head) < _MAGIC_BYTES and codec.magic.startswith(head[:3]):
                damage = _Cut(f"cut short: its {codec.name} data has hardly begun")
            else:
                damage = ValueError(f"no {codec.name} data where it should go on")
            found = self._find(codec, starts)
            yield Damage(str(damage), Place(offset, 0), at_end=isinstance(damage, _Cut) and not found)
            skip = 0

    def _member(self, codec: _Codec, skip: int) -> Iterator[Piece]:
        """One member. Raises ValueError where it is damaged or cut."""
        source, inflater = self._input, codec.inflater()
        offset, done = source.offset, 0
        first, head = skip == 0, b""
        while not inflater.eof:
            if not source.fill():
                raise _Cut(f"cut short: the end of its {codec.name} data is missing")
            try:
                data, used = inflater.feed(source.some(codec.bite))
            except ValueError:
                if head:
                    yield Piece(head, Place(offset, 0), True)
                raise
            source.drop(used)
            begin, done = done, done + len(data)
            if done <= skip:
                continue
            data, begin = data[max(0, skip - begin) :], max(begin, skip)
            if first:  # enough of it at once to tell whether it begins with a record
                head += data
                if len(head) < _TELLING and not inflater.eof:
                    continue
                data, begin = head, 0
            if data:
                yield Piece(data, Place(offset, begin), first)
                first = False

    def _find(self, codec: _Codec, starts: Starts) -> bool:
        """Go to the next member that begins with a record, past the present byte; False where there is none."""
        source = self._input
        source.drop(1)
        while len(source.peek(_PROBE_IN)) >= _MAGIC_BYTES:
            body = source.buffered()
            for match in codec.starts.finditer(body):
                start = match.start()
                if len(body) - start < _PROBE_IN and not source.ended:
                    source.drop(start)  # look again once there is enough to prove it
                    break
                if _begins_with_record(codec, body[start : start + _PROBE_IN], starts):
                    source.drop(start)
                    return True
            else:
                source.drop(len(body) - (_MAGIC_BYTES - 1))
        source.drop(len(source.buffered()))
        return False


def _begins_with_record(codec: _Codec, body: bytes, starts: Starts) -> bool:
    inflater, out = codec.inflater(), b""
    try:
        while body and not inflater.eof and len(out) < _TELLING:
            data, used = inflater.feed(body[: codec.bite])
            out, body = out + data, body[used:]
    except ValueError:
        pass
    return bool(starts(out))


class _Input:
    """Bytes of a stream, with their offset, and a way back to a mark not too far behind."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._data, self._at = b"", 0
        self._history: bytearray | None = None
        self.offset = 0
        self.ended = False

    def moved_to(self, offset: int) -> None:
        """The stream was put somewhere else."""
        self._data, self._at, self._history, self.offset, self.ended = b"", 0, None, offset, False

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        while len(self._data) - self._at < size and not self.ended:
            more = self._stream.read(PIECE)
            self.ended = not more
            self._data, self._at = self._data[self._at :] + more, 0
        return self._data[self._at : self._at + size]

    def fill(self) -> bool:
        """Whether there is a byte left."""
        return bool(self.peek(1))

    def some(self, size: int) -> bytes:
        """Of the bytes that arrived, at most `size`."""
        return self._data[self._at : self._at + size]

    def buffered(self) -> bytes:
        """All bytes that arrived."""
        return self._data[self._at :]

    def drop(self, size: int) -> None:
        """Pass over bytes that arrived."""
        end = min(self._at + size, len(self._data))
        if self._history is not None:
            self._history += self._data[self._at : end]
            if len(self._history) > 2 * _HISTORY:
                del self._history[:-_HISTORY]
        self.offset += end - self._at
        self._at = end

    def take_zeros(self) -> bool:
        """Pass over zeros; whether there were any."""
        body = self.some(PIECE)
        zeros = len(body) - len(body.lstrip(b"\0"))
        self.drop(zeros)
        return zeros > 0

    def mark(self) -> None:
        """Remember this byte."""
        self._history = bytearray()

    def back_to_mark(self) -> None:
        """Go back to the mark, or as far as was kept."""
        history, self._history = bytes(self._history or b""), None
        self._data, self._at = history + self.buffered(), 0
        self.offset -= len(history)


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.eof = False

    def feed(self, data: bytes) -> tuple[bytes, int]:
        try:
            out = self._inner.decompress(data, PIECE)
        except zlib.error as error:
            raise ValueError(f"damaged gzip data: {str(error).rpartition(': ')[2]}") from None
        self.eof = self._inner.eof
        rest = self._inner.unused_data if self.eof else self._inner.unconsumed_tail  # at the end both hold the same
        return out, len(data) - len(rest)


class _Zstd:
    def __init__(self, frames: zstandard.ZstdDecompressor):
        self._inner = frames.decompressobj()
        self.eof = False

    def feed(self, data: bytes) -> tuple[bytes, int]:
        try:
            out = self._inner.decompress(data)
        except zstandard.ZstdError as error:
            raise ValueError(f"damaged zstd data: {str(error).rpartition(': ')[2]}") from None
        self.eof = self._inner.eof
        return out, len(data) - len(self._inner.unused_data)


def _zstd_inflater(source: _Input) -> Callable[[], Inflater]:
    """Makes inflaters of frames, with the dictionary that a .warc.zst file may begin with. Raises NotReadable."""
    try:
        dictionary = _read_dictionary(source) if source.peek(_MAGIC_BYTES) == _DICTIONARY_MAGIC else None
        frames = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=MAX_ZSTD_WINDOW)
    except zstandard.ZstdError as error:
        raise NotReadable(f"its dictionary is damaged: {error}") from None
    return lambda: _Zstd(frames)


def _read_dictionary(source: _Input) -> zstandard.ZstdCompressionDict:
    """The dictionary in the skippable frame that the archive begins with; it may itself be compressed."""
    size = int.from_bytes(source.peek(8)[4:8], "little")
    if size > MAX_DICTIONARY_BYTES:
        raise NotReadable(f"begins with a dictionary of over {MAX_DICTIONARY_BYTES} bytes")
    body = source.peek(8 + size)[8 : 8 + size]
    if body.startswith(ZSTD_MAGIC):
        with zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).stream_reader(body) as reader:
            body = reader.read(MAX_DICTIONARY_BYTES + 1)
    if len(body) > MAX_DICTIONARY_BYTES:
        raise NotReadable(f"begins with a dictionary of over {MAX_DICTIONARY_BYTES} bytes")
    return zstandard.ZstdCompressionDict(body)
