"""The one binary container of clet: self-delimiting frames of a small JSON header and named arrays.

Token batches, token shards and the journals of state directories are all sequences of these frames, so one reader
checks them all. A frame is

    magic 4s | version u8 | kind u8 | codec u8 | 0 u8 | stored u64 | raw u64 | xxh3-64 u64 | payload

little-endian, where xxh3 covers the 24 bytes before it and the stored payload, codec 0 stores the payload as it is
and codec 1 as one zstd frame. The payload is

    length u32 | JSON {"info": {...}, "arrays": [[name, dtype, shape, offset], ...]} | arrays, 64-byte aligned

so that an array is a view into the payload: reading copies nothing after decompression. Frames concatenate. A stream
ends with an END frame that counts the frames before it: a cut at a frame boundary is found as well as one inside.
Integrity is xxh3 (against accident); authenticity is what Merkle roots and signatures are for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
import xxhash
import zstandard

from clet.exits import InputError

MAGIC = b"\x89CLT"
VERSION = 1
ALIGN = 64
MAX_PAYLOAD_BYTES = 1 << 30
DEFAULT_LEVEL = 1  # zstd level 1: 316 MB/s here against 160 at level 3, for 4% more bytes on token ids

_HEADER = struct.Struct("<4sBBBBQQ")
_CHECK = struct.Struct("<Q")
HEADER_BYTES = _HEADER.size + _CHECK.size
_KIND, _CODEC = 5, 6  # bytes of a header
_MALFORMED = (struct.error, ValueError, TypeError, KeyError, OverflowError)
_DTYPES = {"<u2", "<u4", "<u8", "<i2", "<i4", "<i8", "<f4", "<f8", "|u1", "|i1"}


class Kind(IntEnum):
    """What a frame holds."""

    END = 0
    DOCUMENTS = 1
    WINDOWS = 2
    SHARD_HEADER = 3
    SHARD_FOOTER = 4
    JOURNAL = 5
    MODEL = 6


_KINDS = {int(kind): kind for kind in Kind}


class StoredFrame(NamedTuple):
    """What a frame that is not compressed says of itself. Its checksum is right; `info` and `arrays` are JSON.

    `arrays` has [name, dtype, shape, offset] of each array, counted from byte `start` of the buffer; they must lie
    before byte `end`, which is the caller's to see.
    """

    kind: Kind
    info: Any
    arrays: Any
    start: int
    end: int


@dataclass(slots=True)
class Frame:
    """One decoded frame. `arrays` are read-only views into one buffer; `offset` is where the frame began."""

    kind: Kind
    info: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    offset: int = 0


def pack_frame(
    kind: Kind, info: Mapping[str, Any], arrays: Mapping[str, np.ndarray] = {}, level: int | None = DEFAULT_LEVEL
) -> bytes:
    """One frame as bytes. `level` is zstd's; None stores the arrays as they are."""
    return b"".join(frame_parts(kind, info, arrays, level))


def frame_parts(
    kind: Kind, info: Mapping[str, Any], arrays: Mapping[str, np.ndarray] = {}, level: int | None = None
) -> list[bytes | memoryview]:
    """One frame as the buffers to write one behind the other, first its header of `HEADER_BYTES`.

    Where it is stored, the arrays are among them as they are, not copied.
    """
    parts = _payload_parts(info, arrays)
    raw = sum(map(len, parts))
    if raw > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {raw} bytes is over the container's limit")
    if level is not None:
        parts = [zstandard.ZstdCompressor(level=level).compress(b"".join(parts))]
    header = _HEADER.pack(MAGIC, VERSION, kind, level is not None, 0, sum(map(len, parts)), raw)
    return [header + _CHECK.pack(_checksum(header, *parts)), *parts]


