"""What an order teaches: models trained on the first part of a stream, ordered by value or as it arrived.

Each run has a stream (`clet.bench.learning_streams`) and a seed. Each *order* of the stream is cut after a share of its
tokens; a model of one preset learns that part once, with the schedule of `clet train`, and is measured on text that was
held out. All learn the same number of tokens, so a lower loss is owed to the choice alone.

Orders differ in what decides: arrival, everything, everything but one component (its weight 0; for quality, its rules
drop nothing either), or one component alone. What quality finds still counts as evidence about origins when quality
itself is left out: that is what credibility is made of.

Between the days of a stream lies a gate, so that reputations are earned as in nightly runs; the window holds all of it,
as a window that is large enough for a budget does.

The interval is Student's, of the paired differences over runs, 95%.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clet import seeds
from clet.batch import Batch, Ragged
from clet.bench.learning_streams import Lesson, NewsroomStream, RealStream
from clet.evaluate.perplexity import Piece, score
from clet.heads import Heads
from clet.log import log
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.model.loss import token_losses
from clet.model.presets import preset_config
from clet.priority import remember
from clet.priority.classifier import Model
from clet.priority.order import Knowledge, Prioritizer, Seen, Settings, Ways
from clet.priority.policy import QUARANTINE, Policy
from clet.priority.quality import QualityTables
from clet.priority.recency import HALF_LIFE_DAYS, Clock
from clet.priority.share import Account
from clet.priority.value import Weights
from clet.tokens import Tokenizer
from clet.train import optimizer as optimisers
from clet.train.schedule import SCHEDULES, Rate

SEQ_LEN = 128
BATCH = 8
PEAK, COOLDOWN = 4e-3, 0.4  # of the learning rate, and the share of the steps over which it falls to 0 in the end
BUFFER = 256  # windows whose order is random, as a trainer's feed has it
GATES = 28
MAX_MEASURED = 200  # documents that are held out
STUDENT_95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # by freedom
COMPONENTS = ("quality", "credibility", "novelty", "freshness")
ORDERS: dict[str, tuple[str, ...] | None] = {  # the components that decide
    "arrival": None,
    "value": COMPONENTS,
    **{f"without {name}": tuple(c for c in COMPONENTS if c != name) for name in COMPONENTS},
    **{f"{name} alone": (name,) for name in COMPONENTS},
}


@dataclass(frozen=True)
class Plan:
    """How large the experiment is."""

    tokens: int = 160_000
    share: float = 0.3
    preset: str = "nano"
    vocab: int = 2048
    runs: int = 5
    seed: int = 1
    half_life_days: float = HALF_LIFE_DAYS


def measure(
    plan: Plan,
    work: Path,
    *,
    learn: Sequence[str] = (),
    held_out: Sequence[str] = (),
    policy: Policy | None = None,
    classifier: Model | None = None,
    names: Sequence[str] = tuple(ORDERS),
) -> dict[str, Any]:
    """Train and measure; `work` is an empty folder for the vocabulary. `names` has arrival and value.

    `learn` and `held_out` are files of records; the newsroom's without. Of the policy, weights and who is vouched for
    count, limits and rules do not: what they keep away is not for the model's sake.
    """
    source = RealStream(learn, held_out, plan.vocab, work) if learn else NewsroomStream(plan.vocab, work, plan.seed)
    tokenizer = source.tokenizer
    budget = int(plan.share * plan.tokens)
    losses: dict[str, list[float]] = {name: [] for name in names}
    origins: dict[str, Counter[str]] = {name: Counter() for name in names}
    for run in range(plan.runs):
        seed = plan.seed * 100 + run
        lesson = source.lesson(plan.tokens, seed)
        pieces = _pieces(lesson, seed)
        for name in names:
            part = _first(_ordered(lesson.stream, ORDERS[name], plan, policy or Policy(), classifier), budget)
            for ids, kind in part:
                origins[name][kind] += len(ids)
            losses[name].append(_loss(plan, tokenizer, [ids for ids, _ in part], pieces, seed))
            log.info(f"run {run + 1}, {name}: {losses[name][-1]:.4f}")
    return {
        "tokens": plan.tokens,
        "learned": budget,
        "preset": plan.preset,
        "losses": losses,
        "origins": {
            name: {origin: count / max(1, counts.total()) for origin, count in counts.most_common()}
            for name, counts in origins.items()
        },
        "against_arrival": {name: _paired(losses[name], losses["arrival"]) for name in names if name != "arrival"},
        "against_value": {name: _paired(losses[name], losses["value"]) for name in names if name.startswith("without")},
    }


def _ordered(
    stream: Batch, components: tuple[str, ...] | None, plan: Plan, policy: Policy, classifier: Model | None
) -> Batch:
    if components is None:
        return stream
    known = Knowledge()
    weights = Weights(*(w if name in components else 0.0 for name, w in policy.weights._asdict().items()))
    kind = Prioritizer if "quality" in components else _Lenient
    prioritizer = kind(
        Account(None, 1.0),
        Clock(),
        Ways(lambda *_: None),
        policy=Policy(weights=weights, vouched=policy.vouched),
        knowledge=known,
        settings=Settings(half_life_days=plan.half_life_days, max_records=len(stream), max_bytes=1 << 40),
        quality=QualityTables.of(classifier=classifier),
    )
    return Batch.concat(list(prioritizer.run(_days(stream, known))))


def _days(stream: Batch, known: Knowledge) -> Iterator[Batch]:
    """A stream in parts of equal size, with a gate behind each."""
    fetched = Heads.of(stream.head, ("fetched",)).seconds("fetched")
    for rows in np.array_split(np.arange(len(stream)), min(GATES, len(stream))):
        yield stream.part(int(rows[0]), int(rows[-1]) + 1)
        remember.turn(known, max(0, int(fetched[rows[-1]]) // 86400))


class _Lenient(Prioritizer):
    """Drops nothing for its quality, and still lets it speak for or against an origin."""

    def _look(self, batch: Batch, heads: Heads, text: Ragged, readable: np.ndarray) -> Seen:
        seen = super()._look(batch, heads, text, readable)
        return replace(
            seen,
            quality=np.ones(len(batch)),
            broken=np.zeros(len(batch), np.int16),
            out=seen.ruling.action >= QUARANTINE,
        )


def _first(batch: Batch, budget: int) -> list[tuple[np.ndarray, str]]:
    out, taken = [], 0
    for row in range(len(batch)):
        ids = batch.tok[row]
        out.append((ids[: budget - taken], batch.fields(row).get("origin") or ""))
        taken += len(ids)
        if taken >= budget:
            break
    return out


def _pieces(lesson: Lesson, seed: int) -> list[Piece]:
    """The beginnings of documents that are held out."""
    tok = lesson.held_out.tok
    rows = seeds.numpy_generator(seed, "ordering/held out").permutation(len(lesson.held_out))[:MAX_MEASURED]
    return [Piece(tok[row][:SEQ_LEN].astype(np.int64), "held out", 0) for row in np.sort(rows) if len(tok[row]) > 1]


def _loss(plan: Plan, tokenizer: Tokenizer, documents: list[np.ndarray], pieces: list[Piece], seed: int) -> float:
    """Held-out nats a token of a model that learned documents once, in their order."""
    config = preset_config(plan.preset, vocab_size=-(-tokenizer.vocab_size // 64) * 64)
    model = Decoder(config)
    initialise(model, seed)
    ids = np.concatenate(documents).astype(np.int64)
    segments = np.repeat(np.arange(len(documents), dtype=np.int32), [len(d) for d in documents])
    count = len(ids) // SEQ_LEN
    windows = torch.from_numpy(ids[: count * SEQ_LEN].reshape(count, SEQ_LEN))
    parts = torch.from_numpy(segments[: count * SEQ_LEN].reshape(count, SEQ_LEN))
    rng = seeds.numpy_generator(seed, "ordering/buffer")
    sequence = np.concatenate([rng.permutation(np.arange(a, min(a + BUFFER, count))) for a in range(0, count, BUFFER)])
    steps = count // BATCH
    rate = Rate(PEAK, max(1, steps // 10))
    optimizer = optimisers.Optimizer(model, "muon", clip="norm")
    model.train()
    for step in range(steps):
        rows = torch.from_numpy(sequence[step * BATCH : (step + 1) * BATCH])
        nll, weight = token_losses(model, windows[rows], parts[rows])
        (nll.sum() / weight.sum()).backward()
        optimizer.clip()
        optimizer.step(SCHEDULES["infinite"](step + 1, rate) * min(1.0, (steps - step) / (COOLDOWN * steps)))
        optimizer.zero_grad()
    model.eval()
    total = score(model, pieces, SEQ_LEN).total
    return total.nll / total.tokens


def _paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Mean difference over runs and the half-width of its 95% interval."""
    gaps = np.asarray(ours) - np.asarray(theirs)
    freedom = len(gaps) - 1
    half = STUDENT_95.get(freedom, 2.0) * gaps.std(ddof=1) / math.sqrt(len(gaps)) if freedom else math.inf
    return {"mean": float(gaps.mean()), "half_width_95": float(half)}
