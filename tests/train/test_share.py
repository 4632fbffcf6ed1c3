"""Lanes and shares: each window to one trainer, once, however their number changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import step_lines, story

from clet.exits import InputError, NothingToDo, UsageError
from clet.shards.manifest import ShardEntry, read_manifest
from clet.train.feed import Position, Segment, Shard, draws
from clet.train.rundir import ROOT_CHARS, read_segments
from clet.train.share import check_lanes, check_present, divide, first_window, parse_share, part_of


def entry(number: int, windows: int, lane: str = "main") -> ShardEntry:
    name = f"{number:032x}"
    path = Path("shards", lane, f"{name}.clet")
    return ShardEntry(path, name, lane, windows, 0, 0, f"{number * 7919:064x}", "fp", 32, None, None)


def handed_out(entries, share, *, lanes="*", looks=1) -> Counter:
    """All windows that one trainer's feed hands out as new, if it sees the shards in so many looks."""
    mine = divide(entries, lanes, share)
    shards = [
        Shard(
            "", e.name, e.root, e.lane, e.num_windows, 0, 0, None, first_window(e.root, *mine[e.root]), mine[e.root][1]
        )
        for e in entries
        if e.root in mine
    ]
    parts = [shards[at::looks] for at in range(looks)]
    segments = [Segment(number, tuple(part)) for number, part in enumerate(part for part in parts if part)]
    plan = draws(segments, Position(), batch=3, share=0.25, seed=1)
    return Counter(window for draw in plan for window in draw.fresh)


def everything(entries) -> Counter:
    return Counter((e.root, window) for e in entries for window in range(e.num_windows))


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 7), st.integers(1, 3))
def test_each_window_goes_to_exactly_one_of_n_trainers(windows, num_trainers, looks):
    entries = [entry(number, size) for number, size in enumerate(windows, 1)]
    shares = [handed_out(entries, f"{i}/{num_trainers}", looks=looks) for i in range(1, num_trainers + 1)]
    assert sum(shares, Counter()) == everything(entries)
    for each in entries:
        counts = [sum(root == each.root for root, _ in share) for share in shares]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5))
def test_none_is_lost_or_learned_twice_when_the_number_of_trainers_changes(old, new, before, after):
    entries = [entry(number, size) for number, size in enumerate([*old, *new], 1)]
    last = entries[len(old) - 1].name
    total = Counter()
    for i in range(1, max(before, after) + 1):
        stays = [f"{i}/{before}"] if i <= before else []
        goes_on = f"{i}/{after}@{last}" if i <= after else f"0/{after}@{last}"
        total += handed_out(entries, ",".join([*stays, goes_on]), looks=2)
    assert total == everything(entries)


def test_lanes_go_to_different_machines_and_a_place_is_counted_over_all_of_them():
    entries = [entry(1, 9, "code"), entry(2, 9, "news"), entry(3, 9, "code"), entry(4, 9, "news")]
    code, rest = handed_out(entries, "1/1", lanes="code"), handed_out(entries, "1/1", lanes="news,other")
    assert code + rest == everything(entries) and not code & rest
    behind = divide(entries, "news", f"1/2@{entries[2].name}")
    assert behind == {entries[3].root: (1, 2)}


def test_a_lane_that_no_shard_is_in_is_refused():
    entries = [entry(1, 9, "code"), entry(2, 9, "news")]
    for lanes in ("*", "code", "news,code"):
        check_present(entries, lanes)
    check_present([], "code")
    with pytest.raises(UsageError, match="--lane law: none of these shards is in it; they are in code, news"):
        check_present(entries, "code,law")


def test_a_part_can_be_told_from_its_first_window():
    for parts in (1, 2, 5):
        for part in range(1, parts + 1):
            assert part_of("ab" * 32, first_window("ab" * 32, part, parts), parts) == part


@pytest.mark.parametrize(
    "share", ["", "1", "0/0", "3/2", "1/2,1/3", "1/2@xyz", "1/5000", "-1/2", "1/2@" + "a" * 33, "1/2;1/3@abcdef"]
)
def test_what_is_no_share_is_refused(share):
    with pytest.raises(UsageError, match="--share"):
        parse_share(share)


def test_places_that_are_not_there_or_not_in_order_are_refused():
    entries = [entry(0xABCDEF << 104, 5), entry(0xABCDE0 << 104, 5), entry(7, 5)]
    for share in ("1/2@123456", "1/1,1/2@" + entries[2].name + ",1/3@" + entries[0].name):
        with pytest.raises(UsageError, match="--share"):
            divide(entries, "*", share)
    with pytest.raises(UsageError, match="--lane"):
        check_lanes("../etc")


def learned(run) -> Counter:
    return Counter((root, i) for line in step_lines(run) for root, indices in line["windows"] for i in indices)


def test_two_trainers_become_three_and_each_window_is_learned_once(learn, stories, make_shards, tmp_path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))

    def stop_at_2(fields, stop):
        if fields.get("step") == 2:
            stop.set()

    learn(stories, run=one, share="1/2", on_event=stop_at_2)  # it goes on with the rest of its half afterwards
    learn(stories, run=two, share="2/2")
    last = read_manifest(stories)[-1].name
    make_shards(stories, [story(i) for i in range(100, 124)], day=2)
    learn(stories, run=one, share=f"1/2,1/3@{last}")
    learn(stories, run=two, share=f"2/2,2/3@{last[:8]}", replay=0.25)
    learn(stories, run=three, share=f"3/3@{last}")
    entries = read_manifest(stories)
    whole = Counter((e.root[:ROOT_CHARS], i) for e in entries for i in range(e.num_windows))
    assert learned(one) + learned(two) + learned(three) == whole
    with pytest.raises(NothingToDo):
        learn(stories, run=one)  # the share stays with the run


def test_a_change_that_comes_too_late_is_refused_with_the_way_out(learn, stories, make_shards, tmp_path):
    learn(stories, run=tmp_path / "run")
    (name, *_) = [e.name for e in read_manifest(stories)]
    with pytest.raises(UsageError, match=f"--share 1/1,2/3@{name}"):
        learn(stories, run=tmp_path / "run", share="2/3")
    assert {shard.parts for segment in read_segments(tmp_path / "run") for shard in segment.shards} == {1}


def test_a_division_that_was_damaged_is_said(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "run", share="1/2")
    file = tmp_path / "run" / "segments.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"parts":2', b'"parts":0'))
    with pytest.raises(InputError, match="segments"):
        learn(stories, run=tmp_path / "run")
