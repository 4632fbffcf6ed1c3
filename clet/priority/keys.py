"""Keys of words: 64 bits that depend on every byte, case and all.

A key is a fixed function of the bytes, so that a fitted classifier means the same on every machine; two different words
share one with probability 2^-64, and who searches for two that do gains a miscounted word. Eight bytes a step: one
multiplication for a word of up to eight letters.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf

PAD = 64  # bytes around a text in its buffer: newlines before, and behind what stops every scan, the widest too

_U = np.uint64
_EIGHT = _U(8)
_SEED, _MULTIPLY, _S32, _S29 = _U(0x9E3779B97F4A7C15), _U(0xD6E8FEB86659FD93), _U(32), _U(29)


def key_of(word: str) -> int:
    """The key of a word that is one unit."""
    body = np.frombuffer(word.encode() + bytes(PAD), np.uint8)
    return int(hash_word(body, _U(0), _U(len(body) - PAD)))


@leaf(forceinline=True)
def _load(data, at):
    """Eight bytes as one little-endian number; the compiler makes it one instruction."""
    word = _U(data[at])
    for i in range(1, 8):
        word |= _U(data[at + _U(i)]) << _U(8 * i)
    return word


@leaf(forceinline=True)
def hash_word(data, begin, end):
    """The key of the bytes; at least eight more bytes must follow them."""
    size = end - begin
    total = _SEED ^ (size * _MULTIPLY)
    while size > _EIGHT:
        total = (total ^ _load(data, begin)) * _MULTIPLY
        total ^= total >> _S29
        begin += _EIGHT
        size -= _EIGHT
    if size:
        total = (total ^ (_load(data, begin) << (_U(64) - _EIGHT * size))) * _MULTIPLY
    total ^= total >> _S32
    total *= _SEED
    return total ^ (total >> _S29)


@leaf(forceinline=True)
def mixed(key):
    """A key whose low bits depend on all of it."""
    key = (key ^ (key >> _S32)) * _MULTIPLY
    return key ^ (key >> _S32)
