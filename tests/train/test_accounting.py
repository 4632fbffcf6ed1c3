"""The account of each step: true to the order of windows, schedule and counters, and the same when run again."""

from __future__ import annotations

import orjson
import pytest
from tiny_run import story

from clet.exits import UsageError
from clet.train.accounting import MEASURED, windows_ahead
from clet.train.feed import Position, draws
from clet.train.rundir import ROOT_CHARS, read_segments


def full_lines(run) -> list[dict]:
    return [orjson.loads(line) for line in (run / "steps.jsonl").read_bytes().splitlines()]


def test_lines_name_the_windows_in_the_order_in_which_they_were_learned(learn, stories, make_shards, tmp_path):
    make_shards(stories, [story(i) for i in range(50, 74)], day=2)
    learn(stories, run=tmp_path / "run")
    make_shards(stories, [story(i) for i in range(100, 124)], day=3)
    learn(stories, run=tmp_path / "run", replay=0.25)
    lines = full_lines(tmp_path / "run")
    segments = read_segments(tmp_path / "run")
    assert len(segments[0].shards) > 1
    first = [draw for draw in draws(segments, Position(), batch=4, share=0.05, seed=1) if draw.after.segment == 0]
    assert len(first) < len(lines)
    for line, draw in zip(lines, first, strict=False):
        named = [(root, index) for root, indices in line["windows"] for index in indices]
        assert named == [(root[:ROOT_CHARS], index) for root, index in draw.fresh]


def test_a_line_says_why_the_rate_is_what_it_is_and_what_the_step_cost(learn, stories, tmp_path):
    events = learn(stories, run=tmp_path / "run", lr=3e-3, warmup=4, watts=20.0)
    lines = full_lines(tmp_path / "run")
    phases = [line["rate"]["phase"] for line in lines]
    assert phases == ["warmup"] * 4 + ["decay"] * (len(lines) - 4)
    for line in lines:
        assert line["lr"] == pytest.approx(line["rate"]["peak"] * line["rate"]["factor"], rel=1e-5)
        assert line["seed"] == 1 and line["flops"] > 1e6 and line["device_s"] > 0
        if line["energy"] == "estimated:20W":  # a machine that may be asked has its own counter
            assert line["joules"] >= 20.0 * line["seconds"] * 0.9
        else:
            assert line["energy"].startswith("measured:")
        assert len(orjson.dumps(line)) < 1000
    steps = [event for event in events if "event" not in event]
    assert steps[-1]["backlog"] == 0 and steps[0]["backlog"] == sum(s["num_windows"] for s in steps[1:])


def test_without_a_counter_and_without_watts_joules_are_unknown(learn, stories, tmp_path, monkeypatch):
    monkeypatch.setattr("clet.train.energy.Rapl.open", lambda: None)
    learn(stories, run=tmp_path / "run", tokens=200)
    assert {(line["joules"], line["energy"]) for line in full_lines(tmp_path / "run")} == {(None, None)}
    with pytest.raises(UsageError, match="--watts"):
        learn(stories, run=tmp_path / "run", watts=-1.0)


def test_only_what_depends_on_the_moment_differs_in_a_second_run(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "one")
    learn(stories, run=tmp_path / "two", watts=5.0)
    for one, two in zip(full_lines(tmp_path / "one"), full_lines(tmp_path / "two"), strict=True):
        assert {name for name in one if one[name] != two[name]} <= set(MEASURED)


def test_windows_ahead_of_a_position():
    assert windows_ahead([10, 4], Position(0, 3)) == 11
    assert windows_ahead([10, 4], Position(1, 4)) == 0
    assert windows_ahead([10, 4], Position(2, 0)) == 0
