"""The priority window: order, bounds, budget, shares, and that nobody starves."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.batch import Batch
from clet.priority.assess import new_memory
from clet.priority.choice import Rules
from clet.priority.correction import Corrections
from clet.priority.flood import new_flow
from clet.priority.origins import CAPACITY
from clet.priority.poison_budget import Limits, new_ledger
from clet.priority.share import Account
from clet.priority.window import AGING, HELD, Window, sizes_of
from clet.record import make_record

MEMORY, LEDGER = new_memory(CAPACITY), new_ledger(CAPACITY)


class Item(NamedTuple):
    number: int
    score: float
    tokens: int = 10
    origin: str = "o"


def run(items: list[Item], account: Account | None = None, piece: int = 1, settle: tuple[int, ...] = (), **bounds: int):
    """(left in that order, (dropped, reason)); `piece` records are pushed together where there is room;
    after `settle` records a day ends."""
    account = account or Account()
    origins = account.origins
    account.turn("day 0" if settle else None)
    out: list[Item] = []
    dropped: list[tuple[Item, str]] = []

    def named(batch, held):
        return [items[int(batch.fields(row)["title"])] for row in range(len(held))]

    window = Window(
        account,
        lambda batch, held, why: dropped.extend((item, why) for item in named(batch, held)),
        lambda *_: False,
        MEMORY,
        LEDGER,
        Rules(Limits()),
        new_flow(),
        Corrections(MEMORY),
        **bounds,
    )
    records = [
        make_record(source="t", origin=i.origin, title=str(at), text=f"Text {i.number}.", fetched=None)
        for at, i in enumerate(items)
    ]
    start = 0
    while start < len(items):
        batch = Batch.from_records(records[start : start + piece])
        batch = batch.take(np.arange(min(len(batch), window.room(sizes_of(batch)))))
        held = np.zeros(len(batch), HELD)
        for k, item in enumerate(items[start : start + len(batch)]):
            held[k]["score"], held[k]["tokens"] = item.score, item.tokens
            held[k]["origin"], held[k]["topic"] = origins.number(item.origin), -1
        held["size"] = sizes_of(batch)
        for departure in window.push(batch, held):
            out += named(departure.batch, departure.held)
        assert len(window) <= bounds.get("max_records", len(items))
        start += len(batch)
        if len(window) and start in settle:
            for departure in window.settle():
                out += named(departure.batch, departure.held)
            account.turn(f"day {start}")
    for departure in window.drain():
        out += named(departure.batch, departure.held)
    return out, dropped


items = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 50), st.sampled_from("abcd")), max_size=60
).map(lambda rows: [Item(i, s / 4, n, o) for i, (s, n, o) in enumerate(rows)])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(items=items, size=st.integers(1, 20), share=st.floats(0.1, 1.0))
def test_without_a_budget_order_is_a_permutation(items, size, share):
    out, dropped = run(items, Account(None, share), max_records=size)
    assert not dropped
    assert sorted(item.number for item in out) == [item.number for item in items]


@settings(max_examples=60, deadline=None)
@given(items=items, size=st.integers(1, 20), share=st.floats(0.1, 1.0), budget=st.integers(0, 400))
def test_a_budget_is_never_exceeded_and_nothing_vanishes(items, size, share, budget):
    account = Account(budget, share)
    out, dropped = run(items, account, max_records=size)
    assert sum(item.tokens for item in out) <= budget
    assert account.total == account.taken.sum() == sum(item.tokens for item in out)
    assert Counter([*out, *(item for item, _ in dropped)]) == Counter(items)
    assert {why for _, why in dropped} <= {"budget", "share"}


@settings(max_examples=40, deadline=None)
@given(items=items, size=st.integers(1, 20), budget=st.none() | st.integers(0, 400), piece=st.integers(1, 30))
def test_how_many_are_pushed_together_changes_nothing(items, size, budget, piece):
    assert run(items, Account(budget), max_records=size) == run(items, Account(budget), piece, max_records=size)


def test_best_first_where_all_fit():
    out, _ = run([Item(i, s) for i, s in enumerate([0.1, 0.9, 0.5, 0.9])], Account(None, 1.0))
    assert [item.number for item in out] == [1, 3, 2, 0]  # ties: the earlier one


def test_when_full_the_best_half_leaves():
    scores = [0.1, 0.9, 0.2, 0.8, 0.7]
    out, _ = run([Item(i, s) for i, s in enumerate(scores)], Account(None, 1.0), max_records=4)
    assert [item.number for item in out[:3]] == [1, 3, 4]


@pytest.mark.parametrize("size", [10, 21, 50])
def test_a_record_waits_at_most_a_few_windowfuls(size):
    items = [Item(0, 0.0), *(Item(i, 1.0) for i in range(1, 40 * size))]
    out, _ = run(items, Account(None, 1.0), max_records=size)
    assert out.index(items[0]) <= size / AGING + 2 * size


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=100, max_size=200))
def test_nobody_starves_behind_any_scores(scores):
    size = 10
    items = [Item(i, s) for i, s in enumerate(scores)]
    out, _ = run(items, Account(None, 1.0), max_records=size)
    # Once a windowful per 1 / AGING has passed, everybody older is ahead, and half of the window goes each time.
    assert all(at - item.number <= size / AGING + 2 * size for at, item in enumerate(out))


def test_bytes_bound_the_window_too():
    origins_seen = []
    window = Window(
        Account(None, 1.0),
        lambda *_: None,
        lambda *_: False,
        MEMORY,
        LEDGER,
        Rules(Limits()),
        new_flow(),
        Corrections(MEMORY),
        1 << 30,
        max_bytes=20_000,
    )
    for i in range(100):
        batch = Batch.from_records([make_record(source="t", origin="o", text=f"Text {i}.", fetched=None)])
        held = np.zeros(1, HELD)
        held["size"], held["topic"] = sizes_of(batch), -1
        list(window.push(batch, held))
        origins_seen.append(len(window))
    assert 20 < max(origins_seen) < 50


def test_share_holds_while_others_have_something_to_offer():
    loud = [Item(i, 1.0, 10, "loud") for i in range(100)]
    quiet = [Item(1000 + i, 0.2, 10, "quiet") for i in range(100)]
    out, dropped = run([*loud, *quiet], Account(1000, 0.3))
    assert sum(item.tokens for item in out) == 1000
    assert Counter(item.origin for item in out[:60]) == {"loud": 30, "quiet": 30}  # both shares first, then the rest
    assert Counter((item.origin, why) for item, why in dropped) == {("loud", "share"): 30, ("quiet", "budget"): 70}


def test_a_flood_does_not_push_others_out_of_a_small_window():
    flood = [Item(i, 1.0, 10, "flood") for i in range(500)]
    others = [Item(1000 + i, 0.1, 10, f"small {i}") for i in range(40)]
    mixed = [item for i in range(40) for item in (*flood[i * 12 : i * 12 + 12], others[i])]
    out, _ = run(mixed, Account(1000, 0.5), max_records=120)
    counts = Counter(item.origin for item in out)
    assert sum(n for origin, n in counts.items() if origin != "flood") == 40
    assert counts["flood"] in range(50, 61)


def test_one_origin_alone_loses_nothing_to_its_share():
    out, _ = run([Item(i, i / 50) for i in range(50)], Account(None, 0.5), max_records=5)
    assert len(out) == 50
    out, dropped = run([Item(i, i / 50) for i in range(50)], Account(500, 0.1))
    assert (len(out), dropped) == (50, [])


@pytest.mark.parametrize("size", [60, 1000])
def test_a_budget_takes_the_best_of_the_whole_stream(size):
    items = [Item(i, (i * 37 % 500) / 500, 10, f"o{i % 7}") for i in range(500)]
    best = sorted(items, key=lambda item: -item.score)[:40]
    out, dropped = run(items, Account(400, 1.0), max_records=size)
    # Aging lifts the early ones by at most AGING a windowful; with one windowful the order is by score alone.
    assert len(out) == 40
    assert {why for _, why in dropped} == {"budget"}
    if size == 1000:
        assert all(item.score >= min(b.score for b in best) - AGING for item in out)


def test_what_is_too_large_for_the_budget_is_dropped_and_the_next_one_taken():
    out, dropped = run([Item(0, 1.0, 90), Item(1, 0.5, 20), Item(2, 0.4, 10)], Account(100, 1.0))
    assert [item.tokens for item in out] == [90, 10]
    assert [(item.tokens, why) for item, why in dropped] == [(20, "budget")]


@pytest.mark.parametrize("size", [3, 100])
def test_a_budget_smaller_than_every_record_is_why_all_are_dropped(size):
    out, dropped = run([Item(i, i / 10, 10, "ab"[i % 2]) for i in range(10)], Account(8, 0.5), max_records=size)
    assert out == []
    assert {why for _, why in dropped} == {"budget"}


def test_a_single_origin_passes_best_first_and_what_is_dropped_had_no_room():
    items = [Item(0, 0.9, 30), Item(1, 0.8, 60), Item(2, 0.7, 20), Item(3, 0.6, 10), Item(4, 0.5, 10)]
    out, dropped = run(items, Account(100, 0.5))
    assert [item.number for item in out] == [0, 1, 3]
    assert {why for _, why in dropped} == {"budget"}


@settings(max_examples=60, deadline=None)
@given(items=items, share=st.floats(0.1, 1.0), budget=st.none() | st.integers(0, 400))
def test_a_share_of_one_origin_alone_changes_nothing(items, share, budget):
    items = [item._replace(origin="o") for item in items]
    assert run(items, Account(budget, share)) == run(items, Account(budget, 1.0))


def test_share_is_why_only_where_others_took_the_room():
    best = [Item(i, 0.9, 40, "a") for i in range(3)]
    out, dropped = run([*best, Item(3, 0.5, 50, "b")], Account(100, 0.5))
    # The others can use 50 of 100: one of a; then b; of the rest neither would have had room without b and its like.
    assert [item.number for item in out] == [0, 3]
    assert [(item.number, why) for item, why in dropped] == [(1, "share"), (2, "budget")]


def test_what_others_cannot_use_of_a_budget_is_no_reason_to_step_aside():
    many = [Item(i, 0.9 - i / 100, 10, "a") for i in range(20)]
    out, _ = run([*many, Item(20, 0.1, 10, "b")], Account(100, 0.5))
    assert [item.number for item in out] == [*range(9), 20]


@pytest.mark.parametrize("origins", ["a", "abc"])
def test_three_days_in_one_run_spend_what_three_runs_spend(origins):
    days = [[Item(100 * d + i, (i * 7 % 40) / 40, 9, origins[i % len(origins)]) for i in range(40)] for d in range(3)]
    alone = [run(day, Account(180, 0.5))[0] for day in days]
    together, _ = run([*chain(*days)], Account(180, 0.5), settle=(40, 80))
    assert [len(day) for day in alone] == [20] * 3
    assert len(together) == 60
    assert together[:20] == alone[0]
