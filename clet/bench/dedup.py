"""Deduplication measured against an exact join and beside other libraries, in one run.

    near      recall, precision and MB/s of text of clet (from token ids, from text, with Bloom filters), of rensa and
              of datasketch, if installed, against what a perfect deduplication drops (`exact_join.py`)
    spans     tokens/s, and the share of repeated tokens that is found
    index     bytes a document, chance of a mistake and time of the Bloom index at `documents`, and of the exact one

Sides of `near` take turns, in one process and on one core; counted is CPU time of everything behind reading: words,
sketches, lookups, insertion and (of the peers) confirmation of candidates by the exact similarity of the sets, so that
all answer the same question. One round before the counted ones compiles kernels.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from clet import seeds
from clet.batch import Batch, Ragged
from clet.bench import exact_join
from clet.exits import InputError
from clet.heads import Heads
from clet.streams import read_batches

THRESHOLD = 0.8
SPAN = 50
PEER_PERMUTATIONS, PEER_BANDS = 128, 16


def measure(files: Sequence[str], tokenizer: str, *, runs: int, documents: int, peers: bool) -> dict[str, Any]:
    """All parts over files of records with tokens of `tokenizer`, as a JSON-able dict. Raises InputError."""
    batches = list(read_batches(list(files)))
    if not batches or any(batch.tok is None or not batch.has_text.all() for batch in batches):
        raise InputError("needs records with text and tokens; make them with clet ingest --tokenizer")
    result: dict[str, Any] = {
        "records": sum(map(len, batches)),
        "text_bytes": sum(batch.num_bytes for batch in batches),
        "tokens": sum(batch.num_tokens for batch in batches),
        "runs": runs,
    }
    result["near"] = _near(batches, tokenizer, runs, peers)
    result["spans"] = _spans(batches, runs)
    result["index"] = {"bloom": [_in_a_process(documents, size) for size in (8, 16)], "exact": _exact(batches)}
    return result


# ---- near repeats

Side = Callable[[], np.ndarray]  # `[n]` bool: what it drops


def _near(batches: list[Batch], tokenizer: str, runs: int, peers: bool) -> dict[str, Any]:
    texts = [batch.text_at(row) for batch in batches for row in range(len(batch))]
    truth = exact_join.join(texts, THRESHOLD)
    sides: dict[str, Side] = _clet_sides(batches, tokenizer)
    left_out: dict[str, str] = {}
    for name, make in _PEERS.items() if peers else ():
        try:
            sides[name] = make(texts)
        except ImportError as error:
            left_out[name] = str(error)
    samples: dict[str, list[float]] = {name: [] for name in sides}
    dropped: dict[str, np.ndarray] = {}
    for run in range(runs + 1):
        for name in list(sides) if run % 2 == 0 else list(sides)[::-1]:
            if run == 0 and name in _PEERS:
                continue  # nothing of it is compiled
            started = time.process_time()
            dropped[name] = sides[name]()
            if run:
                samples[name].append(time.process_time() - started)
    size = sum(batch.num_bytes for batch in batches) / 1e6
    rows = {name: _scores(dropped[name], truth, samples[name], size) for name in sides}
    return {"exact": int((truth == 1).sum()), "near": int((truth == 2).sum()), "left_out": left_out, "sides": rows}


def _scores(dropped: np.ndarray, truth: np.ndarray, samples: list[float], megabytes: float) -> dict[str, Any]:
    true = truth > 0
    hits = int((dropped & true).sum())
    middle = sorted(samples)[len(samples) // 2]
    return {
        "dropped": int(dropped.sum()),
        "recall": hits / max(1, int(true.sum())),
        "near_recall": int((dropped & (truth == 2)).sum()) / max(1, int((truth == 2).sum())),
        "precision": hits / max(1, int(dropped.sum())),
        "mb_per_s": megabytes / middle,
        "cpu_s": samples,
    }


def _clet_sides(batches: list[Batch], tokenizer: str) -> dict[str, Side]:
    from clet.dedup.bloom import BloomIndex
    from clet.dedup.index import Index
    from clet.dedup.repeats import Plan, drop_repeats
    from clet.tokens import Vocabulary

    table = Vocabulary.load(tokenizer)  # once a process, before the clock runs
    places: dict[str, list[int]] = {}
    for place, ident in enumerate(ident for batch in batches for ident in _ids(batch)):
        places.setdefault(ident, []).append(place)
    size = sum(map(len, batches))

    def run(index: Any, plan: Plan) -> np.ndarray:
        gone: Counter[str] = Counter()
        for _ in drop_repeats(batches, index, plan, lambda batch, _: gone.update(_ids(batch))):
            pass
        dropped = np.zeros(size, np.bool_)
        for ident, count in gone.items():
            dropped[places[ident][-count:]] = True  # of equal ones the first was kept, if any
        return dropped

    capacity = max(1000, 4 * size)
    return {
        "clet, ids": lambda: run(Index(), Plan(THRESHOLD, tokenizer=table)),
        "clet, text": lambda: run(Index(), Plan(THRESHOLD)),
        "clet, 16 bytes": lambda: run(BloomIndex(THRESHOLD, 16, capacity), Plan(THRESHOLD, tokenizer=table)),
    }


def _ids(batch: Batch) -> list[str]:
    return [ident.tobytes().hex() for ident in Heads.of(batch.head, ("id",)).ids]


def _confirmed(texts: Sequence[str], sketch: Callable[[list[str]], Any], new_lsh: Callable[[], Any]) -> Side:
    """First one wins by a peer's sketches and index, candidates confirmed by the similarity of their sets."""

    def run() -> np.ndarray:
        lsh, sets, dropped = new_lsh(), {}, np.zeros(len(texts), np.bool_)
        for row, text in enumerate(texts):
            shingles = exact_join.shingles_of(text) or [text]
            own, sketched = set(shingles), sketch(shingles)
            for other in lsh.query(sketched):
                both = len(own & sets[other])
                if both >= THRESHOLD * (len(own) + len(sets[other]) - both):
                    dropped[row] = True
                    break
            if not dropped[row]:
                lsh.insert(row, sketched)
                sets[row] = own
        return dropped

    return run


