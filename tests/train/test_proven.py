"""Settings with which the breaker gave up are not kept, whatever happened in between; others stay."""

from __future__ import annotations

import os

import orjson
import pytest
from tiny_run import story

from clet.exits import InputError, TryLater
from clet.train import requests

STEADY = {"lr": 3e-3, "warmup": 0, "clip": "norm", "max_trips": 2}


@pytest.fixture
def begun(learn, make_shards, tmp_path):
    """A run that has learned a day with good settings, and the folder of its shards with another day in it."""
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(72)])
    learn(shards, run=tmp_path / "run", **STEADY)
    return tmp_path / "run", make_shards(shards, [story(100 + i) for i in range(60)], day=2)


def kept(run):
    return orjson.loads((run / "run.json").read_bytes())["settings"]


def test_settings_with_which_the_breaker_gave_up_return_to_those_proven(begun, learn, capfd):
    run, shards = begun
    before = kept(run)
    with pytest.raises(InputError, match="clet release trips"):
        learn(shards, run=run, **STEADY | {"lr": 0.9})
    assert "--lr 0.9: not kept" in capfd.readouterr().err and kept(run) == before


def test_a_start_that_was_ended_before_the_breaker_gave_up_proves_nothing(begun, learn):
    run, shards = begun
    before = kept(run)
    with pytest.raises(TryLater):
        learn(shards, run=run, **STEADY | {"lr": 0.9, "on_trip": "pause"})
    assert kept(run)["lr"] == 0.9
    requests.resume(run)
    with pytest.raises(InputError):
        learn(shards, run=run, **STEADY | {"lr": 0.9, "on_trip": "continue"})
    assert kept(run) == before


def test_releases_made_right_before_a_first_trip_prove_nothing(begun, learn):
    run, shards = begun
    with pytest.raises(InputError):
        learn(shards, run=run, **STEADY | {"lr": 0.9, "release_every": 100, "cooldown": 0})
    assert kept(run)["lr"] == 3e-3


def test_settings_that_do_no_harm_stay_from_the_first_step_on(begun, learn):
    run, shards = begun
    learn(shards, run=run, **STEADY | {"lr": 2e-3}, on_event=lambda fields, stop: stop.set())
    assert kept(run)["lr"] == 2e-3
    learn(shards, run=run, tokens=1, **STEADY | {"lr": None})
    assert kept(run)["lr"] == 2e-3


@pytest.mark.parametrize("body", [b"", b"{}", b"garbage", b"[1]", b'{"id": 7, "why": ""}'])
def test_a_file_that_says_nothing_asks_for_one_trip_and_the_next_for_another(tmp_path, body):
    found = []
    for second in (1, 2):
        (tmp_path / "trip.json").write_bytes(body)
        os.utime(tmp_path / "trip.json", (second, second))
        found += [requests.open_request(tmp_path), requests.open_request(tmp_path)]
    assert found[0] == found[1] and found[2] == found[3] and found[0]["id"] != found[2]["id"]
    assert all(request["why"] == "a file trip.json" for request in found)
