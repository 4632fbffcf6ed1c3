"""What the defences of prioritisation let through, on streams whose every document is known for what it is.

Each day is one run with the example policy's limits, each night a model gate, as a nightly loop has them. Counted is
what leaves for the shards. An honest document is *lost* if it neither leaves nor repeats a cluster that did; losses to
the rules of quality are counted apart from those to the defences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clet.batch import Batch
from clet.bench.attacks import HONEST, Backdoor, Flood, Rumour, Stream, kind_of, trusted_origins
from clet.priority import remember
from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
from clet.priority.policy import Policy, load_policy
from clet.priority.recency import Clock
from clet.priority.rules import REASONS as RULES_OF_QUALITY
from clet.priority.share import Account
from clet.tokens import Tokenizer

BATCH = 1024


@dataclass
class Outcome:
    """What became of a stream."""

    seen: Counter[str] = field(default_factory=Counter)  # documents by kind
    passed: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, Counter[str]] = field(default_factory=dict)  # kind: by reason
    lost: Counter[str] = field(default_factory=Counter)  # honest documents by reason
    scores: dict[str, list[float]] = field(default_factory=dict)
    ranks: dict[str, list[int]] = field(default_factory=dict)
    flood_share: list[tuple[float, float]] = field(default_factory=list)  # of tokens, in and out, by flooded day
    tokens: int = 0


def run(stream: Stream, policy: Policy, tokenizer: Tokenizer | None, window: int = 2000) -> Outcome:
    """Pass a stream through prioritisation, a run and a gate a day."""
    known, clock, out = Knowledge(), Clock(), Outcome()
    for day, records in enumerate(stream):
        batches = batches_of(records, tokenizer)
        stopped: list[tuple[str, str, str]] = []
        passed: set[str] = set()

        def drop(batch: Batch, reasons: list[str], stopped: list[tuple[str, str, str]] = stopped) -> None:
            for row, reason in enumerate(reasons):
                fields = batch.fields(row)
                stopped.append((kind_of(fields), reason, fields["dedup"]["cluster"]))

        prioritizer = Prioritizer(
            Account(None, 1.0),
            clock,
            Ways(drop),
            policy=policy,
            knowledge=known,
            settings=Settings(daily=False, max_records=window),
        )
        tokens_in, tokens_out = Counter(), Counter()
        for batch in batches:
            for row in range(len(batch)):
                tokens_in[kind_of(batch.fields(row))] += int(_lengths(batch)[row])
        for batch in prioritizer.run(batches):
            lengths = _lengths(batch)
            for row in range(len(batch)):
                fields = batch.fields(row)
                kind = kind_of(fields)
                out.passed[kind] += 1
                passed.add(fields["dedup"]["cluster"])
                tokens_out[kind] += int(lengths[row])
                if kind in ("rumour", "rumour-correction"):
                    out.scores.setdefault(kind, []).append(fields["priority"]["score"])
                    out.ranks.setdefault(kind, []).append(fields["priority"]["rank"])
        for kind, reason, cluster in stopped:
            out.stopped.setdefault(kind, Counter())[reason] += 1
            if kind == HONEST and cluster not in passed:
                out.lost["quality" if reason in RULES_OF_QUALITY else reason] += 1
        out.seen.update(kind_of(record) for record in records)
        out.tokens += sum(tokens_in.values())
        if tokens_in["flood"]:
            out.flood_share.append(tuple(c["flood"] / max(1, sum(c.values())) for c in (tokens_in, tokens_out)))
        remember.turn(known, int(np.datetime64(stream.start).astype(int)) + day)
    return out


def _lengths(batch: Batch) -> np.ndarray:
    return batch.text.lengths if batch.tok is None else batch.tok.lengths


def batches_of(records: list[dict[str, Any]], tokenizer: Tokenizer | None) -> list[Batch]:
    """Records as batches, with tokens where there is a tokenizer."""
    out = []
    for start in range(0, len(records), BATCH):
        batch = Batch.from_records(records[start : start + BATCH])
        if tokenizer is not None:
            texts = [batch.text_at(row) for row in range(len(batch))]
            batch = batch.with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)
        out.append(batch)
    return out


def defended(path: str) -> Policy:
    """The policy in a file, vouching for the newsroom's publishers."""
    policy = load_policy(path)
    policy.vouched = trusted_origins()
    policy.rules = ()
    return policy


MAIN = (
    Backdoor(documents=250, sources=1, first=60, days=5),
    Backdoor(documents=250, sources=25, first=90, days=5),
    Rumour(copies=200, sources=40, day=120),
    Flood(share=0.6, first=140),
)
MAIN_DAYS = 147  # until the last of them is over


def measure_stream(policy: Policy, tokenizer: Tokenizer | None, *, seed: int, days: int) -> dict[str, Any]:
    """All four attacks in one stream."""
    outcome = run(Stream(seed, days, MAIN), policy, tokenizer)
    honest = outcome.seen[HONEST]
    return {
        "documents": sum(outcome.seen.values()),
        "tokens": outcome.tokens,
        "seen": dict(outcome.seen),
        "passed": dict(outcome.passed),
        "stopped": {kind: dict(reasons) for kind, reasons in outcome.stopped.items()},
        "honest_lost": {reason: count / honest for reason, count in outcome.lost.items()},
        "rumour_scores": outcome.scores,
        "rumour_ranks": outcome.ranks,
        "flood_share": outcome.flood_share,
    }


def measure_curve(
    policy: Policy, tokenizer: Tokenizer | None, *, seed: int, grid: Iterable[tuple[int, int, int, int]], warm: int = 20
) -> list[dict[str, Any]]:
    """Backdoor documents that pass, by the attacker's budget: (documents, sources, days, days of patience)."""
    rows = []
    for documents, sources, days, patience in grid:
        attack = Backdoor(documents, sources, warm + patience, days, patience)
        outcome = run(Stream(seed, warm + patience + days, (attack,)), policy, tokenizer)
        rows.append(
            {
                "documents": documents,
                "sources": sources,
                "days": days,
                "patience": patience,
                "passed": outcome.passed["backdoor"],
                "stopped": dict(outcome.stopped.get("backdoor", {})),
                "honest_lost": sum(outcome.lost.values()) / outcome.seen[HONEST],
            }
        )
    return rows
