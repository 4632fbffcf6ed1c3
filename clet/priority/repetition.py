"""Repetition inside a text: the share of its characters that stand in repeated word n-grams.

As in Rae et al. 2021 (Gopher), table A1: characters in the most frequent n-gram (n = 2, 3, 4; here only if it occurs
TOP_MIN times, else every short text would fail), and in n-grams that occurred before (n = 5..10, no character counted
twice). Words come as 64-bit keys, so that one comparison is one instruction; two different words share a key with
probability 2^-63, which changes a share by a word.

Cost: nine passes over the words with a hash table each, 40 to 80 ns a word and pass; memory 32 to 56 bytes a word.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit

TOP_LONGEST = 4
TOP_MIN = 3

_U = np.uint64
_SEED, _PRIME = _U(0xCBF29CE484222325), _U(0x100000001B3)
_MIX, _S32 = _U(0x9E3779B97F4A7C15), _U(32)


@njit
def hash_bytes(data, begin, end):
    """FNV-1a of the bytes, ASCII letters lower-cased, mixed once at the end."""
    total = _SEED
    for i in range(begin, end):
        byte = data[i]
        if 65 <= byte <= 90:
            byte += 32
        total = (total ^ _U(byte)) * _PRIME
    total = (total ^ (total >> _S32)) * _MIX
    return total ^ (total >> _S32)


@njit
def find_slot(slots, key):
    """Index of `key` in an open-addressing table with 0 for empty, or of the empty slot where it belongs."""
    mask = len(slots) - 1
    at = np.int64(key >> _S32) & mask
    while slots[at] and slots[at] != key:
        at = (at + 1) & mask
    return at


@njit
def room_for(count):
    """Slots of a table, a power of two, that `count` keys fill at most half."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@njit
def _ngram_key(words, at, size):
    total = _SEED
    for i in range(at, at + size):
        total = (total ^ words[i]) * _MIX
        total ^= total >> _S32
    return total | _U(1)


@njit
def repeated_ngrams(words, sizes, out):
    """Shares of characters in repeated n-grams of word keys `[w]` with `sizes` in characters.

    `out` `[9]`: n = 2, 3, 4 the most frequent one, n = 5..10 all that occurred before.
    """
    count = len(words)
    before = np.zeros(count + 1, np.int64)  # characters before each word
    for i in range(count):
        before[i + 1] = before[i] + sizes[i]
    total = before[count]
    slots, counts = np.empty(room_for(count), np.uint64), np.empty(room_for(count), np.int32)
    for n in range(2, 11):
        if count < n or not total:
            return
        slots[:] = 0
        counts[:] = 0
        best = repeated = at = 0
        while at + n <= count:
            key = _ngram_key(words, at, n)
            slot = find_slot(slots, key)
            known = slots[slot] != 0
            slots[slot] = key
            counts[slot] += 1
            if n <= TOP_LONGEST:
                if counts[slot] >= TOP_MIN:
                    best = max(best, counts[slot] * (before[at + n] - before[at]))
                at += 1
            elif known:
                repeated += before[at + n] - before[at]
                at += n
            else:
                at += 1
        out[n - 2] = (best if n <= TOP_LONGEST else repeated) / total
