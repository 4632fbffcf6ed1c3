"""Routing: the plan is the best one, lanes keep to it, dense documents go to the fast devices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from priority_runs import run, story

from clet.exits import ConfigError
from clet.priority.routing import Device, Fleet, Router, load_fleet, plan

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
    fleet = Fleet((Device("a", 100, 100), Device("b", 50, 10)), 1e9)
    planned = plan(Fleet(fleet.devices, 100.0), 50 * 100 + share * 500)
    router = Router(planned)
    for group in groups:
        bits, tokens = np.array([b for b, _ in group]), np.array([n for _, n in group], np.int64)
        if len(group):
            router.route(bits, tokens)
    total = router.tokens.sum()
    shares = np.array([lane.tokens for lane in planned.lanes]) / sum(lane.tokens for lane in planned.lanes)
    assert np.abs(router.tokens - shares * total).max() <= 400


def test_dense_documents_go_to_the_fastest_device():
    fleet = Fleet((Device("slow", 10, 1), Device("fast", 100, 30)), 10.0)
    router = Router(plan(fleet, 200))
    bits = np.array([1.0, 9.0, 5.0, 8.0])
    lanes = router.route(bits, np.array([50, 50, 50, 50]))
    assert [router.names[lane] for lane in lanes] == ["slow", "fast", "slow", "fast"]


def test_records_carry_their_lane():
    router = Router(plan(Fleet((Device("fast", 100, 30), Device("slow", 100, 10)), 5.0), 1000))
    out, _, _ = run([story(i) for i in range(20)], router=router)
    lanes = [r["priority"]["lane"] for r in out]
    assert {lane: lanes.count(lane) for lane in set(lanes)} == {"fast": 10, "slow": 10}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "deadline_s"),
        ("deadline_s = 1", "device"),
        ("deadline_s = 1\n[[device]]\nname = 'a b'\ntokens_per_s = 1\nwatts = 1", "name"),
        ("deadline_s = 1\n[[device]]\nname = 'a'\nwatts = 1", "tokens_per_s missing"),
        ("deadline_s = 1\n[[device]]\nname = 'a'\nwatts = -1\ntokens_per_s = 1", "watts"),
        ("deadline_s = 1\nx = 2", "fleet.toml:2: no fleet has 'x'"),
        ("deadline_s = 1\n[[devcie]]\nname = 'a'", "fleet.toml:2: no fleet has 'devcie'"),
    ],
)
def test_a_fleet_without_sense_is_refused(text, why, tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        load_fleet(str(path))
