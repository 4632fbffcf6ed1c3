"""Quality measured: speed by part, verdicts against datatrove's, the classifier against fastText, synthetic text.

Everything is counted in CPU seconds of one core, since other work on the machine takes wall time from both sides alike;
clet's figures are the best of several runs after one that compiles. The peers run in one process of an interpreter
that has them (`peer_python`), on the same texts.

- speed: nanoseconds a token of the whole judgement, from ids, from text, and with two models. The tokens are those that
  the records carry, from ids or not.
- agreement: the share of texts on which a filter and clet's set of the same rules both keep, or both drop, and on which
  they also give the same reason; by origin; and the classes of differences with their counts.
- classifier: both learn from the same 70% of the texts and rank the other 30%; AUC with a bootstrapped 95% interval of
  the difference.
- synthetic: for each generator (the records' origin) a model that never saw it and one that did, both tested on prompts
  (`meta.pair`) that were not trained on; how much of its text is found at 1% and 5% false alarms.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet import seeds
from clet.batch import Batch
from clet.bench import quality_peers
from clet.exits import InputError
from clet.priority.classifier import SLOTS, Model
from clet.priority.fitting import auc, calibration_error, fit_batches
from clet.priority.quality import QualityTables
from clet.priority.rules import PUBLISHED_LEAST, REASONS, SETS, first_broken
from clet.priority.textstats import Least, Scratch, Stat, measure
from clet.streams import read_batches
from clet.tokens import Tokenizer

TEST_SHARE = 0.3
RATES = (0.01, 0.05)
_BOOTSTRAPS = 1000
_NOTHING = Least(1.0, 1.0, 0.0)

# datatrove's names of reasons, where they are not ours with other words around
_SAME = {
    "gopher_short_doc": "gopher-short",
    "gopher_long_doc": "gopher-long",
    "gopher_below_avg_threshold": "gopher-word-length",
    "gopher_above_avg_threshold": "gopher-word-length",
    "gopher_too_many_hashes": "gopher-hashes",
    "gopher_too_many_ellipsis": "gopher-ellipses",
    "gopher_too_many_bullets": "gopher-bullets",
    "gopher_too_many_end_ellipsis": "gopher-dotted",
    "gopher_below_alpha_threshold": "gopher-few-letters",
    "gopher_enough_stop_words": "gopher-stop-words",
    "dup_para_frac": "gopher-dup-paragraphs",
    "dup_para_char_frac": "gopher-dup-paragraphs",
    "dup_line_frac": "gopher-dup-lines",
    "dup_line_char_frac": "gopher-dup-lines",
    "lorem_ipsum": "c4-placeholder",
    "curly_bracket": "c4-curly-bracket",
    "too_few_sentences": "c4-few-sentences",
    "line_punct_ratio": "fineweb-ended",
    "short_line_ratio": "fineweb-short-lines",
    "char_dup_ratio": "fineweb-dup-lines",
    "list_ratio": "fineweb-newlines",
    **{f"top_{n}_gram": f"gopher-top-{n}" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"gopher-dup-{n}" for n in range(5, 11)},
}


def measure_quality(
    inputs: Sequence[str],
    *,
    tokenizer: str | None = None,
    compare: Sequence[str] = (),
    good: Sequence[str] = (),
    bad: Sequence[str] = (),
    people: Sequence[str] = (),
    machines: Sequence[str] = (),
    peer_python: str = sys.executable,
    runs: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """All parts for which there are files: `inputs` (records with ids) for speed, `compare` for verdicts, the others
    for the two classifiers. Raises InputError where a peer fails."""
    result: dict[str, Any] = {"runs": runs, "seed": seed}
    if inputs:
        result["speed"] = speed(list(read_batches(inputs)), tokenizer, runs)
    if compare:
        result["agreement"] = agreement(list(read_batches(compare)), peer_python)
    if good and bad:
        result["classifier"] = classifier(list(read_batches(good)), list(read_batches(bad)), peer_python, seed)
    if people and machines:
        result["synthetic"] = synthetic(list(read_batches(people)), list(read_batches(machines)), seed)
    return result


# ---- speed


def speed(batches: list[Batch], tokenizer: str | None, runs: int) -> dict[str, Any]:
    """Nanoseconds a token, and tokens a second and core, of judging the batches by each way."""
    tokens = sum(batch.num_tokens for batch in batches)
    if not tokens:
        raise InputError("speed is measured a token: give records that carry ids (clet ingest --tokenizer)")
    model = Model("quality", np.ones(SLOTS, np.int16), 1.0, 0.0, 1.0, 0.0, {"threshold": 0.5})
    loaded = Tokenizer.load(tokenizer) if tokenizer else None
    started = time.process_time()
    ways = {"text": QualityTables.of()}
    if loaded is not None:
        ways |= {
            "ids": QualityTables.of(loaded),
            "ids, one model": QualityTables.of(loaded, classifier=model),
            "ids, two models": QualityTables.of(loaded, classifier=model, synthetic=model),
            "ids, published rules": QualityTables.of(loaded, list(SETS)[1:]),
        }
    table_s = (time.process_time() - started) / len(ways)
    rows = {}
    for name, tables in ways.items():
        samples = [
            _cpu_seconds(lambda tables=tables: [tables.judge(batch) for batch in batches]) for _ in range(runs + 1)
        ]
        best = min(samples[1:])
        rows[name] = {"ns_per_token": best / tokens * 1e9, "tokens_per_s": tokens / best, "samples": samples[1:]}
    text_bytes = sum(batch.num_bytes for batch in batches)
    return {"tokens": tokens, "text_bytes": text_bytes, "table_s": table_s, "ways": rows}


def _cpu_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


# ---- agreement with datatrove


def agreement(batches: list[Batch], peer_python: str) -> dict[str, Any]:
    """How often clet's sets of published rules say what datatrove's filters say."""
    texts = [batch.text_at(row) or "" for batch in batches for row in range(len(batch))]
    origins = [batch.fields(row).get("origin") or "" for batch in batches for row in range(len(batch))]
    peer = _peer("verdicts", {"texts.json": orjson.dumps(texts)}, peer_python)
    if "left_out" in peer:
        return peer
    started = time.process_time()
    scratch = Scratch()
    stats = np.concatenate([measure(batch, scratch, whole=True, least=PUBLISHED_LEAST)[0] for batch in batches])
    ours_s = time.process_time() - started
    table: dict[str, dict[str, list[int]]] = {}
    differences: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for name, theirs in peer["verdicts"].items():
        codes, _ = first_broken(SETS[name](stats), len(texts))
        for row, reason in enumerate(theirs):
            ours = REASONS[codes[row]]
            reason = _SAME.get(reason or "", reason or "")
            for origin in (origins[row], "all"):
                cell = table.setdefault(origin, {}).setdefault(name, [0, 0, 0])
                cell[0] += 1
                cell[1] += bool(ours) == bool(reason)
                cell[2] += ours == reason
            if ours != reason:
                differences[name][reason or "kept", ours or "kept"] += 1
    return {
        "texts": len(texts),
        "text_bytes": sum(len(text.encode()) for text in texts),
        "same": {
            origin: {name: {"texts": n, "verdict": v / n, "reason": r / n} for name, (n, v, r) in row.items()}
            for origin, row in table.items()
        },
        "differences": {
            name: [{"datatrove": a, "clet": b, "texts": n} for (a, b), n in counter.most_common()]
            for name, counter in differences.items()
        },
        "datatrove_cpu_s": peer["cpu_s"],
        "clet_cpu_s": ours_s,  # with the compiling or loading of its kernels
    }


# ---- the classifier against fastText


def classifier(good: list[Batch], bad: list[Batch], peer_python: str, seed: int) -> dict[str, Any]:
    """AUC of both on the same split."""
    generator = seeds.numpy_generator(seed, "split")
    train: dict[int, list[Batch]] = {1: [], 0: []}
    test: list[tuple[Batch, int]] = []
    for batches, label in ((good, 1), (bad, 0)):
        for batch in batches:
            chosen = generator.random(len(batch)) < TEST_SHARE
            train[label].append(batch.take(~chosen))
            test.append((batch.take(chosen), label))
    started = time.process_time()
    model = fit_batches([(train[1], 1), (train[0], 0)], kind="quality", seed=seed).model
    fit_s = time.process_time() - started
    scores, labels = _scores(model, test)
    score_s = _cpu_seconds(lambda: _scores(model, test))
    lines = {
        "train.txt": [(batch, label) for label, batches in train.items() for batch in batches],
        "test.txt": test,
    }
    files = {name: _fasttext_lines(pairs, with_label=name == "train.txt") for name, pairs in lines.items()}
    result: dict[str, Any] = {
        "trained": sum(len(batch) for batches in train.values() for batch in batches),
        "tested": len(labels),
        "bad_tested": int((labels == 0).sum()),
        "clet": {"auc": auc(scores, labels), "calibration_error": calibration_error(scores, labels)},
        "test_bytes": sum(batch.num_bytes for batch, _ in test),
    }
    result["clet"] |= {"fit_cpu_s": fit_s, "score_cpu_s": score_s, "manifest": model.about}
    peer = _peer("classify", files, peer_python)
    if "left_out" in peer:
        return result | {"fasttext": peer}
    result["fasttext"] = []
    for run in peer["runs"]:
        theirs = np.array(run.pop("scores"))
        low, high = _difference(scores, theirs, labels, seed)
        result["fasttext"].append(run | {"auc": auc(theirs, labels), "clet_minus_fasttext_95": [low, high]})
    return result


def _scores(model: Model, test: list[tuple[Batch, int]]) -> tuple[np.ndarray, np.ndarray]:
    scratch, scores, labels = Scratch(), [], []
    for batch, label in test:
        stats, sums = measure(batch, scratch, weights=model.weights[None], least=_NOTHING)
        scores.append(model.probability(sums[:, 0], stats[:, Stat.UNITS]))
        labels.append(np.full(len(batch), label))
    return np.concatenate(scores), np.concatenate(labels)


def _fasttext_lines(pairs: list[tuple[Batch, int]], *, with_label: bool) -> bytes:
    rows = []
    for batch, label in pairs:
        for row in range(len(batch)):
            rows.append(f"__label__{label} " * with_label + " ".join((batch.text_at(row) or "").split()))
    return ("\n".join(rows) + "\n").encode()


def _difference(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95% interval of the difference of both AUC, over resampled test texts."""
    generator = seeds.numpy_generator(seed, "bootstrap")
    found = []
    for _ in range(_BOOTSTRAPS):
        rows = generator.integers(0, len(labels), len(labels))
        if 0 < labels[rows].sum() < len(rows):
            found.append(auc(ours[rows], labels[rows]) - auc(theirs[rows], labels[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


# ---- synthetic text


def synthetic(people: list[Batch], machines: list[Batch], seed: int) -> dict[str, Any]:
    """By generator: what a model that never saw it finds, and one that did, on prompts that neither was trained on."""
    human, machine = _by_origin(people, seed), _by_origin(machines, seed)
    rows = {}
    for name in sorted(machine):
        row: dict[str, Any] = {"texts": sum(map(len, machine[name]))}
        for known in (False, True):
            scores, labels = [], []
            for fold in (0, 1):
                others = [other for other in machine if known or other != name]
                train = [(machine[other][1 - fold], 0) for other in others]
                train += [(human[other][1 - fold], 1) for other in others if other in human]
                model = fit_batches([([batch], label) for batch, label in train], kind="synthetic", seed=seed).model
                likelihood, truth = _scores(model, [(human[name][fold], 0), (machine[name][fold], 1)])
                scores.append(1 - likelihood)
                labels.append(truth)
            values, truth = np.concatenate(scores), np.concatenate(labels)
            found = {"auc": float(np.mean([auc(s, t) for s, t in zip(scores, labels, strict=True)]))}
            for rate in RATES:
                shares = [
                    np.mean(s[t == 1] > np.quantile(s[t == 0], 1 - rate, method="higher"))
                    for s, t in zip(scores, labels, strict=True)
                ]
                found[f"found_at_{rate:.0%}"] = float(np.mean(shares))
            row["known" if known else "unseen"] = found | {"people": int((truth == 0).sum()), "texts": len(values)}
        rows[name] = row
    return rows


def _by_origin(batches: list[Batch], seed: int) -> dict[str, tuple[Batch, Batch]]:
    """Two halves of the records of each origin, split by prompt: the same prompt falls in the same half everywhere."""
    halves: dict[str, tuple[list[Batch], list[Batch]]] = defaultdict(lambda: ([], []))
    for batch in batches:
        for row in range(len(batch)):
            fields = batch.fields(row)
            prompt = (fields.get("meta") or {}).get("pair")
            half = seeds.integer(seed, f"prompt {prompt}") & 1
            halves[fields.get("origin") or ""][half].append(batch.take([row]))
    return {name: (Batch.concat(a), Batch.concat(b)) for name, (a, b) in halves.items() if a and b}


# ---- peers


def _peer(task: str, files: dict[str, bytes], peer_python: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        for name, body in files.items():
            Path(folder, name).write_bytes(body)
        command = [peer_python, "-I", quality_peers.__file__, task, folder]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise InputError(f"{task} by {peer_python} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return orjson.loads(done.stdout[done.stdout.index(b"{") :])
