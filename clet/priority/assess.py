"""One pass over the documents of a batch in order: density, topic, burst, family, credibility; then they are learned.

Each document is judged by what was known before it and is then part of what is known, so the loop is sequential, and
its result depends on the sequence of documents alone, not on how they were cut into batches. What was dropped by a
rule is not learned from; neither is what looks like an attack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.burst import Bursts, is_settled, new_bursts, note_trust, tag_of, turn, watch
from clet.priority.claims import Claims, believes, new_claims
from clet.priority.credibility import (
    CORRECTION,
    DOCS,
    ECHOED,
    ESTABLISHED,
    PROVEN,
    WRONG,
    Reputation,
    credibility,
    decay,
    is_established,
    new_reputation,
    standing,
)
from clet.priority.lookalike import KEYS, family_keys
from clet.priority.novelty import (
    TOTAL,
    WEIGHT,
    Grams,
    density,
    hash_grams,
    learn,
    look_up,
    new_grams,
    new_scale,
    note_density,
    novelty,
)
from clet.priority.topics import RING, VOICES, Topics, add_voice, assign, new_topics

CORRECTED_BITS = 14  # clusters and titles that were corrected


class Memory(NamedTuple):
    """All that is remembered of the documents before."""

    grams: Grams
    scale: np.ndarray
    topics: Topics
    bursts: Bursts
    reputation: Reputation
    corrected: np.ndarray  # [2^14] uint64: clusters and titles that a correction named, or that say what one denies
    corrected_by: np.ndarray  # [2^14] int32: its origin, plus one
    claims: Claims


class Findings(NamedTuple):
    """What the pass says of each document `[n]`."""

    bits: np.ndarray  # float64: bits a token
    novelty: np.ndarray  # float64
    credibility: np.ndarray  # float64
    topic: np.ndarray  # int64, -1 for what was dropped
    alarm: np.ndarray  # bool: it completes a burst
    phrase: np.ndarray  # int64: place of its most shared rare phrase, or -1
    tag: np.ndarray  # uint32: that phrase
    keys: np.ndarray  # [n, KEYS] uint64: see lookalike


def new_memory(origins: int) -> Memory:
    """Nothing remembered, room for a number of origins."""
    grams = new_grams()
    return Memory(
        grams,
        new_scale(),
        new_topics(),
        new_bursts(grams.three.view(np.uint64)),
        new_reputation(origins),
        np.zeros(1 << CORRECTED_BITS, np.uint64),
        np.zeros(1 << CORRECTED_BITS, np.int32),
        new_claims(),
    )


def new_findings(size: int) -> Findings:
    """Findings to fill."""
    floats = (np.zeros(size) for _ in range(3))
    return Findings(
        *floats,
        np.full(size, -1, np.int64),
        np.zeros(size, np.bool_),
        np.full(size, -1, np.int64),
        np.zeros(size, np.uint32),
        np.zeros((size, KEYS), np.uint64),
    )


@njit
def _echo(m, topic, origin, family):
    """The standing of the best other origin that reported a topic in other words."""
    slot = topic % RING
    best = 0.0
    for k in range(VOICES):
        other = m.topics.voice_origin[slot, k]
        if other >= 0 and other != origin and m.topics.voice_family[slot, k] != family:
            best = max(best, standing(m.reputation, other))
    return best


@njit
def mark_corrected(m, key, by):
    """Remember a cluster or a title that an origin corrected."""
    place = key & np.uint64(len(m.corrected) - 1)
    m.corrected[place], m.corrected_by[place] = key, by + 1


@njit
def _correct(m, topic, origin, day, old):
    """A correction: mark what it corrects, and count it against those who said it and have earned no trust.

    Of an origin that is not established nothing is taken but what it said itself.
    """
    if old:
        mark_corrected(m, old, origin)
    m.reputation.period[origin, WRONG] += CORRECTION
    if not is_established(m.reputation, origin):
        return
    slot = topic % RING
    m.topics.corrected[slot] = day
    for k in range(VOICES):
        other = m.topics.voice_origin[slot, k]
        if other >= 0 and other != origin and not is_established(m.reputation, other):
            m.reputation.period[other, WRONG] += 2 * CORRECTION


@njit
def _was_named(m, key, origin):
    place = key & np.uint64(len(m.corrected) - 1)
    return key != 0 and m.corrected[place] == key and believes(m.reputation, m.corrected_by[place] - 1, origin)


@njit
def is_corrected(m, topic, family, title, origin):
    """Whether a document says what was corrected: its cluster or its title was named, or nobody of standing says it."""
    if _was_named(m, family, origin) or _was_named(m, title, origin):
        return True
    slot = topic % RING
    known = m.topics.owner[slot] == topic and m.topics.corrected[slot] >= 0
    return known and not is_established(m.reputation, origin)


@njit
def assess(m, ids, offsets, begin, stop, days, origins, families, dropped, wrong, correction, old, out):
    """Fill `out` for the documents `begin` to `stop` of a batch whose ids `[m]` are bounded by `offsets`.

    `dropped` documents count for their origin only; `wrong` ones count against it. `correction` says that a document
    corrects something, `old` `[n]` is the cluster that it names, or 0.
    """
    longest = 2
    for row in range(begin, stop):
        longest = max(longest, offsets[row + 1] - offsets[row])
    pairs, triples = np.zeros(longest, np.uint64), np.zeros(longest, np.uint64)
    two, three = np.zeros(longest, np.uint16), np.zeros(longest, np.uint16)
    met = np.zeros(longest, np.uint64)
    pairs_seen, chances = np.zeros(longest, np.float32), np.zeros(longest)
    for row in range(begin, stop):
        origin, day, family = origins[row], days[row], families[row]
        r = m.reputation
        decay(r, origin, day)
        r.period[origin, DOCS] += 1.0
        if wrong[row]:
            r.period[origin, WRONG] += 1.0
        if dropped[row]:
            continue
        first, last = offsets[row], offsets[row + 1]
        size = last - first
        known = m.grams.sums[TOTAL] / m.grams.sums[WEIGHT]
        trusted = standing(r, origin) >= PROVEN
        note_trust(m.bursts, trusted)
        turn(m.bursts, day)
        hash_grams(ids, first, last, pairs, triples)
        look_up(m.grams, pairs, size, two)
        alarm, place = watch(m.bursts, triples, size, m.grams.sums[WEIGHT], day, origin, family, trusted, three, met)
        alarm = alarm and not trusted and is_settled(m.bursts, known)
        tag = tag_of(m.bursts, place)
        out.alarm[row], out.phrase[row], out.tag[row] = alarm, -1 if trusted else place, tag
        bits = density(m.grams, ids, first, two, three, size, pairs_seen, chances)
        out.bits[row], out.novelty[row] = bits, novelty(m.scale, bits, known)
        topic = assign(m.topics, pairs, pairs_seen, size, known)
        out.topic[row] = topic
        echo = _echo(m, topic, origin, family)
        if echo >= ESTABLISHED:
            r.period[origin, ECHOED] += 1.0
        family_keys(triples, size, out.keys[row])
        if alarm and not wrong[row]:
            r.period[origin, WRONG] += 1.0
        if correction[row]:
            _correct(m, topic, origin, day, old[row])
        out.credibility[row] = credibility(r, origin, echo)
        if not alarm and not wrong[row]:
            learn(m.grams, ids, first, last, pairs, triples)
            note_density(m.scale, bits)
            add_voice(m.topics, topic, origin, family)
