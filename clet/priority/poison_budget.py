"""The poison budget: between two model gates nobody passes more than a few documents that nothing vouches for.

About 250 poisoned documents put a backdoor into a model of any size (Souly et al. 2025, 2510.07192), and no filter
finds them all. So the number that one writer can place before somebody looks at the model (a *gate*: an evaluated
release) is bounded, whatever the documents look like:

    origin       `documents` and `tokens`, for an origin of proven standing (clet.priority.credibility);
                 `newcomer_documents`, and `tokens` in proportion, for one not established; in between in between
    probation    `probation_documents` of one origin altogether, over all gates, until its standing is proven: what it
                 publishes meanwhile is evidence about it, whether it passes or not
    newcomers    all origins that are not proven together: at most the share `newcomers` of the documents that passed,
                 or of NEWCOMERS_FROM, so that a hundred invented names gain nothing
    cluster      `cluster_documents` of one near-duplicate cluster (`dedup.cluster`)
    look-alikes  `lookalike_documents` made from one template (clet.priority.lookalike); `documents` where the origin
                 is proven

A document is counted when it leaves for the shards, and refused before it would pass a limit: the counts are those of
what passed, exactly, and survive restarts with the state. Counts of clusters are kept in count-min tables (Cormode and
Muthukrishnan 2005): a collision counts too much, never too little, so a limit may come early and is never passed.

A limit of 0 is none. Memory: 16 bytes an origin, 3 MB of counts. Time: a dozen lookups a document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.credibility import ESTABLISHED, PROVEN, Reputation, standing
from clet.priority.lookalike import KEYS, SHARED

NEWCOMERS_FROM = 200  # documents that passed since the gate: below, a share says nothing
BITS = 17

_U = np.uint64
_SHIFT = _U(64 - BITS)
_SALTS = (_U(0x9E3779B97F4A7C15), _U(0xD6E8FEB86659FD93))

PASSES, ORIGIN, PROBATION, NEWCOMERS, CLUSTER, LOOKALIKE = 0, 1, 2, 3, 4, 5
REASONS = ("", "origin-budget", "probation", "newcomer-budget", "cluster-budget", "lookalike-budget")


class Limits(NamedTuple):
    """Limits between two gates; 0 is none."""

    documents: int = 0
    tokens: int = 0
    newcomer_documents: int = 0
    probation_documents: int = 0
    newcomers: float = 0.0
    cluster_documents: int = 0
    lookalike_documents: int = 0


class Ledger(NamedTuple):
    """What passed since the last gate."""

    docs: np.ndarray  # [origins] int64
    tokens: np.ndarray  # [origins] int64
    clusters: np.ndarray  # [2, 2^17] int32
    lookalikes: np.ndarray  # [KEYS, 2^17] int32
    total: np.ndarray  # [2] int64: all documents, and those of origins that were not proven
    ever: np.ndarray  # [origins] int64: documents over all gates


def new_ledger(origins: int) -> Ledger:
    """Nothing passed yet."""
    return Ledger(
        np.zeros(origins, np.int64),
        np.zeros(origins, np.int64),
        np.zeros((2, 1 << BITS), np.int32),
        np.zeros((KEYS, 1 << BITS), np.int32),
        np.zeros(2, np.int64),
        np.zeros(origins, np.int64),
    )


def open_gate(ledger: Ledger) -> None:
    """A gate was passed: all counts but those over all gates begin again."""
    for counts in ledger[:-1]:
        counts[:] = 0


@njit
def _earned(limit, least, stand):
    """A limit between `least`, for an origin that is not established, and all of it for a proven one."""
    share = min(1.0, max(0.0, (stand - ESTABLISHED) / (PROVEN - ESTABLISHED)))
    return least + (limit - least) * share


@njit
def refusal(ledger, limits, r, origin, family, keys, tokens):
    """Why a document of `tokens` may not pass now, or PASSES."""
    stand = standing(r, origin)
    if limits.documents:
        least = min(limits.documents, limits.newcomer_documents or limits.documents)
        allowed = _earned(limits.documents, least, stand)
        if ledger.docs[origin] + 1 > allowed:
            return ORIGIN
        if limits.tokens and ledger.tokens[origin] + tokens > limits.tokens * allowed / limits.documents:
            return ORIGIN
    if limits.probation_documents and stand < PROVEN and ledger.ever[origin] >= limits.probation_documents:
        return PROBATION
    if limits.newcomers and stand < PROVEN:
        room = limits.newcomers * max(ledger.total[0] + 1, NEWCOMERS_FROM)
        if ledger.total[1] + 1 > room:
            return NEWCOMERS
    if limits.cluster_documents:
        least_count = min(
            ledger.clusters[0, (family * _SALTS[0]) >> _SHIFT], ledger.clusters[1, (family * _SALTS[1]) >> _SHIFT]
        )
        if least_count >= limits.cluster_documents:
            return CLUSTER
    if limits.lookalike_documents:
        most = limits.lookalike_documents
        if stand >= PROVEN:
            most = max(most, limits.documents)
        full = 0
        for k in range(KEYS):
            if keys[k]:
                full += ledger.lookalikes[k, (keys[k] * _SALTS[0]) >> _SHIFT] >= most
        if full >= SHARED:
            return LOOKALIKE
    return PASSES


@njit
def book(ledger, r, origin, family, keys, tokens):
    """Count a document that passes."""
    ledger.docs[origin] += 1
    ledger.tokens[origin] += tokens
    ledger.total[0] += 1
    ledger.total[1] += standing(r, origin) < PROVEN
    ledger.ever[origin] += 1
    ledger.clusters[0, (family * _SALTS[0]) >> _SHIFT] += 1
    ledger.clusters[1, (family * _SALTS[1]) >> _SHIFT] += 1
    for k in range(KEYS):
        if keys[k]:
            ledger.lookalikes[k, (keys[k] * _SALTS[0]) >> _SHIFT] += 1


def limit_of(limits: Limits, r: Reputation, origin: int) -> int:
    """How many documents an origin may pass between two gates as it stands now; 0 for no limit."""
    least = min(limits.documents, limits.newcomer_documents or limits.documents)
    return int(_earned(limits.documents, least, standing(r, origin))) if limits.documents else 0
