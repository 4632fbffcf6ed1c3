"""The commands of the data plane as processes: started, piped into each other, waited for, their summaries read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from clet.exits import InputError

CLET = [sys.executable, "-m", "clet"]
STAGES = ("ingest", "dedup", "prioritize", "shard")


class Piped(NamedTuple):
    """One run of all stages as a pipe."""

    wall_s: float
    cpu_s: dict[str, float]  # by stage
    summaries: dict[str, dict[str, Any]]  # what each stage said at its end


def stage_commands(
    sources: Sequence[str], tokenizer: str, folder: Path, *, jobs: int = 1, seq_len: int = 512
) -> dict[str, list[str]]:
    """The command line of each stage, with states and shards of their own below `folder`."""
    threads = ["--json", "-j", str(jobs)]
    shards = ["--tokenizer", tokenizer, "--seq-len", str(seq_len), "-o", str(folder / "shards")]
    return {
        "ingest": [*CLET, "ingest", *threads, "--tokenizer", tokenizer, *sources],
        "dedup": [*CLET, "dedup", *threads, "--state", str(folder / "seen")],
        "prioritize": [*CLET, "prioritize", "--json", "--state", str(folder / "trust")],
        "shard": [*CLET, "shard", *threads, *shards],
    }


def run_piped(commands: dict[str, list[str]], folder: Path) -> Piped:
    """Run the stages as a shell would, the last one's output thrown away. Raises InputError where one fails."""
    started = time.monotonic()
    processes, upstream = {}, None
    last = list(commands)[-1]
    for stage, command in commands.items():
        log = folder / f"piped-{stage}.log"
        processes[stage] = start(command, log, upstream, subprocess.DEVNULL if stage == last else subprocess.PIPE)
        if upstream:
            upstream.close()  # ours: the reader alone must hold it, or a dead stage would never be noticed
        upstream = processes[stage].stdout
    cpu_s = {stage: wait(process, stage, folder / f"piped-{stage}.log") for stage, process in processes.items()}
    wall_s = time.monotonic() - started
    return Piped(wall_s, cpu_s, {stage: summary(folder / f"piped-{stage}.log") for stage in commands})


def start(command: list[str], log: Path, stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """A process whose messages go to `log`."""
    with open(log, "wb") as stderr:
        return subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=stdout, stderr=stderr)


def wait(process: subprocess.Popen[bytes], name: str, log: Path) -> float:
    """CPU seconds of a process, its waited-for children included. Raises InputError where it failed."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
        raise InputError(f"{name} ended with {process.returncode}: {_reason(lines)}")
    return usage.ru_utime + usage.ru_stime


def summary(log: Path) -> dict[str, Any]:
    """The last line that a command said with --json."""
    return orjson.loads(log.read_bytes().strip().splitlines()[-1])


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """This process, and what it starts meanwhile, on one core only. Raises OSError where there is no such core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _reason(lines: list[str]) -> str:
    """The last message of a command that was run with --json, else its last line."""
    for line in reversed(lines):
        try:
            if message := orjson.loads(line).get("message"):
                return str(message)
        except (orjson.JSONDecodeError, AttributeError):
            break
    return lines[-1]
