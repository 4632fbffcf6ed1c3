"""What the codecs promise about numbers, and what a body may not do."""

from __future__ import annotations

import numpy as np
import pytest

from clet import seeds
from clet.container import Kind, end_frame, pack_frame
from clet.exits import InputError
from clet.sync.codec import CHUNK, CODECS, TINY, ErrorFeedback, decode, encode
from clet.sync.protocol import BLOCK, Layout, max_message_bytes


def gaussian(size: int, seed: int = 0) -> np.ndarray:
    return seeds.numpy_generator(seed, "codec").standard_normal(size).astype(np.float32)


def test_fp32_round_trip_is_exact():
    x = gaussian(4 * BLOCK)
    assert np.array_equal(decode(encode(x, "fp32"), x.size)[0], x)


def test_int8_error_is_at_most_half_a_scale_of_its_block():
    x = gaussian(64 * BLOCK) * np.repeat(np.float32(10.0) ** np.arange(-32, 32, dtype=np.float32), BLOCK)
    got = decode(encode(x, "int8"), x.size)[0].reshape(-1, BLOCK)
    blocks = x.reshape(-1, BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scale, live = largest / 127, largest[:, 0] > TINY
    error = np.abs(got - blocks)
    assert (error[live] <= scale[live] * 0.5001).all()
    assert (got[~live] == 0).all()  # too small for a normal scale


def test_int8_takes_a_quarter_of_fp32():
    x = gaussian(1 << 16)
    assert len(encode(x, "int8")) < 0.27 * len(encode(x, "fp32"))


def test_error_feedback_loses_nothing_in_the_sum():
    size, num_rounds = 8 * BLOCK, 50
    feedback = ErrorFeedback(size)
    sent, wanted = np.zeros(size), np.zeros(size)
    for number in range(num_rounds):
        delta = gaussian(size, number) * np.float32(0.01)
        delta[::7] *= 1e-4  # far below one step of int8: only feedback ever sends these
        sent += decode(feedback.encode(delta, "int8"), size)[0]
        wanted += delta
    np.testing.assert_allclose(sent + feedback.residual, wanted, atol=1e-6)
    # Each position is off by at most half a scale of the last message, not by the sum of all roundings.
    assert np.abs(sent - wanted).max() < 0.01 * 4.5 / 127


def test_large_vectors_travel_in_several_frames():
    x = np.zeros(CHUNK + BLOCK, np.float32)
    x[CHUNK - 1 :] = 1.0
    assert np.array_equal(decode(encode(x, "int8"), x.size)[0], x)


def frame(codec="fp32", start=0, count=BLOCK, **arrays: np.ndarray) -> bytes:
    info = {"codec": codec, "start": start, "count": count}
    return pack_frame(Kind.JOURNAL, info, arrays or {"x": np.zeros(BLOCK, np.float32)}) + end_frame(1)


GOOD = encode(np.ones(BLOCK, np.float32), "int8")
MALFORMED = {
    "empty": b"",
    "noise": b"\x00" * 100,
    "cut": GOOD[:-1],
    "no end": GOOD[: -len(end_frame(1))],
    "flipped": GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:],
    "unknown codec": frame(codec="pickle"),
    "codec no string": frame(codec=["int8"]),
    "gap": frame(start=BLOCK),
    "too long": frame(count=2 * BLOCK, x=np.zeros(2 * BLOCK, np.float32)),
    "part of a block": frame(count=BLOCK // 2, x=np.zeros(BLOCK // 2, np.float32)),
    "count lies": frame(x=np.zeros(2 * BLOCK, np.float32)),
    "float64": frame(x=np.zeros(BLOCK)),
    "another array": frame(y=np.zeros(BLOCK, np.float32)),
    "nan": frame(x=np.full(BLOCK, np.nan, np.float32)),
    "infinite": frame(x=np.full(BLOCK, np.inf, np.float32)),
    "scale overflows": frame("int8", scale=np.full(1, 3e38, np.float32), q=np.full(BLOCK, 127, np.int8)),
    "scale nan": frame("int8", scale=np.full(1, np.nan, np.float32), q=np.zeros(BLOCK, np.int8)),
    "scale negative": frame("int8", scale=np.full(1, -1, np.float32), q=np.zeros(BLOCK, np.int8)),
    "more scales": frame("int8", scale=np.ones(2, np.float32), q=np.zeros(BLOCK, np.int8)),
    "bomb": frame(x=np.zeros(1 << 24, np.float32)),
    "thousand ends": end_frame(0) * 1000 + GOOD,
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_body_is_refused(body):
    with pytest.raises(InputError):
        decode(body, BLOCK)


def test_a_bomb_is_refused_before_it_is_unpacked():
    with pytest.raises(InputError, match="too large for this model"):
        decode(MALFORMED["bomb"], BLOCK)
    assert len(MALFORMED["bomb"]) < max_message_bytes(BLOCK)


@pytest.mark.parametrize("codec", CODECS)
def test_the_largest_honest_body_is_within_the_limit(codec):
    for size in (BLOCK, CHUNK + BLOCK):
        assert len(encode(gaussian(size), codec)) <= max_message_bytes(size)


def test_layout_starts_each_tensor_at_a_block_and_keeps_its_numbers():
    layout = Layout.of({"b": (3, 100), "a": (7,), "c": ()})
    assert layout.names == ("a", "b", "c") and layout.starts == (0, 256, 768) and layout.size == 1024
    tensors = {"a": np.arange(7), "b": np.arange(300).reshape(3, 100), "c": np.float32(5)}
    flat = layout.flatten(tensors)
    for name, view in layout.views(flat).items():
        assert np.array_equal(view, tensors[name])
    assert np.count_nonzero(flat) == 6 + 299 + 1
