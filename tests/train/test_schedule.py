"""Learning rates at the corner points of the schedules."""

from __future__ import annotations

import pytest

from clet.train.schedule import CONSTANT_SHARE, DECAY_WARMUPS, SCHEDULES, Rate, infinite

RATE = Rate(peak=1e-3, warmup=10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_is_linear_and_ends_at_the_peak(name):
    schedule = SCHEDULES[name]
    assert schedule(1, RATE) == pytest.approx(1e-4)
    assert schedule(5, RATE) == pytest.approx(5e-4)
    assert schedule(10, RATE) == 1e-3


def test_infinite_decays_to_its_constant_and_stays_for_ever():
    end = 10 + 10 * DECAY_WARMUPS
    middle = infinite(10 + 5 * DECAY_WARMUPS, RATE)
    assert middle == pytest.approx(1e-3 * (1 + CONSTANT_SHARE) / 2)
    assert infinite(end, RATE) == pytest.approx(CONSTANT_SHARE * 1e-3)
    assert infinite(end + 10**9, RATE) == infinite(end, RATE)
    rates = [infinite(step, RATE) for step in range(10, end + 1)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warm_up_no_rate_is_above_the_peak(name):
    rates = [SCHEDULES[name](step, Rate(1e-3, 0)) for step in range(1, 50)]
    assert max(rates) <= 1e-3
    assert min(rates) >= CONSTANT_SHARE * 1e-3
