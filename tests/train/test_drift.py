"""Drift on held-out text and lost canaries: what trips, what does not."""

from __future__ import annotations

import math

import orjson

from clet.train.drift import Check, Watch


def first_trip(losses, limit=0.5):
    """(index, why) of the first check that trips."""
    watch = Watch(limit)
    for at, loss in enumerate(losses):
        if why := watch.objection(Check({"old": loss}, {})):
            return at, why
    return None


def test_text_that_gets_better_and_then_a_little_worse_does_not_trip():
    falling = [6 * math.exp(-at / 20) + 2 for at in range(60)]
    forgetting = [falling[-1] + 0.005 * at for at in range(20)]
    noisy = [x + 0.01 * (-1) ** at for at, x in enumerate(falling + forgetting)]
    assert first_trip(noisy) is None


def test_a_jump_trips_at_once_and_a_slower_rise_within_some_checks():
    base = [6 * math.exp(-at / 20) + 2 for at in range(60)]
    assert first_trip([*base, base[-1] + 0.6])[0] == 60
    at, why = first_trip(base + [base[-1] + 0.1 * k for k in range(1, 10)])
    assert 60 <= at <= 63 and why.startswith("drift: old is ")
    assert first_trip([2.0, math.nan])[0] == 1


def test_a_canary_trips_when_it_held_and_is_lost_but_not_when_it_is_neck_and_neck():
    watch = Watch(0.5)
    checks = [
        {"a": (3.0, False), "b": (0.5, True)},
        {"a": (0.2, True), "b": (0.9, False)},  # b is no longer the first, but nearly as likely
        {"a": (0.1, True), "b": (0.4, True)},
    ]
    assert [watch.objection(Check({}, canaries)) for canaries in checks] == [None] * 3
    other = Watch(0.5)
    other.load(orjson.loads(orjson.dumps(watch.state())))
    for each in (watch, other):
        assert each.lost(Check({}, {"a": (0.9, False), "b": (0.3, True)})) == ["a"]
        assert each.objection(Check({}, {"a": (0.9, False)})) == "canary lost: a"
