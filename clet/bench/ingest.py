"""The intake measured: what it reads, how soon, how fast, and in how much memory.

Each part is measured where its input is given, all in one run, so that ratios hold:

    read      every source once, by the command: documents, failures with their reasons, time
    feeds     entries found against independent readers (`feeds.py`)
    replay    captures of feeds polled in the order of their dates (`feeds.py`)
    pages     main text against reference texts, with other extractors (`extraction.py`)
    speed     from local JSON lines, against the tokenizer alone (`intake.py`)
    arrival   from arrival to tokens, at a rate of documents (`arrival.py`)
    memory    while a number of records passes (`intake.py`)
    many      so many feeds followed by one process (`many.py`)

The texts of speed, arrival and memory are those that the sources gave. Data sets may be folders or `.tar.zst` archives.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard

from clet.exits import InputError, UsageError

MAX_TEXTS_BYTES = 64 << 20  # of the sources' text are kept for the later parts


@dataclass(frozen=True)
class Plan:
    """What to measure. A part whose size is 0, or whose data set is None, is left out."""

    feeds: str | None = None
    captures: str | None = None
    pages: Sequence[str] = ()
    rate: float = 200.0
    seconds: float = 30.0
    records: int = 1_000_000
    runs: int = 3
    many: int = 0
    jobs: int = 1


def measure(sources: Sequence[str], tokenizer: str | None, plan: Plan) -> dict[str, Any]:
    """The parts as a JSON-able dict by name. Raises InputError where the command fails, UsageError for no input."""
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as name:
        work = Path(name)
        texts: list[str] = []
        if sources:
            parts["read"] = _read(sources, work, texts)
        if plan.feeds:
            from clet.bench import feeds

            with _folder(plan.feeds, work) as folder:
                parts["feeds"] = feeds.measure(str(folder))
        if plan.captures:
            from clet.bench import feeds

            with _folder(plan.captures, work) as folder:
                parts["replay"] = feeds.replay(str(folder))
        for place in plan.pages:
            from clet.bench import extraction

            with _folder(place, work) as folder:
                parts.setdefault("pages", {})[Path(place).name.split(".")[0]] = extraction.measure(folder)
        if tokenizer and texts:
            parts |= _timed(texts, tokenizer, plan)
        if plan.many:
            from clet.bench import many

            parts["many"] = many.measure(plan.many)
    if not parts:
        raise UsageError("nothing to measure: name sources, --feeds, --captures, --pages or --many")
    return parts


def _timed(texts: list[str], tokenizer: str, plan: Plan) -> dict[str, Any]:
    from clet.bench import arrival, intake

    parts: dict[str, Any] = {}
    if plan.runs:
        parts["speed"] = intake.throughput(texts, tokenizer, runs=plan.runs, jobs=plan.jobs)
    if plan.seconds:
        parts["arrival"] = arrival.measure(texts, tokenizer, rate=plan.rate, seconds=plan.seconds)
    if plan.records:
        parts["memory"] = intake.memory(texts, tokenizer, records=plan.records)
    return parts


def _read(sources: Sequence[str], work: Path, texts: list[str]) -> list[dict[str, Any]]:
    """Each source read by the command: a row with documents, what was passed over, failures. `texts` is filled."""
    rows = []
    size = 0
    for number, source in enumerate(sources):
        output = work / f"{number}.jsonl"
        command = [sys.executable, "-m", "clet", "ingest", "--json", "--allow-private", source, "-o", str(output)]
        start = time.monotonic()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        seconds = time.monotonic() - start
        lines = [orjson.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]
        if done.returncode == 70 or not lines:
            raise InputError(f"{source}: ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
        summary = lines[-1]
        rows.append(
            {
                "source": source,
                "status": done.returncode,
                "documents": summary["out"],
                "rejected": summary["rejected"],
                "failed": summary.get("failed", 0),
                "members": len(summary["sources"]),
                "complaints": [line["message"] for line in lines[:-1]],
                "seconds": seconds,
            }
        )
        for text in _texts(output):
            if size < MAX_TEXTS_BYTES:
                texts.append(text)
                size += len(text)
    return rows


def _texts(path: Path) -> Iterator[str]:
    if path.exists():
        with open(path, "rb") as file:
            for line in file:
                yield orjson.loads(line)["text"]


@contextmanager
def _folder(place: str, work: Path) -> Iterator[Path]:
    """A folder as it is, or an archive unpacked."""
    path = Path(place)
    if path.is_dir():
        yield path
        return
    if not path.name.endswith(".tar.zst"):
        raise UsageError(f"{place}: neither a folder nor a .tar.zst")
    with tempfile.TemporaryDirectory(dir=work) as name:
        try:
            with (
                open(path, "rb") as file,
                zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file) as body,
            ):
                with tarfile.open(fileobj=body, mode="r|") as archive:
                    archive.extractall(name, filter="data")
        except (OSError, tarfile.TarError, zstandard.ZstdError) as error:
            raise InputError(f"{place}: {error}") from None
        yield Path(name)
