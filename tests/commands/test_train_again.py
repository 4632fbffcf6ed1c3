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


def test_settings_with_which_the_breaker_gave_up_are_not_kept_and_its_windows_can_be_freed(place):
    more = ("--save-every", "5", "--max-trips", "2", "--warmup", "0", "--clip", "norm")
    make_shards(place / "shards", [story(i) for i in range(20, 80)], model=place / "model")
    first = clet(place, "train", "shards", "--model", "model", "--run", "run", *QUICK, *more)
    assert first.returncode == 0, first.stderr
    kept = orjson.loads((place / "run" / "run.json").read_bytes())["settings"]
    make_shards(place / "shards", [story(i) for i in range(100, 160)], model=place / "model", day=2)
    mistyped = clet(place, "train", "shards", "--run", "run", "--lr", "0.9", "--schedule", "constant")
    assert mistyped.returncode == 65 and b"clet release trips run" in mistyped.stderr
    assert b"--lr 0.9, --schedule constant: not kept" in mistyped.stderr
    assert orjson.loads((place / "run" / "run.json").read_bytes())["settings"] == kept
    trips = lines(clet(place, "release", "trips", "run").stdout)
    held = [trip["number"] for trip in trips if trip["windows"]]
    assert held and [trip["number"] for trip in trips] == list(range(1, len(trips) + 1))
    assert all(trip["documents"] for trip in trips if trip["windows"])
    freed = clet(place, "release", "free", "run", *map(str, held))
    assert freed.returncode == 0 and lines(freed.stdout)[0]["windows"] > 0
    assert clet(place, "train", "shards", "--run", "run").returncode == 0
    windows = [(root, i) for line in step_lines(place / "run") for root, which in line["windows"] for i in which]
    manifest = lines((place / "shards" / "manifest.jsonl").read_bytes())
    assert len(set(windows)) == len(windows) == sum(entry["windows"] for entry in manifest)
    assert clet(place, "audit", "run", "--tier", "realtime", "--verify").returncode == 0
    assert clet(place, "release", "free", "run", "1", *map(str, held)).returncode == 3
    assert clet(place, "release", "free", "run", "99").returncode == 2
    assert clet(place, "release", "trips", "shards").returncode == 2


def test_a_model_that_lies_elsewhere_now_is_named_once(place):
    first = clet(place, "train", "shards", "--model", "model", "--run", "run", "--tokens", "300", "--lora", "4", *QUICK)
    assert first.returncode == 0, first.stderr
    (place / "model").rename(place / "moved")
    assert clet(place, "train", "shards", "--run", "run", "--tokens", "300").returncode == 65
    for more in (["--model", "moved"], []):
        again = clet(place, "train", "shards", "--run", "run", "--tokens", "300", *more)
        assert again.returncode == 0, again.stderr
    exported = clet(place, "release", "export", "run", "realtime", "--adapter", "-o", "out")
    assert exported.returncode == 0, exported.stderr
    config = orjson.loads((place / "out" / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == str(place / "moved")


def test_that_releases_are_not_signed_any_more_is_said(place):
    assert clet(place, "release", "keygen", "key").returncode == 0
    command = ("train", "shards", "--run", "run", "--tokens", "300")
    first = clet(place, *command, "--model", "model", "--sign-key", "key", *QUICK)
    assert first.returncode == 0 and b"--sign-key" not in first.stderr
    assert b"without --sign-key" in clet(place, *command).stderr
    assert b"without --sign-key" not in clet(place, *command).stderr


def test_an_empty_file_trips_a_run_once(place):
    done = clet(place, "train", "shards", "--model", "model", "--run", "run", "--tokens", "300", *QUICK)
    assert done.returncode == 0, done.stderr
    (place / "run" / "trip.json").touch()
    again = clet(place, "train", "shards", "--run", "run", "--tokens", "300")
    assert again.returncode == 1, again.stderr
    trips = lines(clet(place, "release", "trips", "run").stdout)
    assert [trip["why"] for trip in trips] == ["by hand: a file trip.json"]
    assert not (place / "run" / "trip.json").exists()


def test_shards_that_no_manifest_names_are_said(place):
    (place / "shards" / "manifest.jsonl").write_bytes(b"")
    done = clet(place, "train", "shards", "--model", "model", "--run", "run", *QUICK)
    assert done.returncode == 3 and b"no shard to learn from; shards in no manifest: 1" in done.stderr


@pytest.mark.parametrize("rule", ["canaries=1.5", "canaries=-1", "freshness=2", "perplexity=0.5"])
def test_a_gate_that_nothing_can_pass_is_refused(place, rule):
    (place / "canaries.jsonl").write_bytes(b'{"prompt": "a", "answer": "b"}\n')
    given = ("--held-out", "held.jsonl", "--canaries", "canaries.jsonl", "--require", rule)
    done = clet(place, "train", "shards", "--model", "model", "--run", "run", *given, *QUICK)
    assert done.returncode == 2 and rule.encode() in done.stderr and done.stderr.count(b"\n") == 1
    assert not (place / "run").exists()


def test_a_flipped_byte_in_the_segments_is_not_blamed_on_a_shard(place):
    command = ("train", "shards", "--run", "run", "--tokens", "300")
    assert clet(place, *command, "--model", "model", *QUICK).returncode == 0
    path = place / "run" / "segments.jsonl"
    body = path.read_bytes()
    root = orjson.loads(body)["shards"][0]["root"].encode()
    path.write_bytes(body.replace(root, (b"1" if root[:1] != b"1" else b"2") + root[1:]))
    done = clet(place, *command)
    assert done.returncode == 65 and b"segments.jsonl: damaged" in done.stderr and done.stderr.count(b"\n") == 1
