"""Vectors as message bodies, and the codecs that make them small.

A body is a stream of container frames (clet/container.py), each a consecutive range of the flat vector:
`{"codec": name, "start": first element, "count": elements}` and the codec's arrays. `CODECS` is a table of pairs with
one signature; an encoder may lose precision, its decoder is exact and deterministic, so server, worker and a replayed
journal see the same numbers.

int8 is symmetric and block-wise (Dettmers et al., 8-bit optimizers, arXiv:2110.02861; used for pseudo-gradients by
INTELLECT-1, arXiv:2412.01152): 256 elements share one float32 scale max|x| / 127, so an element is off by at most
half a scale, in 1.016 bytes instead of 4. `ErrorFeedback` (Seide et al. 2014; Karimireddy et al., arXiv:1901.09847)
keeps what was rounded away and adds it to the next message: nothing is lost in the sum.

Cost: about 10 ns an element to encode, 2 ns to decode, one chunk of memory beside input and output.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clet.container import HEADER_BYTES, Kind, end_frame, pack_frame, read_frames
from clet.exits import InputError
from clet.sync.protocol import BLOCK, max_message_bytes

CHUNK = 1 << 22  # elements a frame: 16 MB of float32
LEVELS = 127
TINY = 1e-30  # a block whose largest element is smaller is zero: its scale would be subnormal


@dataclass(frozen=True)
class Codec:
    """`encode` turns float32 [n] (n a multiple of BLOCK) into named arrays, `decode` turns them into float32 [n].

    `decode` raises InputError for arrays of another type or shape, or values that are not finite. `level` is zstd's
    for the frame (None: the bytes do not shrink).
    """

    encode: Callable[[np.ndarray], dict[str, np.ndarray]]
    decode: Callable[[Mapping[str, np.ndarray], int], np.ndarray]
    level: int | None


def _encode_fp32(vector: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": vector}


def _decode_fp32(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    _check(arrays, {"x": ("<f4", (count,))})
    return arrays["x"]


def _encode_int8(vector: np.ndarray) -> dict[str, np.ndarray]:
    blocks = vector.reshape(-1, BLOCK)
    largest = np.maximum(blocks.max(axis=1), -blocks.min(axis=1))
    scale = np.where(largest > TINY, largest / np.float32(LEVELS), np.float32(0)).astype(np.float32)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    rounded = np.rint(blocks * inverse[:, None])
    np.clip(rounded, -LEVELS, LEVELS, out=rounded)
    return {"scale": scale, "q": rounded.astype(np.int8).reshape(-1)}


def _decode_int8(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    _check(arrays, {"scale": ("<f4", (count // BLOCK,)), "q": ("|i1", (count,))})
    if (arrays["scale"] < 0).any():
        raise InputError("a scale is negative")
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what is not finite
        return (arrays["q"].reshape(-1, BLOCK).astype(np.float32) * arrays["scale"][:, None]).reshape(-1)


CODECS: dict[str, Codec] = {
    "int8": Codec(_encode_int8, _decode_int8, level=1),
    "fp32": Codec(_encode_fp32, _decode_fp32, level=None),
}
DEFAULT_CODEC = "int8"


def encode_frames(vector: np.ndarray, codec: str, info: Mapping[str, Any] = {}) -> Iterator[bytes]:
    """The frames of a body for `vector` [size], END included, one at a time. `info` is repeated in each."""
    count = 0
    for start in range(0, vector.size, CHUNK):
        part = np.ascontiguousarray(vector[start : start + CHUNK], np.float32)
        head = {**info, "codec": codec, "start": start, "count": part.size}
        yield pack_frame(Kind.JOURNAL, head, CODECS[codec].encode(part), CODECS[codec].level)
        count += 1
    yield end_frame(count)


def encode(vector: np.ndarray, codec: str, info: Mapping[str, Any] = {}) -> bytes:
    """The whole body for `vector`."""
    return b"".join(encode_frames(vector, codec, info))


def decode(body: bytes, size: int, name: str = "message") -> tuple[np.ndarray, dict[str, Any]]:
    """The vector [size] in a body, and the info of its first frame.

    Raises InputError for anything but one whole vector of finite numbers in known codecs. What the body claims to
    hold is summed before anything is decompressed: memory stays within `max_message_bytes(size)` beyond the result.
    """
    _check_claims(body, size, name)
    vector = np.empty(size, np.float32)
    at, first = 0, None
    for frame in read_frames(io.BytesIO(body), name):
        info = frame.info
        codec, count = info.get("codec"), info.get("count")
        if frame.kind is not Kind.JOURNAL or not isinstance(codec, str) or codec not in CODECS:
            raise InputError(f"{name}: codec {codec!r:.40} is unknown; this clet reads {', '.join(CODECS)}")
        if info.get("start") != at or type(count) is not int or not 0 < count <= size - at or count % BLOCK:
            claim = f"{info.get('start')!r:.20} + {count!r:.20}"
            raise InputError(f"{name}: elements {claim} do not continue at {at} of {size}")
        try:
            vector[at : at + count] = CODECS[codec].decode(frame.arrays, count)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        at += count
        first = info if first is None else first
    if at != size:
        raise InputError(f"{name}: {at} elements where the model has {size}")
    if not np.isfinite(vector).all():
        raise InputError(f"{name}: not all numbers are finite")
    return vector, first or {}


class ErrorFeedback:
    """Encodes a sequence of vectors so that decoded messages add up to the inputs, but for one `residual` [size]."""

    def __init__(self, size: int) -> None:
        self.residual = np.zeros(size, np.float32)

    def encode(self, vector: np.ndarray, codec: str) -> bytes:
        """The body for `vector` plus what earlier messages still owe; `residual` becomes what this one leaves out."""
        total = vector + self.residual
        body = encode(total, codec)
        self.residual = total - decode(body, total.size)[0]
        return body


def _check_claims(body: bytes, size: int, name: str) -> None:
    """Walk the frame headers (layout: clet/container.py) and bound the decompressed bytes they announce."""
    limit, at, total, num_frames = max_message_bytes(size), 0, 0, 0
    while at + HEADER_BYTES <= len(body):
        stored, raw = struct.unpack_from("<QQ", body, at + 8)
        total += raw
        at += HEADER_BYTES + stored
        num_frames += 1
        if num_frames > size // CHUNK + 2:
            raise InputError(f"{name}: more frames than {size} elements need")
        if total > limit:
            raise InputError(f"{name}: unpacks to more than {limit} bytes, too large for this model")


def _check(arrays: Mapping[str, np.ndarray], want: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    got = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    if got != dict(want):
        raise InputError(f"arrays {got!r:.200} where {dict(want)} were expected")
