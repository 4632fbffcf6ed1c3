"""The part of the index that is in memory: open-addressing hash tables over flat arrays, and the decision about each
record.

`admit` decides about the records of a batch in order and inserts what it keeps, so that an earlier record of a batch
counts for a later one; what the segments on disk know of them it is told (`clet.dedup.segment.look_up`). All tables
use linear probing, are at most half full (`Tables` are grown beforehand) and never delete. A record's slots are read
while the one before it is decided about, and each is walked to its end once, for the lookup and for the insertion.

A slot of the band table holds a document's number plus one above the 32-bit hash of a band: a wrong hit (one in 2^32 a
slot visited) costs one comparison, since every candidate is confirmed; but for those whose sample is so much shorter or
longer that they cannot be similar enough. At most BUCKET documents are kept under one
band hash: a flood of documents that share a template cannot make later lookups long, and what two of them share with
each other they share in bands that the template does not fill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.dedup.minhash import BANDS, fill_set, new_set, similarity, similarity_bound
from clet.dedup.words import mix
from clet.kernels import leaf, njit

BUCKET = 8  # documents under one band hash: a lookup confirms at most BANDS * BUCKET = 256, about 1 ms
MIN_SLOTS = 1 << 10

KEPT, EXACT, NEAR = 0, 1, 2
NUM_KEYS, NUM_DOCS, NUM_VALUES, NUM_BANDS, NUM_EVENTS = range(5)
ID_LOW, ID_HIGH, ORIGIN, TIME, PRIOR, VALUES_END, LEVEL = range(7)  # words of a document; the eighth is spare
DOC_WORDS = 8
BY_ID, BY_TOKENS, SIMILAR = range(3)

_U = np.uint64
_S32 = _U(32)
_LOW = _U(0xFFFFFFFF)


class Rows(NamedTuple):
    """The records of a batch, as far as the index is concerned."""

    ids: np.ndarray  # [n, 2] uint64: the id as two lanes
    id_keys: np.ndarray  # [n] uint64: keyed hash of it, not 0
    tokens: np.ndarray  # [n] uint64: keyed hash of the tokens; 0 where there are none
    origins: np.ndarray  # [n] uint64: keyed hash of the origin
    times: np.ndarray  # [n] int64: seconds; 0 where unknown
    bands: np.ndarray  # as in `clet.dedup.minhash.Sketches`
    values: np.ndarray
    starts: np.ndarray
    levels: np.ndarray


class Decisions(NamedTuple):
    """What became of each record. Documents are numbered in the order in which they were kept, from 0."""

    verdict: np.ndarray  # [n] int8: KEPT, EXACT or NEAR
    of: np.ndarray  # [n] int64: the document repeated, or superseded by a kept one; -1
    similarity: np.ndarray  # [n] float64: Jaccard with it; -1 where it was not measured


class Known(NamedTuple):
    """What segments on disk know of each record: documents by BY_ID, BY_TOKENS and SIMILAR."""

    docs: np.ndarray  # [n, 3] int64; -1 for none
    times: np.ndarray  # [n, 3] int64: of these documents
    similarity: np.ndarray  # [n] float64: Jaccard with the most similar one; -1.0 where none may be similar enough


class Tables(NamedTuple):
    """What was seen since the last segment. Documents are counted from `first` on."""

    sizes: np.ndarray  # [5] int64: keys, documents, sample values, filled band slots, events
    key_slots: np.ndarray  # [2^a] int32: key + 1
    keys: np.ndarray  # [keys] uint64
    owners: np.ndarray  # [keys] int64: the document that has the key, or that the record with it repeats
    key_times: np.ndarray  # [keys] int64: when that document was fetched
    docs: np.ndarray  # [documents, DOC_WORDS] uint64
    values: np.ndarray  # [sample values] uint32
    band_slots: np.ndarray  # [2^b] uint64: (document + 1) << 32 | band hash, documents counted from 0
    events: np.ndarray  # [events, 2] uint64: the document repeated, the origin of the repeat


def new_tables() -> Tables:
    """Empty ones."""
    return Tables(
        np.zeros(5, np.int64),
        np.zeros(MIN_SLOTS, np.int32),
        np.zeros(0, np.uint64),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros((0, DOC_WORDS), np.uint64),
        np.zeros(0, np.uint32),
        np.zeros(MIN_SLOTS, np.uint64),
        np.zeros((0, 2), np.uint64),
    )


def reserve(t: Tables, rows: int, values: int) -> Tables:
    """Room for that many more records, in steps of doubling: amortised constant a record."""
    num_keys, num_docs, num_values, num_bands, num_events = t.sizes.tolist()
    t = t._replace(
        keys=_longer(t.keys, num_keys + 2 * rows),
        owners=_longer(t.owners, num_keys + 2 * rows),
        key_times=_longer(t.key_times, num_keys + 2 * rows),
        docs=_longer(t.docs, num_docs + rows),
        values=_longer(t.values, num_values + values),
        events=_longer(t.events, num_events + rows),
    )
    if 2 * (num_keys + 2 * rows) > len(t.key_slots):
        t = t._replace(key_slots=np.zeros(_slots(num_keys + 2 * rows), np.int32))
        _refill_keys(t)
    if 2 * (num_bands + BANDS * rows) > len(t.band_slots):
        old, t = t.band_slots, t._replace(band_slots=np.zeros(_slots(num_bands + BANDS * rows), np.uint64))
        _refill_bands(old, t.band_slots)
    return t


def _slots(entries: int) -> int:
    """A power of two at least twice as many as the entries, with room to double."""
    return max(MIN_SLOTS, 1 << (4 * entries - 1).bit_length())


def _longer(array: np.ndarray, need: int) -> np.ndarray:
    if need <= len(array):
        return array
    out = np.zeros((max(need, 2 * len(array)), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


@leaf
def in_window(doc_time, time, window):
    """Whether a document still counts for a record; where a time is not known it does."""
    return window <= 0 or doc_time == 0 or time == 0 or time - doc_time <= window


@leaf
def find_key(t, key, time, window, oldest):
    """(document behind a key, its time): the earliest from `oldest` on and within the window; (-1, 0)."""
    mask = len(t.key_slots) - 1
    at = np.int64(mix(key)) & mask
    while t.key_slots[at]:
        entry = t.key_slots[at] - 1
        good = t.owners[entry] >= oldest and in_window(t.key_times[entry], time, window)
        if t.keys[entry] == key and good:
            return t.owners[entry], t.key_times[entry]
        at = (at + 1) & mask
    return -1, 0


@leaf
def _add_key(t, key, owner, time):
    entry = t.sizes[NUM_KEYS]
    t.sizes[NUM_KEYS] += 1
    t.keys[entry], t.owners[entry], t.key_times[entry] = key, owner, time
    mask = len(t.key_slots) - 1
    at = np.int64(mix(key)) & mask
    while t.key_slots[at]:
        at = (at + 1) & mask
    t.key_slots[at] = entry + 1


@leaf
def _add_document(t, rows, row, prior, first, places, sames):
    doc = t.sizes[NUM_DOCS]
    t.sizes[NUM_DOCS] += 1
    _add_key(t, rows.id_keys[row], first + doc, rows.times[row])
    if rows.tokens[row]:
        _add_key(t, rows.tokens[row], first + doc, rows.times[row])
    begin, end = rows.starts[row], rows.starts[row + 1]
    at = t.sizes[NUM_VALUES]
    source, target = rows.values[begin:end], t.values[at : at + end - begin]
    for i in range(_U(end - begin)):
        target[i] = source[i]
    t.sizes[NUM_VALUES] = at + end - begin
    fields = t.docs[doc]
    fields[ID_LOW], fields[ID_HIGH] = rows.ids[row, 0], rows.ids[row, 1]
    fields[ORIGIN], fields[TIME], fields[PRIOR] = rows.origins[row], _U(rows.times[row]), _U(prior + 1)
    fields[VALUES_END], fields[LEVEL] = _U(at + end - begin), _U(rows.levels[row])
    if end > begin:
        _add_bands(t, rows.bands[row], doc, places, sames)


@leaf
def _add_bands(t, bands, doc, places, sames):
    """Put a document under its bands, from where `_candidates` found room on: others of them may be there by now."""
    mask = _U(len(t.band_slots) - 1)
    for i in range(_U(BANDS)):
        at, same = places[i], sames[i]
        while t.band_slots[at]:
            same += (t.band_slots[at] & _LOW) == _U(bands[i])
            at = (at + _U(1)) & mask
        if same < BUCKET:
            t.band_slots[at] = (_U(doc + 1) << _S32) | _U(bands[i])
            t.sizes[NUM_BANDS] += 1


@njit
def sample_in(t, doc):
    """(sample, level) of a document, counted from 0."""
    begin = t.docs[doc - 1, VALUES_END] if doc else _U(0)
    return t.values[np.int64(begin) : np.int64(t.docs[doc, VALUES_END])], np.int64(t.docs[doc, LEVEL])


@leaf
def is_among(doc, documents):
    """Whether a document is in a short list."""
    found = False
    for each in documents:
        found |= each == doc
    return found


@leaf
def _candidates(t, bands, places, sames, found):
    """How many documents share a band: they are in `found`. For each band the free slot, and how many it has."""
    mask = _U(len(t.band_slots) - 1)
    count = 0
    for i in range(_U(BANDS)):
        at, same = _U(bands[i]) & mask, 0
        while t.band_slots[at]:
            slot = t.band_slots[at]
            if (slot & _LOW) == _U(bands[i]):
                same += 1
                doc = np.int64(slot >> _S32) - 1
                if not is_among(doc, found[:count]):
                    found[count] = doc
                    count += 1
            at = (at + _U(1)) & mask
        places[i], sames[i] = at, same
    return count


@njit
def _most_similar(t, rows, row, first, threshold, window, own, candidates, query):
    """(document, J): the most similar candidate but `own`, the earliest of equals; (-1, -1.0) if none can reach it."""
    best, best_j = -1, -1.0
    sample, level = rows.values[rows.starts[row] : rows.starts[row + 1]], np.int64(rows.levels[row])
    filled, shift = False, _U(0)
    for doc in candidates:
        other, its_level = sample_in(t, doc)
        bound = similarity_bound(len(sample), level, len(other), its_level)
        if bound < max(threshold, best_j) or is_among(first + doc, own):
            continue
        if not in_window(np.int64(t.docs[doc, TIME]), rows.times[row], window):
            continue
        if not filled:
            filled, shift = True, fill_set(query, sample)
        j = similarity(sample, level, other, its_level, query, shift)
        if j > best_j or (j == best_j and first + doc < best):
            best, best_j = first + doc, j
    return best, best_j


@leaf
def _touch(t, rows, row):
    """Read the slots that a record will be looked up in, many at a time, so that they are near when it comes."""
    touched = _U(t.key_slots[mix(rows.id_keys[row]) & _U(len(t.key_slots) - 1)])
    touched ^= _U(t.key_slots[mix(rows.tokens[row]) & _U(len(t.key_slots) - 1)])
    mask = _U(len(t.band_slots) - 1)
    for i in range(_U(BANDS)):
        touched ^= t.band_slots[_U(rows.bands[row, i]) & mask]
    return touched


@njit
def admit(t, rows, begin, end, first, oldest, threshold, window, own, known, out):
    """Decide about records `begin` to `end` in order, and insert them.

    `own` are earlier versions of these records, which are no candidates; the first of them, if there is any, is what
    they supersede. Documents before `oldest` are forgotten, those from `first` on are in the tables. `known` says what
    is in segments (see Known). `out` are Decisions to fill. What is returned means nothing.
    """
    query, candidates = new_set(), np.empty(BANDS * BUCKET, np.int64)
    places, sames = np.empty(BANDS, np.uint64), np.empty(BANDS, np.int64)
    touched = _U(0)
    for row in range(begin, end):
        touched ^= _touch(t, rows, min(row + 1, end - 1))
        time = rows.times[row]
        out.of[row], out.similarity[row] = -1, -1.0
        same, then = known.docs[row, BY_ID], known.times[row, BY_ID]
        if same < 0:
            same, then = find_key(t, rows.id_keys[row], time, window, oldest)
        if same >= 0:
            out.verdict[row], out.of[row] = EXACT, same
            _add_event(t, same, rows.origins[row])
            continue
        if rows.tokens[row]:
            same, then = known.docs[row, BY_TOKENS], known.times[row, BY_TOKENS]
            if same < 0:
                same, then = find_key(t, rows.tokens[row], time, window, oldest)
            if same >= 0:
                out.verdict[row], out.of[row] = EXACT, same
                _add_key(t, rows.id_keys[row], same, then)
                _add_event(t, same, rows.origins[row])
                continue
        if rows.starts[row + 1] > rows.starts[row]:
            found = candidates[: _candidates(t, rows.bands[row], places, sames, candidates)]
            near, j = _most_similar(t, rows, row, first, threshold, window, own, found, query)
            then = np.int64(t.docs[near - first, TIME]) if near >= 0 else 0
            if known.docs[row, SIMILAR] >= 0 and known.similarity[row] >= j:  # documents in segments are earlier
                near, j, then = known.docs[row, SIMILAR], known.similarity[row], known.times[row, SIMILAR]
            if near >= 0 and j >= threshold:
                out.verdict[row], out.of[row], out.similarity[row] = NEAR, near, j
                _add_key(t, rows.id_keys[row], near, then)
                _add_event(t, near, rows.origins[row])
                continue
        prior = own[0] if len(own) else -1
        out.verdict[row], out.of[row] = KEPT, prior
        _add_document(t, rows, row, prior, first, places, sames)
    return touched


@leaf
def _add_event(t, owner, origin):
    at = t.sizes[NUM_EVENTS]
    t.events[at, 0], t.events[at, 1] = _U(owner), origin
    t.sizes[NUM_EVENTS] += 1


@njit
def _refill_keys(t):
    mask = len(t.key_slots) - 1
    for entry in range(t.sizes[NUM_KEYS]):
        at = np.int64(mix(t.keys[entry])) & mask
        while t.key_slots[at]:
            at = (at + 1) & mask
        t.key_slots[at] = entry + 1


@njit
def _refill_bands(old, new):
    mask = len(new) - 1
    for slot in old:
        if slot:
            at = np.int64(slot & _LOW) & mask
            while new[at]:
                at = (at + 1) & mask
            new[at] = slot
