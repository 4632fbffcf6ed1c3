"""The kernels of the index: open-addressing hash tables over flat arrays, and the decision about each record.

`Tables` is a bundle of arrays; `admit` decides about the records of a batch in order and inserts what it keeps, so
that an earlier record of a batch counts for a later one. All tables use linear probing, are at most half full
(`clet.dedup.index` grows them beforehand) and never delete.

Slots of the exact tables hold the number of an entry plus one; the entry has the full 128-bit key, which is compared.
Slots of the band table hold a document's number plus one above the 32-bit hash of a band: a wrong hit (one in 2^32 a
slot visited) costs one comparison, since every candidate is confirmed. At most BUCKET documents are kept under one
band hash: a flood of documents that share a template cannot make later lookups long, and what two of them share with
each other they share in bands that the template does not fill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.dedup.minhash import BANDS, jaccard, mix
from clet.kernels import njit

BUCKET = 8  # documents under one band hash: a lookup confirms at most BANDS * BUCKET = 336, about 1 ms
CHAIN = 64  # versions of one story that a new version is compared to as its own past

KEPT, EXACT, NEAR = 0, 1, 2
NUM_ENTRIES, NUM_DOCS, NUM_VALUES, NUM_BANDS = 0, 1, 2, 3

_U = np.uint64
_S32 = _U(32)


class Tables(NamedTuple):
    """The index as arrays. An entry is an id that was seen; a document is an entry that was kept."""

    sizes: np.ndarray  # [4] int64: entries, documents, sketch values, filled band slots
    id_slots: np.ndarray  # [2^a] int32: entry + 1
    ids: np.ndarray  # [entries, 2] uint64
    owner: np.ndarray  # [entries] int32: the document itself, or the one it repeats
    token_slots: np.ndarray  # [2^b] int32: document + 1
    tokens: np.ndarray  # [documents, 2] uint64
    entry: np.ndarray  # [documents] int32: where its id is
    prior: np.ndarray  # [documents] int32: the version that it superseded, or -1
    stamp: np.ndarray  # [documents] int64: the last record that it was compared with
    band_slots: np.ndarray  # [2^c] uint64: (document + 1) << 32 | band hash
    values: np.ndarray  # [sketch values] uint32
    value_ends: np.ndarray  # [documents + 1] int64


@njit
def find_id(t, low, high, key):
    """The entry of an id given as two lanes, or -1."""
    mask = len(t.id_slots) - 1
    at = np.int64(mix(low ^ key)) & mask
    while t.id_slots[at]:
        entry = t.id_slots[at] - 1
        if t.ids[entry, 0] == low and t.ids[entry, 1] == high:
            return entry
        at = (at + 1) & mask
    return -1


@njit
def add_id(t, low, high, owner, key):
    """A new entry for an id that is not in the table; its number."""
    entry = t.sizes[NUM_ENTRIES]
    t.sizes[NUM_ENTRIES] += 1
    t.ids[entry, 0], t.ids[entry, 1], t.owner[entry] = low, high, owner
    mask = len(t.id_slots) - 1
    at = np.int64(mix(low ^ key)) & mask
    while t.id_slots[at]:
        at = (at + 1) & mask
    t.id_slots[at] = entry + 1
    return entry


@njit
def _find_tokens(t, low, high):
    mask = len(t.token_slots) - 1
    at = np.int64(low) & mask  # the lanes are a keyed hash already
    while t.token_slots[at]:
        doc = t.token_slots[at] - 1
        if t.tokens[doc, 0] == low and t.tokens[doc, 1] == high:
            return doc
        at = (at + 1) & mask
    return -1


@njit
def _place_tokens(slots, low, doc):
    mask = len(slots) - 1
    at = np.int64(low) & mask
    while slots[at]:
        at = (at + 1) & mask
    slots[at] = doc + 1


@njit
def _add_band(t, band, doc):
    mask = len(t.band_slots) - 1
    at = np.int64(band) & mask
    same = 0
    while t.band_slots[at]:
        if np.uint32(t.band_slots[at]) == band:
            same += 1
            if same == BUCKET:
                return
        at = (at + 1) & mask
    t.band_slots[at] = (_U(doc + 1) << _S32) | _U(band)
    t.sizes[NUM_BANDS] += 1


@njit
def add_document(t, low, high, token_low, token_high, prior, bands, sketch, key):
    """Insert a document: its id, the key of its tokens (0, 0 for none), its bands where it has a sketch; its number."""
    doc = t.sizes[NUM_DOCS]
    t.sizes[NUM_DOCS] += 1
    t.entry[doc] = add_id(t, low, high, doc, key)
    t.prior[doc] = prior
    t.tokens[doc, 0], t.tokens[doc, 1] = token_low, token_high
    if token_low or token_high:
        _place_tokens(t.token_slots, token_low, doc)
    begin = t.sizes[NUM_VALUES]
    t.values[begin : begin + len(sketch)] = sketch
    t.sizes[NUM_VALUES] = begin + len(sketch)
    t.value_ends[doc + 1] = begin + len(sketch)
    if len(sketch):
        for i in range(BANDS):
            _add_band(t, bands[i], doc)
    return doc


@njit
def _sketch_of(t, doc):
    return t.values[t.value_ends[doc] : t.value_ends[doc + 1]]


@njit
def _most_similar(t, bands, sketch, turn):
    """(document, J) of the most similar candidate not yet stamped with `turn`; the earliest of equals; (-1, -1.0)."""
    best, best_j = -1, -1.0
    mask = len(t.band_slots) - 1
    for i in range(BANDS):
        band = bands[i]
        at = np.int64(band) & mask
        while t.band_slots[at]:
            if np.uint32(t.band_slots[at]) == band:
                doc = np.int64(t.band_slots[at] >> _S32) - 1
                if t.stamp[doc] != turn:
                    t.stamp[doc] = turn
                    j = jaccard(_sketch_of(t, doc), sketch)
                    if j > best_j or (j == best_j and doc < best):
                        best, best_j = doc, j
            at = (at + 1) & mask
    return best, best_j


@njit
def admit(t, ids, tokens, old_ids, has_old, sketches, threshold, key, turn, out):
    """Decide about each record of a batch in order, and insert it; see `clet.dedup.index.Index.admit`.

    `tokens` are (0, 0) where a record has none. `turn` is a number not below any used before; the last one used is
    returned. `out` is a `clet.dedup.index.Decisions` to fill.
    """
    for row in range(len(ids)):
        low, high = ids[row, 0], ids[row, 1]
        token_low, token_high = tokens[row, 0], tokens[row, 1]
        turn += 1
        out.of[row], out.similarity[row], out.new[row] = -1, -1.0, -1
        entry = find_id(t, low, high, key)
        if entry >= 0:
            out.verdict[row], out.of[row] = EXACT, t.owner[entry]
            continue
        if token_low or token_high:
            twin = _find_tokens(t, token_low, token_high)
            if twin >= 0:
                out.verdict[row], out.of[row] = EXACT, twin
                add_id(t, low, high, twin, key)
                continue
        past = -1
        if has_old[row]:
            entry = find_id(t, old_ids[row, 0], old_ids[row, 1], key)
            past = t.owner[entry] if entry >= 0 else -1
        begin = sketches.starts[row]
        sketch = sketches.values[begin : begin + sketches.lengths[row]]
        if len(sketch):
            version, steps = past, 0
            while version >= 0 and steps < CHAIN:  # its own earlier versions are no candidates
                t.stamp[version] = turn
                version = t.prior[version]
                steps += 1
            near, similarity = _most_similar(t, sketches.bands[row], sketch, turn)
            if similarity >= threshold:
                out.verdict[row], out.of[row], out.similarity[row] = NEAR, near, similarity
                add_id(t, low, high, near, key)
                continue
        if past >= 0:
            out.of[row], out.similarity[row] = past, jaccard(_sketch_of(t, past), sketch)
        out.verdict[row] = KEPT
        out.new[row] = add_document(t, low, high, token_low, token_high, past, sketches.bands[row], sketch, key)
    return turn


@njit
def restore(t, ids, owner, tokens, prior, bands, values, ends, key):
    """Insert entries `[n]` read from a journal in their order; those that own themselves are its documents `[d]`.

    `ends` `[d + 1]` bounds the sketches of the documents in `values`.
    """
    first = t.sizes[NUM_DOCS]
    for i in range(len(ids)):
        doc = t.sizes[NUM_DOCS]
        if owner[i] == doc:
            at = doc - first
            sketch = values[ends[at] : ends[at + 1]]
            add_document(t, ids[i, 0], ids[i, 1], tokens[at, 0], tokens[at, 1], prior[at], bands[at], sketch, key)
        else:
            add_id(t, ids[i, 0], ids[i, 1], owner[i], key)


@njit
def refill_ids(t, key):
    """Fill an empty, larger `id_slots` from the entries."""
    mask = len(t.id_slots) - 1
    for entry in range(t.sizes[NUM_ENTRIES]):
        at = np.int64(mix(t.ids[entry, 0] ^ key)) & mask
        while t.id_slots[at]:
            at = (at + 1) & mask
        t.id_slots[at] = entry + 1


@njit
def refill_bands(old, new):
    """Fill an empty, larger band table from the old one."""
    mask = len(new) - 1
    for slot in old:
        if slot:
            at = np.int64(np.uint32(slot)) & mask
            while new[at]:
                at = (at + 1) & mask
            new[at] = slot


@njit
def refill_tokens(old, new, tokens):
    """Fill an empty, larger `token_slots` from the old one."""
    for slot in old:
        if slot:
            _place_tokens(new, tokens[slot - 1, 0], slot - 1)
