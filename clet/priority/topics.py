"""Topics: which documents are about the same event, by the rare word pairs that they repeat.

Online single-pass clustering (leader and followers) over an inverted table. A document's *keywords* are its pairs of
neighbouring tokens that it uses at least twice and that are rare elsewhere: names, as a rule. Where it has fewer than
MIN_VOTES of them, rare pairs used once stand in. Each keyword points to the topic that used it last; the topic with
at least MIN_VOTES keywords of the document, and a quarter of all it has, is the document's, else it opens a new one.
Then its keywords point there. A pair that kept pointing to one topic (FAITHFUL times more often than elsewhere) stays
its keyword when it grows frequent: the names in a story that everybody writes about are frequent because of it.

Before SETTLED_TOKENS were learned, nothing is known to be frequent; until then each document is its own topic.

That is enough for the two uses it has: a share that one event may take of a window (`clet.priority.flood`), and who
else reports the same (`clet.priority.credibility`). It tells events apart, not subjects, and sees no paraphrase that
avoids every name.

Cost: 4 ns a token and 12 lookups a document; 3 MB of keywords and 3 MB of topics. A topic's slot is taken over after
RING newer topics.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit

KEYWORDS = 12
MIN_VOTES = 3
RARE = 60.0  # occurrences (decayed) above which a pair is no name of an event; one in 100,000 of the model's memory
MAX_TOKENS = 2048  # of a document that are looked at
FAITHFUL = 3
SETTLED_TOKENS = 50_000.0
TABLE_BITS = 18
RING = 1 << 16
VOICES = 4  # reports of a topic that are remembered

_U, _U32 = np.uint64, np.uint32
_SHIFT, _ONE = _U(64 - TABLE_BITS), _U(1)


class Topics(NamedTuple):
    """Keywords and topics. A topic has a number; its slot is the number modulo RING."""

    tags: np.ndarray  # [2^18] uint32: which keyword
    topic: np.ndarray  # [2^18] int64: the last topic that used it
    faith: np.ndarray  # [2^18] int8: how much more often it was met in that topic than elsewhere
    owner: np.ndarray  # [RING] int64: number of the topic in the slot, -1 for none
    voice_origin: np.ndarray  # [RING, VOICES] int32: who reported, -1 for nobody
    voice_family: np.ndarray  # [RING, VOICES] uint64: in which near-duplicate cluster
    voices: np.ndarray  # [RING] int64: how many reports were noted
    corrected: np.ndarray  # [RING] int32: the day of a correction, -1 for none
    emitted: np.ndarray  # [RING] float64: tokens that left, decayed (see flood)
    next: np.ndarray  # [1] int64: number of the next new topic


def new_topics() -> Topics:
    """No topics."""
    size = 1 << TABLE_BITS
    return Topics(
        np.zeros(size, np.uint32),
        np.full(size, -1, np.int64),
        np.zeros(size, np.int8),
        np.full(RING, -1, np.int64),
        np.full((RING, VOICES), -1, np.int32),
        np.zeros((RING, VOICES), np.uint64),
        np.zeros(RING, np.int64),
        np.full(RING, -1, np.int32),
        np.zeros(RING),
        np.zeros(1, np.int64),
    )


@njit
def _repeated(pairs, size, out):
    """Into `out` the places of pairs that may occur more than once, by a count of their hash; returns how many."""
    room = 64
    while room < 8 * size:
        room *= 2
    mask = _U(room - 1)
    counts = np.zeros(room, np.uint8)
    for i in range(_ONE, _U(size)):
        at = pairs[i] & mask
        counts[at] = min(counts[at] + 1, 2)
    found = _U(0)
    for i in range(_ONE, _U(size)):
        out[found] = i
        found += _U(counts[pairs[i] & mask] > 1)
    return np.int64(found)


@njit
def _candidates(t, pairs, two, places, count, others, out):
    """Into `out` those of `places` whose pair can be a keyword: rare ones, and frequent ones that stayed with a topic.

    Returns how many; `others` is scratch. Written without branches, which real text would make unpredictable.
    """
    kept = frequent = _U(0)
    for k in range(_U(count)):
        i = _U(places[k])
        rare = two[i] <= RARE
        out[kept] = i
        kept += _U(rare)
        others[frequent] = i
        frequent += _U(not rare)
    for k in range(frequent):
        i = _U(others[k])
        place = pairs[i] >> _SHIFT
        out[kept] = i
        kept += _U((t.tags[place] == _U32(pairs[i])) & (t.faith[place] >= FAITHFUL))
    return np.int64(kept)


@njit
def _best(pairs, places, count, least, best, out):
    """The KEYWORDS pairs with the greatest worth among those that occur `least` times at `places`.

    Fills `out` with them and `best` with their worth; returns (how many there are, how many pairs occur twice).
    """
    room = 16
    while room < 2 * count:
        room *= 2
    mask = _U(room - 1)
    slots = np.zeros(room, np.int32)  # 1 + which of `firsts`
    firsts, counts = np.empty(count, np.uint64), np.empty(count, np.int32)
    distinct = 0
    for k in range(count):
        key = pairs[places[k]]
        at = key & mask
        while slots[at] and firsts[slots[at] - 1] != key:
            at = (at + _U(1)) & mask
        if not slots[at]:
            firsts[distinct], counts[distinct] = key, 0
            distinct += 1
            slots[at] = distinct
        counts[slots[at] - 1] += 1
    found = repeated = 0
    for k in range(distinct):
        repeated += counts[k] > 1
        if counts[k] < least:
            continue
        # The tie between pairs used equally often is broken by their hash: alike in every document.
        worth = min(counts[k], 6) + np.float64(firsts[k] >> _U(11)) / 9007199254740992.0
        if found < KEYWORDS:
            place = found
            found += 1
        elif worth > best[KEYWORDS - 1]:
            place = KEYWORDS - 1
        else:
            continue
        while place and best[place - 1] < worth:
            best[place], out[place] = best[place - 1], out[place - 1]
            place -= 1
        best[place], out[place] = worth, firsts[k]
    return found, repeated


@njit
def keywords(t, pairs, two, size, out):
    """The keywords of a document with `size` tokens into `out` [KEYWORDS]; how many."""
    size = min(size, MAX_TOKENS)
    places, others, kept = np.empty(size + 1, np.int32), np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)
    best = np.zeros(KEYWORDS, np.float64)
    count = _candidates(t, pairs, two, places, _repeated(pairs, size, places), others, kept)
    found, repeated = _best(pairs, kept, count, 2, best, out)
    if repeated < MIN_VOTES:
        for i in range(1, size):
            places[i - 1] = i
        count = _candidates(t, pairs, two, places, max(size - 1, 0), others, kept)
        found, _ = _best(pairs, kept, count, 1, best, out)
    return found


@njit
def assign(t, pairs, two, size, known):
    """The number of a document's topic, a new one where no known one fits.

    `two` says how often each of its `pairs` was met; `known` tokens were learned before.
    """
    words = np.zeros(KEYWORDS, np.uint64)
    count = keywords(t, pairs, two, size, words) if known >= SETTLED_TOKENS else 0
    candidates = np.zeros(KEYWORDS, np.int64)
    for k in range(count):
        at = words[k] >> _SHIFT
        known = t.tags[at] == _U32(words[k])
        candidates[k] = t.topic[at] if known else -1
    best, votes = np.int64(-1), 0
    for k in range(count):
        if candidates[k] < 0 or t.owner[candidates[k] % RING] != candidates[k]:
            continue
        same = 0
        for other in range(count):
            same += candidates[other] == candidates[k]
        if same > votes or (same == votes and candidates[k] > best):
            best, votes = candidates[k], same
    if votes < MIN_VOTES or 4 * votes < count:
        best = t.next[0]
        t.next[0] += 1
        slot = best % RING
        t.owner[slot] = best
        t.voice_origin[slot, :] = -1
        t.voices[slot] = 0
        t.corrected[slot] = -1
        t.emitted[slot] = 0.0
    for k in range(count):
        at = words[k] >> _SHIFT
        if t.tags[at] == _U32(words[k]) and t.topic[at] == best:
            t.faith[at] = min(t.faith[at] + 1, 100)
            continue
        if t.tags[at] == _U32(words[k]) and t.faith[at] >= FAITHFUL:
            t.faith[at] -= 2
            continue
        t.tags[at], t.topic[at], t.faith[at] = _U32(words[k]), best, 0
    return best


@njit
def add_voice(t, topic, origin, family):
    """Remember who reported a topic, in the words of which near-duplicate cluster: a copy adds nothing."""
    slot = topic % RING
    for k in range(VOICES):
        if t.voice_origin[slot, k] >= 0 and t.voice_family[slot, k] == family:
            return
    k = t.voices[slot] % VOICES
    t.voice_origin[slot, k], t.voice_family[slot, k] = origin, family
    t.voices[slot] += 1
