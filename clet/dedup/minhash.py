"""Near repeats: sketches of a document's set of token n-grams, from which Jaccard similarity is estimated.

A *shingle* is SHINGLE consecutive token ids; a document is the set of its shingles, and two documents are near
repeats if the Jaccard similarity of these sets, J = |A & B| / |A | B|, reaches the threshold. Each shingle is hashed
once, with a secret key; two sketches come out of that one pass.

- *Signature*: one-permutation MinHash (Li, Owen and Zhang, NIPS 2012): the hash space is cut into K bins and each bin
  keeps its least value; empty bins take the value of a bin chosen by their own hash (optimal densification,
  Shrivastava, ICML 2017), after which each of the K components agrees with probability J. ROWS components hashed
  together are one of BANDS *bands*; documents that share a band are candidates. At J = 0.8 a pair is missed with
  probability (1 - 0.8^6)^42 = 3e-6, at 0.7 with 5e-3, at 0.6 with 0.13; half of the pairs at J = 0.5 and 3% of those
  at 0.3 are compared for nothing. Rows are few and bands many on purpose: confirmation is cheap, and at the default
  threshold the result then does not depend on the secret.
- *Bottom sketch*: the SKETCH least distinct hash values, sorted (Broder, SEQUENCES 1997). Where both documents have
  fewer than SKETCH distinct shingles (about 1000 tokens, most documents) it is the whole set and the confirmed J is
  exact, but for collisions of 32-bit hashes (under 1e-3 expected in a pair). Else J is estimated from the SKETCH least
  values of the union: unbiased, standard error sqrt(J (1 - J) / SKETCH), 0.0125 at J = 0.8.

Documents shorter than a shingle have no sketch: only exact repeats of them are found.

Cost: one multiply-and-mix a token and shingle position, a sort of the values that may belong to the bottom sketch;
memory for the batch 4 bytes a token (at most 4 KB a document) and 168 bytes a document. Choose word n-grams instead of
token n-grams where documents of different tokenizers meet; here an index has one tokenizer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit

SHINGLE = 5  # token ids; the prototype's word 5-grams are about 6 tokens. Shorter ones make unrelated texts alike
K = 256  # bins of the signature
ROWS = 6
BANDS = K // ROWS  # 42; the last 4 bins are not used
SKETCH = 1024  # values kept for confirmation

_U = np.uint64
_MIX_1, _MIX_2, _GOLDEN = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB), _U(0x9E3779B97F4A7C15)
_ODD = _U(0xD6E8FEB86659FD93)
_EMPTY = _U(0xFFFFFFFFFFFFFFFF)
_S27, _S30, _S31, _S32, _S56 = _U(27), _U(30), _U(31), _U(32), _U(56)
_LOW = _U(0xFFFFFFFF)
_BINS = _U(K - 1)
_VALUE = _U(0x00FFFFFFFFFFFFFF)  # the 56 bits below the bin


class Sketches(NamedTuple):
    """Sketches of the rows of a batch; a row without any has length 0."""

    bands: np.ndarray  # [n, BANDS] uint32
    values: np.ndarray  # [room] uint32: row i's bottom sketch begins at starts[i], ascending
    starts: np.ndarray  # [n] int64
    lengths: np.ndarray  # [n] int64; below SKETCH: the whole set


@njit
def mix(x):
    """splitmix64's finaliser: a bijection of uint64 in which every input bit moves every output bit."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@njit
def _shingle_hashes(ids, key, out):
    """Hash of each run of SHINGLE ids `[m]` into `out` `[m - SHINGLE + 1]` uint64."""
    size = len(ids)
    tokens = np.empty(size, np.uint64)
    for i in range(size):
        tokens[i] = mix(_U(ids[i]) + key)
    for i in range(size - SHINGLE + 1):
        total = key
        for j in range(SHINGLE):
            total = total * _ODD + tokens[i + j]
        out[i] = mix(total)


@njit
def signature_of(hashes, key, out):
    """Densified one-permutation signature of shingle hashes `[m]`, m > 0, into `out` `[K]` uint64."""
    out[:] = _EMPTY
    for h in hashes:
        place = h >> _S56
        value = h & _VALUE
        if value < out[place]:
            out[place] = value
    filled = out.copy()
    for place in range(K):
        chosen = place
        attempt = 0
        while filled[chosen] == _EMPTY:  # ends: at least one bin is filled, and attempts are independent draws
            attempt += 1
            chosen = np.int64(mix(key + _U(place) * _GOLDEN + _U(attempt) * _ODD) & _BINS)
        out[place] = filled[chosen]


