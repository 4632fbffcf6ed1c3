"""scripts/nightly.sh as cron runs it: a turn, nothing new, a turn that was killed, a turn that the gate refuses."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import CLET, clean_environment

NIGHTLY = Path(__file__).parent.parent / "scripts" / "nightly.sh"


@pytest.fixture
def home(workshop, tmp_path):
    for name in ("model", "docs"):
        shutil.copytree(workshop / name, tmp_path / name)
    (tmp_path / "held-out").mkdir()
    shutil.copy(workshop / "news.clet", tmp_path / "held-out")
    shutil.move(tmp_path / "docs" / "report-11.txt", tmp_path / "later.txt")
    (tmp_path / "sources").write_text("# what we read\nfile:docs   # every day\n")
    (tmp_path / "clet.toml").write_text("[shard]\nseq-len = 64\n[train]\nbatch-size = 2\n")
    return tmp_path


def turn(home, **env):
    path = f"{CLET.parent}:{os.environ['PATH']}"
    return subprocess.run(
        [NIGHTLY],
        env=clean_environment() | {"PATH": path, "CLET_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        timeout=600,
    )


def releases(home):
    return sorted(int(path.name) for path in (home / "run" / "releases").iterdir())


def test_turns_learn_what_is_new_and_promote_it(home):
    first = turn(home)
    assert first.returncode == 0, first.stderr
    assert (releases(home), os.readlink(home / "run" / "live")) == ([1], "releases/1")
    assert turn(home).returncode == 3
    shutil.move(home / "later.txt", home / "docs" / "report-11.txt")
    second = turn(home, CLET_MAX_LOSS_RISE="100")
    assert second.returncode == 0, second.stderr
    assert (releases(home), os.readlink(home / "run" / "live")) == ([1, 2], "releases/2")
    facts = json.loads((home / "run" / "releases" / "2" / "release.json").read_text())
    assert facts["documents"] == 12
    assert not (home / "turns" / "open").exists()


def test_a_release_that_predicts_worse_stays_a_candidate(home):
    assert turn(home).returncode == 0
    shutil.move(home / "later.txt", home / "docs" / "report-11.txt")
    refused = turn(home, CLET_MAX_LOSS_RISE="-100")
    assert refused.returncode == 1
    assert "stays a candidate" in refused.stderr
    assert os.readlink(home / "run" / "live") == "releases/1"
    assert releases(home) == [1, 2]


def test_a_turn_killed_anywhere_is_finished_by_the_next(home):
    environment = clean_environment() | {"PATH": f"{CLET.parent}:{os.environ['PATH']}", "CLET_HOME": str(home)}
    for name in ("1-documents.clet", "3-ordered.clet", "4-sharded"):
        victim = subprocess.Popen(
            [NIGHTLY], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 100
        while not list(home.glob(f"turns/*/{name}")):
            assert victim.poll() is None, f"ended before {name}"
            assert time.monotonic() < deadline
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        # A command that was killed with it may hold the lock for a moment longer than the shell lived.
        subprocess.run(["flock", home / "turns" / "lock", "true"], timeout=60, check=True)
    finished = turn(home)
    assert finished.returncode == 0, finished.stderr
    facts = json.loads((home / "run" / "releases" / "1" / "release.json").read_text())
    assert facts["documents"] == 11
    assert turn(home).returncode == 3


def test_two_turns_at_once_are_told_to_try_later(home):
    (home / "turns").mkdir()
    holder = subprocess.Popen(["flock", home / "turns" / "lock", "cat"], stdin=subprocess.PIPE)
    try:
        subprocess.run(["bash", "-c", f"until ! flock -n {home}/turns/lock true; do :; done"], timeout=60, check=True)
        assert turn(home).returncode == 75
    finally:
        holder.stdin.close()
        holder.wait()


@pytest.mark.parametrize("body", [None, "# nothing yet\n"])
def test_no_source_is_a_wrong_configuration_not_a_quiet_night(home, body):
    (home / "sources").unlink()
    if body:
        (home / "sources").write_text(body)
    done = turn(home)
    assert done.returncode == 78
    assert "sources" in done.stderr


def test_shards_that_the_run_refuses_are_made_anew(home):
    assert turn(home).returncode == 0
    shutil.move(home / "later.txt", home / "docs" / "report-11.txt")
    settings = (home / "clet.toml").read_text()
    (home / "clet.toml").write_text(settings.replace("64", "32"))
    assert turn(home).returncode == 65
    (home / "clet.toml").write_text(settings)
    mended = turn(home, CLET_MAX_LOSS_RISE="100")
    assert mended.returncode == 0, mended.stderr
    assert releases(home) == [1, 2]
