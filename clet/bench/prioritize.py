"""How fast prioritisation is with everything on, and in how much memory; and the bench's table.

The records of a file are held in memory and passed through `Prioritizer` as often as it takes; what is timed is CPU
time of one core from batches to batches, reading and writing left out. Parts are timed alone on the same batches, so
they do not add up exactly. Memory is the process's peak after the first pass and after the last: flat means equal.
"""

from __future__ import annotations

import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet.batch import Batch
from clet.bench import report
from clet.heads import Heads
from clet.priority.assess import assess, new_findings, new_memory
from clet.priority.facts import FIELDS, facts_of
from clet.priority.injection import corrects, injected
from clet.priority.order import Prioritizer, Ways
from clet.priority.origins import CAPACITY, Origins
from clet.priority.policy import Policy, load_policy, rule_on
from clet.priority.quality import QualityTables
from clet.priority.recency import Clock
from clet.priority.share import Account
from clet.streams import read_batches


def speed(inputs: Sequence[str], policy: str | None, *, runs: int) -> dict[str, Any]:
    """Tokens/s of all scores and of each part, medians of `runs` after one that compiles."""
    batches = list(read_batches(inputs))
    tokens = sum(batch.num_tokens or -(-batch.num_bytes // 4) for batch in batches)
    records = sum(map(len, batches))

    def rules() -> Policy:
        return load_policy(policy) if policy else Policy()

    ways = Ways(lambda *_: None, count=lambda *_: None)  # as without --rejects

    def everything() -> Callable[[], Any]:
        prioritizer = Prioritizer(Account(None, 1.0), Clock(), ways, policy=rules())
        return lambda: sum(map(len, prioritizer.run(batches)))

    def each(function: Callable[[Batch], Any]) -> Callable[[], Callable[[], Any]]:
        def run() -> None:
            for batch in batches:
                function(batch)

        return lambda: run

    known = {"origins": Origins(), "memory": new_memory(CAPACITY)}

    def sequential(batch: Batch) -> None:
        facts = facts_of(batch, Heads.of(batch.head, FIELDS), known["origins"], Clock(), 7.0)
        none = np.zeros(len(batch), np.bool_)
        columns = facts.days, facts.origins, facts.families, none, none, none, facts.old
        assess(known["memory"], facts.ids.values, facts.ids.offsets, 0, len(batch), *columns, new_findings(len(batch)))

    policed = rules()

    def policy_alone(batch: Batch) -> None:
        heads = Heads.of(batch.head, FIELDS)
        rule_on(policed, heads, batch.text, batch.has_text > 0, np.ones(len(batch)), np.ones(len(batch), np.bool_))

    parts = {
        "everything": everything,
        "quality": each(QualityTables.of().judge),
        "novelty, topics, bursts, credibility": each(sequential),
        "injection and corrections": each(lambda batch: (injected(batch.text), corrects(batch.text))),
        "policy": each(policy_alone),
    }
    rows, peaks = [], []
    for name, prepared in parts.items():
        prepared()()  # compiles
        samples = []
        for _ in range(runs):
            run = prepared()  # reads the policy, if there is one
            gc.collect()  # a pass leaves its arrays to the collector
            began = time.process_time()
            run()
            samples.append(time.process_time() - began)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        middle = sorted(samples)[len(samples) // 2]
        rows.append(
            {"part": name, "cpu_s": samples, "tokens_per_s": tokens / middle, "us_a_record": middle / records * 1e6}
        )
    return {
        "records": records,
        "tokens": tokens,
        "parts": rows,
        "peak_mb": {"after_1": peaks[0], "after_all": peaks[runs - 1]},
    }


GRID = (  # of an attacker: documents, origins, days, days of patience before
    *((n, 1, 5, 0) for n in (50, 250, 1000)),
    (250, 1, 1, 0),
    *((250, n, 5, 0) for n in (5, 25, 100, 250)),
    (1000, 25, 5, 0),
    (250, 25, 30, 0),
    (250, 1, 30, 0),
    (250, 1, 5, 12),
    (250, 25, 5, 12),
)


MIN_TOKENS = 20_000  # of a stream to learn from


@dataclass(frozen=True)
class Lessons:
    """What to learn in several orders: so many tokens of the files `learn`, or of the newsroom; 0 for nothing."""

    tokens: int
    learn: tuple[str, ...]
    held_out: tuple[str, ...]
    preset: str


def measure(
    files: Sequence[str],
    policy: str | None,
    tokenizer: str | None,
    attacks: int,
    curve: bool,
    corrections: int,
    lessons: Lessons,
    runs: int,
    seed: int,
) -> dict[str, Any]:
    """All that was asked for."""
    out: dict[str, Any] = {}
    if files:
        out["speed"] = speed(files, policy, runs=runs)
    if attacks or curve or corrections:
        from clet.bench.corrections import measure_corrections
        from clet.bench.defence import defended, measure_curve, measure_stream
        from clet.tokens import Tokenizer

        encoder = Tokenizer.load(tokenizer) if tokenizer else None
        if attacks:
            out["attacks"] = measure_stream(defended(policy), encoder, seed=seed, days=attacks)
        if curve:
            out["curve"] = measure_curve(defended(policy), encoder, seed=seed, grid=GRID)
        if corrections:
            out["corrections"] = measure_corrections(encoder, seed=seed, rounds=corrections)
    if lessons.tokens:
        from clet.bench import ordering

        with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
            plan = ordering.Plan(lessons.tokens, preset=lessons.preset, runs=max(2, runs), seed=seed)
            files = {"learn": lessons.learn, "held_out": lessons.held_out}
            rules = load_policy(policy) if policy else None
            out["order"] = ordering.measure(plan, Path(folder), **files, policy=rules)
    return out


def show(result: dict[str, Any]) -> None:
    """Tables of what was measured."""
    if found := result.get("speed"):
        rows = [[part["part"], part["tokens_per_s"], part["us_a_record"]] for part in found["parts"]]
        peaks = [f"peak memory {found['peak_mb'][when]:.0f} MB {when.replace('_', ' ')}" for when in found["peak_mb"]]
        title = f"{found['records']:,} records, {found['tokens']:,} tokens, one core"
        report.show(title, ["part", "tokens/s", "us a record"], rows, peaks)
    if found := result.get("attacks"):
        rows = [[kind, count, found["passed"].get(kind, 0)] for kind, count in sorted(found["seen"].items())]
        lost = ", ".join(f"{100 * share:.2f}% {reason}" for reason, share in sorted(found["honest_lost"].items()))
        notes = [f"honest documents lost: {lost}"]
        if found["rumour_scores"]:
            best = {kind: max(scores) for kind, scores in found["rumour_scores"].items()}
            notes.append(f"best score of the rumour and of its correction: {best}")
        if found["flood_share"]:
            notes.append(f"the event's share of tokens, in and out, by day: {_shares(found['flood_share'])}")
        report.show(f"attacks in {found['documents']:,} documents", ["kind", "in", "passed"], rows, notes)
    if found := result.get("curve"):
        columns = ["documents", "sources", "days", "patience", "passed"]
        report.show("backdoor documents that pass", columns, [[row[c] for c in columns] for row in found])
    if found := result.get("corrections"):
        columns = ["way", "clusters", "rumours", "below", "copies", "marked"]
        honest = found["honest"]
        notes = [f"{honest['right marked']} of {honest['right']:,} honest documents that were right marked"]
        notes += [f"{honest['wrong marked']} of {honest['wrong']:,} first versions that were corrected later marked"]
        rows = [[row[c] for c in columns] for row in found["rumours"]]
        report.show("rumours, and copies that their correction found", columns, rows, notes)
    if found := result.get("order"):
        rows = []
        for name, losses in found["losses"].items():
            gap = found["against_arrival"].get(name, {"mean": 0.0, "half_width_95": 0.0})
            rows.append([name, sum(losses) / len(losses), gap["mean"], gap["half_width_95"]])
        title = f"held-out loss after the first {found['learned']:,} of {found['tokens']:,} tokens"
        report.show(title, ["order", "loss", "against arrival", "+-"], rows)
    for name, found in result.get("quality", {}).items():
        if isinstance(found, dict):
            sys.stdout.write(f"quality: {name} {orjson.dumps(found).decode()}\n")


def _shares(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{100 * a:.0f}/{100 * b:.0f}%" for a, b in pairs)
