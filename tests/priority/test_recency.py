"""Recency and the clock of the stream."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clet.priority.recency import Clock, recency, time_of

NOW = datetime(2026, 3, 8, tzinfo=UTC)


def at(published: str | None, fetched: str | None = "2026-03-08T00:00:00Z") -> dict:
    return {"published": published, "fetched": fetched}


def test_halves_every_half_life():
    assert recency(at("2026-03-08T00:00:00Z"), NOW, 7) == 1
    assert recency(at("2026-03-01T00:00:00Z"), NOW, 7) == pytest.approx(0.5)
    assert recency(at("2026-02-22T00:00:00Z"), NOW, 7) == pytest.approx(0.25)
    assert recency(at("2026-03-07T00:00:00Z"), NOW, 1) == pytest.approx(0.5)


def test_a_date_in_the_future_gains_nothing():
    assert time_of(at("2999-01-01T00:00:00Z")) == NOW
    assert recency(at("2999-01-01T00:00:00Z", "2026-03-01T00:00:00Z"), NOW, 7) == pytest.approx(0.5)
    assert recency(at("2999-01-01T00:00:00Z", None), NOW, 7) == 1


def test_without_a_time_a_record_is_old_and_an_unreadable_one_is_none():
    assert recency(at(None, None), NOW, 7) == 0
    assert recency(at("yesterday", None), NOW, 7) == 0
    assert recency(at("yesterday", "2026-03-01"), NOW, 7) == pytest.approx(0.5)
    assert recency(at("2026-03-01"), None, 7) == 0


def test_the_clock_is_the_newest_fetch_and_never_goes_back():
    clock = Clock()
    assert clock.day is None
    for fetched, day in (
        ("2026-03-02", "2026-03-02"),
        ("2026-03-01", "2026-03-02"),
        ("x", "2026-03-02"),
        (None, "2026-03-02"),
    ):
        clock.see(at("2999-01-01", fetched))
        assert clock.day == day
    fixed = Clock(NOW)
    fixed.see(at(None, "2027-01-01"))
    assert fixed.text == "2026-03-08T00:00:00Z"