def _rensa(texts: Sequence[str]) -> Side:
    import rensa

    def sketch(shingles: list[str]) -> Any:
        made = rensa.RMinHash(num_perm=PEER_PERMUTATIONS, seed=1)
        made.update(shingles)
        return made

    return _confirmed(texts, sketch, lambda: rensa.RMinHashLSH(THRESHOLD, PEER_PERMUTATIONS, PEER_BANDS))


def _datasketch(texts: Sequence[str]) -> Side:
    import datasketch

    def sketch(shingles: list[str]) -> Any:
        made = datasketch.MinHash(num_perm=PEER_PERMUTATIONS, seed=1)
        made.update_batch([shingle.encode() for shingle in shingles])
        return made

    rows = PEER_PERMUTATIONS // PEER_BANDS
    return _confirmed(
        texts,
        sketch,
        lambda: datasketch.MinHashLSH(num_perm=PEER_PERMUTATIONS, params=(PEER_BANDS, rows)),
    )


_PEERS: dict[str, Callable[[Sequence[str]], Side]] = {"rensa": _rensa, "datasketch": _datasketch}


# ---- spans


def _spans(batches: list[Batch], runs: int) -> dict[str, Any]:
    from clet.dedup.spans import SpanSet, find_repeated, sampled_windows

    columns = [batch.tok for batch in batches]
    samples = []
    for run in range(runs + 1):
        found, new = [], SpanSet()
        started = time.process_time()
        for column in columns:
            hashes, starts, offsets = sampled_windows(column, SPAN, 1)
            spans, counts = find_repeated(hashes, starts, offsets, SPAN, np.zeros(len(hashes), np.bool_), new)
            found.append((spans + np.repeat(column.offsets[:-1], counts)[:, None], len(column.values)))
        if run:
            samples.append(time.process_time() - started)
    truth = exact_join.repeated_tokens(Ragged.concat(columns), SPAN)
    mask = np.zeros(len(truth), np.bool_)
    base = 0
    for spans, size in found:
        for start, end in spans.tolist():
            mask[base + start : base + end] = True
        base += size
    return {
        "tokens_per_s": len(truth) / sorted(samples)[len(samples) // 2],
        "repeated": int(truth.sum()),
        "recall": int((mask & truth).sum()) / max(1, int(truth.sum())),
        "precision": int((mask & truth).sum()) / max(1, int(mask.sum())),
        "bytes_a_token": 8 * len(new) / max(1, len(truth)),
        "cpu_s": samples,
    }


# ---- indexes


def _in_a_process(documents: int, num_bytes: int) -> dict[str, Any]:
    """`_bloom` in a process of its own, whose memory is nobody else's."""
    command = [sys.executable, "-m", "clet.bench.dedup", str(documents), str(num_bytes)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise InputError(f"filters of {documents} documents: {done.stderr.decode()[-500:]}")
    return orjson.loads(done.stdout)


def _bloom(documents: int, num_bytes: int) -> dict[str, Any]:
    """Filters filled with unrelated documents, and asked about as many others."""
    from clet.dedup.bloom import GROUPS, BloomIndex
    from clet.dedup.table import KEPT, Rows

    generator = seeds.numpy_generator(1, "bench/bloom")
    resident = _resident_mb()
    index = BloomIndex(THRESHOLD, num_bytes, documents)

    def rows(size: int, first: int) -> Rows:
        keys, zeros = np.arange(first + 1, first + size + 1, dtype=np.uint64), np.zeros(size, np.uint64)
        bands = generator.integers(0, 1 << 32, (size, GROUPS), dtype=np.uint32)
        none = np.zeros(size, np.int64)
        starts = np.arange(size + 1)
        return Rows(np.stack([keys, keys], 1), keys, zeros, zeros, none, bands, bands[:, 0], starts, none)

    step, wrong, seconds = 1 << 16, 0, 0.0
    for first in range(0, documents, step):
        size = min(step, documents - first)
        batch = rows(size, first)
        started = time.process_time()
        wrong += int((index.admit(batch, np.zeros(size, np.uint64), THRESHOLD).verdict != KEPT).sum())
        seconds += time.process_time() - started
    header = index.header()
    return {
        "documents": documents,
        "bytes_a_document": index.num_bytes / max(1, index.num_remembered),
        "resident_mb": _resident_mb() - resident,
        "wrong_of_a_million": 1e6 * wrong / documents,
        "chance_now": header["wrong"],
        "us_a_document": 1e6 * seconds / documents,
    }


def _exact(batches: list[Batch]) -> dict[str, Any]:
    """Bytes a document of segments, written as a commit does."""
    from clet.dedup.index import Index
    from clet.dedup.repeats import Plan, drop_repeats

    index = Index()
    for _ in drop_repeats(batches, index, Plan(THRESHOLD), lambda *_: None):
        pass
    index.flush()
    return {"documents": index.num_remembered, "bytes_a_document": index.num_bytes / max(1, index.num_remembered)}


def _resident_mb() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


_SCORES = ("recall", "near_recall", "precision")
_INDEX_COLUMNS = ("documents", "bytes_a_document", "resident_mb", "wrong_of_a_million", "us_a_document")


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    from clet.bench import report

    near, spans = result["near"], result["spans"]
    machine = f"{result['cores']} x {result['cpu']}"
    volume = f"{result['records']:,} records, {result['text_bytes'] / 1e6:,.1f} MB, {result['tokens']:,} tokens"
    report.show(
        f"repeats at {THRESHOLD}: {near['exact']:,} exact, {near['near']:,} near by an exact join; {machine}",
        ["side", "dropped", "recall", "recall of near", "precision", "MB/s of CPU"],
        [
            [name, row["dropped"], *(f"{row[score]:.4f}" for score in _SCORES), row["mb_per_s"]]
            for name, row in near["sides"].items()
        ],
        [f"{volume}; medians of {result['runs']} rounds after one"]
        + [f"left out: {name} ({why})" for name, why in near["left_out"].items()],
    )
    report.show(
        f"spans of {SPAN} tokens or more against every window, {machine}",
        ["repeated tokens", "recall", "precision", "tokens/s of CPU", "bytes a token"],
        [
            [
                spans["repeated"],
                f"{spans['recall']:.4f}",
                f"{spans['precision']:.4f}",
                spans["tokens_per_s"],
                spans["bytes_a_token"],
            ]
        ],
    )
    exact = result["index"]["exact"]
    report.show(
        f"Bloom filters of unrelated documents, {machine}",
        ["documents", "bytes a document", "resident MB", "wrong of a million", "us a document"],
        [[row[name] for name in _INDEX_COLUMNS] for row in result["index"]["bloom"]],
        [f"exact index: {exact['bytes_a_document']:,.0f} bytes a document at {exact['documents']:,} of these records"],
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(_bloom(int(sys.argv[1]), int(sys.argv[2]))))
