"""Windows freed from quarantine are learned once, and nothing that was handed out before them moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import step_lines, story

from clet import release as releases
from clet.exits import NothingToDo, UsageError
from clet.train import branch, requests
from clet.train.breaker import Breaker, read_trips, write_trips
from clet.train.drift import Check
from clet.train.feed import Position, Segment, Shard, draws
from clet.train.keeping import Keeper
from clet.train.learned import Learned
from clet.train.provenance import documents_behind, verify
from clet.train.quarantine import free
from clet.train.rundir import RunDirectory


def good(model):
    return Check({"old": 2.0}, {})


@pytest.fixture
def tripped(learn, make_shards, tmp_path):
    """A run of two days whose second was tripped by hand: what was learned of it, and replayed, is in quarantine."""
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(12)])
    learn(shards, run=tmp_path / "run", check=good)
    make_shards(shards, [story(100 + i) for i in range(12)], day=2)
    learn(shards, run=tmp_path / "run", tokens=900, replay=0.3)
    requests.request_trip(tmp_path / "run", "a doubt", releases.datetime(2026, 3, 2))
    learn(shards, run=tmp_path / "run", replay=0.3)
    return tmp_path / "run", shards


def learned(run, kind="windows"):
    """How often each window was learned."""
    return Counter((root, i) for line in step_lines(run) for root, indices in line[kind] for i in indices)


def release_free(run, *numbers):
    with RunDirectory.open(run) as directory:
        return free(directory, numbers)


def test_freed_windows_are_learned_once_as_the_last_segment(tripped, learn):
    run, shards = tripped
    (trip,) = read_trips(run)
    held = {(root[:16], i) for root, indices in trip["windows"] for i in indices}
    assert held and not held & learned(run).keys()
    before = step_lines(run)
    assert release_free(run, 1) == len(held)
    assert read_trips(run)[0]["freed"] == 2
    learn(shards, run=run, replay=0.3)
    after = step_lines(run)
    assert after[: len(before)] == before
    assert learned(run) == dict.fromkeys(learned(run), 1)
    assert {(r, i) for line in after[len(before) :] for r, indices in line["windows"] for i in indices} == held
    for release in releases.list_releases(run)[0]:
        assert verify(run, release) == []
    assert len(list(documents_behind(run, releases.find_release(run, "realtime")))) == 24


def test_they_are_in_quarantine_again_after_another_trip_and_freed_again(tripped, learn):
    run, shards = tripped
    num = release_free(run, 1)
    learn(shards, run=run, replay=0.0, tokens=10_000)
    requests.request_trip(run, "the same", releases.datetime(2026, 3, 3))
    learn(shards, run=run, replay=0.0)
    again = read_trips(run)[1]
    assert again["windows"] and not {w for w in learned(run) if w[0] in {r[:16] for r, _ in again["windows"]}} & {
        (root[:16], i) for root, indices in again["windows"] for i in indices
    }
    assert 0 < release_free(run, 2) <= num + sum(len(which) for _, which in again["windows"])
    learn(shards, run=run, replay=0.0)
    assert set(learned(run).values()) == {1}
    with RunDirectory.open(run) as directory:
        every = {(s.root[:16], i) for k in directory.segments for s in k.shards for i in range(s.windows)}
    assert learned(run).keys() == every


def test_a_kill_between_the_record_and_the_segment_is_made_good_before_anything_else(
    tripped, learn, make_shards, monkeypatch
):
    run, shards = tripped
    steps = len(step_lines(run))

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "add_segment", killed)
        with pytest.raises(Killed):
            release_free(run, 1)
    make_shards(shards, [story(200 + i) for i in range(6)], day=3)  # come later, and are learned later
    learn(shards, run=run)
    assert len(step_lines(run)) > steps and set(learned(run).values()) == {1}
    with RunDirectory.open(run) as directory:
        assert [any(shard.only for shard in segment.shards) for segment in directory.segments[2:]] == [True, False]
    held = {(root[:16], i) for root, indices in read_trips(run)[0]["windows"] for i in indices}
    assert held <= learned(run).keys()


def test_what_is_not_in_quarantine_is_not_freed(tripped):
    run, _ = tripped
    with pytest.raises(UsageError, match="no trip 2"):
        release_free(run, 2)
    release_free(run, 1)
    with pytest.raises(NothingToDo, match="no windows"):
        release_free(run, 1)


def test_replayed_windows_are_freed_for_replay_alone(tripped, tmp_path):
    run, _ = tripped
    trips = read_trips(run)
    old = next((root, i) for root, i in learned(run, "windows"))  # a window of the first day, learned before
    with RunDirectory.open(run) as directory:
        root = next(s.root for s in directory.segments[0].shards if s.root.startswith(old[0]))
    trips[0]["windows"] = [[root, [old[1]]]]
    write_trips(run, trips)
    assert release_free(run, 1) == 0
    with RunDirectory.open(run) as directory:
        assert len(directory.segments) == 2
    breaker = Breaker(run, 3, vocab_size=8, drift=0.5)
    assert breaker.quarantine(1) == {(root, old[1])} and breaker.quarantine(2) == frozenset()


def test_lines_that_a_killed_trainer_left_behind_its_state_say_nothing_of_what_was_learned(
    learn, make_shards, tmp_path, monkeypatch
):
    run, shards = tmp_path / "run", make_shards(tmp_path / "shards", [story(i) for i in range(12)])
    learn(shards, run=run, check=good)
    make_shards(shards, [story(100 + i) for i in range(12)], day=2)
    learn(shards, run=run)
    requests.request_trip(run, "a doubt", releases.datetime(2026, 3, 2))

    class Killed(BaseException):
        pass

    at_start, put_back = iter([1]), Keeper.put_back

    def killed(self, saved):
        if next(at_start, None):
            return put_back(self, saved)
        raise Killed

    with monkeypatch.context() as patch:  # after breaker.json is written, before the lines are cut off
        patch.setattr(Keeper, "put_back", killed)
        with pytest.raises(Killed):
            learn(shards, run=run)
    (trip,) = read_trips(run)
    held = sum(len(which) for _, which in trip["windows"])
    with open(run / "steps.jsonl", "ab") as file:
        file.write(b'{"step":99,"tok')  # and a full disk tore the last one
    assert release_free(run, 1) == held > 0
    learn(shards, run=run)
    assert set(learned(run).values()) == {1}
    with RunDirectory.open(run) as directory:
        assert len(learned(run)) == sum(s.windows for k in directory.segments[:2] for s in k.shards)


SIZES = st.lists(st.integers(3, 12), min_size=2, max_size=4)


@given(SIZES, st.data())
def test_in_any_feed_freed_windows_move_no_other_and_come_once(sizes, data):
    segments = [Segment(k, (Shard("", "", str(k), "main", size, 0, size, None),)) for k, size in enumerate(sizes)]
    every = [(shard.root, i) for segment in segments for shard in segment.shards for i in shard.indices]
    held = data.draw(st.sets(st.sampled_from(every), min_size=1))
    last = len(segments)
    shards = {root: tuple(sorted(i for r, i in held if r == root)) for root, _ in sorted(held)}
    freed = Segment(last, tuple(replace(segments[int(root)].shards[0], only=which) for root, which in shards.items()))
    common = {"batch": 3, "share": 0.4, "seed": data.draw(st.integers(0, 9))}
    in_quarantine = list(draws(segments, Position(), skip=lambda _: held, **common))
    later = Segment(last + 1, (Shard("", "", "later", "main", 6, 0, 6, None),))
    after = list(
        draws([*segments, freed, later], Position(), skip=lambda k: held if k < last else frozenset(), **common)
    )
    assert after[: len(in_quarantine)] == in_quarantine
    fresh = Counter(window for draw in after for window in draw.fresh)
    assert fresh == dict.fromkeys([*every, *(("later", i) for i in range(6))], 1)
    early = [draw for draw in after if draw.after.segment <= last]
    assert not held & {window for draw in early for window in draw.replayed}


def test_a_branch_after_a_segment_of_freed_windows_learns_these_and_not_the_whole_shard():
    shard = Shard("", "", "r", "main", 8, 0, 8, None)
    segments = [Segment(0, (shard,)), Segment(1, (replace(shard, only=(2, 5)),))]
    bits = Learned()
    bits.expect(segments)
    bits.windows["r"][:] = 1
    bits.windows["r"][[2, 5]] = 0
    nothing = {"seed": 1, "skip": lambda _: frozenset(), "gone": (), "worth": lambda *_: 1.0}

    def windows(share):
        found = branch.draws(segments, bits, Position(1, 0, 9), 2, batch=2, share=share, **nothing)
        return {index for draw in found for _, index in draw.replayed}

    assert not windows(0.0) & {2, 5}  # the newest segment is not begun
    bits.windows["r"][[2, 5]] = 1
    assert windows(0.0) == {2, 5}
