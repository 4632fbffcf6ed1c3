"""The persistent index of what was seen: in memory hash tables, on disk an append-only journal of a state directory.

What is kept of a document: its id, the key of its tokens, the hashes of its bands and its bottom sketch; of a repeat
only its id and which document it repeats, so that it is recognised when it arrives again or when a correction of it
does. Nothing is kept of the text.

The secret. All hashes are keyed by 64 secret bits: somebody who knew them could write documents that evade the bands
or pile up in one slot. A new state directory draws them from the system and keeps them; without `--state` they come
from `--seed`. The directory is thereby part of the input: the same input, flags and state give the same bytes. Two
fresh directories differ in their secrets, which shows only where a candidate is missed in one of them (3e-6 a pair at
J = 0.8) or where J of documents above SKETCH shingles is estimated on either side of the threshold.

Memory: 24 bytes a record, and for each document kept about 0.75 KB of bands and 4 bytes a distinct shingle up to
4 KB; twice that just after the tables grew. On disk 0.2 KB and the sketch. Opening reads the
journal: about 15 microseconds a document.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clet import seeds
from clet.dedup import minhash, table
from clet.exits import InputError, UsageError
from clet.state import State

PARAMS = {
    "method": "one-permutation minhash of token ids",
    "version": 1,
    "shingle": minhash.SHINGLE,
    "k": minhash.K,
    "rows": minhash.ROWS,
    "bands": minhash.BANDS,
    "sketch": minhash.SKETCH,
}
JOURNAL = "seen"
FRAME_BYTES = 32 << 20  # of one frame of the journal, before compression
MIN_SLOTS = 1 << 10


class Decisions(NamedTuple):
    """What became of each record of a batch."""

    verdict: np.ndarray  # [n] int8: table.KEPT, EXACT or NEAR
    of: np.ndarray  # [n] int32: the document repeated, or superseded by a kept one; -1
    similarity: np.ndarray  # [n] float64: Jaccard with it; -1 where it was not measured
    new: np.ndarray  # [n] int32: the document made of the record, or -1


class Index:
    """What was seen so far. `state` makes it persistent: `commit` then saves what is new, together with the state.

    Raises InputError where the journal contradicts itself.
    """

    def __init__(self, seed: int = seeds.DEFAULT_SEED, state: State | None = None):
        self._state = state
        self._turn = 0
        self._tables = _new_tables()
        self._saved = self._tables.sizes.copy()  # how much of the tables is in the journal
        self._bands: list[np.ndarray] = []  # of documents that are not: the tables have them only scattered
        self.fingerprint: str | None = None
        if state is None:
            self.secret = seeds.integer(seed, "dedup/index")
            return
        self.secret = int(state.values.setdefault("secret", os.urandom(8).hex()), 16)
        self.fingerprint = state.values.get("fingerprint")
        for arrays in state.journal(JOURNAL):
            self._restore(arrays, str(state.directory))
        self._saved = self._tables.sizes.copy()

    def __len__(self) -> int:
        """Documents kept so far."""
        return int(self._tables.sizes[table.NUM_DOCS])

    @property
    def num_bytes(self) -> int:
        """Memory of the tables."""
        return sum(array.nbytes for array in self._tables)

    def id_of(self, doc: int) -> np.ndarray:
        """The id of a document as lanes `[2]`."""
        return self._tables.ids[self._tables.entry[doc]]

    def check_tokenizer(self, fingerprint: str) -> None:
        """Bind the index to a tokenizer. Raises UsageError where it is bound to another one."""
        if self.fingerprint is None:
            self.fingerprint = fingerprint
        elif self.fingerprint != fingerprint:
            raise UsageError(
                f"records carry tokens of tokenizer {fingerprint[:12]}, seen before are those of "
                f"{self.fingerprint[:12]}; ingest with one tokenizer, or give another --state"
            )

    def admit(
        self,
        ids: np.ndarray,
        tokens: np.ndarray | None,
        sketches: minhash.Sketches | None,
        supersedes: Sequence[np.ndarray | None],
        threshold: float,
    ) -> Decisions:
        """Decide about records in order, an earlier one counting for a later one, and remember them.

        `ids` and `tokens` are lanes `[n, 2]`; `tokens` and `sketches` are None together, where records carry no
        tokens. `supersedes[i]` are the lanes of the id that record i replaces, or None.
        """
        size = len(ids)
        old, has_old = np.zeros((size, 2), np.uint64), np.zeros(size, np.bool_)
        for i, lanes in enumerate(supersedes):
            if lanes is not None:
                old[i], has_old[i] = lanes, True
        if sketches is None or tokens is None:
            tokens, sketches = np.zeros((size, 2), np.uint64), _no_sketches(size)
        self._reserve(size, size, len(sketches.values))
        out = Decisions(
            np.zeros(size, np.int8), np.empty(size, np.int32), np.empty(size, np.float64), np.empty(size, np.int32)
        )
        self._turn = table.admit(
            self._tables, ids, tokens, old, has_old, sketches, threshold, np.uint64(self.secret), self._turn, out
        )
        if self._state is not None:
            self._bands.append(sketches.bands[out.verdict == table.KEPT])
            if self._unsaved_bytes() > FRAME_BYTES:
                self._save()
        return out

    def commit(self) -> None:
        """Append what is new to the journal and commit the state; nothing to do without a state."""
        if self._state is None:
            return
        self._save()
        self._state.values["fingerprint"] = self.fingerprint
        self._state.commit()

    # ---- the journal: slices of the tables, so that restoring repeats the insertions in their order

    def _unsaved_bytes(self) -> int:
        entries, docs, values, _ = (self._tables.sizes - self._saved).tolist()
        return 20 * entries + (24 + 4 * minhash.BANDS) * docs + 4 * values

    def _save(self) -> None:
        t, (entry, doc, value, _) = self._tables, self._saved.tolist()
        entry_end, doc_end, value_end, _ = t.sizes.tolist()
        if entry_end == entry:
            return
        arrays = {
            "ids": t.ids[entry:entry_end],
            "owner": t.owner[entry:entry_end],
            "tokens": t.tokens[doc:doc_end],
            "prior": t.prior[doc:doc_end],
            "bands": np.concatenate(self._bands),
            "values": t.values[value:value_end],
            "lengths": np.diff(t.value_ends[doc : doc_end + 1]),
        }
        self._state.append(JOURNAL, arrays)
        self._saved, self._bands = t.sizes.copy(), []

    def _restore(self, arrays: dict[str, np.ndarray], name: str) -> None:
        try:
            ids, owner, tokens, prior, bands, values, lengths = (
                np.array(arrays[key])  # writable, so that kernels are compiled for one kind of array
                for key in ("ids", "owner", "tokens", "prior", "bands", "values", "lengths")
            )
            docs = len(tokens)
            shapes = ids.shape == (len(owner), 2) and tokens.shape == (docs, 2) and bands.shape == (docs, minhash.BANDS)
            ends = np.concatenate(([0], np.cumsum(lengths)))
            if not shapes or len(prior) != docs or len(lengths) != docs or ends[-1] != len(values):
                raise ValueError("columns of unequal length")
            if (lengths < 0).any() or (lengths > minhash.SKETCH).any():
                raise ValueError("lengths out of range")
            highest = np.maximum.accumulate(owner) if len(owner) else owner
            new = np.concatenate(([len(self) - 1], np.unique(highest[highest >= len(self)])))
            # Documents own themselves and come in order; repeats name one that came before.
            if (owner < 0).any() or len(new) != docs + 1 or (np.diff(new) != 1).any() or (prior >= new[-1] + 1).any():
                raise ValueError("numbers out of range")
        except (KeyError, ValueError) as error:
            raise InputError(f"{name}: the journal contradicts itself ({error}); give another --state") from None
        self._reserve(len(ids), docs, len(values))
        table.restore(self._tables, ids, owner, tokens, prior, bands, values, ends, np.uint64(self.secret))

    # ---- room

    def _reserve(self, entries: int, docs: int, values: int) -> None:
        """Make room for that many more, in steps of doubling: amortised constant a record."""
        t = self._tables
        num_entries, num_docs, num_values, num_bands = t.sizes.tolist()
        key = np.uint64(self.secret)
        columns = {
            name: _longer(getattr(t, name), need)
            for need, names in (
                (num_entries + entries, ("ids", "owner")),
                (num_docs + docs, ("tokens", "entry", "prior", "stamp")),
                (num_docs + docs + 1, ("value_ends",)),
                (num_values + values, ("values",)),
            )
            for name in names
        }
        t = t._replace(**columns)
        if 2 * (num_entries + entries) > len(t.id_slots):
            t = t._replace(id_slots=np.zeros(_slots(num_entries + entries), np.int32))
            table.refill_ids(t, key)
        if 2 * (num_docs + docs) > len(t.token_slots):
            slots = np.zeros(_slots(num_docs + docs), np.int32)
            table.refill_tokens(t.token_slots, slots, t.tokens)
            t = t._replace(token_slots=slots)
        if 2 * (num_bands + minhash.BANDS * docs) > len(t.band_slots):
            slots = np.zeros(_slots(num_bands + minhash.BANDS * docs), np.uint64)
            table.refill_bands(t.band_slots, slots)
            t = t._replace(band_slots=slots)
        self._tables = t


def _new_tables() -> table.Tables:
    return table.Tables(
        sizes=np.zeros(4, np.int64),
        id_slots=np.zeros(MIN_SLOTS, np.int32),
        ids=np.zeros((0, 2), np.uint64),
        owner=np.zeros(0, np.int32),
        token_slots=np.zeros(MIN_SLOTS, np.int32),
        tokens=np.zeros((0, 2), np.uint64),
        entry=np.zeros(0, np.int32),
        prior=np.zeros(0, np.int32),
        stamp=np.zeros(0, np.int64),
        band_slots=np.zeros(MIN_SLOTS, np.uint64),
        values=np.zeros(0, np.uint32),
        value_ends=np.zeros(1, np.int64),
    )


def _no_sketches(size: int) -> minhash.Sketches:
    none = np.zeros(size, np.int64)
    return minhash.Sketches(np.zeros((size, minhash.BANDS), np.uint32), np.zeros(0, np.uint32), none, none)


def _slots(used: int) -> int:
    """Slots of a table for `used` ones: a power of two, at most half full now and a quarter after growing."""
    return max(MIN_SLOTS, 1 << (2 * used - 1).bit_length())


def _longer(array: np.ndarray, need: int) -> np.ndarray:
    """The array with room for `need` rows; the new rows are zero."""
    if len(array) >= need:
        return array
    out = np.zeros((max(need, 2 * len(array)), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
