"""clet beside datatrove: the same documents, cores and tokenizer, both sides in one run.

Two questions. How many tokens a second go from JSONL.zst to packed tokens: the four commands as a pipe against
datatrove's chain (`datatrove_chain.py`), runs alternating, ratios taken within a run. And how soon a document that
arrives is ready: on the same Poisson schedule clet runs as a pipe that is followed (`readiness.py`), datatrove collects
and processes when the last document is in, as a chain of barriers has to; its documents count as ready when its last
step begins, which favours it.

datatrove needs an interpreter of its own, because it holds older versions of libraries that clet uses; its start is
counted, as clet's is. Rates are over the tokens of all documents that went in, whatever each side then drops.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard

from clet.bench import readiness, report
from clet.bench.processes import run_piped, stage_commands, start, wait
from clet.bench.texts import texts_of
from clet.exits import InputError, UsageError

PEERS = ("datatrove",)
CHAIN = Path(__file__).with_name("datatrove_chain.py")


@dataclass(frozen=True)
class Peer:
    """What to compare with: an interpreter that has the peer, megabytes of text for both, the schedule of arrivals."""

    name: str = "datatrove"
    python: str = sys.executable
    megabytes: float = 6.0
    rate: float = 50.0
    seconds: float = 30.0


def measure(
    sources: Sequence[str], tokenizer: str, peer: Peer, *, runs: int, jobs: int, seq_len: int
) -> dict[str, Any]:
    """Both sides' samples and ratios. Raises UsageError where the peer is not installed, InputError where it fails."""
    _check_installed(peer)
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as name:
        work = Path(name)
        documents = texts_of(sources, int(peer.megabytes * 1e6))
        folder = work / "input"
        _write(documents, folder, _cores())
        result: dict[str, Any] = {"name": peer.name, "documents": len(documents), "cores": _cores(), "runs": runs}
        result["text_bytes"] = sum(len(text.encode()) for text in documents)
        sides: dict[str, list[dict[str, Any]]] = {"clet": [], peer.name: []}
        for run in range(runs):
            for side in list(sides) if run % 2 == 0 else list(sides)[::-1]:
                place = work / f"{side}-{run}"
                place.mkdir()
                if side == "clet":
                    sides[side].append(_clet(folder, tokenizer, place, jobs, seq_len))
                else:
                    sides[side].append(_chain(peer, folder, tokenizer, place))
        tokens = result["tokens"] = sides["clet"][0]["tokens_in"]
        for side, samples in sides.items():
            wall_s = [sample["wall_s"] for sample in samples]
            result[side] = {"samples": samples, "tokens_per_s": tokens / report.median(wall_s)}
        pairs = zip(sides[peer.name], sides["clet"], strict=True)
        result["times_faster"] = report.median([theirs["wall_s"] / ours["wall_s"] for theirs, ours in pairs])
        if peer.seconds:
            result["ready"] = _ready(documents, tokenizer, peer, work)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures of `measure` as tables."""
    name = result["name"]
    rows = [
        [side, report.median([sample["wall_s"] for sample in result[side]["samples"]]),
         result[side]["tokens_per_s"] / 1e6, result[side]["samples"][0]["documents"]]
        for side in ("clet", name)
    ]  # fmt: skip
    report.show(
        f"JSONL.zst to packed tokens: {result['documents']:,} documents, {result['tokens']:,} tokens, "
        f"{result['text_bytes'] / 1e6:.1f} MB, {result['cores']} cores",
        ["side", "wall s", "M tokens/s", "documents left"],
        rows,
        [f"clet {result['times_faster']:,.0f} times as fast; {result['runs']} alternating runs, start-up counted"],
    )
    if "ready" not in result:
        return
    ready = result["ready"]
    rows = [[side, *(ready[side][key] for key in ("first_s", "median_s", "p99_s"))] for side in ("clet", name)]
    report.show(
        f"from arrival to tokens that nothing repeats: {ready['documents']:,} documents in {ready['seconds']:.0f} s",
        ["side", "first s", "median s", "p99 s"],
        rows,
        [
            f"median {ready['median_times_sooner']:,.0f} times sooner, the first {ready['first_times_sooner']:,.0f}; "
            f"clet's pipe had started ({ready['clet']['start_s']:.1f} s),",
            f"{name} collects for {ready['seconds']:.0f} s and needs {ready[name]['process_s']:.1f} s more until its "
            "last step begins",
        ],
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _check_installed(peer: Peer) -> None:
    command = [peer.python, "-P", "-c", "import datatrove.pipeline.dedup, spacy"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise UsageError(f"--peer-python {peer.python}: {error.strerror}") from None
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["cannot be imported"])[-1]
        raise UsageError(f"{peer.python} has no datatrove ({last}); see clet help bench, and name --peer-python")


def _write(documents: Sequence[str], folder: Path, files: int) -> None:
    """The documents as JSONL.zst, one file for each of the peer's tasks."""
    folder.mkdir()
    for number in range(files):
        lines = [
            orjson.dumps({"id": str(row), "text": documents[row]}) + b"\n"
            for row in range(number, len(documents), files)
        ]
        (folder / f"part-{number}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(b"".join(lines)))


def _clet(folder: Path, tokenizer: str, place: Path, jobs: int, seq_len: int) -> dict[str, Any]:
    piped = run_piped(stage_commands([f"jsonl:{folder}"], tokenizer, place, jobs=jobs, seq_len=seq_len), place)
    said = piped.summaries
    return {
        "wall_s": piped.wall_s,
        "cpu_s": sum(piped.cpu_s.values()),
        "tokens_in": said["ingest"]["tokens"],
        "documents": said["shard"]["out"],
        "tokens": said["shard"]["tokens"],
    }


def _chain(peer: Peer, folder: Path, tokenizer: str, place: Path) -> dict[str, Any]:
    file = Path(tokenizer, "tokenizer.json") if Path(tokenizer).is_dir() else Path(tokenizer)
    command = [peer.python, "-P", str(CHAIN), str(folder), str(file), str(place), str(_cores())]
    started, log = time.monotonic(), place / "chain.log"
    process = start(command, log, None, subprocess.PIPE)
    body = process.stdout.read()
    process.stdout.close()
    wait(process, peer.name, log)
    if process.returncode:
        raise InputError(f"{peer.name} ended with 1: {log.read_text(errors='replace').strip().splitlines()[-1]}")
    return {**orjson.loads(body), "wall_s": time.monotonic() - started}  # its workers' CPU is nobody's to count


def _ready(documents: Sequence[str], tokenizer: str, peer: Peer, work: Path) -> dict[str, Any]:
    times = readiness.poisson(peer.rate, peer.seconds)
    arriving = [f"{documents[number % len(documents)]}\n\nNumber {number}." for number in range(len(times))]
    ours = readiness.measure(arriving, times, tokenizer, work / "live")
    _write(arriving, work / "collected", _cores())
    (work / "chain").mkdir()
    process_s = _chain(peer, work / "collected", tokenizer, work / "chain")["last_began_s"]
    theirs = readiness.figures([times[-1] + process_s - at for at in times]) | {"process_s": process_s}
    return {
        "documents": len(times),
        "seconds": peer.seconds,
        "rate": peer.rate,
        "clet": ours,
        peer.name: theirs,
        "first_times_sooner": theirs["first_s"] / ours["first_s"],
        "median_times_sooner": theirs["median_s"] / ours["median_s"],
    }
