"""clet train struck at any system call, its releases and saves written aside included: nothing whole is lost.

A trainer that is killed, or whose disk is full or fails, at any call that changes something outside it ends as it
should, and the next one makes the run that an undisturbed one would have made.
"""

from __future__ import annotations

import errno
import os
import shutil

import orjson
import pytest
from faults import SEEDS, places, run_here, strike
from tiny_run import make_model_dir, make_shards, step_lines, story

NAME = "train"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, shards, and the run of an undisturbed trainer."""
    import torch

    torch.set_num_threads(1)  # threads of a pool would not survive the fork
    folder = tmp_path_factory.mktemp("faults")
    make_model_dir(folder / "model")
    make_shards(folder / "shards", [story(i) for i in range(12)], model=folder / "model")
    assert train(folder, folder / "whole") == 0
    return folder


def train(folder, run) -> int:
    """One trainer in this process, what it prints thrown away."""
    null = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(1)
    os.dup2(null, 1)
    try:
        return run_here(
            "train", folder / "shards", "--model", folder / "model", "--run", run, "-q", "-j", 1, "--lr", "3e-3",
            "--batch-size", 4, "--save-every", 3, "--release-every", 600, "--cooldown", 2,
        )  # fmt: skip
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def made(run):
    """What a run has made: steps, and what each release is."""
    facts = [orjson.loads(path.read_bytes()) for path in sorted(run.glob("releases/*/release.json"))]
    return step_lines(run), [{name: value for name, value in each.items() if name != "created"} for each in facts]


@pytest.mark.faults
def test_struck_at_any_call_the_run_goes_on_to_what_it_would_have_been(place, tmp_path):
    whole = made(place / "whole")
    assert len(whole[1]) == 3
    counted = strike(lambda: train(place, tmp_path / "count"))
    assert counted.status == 0, counted.said
    for seed, at, how in places(counted.calls, range(max(8, SEEDS // 25)), NAME):
        run = tmp_path / f"run{seed}"
        outcome = strike(lambda run=run: train(place, run), at=at, how=how)
        wanted = {0, -9} if isinstance(how, str) else {0, 74, 65, 2}
        assert outcome.status in wanted, (seed, at, how, outcome)
        assert "Traceback" not in outcome.said, (seed, at, how, outcome.said)
        if outcome.status == 74:
            assert outcome.said.count("\n") == 1 and os.strerror(int(how)) in outcome.said
        assert train(place, run) in (0, 3), (seed, at, how)
        assert made(run) == whole, (seed, at, how, outcome.struck)
        shutil.rmtree(run)


@pytest.mark.faults
def test_a_disk_that_is_full_while_releasing_says_so_and_the_release_is_made_later(place, tmp_path):
    whole = made(place / "whole")
    said = []
    counted = strike(lambda: train(place, tmp_path / "count"))
    for at in range(counted.calls - 60, counted.calls, 12):  # the last calls are those of the last release
        run = tmp_path / f"full{at}"
        outcome = strike(lambda run=run: train(place, run), at=at, how=errno.ENOSPC)
        said.append(outcome.said)
        assert outcome.status in (0, 74), outcome
        assert train(place, run) in (0, 3)
        assert made(run) == whole
    assert any("nothing was released" in line or "No space left" in line for line in said), said
