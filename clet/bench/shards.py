"""Shards measured beside the plainest thing that could hold the same ids: a numpy memmap of the same dtype.

Documents of log-normal length (median 400 tokens, mean 800) with heads of 400 bytes come as token batches. Each row is
one run of both sides, alternating, in one process and one file system, opening and closing included:

    write       batches to sealed shards: packed, checksums, document table, Merkle root, fsync. The memmap gets the
                ids alone, batch by batch, and is flushed
    in order    every window once, 64 at a time, into one array that the caller has
    shuffled    the same in a random order, computed on the way by clet and known beforehand to the memmap
    again       the second epoch: clet has checked its frames in the first

Both sides give ids alone, of the dtype of the file. The memmap is read 64 windows at a time: a slice or a fancy index
(`ids[order[i:i + 64]]`), copied to the array; once by `numpy.take` into the array, which checks no index; and once
window by window, as data sets are commonly written. Shards are read through their checksums, and segments and ids are
checked, each frame once; the memmap has no checks. Files are in the page cache, where reading them from disk put them.

Besides: parts of reading (checking all frames, and the library's hash alone) and of writing (the packing kernel alone;
checksum and write of a packed frame, stored and zstd), the whole command from a file of batches, and what packing did
against concatenate-and-cut.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson
import xxhash

from clet import seeds
from clet.batch import Batch, Ragged
from clet.bench import report
from clet.container import end_frame
from clet.exits import InputError
from clet.record import record_id
from clet.shards import fit
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.shards.format import ShardParams, windows_per_frame
from clet.shards.loader import Loader
from clet.shards.manifest import ShardEntry, read_manifest
from clet.shards.pack import PackCounts, Packer, new_room
from clet.shards.reader import ShardReader
from clet.shards.writer import ShardWriter

VOCAB = 50_000
BATCH_RECORDS = 1024
AT_ONCE = 64
FINGERPRINT = "0" * 32
_DTYPE = np.dtype("<u2")


@dataclass(slots=True)
class _Row:
    """Paired samples of both sides, in seconds: wall and CPU."""

    what: str
    clet: list[tuple[float, float]] = field(default_factory=list)
    memmap: list[tuple[float, float]] = field(default_factory=list)


def measure(tokens: int, seq_len: int, runs: int, *, folder: str | None = None, seed: int = 1) -> dict[str, Any]:
    """Figures for about `tokens` tokens in windows of `seq_len`, from `runs` runs after one that warms up.

    Files go below `folder` (a temporary one of the system if None). Returns a JSON-able dict; see the module's head.
    """
    batches = make_batches(tokens, seed)
    total = sum(batch.num_tokens for batch in batches)
    with tempfile.TemporaryDirectory(prefix="clet-bench-", dir=folder) as name:
        work = _Work(Path(name), batches, seq_len)
        rows = [_Row(what) for what in work.pairs()]
        for run in range(runs + 1):
            for row, pair in zip(rows, work.pairs().values(), strict=True):
                sides = list(zip(pair, (row.clet, row.memmap), strict=True))
                # Who is first finds the caches as the row before left them, so they take turns.
                for read, samples in sides if run % 2 else reversed(sides):
                    took = _timed(read)
                    if run:
                        samples.append(took)
        parts = {what: _rate(total, run, runs) for what, run in work.parts().items()}
        packed = work.counts
    return {
        "bench": "shards",
        "tokens": total,
        "documents": packed.documents,
        "seq_len": seq_len,
        "runs": runs,
        "rows": [_figures(row, total) for row in rows],
        "parts_tokens_per_s": parts,
        "packing": {
            "windows": packed.windows,
            "padding": packed.padding,
            "truncated": packed.truncated,
            "windows_concatenated": packed.windows_concatenated,
            "truncated_concatenated": packed.truncated_concatenated,
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures of `measure` as a table."""
    rows = [
        [
            row["what"],
            row["clet_tokens_per_s"] / 1e6,
            row["memmap_tokens_per_s"] / 1e6,
            row["times_memmap_s"],
            row["times_memmap_cpu_s"],
        ]
        for row in result["rows"]
    ]
    packing, parts = result["packing"], result["parts_tokens_per_s"]
    notes = [f"{what}: {rate / 1e6:,.0f} M tokens/s" for what, rate in parts.items()]
    notes += [
        f"padding {packing['padding']:.2%}, {packing['truncated']:,} of {result['documents']:,} documents cut; "
        f"concatenated and cut {packing['truncated_concatenated']:,}",
        f"medians of {result['runs']} paired runs after one warm-up; parts and processes in CPU seconds",
    ]
    title = f"{result['tokens']:,} tokens in windows of {result['seq_len']}"
    report.show(title, ["what", "clet M/s", "memmap M/s", "time, memmap = 1", "CPU, memmap = 1"], rows, notes)


