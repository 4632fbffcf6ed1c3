"""Credibility: how far each origin is to be believed, learned from what becomes of what it says.

The reputation of an origin is a Beta distribution over the probability that a document of it deserves trust (the beta
reputation system of Josang and Ismail, 2002): it begins at the prior (PRIOR, PRIOR), evidence adds to one side or the
other, and all evidence decays by half in HALF_LIFE_DAYS, so that nobody lives on old fame and nobody is damned for
ever. Two figures are read from it: the *mean*, which the value of a document is multiplied with, and *standing*, the
mean less one standard deviation, which nobody can have without evidence. An origin with a standing of ESTABLISHED
is believed to corroborate others; one with PROVEN has the full poison budget (`clet.priority.poison_budget`).

Evidence is counted in *periods*, from one model gate to the next, and a period is worth one trial, whether it brought
three documents or three thousand: otherwise whoever writes most would be believed most.

    for      1 - f, where f is the share of its documents that something is wrong with, once it had MIN_DOCUMENTS;
             and up to 1 for topics that an established origin reports too, in other words
    against  AGAINST * f: spam rules, injection patterns, bursts, stories that were corrected, corrections of its own
             (a quarter each: who corrects is better than who does not)
    verdicts of a person: VERDICT at once, either way (`clet judge verdict`); VOUCHED once where the policy vouches

One near-duplicate cluster is one voice: copies of a wire corroborate nothing, however many origins carry them.
What is against an origin in the present period counts already; what is for it has to pass the gate first.

Memory: 60 bytes and a name an origin, MAX_ORIGINS of them; further ones share one entry, so that a flood of invented
names cannot push out what is known.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from clet.kernels import njit

PRIOR = 1.0  # of either side: the uniform distribution
HALF_LIFE_DAYS = 90.0
ESTABLISHED = 0.6  # of standing: reached after 3 good periods from the prior
PROVEN = 0.8  # of standing, from which an origin's use of a phrase shows that it is news: after 8 good periods
MIN_DOCUMENTS = 3  # of a period, before it counts for an origin in full
AGAINST = 3.0  # trust is lost faster than it is won
CORRECTION = 0.25
VERDICT = 5.0
VOUCHED = 20.0  # for an origin that the operator answers for: established from the start, and to be lost all the same
MAX_ORIGINS = 100_000

FLOOR = 0.2  # of the factor
LIFT = 0.5  # of what lacks to 1 that a report gains when an established origin reports the same

GOOD, BAD = 0, 1
DOCS, WRONG, ECHOED = 0, 1, 2


class Reputation(NamedTuple):
    """Evidence by origin, whose number is its place."""

    evidence: np.ndarray  # [n, 2] float64: for and against, beyond the prior, as of `day`
    day: np.ndarray  # [n] int32: when it was last decayed
    vouched: np.ndarray  # [n] uint8: 1 where the operator answers for the origin
    period: np.ndarray  # [n, 3] float64: documents, wrong ones, corroborated ones of the present period


def new_reputation(size: int) -> Reputation:
    """Room for `size` origins at the prior."""
    return Reputation(
        np.zeros((size, 2)), np.zeros(size, np.int32), np.zeros(size, np.uint8), np.zeros((size, 3), np.float64)
    )


@njit
def decay(r, origin, day):
    """Let an origin's evidence age to a day."""
    if day > r.day[origin]:
        left = 2.0 ** (-(day - r.day[origin]) / HALF_LIFE_DAYS)
        r.evidence[origin, GOOD] *= left
        r.evidence[origin, BAD] *= left
        r.day[origin] = day


@njit
def _share_wrong(r, origin):
    return min(1.0, r.period[origin, WRONG] / max(r.period[origin, DOCS], MIN_DOCUMENTS))


@njit
def beta_of(r, origin):
    """The two parameters of an origin's Beta distribution, what is wrong in this period included."""
    a = PRIOR + r.evidence[origin, GOOD] + (VOUCHED if r.vouched[origin] else 0.0)
    b = PRIOR + r.evidence[origin, BAD] + AGAINST * _share_wrong(r, origin)
    return a, b


@njit
def mean(r, origin):
    """The expected share of an origin's documents that deserve trust."""
    a, b = beta_of(r, origin)
    return a / (a + b)


@njit
def standing(r, origin):
    """The mean less one standard deviation."""
    a, b = beta_of(r, origin)
    return a / (a + b) - math.sqrt(a * b / (a + b + 1.0)) / (a + b)


@njit
def is_established(r, origin):
    """Whether an origin's word counts for others."""
    return standing(r, origin) >= ESTABLISHED


@njit
def credibility(r, origin, echo):
    """The factor in [FLOOR, 1] of a document; `echo` is the standing of who reports the same in other words, or 0."""
    believed = mean(r, origin)
    believed += (1.0 - believed) * LIFT * max(0.0, echo)
    return FLOOR + (1.0 - FLOOR) * believed


@njit
def close_period(r, size, day):
    """Turn what a period brought into evidence, and begin the next one."""
    for origin in range(size):
        docs = r.period[origin, DOCS]
        if docs <= 0.0:
            continue
        decay(r, origin, day)
        wrong = _share_wrong(r, origin)
        full = min(1.0, docs / MIN_DOCUMENTS)
        r.evidence[origin, GOOD] += full * (1.0 - wrong) + min(1.0, r.period[origin, ECHOED] / MIN_DOCUMENTS)
        r.evidence[origin, BAD] += AGAINST * wrong
        r.period[origin, :] = 0.0


def judge_origin(r: Reputation, origin: int, day: int, good: bool) -> None:
    """A person's verdict on a document of an origin."""
    decay(r, origin, day)
    r.evidence[origin, GOOD if good else BAD] += VERDICT
