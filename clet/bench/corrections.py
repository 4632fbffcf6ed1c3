"""How corrections are found: rumours corrected in each way that there is, and what is marked that should not be.

A stream of the newsroom in which a rumour runs every other day, its copies in one cluster or each in a cluster of its
own, corrected in the ways of `clet.bench.attacks.WAYS` in turn. Nothing is held back, so that every copy has a rank.
Counted are the copies that lost their worth to the correction, rumours of which each copy ranks below it, first
versions of stories that their publisher corrected, and, of all other honest documents, those that were marked.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from clet.bench.attacks import HONEST, WAYS, Rumour, Stream, kind_of, trusted_origins
from clet.bench.defence import batches_of
from clet.priority import remember
from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
from clet.priority.policy import Policy
from clet.priority.recency import Clock
from clet.priority.share import Account
from clet.tokens import Tokenizer

COPIES, SOURCES = 60, 20
FIRST, EVERY = 4, 2
KINDS = tuple((way, clusters) for clusters in (1, COPIES) for way in WAYS if clusters == 1 or way != "cluster")


def measure_corrections(tokenizer: Tokenizer | None, *, seed: int, rounds: int) -> dict[str, Any]:
    """By way and number of clusters, over so many `rounds` of all of them."""
    plan = [KINDS[k % len(KINDS)] for k in range(rounds * len(KINDS))]
    attacks = tuple(Rumour(COPIES, SOURCES, FIRST + EVERY * k, way, clusters) for k, (way, clusters) in enumerate(plan))
    stream = Stream(seed, FIRST + EVERY * len(plan), attacks)
    known, clock = Knowledge(), Clock()
    rows = {kind: Counter[str]() for kind in KINDS}
    honest: Counter[str] = Counter()
    for day, records in enumerate(stream):
        prioritizer = Prioritizer(
            Account(None, 1.0),
            clock,
            Ways(lambda *_: None),
            policy=Policy(vouched=trusted_origins()),
            knowledge=known,
            settings=Settings(max_records=len(records)),
        )
        copies, correction = [], 0
        for batch in prioritizer.run(batches_of(records, tokenizer)):
            for row in range(len(batch)):
                fields = batch.fields(row)
                note, marked = fields["priority"], "corrected" in fields["priority"]
                if kind_of(fields) == "rumour":
                    copies.append((note["rank"], marked))
                elif kind_of(fields) == "rumour-correction":
                    correction = note["rank"]
                elif kind_of(fields) == HONEST:
                    side = "wrong" if fields["meta"]["wrong"] else "right"
                    honest[side] += 1
                    honest[f"{side} marked"] += marked
        if copies:
            counts = rows[plan[(day - FIRST) // EVERY]]
            counts["rumours"] += 1
            counts["copies"] += len(copies)
            counts["marked"] += sum(marked for _, marked in copies)
            counts["below"] += 0 < correction < min(rank for rank, _ in copies)
        remember.turn(known, int(np.datetime64(stream.start).astype(int)) + day)
    return {
        "rumours": [{"way": way, "clusters": clusters, **rows[way, clusters]} for way, clusters in KINDS],
        "honest": dict(honest),
    }
