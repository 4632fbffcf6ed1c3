"""What a run that was begun is when it is started again, and what its outputs may be named."""

from __future__ import annotations

import os
import stat

import orjson
import pytest
from processes import clet, lines
from tiny_run import make_model_dir, make_shards, records, step_lines, story

QUICK = ("--batch-size", "4", "--lr", "3e-3", "-j", "1")


@pytest.fixture
def place(tmp_path):
    """A directory with `model`, `shards` and held-out `held.jsonl`."""
    make_model_dir(tmp_path / "model")
    make_shards(tmp_path / "shards", [story(i) for i in range(12)], model=tmp_path / "model")
    held = records([story(i) for i in range(50, 54)])
    (tmp_path / "held.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in held))
    return tmp_path


def links(place, run):
    """The links of each release."""
    return {made["number"]: made["links"] for made in lines(clet(place, "release", "list", run).stdout)}


def test_a_run_that_had_gates_makes_nothing_live_without_them(place):
    gates = ("--held-out", "held.jsonl", "--require", "perplexity=1.001")
    first = clet(place, "train", "shards", "--model", "model", "--run", "run", "--tokens", "500", *gates, *QUICK)
    assert first.returncode == 0 and b"gate perplexity" in first.stderr
    again = clet(place, "train", "shards", "--run", "run", "--tokens", "500")
    assert again.returncode == 0 and b"none are given" in again.stderr
    assert links(place, "run") == {1: [], 2: ["realtime"]}


def test_a_seed_stays_with_the_run_and_another_is_refused(place):
    for more in (["--model", "model", "--seed", "3"], []):
        done = clet(place, "train", "shards", "--run", "run", "--tokens", "500", *more, *QUICK)
        assert done.returncode == 0, done.stderr
    assert orjson.loads((place / "run" / "run.json").read_bytes())["seed"] == 3
    other = clet(place, "train", "shards", "--run", "run", "--tokens", "500", "--seed", "1")
    assert other.returncode == 2 and b"another seed 3" in other.stderr


def test_a_trip_after_the_end_undoes_steps_though_the_last_was_saved_twice(place):
    done = clet(place, "train", "shards", "--model", "model", "--run", "run", "--save-every", "2", *QUICK)
    assert done.returncode == 0, done.stderr
    last = step_lines(place / "run")[-1]["step"]
    assert last % 2 == 0 and last >= 4  # or the last state would not be one of two of a step
    assert clet(place, "release", "trip", "run", "--why", "poisoned").returncode == 0
    done = clet(place, "train", "shards", "--run", "run")
    assert done.returncode == 1, done.stderr
    found = orjson.loads((place / "run" / "breaker.json").read_bytes())
    assert found["trips"][-1]["back_to"] < last and found["trips"][-1]["recalled"] == [1]
    assert b"release 1 is recalled (by hand: poisoned) and still realtime" in done.stderr


@pytest.mark.parametrize("name", ["--report", "--metrics"])
def test_what_is_replaced_as_a_whole_is_never_a_device_and_links_stay(place, name):
    os.mkfifo(place / "pipe.prom")
    command = ("train", "shards", "--model", "model", "--tokens", "500", *QUICK)
    refused = clet(place, *command, "--run", "none", name, "pipe.prom")
    assert refused.returncode == 2 and refused.stderr.count(b"\n") == 1
    assert stat.S_ISFIFO((place / "pipe.prom").stat().st_mode) and not (place / "none").exists()
    (place / "link.prom").symlink_to("real.prom")
    assert clet(place, *command, "--run", "run", name, "link.prom").returncode == 0
    assert (place / "link.prom").is_symlink() and (place / "real.prom").stat().st_size > 100


def test_a_report_that_cannot_be_written_is_74_after_the_run_is_done(place):
    done = clet(place, "train", "shards", "--model", "model", "--run", "run", "--report", "/proc/x.html", *QUICK)
    assert done.returncode == 74 and b"see clet release report run" in done.stderr
    assert links(place, "run") == {1: ["live", "realtime"]}


def test_a_number_that_no_file_holds_is_refused(place):
    for flag in ("--warmup", "--tokens", "--save-every"):
        done = clet(place, "train", "shards", "--model", "model", "--run", "run", flag, "9" * 20)
        assert done.returncode == 2 and b"too large" in done.stderr and done.stderr.count(b"\n") == 1


def test_a_damaged_release_is_named_and_the_others_are_listed(place):
    for _ in range(2):
        command = ("train", "shards", "--model", "model", "--run", "run", "--tokens", "500")
        assert clet(place, *command, *QUICK).returncode == 0
    (place / "run" / "releases" / "1" / "release.json").write_bytes(b"{\n")
    listed = clet(place, "release", "list", "run")
    assert listed.returncode == 65 and b"releases/1/release.json" in listed.stderr
    assert [made["number"] for made in lines(listed.stdout)] == [2]