@njit
def _bands_of(signature, key, out):
    """Hash of each run of ROWS components into `out` `[BANDS]` uint32."""
    for band in range(BANDS):
        total = key + _U(band) * _GOLDEN
        for row in range(ROWS):
            total = mix(total * _ODD + signature[band * ROWS + row])
        out[band] = np.uint32(total & _LOW)


@njit
def _bottom(values, size, out):
    """The least distinct of `values[:size]` (destroyed), ascending, into `out`; how many were written."""
    part = values[:size]
    part.sort()
    count = 0
    for i in range(size):
        if i == 0 or part[i] != part[i - 1]:
            out[count] = part[i]
            count += 1
            if count == len(out):
                break
    return count


@njit
def bottom_sketch(hashes, out):
    """Least distinct low halves of hashes `[m]`, ascending, into `out` `[at most SKETCH]` uint32; how many."""
    size = len(hashes)
    values = np.empty(size, np.uint32)
    if size > 4 * SKETCH:
        # Sorting all of a novel is wasted: twice as many as needed lie below this cut, unless most are repeats.
        cut = _U(np.float64(2 * SKETCH) / np.float64(size) * 4294967296.0)
        kept = 0
        for h in hashes:
            if (h & _LOW) < cut:
                values[kept] = np.uint32(h & _LOW)
                kept += 1
        count = _bottom(values, kept, out)
        if count == len(out):
            return count
    for i in range(size):
        values[i] = np.uint32(hashes[i] & _LOW)
    return _bottom(values, size, out)


@njit
def _sketch_rows(ids, offsets, key, first, last, bands, values, starts, lengths):
    signature = np.empty(K, np.uint64)
    for row in range(first, last):
        begin, end = offsets[row], offsets[row + 1]
        size = end - begin - SHINGLE + 1
        lengths[row] = 0
        if size <= 0:
            continue
        hashes = np.empty(size, np.uint64)
        _shingle_hashes(ids[begin:end], key, hashes)
        signature_of(hashes, key, signature)
        _bands_of(signature, key, bands[row])
        room = min(size, SKETCH)
        lengths[row] = bottom_sketch(hashes, values[starts[row] : starts[row] + room])


@njit
def jaccard(a, b):
    """Jaccard similarity of the sets behind two bottom sketches: exact where both hold fewer than SKETCH values."""
    limit = SKETCH if len(a) == SKETCH or len(b) == SKETCH else len(a) + len(b)
    i = j = both = union = 0
    while union < limit and i < len(a) and j < len(b):
        if a[i] == b[j]:
            both += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
        union += 1
    union = min(limit, union + len(a) - i + len(b) - j)
    return both / union if union else 0.0


def sketch(tok: Ragged, key: int, jobs: int = 1) -> Sketches:
    """Sketches of each row of token ids, keyed by 64 bits. The result does not depend on `jobs` (threads)."""
    size = len(tok)
    room = np.clip(tok.lengths - SHINGLE + 1, 0, SKETCH)
    starts = np.cumsum(room) - room
    out = Sketches(
        np.zeros((size, BANDS), np.uint32), np.empty(int(room.sum()), np.uint32), starts, np.zeros(size, np.int64)
    )
    # Threads get runs of rows of about the same number of tokens.
    cuts = np.searchsorted(tok.offsets, np.linspace(0, len(tok.values), jobs + 1)[1:-1]).tolist()
    bounds = [0, *(min(cut, size) for cut in cuts), size]

    ids = tok.values.view()
    ids.flags.writeable = False  # as they come from a frame: kernels are compiled for one kind of array
    offsets = np.array(tok.offsets)

    def work(first: int, last: int) -> None:
        _sketch_rows(ids, offsets, _U(key), first, last, out.bands, out.values, starts, out.lengths)

    if jobs == 1 or size < 2:
        work(0, size)
    else:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, bounds[:-1], bounds[1:]))
    return out


def signatures(tok: Ragged, key: int) -> np.ndarray:
    """Signatures `[n, K]` uint64 of rows with at least one shingle: what the bands are made of, for measurement."""
    out = np.empty((len(tok), K), np.uint64)
    for row in range(len(tok)):
        ids = tok[row]
        assert len(ids) >= SHINGLE, "a row without a shingle has no signature"
        hashes = np.empty(len(ids) - SHINGLE + 1, np.uint64)
        _shingle_hashes(ids, _U(key), hashes)
        signature_of(hashes, _U(key), out[row])
    return out
