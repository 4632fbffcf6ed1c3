"""kill -9 on a real trainer, at steps drawn at random: the run ends as the undisturbed one does."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess

from processes import CLET, clean_environment
from tiny_run import step_lines, story

from clet.seeds import python_random

PAGE = 4096


def train(run, *shards, model, kill_after: int | None = None) -> int:
    """One `clet train` process, killed once it has told of step `kill_after`; its status.

    Its stdout is a pipe of one page: it cannot be further than some 30 lines ahead of what was read here.
    """
    ours, its = os.pipe()
    fcntl.fcntl(its, fcntl.F_SETPIPE_SZ, PAGE)
    process = subprocess.Popen(
        [CLET, "train", *shards, "--model", model, "--run", run, "-j", "1"],
        stdout=its,
        stderr=subprocess.DEVNULL,
        env=clean_environment() | {f"CLET_TRAIN_{name.upper()}": str(value) for name, value in SETTINGS.items()},
    )
    os.close(its)
    with open(ours, "rb", buffering=0) as lines:
        for line in lines:
            if kill_after is not None and line.startswith(b'{"step":%d,' % kill_after):
                process.send_signal(signal.SIGKILL)
                break
        else:
            assert kill_after is None, "the run was over before it could be killed"
        return process.wait()


SETTINGS = {"batch_size": 1, "lr": 3e-3, "warmup": 4, "save_every": 7, "replay": 0.2, "dtype": "float32", "cooldown": 3}


def test_killed_at_random_steps_the_run_ends_with_the_undisturbed_weights(learn, make_shards, model_dir, tmp_path):
    old = make_shards(tmp_path / "old", [story(i) for i in range(24)])
    new = make_shards(tmp_path / "new", [story(i) for i in range(100, 124)], day=2)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    learn(old, run=whole, **SETTINGS)
    first = len(step_lines(whole))
    learn(old, new, run=whole, **SETTINGS)
    last = len(step_lines(whole))
    random = python_random(5, "tests/kill")
    for shards, begin, end in (([old], 2, first - 40), ([old, new], first + 1, last - 40)):
        assert begin < end
        status = train(killed, *shards, model=model_dir, kill_after=random.randint(begin, end))
        assert status == -signal.SIGKILL
    assert train(killed, old, new, model=model_dir) == 0
    assert step_lines(killed) == step_lines(whole)
    weights = [(run / "realtime" / "model.safetensors").read_bytes() for run in (killed, whole)]
    assert weights[0] == weights[1]