def _payload_parts(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    table: list[list[Any]] = []
    bodies: list[bytes | memoryview] = []
    offset = 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        if array.dtype.str not in _DTYPES:
            raise TypeError(f"array {name} has dtype {array.dtype}, which the container does not carry")
        table.append([name, array.dtype.str, list(array.shape), offset])
        gap = -array.nbytes % ALIGN
        bodies += [array.reshape(-1).view(np.uint8).data, bytes(gap)]
        offset += array.nbytes + gap
    head = orjson.dumps({"info": dict(info), "arrays": table})
    return [struct.pack("<I", len(head)) + head + bytes(-(4 + len(head)) % ALIGN), *bodies]


def end_frame(num_frames: int) -> bytes:
    """The frame that closes a stream of `num_frames` frames."""
    return pack_frame(Kind.END, {"frames": num_frames}, level=None)


def _checksum(header: bytes, *parts: bytes | memoryview) -> int:
    digest = xxhash.xxh3_64(header)
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def read_exactly(stream: BinaryIO, size: int) -> memoryview:
    """`size` bytes, or fewer only at the end of the stream (pipes return short reads), read-only.

    They are read to where they stay: memory that is not filled is not taken, whatever a forged header promises.
    """
    buffer, got = np.empty(size, np.uint8).data, 0
    while got < size and (more := stream.readinto(buffer[got:])):
        got += more
    return buffer[:got].toreadonly()


def read_frame(stream: BinaryIO, name: str, offset: int = 0) -> tuple[Frame, int] | None:
    """The next frame and its size in bytes, or None at a clean end of the stream. Raises InputError."""
    head = bytes(read_exactly(stream, HEADER_BYTES))
    if not head:
        return None
    stored = _stored_bytes(head, name, offset)
    return _open_frame(head, read_exactly(stream, stored), name, offset), HEADER_BYTES + stored


def frame_at(buffer: memoryview, name: str, offset: int) -> tuple[Frame, int]:
    """The frame at a byte of a buffer, and where the next one begins. Raises InputError.

    Arrays of a stored frame are views into the buffer.
    """
    head = bytes(buffer[offset : offset + HEADER_BYTES])
    end = offset + HEADER_BYTES + _stored_bytes(head, name, offset)
    return _open_frame(head, buffer[offset + HEADER_BYTES : end], name, offset), end


def _stored_bytes(head: bytes, name: str, offset: int) -> int:
    """How many bytes follow a frame's header, which is checked as far as it can be without them."""
    if len(head) < HEADER_BYTES:
        raise InputError(f"{name}: truncated inside a frame header at byte {offset}")
    magic, version, kind, codec, _, stored, raw = _HEADER.unpack_from(head)
    if magic != MAGIC:
        raise InputError(f"{name}: no clet frame at byte {offset}")
    if version != VERSION:
        raise InputError(f"{name}: container version {version}; this clet reads version {VERSION}")
    if stored > MAX_PAYLOAD_BYTES or raw > MAX_PAYLOAD_BYTES or codec > 1 or kind not in _KINDS:
        raise InputError(f"{name}: damaged frame header at byte {offset}")
    return stored


def stored_frame_at(buffer: memoryview, name: str, offset: int) -> StoredFrame:
    """A frame as `frame_at` gives it, but for its arrays, which are left where they are: for who reads many frames.

    Raises InputError, also where the frame is compressed.
    """
    head = bytes(buffer[offset : offset + HEADER_BYTES])
    begin = offset + HEADER_BYTES
    end = begin + _stored_bytes(head, name, offset)
    if head[_CODEC]:
        raise InputError(f"{name}: frame at byte {offset} is compressed where none should be")
    body = _checked(head, buffer[begin:end], name, offset)
    try:
        fields, start = _parse_head(body)
        return StoredFrame(_KINDS[head[_KIND]], fields["info"], fields["arrays"], begin + start, end)
    except _MALFORMED as error:
        raise InputError(f"{name}: malformed frame at byte {offset}: {error}") from None


def _open_frame(head: bytes, body: bytes | memoryview, name: str, offset: int) -> Frame:
    body = _checked(head, body, name, offset)
    try:
        fields, start = _parse_head(body)
        arrays = {}
        for array_name, dtype, shape, at in fields["arrays"]:
            if dtype not in _DTYPES or at < 0 or any(not isinstance(n, int) or n < 0 for n in shape):
                raise ValueError(array_name)
            count = math.prod(shape)
            arrays[array_name] = np.frombuffer(body, dtype, count, start + at if count else 0).reshape(shape)
        return Frame(_KINDS[head[_KIND]], dict(fields["info"]), arrays, offset)
    except _MALFORMED as error:
        raise InputError(f"{name}: malformed frame at byte {offset}: {error}") from None


def _checked(head: bytes, body: bytes | memoryview, name: str, offset: int) -> bytes | memoryview:
    """The payload of a frame, decompressed, once it is as long and has the checksum that its header says."""
    _, _, _, codec, _, stored, raw = _HEADER.unpack_from(head)
    if len(body) < stored:
        raise InputError(f"{name}: truncated inside the frame at byte {offset}")
    if _checksum(head[: _HEADER.size], body) != _CHECK.unpack_from(head, _HEADER.size)[0]:
        raise InputError(f"{name}: checksum of the frame at byte {offset} differs: the data were damaged")
    if codec:
        try:
            if zstandard.frame_content_size(body) not in (raw, -1):  # what it says there would be allocated
                raise zstandard.ZstdError("another size inside")
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=raw, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise InputError(f"{name}: frame at byte {offset}: {error}") from None
    if len(body) != raw:
        raise InputError(f"{name}: frame at byte {offset} is not of its declared size")
    return body


def _parse_head(body: bytes | memoryview) -> tuple[dict[str, Any], int]:
    """The JSON of a payload, and where its arrays begin."""
    size = struct.unpack_from("<I", body)[0]
    return orjson.loads(body[4 : 4 + size]), -(-(4 + size) // ALIGN) * ALIGN


def read_frames(stream: BinaryIO, name: str, *, need_end: bool = True) -> Iterator[Frame]:
    """All frames but END of one stream or of several concatenated ones.

    `need_end` demands that the last one was closed by its END frame with the right count (InputError otherwise).
    """
    offset = num_frames = 0
    closed = False
    while (got := read_frame(stream, name, offset)) is not None:
        frame, size = got
        offset += size
        closed = frame.kind is Kind.END
        if closed:
            if frame.info.get("frames") != num_frames:
                raise InputError(f"{name}: {num_frames} frames where {frame.info.get('frames')} were written")
            num_frames = 0
            continue
        num_frames += 1
        yield frame
    if need_end and not closed:
        raise InputError(f"{name}: truncated: the stream ends without its end frame")


# ---- JSON that carries its own checksum: lines of manifests, small documents


def seal_line(body: bytes) -> bytes:
    """A JSON object as a line with its xxh3 as the last field."""
    return body[:-1] + _SEAL + xxhash.xxh3_64_hexdigest(body).encode() + b'"}'


def is_sealed(line: bytes) -> bool:
    """Whether a line is what `seal_line` made of its other fields."""
    return unsealed(line) is not None


def unsealed(line: bytes) -> bytes | None:
    """The JSON object that was sealed, or None where the checksum differs."""
    body, _, digest = line.rpartition(_SEAL)
    return body + b"}" if xxhash.xxh3_64_hexdigest(body + b"}").encode() + b'"}' == digest else None


_SEAL = b',"xxh3":"'


def seal_document(fields: dict[str, Any]) -> bytes:
    """A JSON object, to be read by people, with the xxh3 of its other fields as the last one."""
    return orjson.dumps(fields | {"xxh3": _digest(fields)}, option=orjson.OPT_INDENT_2) + b"\n"


def unsealed_document(body: bytes) -> dict[str, Any] | None:
    """The fields that were sealed, or None for what is no JSON object or has another checksum."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    digest = fields.pop("xxh3", None)
    return fields if digest == _digest(fields) else None


def _digest(fields: dict[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))
