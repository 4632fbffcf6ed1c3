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

The table has 2^20 places of 16 bytes without chains, in the blocks of `clet.priority.triples`: a phrase met in several
documents keeps its place for the window, one met in a single document gives way to a newer one. Cost: 16 MB, and a few
ns for each rare token triple, whose block is in the cache since it was counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.triples import BLOCK_SHIFT, HEAD, WORD, new_blocks
from clet.priority.vectors import ask_for

DOCUMENTS = 6  # a pilot flagged the trigger after 6 of 250 documents, with 21 to 50 false alarms in 149 weeks
ORIGINS = 3  # fewer are held by the budget of each origin
WINDOW_DAYS = 14
RARE = 16.0  # times a triple was met, above which it is no longer looked up
UNSEEN = 0.5
SETTLED_TOKENS = 200_000.0  # learned
TRUSTED_SHARE = 0.5
MEMORY_DOCUMENTS = 1000.0  # over which that share is taken

_U, _U32 = np.uint64, np.uint32
_ONE, _S32, _LOW = _U(1), _U(32), _U(0xFFFFFFFF)

# The second word of a place, from its low end: day of the first document 16, documents 8, proven 1, cluster of the
# last document 15, a bit an origin (by hash) 24.
_DAY, _DOCS, _TRUSTED, _FAMILY = _U(0xFFFF), _U(0xFF << 16), _U(1 << 24), _U(0x7FFF << 25)
_S_DOCS, _S_FAMILY, _S_ORIGIN = _U(16), _U(25), _U(40)


class Bursts(NamedTuple):
    """The phrases being watched."""

    blocks: np.ndarray  # [2^20, 4] uint64; HEAD: tag | number of the last document << 32, WORD: the word above
    trusted: np.ndarray  # [1] float64: share of recent documents from proven origins


def new_bursts(blocks: np.ndarray | None = None) -> Bursts:
    """Nothing watched; the places are those of `blocks`, if they are given."""
    return Bursts(new_blocks() if blocks is None else blocks, np.zeros(1))


@njit
def _bits(x):
    count = 0
    while x:
        x &= x - _ONE
        count += 1
    return count


@njit
def _docs(word):
    return np.int64((word & _DOCS) >> _S_DOCS)


@njit
def _alarming(word):
    return _docs(word) >= DOCUMENTS and not word & _TRUSTED and _bits(word >> _S_ORIGIN) >= ORIGINS


@njit
def note_trust(b, trusted):
    """Let a document count for how many of the recent ones are from proven origins."""
    b.trusted[0] += (np.float64(trusted) - b.trusted[0]) / MEMORY_DOCUMENTS


@njit
def watch(b, triples, three, begin, end, size, weight, number, day, origin, family, trusted, best):
    """Count the rare phrases of a document that end at its tokens `begin` to `end`; (alarm, the most shared phrase).

    Meanwhile the blocks of the tokens behind `end` are asked for, as many as have been watched, up to `size`.

    The latter is its place, `best` being that among the tokens before, or -1. `three` says how often each triple was
    met, times `weight`; `number` is the document's, `day` counts from anywhere, `family` is a hash of its
    near-duplicate cluster.
    """
    mark = _ONE << (_S_ORIGIN + (_U(origin) * _U(0x9E3779B97F4A7C15) >> _U(32)) % _U(24))
    today, kin = _U(day) & _DAY, (_U(family) * _U(0xD6E8FEB86659FD93) >> _U(49)) << _S_FAMILY
    stamp = _U(_U32(number)) << _S32
    new = today | _U(1 << 16) | (_TRUSTED if trusted else _U(0)) | kin | mark
    rare, unseen = np.float32(RARE * weight), np.float32(UNSEEN * weight)
    most = _docs(b.blocks[best, WORD]) if best >= 0 else 1
    alarm = False
    for i in range(max(begin, 2), end):
        ask_for(b.blocks, triples[min(i + end - begin, size - 1)] >> BLOCK_SHIFT)
        at = triples[i] >> BLOCK_SHIFT
        tag = (triples[i] & _LOW) | _ONE
        head, word = b.blocks[at, HEAD], b.blocks[at, WORD]
        fresh = ((today - word) & _DAY) <= _U(WINDOW_DAYS)
        known = (head & _LOW == tag) & fresh
        # Taking a place is common and hard to foresee: it is written without a branch.
        taken = (three[i] < unseen) & (not known) & ((not fresh) | (_docs(word) <= 1))
        b.blocks[at, HEAD] = tag | stamp if taken else head
        b.blocks[at, WORD] = new if taken else word
        if known & (three[i] < rare) & ((head & ~_LOW != stamp) | (_docs(word) > most)):
            if head & ~_LOW != stamp:
                b.blocks[at, HEAD] = tag | stamp
                if trusted:
                    word |= _TRUSTED
                if word & _FAMILY != kin:
                    word = (word & ~_FAMILY) | kin | mark
                    if word & _DOCS != _DOCS:
                        word += _U(1 << 16)
                if _alarming(word):
                    word = (word & ~_DAY) | today  # as long as it is used, a burst is not forgotten
                b.blocks[at, WORD] = word
            if not word & _TRUSTED and _docs(word) > most:
                best, most = np.int64(at), _docs(word)
                alarm |= _alarming(word)
    return alarm, best


@njit
def tag_of(b, place):
    """The tag of the phrase at a place, by which it is known again; 0 for none."""
    return _U32(b.blocks[place, HEAD]) if place >= 0 else _U32(0)


@njit
def is_settled(b, known):
    """Whether enough is known for alarms: tokens learned, and who can be trusted."""
    return known >= SETTLED_TOKENS and b.trusted[0] >= TRUSTED_SHARE


@njit
def still_alarming(b, place, tag):
    """Whether the phrase that was found at a place is a burst by now."""
    return place >= 0 and _U32(b.blocks[place, HEAD]) == tag and _alarming(b.blocks[place, WORD])
