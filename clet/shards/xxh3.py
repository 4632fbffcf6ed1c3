"""XXH3-64 (Collet, https://github.com/Cyan4973/xxHash, specification in its doc folder) inside a kernel.

The library is as fast, but whoever checks many frames then walks over the same bytes again for what else there is to
see, and calls Python for each of them. Here one pass gives the hash and the largest id. Blocks of 1,024 bytes are one
piece of straight vector code. Only inputs above 240 bytes: shorter ones are hashed by other rules, and by the library.
Time: that of fetching the bytes (0.02 ns a byte in the cache).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from clet.kernels import njit
from clet.vectors import emit_prefetch

STRIPE, BLOCK = 64, 1024
AHEAD = 4096  # bytes that are asked for beforehand: the processor itself does not look beyond a page
MIN_BYTES = 241
_U = np.uint64

# fmt: off
SECRET = np.frombuffer(bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
), np.uint8)
# fmt: on
_P32_1, _P32_2, _P32_3 = _U(0x9E3779B1), _U(0x85EBCA77), _U(0xC2B2AE3D)
_P64_1, _P64_2, _P64_3 = _U(0x9E3779B185EBCA87), _U(0xC2B2AE3D27D4EB4F), _U(0x165667B19E3779F9)
_P64_4, _P64_5 = _U(0x85EBCA77C2B2AE63), _U(0x27D4EB2F165667C5)
_START = np.asarray([_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1])
_LAST_SECRET, _MERGE_SECRET = len(SECRET) - STRIPE - 7, 11


@intrinsic
def load_word(typingctx, data, at):
    """The eight bytes from byte `at` (uint64) of `data` on, as the processor's uint64: little-endian here."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(place, align=1)

    return types.uint64(data, at), generate


@intrinsic
def _take_block(typingctx, data, at, state, peak):
    """Take in the BLOCK bytes from byte `at` (uint64) of `data` on.

    `state` [8] uint64 are the accumulators; each item of `peak`, 64 bytes of uint16 or uint32, becomes the largest of
    itself and of every such item at its place in a stripe.
    """
    width = peak.dtype.bitwidth

    def generate(context, builder, signature, args):
        arrays = [
            context.make_array(kind)(context, builder, arg)
            for kind, arg in zip(signature.args, args, strict=True)
            if isinstance(kind, types.Array)
        ]
        source, accumulators, largest = (array.data for array in arrays)
        words, items = ir.VectorType(ir.IntType(64), 8), ir.VectorType(ir.IntType(width), 512 // width)
        here = builder.gep(source, [args[1]])
        state_at = builder.bitcast(accumulators, words.as_pointer())
        peak_at = builder.bitcast(largest, items.as_pointer())
        state, peak = builder.load(state_at, align=8), builder.load(peak_at, align=4)
        low = _every(words, 0xFFFFFFFF)
        swap = ir.Constant(ir.VectorType(ir.IntType(32), 8), [1, 0, 3, 2, 5, 4, 7, 6])
        for stripe in range(BLOCK // STRIPE):
            place = builder.gep(here, [ir.Constant(ir.IntType(64), stripe * STRIPE)])
            emit_prefetch(builder, builder.gep(place, [ir.Constant(ir.IntType(64), AHEAD)]), to_write=False)
            value = builder.load(builder.bitcast(place, words.as_pointer()), align=1)
            seen = builder.bitcast(value, items)
            peak = builder.select(builder.icmp_unsigned(">", seen, peak), seen, peak)
            state = _mixed(builder, state, value, _secret(words, stripe * 8), low, swap)
        state = builder.xor(state, builder.lshr(state, _every(words, 47)))
        state = builder.xor(state, _secret(words, len(SECRET) - STRIPE))
        state = builder.mul(state, _every(words, int(_P32_1)))
        builder.store(state, state_at, align=8)
        builder.store(peak, peak_at, align=4)
        return context.get_dummy_value()

    return types.none(data, at, state, peak), generate


def _mixed(builder, state, value, secret, low, swap):
    """XXH3_accumulate_512: each value to its neighbour, and the product of its halves, keyed, to its own."""
    key = builder.xor(value, secret)
    product = builder.mul(builder.and_(key, low), builder.lshr(key, _every(key.type, 32)))
    return builder.add(builder.add(state, product), builder.shuffle_vector(value, value, swap))


def _every(kind, value):
    return ir.Constant(kind, [value] * kind.count)


def _secret(kind, at):
    return ir.Constant(kind, np.frombuffer(SECRET.tobytes(), "<u8", 8, at).tolist())


@njit
def _take_stripe(data, at, secret_at, state):
    """Take in one stripe, keyed from byte `secret_at` of the secret on."""
    for i in range(8):
        value = load_word(data, _U(at + 8 * i))
        key = value ^ load_word(SECRET, _U(secret_at + 8 * i))
        state[i ^ 1] += value
        state[i] += (key & _U(0xFFFFFFFF)) * (key >> _U(32))


@njit
def _folded(x, y):
    """The upper half of a product of 128 bits, xor the lower."""
    mask, half = _U(0xFFFFFFFF), _U(32)
    x0, x1, y0, y1 = x & mask, x >> half, y & mask, y >> half
    low, cross, other, high = x0 * y0, x1 * y0, x0 * y1, x1 * y1
    middle = (low >> half) + (cross & mask) + other
    return ((cross >> half) + (middle >> half) + high) ^ (middle << half | low & mask)


@njit
def hashed(data, begin, size, first, ids_at, ids_end, peak):
    """XXH3-64 of `first` [64] uint8 and then of the bytes of `data` behind `begin + 64`: `size` in all.

    That is, of `size` bytes from `begin` on, of which the first stripe is elsewhere. `peak` is made the largest (see
    `_take_block`) of the blocks that lie whole within the bytes `ids_at` to `ids_end`; returns the hash, and where
    these blocks begin and end.
    """
    state = _START.copy()
    blocks = (size - 1) // BLOCK
    inside_from = begin + -(-max(ids_at - begin, 1) // BLOCK) * BLOCK
    inside_to = begin + min((ids_end - begin) // BLOCK, blocks) * BLOCK
    none = np.zeros_like(peak)
    for block in range(blocks):
        at = begin + block * BLOCK
        if block == 0:
            _take_stripe(first, 0, 0, state)
            for stripe in range(1, BLOCK // STRIPE):
                _take_stripe(data, at + stripe * STRIPE, stripe * 8, state)
            for i in range(8):
                state[i] ^= state[i] >> _U(47)
                state[i] = (state[i] ^ load_word(SECRET, _U(len(SECRET) - STRIPE + 8 * i))) * _P32_1
        elif inside_from <= at < inside_to:
            _take_block(data, _U(at), state, peak)
        else:
            _take_block(data, _U(at), state, none)
    for stripe in range((size - 1 - blocks * BLOCK) // STRIPE):
        at = begin + blocks * BLOCK + stripe * STRIPE
        if at == begin:
            _take_stripe(first, 0, 0, state)
        else:
            _take_stripe(data, at, stripe * 8, state)
    _take_stripe(data, begin + size - STRIPE, _LAST_SECRET, state)
    total = _U(size) * _P64_1
    for i in range(4):
        at = _MERGE_SECRET + 16 * i
        total += _folded(state[2 * i] ^ load_word(SECRET, _U(at)), state[2 * i + 1] ^ load_word(SECRET, _U(at + 8)))
    total = (total ^ (total >> _U(37))) * _U(0x165667919E3779F9)
    return total ^ (total >> _U(32)), inside_from, inside_to
