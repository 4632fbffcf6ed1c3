"""The priority window: order, bounds, budget, shares, and that nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.batch import Batch
from clet.priority.share import Account
from clet.priority.window import AGING, Held, Window
from clet.record import make_record


def held(number: int, score: float, tokens: int = 10, origin: str = "o") -> Held:
    batch = Batch.from_records([make_record(source="t", origin=origin, text=f"Text {number}.", fetched=None)])
    return Held(batch, f"{number:032x}", origin, tokens, score, {})


def run(items: list[Held], account: Account | None = None, **bounds: int) -> tuple[list[Held], list[tuple[Held, str]]]:
    """(left in that order, (dropped, reason))."""
    dropped: list[tuple[Held, str]] = []
    window = Window(account or Account(), lambda h, why: dropped.append((h, why)), **bounds)
    out = []
    for item in items:
        out += window.push(item)
        assert len(window) <= bounds.get("max_records", len(items))
    return [*out, *window.drain()], dropped


items = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 50), st.sampled_from("abcd")), max_size=60
).map(lambda rows: [held(i, s / 4, n, o) for i, (s, n, o) in enumerate(rows)])  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(items=items, size=st.integers(1, 20), share=st.floats(0.1, 1.0))
def test_without_a_budget_order_is_a_permutation(items, size, share):
    out, dropped = run(items, Account(None, share), max_records=size)
    assert not dropped
    assert sorted(h.ident for h in out) == [h.ident for h in items]


@settings(max_examples=80, deadline=None)
@given(items=items, size=st.integers(1, 20), share=st.floats(0.1, 1.0), budget=st.integers(0, 400))
def test_a_budget_is_never_exceeded_and_nothing_vanishes(items, size, share, budget):
    account = Account(budget, share)
    out, dropped = run(items, account, max_records=size)
    assert sum(h.tokens for h in out) <= budget
    assert account.total == sum(h.tokens for h in out)
    assert Counter(h.ident for h in [*out, *(h for h, _ in dropped)]) == Counter(h.ident for h in items)
    assert {why for _, why in dropped} <= {"budget", "share"}


@settings(max_examples=80, deadline=None)
@given(items=items, size=st.integers(1, 20), budget=st.none() | st.integers(0, 400))
def test_the_same_sequence_gives_the_same_order(items, size, budget):
    copies = [held(int(h.ident, 16), h.score, h.tokens, h.origin) for h in items]
    first, second = (run(rows, Account(budget), max_records=size) for rows in (items, copies))
    assert [h.ident for h in first[0]] == [h.ident for h in second[0]]
    assert [(h.ident, why) for h, why in first[1]] == [(h.ident, why) for h, why in second[1]]


def test_best_first_where_all_fit():
    out, _ = run([held(i, s) for i, s in enumerate([0.1, 0.9, 0.5, 0.9])], Account(None, 1.0))
    assert [h.score for h in out] == [0.9, 0.9, 0.5, 0.1]
    assert [int(h.ident, 16) for h in out] == [1, 3, 2, 0]  # ties: the earlier one


def test_a_record_waits_at_most_a_few_windowfuls():
    size = 20
    items = [held(0, 0.0), *(held(i, 1.0) for i in range(1, 400))]
    out, _ = run(items, Account(None, 1.0), max_records=size)
    assert [h.ident for h in out].index(items[0].ident) <= size / AGING + size


def test_decreasing_scores_never_starve_anyone():
    items = [held(i, 1 - i / 400) for i in range(400)]
    out, _ = run(items, Account(None, 1.0), max_records=10)
    assert [h.ident for h in out] == [h.ident for h in items]


def test_bytes_bound_the_window_too():
    waiting = []
    window = Window(Account(None, 1.0), lambda *_: None, max_records=1 << 30, max_bytes=20_000)
    for i in range(100):
        list(window.push(held(i, i / 100)))
        waiting.append(len(window))
    assert 10 < max(waiting) < 20


def test_share_holds_while_others_have_something_to_offer():
    loud = [held(i, 1.0, 10, "loud") for i in range(100)]
    quiet = [held(1000 + i, 0.2, 10, "quiet") for i in range(100)]
    out, dropped = run([*loud, *quiet], Account(1000, 0.3))
    taken = Counter()
    for h in out:
        taken[h.origin] += h.tokens
    assert taken == {"loud": 300, "quiet": 300} or taken["loud"] + taken["quiet"] == 1000
    first = out[:60]
    assert Counter(h.origin for h in first) == {"loud": 30, "quiet": 30}  # both shares first, then the rest
    assert {why for _, why in dropped} == {"share"}


def test_a_flood_does_not_push_others_out_of_a_small_window():
    flood = [held(i, 1.0, 10, "flood") for i in range(500)]
    others = [held(1000 + i, 0.1, 10, f"small {i}") for i in range(40)]
    mixed = [h for i in range(40) for h in (*flood[i * 12 : i * 12 + 12], others[i])]
    out, _ = run(mixed, Account(1000, 0.5), max_records=120)
    counts = Counter(h.origin for h in out)
    assert sum(n for origin, n in counts.items() if origin != "flood") == 40
    assert counts["flood"] == 60


def test_one_origin_alone_loses_nothing_to_its_share():
    items = [held(i, i / 50) for i in range(50)]
    out, dropped = run(items, Account(None, 0.5), max_records=5)
    assert len(out) == 50
    out, dropped = run([held(i, i / 50) for i in range(50)], Account(500, 0.1))
    assert (len(out), dropped) == (50, [])


@pytest.mark.parametrize("size", [60, 1000])
def test_a_budget_takes_the_best_of_the_whole_stream(size):
    items = [held(i, (i * 37 % 500) / 500, 10, f"o{i % 7}") for i in range(500)]
    best = sorted(items, key=lambda h: -h.score)[:40]
    out, dropped = run(items, Account(400, 1.0), max_records=size)
    # Aging lifts the early ones by at most AGING a windowful; with one windowful the order is by score alone.
    assert len(out) == 40
    assert {why for _, why in dropped} == {"budget"}
    if size == 1000:
        low = min(h.score for h in best) - AGING
        assert all(h.score >= low for h in out)


def test_what_is_too_large_for_the_budget_is_dropped_and_the_next_one_taken():
    out, dropped = run([held(0, 1.0, 90), held(1, 0.5, 20), held(2, 0.4, 10)], Account(100, 1.0))
    assert [h.tokens for h in out] == [90, 10]
    assert [(h.tokens, why) for h, why in dropped] == [(20, "budget")]
