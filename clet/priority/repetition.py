"""Repetition inside a text: the characters that stand in repeated word n-grams, as Gopher measures it.

Rae et al. 2021 (2112.11446, table A1): the most frequent n-gram for n = 2, 3, 4 (its length with single spaces, times
how often it occurs; of several as frequent the first), and for n = 5..10 all n-grams that occurred before, no character
counted twice. `intern` gives each different word of a text a number and its count; from then on an n-gram that occurs
twice can only be where every pair of neighbouring words in it does. Pairs are counted by their hash, in a table of
bytes that stays in the nearest cache (a count-min sketch of one row, Cormode and Muthukrishnan 2005: never too little),
and what an n-gram can make up at most follows from these counts alone:

- an n-gram occurs at most as often as the rarest of its pairs, so that one pass bounds the most frequent one for each
  n, and only those are counted that can be frequent enough to matter;
- a repeated n-gram of five words or more begins with a repeated 5-gram: the characters in those bound all the others.

A measure whose bound stays below `least` of the text is reported as 0 and costs no table. `least` is half of the
lowest limit that a rule sets, where a score begins to fall: verdicts and scores are those of the full count (tested).
Otherwise the table holds only n-grams that can occur twice. Keys of n-grams are differences of a running polynomial
hash modulo 2^64 over well-mixed word keys: one multiplication each.

A text that breaks one limit is lost: where the caller says so, what comes after is not counted.

Cost: 6 to 8 ns a word for interning, 4 for the bounds; up to 100 more where a text repeats itself. Memory 40 bytes a
word.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf
from clet.priority.keys import mixed

# Gopher's limits, as shares of a text's characters.
TOP_LIMITS = (0.20, 0.18, 0.16)  # n = 2, 3, 4
DUPLICATE_LIMITS = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)  # n = 5..10
TOP_MIN = 3  # occurrences, before clet's own rules take a share for repetition

_U = np.uint64
_ONE = _U(1)
_BASE = _U(0x9E3779B97F4A7C15)
_HALF = _U(32)
_NUMBER = _U(0xFFFFFF)  # a text has at most MAX_BYTES words


@leaf(forceinline=True)
def find_slot(slots, mask, key):
    """Index of `key` in an open-addressing table with 0 for empty, or of the empty slot where it belongs."""
    at = key & mask
    while slots[at] != 0 and slots[at] != key:
        at = (at + _ONE) & mask
    return at


@leaf(forceinline=True)
def room_for(count):
    """Slots of a table, a power of two, that `count` keys fill at most half."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@leaf
def intern(keys, count, slots, word_of, counts, first):
    """Number the different keys in order of appearance; returns how many there are.

    Fills `word_of` `[count]`, and for each number `counts` and `first`, the place of its first occurrence. `slots` is
    scratch for at least `room_for(count)`: 40 bits of a key, and its number plus 1, so that one look finds both. Two
    words that share those bits and the place are taken for one: a chance of 2^-50 a pair.
    """
    size = room_for(count)
    mask = _U(size - 1)
    for i in range(size):
        slots[i] = 0
    distinct = 0
    for i in range(count):
        key = keys[i]
        at = key & mask
        while slots[at] != 0 and (slots[at] ^ key) & ~_NUMBER:
            at = (at + _ONE) & mask
        word = np.int64(slots[at] & _NUMBER) - 1
        if word < 0:
            word = distinct
            distinct += 1
            slots[at] = (key & ~_NUMBER) | _U(distinct)
            counts[word] = 0
            first[word] = i
        word_of[i] = word
        counts[word] += 1
    return distinct


@leaf
def count_pairs(keys, word_of, counts, count, sketch, spots, often):
    """`often` `[count - 1]`: how often at most the pair of words from each on occurs.

    `spots` is scratch of that size, `sketch` of `room_for(count)` bytes.
    """
    size = room_for(count)
    mask = _U(size - 1)
    for i in range(size):
        sketch[i] = 0
    for i in range(count - 1):
        spot = (keys[i] * _BASE + keys[i + 1]) & mask
        spots[i] = spot
        sketch[spot] = min(sketch[spot] + 1, 255)
    for i in range(count - 1):
        seen = np.int32(sketch[spots[i]])
        often[i] = seen if seen < 255 else min(counts[word_of[i]], counts[word_of[i + 1]])


@leaf
def top_ngrams(often, sizes, keys, count, total, least, slots, values, sums, out):
    """`out` `[6]`: for n = 2, 3, 4 the characters in the most frequent n-gram and how often it occurs.

    Both 0 where they are at most `least * total` characters for sure. `sums` `[count + 1]` is scratch.
    """
    for k in range(6):
        out[k] = 0
    limit = least * total
    longest = window = np.int64(0)  # characters of four words in a row
    for i in range(min(count, 4)):
        window += sizes[i]
    longest = window
    for i in range(4, count):
        window += np.int64(sizes[i]) - sizes[i - 4]
        longest = max(longest, window)
    enough = limit / (longest + 3)  # what occurs less often is in no n-gram that matters
    b2 = b3 = b4 = np.int64(0)
    run = 0
    for i in range(count - 1):
        if often[i] <= enough:
            run = 0
            continue
        run += 1
        most = np.int64(often[i])
        size = np.int64(sizes[i]) + sizes[i + 1] + 1
        b2 = max(b2, most * size)
        if run > 1:
            most = min(most, often[i - 1])
            size += sizes[i - 1] + 1
            b3 = max(b3, most * size)
            if run > 2:
                b4 = max(b4, min(most, often[i - 2]) * (size + sizes[i - 2] + 1))
    if b2 > limit:
        out[0], out[3] = _most_frequent(2, often, enough, sizes, keys, count, slots, values, sums)
    if b3 > limit:
        out[1], out[4] = _most_frequent(3, often, enough, sizes, keys, count, slots, values, sums)
    if b4 > limit:
        out[2], out[5] = _most_frequent(4, often, enough, sizes, keys, count, slots, values, sums)


