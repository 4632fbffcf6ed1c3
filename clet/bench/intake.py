"""How fast and how large `clet ingest` is on local JSON lines, against the tokenizer alone.

Throughput: the same texts, read, made into records and tokenised by the command as a process, against a process that
has the texts in memory and does nothing but tokenise them, in the same groups: by the engine that clet chose, loaded
before the clock starts, and by the reference, Hugging Face tokenizers. The ratios leave out what both pay once: the
command's start-up (a run of one document) and the loading of the engine. All with the same number of jobs; runs
alternate. Memory: resident bytes of the command while records stream through it,
sampled; growth is the most after the first tenth of the records over the most within it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError, UsageError

SAMPLE_S = 0.2
_ALONE = """
import sys, time, orjson
from clet.tokens import Tokenizer, set_jobs
set_jobs(int(sys.argv[3]))
tokenizer = Tokenizer.load(sys.argv[1], fast=sys.argv[4] == "fast")
texts = [orjson.loads(line)["text"] for line in open(sys.argv[2], "rb")]
start = time.perf_counter()
engine = tokenizer.choose_engine()
load_s = time.perf_counter() - start
tokenizer.encode(texts[:8])
start = time.perf_counter()
tokens = sum(len(tokenizer.encode(texts[i : i + 256]).values) for i in range(0, len(texts), 256))
seconds = time.perf_counter() - start
print(orjson.dumps({"engine": engine, "load_s": load_s, "seconds": seconds, "tokens": tokens}).decode())
"""


def throughput(texts: Sequence[str], tokenizer: str, *, runs: int, jobs: int) -> dict[str, Any]:
    """Seconds of each run of the command and of the tokenizers alone, tokens, bytes of text, and the median ratios."""
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        path = Path(folder) / "texts.jsonl"
        path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
        command, start, alone = [], [], []
        for _ in range(runs):
            before = time.perf_counter()
            summary = _run("ingest", "--json", "--tokenizer", tokenizer, "-j", str(jobs), f"jsonl:{path}")
            command.append(time.perf_counter() - before)
            alone.append(_alone(tokenizer, path, jobs, "fast"))
            before = time.perf_counter()
            _run("ingest", "--json", "--tokenizer", tokenizer, "-n", "1", f"jsonl:{path}")
            start.append(time.perf_counter() - before)
        reference = _alone(tokenizer, path, jobs, "reference")
    once = [s + a["load_s"] for s, a in zip(start, alone, strict=True)]
    work = [c - o for c, o in zip(command, once, strict=True)]
    return {
        "tokens": summary["tokens"],
        "text_bytes": sum(len(text.encode()) for text in texts),
        "engine": alone[0]["engine"],
        "command_s": command,
        "once_s": once,
        "tokenizer_s": [each["seconds"] for each in alone],
        "ratio": statistics.median(w / a["seconds"] for w, a in zip(work, alone, strict=True)),
        "reference": reference["engine"],
        "reference_s": reference["seconds"],
        "reference_ratio": statistics.median(work) / reference["seconds"],
    }


def _run(*arguments: str) -> dict[str, Any]:
    """Run a clet command that writes to /dev/null; its summary."""
    command = [sys.executable, "-m", "clet", *arguments, "-o", "/dev/null"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode not in (0, 1):
        raise InputError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return orjson.loads(done.stderr.strip().splitlines()[-1])


def _alone(tokenizer: str, path: Path, jobs: int, how: str) -> dict[str, Any]:
    command = [sys.executable, "-c", _ALONE, tokenizer, str(path), str(jobs), how]
    return orjson.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def memory(texts: Sequence[str], tokenizer: str, *, records: int, chars: int = 200) -> dict[str, Any]:
    """Resident megabytes (10^6) while `records` documents of `chars` characters pass: at first, at most, growth."""
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        command = [sys.executable, "-m", "clet", "ingest", "--json", "--tokenizer", tokenizer]
        command += ["--state", f"{folder}/state", "-", "-o", "/dev/null"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        done = _Feeder(process, [text[:chars] for text in texts], records)
        done.start()
        samples = []
        while process.poll() is None:
            samples.append((done.sent, _resident_bytes(process.pid)))
            time.sleep(SAMPLE_S)
        summary = orjson.loads(process.stderr.read().strip().splitlines()[-1])
    if summary["in"] != records:
        raise InputError(f"{records} records went in, {summary['in']} were taken")
    early = max((size for sent, size in samples if sent <= records / 10), default=0)
    late = max((size for sent, size in samples if sent > records / 10), default=0)
    if not early or not late:
        raise UsageError(f"{records} records passed before there was anything to see; name more")
    return {
        "records": records,
        "early_mb": early / 1e6,
        "most_mb": late / 1e6,
        "growth_mb": (late - early) / 1e6,
        "seconds": summary["seconds"],
        "samples": [(sent, round(size / 1e6, 1)) for sent, size in samples],
    }


class _Feeder(threading.Thread):
    """Writes numbered documents into a process as fast as it takes them."""

    def __init__(self, process: subprocess.Popen[bytes], texts: Sequence[str], records: int):
        super().__init__(daemon=True)
        self.sent = 0
        self._process, self._texts, self._records = process, texts, records

    def run(self) -> None:
        try:
            for start in range(0, self._records, 1000):
                numbers = range(start, min(start + 1000, self._records))
                lines = [orjson.dumps({"text": f"{n} {self._texts[n % len(self._texts)]}"}) for n in numbers]
                self._process.stdin.write(b"\n".join(lines) + b"\n")
                self.sent += len(lines)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # the process ended: its status says why


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has just ended
