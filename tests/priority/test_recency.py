"""Recency and the clock of the stream."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from clet.batch import Ragged
from clet.heads import NO_TIME, Heads
from clet.priority.recency import Clock, day_text, recency, times_of

NOW = datetime(2026, 3, 8, tzinfo=UTC)


def dates(*pairs: tuple[str | None, str | None]) -> tuple[np.ndarray, np.ndarray]:
    lines = [orjson.dumps({"published": p, "fetched": f}) for p, f in pairs]
    heads = Heads.of(Ragged.from_bytes(lines), ("published", "fetched"))
    return times_of(heads.seconds("published"), heads.seconds("fetched"))


def times(*pairs: tuple[str | None, str | None]) -> np.ndarray:
    return dates(*pairs)[0]


def at(published: str | None, fetched: str | None = "2026-03-08T00:00:00Z", half_life: float = 7) -> float:
    return float(recency(*dates((published, fetched)), np.array([int(NOW.timestamp())]), half_life)[0])


def test_halves_every_half_life():
    assert at("2026-03-08T00:00:00Z") == 1
    assert at("2026-03-01T00:00:00Z") == pytest.approx(0.5)
    assert at("2026-02-22T00:00:00Z") == pytest.approx(0.25)
    assert at("2026-03-07T00:00:00Z", half_life=1) == pytest.approx(0.5)


def test_a_date_in_the_future_gains_nothing():
    assert times(("2999-01-01T00:00:00Z", "2026-03-08T00:00:00Z"))[0] == int(NOW.timestamp())
    assert at("2999-01-01T00:00:00Z", "2026-03-01T00:00:00Z") == pytest.approx(0.5)
    assert at("2999-01-01T00:00:00Z", None) == 1


def test_without_a_time_a_record_is_old_and_an_unreadable_one_is_none():
    assert at(None, None) == 0
    assert at("yesterday", None) == 0
    assert recency(*dates(("2026-03-01", None)), np.array([NO_TIME]), 7)[0] == 0


def test_who_gives_no_date_is_not_the_freshest():
    assert at(None) == pytest.approx(0.5) == at("yesterday")
    assert at(None, "2026-03-01") == pytest.approx(0.25)
    assert at("2026-03-01", "2026-03-01") == pytest.approx(0.5)


def test_the_clock_is_the_newest_fetch_and_never_goes_back():
    clock = Clock()
    fetched = times((None, "2026-03-02"), (None, "2026-03-01"), (None, "x"), (None, None), (None, "2026-03-03"))
    days = [day_text(now) for now in clock.see(fetched).tolist()]
    assert days == ["2026-03-02"] * 4 + ["2026-03-03"]
    assert clock.text == "2026-03-03T00:00:00Z"
    assert [day_text(now) for now in clock.see(fetched[:1]).tolist()] == ["2026-03-03"]
    fixed = Clock(NOW)
    fixed.see(times((None, "2027-01-01")))
    assert fixed.text == "2026-03-08T00:00:00Z"
    assert Clock().see(times((None, None))).tolist() == [NO_TIME]


def test_a_time_that_has_not_come_yet_moves_no_clock():
    clock = Clock(latest=NOW)
    fetched = clock.believed(times((None, "2026-03-02"), (None, "2099-01-01"), (None, "2026-03-08T00:05:00Z")))
    days = [day_text(now) for now in clock.see(fetched).tolist()]
    assert days == ["2026-03-02", "2026-03-02", "2026-03-08"]
    assert Clock(newest=datetime(2099, 1, 1, tzinfo=UTC), latest=NOW).now is None  # a state that was misled recovers
    assert Clock(newest=NOW, latest=NOW).now == NOW
