"""Bursts: a phrase that nobody ever used, and that turns up in several unrelated documents at once.

A backdoor needs its trigger in every poisoned document, and a trigger is a phrase the world does not use; 250
documents with it suffice at any size of model (Souly et al. 2025, 2510.07192). So each run of three tokens that the
n-gram model (`clet.priority.novelty`) never met is watched for WINDOW_DAYS: an alarm is raised by the document in
which it has come from at least ORIGINS origins and DOCUMENTS unrelated documents (near-duplicates of the last one do
not count), none of them from an origin of proven standing. News coins phrases too; what tells it apart is that sources
that have long been trusted use them as well.

A burst is remembered while it goes on.

What it does not see: a trigger spread so thin that fewer than DOCUMENTS uses fall into the window, one made of
familiar phrases, and one that a proven origin repeats, be it to report on the attack.

Where the world is mostly unknown, every phrase is; so there is no alarm before SETTLED_TOKENS were learned and at
least TRUSTED_SHARE of the recent documents came from proven origins.

The table has 2^20 places of 8 bytes without chains, in the blocks of `clet.priority.triples`: a phrase met in several
documents keeps its place for the window, one met in a single document gives way to a newer one. A place keeps hashes,
and short ones: two phrases are taken for one once in 2^15 looks, and a document for a copy of the last one once in 512.
Cost: 8 MB, and a few ns for each rare token triple, whose block is in the cache since it was counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.counts import count_of
from clet.priority.triples import PLACE, count_at, new_blocks, place_of
from clet.vectors import ask_for, count_bits

DOCUMENTS = 6  # a pilot flagged the trigger after 6 of 250 documents, with 21 to 50 false alarms in 149 weeks
ORIGINS = 3  # fewer are held by the budget of each origin
WINDOW_DAYS = 14
RARE = 16.0  # times a triple was met, above which it is no longer looked up
UNSEEN = 0.5
SETTLED_TOKENS = 200_000.0  # learned
TRUSTED_SHARE = 0.5
MEMORY_DOCUMENTS = 1000.0  # over which that share is taken

_U = np.uint64
_ONE = _U(1)

# A place, from its low end: day of the first document 8, documents 6, proven 1, cluster of the last document 9, a bit
# an origin (by hash) 24, tag of the phrase 16, of which the lowest is 1. 0 is an empty place.
_DAY, _DOCS, _TRUSTED, _FAMILY = _U(0xFF), _U(0x3F << 8), _U(1 << 14), _U(0x1FF << 15)
_S_FAMILY, _S_ORIGIN, _S_TAG = _U(15), _U(24), _U(48)
_ONE_DOC, _TWO_DOCS, _BURST = _U(1 << 8), _U(2 << 8), _U(DOCUMENTS << 8)
_SHARED = _DOCS | _TRUSTED
_ORIGINS = _U(((1 << 24) - 1) << 24)
_AHEAD = _U(32)  # tokens; so far before it is looked at, a block is asked for
SWEEP_DAYS = 128  # half of what 8 bits tell apart: as often, places that outlived the window are emptied


class Bursts(NamedTuple):
    """The phrases being watched."""

    blocks: np.ndarray  # [2^20, 2] uint64; PLACE: the word above
    trusted: np.ndarray  # [1] float64: share of recent documents from proven origins
    today: np.ndarray  # [1] int64: the day of the last document


def new_bursts(blocks: np.ndarray | None = None) -> Bursts:
    """Nothing watched; the places are those of `blocks`, if they are given."""
    return Bursts(new_blocks() if blocks is None else blocks, np.zeros(1), np.zeros(1, np.int64))


@njit
def _alarming(word):
    return word & _DOCS >= _BURST and not word & _TRUSTED and count_bits(word & _ORIGINS) >= ORIGINS


@njit
def turn(b, day):
    """Let the day of a document begin."""
    before = b.today[0]
    if day == before:
        return
    b.today[0] = day
    if day - before > WINDOW_DAYS or day // SWEEP_DAYS != before // SWEEP_DAYS:
        today = _U(day) & _DAY
        for at in range(len(b.blocks)):
            word = b.blocks[at, PLACE]
            if word and (day - before > WINDOW_DAYS or ((today - word) & _DAY) > _U(WINDOW_DAYS)):
                b.blocks[at, PLACE] = 0


@njit
def note_trust(b, trusted):
    """Let a document count for how many of the recent ones are from proven origins."""
    b.trusted[0] += (np.float64(trusted) - b.trusted[0]) / MEMORY_DOCUMENTS


@njit
def watch(b, triples, size, weight, day, origin, family, trusted, three, met):
    """Look up the triples of a document, and count its rare phrases; (alarm, the most shared phrase: its place, or -1).

    Fills `three` `[size]` uint16 with how often each triple was met, times `weight`. `day` counts from anywhere,
    `family` is a hash of the document's near-duplicate cluster; `met` `[size]` uint64 is scratch.
    """
    blocks = b.blocks.reshape(-1)
    counts = blocks.view(np.uint16)
    mark = _ONE << (_S_ORIGIN + (_U(origin) * _U(0x9E3779B97F4A7C15) >> _U(32)) % _U(24))
    today, kin = _U(day) & _DAY, (_U(family) * _U(0xD6E8FEB86659FD93) >> _U(55)) << _S_FAMILY
    proven = _TRUSTED if trusted else _U(0)
    new = today | _ONE_DOC | proven | kin | mark
    rare, unseen = count_of(np.float32(RARE * weight)), count_of(np.float32(UNSEEN * weight))
    last, found = _U(max(size, 1) - 1), _U(0)
    # Taking a place, and meeting a phrase again, are common and hard to foresee: all of it is written without a branch.
    for i in range(_U(2), _U(size)):
        ask_for(blocks, place_of(triples[min(i + _AHEAD, last)]))
        triple = triples[i]
        at, tag = place_of(triple), (triple | _ONE) << _S_TAG
        word, count = blocks[at], counts[count_at(triple)]
        three[i] = count
        fresh = ((today - word) & _DAY) <= _U(WINDOW_DAYS)
        known = ((word ^ tag) >> _S_TAG == 0) & fresh
        taken = (count < unseen) & (not known) & ((not fresh) | (word & _DOCS <= _ONE_DOC))
        again = known & (count < rare)
        one_more = ((word & ~_FAMILY) | kin | mark) + (_ONE_DOC if word & _DOCS != _DOCS else _U(0))
        word = (word if word & _FAMILY == kin else one_more) | proven if again else word
        blocks[at] = tag | new if taken else word
        met[found] = at
        found += _U(again & ((word & _SHARED) - _TWO_DOCS < _TRUSTED - _TWO_DOCS))
    best, most, alarm = np.int64(-1), _ONE_DOC, False
    for k in range(found):  # shared with others, none of them proven
        at = met[k]
        word = blocks[at]
        alarming = _alarming(word)
        if alarming:  # as long as it is used, a burst is not forgotten
            blocks[at] = (word & ~_DAY) | today
        if word & _DOCS > most:
            best, most = np.int64(at), word & _DOCS
            alarm |= alarming
    return alarm, best


@njit
def tag_of(b, place):
    """The tag of the phrase at a place, by which it is known again; 0 for none."""
    return np.uint32(b.blocks.reshape(-1)[place] >> _S_TAG) if place >= 0 else np.uint32(0)


@njit
def is_settled(b, known):
    """Whether enough is known for alarms: tokens learned, and who can be trusted."""
    return known >= SETTLED_TOKENS and b.trusted[0] >= TRUSTED_SHARE


@njit
def still_alarming(b, place, tag):
    """Whether the phrase that was found at a place is a burst by now."""
    return place >= 0 and tag_of(b, place) == tag and _alarming(b.blocks.reshape(-1)[place])
