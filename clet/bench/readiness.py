"""How soon a document that arrives is tokens that nothing repeats, while the others still arrive.

Documents arrive by a Poisson process and are written, a JSON line each, to `clet ingest --follow - | clet dedup`; a
document is ready when the batch that holds it has been read from the end of the pipe. (`clet prioritize` comes after
it and makes documents wait for each other on purpose: it orders them.) Open loop: what is slow does not slow the
arrivals, and a document counts from when it should have been sent. A document of its own, sent and awaited before the
clock starts, keeps the start of the processes out (it is shown). Documents that are dropped do not count.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from clet import seeds
from clet.bench.processes import CLET, wait
from clet.codecs import Peekable
from clet.exits import InputError
from clet.streams import read_stream, refuse_bad

STARTER = "A document that is sent before the clock starts, so that every process has imported what it needs."
PATIENCE_S = 60.0


def poisson(rate: float, seconds: float, seed: int = 1) -> list[float]:
    """Seconds at which documents arrive, `rate` a second on average; at least one."""
    random, now, times = seeds.python_random(seed, "bench/readiness"), 0.0, []
    while (now := now + random.expovariate(rate)) < seconds or not times:
        times.append(now)
    return times


def measure(texts: Sequence[str], times: Sequence[float], tokenizer: str, folder: Path) -> dict[str, Any]:
    """Seconds from arrival to ready for texts that arrive at `times`. Raises InputError where a stage fails."""
    folder.mkdir()
    commands = {
        "ingest": [*CLET, "ingest", "-q", "--follow", "--tokenizer", tokenizer, "-"],
        "dedup": [*CLET, "dedup", "-q", "--state", str(folder / "seen")],
    }
    started, upstream, processes = time.monotonic(), subprocess.PIPE, {}
    for stage, command in commands.items():
        with open(folder / f"{stage}.log", "wb") as log:
            processes[stage] = subprocess.Popen(command, stdin=upstream, stdout=subprocess.PIPE, stderr=log)
        if upstream is not subprocess.PIPE:
            upstream.close()
        upstream = processes[stage].stdout
    entry = processes["ingest"].stdin
    watch = _Watch(upstream)
    watch.start()
    _send(entry, "start", STARTER)
    watch.wait_for_first()
    start_s, began = time.monotonic() - started, time.monotonic()
    for number, (text, at) in enumerate(zip(texts, times, strict=True)):
        time.sleep(max(0.0, began + at - time.monotonic()))
        _send(entry, str(number), text)
    entry.close()
    watch.join()
    for stage, process in processes.items():
        wait(process, stage, folder / f"{stage}.log")
    ready = watch.ready
    samples = [ready[str(number)] - began - at for number, at in enumerate(times) if str(number) in ready]
    if not samples:
        raise InputError("no document came out at the end of the pipe")
    return figures(samples) | {"start_s": start_s, "ready": len(samples)}


def figures(samples: Sequence[float]) -> dict[str, Any]:
    """Of the first document, the median one and the slowest of a hundred; all samples."""
    ordered = sorted(samples)
    return {
        "first_s": samples[0],
        "median_s": ordered[len(ordered) // 2],
        "p99_s": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        "samples_s": [round(sample, 5) for sample in samples],
    }


def _send(stream: Any, name: str, text: str) -> None:
    stream.write(orjson.dumps({"id": name, "text": text}) + b"\n")
    stream.flush()


class _Watch(threading.Thread):
    """Reads the end of the pipe and notes when each document came, by the id that it was sent with."""

    def __init__(self, stream: Any):
        super().__init__(daemon=True)
        self.ready: dict[str, float] = {}
        self._first = threading.Event()
        self._stream = stream

    def run(self) -> None:
        """Until the pipe ends; what is damaged in it is seen by who waits for documents."""
        try:
            for batch in read_stream(Peekable(self._stream.raw), "the pipe", refuse_bad):
                now = time.monotonic()
                for row in range(len(batch)):
                    self.ready[batch.fields(row)["meta"]["id"]] = now
                self._first.set()
        except InputError:
            self._first.set()

    def wait_for_first(self) -> None:
        """Until a document has come. Raises InputError where none does."""
        if not self._first.wait(PATIENCE_S) or not self.ready:
            raise InputError("no document came out at the end of the pipe")
