"""The data plane measured as it is used: processes, files and pipes.

Each stage is run alone, from the file that the stage before it wrote to a file of its own, and then all of them as
one shell-like pipe. Counted are whole processes, start-up included (it is shown, so that it can be subtracted): wall
seconds by the clock, CPU seconds by the kernel's accounting. Tokens are those that leave `ingest`, megabytes (10^6)
those of its text, for every row alike, so that rows can be compared; "out" says what was left of the records.

One run before the counted ones compiles kernels and warms the page cache; it is not shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError
from clet.streams import read_batches

STAGES = ("ingest", "dedup", "prioritize", "shard")


@dataclass
class Measured:
    """Samples of one row of the table: one value a counted run."""

    name: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    records_in: int = 0
    records_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)


def measure(sources: Sequence[str], tokenizer: str, *, runs: int, jobs: int, seq_len: int) -> dict[str, Any]:
    """Run the data plane over `sources` (as for clet ingest) and return its figures as a JSON-able dict.

    `tokenizer` is a tokenizer.json or a model directory. Raises InputError where a stage fails.
    """
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as name:
        work = Path(name)
        rows = {stage: Measured(stage) for stage in STAGES}
        whole = Measured("whole pipe")
        for run in range(runs + 1):
            folder = work / str(run)
            folder.mkdir()
            commands = _commands(sources, tokenizer, folder, jobs, seq_len)
            _run_apart(commands, folder, rows, keep=run > 0)
            _run_piped(_commands(sources, tokenizer, folder / "piped", jobs, seq_len), folder, whole, keep=run > 0)
        tokens, text_bytes = _volume(work / "1" / "ingest.clet")
    table = [_row(row, tokens, text_bytes) for row in [*rows.values(), whole]]
    return {"tokens": tokens, "text_bytes": text_bytes, "runs": runs, "start_s": _start_seconds(), "stages": table}


def _commands(sources: Sequence[str], tokenizer: str, folder: Path, jobs: int, seq_len: int) -> dict[str, list[str]]:
    clet = [sys.executable, "-m", "clet"]
    shards = str(folder / "shards")
    return {
        "ingest": [*clet, "ingest", "--json", "-j", str(jobs), "--tokenizer", tokenizer, *sources],
        "dedup": [*clet, "dedup", "--json", "-j", str(jobs), "--state", str(folder / "seen")],
        "prioritize": [*clet, "prioritize", "--json", "--state", str(folder / "trust")],
        "shard": [*clet, "shard", "--json", "--tokenizer", tokenizer, "--seq-len", str(seq_len), "-o", shards],
    }


def _run_apart(commands: dict[str, list[str]], folder: Path, rows: dict[str, Measured], *, keep: bool) -> None:
    previous: Path | None = None
    for stage, command in commands.items():
        output = folder / f"{stage}.clet"
        extra = [] if stage == "shard" else ["-o", str(output)]
        inputs = [str(previous)] if previous else []
        started = time.monotonic()
        process = _start([*command, *extra, *inputs], folder / f"{stage}.log", None, subprocess.DEVNULL)
        cpu_s = _wait(process, stage, folder / f"{stage}.log")
        if keep:
            _add(rows[stage], time.monotonic() - started, cpu_s, folder / f"{stage}.log")
        previous = output


def _run_piped(commands: dict[str, list[str]], folder: Path, whole: Measured, *, keep: bool) -> None:
    (folder / "piped").mkdir()
    started = time.monotonic()
    processes, upstream = [], None
    for stage, command in commands.items():
        last = stage == STAGES[-1]
        log = folder / f"piped-{stage}.log"
        process = _start(command, log, upstream, subprocess.DEVNULL if last else subprocess.PIPE)
        if upstream:
            upstream.close()  # ours: the reader alone must hold it, or a dead stage would never be noticed
        upstream = process.stdout
        processes.append((stage, process, log))
    cpu_s = sum(_wait(process, stage, log) for stage, process, log in processes)
    if keep:
        _add(whole, time.monotonic() - started, cpu_s, folder / "piped-shard.log")
        whole.records_in = _summary(folder / "piped-ingest.log")["in"]
        whole.rejected = {}


def _start(command: list[str], log: Path, stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    with open(log, "wb") as stderr:
        return subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=stdout, stderr=stderr)


def _wait(process: subprocess.Popen[bytes], stage: str, log: Path) -> float:
    """CPU seconds of a finished stage. Raises InputError where it failed."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
        raise InputError(f"{stage} ended with {process.returncode}: {lines[-1]}")
    return usage.ru_utime + usage.ru_stime


def _summary(log: Path) -> dict[str, Any]:
    return orjson.loads(log.read_bytes().strip().splitlines()[-1])


def _add(row: Measured, wall_s: float, cpu_s: float, log: Path) -> None:
    summary = _summary(log)
    row.wall_s.append(wall_s)
    row.cpu_s.append(cpu_s)
    row.records_in, row.records_out, row.rejected = summary["in"], summary["out"], summary["rejected"]


def _volume(path: Path) -> tuple[int, int]:
    tokens = text_bytes = 0
    for batch in read_batches([str(path)]):
        tokens += batch.num_tokens
        text_bytes += batch.num_bytes
    return tokens, text_bytes


def _start_seconds() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "clet", "cat", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def _row(row: Measured, tokens: int, text_bytes: int) -> dict[str, Any]:
    wall_s = sorted(row.wall_s)[len(row.wall_s) // 2]
    return {
        "stage": row.name,
        "in": row.records_in,
        "out": row.records_out,
        "rejected": row.rejected,
        "wall_s": row.wall_s,
        "cpu_s": row.cpu_s,
        "tokens_per_s": tokens / wall_s,
        "mb_per_s": text_bytes / 1e6 / wall_s,
    }
