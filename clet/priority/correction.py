"""Corrections: which of the documents that wait, and of those to come, a correction takes the worth of.

What a correction is about is found in four ways, each of which is enough:

- the cluster of near-duplicates that it updates (`dedup.updates`);
- an address: that of the record itself, or a link in its notice; it counts for what arrived before the correction,
  since what comes later under that address is the corrected version;
- a title that the notice has in quotation marks, or that stands behind "Correction:" in the record's own;
- the words of the notice (`clet.priority.claims`).

Whoever is found so takes its cluster with it, copies that come later included. Notices of origins that nobody has to
believe (`clet.priority.claims.believes`) count against themselves alone.

Cost: nothing a record but a key of its title; of what waits, see `claims`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clet.batch import Batch
from clet.heads import Heads
from clet.kernels import njit
from clet.priority.assess import Memory, mark_corrected
from clet.priority.claims import CLAIMS, WORDS, believes, compare, lookup_of, note_claim, who_says
from clet.priority.counts import value_of
from clet.priority.facts import Facts, word_ids
from clet.priority.notices import notice_in
from clet.priority.novelty import WEIGHT, hash_grams, look_up
from clet.priority.topics import KEYWORDS, keywords

MAX_LINKS = 4096  # that wait to be compared
MIN_REST = 30  # tokens beside a notice that say what it is about; of a mere notice all do


class Corrections:
    """What corrections said since the window was looked at last; the rest is in the memory."""

    def __init__(self, memory: Memory):
        self._memory = memory
        self._links: list[tuple[int, int, int]] = []  # (key, number of the record, its origin)
        self._day = 0

    def note(self, batch: Batch, heads: Heads, facts: Facts, rows: np.ndarray, number: int) -> None:
        """Read the corrections at `rows`; `number` is that of the batch's first record."""
        urls = heads.hashes("url")
        for row in rows.tolist():
            text, title = batch.text.bytes_at(row), heads.value(row, "title")
            found = notice_in(text, title if isinstance(title, str) else "")
            if found is None:
                continue
            origin, day = int(facts.origins[row]), int(facts.days[row])
            self._day = max(self._day, day)
            for link in (int(urls[row]), *found.links):
                if link and len(self._links) < MAX_LINKS:
                    self._links.append((link, number + row, origin))
            for key in found.titles:
                mark_corrected(self._memory, np.uint64(key), origin)
            begin, end = int(facts.ids.offsets[row]), int(facts.ids.offsets[row + 1])
            ratio = (end - begin) / max(len(text), 1)
            first, last = begin + int(np.ceil(found.begin * ratio)), begin + int(found.end * ratio)
            last = last if last >= end - 1 else last - 2  # where the notice ends is known to a token or two
            _note(self._memory, facts.ids.values, begin, end, first, max(first, last), origin, day)

    def see(self, day: int) -> None:
        """What day it is."""
        self._day = max(self._day, day)

    def apply(self, held: np.ndarray, chunks: Sequence[Batch]) -> None:
        """Mark those of the records that wait which say what was corrected."""
        m = self._memory
        for key, number, origin in self._links:
            rows = np.flatnonzero((held["url"] == np.uint64(key)) & (held["number"] < number))
            for row in rows.tolist():
                if not held["correction"][row] and believes(m.reputation, origin, held["origin"][row]):
                    held["claimed"][row] = 1
                    mark_corrected(m, held["family"][row], origin)
        self._links.clear()
        lookup, active = lookup_of(m.claims, self._day)
        if not active or not len(held):
            return
        wrong = np.zeros((len(held), CLAIMS, WORDS), np.uint64)
        event = np.zeros((len(held), CLAIMS), np.uint32)
        for number in np.unique(held["chunk"]).tolist():
            places = np.flatnonzero(held["chunk"] == number)
            chunk, rows = chunks[number], held["row"][places]
            ids = word_ids(chunk.text) if chunk.tok is None else chunk.tok
            values = ids.values.view()
            values.flags.writeable = False
            compare(lookup, values, ids.offsets[rows], ids.offsets[rows + 1], places, wrong, event)
        first = np.zeros(len(held), np.bool_)
        first[np.unique(held["family"], return_index=True)[1]] = True
        exempt = (held["correction"] | held["approved"]) > 0
        by = who_says(m.claims, m.reputation, np.ascontiguousarray(held["origin"]), exempt, first, wrong, event)
        for row in np.flatnonzero(by).tolist():
            held["claimed"][row] = 1
            mark_corrected(m, held["family"][row], by[row] - 1)


@njit
def _note(m, ids, begin, end, first, last, origin, day):
    size = end - begin
    pairs, triples = np.zeros(size + 1, np.uint64), np.zeros(size + 1, np.uint64)
    counts, two = np.zeros(size + 1, np.uint16), np.zeros(size + 1, np.float32)
    hash_grams(ids, begin, end, pairs, triples)
    look_up(m.grams, pairs, size, counts)
    scale = np.float32(1.0 / m.grams.sums[WEIGHT])
    for i in range(size):
        two[i] = value_of(counts[i]) * scale
    words = np.zeros(KEYWORDS, np.uint64)
    # What it is about is told by the longer side of its notice: that names what was wrong, too.
    low, high = (0, first - begin) if first - begin > end - last else (last - begin, size)
    if high - low < MIN_REST:
        low, high = 0, size
    keywords(m.topics, pairs[low:], two[low:], high - low, words)
    note_claim(m.claims, ids, begin, end, first, last, words, origin, day)
