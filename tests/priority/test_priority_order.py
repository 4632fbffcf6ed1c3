"""The stream of a prioritisation: notes, reasons, and that only the sequence of records matters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.batch import Batch
from clet.priority.order import FLOOR, prioritize
from clet.priority.recency import Clock
from clet.priority.share import Account
from clet.record import Record, make_record

START = datetime(2026, 3, 1, tzinfo=UTC)
PHRASES = (
    "the council of that town met on monday to decide about a bridge which had been closed since its flood and "
    "members were told repairs would take until autumn several people who live near river asked for ferry"
)
WORDS = PHRASES.split()


def story(
    number: int, words: int = 60, *, days_old: float = 0.0, origin: str = "o", fetched: datetime = START
) -> Record:
    rng = seeds.python_random(1, f"story/{number}")
    text = "The news of " + " ".join(rng.choices(WORDS, k=words - 3)) + "."
    published = fetched - timedelta(days=days_old)
    return make_record(source="feed", origin=origin, text=text, fetched=fetched, published=published)


def run(batches: list[Batch], account: Account | None = None, clock: Clock | None = None, **settings):
    """(records out, (record, reason) dropped)."""
    dropped: list[tuple[Record, str]] = []
    out = prioritize(
        batches,
        account=account or Account(None, 1.0),
        clock=clock or Clock(),
        half_life_days=7,
        reject=lambda batch, row, why: dropped.append((batch.record(row), why)),
        **settings,
    )
    return [batch.record(i) for batch in out for i in range(len(batch))], dropped


def stories(size: int = 60) -> list[Record]:
    rng = seeds.python_random(1, "stories")
    return [
        story(
            i,
            rng.randrange(5, 90),
            days_old=rng.randrange(30),
            origin=rng.choice("abc"),
            fetched=START + timedelta(hours=i),
        )
        for i in range(size)
    ]


def test_score_is_quality_times_recency_and_ranks_count():
    out, _ = run([Batch.from_records([story(1, days_old=7), story(2), story(3, days_old=300)])])
    notes = [record["priority"] for record in out]
    assert [note["rank"] for note in notes] == [1, 2, 3]
    assert [note["recency"] for note in notes] == [1.0, 0.5, 0.0]
    for note in notes:
        assert note["score"] == pytest.approx(note["quality"] * (FLOOR + (1 - FLOOR) * note["recency"]), abs=1e-4)


def test_the_other_fields_pass_untouched():
    records = [story(i) | {"extra": [i, {"a": None}]} for i in range(3)]
    out, _ = run([Batch.from_records(records)])
    assert (
        sorted(({k: v for k, v in r.items() if k != "priority"} for r in out), key=lambda r: r["extra"][0]) == records
    )


def test_a_dropped_record_says_which_rule_and_value():
    [], [(record, reason)] = run([Batch.from_records([story(1, 5)])])
    assert reason == "short"
    assert record["priority"] == {"rule": "short", "value": 5.0}


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=8),
    budget=st.none() | st.integers(0, 1500),
    size=st.integers(1, 80),
)
def test_batch_boundaries_change_nothing(cuts, budget, size):
    records = stories()
    bounds = [0, *sorted(cuts), 60]
    batches = [Batch.from_records(records[a:b]) for a, b in pairwise(bounds) if b > a]
    whole = run([Batch.from_records(records)], Account(budget), max_records=size)
    assert run(batches, Account(budget), max_records=size) == whole


def test_output_batches_do_not_depend_on_the_arriving_ones():
    records = [story(i) for i in range(1500)]

    def sizes(step: int) -> list[int]:
        batches = [Batch.from_records(records[i : i + step]) for i in range(0, 1500, step)]
        out = prioritize(batches, account=Account(), clock=Clock(), half_life_days=7, reject=lambda *_: None)
        return [len(batch) for batch in out]

    assert sizes(7) == sizes(1500) == [1024, 476]


def test_records_with_and_without_tokens_pass_through_one_window(record):
    with_tokens = record(story(1)["text"], ids=range(50))
    out, _ = run([Batch.from_records([story(2)]), Batch.from_records([with_tokens]), Batch.from_records([story(3)])])
    assert len(out) == 3
    assert [r["tok"]["n"] for r in out if "tok" in r] == [50]


def test_a_daily_account_starts_anew_with_the_day():
    records = [story(i, fetched=START + timedelta(days=i // 10)) for i in range(30)]
    one, _ = run([Batch.from_records(records)], Account(400, 1.0))
    days, _ = run([Batch.from_records(records)], Account(400, 1.0), daily=True)
    assert len(one) in (4, 5)
    assert [r["fetched"][:10] for r in days] == sorted(r["fetched"][:10] for r in days)
    assert len(days) in (12, 13, 14, 15)


def test_every_record_is_explained_once():
    said = []
    out, dropped = run([Batch.from_records(stories())], Account(500), explain=lambda *args: said.append(args))
    assert len(said) == 60
    assert {ident for ident, reason, _ in said if reason is None} == {r["id"] for r in out}
    assert sorted((ident, reason) for ident, reason, _ in said if reason) == sorted(
        (r["id"], why) for r, why in dropped
    )
