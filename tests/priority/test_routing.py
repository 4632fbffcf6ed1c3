"""Routing: the plan is the best one, lanes keep to it, dense documents go to the fast devices."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priority_runs import START, run, story

from clet.exits import ConfigError
from clet.priority.routing import Device, Fleet, Router, load_fleet, plan
from clet.priority.share import Account

devices = st.lists(
    st.builds(
        Device, st.just(""), st.sampled_from([1.0, 2.0, 5.0]), st.sampled_from([1.0, 3.0, 4.0]), st.integers(1, 3)
    ),
    min_size=1,
    max_size=3,
).map(lambda found: tuple(Device(f"d{i}", d.tokens_per_s, d.watts, d.count) for i, d in enumerate(found)))


@settings(max_examples=80, deadline=None)
@given(devices=devices, deadline=st.integers(1, 6), units=st.integers(0, 8))
def test_no_assignment_of_units_beats_the_plan(devices, deadline, units):
    unit = 2
    planned = plan(Fleet(devices, deadline), unit * units)
    best = None
    for given_to in product(range(units + 1), repeat=len(devices)):
        fits = all(unit * n <= d.rate * deadline for n, d in zip(given_to, devices, strict=True))
        if sum(given_to) == units and fits:
            joules = sum(unit * n * d.joules_per_token for n, d in zip(given_to, devices, strict=True))
            best = joules if best is None else min(best, joules)
    assert sum(lane.tokens for lane in planned.lanes) + planned.left_over == unit * units
    assert all(lane.seconds <= deadline for lane in planned.lanes)
    if best is not None:
        assert planned.left_over == 0
        assert planned.joules <= best + 1e-9
    if planned.left_over:
        assert all(lane.tokens == int(lane.device.rate * deadline) for lane in planned.lanes)


def test_the_plan_against_everything_on_one_class():
    fleet = Fleet((Device("new", 40_000, 650), Device("old", 8_000, 250, count=4)), 1000.0)
    planned = plan(fleet, 50_000_000)
    assert {lane.device.name: lane.tokens for lane in planned.lanes} == {"new": 40_000_000, "old": 10_000_000}
    assert planned.joules == pytest.approx(40e6 * 650 / 40e3 + 10e6 * 250 / 8e3)
    assert planned.alone()["new"] == (1250.0, pytest.approx(50e6 * 650 / 40e3))  # less energy, but too late


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.floats(0, 12), st.integers(1, 400)), max_size=30), max_size=12), st.integers(1, 9)
)
def test_lanes_are_off_the_plan_by_less_than_a_document(groups, share):
    fleet, tokens = Fleet((Device("a", 100, 100), Device("b", 50, 10), Device("c", 60, 90)), 100.0), 5000 + share * 500
    planned = plan(fleet, tokens)
    router = Router(fleet)
    router.begin(tokens)
    for group in groups:
        bits, tokens = np.array([b for b, _ in group]), np.array([n for _, n in group], np.int64)
        if len(group):
            lanes = router.route(bits, tokens)
            assert (np.diff(lanes[np.argsort(-bits, kind="stable")]) >= 0).all()  # no one passes a denser one
    total = router.tokens.sum()
    shares = np.array([lane.tokens for lane in planned.lanes]) / sum(lane.tokens for lane in planned.lanes)
    assert np.abs(router.tokens - shares * total).max() <= 400


def test_dense_documents_go_to_the_fastest_device():
    fleet = Fleet((Device("slow", 10, 1), Device("fast", 100, 30)), 10.0)
    router = Router(fleet)
    router.begin(200)
    bits = np.array([1.0, 9.0, 5.0, 8.0])
    lanes = router.route(bits, np.array([50, 50, 50, 50]))
    assert [router.names[lane] for lane in lanes] == ["slow", "fast", "slow", "fast"]


def test_records_carry_their_lane():
    router = Router(Fleet((Device("fast", 100, 30), Device("slow", 100, 10)), 9.0))
    out, _, _ = run([story(i) for i in range(20)], router=router, account=Account(1800, 1.0))
    lanes = [r["priority"]["lane"] for r in out]
    assert {lane: lanes.count(lane) for lane in set(lanes)} == {"fast": 10, "slow": 10}


def test_a_group_never_gives_the_fastest_device_what_is_least_dense():
    router = Router(Fleet((Device("new", 50, 1000), Device("old", 10, 10, count=4)), 3600.0))
    router.begin(200_000)
    for group in range(40):
        rng = np.random.default_rng(group)
        bits, tokens = rng.uniform(4, 12, 13), rng.integers(200, 600, 13)
        lanes = router.route(bits, tokens)
        assert bits[lanes == 0].min(initial=99) > bits[lanes == 1].max(initial=0)


def test_the_plan_is_for_what_is_left_of_the_day_and_for_each_day():
    plans = []
    fleet = Fleet((Device("fast", 100, 300), Device("slow", 10, 10)), 60.0)  # 6000 and 600 tokens
    account = Account(1000, 1.0)
    account.load({"2026-03-01": {"total": 700, "origins": {"o": 700}}})
    days = [story(i, fetched=START + timedelta(days=i // 30)) for i in range(60)]
    out, _, _ = run(days, account=account, router=Router(fleet, plans.append), daily=True)
    assert [sum(lane.tokens for lane in planned.lanes) for planned in plans] == [300, 1000]
    assert [{lane.device.name: lane.tokens for lane in planned.lanes} for planned in plans] == [
        {"fast": 0, "slow": 300},
        {"fast": 700, "slow": 300},  # of its 600
    ]
    assert len(out) == 300 // 60 + 1000 // 60


def test_no_more_passes_than_the_fleet_has_time_for():
    fleet = Fleet((Device("fast", 8, 300), Device("slow", 2, 10)), 60.0)
    out, rejected, _ = run([story(i) for i in range(30)], account=Account(10_000, 1.0), router=Router(fleet))
    assert len(out) == 10
    assert {why for _, why in rejected} == {"budget"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "deadline_s"),
        ("deadline_s = 1", "device"),
        ("deadline_s = 1\n[[device]]\nname = 'a b'\ntokens_per_s = 1\nwatts = 1", "name"),
        ("deadline_s = 1\n[[device]]\nname = 'a'\nwatts = 1", "tokens_per_s missing"),
        ("deadline_s = 1\n[[device]]\nname = 'a'\nwatts = -1\ntokens_per_s = 1", "watts"),
        ("deadline_s = 1\n[[device]]\nname = 'skip'\nwatts = 1\ntokens_per_s = 1", "no lane is called 'skip'"),
        ("deadline_s = 1\nx = 2", "fleet.toml:2: no fleet has 'x'"),
        ("deadline_s = 1\n[[devcie]]\nname = 'a'", "fleet.toml:2: no fleet has 'devcie'"),
    ],
)
def test_a_fleet_without_sense_is_refused(text, why, tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        load_fleet(str(path))
