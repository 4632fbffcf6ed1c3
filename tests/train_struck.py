"""clet train struck at system calls, in an interpreter of its own: see `in_fresh_process`."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import orjson
import pytest
from faults import SEEDS, places, run_here, strike
from tiny_run import make_model_dir, make_shards, step_lines, story

NAME = "train"


def in_fresh_process(scenario: Callable[[Path], None], folder: Path) -> None:
    """Run a scenario where OpenMP has no threads yet: a forked child would wait for those of its parent for ever."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        if skipped := pool.submit(_carry_out, scenario, folder).result():
            pytest.skip(skipped)


def _carry_out(scenario: Callable[[Path], None], folder: Path) -> str | None:
    import torch

    torch.set_num_threads(1)
    make_model_dir(folder / "model")
    make_shards(folder / "shards", [story(i) for i in range(12)], model=folder / "model")
    assert train(folder, folder / "whole") == 0
    try:
        scenario(folder)
    except pytest.skip.Exception as skipped:  # it does not survive the way back
        return str(skipped)
    return None


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


def at_any_call(folder: Path) -> None:
    """Struck anywhere, in every way, and started again: the run that it would have been."""
    whole = made(folder / "whole")
    assert len(whole[1]) == 3
    counted = strike(lambda: train(folder, folder / "count"))
    assert counted.status == 0, counted.said
    for seed, at, how in places(counted.calls, range(max(8, SEEDS // 25)), NAME):
        run = folder / f"run{seed}"
        outcome = strike(lambda run=run: train(folder, run), at=at, how=how)
        wanted = {0, -9} if isinstance(how, str) else {0, 74, 65, 2}
        assert outcome.status in wanted, (seed, at, how, outcome)
        assert "Traceback" not in outcome.said, (seed, at, how, outcome.said)
        if outcome.status == 74:
            assert outcome.said.count("\n") == 1 and os.strerror(int(how)) in outcome.said
        assert train(folder, run) in (0, 3), (seed, at, how)
        assert made(run) == whole, (seed, at, how, outcome.struck)
        shutil.rmtree(run)


def at_a_full_disk(folder: Path) -> None:
    """No room at the last calls, which are a release's: said, and released by the next trainer."""
    whole = made(folder / "whole")
    said = []
    counted = strike(lambda: train(folder, folder / "count"))
    for at in range(counted.calls - 60, counted.calls, 12):  # the last calls are those of the last release
        run = folder / f"full{at}"
        outcome = strike(lambda run=run: train(folder, run), at=at, how=errno.ENOSPC)
        said.append(outcome.said)
        assert outcome.status in (0, 74), outcome
        assert train(folder, run) in (0, 3)
        assert made(run) == whole
    assert any("nothing was released" in line or "No space left" in line for line in said), said
