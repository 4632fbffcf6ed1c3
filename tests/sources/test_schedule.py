"""When a source is read next: after its interval, later and later while it fails, at the latest a day."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from clet.record import parse_time
from clet.sources.schedule import MAX_BACKOFF_S, Standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def wait_s(standing):
    return (parse_time(standing.due) - NOW).total_seconds()


def test_a_source_never_tried_is_due():
    assert Standing().is_due(NOW, 60)


def test_success_is_followed_by_one_interval_and_forgets_failures():
    standing = Standing(failures=3, error="gone", documents=5, newest="2026-01-01T00:00:00Z")
    standing.succeeded(NOW, 900, 7, "2025-01-01T00:00:00Z")
    assert wait_s(standing) == 900
    assert not standing.is_due(NOW + timedelta(seconds=899), 900)
    assert standing.is_due(NOW + timedelta(seconds=900), 900)
    assert (standing.failures, standing.error, standing.documents) == (0, None, 12)
    assert standing.newest == "2026-01-01T00:00:00Z"


def test_waits_grow_with_each_failure_up_to_a_day():
    standing, waits = Standing(), []
    for _ in range(20):
        standing.failed(NOW, 30, "feed:x", "no answer")
        waits.append(wait_s(standing))
    assert 30 <= waits[0] <= 33
    assert all(later >= sooner * 0.9 for sooner, later in pairwise(waits))
    assert waits[1] >= 120
    assert MAX_BACKOFF_S <= waits[-1] <= 1.1 * MAX_BACKOFF_S


def test_what_the_server_asks_for_is_the_least_wait():
    standing = Standing()
    standing.failed(NOW, 30, "feed:x", "429", retry_s=5000)
    assert 5000 <= wait_s(standing) <= 5500


def test_sources_that_fail_together_do_not_come_back_together():
    waits = set()
    for number in range(100):
        standing = Standing(failures=4)
        standing.failed(NOW, 30, f"feed:{number}", "no answer")
        waits.add(standing.due)
    assert len(waits) > 50


def test_a_clock_that_jumped_does_not_silence_a_source():
    standing = Standing()
    standing.succeeded(NOW + timedelta(days=400), 900, 0, None)
    assert standing.is_due(NOW, 900)


@pytest.mark.parametrize("value", [None, {}, {"documents": 3, "unknown": 1}])
def test_a_standing_of_another_version_is_read(value):
    assert Standing.from_json(value).documents == (value or {}).get("documents", 0)


def test_json_holds_all_of_it():
    standing = Standing()
    standing.failed(NOW, 30, "feed:x", "e" * 1000)
    assert Standing.from_json(standing.to_json()) == standing
    assert len(standing.error) == 300
