"""The feed as a function: every window once an epoch, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clet.train.feed import Position, Segment, Shard, at_end, draws
from clet.train.replay import count, pick

SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4)


def make_segments(sizes: list[list[int]], epochs: int = 1) -> list[Segment]:
    return [
        Segment(k, tuple(Shard("", "", f"{k}/{i}", "main", size, 0, 0, None) for i, size in enumerate(shards)), epochs)
        for k, shards in enumerate(sizes)
    ]


def every_window(segment: Segment) -> Counter:
    return Counter((s.root, i) for s in segment.shards for i in range(s.windows) for _ in range(segment.epochs))


def plan(segments, start=Position(), *, batch=4, share=0.0, seed=1, skip=frozenset(), gone=frozenset()):  # noqa: B008
    return draws(segments, start, batch=batch, share=share, seed=seed, skip=lambda _segment: skip, gone=gone)


@given(SIZES, st.integers(1, 3), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.lists(st.integers(1, 5)))
def test_each_window_is_handed_out_once_an_epoch_in_any_sequence_of_kills(sizes, epochs, batch, share, kills):
    segments = make_segments(sizes, epochs)
    undisturbed = list(plan(segments, batch=batch, share=share))
    got, at = [], Position()
    for survived in kills:
        part = list(islice(plan(segments, at, batch=batch, share=share), survived))
        got += part
        at = part[-1].after if part else at
    got += plan(segments, at, batch=batch, share=share)
    assert got == undisturbed
    fresh = Counter(window for draw in got for window in draw.fresh)
    assert fresh == sum((every_window(s) for s in segments), Counter())
    assert [draw.after.step for draw in got] == list(range(1, len(got) + 1))
    assert at_end(segments, got[-1].after)


@given(SIZES, st.integers(1, 4))
def test_an_epoch_is_complete_before_the_next_begins(sizes, batch):
    segment = make_segments(sizes[:1], 2)[0]
    order = [window for draw in plan([segment], batch=batch) for window in draw.fresh]
    half = len(order) // 2
    assert set(order[:half]) == set(order[half:])


def test_segments_named_later_leave_earlier_draws_as_they_were():
    segments = make_segments([[8], [8], [5, 3]])
    assert (
        list(plan(segments[:2], share=0.3))
        == list(plan(segments, share=0.3))[: len(list(plan(segments[:2], share=0.3)))]
    )


def test_quarantined_windows_are_stepped_over_and_move_no_other():
    segments = make_segments([[12]])
    full = [window for draw in plan(segments) for window in draw.fresh]
    skip = frozenset({full[0], full[5], full[11]})
    rest = [window for draw in plan(segments, skip=skip) for window in draw.fresh]
    assert rest == [window for window in full if window not in skip]


def test_a_segment_all_in_quarantine_makes_no_step():
    segments = make_segments([[3], [4]])
    skip = frozenset(("0/0", i) for i in range(3))
    steps = list(plan(segments, skip=skip))
    assert [draw.after.segment for draw in steps] == [1]


def test_replay_comes_from_earlier_segments_only_and_meets_its_share():
    segments = make_segments([[40], [30], [400]])
    steps = list(plan(segments, batch=10, share=0.25))
    for draw in steps:
        assert len(draw.fresh) + len(draw.replayed) <= 10
        assert len(set(draw.replayed)) == len(draw.replayed)
        assert all(int(root.split("/")[0]) < draw.after.segment for root, _ in draw.replayed)
    last = [draw for draw in steps if draw.after.segment == 2 and len(draw.fresh) + len(draw.replayed) == 10]
    share = sum(len(draw.replayed) for draw in last) / (10 * len(last))
    assert abs(share - 0.25) < 0.02
    assert not any(draw.replayed for draw in steps if draw.after.segment == 0)


def test_shards_that_are_gone_are_not_replayed():
    segments = make_segments([[20, 20], [60]])
    replayed = {root for draw in plan(segments, share=0.5, gone={"0/1"}) for root, _ in draw.replayed}
    assert replayed == {"0/0"}


@given(st.integers(1, 64), st.floats(0, 0.9))
def test_replay_counts_sum_to_the_share(batch, share):
    total = sum(count(step, batch, share) for step in range(1, 101))
    assert abs(total - 100 * batch * share) <= 1
    assert all(0 <= count(step, batch, share) <= batch for step in range(1, 101))


def test_replay_draws_are_uniform_over_windows():
    hits = Counter(window for step in range(4000) for window in pick([5, 15], 1, 7, f"replay/{step}", lambda *_: 0.4))
    expected = 4000 / 20
    chi_square = sum((hits[shard, i] - expected) ** 2 / expected for shard, n in ((0, 5), (1, 15)) for i in range(n))
    assert chi_square < 43.8  # 99.9% quantile at 19 degrees of freedom


def test_replay_gives_up_where_nothing_is_allowed():
    assert pick([10], 3, 1, "replay/1", lambda *_: 0.0) == []
    assert len(pick([2], 5, 1, "replay/1", lambda *_: 1.0)) == 2


def test_replay_takes_windows_as_often_as_a_weighted_reservoir_of_the_whole_past_would():
    worth = np.array([1.0, 0.5, 0.25, 1 / 16, 0.8, 0.8, 0.1, 0.3])
    sizes, starts, steps = [3, 5], [0, 3], 6000
    ours = Counter(
        starts[shard] + window
        for step in range(steps)
        for shard, window in pick(sizes, 2, 7, f"replay/{step}", lambda shard, window: worth[starts[shard] + window])
    )
    # Inclusion in a reservoir of two (Efraimidis and Spirakis 2006): first in proportion to all, then to what is left.
    p = worth / worth.sum()
    exact = np.array([p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(8) if j != i) for i in range(8)])
    keys = np.random.default_rng(1).random((steps, 8)) ** (1 / worth)
    reservoir = np.bincount(np.argsort(keys, axis=1)[:, -2:].ravel(), minlength=8)
    for found in (np.array([ours[i] for i in range(8)]), reservoir):
        assert found.sum() == 2 * steps
        assert (np.abs(found / steps - exact) < 4 * np.sqrt(exact * (1 - exact) / steps)).all()


def test_weighted_replay_is_the_same_after_a_restart_at_any_step():
    segments = make_segments([[9, 4], [30]])
    worth = {(f"0/{i}", window): (1 + window) / 10 for i in range(2) for window in range(9)}

    def draw_from(start: Position) -> list:
        return list(draws(segments, start, batch=4, share=0.4, seed=1, worth=lambda *window: worth[window]))

    whole = draw_from(Position())
    assert sum(len(draw.replayed) for draw in whole) > 10
    for made, draw in enumerate(whole[:-1], 1):
        assert draw_from(draw.after) == whole[made:]
