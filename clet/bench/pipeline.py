"""The data plane measured as it is used: processes, files and pipes.

Each stage is run alone, from the file that the stage before it wrote to a file of its own, and then all of them as
one shell-like pipe. Counted are whole processes, start-up included (it is shown, so that it can be subtracted): wall
seconds by the clock, CPU seconds by the kernel's accounting. Tokens are those that leave `ingest`, megabytes (10^6)
those of its text, for every row alike, so that rows can be compared; "out" says what was left of the records.

What one `|` costs is measured apart (`pipe.py`), and a peer beside clet where one is named (`peer.py`).

One run before the counted ones compiles kernels and warms the page cache; it is not shown.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clet.bench import peer, pipe, report
from clet.bench.processes import CLET, STAGES, run_piped, stage_commands, start, summary, wait
from clet.streams import read_batches


@dataclass
class Measured:
    """Samples of one row of the table: one value a counted run."""

    name: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    records_in: int = 0
    records_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)


def measure(
    sources: Sequence[str],
    tokenizer: str,
    *,
    runs: int,
    jobs: int,
    seq_len: int,
    against: peer.Peer | None = None,
) -> dict[str, Any]:
    """Run the data plane over `sources` (as for clet ingest) and return its figures as a JSON-able dict.

    `tokenizer` is a tokenizer.json or a model directory. Raises InputError where a stage or the peer fails.
    """
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as name:
        work = Path(name)
        rows = {stage: Measured(stage) for stage in STAGES}
        whole = Measured("whole pipe")
        stages_cpu_s: list[dict[str, float]] = []
        for run in range(runs + 1):
            folder = work / str(run)
            (folder / "piped").mkdir(parents=True)
            commands = stage_commands(sources, tokenizer, folder, jobs=jobs, seq_len=seq_len)
            _run_apart(commands, folder, rows, keep=run > 0)
            piped = run_piped(stage_commands(sources, tokenizer, folder / "piped", jobs=jobs, seq_len=seq_len), folder)
            if run:
                _add(whole, piped.wall_s, sum(piped.cpu_s.values()), piped.summaries["shard"])
                whole.records_in, whole.rejected = piped.summaries["ingest"]["in"], {}
                stages_cpu_s.append(piped.cpu_s)
        tokens, text_bytes = _volume(work / "1" / "ingest.clet")
        table = [_row(row, tokens, text_bytes) for row in [*rows.values(), whole]]
        result = {"tokens": tokens, "text_bytes": text_bytes, "runs": runs, "start_s": _start_seconds()}
        result |= {"stages": table, "stages_in_pipe_cpu_s": stages_cpu_s, "pipe": pipe.measure(work / "1/ingest.clet")}
    if against is not None:
        result["peer"] = peer.measure(sources, tokenizer, against, runs=runs, jobs=jobs, seq_len=seq_len)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures of `measure` as tables."""
    rows = [
        [s["stage"], s["in"], s["out"], report.median(s["wall_s"]), report.median(s["cpu_s"]), s["tokens_per_s"] / 1e6,
         s["mb_per_s"]]
        for s in result["stages"]
    ]  # fmt: skip
    volume = f"{result['tokens']:,} tokens, {result['text_bytes'] / 1e6:,.1f} MB of text"
    cost = result["pipe"]
    report.show(
        f"{volume}, {result['cores']} x {result['cpu']}",
        ["stage", "in", "out", "wall s", "CPU s", "M tokens/s", "MB/s"],
        rows,
        [
            f"medians of {result['runs']} runs after one warm-up; whole processes (start-up alone "
            f"{result['start_s']:.2f} s);",
            "tokens and MB are those that ingest emitted, in every row",
            f"each pipe costs {cost['ns_per_token']:.1f} ns a token: {cost['write_s']:.3f} s of CPU to write, "
            f"{cost['read_s']:.3f} s to read and check",
        ],
    )
    if "peer" in result:
        peer.show(result["peer"])


def _run_apart(commands: dict[str, list[str]], folder: Path, rows: dict[str, Measured], *, keep: bool) -> None:
    previous: Path | None = None
    for stage, command in commands.items():
        output, log = folder / f"{stage}.clet", folder / f"{stage}.log"
        extra = [] if stage == "shard" else ["-o", str(output)]
        inputs = [str(previous)] if previous else []
        started = time.monotonic()
        cpu_s = wait(start([*command, *extra, *inputs], log, None, subprocess.DEVNULL), stage, log)
        if keep:
            _add(rows[stage], time.monotonic() - started, cpu_s, summary(log))
        previous = output


def _add(row: Measured, wall_s: float, cpu_s: float, said: dict[str, Any]) -> None:
    row.wall_s.append(wall_s)
    row.cpu_s.append(cpu_s)
    row.records_in, row.records_out, row.rejected = said["in"], said["out"], said["rejected"]


def _volume(path: Path) -> tuple[int, int]:
    tokens = text_bytes = 0
    for batch in read_batches([str(path)]):
        tokens += batch.num_tokens
        text_bytes += batch.num_bytes
    return tokens, text_bytes


def _start_seconds() -> float:
    started = time.monotonic()
    subprocess.run([*CLET, "cat", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def _row(row: Measured, tokens: int, text_bytes: int) -> dict[str, Any]:
    wall_s = report.median(row.wall_s)
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
