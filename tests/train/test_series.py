"""Curves of any length in bounded memory."""

from __future__ import annotations

import pytest

from clet.train.series import Series


@pytest.mark.parametrize("length", [1, 7, 8, 9, 100, 4097])
def test_buckets_are_bounded_and_lose_no_value(length):
    series = Series(8)
    for step in range(1, length + 1):
        series.add(step, float(step % 13), weight=2.0)
    assert min(length, 4) <= len(series.buckets) <= 8
    assert series.buckets[0].first == 1 and series.buckets[-1].last == length
    assert all(a.last + 1 == b.first for a, b in zip(series.buckets, series.buckets[1:], strict=False))
    assert sum(b.weight for b in series.buckets) == 2 * length
    assert sum(b.total for b in series.buckets) == sum(2.0 * (s % 13) for s in range(1, length + 1))


def test_a_spike_of_one_step_is_seen_among_many():
    series = Series(16)
    for step in range(10_000):
        series.add(step, 99.0 if step == 5_000 else 1.0)
    (spiked,) = [bucket for bucket in series.buckets if bucket.high == 99.0]
    assert spiked.first <= 5_000 <= spiked.last and spiked.low == 1.0 and spiked.mean < 1.5


def test_what_is_no_number_is_passed_over():
    series = Series()
    for value in (float("nan"), float("inf"), -float("inf")):
        series.add(1, value)
    assert series.buckets == []
    series.add(1, 2.0, weight=0.0)
    assert series.buckets[0].mean == 2.0