def make_batches(tokens: int, seed: int) -> list[Batch]:
    """Token batches of synthetic documents, about `tokens` ids in all, without texts."""
    random = seeds.numpy_generator(seed, "bench/shards")
    lengths = np.ceil(random.lognormal(6.0, 1.18, max(1, tokens // 800))).astype(np.int64)
    values = (VOCAB * random.random(int(lengths.sum()), np.float32) ** 3).astype(_DTYPE)  # frequent ids are small
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    heads = Ragged.from_bytes([_head(number) for number in range(len(lengths))])
    none = Ragged(np.zeros(0, np.uint8), np.zeros(len(lengths) + 1, np.int64))
    whole = Batch(heads, none, np.zeros(len(lengths), np.uint8), Ragged(values, offsets), FINGERPRINT)
    return [whole.take(range(at, min(at + BATCH_RECORDS, len(whole)))) for at in range(0, len(whole), BATCH_RECORDS)]


def _head(number: int) -> bytes:
    url = f"https://example.org/news/2026/article-{number}.html"
    return orjson.dumps(
        {
            "id": record_id(str(number)),
            "source": "feed",
            "origin": "https://example.org/feed.xml",
            "url": url,
            "title": f"Article number {number} and what it is about",
            "lang": "en",
            "published": "2026-03-01T08:00:00Z",
            "fetched": "2026-03-01T09:00:00Z",
            "raw": record_id(str(number)) * 2,
            "license": None,
            "meta": {"guid": url},
        }
    )


class _Work:
    """Both sides of every row, over the same ids in the same folder."""

    def __init__(self, folder: Path, batches: Sequence[Batch], seq_len: int):
        self._folder, self._batches, self._seq_len = folder, batches, seq_len
        self.counts = PackCounts()
        self._write(folder / "shards")
        self._entries: list[ShardEntry] = read_manifest(folder / "shards")
        self._readers: list[ShardReader] = []
        flat = folder / "flat.bin"
        with open(flat, "wb") as file:
            for entry in self._entries:
                for windows in entry.open().all_windows():
                    file.write(windows.ids.tobytes())
        for path in (flat, *(entry.path for entry in self._entries)):
            _read_back(path)
        self._num_windows = os.path.getsize(flat) // _DTYPE.itemsize // seq_len
        self._order = seeds.numpy_generator(1, "bench/shards/order").permutation(self._num_windows)
        self._out = np.empty((AT_ONCE, seq_len), _DTYPE)
        with open(folder / "in.clet", "wb") as file:
            for batch in batches:
                file.write(batch.to_frame())
            file.write(end_frame(len(batches)))

    def pairs(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """What is measured: (clet, memmap)."""
        return {
            "write": (lambda: self._write(self._folder / "out"), self._write_memmap),
            "in order": (self._read_in_order, lambda: self._read_memmap(None, AT_ONCE)),
            "in order, memmap by window": (self._read_in_order, lambda: self._read_memmap(None, 1)),
            "shuffled": (self._read_shuffled, lambda: self._read_memmap(self._order, AT_ONCE)),
            "shuffled, memmap by take": (self._read_shuffled, self._take_memmap),
            "shuffled again": (self._read_again, lambda: self._read_memmap(self._order, AT_ONCE)),
            "shuffled, memmap by window": (self._read_shuffled, lambda: self._read_memmap(self._order, 1)),
        }

    def parts(self) -> dict[str, Callable[[], float]]:
        """Parts of writing, and the command: each returns the CPU seconds that it took."""
        return {
            "packing kernel": self._pack,
            "checking mapped frames": self._check,
            "hashing as many bytes, nothing else": self._hash,
            "sealing stored frames": lambda: self._seal(None),
            "sealing zstd frames (level 1)": lambda: self._seal(1),
            "clet shard FILE, whole process": lambda: self._process([]),
            "clet shard --level 1 FILE, whole process": lambda: self._process(["--level", "1"]),
        }

    # ---- writing

    def _write(self, path: Path) -> None:
        with ShardDirectory.open(path) as directory:
            plan = ShardPlan(self._seq_len, fingerprint=FINGERPRINT, vocab_size=VOCAB)
            self.counts = build_shards(self._batches, directory, plan, _accept)
            directory.commit()
        if path.name == "out":
            shutil.rmtree(path)

    def _write_memmap(self) -> None:
        path, at = self._folder / "out.bin", 0
        ids = np.memmap(path, _DTYPE, "w+", shape=(sum(batch.num_tokens for batch in self._batches),))
        for batch in self._batches:
            ids[at : at + batch.num_tokens] = batch.tok.values
            at += batch.num_tokens
        ids.flush()
        del ids
        path.unlink()

    def _pack(self) -> float:
        room = new_room(windows_per_frame(self._seq_len, False), self._seq_len, _DTYPE)
        packer = Packer(room, lambda: room.fill[: fit.PASSED].fill(0), None)
        started = time.process_time()
        for batch in self._batches:
            packer.add(batch.tok.values, batch.tok.offsets[:-1], batch.tok.lengths)
        packer.drain()
        return time.process_time() - started

    def _seal(self, level: int | None) -> float:
        path = self._folder / "sealed.tmp"
        writer = ShardWriter(path, ShardParams(self._seq_len, _DTYPE, FINGERPRINT, level=level))
        room, took = writer.room, 0.0

        def flush() -> None:
            nonlocal took
            started = time.process_time()
            writer.flush()
            took += time.process_time() - started

        packer = Packer(room, flush, None)
        for batch in self._batches:
            packer.add(batch.tok.values, batch.tok.offsets[:-1], batch.tok.lengths)
        packer.drain()
        flush()
        started = time.process_time()
        writer.sync()
        took += time.process_time() - started
        path.unlink()
        return took

    def _process(self, flags: list[str]) -> float:
        path = self._folder / "process"
        command = [sys.executable, "-m", "clet", "shard", str(self._folder / "in.clet"), "-o", str(path), "-q"]
        command += ["--seq-len", str(self._seq_len), *flags]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        if process.returncode:
            raise InputError(f"clet shard ended with {process.returncode}: {told.decode(errors='replace').strip()}")
        shutil.rmtree(path)
        return usage.ru_utime + usage.ru_stime

    # ---- reading

    def _check(self) -> float:
        readers = [entry.open() for entry in self._entries]
        started = time.process_time()
        for reader in readers:
            reader.mapped(np.arange(reader.num_frames))
        return time.process_time() - started

    def _hash(self) -> float:
        ids = np.memmap(self._folder / "flat.bin", np.uint8, "r")
        size = windows_per_frame(self._seq_len, False) * self._seq_len * _DTYPE.itemsize
        started = time.process_time()
        for at in range(0, len(ids), size):
            xxhash.xxh3_64_intdigest(ids[at : at + size])
        return time.process_time() - started

    def _read_in_order(self) -> None:
        for entry in self._entries:
            for windows in entry.open().all_windows():
                for at in range(0, len(windows.ids), AT_ONCE):
                    self._take(windows.ids[at : at + AT_ONCE])

    def _read_shuffled(self) -> None:
        self._readers = [entry.open() for entry in self._entries]
        self._read_again()

    def _read_again(self) -> None:
        for portion in Loader(self._readers, batch=AT_ONCE, seed=1, out=self._out):
            self._have(len(portion.numbers))

    def _read_memmap(self, order: np.ndarray | None, at_once: int) -> None:
        ids = np.memmap(self._folder / "flat.bin", _DTYPE, "r").reshape(-1, self._seq_len)
        for at in range(0, self._num_windows, at_once):
            self._take(ids[at : at + at_once] if order is None else ids[order[at : at + at_once]])

    def _take_memmap(self) -> None:
        ids = np.memmap(self._folder / "flat.bin", _DTYPE, "r").reshape(-1, self._seq_len)
        for at in range(0, self._num_windows, AT_ONCE):
            rows = self._order[at : at + AT_ONCE]
            np.take(ids, rows, axis=0, out=self._out[: len(rows)], mode="clip")
            self._have(len(rows))

    def _take(self, ids: np.ndarray) -> None:
        np.copyto(self._out[: len(ids)], ids)
        self._have(len(ids))

    def _have(self, num_windows: int) -> None:
        """So many windows are in the array now."""


def _accept(batch: Batch, row: int, reason: str) -> None:
    raise InputError(f"record {row} was rejected: {reason}")


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def _rate(total: int, run: Callable[[], float], runs: int) -> float:
    run()
    return total / max(median(run() for _ in range(runs)), 1e-9)


def _figures(row: _Row, total: int) -> dict[str, Any]:
    (clet_s, clet_cpu_s), (memmap_s, memmap_cpu_s) = (
        map(list, zip(*side, strict=True)) for side in (row.clet, row.memmap)
    )
    return {
        "what": row.what,
        "clet_s": clet_s,
        "clet_cpu_s": clet_cpu_s,
        "memmap_s": memmap_s,
        "memmap_cpu_s": memmap_cpu_s,
        "clet_tokens_per_s": total / median(clet_s),
        "memmap_tokens_per_s": total / median(memmap_s),
        "times_memmap_s": _times(clet_s, memmap_s),
        "times_memmap_cpu_s": _times(clet_cpu_s, memmap_cpu_s),
    }


def _times(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median(a / max(b, 1e-9) for a, b in zip(ours, theirs, strict=True))


def _read_back(path: Path) -> None:
    """Have a file in the page cache as one that was read, whoever wrote it in whatever pieces."""
    with open(path, "rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(1 << 20):
            pass
