"""What `clet train` refuses before it has changed anything, and how it is stopped from a keyboard."""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess

import pytest
import torch
from processes import CLET, clean_environment
from safetensors.torch import load_file, save_file
from tiny_run import step_lines, story

from clet.exits import UsageError
from clet.release import read_release
from clet.train.provenance import verify


def test_a_folder_that_is_something_else_does_not_become_a_run(clet, make_shards, model_dir, tmp_path):
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(8)])
    for folder in (shards, model_dir):
        before = sorted(path.name for path in folder.iterdir())
        done = clet("train", shards, "--model", model_dir, "--run", folder)
        assert done.returncode == 2 and b"not a run, and not empty" in done.stderr and done.stderr.count(b"\n") == 1
        assert sorted(path.name for path in folder.iterdir()) == before


def test_weights_that_are_not_finite_are_the_models_fault_not_the_datas(clet, make_shards, model_dir, tmp_path):
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(8)])
    damaged = tmp_path / "damaged"
    shutil.copytree(model_dir, damaged)
    tensors = load_file(damaged / "model.safetensors")
    name = next(name for name in sorted(tensors) if tensors[name].ndim == 2)
    tensors[name].view(-1)[5] = torch.nan
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    done = clet("train", "-q", shards, "--model", damaged, "--run", tmp_path / "run", "--dtype", "float32")
    assert done.returncode == 65 and name.encode() in done.stderr and b"not finite" in done.stderr
    assert not (tmp_path / "run" / "breaker.json").exists()


def test_a_release_can_be_read_by_whom_the_umask_lets(clet, make_shards, model_dir, tmp_path):
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(8)])
    run = tmp_path / "run"
    assert clet("train", shards, "--model", model_dir, "--run", run, "--dtype", "float32").returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (run / "releases" / "1").iterdir()}
    (tmp_path / "probe").touch()
    assert set(modes.values()) == {stat.S_IMODE((tmp_path / "probe").stat().st_mode)}, modes


def test_ctrl_c_saves_what_was_learned_and_ends_with_130(make_shards, model_dir, tmp_path):
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(40)])
    run = tmp_path / "run"
    flags = ["--epochs", "200", "--batch-size", "1", "--save-every", "100000", "--dtype", "float32", "-j", "1"]
    process = subprocess.Popen(
        [CLET, "train", shards, "--model", model_dir, "--run", run, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    for line in process.stdout:
        if line.startswith(b'{"step":20,'):
            process.send_signal(signal.SIGINT)
            break
    process.stdout.read()
    assert process.wait() == 130 and process.stderr.read().count(b"Traceback") == 0
    made = len(step_lines(run))
    assert made >= 20
    again = subprocess.run(
        [CLET, "train", shards, "--run", run, "--tokens", "64", "-j", "1"],
        capture_output=True,
        env=clean_environment(),
    )
    assert again.returncode == 0 and b"resumed at step %d\n" % made in again.stderr


def test_settings_that_are_refused_do_not_stay_with_the_run(learn, stories, tmp_path):
    run = tmp_path / "run"
    learn(stories, run=run, tokens=400)
    before = (run / "run.json").read_bytes()
    for refused, says in (({"optimizer": "muon"}, "begun with --optimizer adamw"), ({"share": "1/2"}, "share")):
        with pytest.raises(UsageError, match=says):
            learn(stories, run=run, tokens=400, **refused)
        assert (run / "run.json").read_bytes() == before
    learn(stories, run=run, tokens=400)


def test_every_file_of_a_release_is_proved_in_folders_too(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "run", tokens=400, lora=4)
    release = read_release(tmp_path / "run", 1)
    assert verify(tmp_path / "run", release) == []
    config = release.path / "adapter" / "adapter_config.json"
    config.write_bytes(config.read_bytes().replace(b"32.0", b"99.0"))
    (release.path / "more").mkdir()
    (release.path / "more" / "model.py").write_text("")
    (release.path / "linked").symlink_to("adapter")
    (wrong,) = verify(tmp_path / "run", release)
    assert all(name in wrong for name in ("adapter/adapter_config.json", "more/model.py", "linked"))
