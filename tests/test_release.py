"""Releases appear whole, stay as they are, and links move to and fro."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clet import release as releases
from clet.exits import InputError, UsageError, WriteError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def fill(directory):
    (directory / "config.json").write_text("{}")
    return {"step": 7}


@pytest.fixture
def run(tmp_path):
    """A run with releases 1 to 4."""
    for number in range(1, 5):
        releases.publish(tmp_path, number, fill, NOW)
    return tmp_path


def test_a_release_is_whole_with_its_facts(tmp_path):
    made = releases.publish(tmp_path, 1, fill, NOW)
    assert made.facts == {"number": 1, "created": "2026-03-01T12:00:00Z", "step": 7}
    assert releases.list_releases(tmp_path) == ([made], [])
    assert sorted(path.name for path in made.path.iterdir()) == ["config.json", "release.json"]


def test_a_release_that_fails_half_way_leaves_nothing(run):
    def half(directory):
        (directory / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="No space left"):
        releases.publish(run, 5, half, NOW)
    assert sorted(path.name for path in (run / "releases").iterdir()) == ["1", "2", "3", "4"]
    assert releases.tier_number(run, "realtime") == 4


def test_what_a_killed_trainer_left_is_no_release_and_is_cleared(run):
    stale = run / "releases" / ".5.tmp-999"
    stale.mkdir()
    (stale / "config.json").write_text("{}")
    assert releases.release_numbers(run) == [1, 2, 3, 4]
    releases.publish(run, 5, fill, NOW)
    assert not stale.exists()


def test_a_release_is_never_replaced(run):
    with pytest.raises(UsageError, match="immutable"):
        releases.publish(run, 4, fill, NOW)


def test_the_first_release_is_live_and_the_newest_is_realtime(run):
    assert {tier: releases.tier_number(run, tier) for tier in releases.TIERS} == {
        "static": None,
        "live": 1,
        "realtime": 4,
    }
    assert (run / "live").readlink().as_posix() == "releases/1"


def test_rollback_goes_back_step_by_step_and_promotion_starts_from_there(run):
    for number in (2, 3, 4):
        releases.promote(run, "live", number, NOW)
    assert releases.rollback(run, "live", NOW) == (4, 3)
    assert releases.rollback(run, "live", NOW) == (3, 2)
    releases.promote(run, "live", 4, NOW)
    assert releases.rollback(run, "live", NOW) == (4, 2)
    assert releases.rollback(run, "live", NOW) == (2, 1)
    with pytest.raises(UsageError, match="nowhere else"):
        releases.rollback(run, "live", NOW)
    assert releases.tier_number(run, "live") == 1
    moves = [(move["link"], move["release"], move.get("why")) for move in releases.link_history(run)]
    assert moves[-1] == ("live", 1, "rollback")


def test_rollback_passes_over_a_release_that_is_gone(run):
    releases.promote(run, "live", 2, NOW)
    releases.promote(run, "live", 3, NOW)
    (run / "releases" / "2").rename(run / "releases" / "moved")
    assert releases.rollback(run, "live", NOW) == (3, 1)


def test_a_torn_line_of_the_journal_is_passed_over(run):
    with open(run / "links.jsonl", "ab") as file:
        file.write(b'{"link": "live", "rel')
    releases.promote(run, "live", 3, NOW)
    assert releases.rollback(run, "live", NOW) == (3, 1)


def test_realtime_is_not_promoted_and_what_is_missing_is_named(run, tmp_path_factory):
    with pytest.raises(UsageError, match="always the newest"):
        releases.promote(run, "realtime", 2, NOW)
    with pytest.raises(UsageError, match="always the newest"):
        releases.rollback(run, "realtime", NOW)
    with pytest.raises(UsageError, match="not a run"):
        releases.list_releases(run / "nowhere")
    with pytest.raises(UsageError, match="no release 9"):
        releases.promote(run, "live", 9, NOW)
    with pytest.raises(UsageError, match="nothing is static yet"):
        releases.find_release(run, "static")
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UsageError, match="neither a model directory"):
        releases.find_model(empty)
    (empty / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="no release yet"):
        releases.find_model(empty)


def test_a_path_means_a_model_or_the_release_of_a_run(run):
    assert releases.find_model(run) == run / "releases" / "1"
    assert releases.find_model(run, "realtime") == run / "releases" / "4"
    assert releases.find_model(run, "2") == run / "releases" / "2"
    assert releases.find_model(run / "live") == run / "live"


def test_a_link_that_points_out_of_the_run_is_no_tier(run):
    (run / "static").symlink_to("../../etc")
    assert releases.tier_number(run, "static") is None


def test_a_malformed_release_json_is_refused(run):
    (run / "releases" / "2" / "release.json").write_text("[1]")
    with pytest.raises(InputError, match="not the description"):
        releases.read_release(run, 2)
    whole, damaged = releases.list_releases(run)
    assert 2 not in [release.number for release in whole]
    assert len(damaged) == 1 and "not the description" in damaged[0]
