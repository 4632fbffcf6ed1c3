"""Near repeats: sketches of a document's set of word n-grams, from which Jaccard similarity is found.

A *shingle* is SHINGLE consecutive words (`clet.dedup.words`); a document is the set of its shingles, and two documents
are near repeats if the Jaccard similarity of these sets, J = |A & B| / |A | B|, reaches the threshold. Each shingle is
hashed once, with a secret key; two sketches come out of that one pass.

- *Signature*: one-permutation MinHash (Li, Owen and Zhang, NIPS 2012): the hash space is cut into K bins and each bin
  keeps its least value; empty bins take the value of a bin chosen by their own hash (optimal densification,
  Shrivastava, ICML 2017), after which each of the K components agrees with probability J. ROWS components hashed
  together are one of BANDS *bands*; documents that share a band are candidates. At J = 0.8 a pair is missed with
  probability (1 - 0.8^6)^32 = 6e-5, at 0.7 with 0.02, at 0.6 with 0.2; 4 in 10 of the pairs at J = 0.5 and 2% of those
  at 0.3 are compared for nothing. Rows are few and bands many on purpose: confirmation is cheap, and at the default
  threshold the result then does not depend on the secret.
- *Sample*: the distinct shingle hashes below 2^(32 - level), with the least level at which there are at most SAMPLE of
  them (Gibbons, VLDB 2001). At level 0, which most documents have, it is the whole set and the confirmed J is exact,
  but for collisions of 32-bit hashes (1e-3 expected in a pair). Else both samples are cut to the higher level and J is
  that of what is left: unbiased, standard error sqrt(J (1 - J) / n) for n >= SAMPLE / 2 values of the union, at most
  0.0125 at J = 0.8. Unlike a bottom sketch it needs no sorting.

Documents of fewer words than a shingle have no sketch: only exact repeats of them are found.

Cost: 9 us a document of 4.4 KB, two fifths of it for the words and a third for the sample; memory for the batch at most
8 KB a document and 128 bytes of bands.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from clet.batch import Ragged
from clet.dedup.words import ASCII, WIDE, WordTable, find_words, hash_runs, mix, new_state, word_base
from clet.kernels import leaf, njit

SHINGLE = 5  # words
K = 192  # bins of the signature
ROWS = 6
BANDS = K // ROWS
SAMPLE = 2048  # values kept for confirmation, at most

_U = np.uint64
_GOLDEN, _ODD = _U(0x9E3779B97F4A7C15), _U(0xD6E8FEB86659FD93)
_LOW, _S32 = _U(0xFFFFFFFF), _U(32)
_NONE = np.uint32(0xFFFFFFFF)
_AT_ONCE = 256  # hashes that are compared to the cut together
_SLOTS = 4 * SAMPLE  # of the set in which the values of one document are told apart: a quarter full at most


class Sketches(NamedTuple):
    """Sketches of the rows of a batch; a row without any has length 0."""

    bands: np.ndarray  # [n, BANDS] uint32
    values: np.ndarray  # [total] uint32: row i's sample is values[starts[i]:starts[i + 1]], in order of appearance
    starts: np.ndarray  # [n + 1] int64
    levels: np.ndarray  # [n] uint8


@leaf
def signature_of(hashes, size, key, filled, empty, out):
    """Densified one-permutation signature of `hashes[:size]`, size > 0, into `out` `[K]` uint32.

    `filled` and `empty` are as long, for its own use. Without branches, since nobody can predict where a value falls.
    """
    filled[:] = _NONE
    for i in range(_U(size)):
        place = ((hashes[i] >> _S32) * _U(K)) >> _S32
        filled[place] = min(np.uint32(hashes[i] & _LOW), filled[place])
    left, attempt = _U(0), _U(0)
    for place in range(_U(K)):
        out[place] = filled[place]
        empty[left] = place
        left += _U(filled[place] == _NONE)
    while left:  # ends: at least one bin is filled, and attempts are independent draws
        attempt += _U(1)
        trying, left = left, _U(0)
        for i in range(trying):
            place = _U(empty[i])
            drawn = mix(key + place * _GOLDEN + attempt * _ODD) & _LOW
            out[place] = filled[(drawn * _U(K)) >> _S32]
            empty[left] = place
            left += _U(out[place] == _NONE)


@leaf
def bands_of(signature, key, rows, totals, out):
    """Hash of each run of `rows` components into `out` `[bands]` uint32; `totals` [bands] uint64."""
    bands = _U(len(out))
    for band in range(bands):
        totals[band] = key + band * _GOLDEN
    for row in range(_U(rows)):
        for band in range(bands):
            total = (totals[band] ^ _U(signature[band * _U(rows) + row])) * _ODD
            totals[band] = total ^ (total >> _S32)
    for band in range(bands):
        out[band] = np.uint32(mix(totals[band]) & _LOW)


# ---- samples


@njit
def new_set():
    """Room for a set of uint32, at most SAMPLE of them, to be emptied first."""
    return np.zeros(_SLOTS + 1, np.uint32)


@leaf
def empty_set(slots, size):
    """Make it an empty set for `size` values at most, in as many slots as they need; the shift of their hashes."""
    bits = _U(6)
    while (1 << bits) < 4 * size:
        bits += _U(1)
    slots[: 1 << bits] = 0
    slots[_U(_SLOTS)] = 0
    return _U(64) - bits


@leaf
def add_to_set(slots, shift, value):
    """Whether `value` is new in the set, where it is then."""
    if value == 0:  # a slot of 0 is free: this one has a place of its own
        fresh = slots[_U(_SLOTS)] == 0
        slots[_U(_SLOTS)] = 1
        return fresh
    at = (_U(value) * _GOLDEN) >> shift
    while slots[at]:
        if slots[at] == value:
            return False
        at = (at + _U(1)) & ((_U(1) << (_U(64) - shift)) - _U(1))
    slots[at] = value
    return True


@leaf
def in_set(slots, shift, value):
    """Whether `value` is in the set."""
    if value == 0:
        return slots[_U(_SLOTS)] != 0
    at = (_U(value) * _GOLDEN) >> shift
    while slots[at] and slots[at] != value:
        at = (at + _U(1)) & ((_U(1) << (_U(64) - shift)) - _U(1))
    return slots[at] != 0


@leaf
def sample_of(hashes, size, slots, out):
    """(length, level): the sample of `hashes[:size]` into `out`, which has SAMPLE + _AT_ONCE places."""
    count, level = _U(0), 0
    cut = _U(1) << _S32
    shift = empty_set(slots, min(size, SAMPLE))
    values = out[_U(SAMPLE) : _U(SAMPLE + _AT_ONCE)]
    for begin in range(_U(0), _U(size), _U(_AT_ONCE)):
        end = min(begin + _U(_AT_ONCE), _U(size))
        below = _U(0)
        for i in range(begin, end):
            values[below] = np.uint32(hashes[i] & _LOW)
            below += _U((hashes[i] & _LOW) < cut)
        for i in range(below):
            value = values[i]
            if _U(value) >= cut or not add_to_set(slots, shift, value):
                continue
            while count == _U(SAMPLE):
                level += 1
                cut >>= _U(1)
                count = _U(0)
                for j in range(_U(SAMPLE)):
                    kept = out[j]
                    out[count] = kept
                    count += _U(_U(kept) < cut)
                shift = empty_set(slots, SAMPLE)
                for j in range(count):
                    add_to_set(slots, shift, out[j])
                if _U(value) < cut:
                    add_to_set(slots, shift, value)
            if _U(value) < cut:
                out[count] = value
                count += _U(1)
    return np.int64(count), level


@leaf
def fill_set(slots, sample):
    """Make `slots` the set of a sample; its shift."""
    shift = empty_set(slots, len(sample))
    for value in sample:
        add_to_set(slots, shift, value)
    return shift


@leaf
def similarity(a, level_a, b, level_b, slots, shift):
    """Jaccard similarity of two documents by their samples; `slots` are the set of `a` (see `fill_set`)."""
    level = max(level_a, level_b)
    cut = (_U(1) << _S32) >> _U(level)
    size_a = size_b = both = 0
    if level == level_a:
        size_a = len(a)
    else:
        for value in a:
            size_a += _U(value) < cut
    for value in b:
        if _U(value) < cut:
            size_b += 1
            both += in_set(slots, shift, value)
    union = size_a + size_b - both
    return both / union if union else 0.0


@leaf
def similarity_bound(size_a, level_a, size_b, level_b):
    """What the similarity of two documents with samples of such sizes is at most; 1.0 where levels differ."""
    return min(size_a, size_b) / max(size_a, size_b, 1) if level_a == level_b else 1.0


# ---- batches


@njit
def _sketch_rows(
    ids, offsets, table, ascii_classes, wide, base, key, rows, sample, first, last, bands, lengths, levels
):
    room = 0
    for row in range(first, last):
        room += min(SAMPLE, offsets[row + 1] - offsets[row]) if sample else 0
    values = np.empty(room + SAMPLE + _AT_ONCE, np.uint32)
    used = 0
    signature, filled, empty = np.empty(K, np.uint32), np.empty(K, np.uint32), np.empty(K, np.uint8)
    totals = np.empty(bands.shape[1], np.uint64)
    slots = new_set()
    state, words, hashes = new_state(), np.empty(1 << 12, np.uint64), np.empty(1 << 12, np.uint64)
    for row in range(first, last):
        begin, end = offsets[row], offsets[row + 1]
        count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, state, words)
        while count < 0:
            words = np.empty(2 * max(len(words), end - begin), np.uint64)
            hashes = np.empty(len(words), np.uint64)
            count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, state, words)
        size = hash_runs(words, count, SHINGLE, key, hashes)
        if size <= 0:
            continue
        signature_of(hashes, size, key, filled, empty, signature)
        bands_of(signature, key, rows, totals, bands[row])
        if not sample:
            lengths[row] = 1
            continue
        if used + SAMPLE + _AT_ONCE > len(values):  # tokens of many words each
            longer = np.empty(2 * len(values), np.uint32)
            longer[:used] = values[:used]
            values = longer
        length, level = sample_of(hashes, size, slots, values[used : used + SAMPLE + _AT_ONCE])
        used += length
        lengths[row], levels[row] = length, level
    return values[:used]


class Shape(NamedTuple):
    """What a signature is cut into, and whether samples are taken."""

    bands: int = BANDS
    rows: int = ROWS
    sample: bool = True


EXACT = Shape()


def sketch(column: Ragged, table: WordTable, key: int, jobs: int = 1, shape: Shape = EXACT) -> Sketches:
    """Sketches of each row of ids (or of bytes, with `byte_table`), keyed by 64 bits.

    The result does not depend on `jobs` (threads). Without samples, rows with a sketch have one value, which is 0.
    """
    size = len(column)
    bands, lengths = np.zeros((size, shape.bands), np.uint32), np.zeros(size, np.int64)
    levels = np.zeros(size, np.uint8)
    # Threads get runs of rows of about the same number of ids.
    cuts = np.searchsorted(column.offsets, np.linspace(0, len(column.values), jobs + 1)[1:-1]).tolist()
    bounds = list(pairwise([0, *(min(cut, size) for cut in cuts), size]))
    ids = column.values.view()
    ids.flags.writeable = False  # as they come from a frame: kernels are compiled for one kind of array
    offsets = np.array(column.offsets)
    base = word_base(key)

    def work(bound: tuple[int, int]) -> np.ndarray:
        return _sketch_rows(
            ids, offsets, table, ASCII, WIDE, base, _U(key), shape.rows, shape.sample, *bound, bands, lengths, levels
        )

    if jobs == 1 or size < 2:
        parts = [work((0, size))]
    else:
        with ThreadPoolExecutor(jobs) as pool:
            parts = list(pool.map(work, bounds))
    starts = np.zeros(size + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    values = np.concatenate(parts) if shape.sample else np.zeros(int(starts[-1]), np.uint32)
    return Sketches(bands, values, starts, levels)


def signature(words: np.ndarray, key: int) -> np.ndarray:
    """The signature `[K]` uint32 of a document of at least SHINGLE words: what bands are made of, for measurement."""
    hashes, out = np.empty(len(words), np.uint64), np.empty(K, np.uint32)
    size = hash_runs(words, len(words), SHINGLE, _U(key), hashes)
    assert size > 0, "a document without a shingle has no signature"
    signature_of(hashes, size, _U(key), np.empty(K, np.uint32), np.empty(K, np.uint8), out)
    return out
