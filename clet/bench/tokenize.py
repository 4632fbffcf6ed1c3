"""Tokenising measured side by side: the reference, the fast engine by its own API and through clet, and tiktoken.

Each sample is a fresh process, which loads one of them, encodes all texts (cold: nothing of them was seen) and then
all of them again (warm). A run is one process of each, one after the other, and every other run goes backwards; a
ratio is taken within a run, so that what else the machine does falls on both. Counted are seconds by the clock and
seconds of CPU: with one job on a busy machine the latter say more.

The ids are compared with the reference's, text by text. gigatoken by its own API finds special tokens in text, and
tiktoken does not normalise: where texts have such, their ids differ.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash

from clet.batch import Ragged
from clet.bench import report
from clet.exits import InputError
from clet.streams import BATCH_BYTES, BATCH_RECORDS

# What a side gives for its texts: ids of all of them, and how many each has.
Pass = Callable[[], tuple[np.ndarray, np.ndarray]]


def measure(texts: Sequence[str], tokenizer: str, *, runs: int, jobs: int) -> dict[str, Any]:
    """Load, cold and warm seconds of every side over `runs` runs, tokens/s, and ratios to gigatoken's own API.

    `tokenizer` is a tokenizer.json or a model directory. A side that is not installed or cannot take the tokenizer
    is named under `left_out` with the reason. Raises InputError where a process fails otherwise.
    """
    samples: dict[str, list[dict[str, Any]]] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        column = Ragged.from_bytes([text.encode() for text in texts])
        np.savez(Path(folder, "texts.npz"), values=column.values, offsets=column.offsets)
        for run in range(runs):
            for side in list(SIDES) if run % 2 == 0 else list(SIDES)[::-1]:
                if side not in left_out:
                    sample = _run(side, tokenizer, folder, jobs)
                    if "left_out" in sample:
                        left_out[side] = sample["left_out"]
                    else:
                        samples.setdefault(side, []).append(sample)
    counted = {side: samples[side] for side in SIDES if side in samples}
    return {
        "documents": len(texts),
        "text_bytes": len(column.values),
        "tokens": samples["tokenizers"][0]["tokens"],
        "runs": runs,
        "jobs": jobs,
        "left_out": left_out,
        "sides": {side: _summary(rows, samples) for side, rows in counted.items()},
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures of `measure` as a table."""
    rows = []
    for name, side in result["sides"].items():
        ratio = side["cold_cpu_s_ratio"] if result["jobs"] == 1 else side["cold_s_ratio"]
        same = "all" if side["same_ids"] else f"{side['same_texts']:,} of {result['documents']:,}"
        rates = (side["cold_tokens_s"] / 1e6, side["warm_tokens_s"] / 1e6)
        rows.append([name, side["load_s"], *rates, ratio if ratio is not None else "-", same])
    clock = "CPU" if result["jobs"] == 1 else "wall"
    report.show(
        f"{result['documents']:,} texts, {result['text_bytes'] / 1e6:.1f} MB, {result['tokens']:,} tokens, "
        f"-j {result['jobs']}, {result['cpu']}",
        ["side", "load s", "cold M tokens/s", "warm M tokens/s", "cold, gigatoken = 1", "same ids"],
        rows,
        [
            *(f"{name} left out: {reason}" for name, reason in result["left_out"].items()),
            f"medians of {result['runs']} runs, a process a side; the ratio is of {clock} seconds within a run,",
            "above 1 is faster than gigatoken by itself",
        ],
    )


