"""The live view and the metrics of clet train, as a process with a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess

import orjson
import pytest
from processes import CLET, clean_environment
from tiny_run import make_model_dir, make_shards, story

ESCAPE = b"\x1b["
SHOW_CURSOR = b"\x1b[?25h"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("view")
    make_model_dir(place / "model")
    hostile = "evil\x1b]0;pwned\x07[bold]\u202e.org"
    make_shards(place / "shards", [story(i) for i in range(24)], model=place / "model", origin=hostile)
    return place


def train(place, run, *, on_terminal: tuple[str, ...], environment=(), more=()) -> dict[str, bytes]:
    """Train with the named streams on a terminal; what appeared on `stdout` and on `terminal`."""
    ours, theirs = pty.openpty()
    command = [CLET, "train", "shards", "--model", "model", "--run", run, "--epochs", "3", *more]
    streams = {name: theirs if name in on_terminal else subprocess.PIPE for name in ("stdout", "stderr")}
    env = clean_environment() | {"TERM": "xterm-256color", "COLUMNS": "100", "PYTHONUTF8": "1"} | dict(environment)
    process = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, env=env, **streams)
    os.close(theirs)
    seen = bytearray()
    try:
        while chunk := os.read(ours, 1 << 16):
            seen += chunk
    except OSError:  # the other side is closed
        pass
    out = process.stdout.read() if process.stdout else b""
    errors = process.stderr.read() if process.stderr else b""
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    assert process.wait(timeout=60) == 0, seen + errors
    os.close(ours)
    return {"stdout": out, "terminal": bytes(seen), "stderr": errors}


def test_a_terminal_gets_a_view_and_stdout_its_lines(place):
    got = train(place, "seen", on_terminal=("stderr",))
    shown = got["terminal"].decode()
    for words in ("tokens/s", "warmup", "has not tripped", "release", "2026-03-01", "\u2581", "\u2588"):
        assert words in shown
    assert "evil\\x1b" in shown and "\x1b]0" not in shown and "\u202e" not in shown
    assert "release 1 at step" in shown and ", release 1," in shown.splitlines()[-1]  # the log, above and below
    assert got["terminal"].rindex(SHOW_CURSOR) > 0
    assert all(orjson.loads(line) for line in got["stdout"].splitlines())


def test_lines_of_steps_do_not_tear_a_view_on_the_same_terminal(place):
    got = train(place, "both", on_terminal=("stdout", "stderr"))
    assert b"tokens/s" in got["terminal"] and b'{"step"' not in got["terminal"]


@pytest.mark.parametrize(
    ("environment", "more"), [({"CLET_NO_PROGRESS": "1"}, []), ({"TERM": "dumb"}, []), ({}, ["-q"]), ({}, ["--json"])]
)
def test_no_view_where_it_is_not_wanted(place, environment, more):
    run = f"plain{len(environment)}{environment.get('TERM', '')}{''.join(more)}"
    got = train(place, run, on_terminal=("stdout", "stderr"), environment=environment, more=more)
    assert ESCAPE not in got["terminal"] and b'{"step"' in got["terminal"]


def test_without_a_terminal_nothing_is_drawn_and_the_metrics_file_is_whole(place):
    got = train(place, "quiet", on_terminal=(), more=["--metrics", "clet.prom"])
    assert got["terminal"] == b"" and ESCAPE not in got["stderr"]
    steps = [line for line in map(orjson.loads, got["stdout"].splitlines()) if "event" not in line]
    assert f"clet_train_step {steps[-1]['step']}.0" in (place / "clet.prom").read_text()


def test_a_report_is_written_at_the_end_and_at_any_time(place):
    train(place, "told", on_terminal=(), more=["--report", "told.html"])
    at_the_end = (place / "told.html").read_bytes()
    command = [CLET, "release", "report", "told"]
    later = subprocess.run(command, cwd=place, capture_output=True, env=clean_environment(), timeout=60)
    assert later.returncode == 0 and later.stdout == at_the_end and b"Learned" in at_the_end
    refused = subprocess.run(
        [CLET, "train", "shards", "--run", "told", "--report", "nowhere/x.html"],
        cwd=place, capture_output=True, stdin=subprocess.DEVNULL, env=clean_environment(), timeout=60,
    )  # fmt: skip
    assert refused.returncode == 2 and refused.stderr.count(b"\n") == 1


def test_an_address_that_cannot_be_had_is_one_line_before_anything_is_done(place):
    done = subprocess.run(
        [CLET, "train", "shards", "--model", "model", "--run", "none", "--metrics", "nowhere"],
        cwd=place, capture_output=True, stdin=subprocess.DEVNULL, env=clean_environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"--metrics nowhere" in done.stderr
    assert not (place / "none").exists()
