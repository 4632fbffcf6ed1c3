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

Cost: 14 us a document of 4.4 KB, a third of it for the words; memory for the batch at most 8 KB a document and 128
bytes of bands.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from clet.batch import Ragged
from clet.dedup.words import ASCII, WIDE, WordTable, find_words, hash_runs, mix, word_base
from clet.kernels import njit

SHINGLE = 5  # words
K = 192  # bins of the signature
ROWS = 6
BANDS = K // ROWS
SAMPLE = 2048  # values kept for confirmation, at most

_U = np.uint64
_GOLDEN, _ODD = _U(0x9E3779B97F4A7C15), _U(0xD6E8FEB86659FD93)
_LOW, _S32 = _U(0xFFFFFFFF), _U(32)
_NONE = np.uint32(0xFFFFFFFF)
_SLOTS = 4096  # of the set in which the values of one document are told apart: half full at most


class Sketches(NamedTuple):
    """Sketches of the rows of a batch; a row without any has length 0."""

    bands: np.ndarray  # [n, BANDS] uint32
    values: np.ndarray  # [total] uint32: row i's sample is values[starts[i]:starts[i + 1]], in order of appearance
    starts: np.ndarray  # [n + 1] int64
    levels: np.ndarray  # [n] uint8


@njit
def signature_of(hashes, size, key, out):
    """Densified one-permutation signature of `hashes[:size]`, size > 0, into `out` `[K]` uint32."""
    out[:] = _NONE
    for i in range(size):
        place = np.int64(((hashes[i] >> _S32) * _U(K)) >> _S32)
        value = np.uint32(hashes[i] & _LOW)
        out[place] = min(value, out[place])  # no branch: nobody can predict it
    filled = out.copy()
    for place in range(K):
        chosen = place
        attempt = 0
        while filled[chosen] == _NONE:  # ends: at least one bin is filled, and attempts are independent draws
            attempt += 1
            drawn = mix(key + _U(place) * _GOLDEN + _U(attempt) * _ODD) & _LOW
            chosen = np.int64((drawn * _U(K)) >> _S32)
        out[place] = filled[chosen]


@njit
def bands_of(signature, key, rows, out):
    """Hash of each run of `rows` components into `out` `[bands]` uint32."""
    for band in range(len(out)):
        total = key + _U(band) * _GOLDEN
        for row in range(rows):
            total = (total ^ _U(signature[band * rows + row])) * _ODD
            total ^= total >> _S32
        out[band] = np.uint32(mix(total) & _LOW)


# ---- samples


@njit
def new_set():
    """A set of uint32 that is emptied at once: slots are of the epoch in which they were filled."""
    return np.zeros(_SLOTS, np.uint64)


@njit
def add_to_set(slots, epoch, value):
    """Whether `value` is new in this epoch's set, where it is then."""
    wanted = (epoch << _S32) | _U(value)
    at = np.int64((_U(value) * _GOLDEN) >> _U(52))
    while slots[at] >> _S32 == epoch:
        if slots[at] == wanted:
            return False
        at = (at + 1) & (_SLOTS - 1)
    slots[at] = wanted
    return True


@njit
def in_set(slots, epoch, value):
    """Whether `value` is in this epoch's set."""
    wanted = (epoch << _S32) | _U(value)
    at = np.int64((_U(value) * _GOLDEN) >> _U(52))
    while slots[at] >> _S32 == epoch:
        if slots[at] == wanted:
            return True
        at = (at + 1) & (_SLOTS - 1)
    return False


@njit
def sample_of(hashes, size, slots, epoch, out):
    """(values in `out`, level, last epoch used): the sample of `hashes[:size]`; `out` has SAMPLE places."""
    count, level = 0, 0
    cut = _U(1) << _S32
    epoch += _U(1)
    for i in range(size):
        value = hashes[i] & _LOW
        if value >= cut or not add_to_set(slots, epoch, value):
            continue
        while count == SAMPLE:
            level += 1
            cut >>= _U(1)
            epoch += _U(1)
            kept = 0
            for j in range(count):
                if _U(out[j]) < cut:
                    out[kept] = out[j]
                    kept += 1
                    add_to_set(slots, epoch, _U(out[j]))
            count = kept
            if value < cut:
                add_to_set(slots, epoch, value)
        if value < cut:
            out[count] = np.uint32(value)
            count += 1
    return count, level, epoch


@njit
def similarity(a, level_a, b, level_b, slots, epoch, filled):
    """(Jaccard similarity of two documents by their samples, epoch). `filled` says that `slots` hold all of `a`."""
    level = max(level_a, level_b)
    cut = (_U(1) << _S32) >> _U(level)
    size_a = size_b = both = 0
    if not filled:
        epoch += _U(1)
        for value in a:
            add_to_set(slots, epoch, _U(value))
    if level == level_a:
        size_a = len(a)
    else:
        for value in a:
            size_a += _U(value) < cut
    for value in b:
        if _U(value) < cut:
            size_b += 1
            both += in_set(slots, epoch, _U(value))
    union = size_a + size_b - both
    return (both / union if union else 0.0), epoch


# ---- batches


@njit
def _sketch_rows(
    ids, offsets, table, ascii_classes, wide, base, key, rows, sample, first, last, bands, lengths, levels
):
    values = np.empty(1 << 16, np.uint32)
    used = 0
    signature = np.empty(K, np.uint32)
    slots, epoch = new_set(), _U(0)
    words = np.empty(1 << 12, np.uint64)
    for row in range(first, last):
        begin, end = offsets[row], offsets[row + 1]
        count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, words)
        while count < 0:
            words = np.empty(2 * max(len(words), end - begin), np.uint64)
            count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, words)
        size = hash_runs(words, count, SHINGLE, key, words)
        if size <= 0:
            continue
        signature_of(words, size, key, signature)
        bands_of(signature, key, rows, bands[row])
        if not sample:
            lengths[row] = 1
            continue
        if used + SAMPLE > len(values):
            longer = np.empty(2 * len(values), np.uint32)
            longer[:used] = values[:used]
            values = longer
        length, level, epoch = sample_of(words, size, slots, epoch, values[used : used + SAMPLE])
        used += length
        lengths[row], levels[row] = length, level
    return values[:used].copy()


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
    hashes = words.copy()
    size = hash_runs(hashes, len(hashes), SHINGLE, _U(key), hashes)
    assert size > 0, "a document without a shingle has no signature"
    out = np.empty(K, np.uint32)
    signature_of(hashes, size, _U(key), out)
    return out
