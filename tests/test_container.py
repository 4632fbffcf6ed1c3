"""The container: every damage is found, whatever is read is what was written."""

import io

import numpy as np
import pytest
import zstandard

from clet import container
from clet.container import Kind, end_frame, pack_frame, read_frames
from clet.exits import InputError

ARRAYS = {"ids": np.arange(1000, dtype=np.uint16), "empty": np.zeros((0, 3), np.float32), "two": np.eye(3)}


def stream(level: int | None = 1) -> bytes:
    return pack_frame(Kind.WINDOWS, {"a": 1}, ARRAYS, level) + pack_frame(Kind.DOCUMENTS, {}, {}, level) + end_frame(2)


def frames(body: bytes):
    return list(read_frames(io.BytesIO(body), "x"))


@pytest.mark.parametrize("level", [None, 1, 9])
def test_arrays_come_back_equal_and_shaped(level):
    first, second = frames(stream(level))
    assert first.kind is Kind.WINDOWS
    assert first.info == {"a": 1}
    assert second.arrays == {}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(first.arrays[name], array)
        assert first.arrays[name].dtype == array.dtype


def test_streams_concatenate():
    assert len(frames(stream() + stream(None))) == 4


@pytest.mark.parametrize("level", [None, 1])
def test_every_truncation_is_an_error(level):
    body = stream(level)
    for size in range(len(body)):
        if size:
            with pytest.raises(InputError):
                frames(body[:size])


@pytest.mark.parametrize("level", [None, 1])
def test_every_flipped_bit_is_an_error(level):
    body = stream(level)
    for place in range(0, len(body) * 8, 7):
        damaged = bytearray(body)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(InputError):
            frames(bytes(damaged))


def test_missing_frame_is_an_error():
    first = pack_frame(Kind.WINDOWS, {}, ARRAYS)
    with pytest.raises(InputError, match="1 frames where 2"):
        frames(first + end_frame(2))


def test_a_frame_that_inflates_beyond_its_word_is_refused(monkeypatch):
    bomb = zstandard.ZstdCompressor().compress(bytes(10 << 20))
    head = container._HEADER.pack(container.MAGIC, container.VERSION, Kind.WINDOWS, 1, 0, len(bomb), 100)
    frame = head + container._CHECK.pack(container._checksum(head, bomb)) + bomb
    with pytest.raises(InputError):
        frames(frame)


def test_a_frame_that_promises_too_much_is_refused_before_reading():
    head = container._HEADER.pack(container.MAGIC, container.VERSION, Kind.WINDOWS, 0, 0, 1 << 60, 1 << 60)
    with pytest.raises(InputError, match="damaged frame header"):
        frames(head + bytes(8))


def sealed(payload: bytes, body: bytes | None = None) -> bytes:
    """A frame with a right checksum around any payload, as somebody hostile would make it."""
    header = container._HEADER.pack(container.MAGIC, 1, Kind.DOCUMENTS, body is not None, 0, len(body or payload), 1000)
    return header + container._CHECK.pack(container._checksum(header, body or payload)) + (body or payload)


def test_a_size_that_the_compressed_data_claim_is_not_allocated():
    bomb = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"  # a frame of 1 TB, it says
    with pytest.raises(InputError, match="another size"):
        frames(sealed(b"", bomb))


@pytest.mark.parametrize("shape, at", [([1 << 62], 0), ([1 << 40, 1 << 40], 0), ([0, 1 << 62], 0), ([1], 1 << 63)])
def test_impossible_arrays_are_malformed_input(shape, at):
    head = b'{"info":{},"arrays":[["a","<u2",%s,%d]]}' % (str(shape).encode(), at)
    payload = (len(head).to_bytes(4, "little") + head).ljust(1000, b"\0")
    with pytest.raises(InputError, match="malformed frame"):
        frames(sealed(payload))
