"""clet bench pipeline: what it says was measured is what was run."""

import json
import os
import sys

import pytest

from clet.bench import peer, readiness
from clet.bench.processes import pinned
from clet.bench.report import show
from clet.exits import UsageError


def test_the_result_accounts_for_every_stage_and_run(clet, workshop):
    command = ["bench", "pipeline", f"file:{workshop / 'docs'}", "--tokenizer", workshop / "model", "--seq-len", "64"]
    done = clet(*command, "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    stages = {row["stage"]: row for row in result["stages"]}
    assert list(stages) == ["ingest", "dedup", "prioritize", "shard", "whole pipe"]
    for row in stages.values():
        assert len(row["wall_s"]) == len(row["cpu_s"]) == 1
        assert row["in"] == row["out"] + sum(row["rejected"].values())
        assert row["tokens_per_s"] * max(row["wall_s"]) >= result["tokens"] * 0.999
    assert stages["shard"]["out"] == stages["whole pipe"]["out"] == 12
    assert result["text_bytes"] == sum(len(path.read_bytes().strip()) for path in (workshop / "docs").iterdir())
    assert result["cores"] >= 1
    assert result["pipe"]["tokens"] == result["tokens"] and result["pipe"]["records"] == 12
    assert result["pipe"]["ns_per_token"] > 0
    (cpu_s,) = result["stages_in_pipe_cpu_s"]
    assert sum(cpu_s.values()) == pytest.approx(stages["whole pipe"]["cpu_s"][0])
    assert result["packages"]["torch"]


def test_a_stage_that_fails_is_named(clet, workshop):
    done = clet("bench", "pipeline", "file:/nonexistent", "--tokenizer", workshop / "model")
    assert done.returncode == 65
    assert done.stderr.startswith(b"clet bench pipeline: ingest ended with ")
    assert done.stderr.count(b"\n") == 1


def test_tables_align_numbers_right_and_words_left(capsys):
    show("title", ["stage", "n"], [["a", 5], ["longer", 1234567]], ["note"])
    lines = ["title", "stage           n", "a               5", "longer  1,234,567", "note"]
    assert capsys.readouterr().out.splitlines() == lines


def test_on_one_core_everything_runs_on_that_core(clet, workshop):
    before, core = os.sched_getaffinity(0), min(os.sched_getaffinity(0))
    with pinned(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    command = ["bench", "pipeline", f"file:{workshop / 'docs'}", "--tokenizer", workshop / "model", "--runs", "1"]
    done = clet(*command, "--pin", core, "--json")
    assert json.loads(done.stdout)["cores"] == 1
    refused = clet(*command, "--pin", "99999")
    assert refused.returncode == 2
    assert b"--pin 99999: no core of this machine" in refused.stderr


def test_a_peer_that_is_not_there_is_said_before_anything_runs(clet, workshop):
    command = ["bench", "pipeline", f"file:{workshop / 'docs'}", "--tokenizer", workshop / "model", "--runs", "1"]
    for flags, said in (
        (["--peer", "spark"], b"no such peer; choose datatrove"),
        (["--peer", "datatrove", "--peer-python", "/no/python"], b"--peer-python /no/python: No such file"),
        (["--peer", "datatrove", "--peer-python", "/bin/false"], b"/bin/false has no datatrove"),
    ):
        done = clet(*command, *flags)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_documents_are_ready_while_others_arrive(workshop, tmp_path):
    times = readiness.poisson(20.0, 2.0)
    texts = [
        f"Report number {number} of the council, which is about matter {number * 7}." for number in range(len(times))
    ]
    found = readiness.measure(texts, times, str(workshop / "model"), tmp_path / "live")
    assert 0 < found["ready"] <= len(times) and len(found["samples_s"]) == found["ready"]
    assert 0 < found["samples_s"][0] == round(found["first_s"], 5)
    assert min(found["samples_s"]) > 0 and found["median_s"] <= found["p99_s"] <= max(found["samples_s"]) + 1e-4
    assert found["first_s"] < times[-1]  # it did not wait for the last one


def test_arrivals_depend_on_the_seed_alone():
    assert readiness.poisson(5.0, 10.0) == readiness.poisson(5.0, 10.0) != readiness.poisson(5.0, 10.0, seed=2)
    assert 20 < len(readiness.poisson(5.0, 10.0)) < 90
    assert len(readiness.poisson(0.001, 0.001)) == 1


def test_both_sides_get_the_same_documents_and_are_shown_together(workshop, capsys):
    """Needs an interpreter that has datatrove: this one, or the one that PEER_PYTHON names."""
    python = os.environ.get("PEER_PYTHON", sys.executable)
    plan = peer.Peer(python=python, megabytes=0.1, rate=20.0, seconds=1.0)
    try:
        peer._check_installed(plan)
    except UsageError:
        pytest.skip("datatrove is not installed")
    result = peer.measure([f"file:{workshop / 'docs'}"], str(workshop / "model"), plan, runs=1, jobs=1, seq_len=64)
    ours, theirs = result["clet"]["samples"], result["datatrove"]["samples"]
    assert result["documents"] == 12 and len(ours) == len(theirs) == 1
    assert result["times_faster"] == pytest.approx(theirs[0]["wall_s"] / ours[0]["wall_s"])
    assert theirs[0]["last_began_s"] < theirs[0]["wall_s"]
    ready = result["ready"]
    assert ready["datatrove"]["first_s"] > 1.0 > ready["clet"]["median_s"]
    assert ready["median_times_sooner"] == pytest.approx(ready["datatrove"]["median_s"] / ready["clet"]["median_s"])
    peer.show(result)
    shown = capsys.readouterr().out
    assert "times as fast" in shown and "times sooner" in shown