@leaf
def _most_frequent(n, often, enough, sizes, keys, count, slots, values, sums):
    """(characters in the most frequent n-gram, how often it occurs), if it occurs more than `enough` times."""
    enough = max(enough, 1.0)
    run = candidates = 0
    for i in range(count - 1):
        run = run + 1 if often[i] > enough else 0
        candidates += run >= n - 1
    size = room_for(candidates)
    mask = _U(size - 1)
    for i in range(size):
        slots[i] = 0
    power = _running(keys, count, sums, n)
    best, where, run = np.int64(1), np.int64(0), 0
    for i in range(count - 1):
        run = run + 1 if often[i] > enough else 0
        if run < n - 1:
            continue
        begin = np.int64(i + 2 - n)
        key = _ngram(sums, begin, n, power)
        slot = find_slot(slots, mask, key)
        if slots[slot] == 0:
            slots[slot] = key
            values[slot] = begin << 32  # where it first occurs, and how often
        values[slot] += 1
        found, begin = values[slot] & 0xFFFFFFFF, values[slot] >> 32
        if found > best or (found == best and best > 1 and begin < where):
            best, where = found, begin
    chars = np.int64(n - 1)
    for i in range(where, where + n):
        chars += sizes[i]
    return best * chars, best


@leaf
def is_lost(tops, total, extra):
    """Whether one of the most frequent n-grams, as `top_ngrams` gives them, breaks its limit by any set of rules."""
    for k in range(3):  # noqa: SIM110 - compiled, generators are slower
        if tops[k + 3] >= TOP_MIN and tops[k] > (TOP_LIMITS[k] + extra) * total:
            return True
    return False


@leaf
def duplicate_ngrams(often, sizes, keys, count, total, least, extra, stop, slots, values, sums, runs, out):
    """`out` `[6]`: for n = 5..10 the characters in n-grams that occurred before; 0 where at most `least * total`.

    With `stop`, those behind the first n that is `extra` above its limit stay 0. `often` is overwritten.
    """
    for k in range(6):
        out[k] = 0
    chars, run = np.int64(0), 1
    for i in range(count - 1, -1, -1):  # runs[i]: how many words from i on may be a repeated n-gram
        run = run + 1 if i < count - 1 and often[i] > 1 else 1
        runs[i] = run
    covered = candidates = 0
    for i in range(count):
        if runs[i] >= 5:
            covered = i + 5
            candidates += 1
        if i < covered:
            chars += sizes[i]
    limit = least * total
    if chars <= limit:
        return
    size = room_for(candidates)
    mask = _U(size - 1)
    for i in range(size):
        slots[i] = 0
    power = _running(keys, count, sums, 5)
    chars, covered = np.int64(0), 0
    fives = often  # from now on: the slot of the 5-gram from each word on
    for i in range(count):
        if runs[i] >= 5:
            key = _ngram(sums, i, 5, power)
            slot = find_slot(slots, mask, key)
            fives[i] = slot
            if slots[slot] != 0:
                covered = i + 5
                values[slot] += 1
            else:
                slots[slot] = key
                values[slot] = 1
        if i < covered:
            chars += sizes[i]
    if chars <= limit:
        return
    run = candidates = 0
    for i in range(count - 1, -1, -1):  # from now on: how many 5-grams from i on occur more than once
        again = runs[i] >= 5 and values[fives[i]] > 1
        run = run + 1 if again else 0
        candidates += again
        runs[i] = run
    parts = 0  # stretches of such 5-grams; nothing that is repeated lies outside
    for i in range(count):
        if runs[i] and (i == 0 or not runs[i - 1]):
            values[parts] = np.int64(i)
            parts += 1
    size = room_for(candidates)
    mask = _U(size - 1)
    for n in range(5, 11):
        if n > 5:
            for i in range(size):
                slots[i] = 0
        repeated, i = np.int64(0), np.int64(0)
        for part in range(parts):
            i = max(i, values[part])
            while i < count and runs[i] >= n - 4:
                if n == 5:
                    new = slots[fives[i]] != 0  # those that were met are taken out
                    slots[fives[i]] = 0
                else:  # up to ten words are known by the five at either end
                    key = mixed(_U(fives[i]) << _HALF | _U(fives[i + n - 5])) | _ONE
                    slot = find_slot(slots, mask, key)
                    new = slots[slot] == 0
                    slots[slot] = key
                if new:
                    i += 1
                    continue
                for j in range(i, i + n):
                    repeated += sizes[j]
                i += n
        out[n - 5] = repeated
        if stop and repeated > (DUPLICATE_LIMITS[n - 5] + extra) * total:
            return


@leaf(forceinline=True)
def _power(n):
    power = _ONE
    for _ in range(n):
        power *= _BASE
    return power


@leaf
def _running(keys, count, sums, n):
    """Fill the running hash `[count + 1]`; returns what an n-gram's first value is multiplied by."""
    sums[0] = 0
    for i in range(count):
        sums[i + 1] = sums[i] * _BASE + keys[i]
    return _power(n)


@leaf(forceinline=True)
def _ngram(sums, at, n, power):
    return mixed(sums[at + n] - sums[at] * power) | _ONE