def _summary(rows: list[dict[str, Any]], samples: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    reference, own = samples["tokenizers"], samples.get("gigatoken", [])
    summary: dict[str, Any] = {"same_ids": rows[0]["rows"] == reference[0]["rows"], "samples": []}
    summary["same_texts"] = sum(a == b for a, b in zip(rows[0]["rows"], reference[0]["rows"], strict=True))
    summary["load_s"] = statistics.median(row["load_s"] for row in rows)
    for each in ("cold", "warm"):
        summary[f"{each}_tokens_s"] = rows[0]["tokens"] / statistics.median(row[f"{each}_s"] for row in rows)
        for clock in ("s", "cpu_s"):  # above 1: faster than gigatoken by itself
            ratios = [mine[f"{each}_{clock}"] for mine in rows]
            paired = [by_itself[f"{each}_{clock}"] / mine for by_itself, mine in zip(own, ratios, strict=False)]
            summary[f"{each}_{clock}_ratio"] = statistics.median(paired) if paired else None
    summary["samples"] = [{name: value for name, value in row.items() if name != "rows"} for row in rows]
    return summary


def _run(side: str, tokenizer: str, folder: str, jobs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "clet.bench.tokenize", side, tokenizer, folder, str(jobs)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise InputError(f"{side} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return orjson.loads(done.stdout)


class LeftOut(Exception):
    """A side cannot take part: one line."""


def _one_side(side: str, tokenizer: str, folder: str, jobs: int) -> dict[str, Any]:
    """What one process does: load, encode everything, and encode it again."""
    with np.load(Path(folder, "texts.npz")) as arrays:
        column = Ragged(arrays["values"], arrays["offsets"])
    started = time.perf_counter()
    try:
        encode = SIDES[side](tokenizer, column, jobs)
    except LeftOut as error:
        return {"left_out": str(error)}
    sample: dict[str, Any] = {"load_s": time.perf_counter() - started}
    for each in ("cold", "warm"):
        started, cpu = time.perf_counter(), time.process_time()
        ids, counts = encode()
        sample |= {f"{each}_s": time.perf_counter() - started, f"{each}_cpu_s": time.process_time() - cpu}
    bounds = [0, *np.cumsum(counts).tolist()]
    wide = ids.astype(np.uint32)
    rows = [xxhash.xxh3_64_hexdigest(wide[a:b].tobytes()) for a, b in pairwise(bounds)]
    return sample | {"tokens": len(ids), "rows": rows}


def _texts(column: Ragged) -> list[str]:
    return [column.bytes_at(row).decode() for row in range(len(column))]


def _batches(column: Ragged) -> list[range]:
    """The rows of each batch, as `clet ingest` cuts them."""
    cuts, start = [], 0
    for row in range(len(column)):
        if row + 1 - start >= BATCH_RECORDS or column.offsets[row + 1] - column.offsets[start] >= BATCH_BYTES:
            cuts.append(range(start, row + 1))
            start = row + 1
    return [*cuts, range(start, len(column))] if start < len(column) else cuts


def _joined(parts: list[Ragged]) -> tuple[np.ndarray, np.ndarray]:
    whole = Ragged.concat(parts)
    return whole.values, whole.lengths


def _tokenizer_file(tokenizer: str) -> Path:
    return Path(tokenizer, "tokenizer.json") if Path(tokenizer).is_dir() else Path(tokenizer)


def _reference(tokenizer: str, column: Ragged, jobs: int) -> Pass:
    from clet.tokenizing.reference import Reference
    from clet.tokens import set_jobs

    set_jobs(jobs)
    reference, texts, dtype = Reference(_tokenizer_file(tokenizer).read_bytes()), _texts(column), np.dtype(np.uint32)
    return lambda: _joined([reference.encode(texts, dtype)])


def _gigatoken(tokenizer: str, column: Ragged, jobs: int) -> Pass:
    from clet.tokens import set_jobs

    set_jobs(jobs)
    try:
        import awkward  # what it gives its results in
        import gigatoken
    except ImportError as error:
        raise LeftOut(str(error)) from None
    try:
        engine = gigatoken.Tokenizer(_tokenizer_file(tokenizer))
    except RuntimeError as error:
        raise LeftOut(str(error).partition("\n")[0]) from None
    texts = _texts(column)

    def encode() -> tuple[np.ndarray, np.ndarray]:
        rows = engine.encode_batch(texts, parallel=jobs > 1)
        return awkward.to_numpy(awkward.flatten(rows)), awkward.to_numpy(awkward.num(rows))

    return encode


def _loaded(tokenizer: str, jobs: int) -> Any:
    from clet.tokens import Tokenizer, set_jobs

    set_jobs(jobs)
    loaded = Tokenizer.load(tokenizer)
    if loaded.choose_engine() != "gigatoken":
        raise LeftOut("the fast engine cannot take this tokenizer; clet -v says why")
    return loaded


def _clet_strings(tokenizer: str, column: Ragged, jobs: int) -> Pass:
    loaded, texts = _loaded(tokenizer, jobs), _texts(column)
    batches = [texts[rows.start : rows.stop] for rows in _batches(column)]
    return lambda: _joined([loaded.encode(batch) for batch in batches])


def _clet_batches(tokenizer: str, column: Ragged, jobs: int) -> Pass:
    loaded = _loaded(tokenizer, jobs)
    batches = [column.take(np.arange(rows.start, rows.stop)) for rows in _batches(column)]
    return lambda: _joined([loaded.encode_ragged(batch) for batch in batches])


def _tiktoken(tokenizer: str, column: Ragged, jobs: int) -> Pass:
    try:
        import tiktoken
    except ImportError as error:
        raise LeftOut(str(error)) from None
    from clet.tokenizing.shapes import SPLITS
    from clet.tokens import Tokenizer

    spec = orjson.loads(_tokenizer_file(tokenizer).read_bytes())
    step = spec.get("pre_tokenizer") or {}
    step = step.get("pretokenizers", [step])[0]
    pattern = next(iter(SPLITS))[0] if step.get("type") == "ByteLevel" else step.get("pattern", {}).get("Regex")
    if pattern is None or spec["model"].get("byte_fallback"):
        raise LeftOut("not a byte-level tokenizer of one regular expression")
    table = Tokenizer.load(tokenizer).token_bytes()
    ranks = {table.bytes_at(index): index for index in range(len(table)) if len(table[index])}
    engine, texts = (
        tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}),
        _texts(column),
    )

    def encode() -> tuple[np.ndarray, np.ndarray]:
        rows = engine.encode_ordinary_batch(texts, num_threads=jobs)
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter((index for row in rows for index in row), np.uint32, int(counts.sum())), counts

    return encode


SIDES: dict[str, Callable[[str, Ragged, int], Pass]] = {
    "tokenizers": _reference,
    "tiktoken": _tiktoken,
    "gigatoken": _gigatoken,
    "clet strings": _clet_strings,
    "clet batches": _clet_batches,
}

if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(_one_side(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
