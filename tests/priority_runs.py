"""What the tests of prioritisation share: small records with tokens, and a run that says what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from clet import seeds
from clet.batch import Batch
from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
from clet.priority.policy import Policy
from clet.priority.recency import Clock
from clet.priority.share import Account
from clet.record import Record, encode_tok, make_record

START = datetime(2026, 3, 1, tzinfo=UTC)
TEXT = (
    "the council of that town met on monday to decide about a bridge which had been closed since its flood and "
    "members were told repairs would take until autumn several people who live near river asked for ferry"
)
WORDS = TEXT.split()


def story(number: int, words: int = 60, **fields: Any) -> Record:
    """A record of `words` words that passes the rules of quality from 20 on; its tokens are its words."""
    rng = seeds.python_random(1, f"story/{number}")
    chosen = ["The", "news", "of", *rng.choices(WORDS, k=words - 3)]
    made = make_record(**{"source": "feed", "origin": "o", "fetched": START, "text": " ".join(chosen) + "."} | fields)
    made["tok"] = encode_tok(np.array([WORDS.index(w) if w in WORDS else 90 for w in chosen], np.uint16), "fp")
    return made


def run(
    batches: Iterable[Batch] | Sequence[Record],
    *,
    account: Account | None = None,
    clock: Clock | None = None,
    policy: Policy | None = None,
    knowledge: Knowledge | None = None,
    approved: Iterable[str] = (),
    quarantine: bool = True,
    explain: Any = None,
    router: Any = None,
    masker: Any = None,
    quality: Any = None,
    **settings: Any,
) -> tuple[list[Record], list[tuple[Record, str]], list[tuple[Record, str]]]:
    """(records out, (record, reason) rejected, (record, reason) held in quarantine)."""
    rejected: list[tuple[Record, str]] = []
    held: list[tuple[Record, str]] = []

    def into(target: list[tuple[Record, str]]) -> Callable[[Batch, list[str]], list[str]]:
        def keep(batch: Batch, reasons: list[str]) -> list[str]:
            target.extend((batch.record(i), why) for i, why in enumerate(reasons))
            return reasons

        return keep

    inputs = list(batches)
    if inputs and isinstance(inputs[0], dict):
        inputs = [Batch.from_records(inputs)]
    prioritizer = Prioritizer(
        account or Account(None, 1.0),
        clock or Clock(),
        Ways(into(rejected), into(held) if quarantine else None, explain),
        policy=policy,
        knowledge=knowledge,
        settings=Settings(**settings),
        approved=frozenset(approved),
        router=router,
        masker=masker,
        quality=quality,
    )
    out = [batch.record(i) for batch in prioritizer.run(inputs) for i in range(len(batch))]
    return out, rejected, held
