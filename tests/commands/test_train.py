"""clet train, release, eval perplexity and audit as processes: statuses, streams, signals."""

from __future__ import annotations

import signal
import subprocess

import orjson
import pytest
from processes import CLET, clean_environment, clet, lines
from tiny_run import make_model_dir, make_shards, records, step_lines, story


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with `model`, `shards`, held-out `held.jsonl`, and a finished `run`."""
    place = tmp_path_factory.mktemp("train")
    make_model_dir(place / "model")
    make_shards(place / "shards", [story(i) for i in range(24)], model=place / "model")
    held = records([story(i) for i in range(50, 54)])
    (place / "held.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in held))
    done = clet(
        place, "train", "shards", "--model", "model", "--run", "run", "--lr", "1e-2", "--epochs", "3", "--json",
        "--held-out", "held.jsonl", "--batch-size", "4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (place / "stdout").write_bytes(done.stdout)
    (place / "stderr").write_bytes(done.stderr)
    return place


def test_metrics_are_json_lines_and_held_out_perplexity_falls(place):
    events = lines((place / "stdout").read_bytes())
    steps = [event for event in events if "event" not in event]
    assert [event["step"] for event in steps] == list(range(1, len(steps) + 1))
    measured = [event["evals"]["held.jsonl"]["perplexity"] for event in events if event.get("event") == "held-out"]
    assert len(measured) == 2 and measured[1] < measured[0] / 2


def test_the_summary_counts_windows_and_tokens(place):
    summary = lines((place / "stderr").read_bytes())[-1]
    steps = step_lines(place / "run")
    assert summary["event"] == "summary" and summary["in"] == summary["out"]
    assert summary["tokens"] == sum(line["tokens"] for line in steps) and summary["steps"] == len(steps)


def test_nothing_new_is_status_3(place):
    done = clet(place, "train", "shards", "--run", "run", "--seed", "1")
    assert done.returncode == 3, done.stderr
    assert b"every shard was learned" in done.stderr and done.stdout == b""


def test_a_term_signal_saves_and_ends_with_0(place):
    command = [
        CLET,
        "train",
        "shards",
        "--model",
        "model",
        "--run",
        "stopped",
        "--save-every",
        "1000",
        "--batch-size",
        "1",
    ]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as p:
        for line in p.stdout:
            if line.startswith(b'{"step":2,'):
                p.send_signal(signal.SIGTERM)
                break
        rest = lines(p.stdout.read())
        assert p.wait() == 0, p.stderr.read()
    assert rest[-1]["event"] == "checkpoint"
    assert rest[-1]["step"] == step_lines(place / "stopped")[-1]["step"] < 60
    assert not (place / "stopped" / "releases").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere", "--model", "model", "--run", "new"], 2, b"o such file"),
        (["shards", "--run", "new"], 2, b"--model"),
        (
            ["shards", "--model", "model", "--run", "new", "--schedule", "cosine"],
            2,
            b"choose one of infinite, constant",
        ),
    ],
)
def test_what_is_wrong_is_one_line(place, arguments, status, words):
    done = clet(place, "train", *arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr and done.stderr.count(b"\n") == 1


def test_releases_are_listed_promoted_and_rolled_back(place):
    (listed,) = lines(clet(place, "release", "list", "run").stdout)
    assert (listed["number"], listed["links"]) == (1, ["live", "realtime"])
    shown = lines(clet(place, "release", "show", "run").stdout)[0]
    assert shown["documents"] == 24 and shown["evals"]["held.jsonl"]["documents"] == 4
    assert lines(clet(place, "release", "promote", "run", "static").stdout)[0]["release"] == 1
    assert clet(place, "release", "rollback", "run", "static").returncode == 2
    assert clet(place, "release", "list", "nowhere").returncode == 2


def test_perplexity_of_a_run_is_below_that_of_its_start(place):
    events = lines((place / "stdout").read_bytes())
    before, same = (e["evals"]["held.jsonl"] for e in events if e.get("event") == "held-out")
    after = lines(clet(place, "eval", "perplexity", "run", "held.jsonl", "--tier", "realtime").stdout)[0]
    assert after["perplexity"] < before["perplexity"] / 2
    assert after == {"model": "run/releases/1"} | same


def test_the_audit_traces_documents_and_verifies(place):
    found = lines(clet(place, "audit", "run").stdout)
    assert len(found) == 24
    traced = clet(place, "audit", "run", "--document", found[3]["id"])
    assert lines(traced.stdout) == [found[3]]
    assert clet(place, "audit", "run", "--source", "another").stdout == b""
    facts = place / "run" / "releases" / "1" / "release.json"
    honest = facts.read_bytes()
    facts.write_bytes(honest.replace(b'"documents": 24', b'"documents": 23'))
    tampered = clet(place, "audit", "run", "--verify")
    facts.write_bytes(honest)
    assert tampered.returncode == 65 and b"release.json: is not what was released" in tampered.stderr


def test_a_shard_that_the_manifest_lists_and_is_not_there_is_damage_in_one_line(place, tmp_path):
    make_shards(tmp_path / "shards", [story(i) for i in range(4)], model=place / "model")
    shard = min((tmp_path / "shards").glob("*/*.clet"))
    shard.unlink()
    done = clet(place, "train", tmp_path / "shards", "--model", "model", "--run", tmp_path / "run", "-q")
    assert done.returncode == 65, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert str(shard) in line and "missing, though it is listed" in line


def test_verification_of_a_run_with_a_damaged_document_table_ends_with_65(place):
    table = min((place / "run" / "documents").iterdir())
    whole = table.read_bytes()
    table.write_bytes(whole[:-7])
    done = clet(place, "audit", "run", "--verify")
    table.write_bytes(whole)
    assert done.returncode == 65, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert table.name in line and "damaged" in line
    assert clet(place, "audit", "run", "--verify").returncode == 0
