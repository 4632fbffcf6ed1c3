"""What an order teaches: models trained on the first part of a stream, ordered by value or as it arrived.

One stream of the simulated newsroom, spam and near-duplicates in it, is tokenised with a vocabulary of its own. Each
*order* of it is cut after a share of its tokens; for each seed a model of one preset learns that part once, with the
schedule of `clet train`, and is measured on the articles of a publisher that was held out. Orders differ in what
decides: everything, everything but one component (its weight 0; for quality, its rules too), or arrival. All runs take
the same number of tokens, so a lower loss is owed to the choice alone.

The interval is Student's, of the paired differences to arrival over seeds, 95%.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clet import seeds
from clet.batch import Batch
from clet.bench.attacks import Stream
from clet.evaluate.perplexity import Piece, score
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.model.loss import token_losses
from clet.model.presets import preset_config
from clet.model.vocabulary import train_vocabulary
from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
from clet.priority.policy import Policy
from clet.priority.quality import QualityTables, Verdicts
from clet.priority.recency import Clock
from clet.priority.rules import CLET
from clet.priority.share import Account
from clet.priority.value import Weights
from clet.tokens import Tokenizer
from clet.train import optimizer as optimisers
from clet.train.schedule import SCHEDULES, Rate

HELD_OUT = "evening-post"
SEQ_LEN = 128
BATCH = 8
STUDENT_95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # by freedom


@dataclass(frozen=True)
class Plan:
    """How large the experiment is."""

    days: int = 5
    share: float = 0.3
    preset: str = "pico"
    vocab: int = 2048
    runs: int = 5
    seed: int = 1


ORDERS: dict[str, dict[str, float] | None] = {
    "arrival": None,
    "value": {},
    "without quality": {"quality": 0.0},
    "without credibility": {"credibility": 0.0},
    "without novelty": {"novelty": 0.0},
    "without freshness": {"freshness": 0.0},
}


def measure(plan: Plan, work: Path, names: Sequence[str] = tuple(ORDERS)) -> dict[str, Any]:
    """Train and measure; `work` is an empty folder for the vocabulary. `names` has arrival and value."""
    records = [record for day in Stream(plan.seed, plan.days) for record in day]
    learned = [record for record in records if record["origin"] != HELD_OUT]
    (work / "tokenizer.json").write_text(train_vocabulary((r["text"] for r in learned), plan.vocab))
    tokenizer = Tokenizer.load(work)
    batch = _tokenised(learned, tokenizer)
    held_out = _tokenised([record for record in records if record["origin"] == HELD_OUT], tokenizer)
    budget = int(plan.share * batch.num_tokens)
    losses: dict[str, list[float]] = {}
    kinds: dict[str, float] = {}
    for name in names:
        part = _first(_ordered(batch, ORDERS[name]), budget)
        spam = sum(len(ids) for ids, kind in part if kind == "spam")
        kinds[name] = spam / sum(len(ids) for ids, _ in part)
        losses[name] = [
            _loss(plan, tokenizer, [ids for ids, _ in part], held_out, plan.seed * 100 + run)
            for run in range(plan.runs)
        ]
    return {
        "tokens": batch.num_tokens,
        "learned": budget,
        "held_out_tokens": held_out.num_tokens,
        "losses": losses,
        "spam_share": kinds,
        "against_arrival": {name: _paired(losses[name], losses["arrival"]) for name in names if name != "arrival"},
        "against_value": {name: _paired(losses[name], losses["value"]) for name in names if name.startswith("without")},
    }


def _tokenised(records: list[dict[str, Any]], tokenizer: Tokenizer) -> Batch:
    batch = Batch.from_records(records)
    texts = [batch.text_at(row) or "" for row in range(len(batch))]
    return batch.with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)


def _ordered(batch: Batch, weights: dict[str, float] | None) -> Batch:
    if weights is None:
        return batch
    prioritizer = Prioritizer(
        Account(None, 1.0),
        Clock(),
        Ways(lambda *_: None),
        policy=Policy(weights=Weights(**weights)),
        knowledge=Knowledge(),
        settings=Settings(max_records=len(batch)),
        quality=_Unjudged() if weights.get("quality") == 0.0 else None,
    )
    return Batch.concat(list(prioritizer.run([batch])))


class _Unjudged(QualityTables):
    """Tables that find nothing wrong with anything."""

    def __init__(self) -> None:
        super().__init__(None, (CLET,), None, None)

    def judge(self, batch: Batch) -> Verdicts:
        size = len(batch)
        nothing = np.full(size, np.nan, np.float32)
        ones, zeros = np.ones(size, np.float32), np.zeros(size, np.float32)
        return Verdicts(ones, np.zeros(size, np.int16), zeros, np.ones(size, np.bool_), nothing, nothing)


def _first(batch: Batch, budget: int) -> list[tuple[np.ndarray, str]]:
    out, taken = [], 0
    for row in range(len(batch)):
        ids = batch.tok[row]
        out.append((ids[: budget - taken], batch.fields(row)["meta"]["attack"]))
        taken += len(ids)
        if taken >= budget:
            break
    return out


def _loss(plan: Plan, tokenizer: Tokenizer, documents: list[np.ndarray], held_out: Batch, seed: int) -> float:
    """Held-out nats a token of a model that learned documents once, in their order."""
    config = preset_config(plan.preset, vocab_size=-(-tokenizer.vocab_size // 64) * 64)
    model = Decoder(config)
    initialise(model, seed)
    ids = np.concatenate(documents).astype(np.int64)
    segments = np.repeat(np.arange(len(documents), dtype=np.int32), [len(d) for d in documents])
    count = len(ids) // SEQ_LEN
    windows = torch.from_numpy(ids[: count * SEQ_LEN].reshape(count, SEQ_LEN))
    parts = torch.from_numpy(segments[: count * SEQ_LEN].reshape(count, SEQ_LEN))
    # Within a buffer of neighbouring windows the order is random, as a trainer's feed has it: seeds differ in it too.
    rng = seeds.numpy_generator(seed, "ordering/buffer")
    sequence = np.concatenate([rng.permutation(np.arange(a, min(a + 256, count))) for a in range(0, count, 256)])
    steps = count // BATCH
    rate = Rate(optimisers.default_peak(config.hidden_size), max(1, steps // 10))
    optimizer = optimisers.Optimizer(model, clip="norm")
    model.train()
    for step in range(steps):
        rows = torch.from_numpy(sequence[step * BATCH : (step + 1) * BATCH])
        nll, weight = token_losses(model, windows[rows], parts[rows])
        (nll.sum() / weight.sum()).backward()
        optimizer.clip()
        optimizer.step(SCHEDULES["infinite"](step + 1, rate))
        optimizer.zero_grad()
    model.eval()
    pieces = [
        Piece(held_out.tok[row][:SEQ_LEN].astype(np.int64), "held out", 0)
        for row in range(len(held_out))
        if len(held_out.tok[row]) > 1
    ]
    total = score(model, pieces, SEQ_LEN).total
    return total.nll / total.tokens


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Mean difference over seeds and the half-width of its 95% interval."""
    gaps = np.asarray(ours) - np.asarray(theirs)
    freedom = len(gaps) - 1
    half = STUDENT_95.get(freedom, 2.0) * gaps.std(ddof=1) / math.sqrt(len(gaps)) if freedom else math.inf
    return {"mean": float(gaps.mean()), "half_width_95": float(half)}
