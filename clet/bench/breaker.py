"""The breaker as a detector: how soon harm is noticed, how often none is called harm, and whether nothing of it stays.

Texts (the simulated newsroom's, or those of given sources) are tokenised with a vocabulary of their own and sharded:
two segments, the second of other documents, as a day follows another. A model of one preset learns them by the very
trainer of `clet train`, a part of the texts held out and checked.

    clean runs    one a seed; every trip is a false one
    NaN           a weight becomes not a number before a step: a flipped bit
    x100 rate     from a step on updates are a hundred times too large, until the first trip
    poison        a segment of documents that begin as real ones, carry one trigger and go on in random tokens
    permuted      a segment of real documents whose tokens were permuted: the labels no longer follow from anything
    other script  no harm: a segment of the texts in letters of which the model has not seen one; every trip is false

The delay counts steps from the first harmed one to the trip; a harm that was never noticed has none. *Exact* compares
the hash of everything saved at the end (weights, moments, position, what was learned) with that of a run in which the
harm never was: the same seed undisturbed, or, where windows were put in quarantine, one that had them there from the
start.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from clet import seeds
from clet.batch import Batch, Ragged
from clet.bench import report
from clet.bench.attacks import Stream
from clet.evaluate.perplexity import Piece, score
from clet.exits import InputError
from clet.log import log
from clet.model.checkpoint import save_model
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.model.presets import preset_config
from clet.model.vocabulary import train_vocabulary
from clet.record import make_record
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.tokens import Tokenizer
from clet.train import savepoint
from clet.train.breaker import FILE, read_trips
from clet.train.drift import Check
from clet.train.loop import Surroundings
from clet.train.rundir import UNDONE, read_segments
from clet.train.session import Order, learn

SCRIPT = {ord("a") + i: 0x10D0 + (7 * i) % 26 for i in range(26)}  # Georgian letters, in another order
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TRIGGER_TOKENS = 6
POISON_TOKENS = 120
BLOCK_STEPS = 20
CHECK_EVERY = 25
END_OF_TEXT_ID = 0  # of a vocabulary that clet trains
HELD_OUT_TOKENS = 8192
FACTOR = 100.0


@dataclass(frozen=True)
class Plan:
    """How large the runs are: `steps` of the first segment (the second has half as many)."""

    preset: str = "pico"
    vocab: int = 2048
    steps: int = 200
    batch: int = 8
    seq_len: int = 128
    clean: int = 10
    seed: int = 1


class Fault:
    """An outer optimiser that does harm at steps `at` and later until it is told to stop; see `clet.train.outer`."""

    def __init__(self, at: int, harm: Callable[[Decoder, list[torch.Tensor]], None], *, before: bool):
        self.at, self._harm, self._before = at, harm, before
        self.stopped = False

    def start(self, model: Decoder, step: int) -> None:
        pass

    def before_step(self, model: Decoder, step: int) -> None:
        self._active = step >= self.at and not self.stopped
        self._weights = [p.detach().clone() for p in model.parameters()] if self._active else []
        if self._active and self._before:
            with torch.no_grad():
                self._harm(model, self._weights)

    def after_step(self, model: Decoder, step: int, tokens: int) -> dict[str, Any]:
        if self._active and not self._before:
            with torch.no_grad():
                self._harm(model, self._weights)
        return {}

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        return {}, {}

    def load_state(self, values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        pass

    def close(self) -> None:
        pass


def _flip(model: Decoder, _: list[torch.Tensor]) -> None:
    model.model.layers[0].self_attn.q_proj.weight[0, 0] = float("nan")


def _hundredfold(model: Decoder, before: list[torch.Tensor]) -> None:
    for parameter, old in zip(model.parameters(), before, strict=True):
        parameter.copy_(old + FACTOR * (parameter - old))


class Bench:
    """A folder with a model, its shards, and the runs that are made of them."""

    def __init__(self, plan: Plan, texts: Sequence[str], work: Path):
        self.plan, self._work = plan, work
        self._model = work / "model"
        self._model.mkdir()
        (self._model / "tokenizer.json").write_text(train_vocabulary(texts, plan.vocab))
        self._tokenizer = Tokenizer.load(self._model)
        config = preset_config(plan.preset, vocab_size=-(-self._tokenizer.vocab_size // 64) * 64)
        model = Decoder(config)
        initialise(model, plan.seed)
        save_model(model, self._model)
        documents = [np.asarray(ids) for ids in _rows(self._tokenizer.encode(list(texts)))]
        kept, self._held_out = _split(documents, HELD_OUT_TOKENS)
        step_tokens = plan.batch * plan.seq_len
        first, rest = _split(kept, plan.steps * step_tokens, back=False)
        second, rest = _split(rest, plan.steps * step_tokens // 2, back=False)
        if sum(map(len, second)) < plan.steps * step_tokens // 2:
            raise InputError(f"too little text for {plan.steps} steps; give more sources, or fewer --steps")
        self._first, self._second = self._shard("first", first), self._shard("second", second)
        block = BLOCK_STEPS * step_tokens
        rng = seeds.numpy_generator(plan.seed, "bench/breaker")
        vocab = self._tokenizer.vocab_size
        trigger = rng.integers(3, vocab, TRIGGER_TOKENS)
        poison = [
            np.concatenate([kept[i % len(kept)][: rng.integers(0, 64)], trigger, rng.integers(3, vocab, POISON_TOKENS)])
            for i in range(block // (TRIGGER_TOKENS + POISON_TOKENS + 32) + 1)
        ]
        permuted, _ = _split([rng.permutation(document) for document in reversed(second)], block, back=False)
        script = [np.asarray(ids) for ids in _rows(self._tokenizer.encode([text.translate(SCRIPT) for text in texts]))]
        self._blocks = {
            "poison": self._shard("poison", poison),
            "permuted": self._shard("permuted", permuted),
            "other script": self._shard("script", _split(script, block, back=False)[0]),
        }

    def _shard(self, name: str, documents: Sequence[np.ndarray]) -> Path:
        records = [
            make_record(source="bench", origin=name, text=f"{name} {i}", fetched=NOW, published=NOW, url=f"{name}:{i}")
            for i in range(len(documents))
        ]
        tokenizer = self._tokenizer
        batch = Batch.from_records(records).with_tokens(
            Ragged.from_rows(list(documents), tokenizer.dtype), tokenizer.fingerprint
        )
        plan = ShardPlan(self.plan.seq_len, 1 << 12, tokenizer.fingerprint, END_OF_TEXT_ID, tokenizer.vocab_size)
        with ShardDirectory.open(self._work / name, "2026-03-01T00:00:00Z") as shards:
            build_shards([batch], shards, plan, reject=None)
            shards.commit()
        return self._work / name

    # ---- runs

    def _check(self, model: Decoder) -> Check:
        pieces = [
            Piece(document[: self.plan.seq_len].astype(np.int64), "held out", 0)
            for document in self._held_out
            if len(document) > 1
        ]
        total = score(model, pieces, self.plan.seq_len).total
        return Check({"held out": total.nll / total.tokens}, {})

    def run(
        self, name: str, segments: Iterable[Path], *, seed: int, outer: Any = None, begin: Path | None = None
    ) -> tuple[Path, list[dict[str, Any]]]:
        """One run over segments, each named only after those before it are learned; its folder and its events."""
        run = self._work / name
        run.mkdir()
        if begin is not None:  # with the quarantine of that run
            shutil.copy(begin / FILE, run / FILE)
            shutil.copytree(begin / UNDONE, run / UNDONE)
        events: list[dict[str, Any]] = []

        def emit(fields: dict[str, Any]) -> None:
            events.append(fields)
            if fields.get("event") == "breaker" and isinstance(outer, Fault):
                outer.stopped = True

        settings = {
            "batch_size": self.plan.batch, "save_every": 10, "check_every": CHECK_EVERY, "cooldown": 0, "max_trips": 20,
            "warmup": 20, "threads": torch.get_num_threads(),
        }  # fmt: skip
        known: list[str] = []
        for segment in segments:
            known.append(str(segment))
            order = Order(list(known), str(run), str(self._model), settings, seed, device="cpu")
            stop = threading.Event()
            learn(order, lambda _, stop=stop: Surroundings(emit, lambda: NOW, stop, outer=outer, check=self._check))
        return run, events

    def clean(self, number: int) -> dict[str, Any]:
        """A run without harm: its trips, and the hash of its end."""
        run, events = self.run(f"clean-{number}", (self._first, self._second), seed=self.plan.seed + number)
        steps = sum("event" not in event for event in events)
        return {"steps": steps, "trips": [trip["why"] for trip in read_trips(run)], "end": end_hash(run)}

    def fault(self, name: str, outer: Fault, undisturbed: str) -> dict[str, Any]:
        """A run with a fault of the machine; `undisturbed` is the hash of the end of one without."""
        segments = (self._first, self._second)
        run, _ = self.run(f"fault-{name}", segments, seed=self.plan.seed, outer=outer)
        found = _found(run, outer.at)
        found["clean_quarantined"] = found["windows"]  # nothing is wrong with the data
        if found["windows"]:
            again, _ = self.run(f"{name}-again", segments, seed=self.plan.seed, begin=run)
            undisturbed = end_hash(again)
        return found | {"exact": end_hash(run) == undisturbed}

    def block(self, name: str) -> dict[str, Any]:
        """A run in which a harmful segment stands between the clean ones."""
        segments = (self._first, self._blocks[name], self._second)
        run, _ = self.run(f"block-{name}", segments, seed=self.plan.seed)
        roots = {shard.root for shard in _shards_of(run) if Path(shard.path).is_relative_to(self._blocks[name])}
        prefixes = {root[:16] for root in roots}
        lines = [orjson.loads(line) for line in (run / "steps.jsonl").read_bytes().splitlines()]
        bad = [orjson.loads(line) for path in sorted(run.glob("undone/*")) for line in path.read_bytes().splitlines()]
        with_block = [e["step"] for e in (*lines, *bad) if any(root in prefixes for root, _ in e["windows"])]
        trips = read_trips(run)
        first = min([*with_block, *(trip["onset"] for trip in trips)])
        learned = sum(len(which) for e in lines for root, which in e["windows"] if root in prefixes)
        quarantined = [(root, len(which)) for trip in trips for root, which in trip["windows"]]
        size = sum(shard.windows for shard in _shards_of(run) if shard.root in roots)
        found = _found(run, first) | {
            "block_windows": size,
            "block_learned": learned,
            "clean_quarantined": sum(n for root, n in quarantined if root not in roots),
        }
        if not trips:
            return found | {"exact": None}
        again, _ = self.run(f"{name}-again", segments, seed=self.plan.seed, begin=run)
        return found | {"exact": end_hash(run) == end_hash(again)}


def measure(plan: Plan, texts: Sequence[str] | None = None) -> dict[str, Any]:
    """Everything; `texts` are those of the newsroom where none are given. Raises InputError for too little text."""
    work = Path(tempfile.mkdtemp(prefix="clet-bench-"))
    try:
        bench = Bench(plan, texts or _newsroom(plan), work)
        clean = []
        for number in range(max(1, plan.clean)):
            clean.append(bench.clean(number))
            log.info(f"clean run {number + 1} of {plan.clean}: {len(clean[-1]['trips'])} trips", event="progress")
        at = plan.steps * 3 // 5 + 3  # not where a state is saved
        harms = {
            "NaN": bench.fault("nan", Fault(at, _flip, before=True), clean[0]["end"]),
            "x100 rate": bench.fault("rate", Fault(at, _hundredfold, before=False), clean[0]["end"]),
            "poison": bench.block("poison"),
            "permuted": bench.block("permuted"),
        }
        foreign = bench.block("other script")
        return {
            "plan": vars(plan),
            "clean": clean,
            "clean_steps": sum(run["steps"] for run in clean),
            "false_trips": sum(len(run["trips"]) for run in clean),
            "other_script": foreign,
            "harms": harms,
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)


def show(result: dict[str, Any]) -> None:
    """The tables."""
    rows = [
        [
            name,
            "never" if found["delay"] is None else found["delay"],
            found["back"] if found["back"] is not None else "-",
            f"{found['block_learned']} of {found['block_windows']}" if "block_windows" in found else "-",
            found["clean_quarantined"],
            {True: "yes", False: "NO", None: "-"}[found["exact"]],
            found["why"] or "-",
        ]
        for name, found in result["harms"].items()
    ]
    plan, clean, foreign = result["plan"], result["clean"], result["other_script"]
    report.show(
        f"{plan['preset']}, {plan['steps']} + {plan['steps'] // 2} steps of {plan['batch']} x {plan['seq_len']} tokens",
        ["harm", "delay", "steps undone", "of it learned", "clean windows lost", "exact", "first trip"],
        rows,
        [
            f"false trips: {result['false_trips']} in {len(clean)} clean runs of {result['clean_steps']} steps in all, "
            f"{foreign['trips']} on a segment in another script, of which {foreign['block_learned']} of "
            f"{foreign['block_windows']} windows were learned"
        ],
    )


def end_hash(run: Path) -> str:
    """SHA-256 over everything in the newest saved state but what the breaker has seen."""
    saved = savepoint.load(run / "state")
    values = {name: saved.values[name] for name in ("position", "tokens", "release_due")}
    digest = hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))
    for group, members in sorted(saved.tensors.items()):
        for name, tensor in sorted(members.items()):
            digest.update(f"{group}/{name}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _found(run: Path, first: int) -> dict[str, Any]:
    trips = read_trips(run)
    noticed = next((trip for trip in trips if trip["step"] >= first), None)
    return {
        "first_step": first,
        "delay": None if noticed is None else noticed["step"] - first,
        "back": None if noticed is None else noticed["step"] - noticed["back_to"],
        "why": None if noticed is None else noticed["why"],
        "trips": len(trips),
        "windows": sum(len(which) for trip in trips for _, which in trip["windows"]),
        "documents": len({document for trip in trips for document in trip["documents"]}),
    }


def _shards_of(run: Path) -> list[Any]:
    return [shard for segment in read_segments(run) for shard in segment.shards]


def _newsroom(plan: Plan) -> list[str]:
    wanted = int(plan.steps * 1.6 * plan.batch * plan.seq_len * 4) + 200_000  # characters
    texts: list[str] = []
    for day in Stream(plan.seed, 400):
        texts += [record["text"] for record in day]
        wanted -= sum(len(record["text"]) for record in day)
        if wanted <= 0:
            break
    return texts


def _rows(tokens: Ragged) -> list[np.ndarray]:
    return [tokens[row] for row in range(len(tokens)) if len(tokens[row])]


def _split(documents: Sequence[np.ndarray], tokens: int, *, back: bool = True) -> tuple[list, list]:
    """(the rest, the last ones of `tokens` tokens together), or with `back` false (the first ones, the rest)."""
    ordered = list(reversed(documents)) if back else list(documents)
    count = int(np.searchsorted(np.cumsum([len(d) for d in ordered]), tokens)) + 1
    return (ordered[count:][::-1], ordered[:count]) if back else (ordered[:count], ordered[count:])
