"""The trainer beside a plain loop: tokens a second, memory, and where a step's time goes.

Both sides learn the same windows in the same order from the same weights, each in a process of its own, and take turns
within one run, so that what else the machine does falls on both alike; ratios are taken turn by turn. One side is
`clet train` as it is used: feed, prefetch, document masks, clipping, optimizer, breaker, line of steps.jsonl and
metrics. The other is `transformers`' model of the same configuration in the loop of any tutorial: `model(input_ids,
labels)`, `backward`, `clip_grad_norm_`, `torch.optim.AdamW`, over windows that are in memory beforehand. Their mean
losses stand beside each other: sides that do the same work agree.

The ceiling is what large square matrix products of the same type reach with the same threads, measured between the
turns; a share of it is the model's own arithmetic (6 a weight and token, and causal attention's products) over that.
Beside the times by the clock stand those by CPU seconds: with one thread they hold on a machine that is busy otherwise
(more threads spin while they wait for each other, which counts too). Peak memory is the process's own, imports
included. Bookkeeping is all of a step that is neither arithmetic nor waiting
for data: accounts, breaker, lines and metrics.

Windows hold one document each, of random ids: the arithmetic does not depend on which they are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from clet import seeds
from clet.batch import Batch, Ragged
from clet.bench import report
from clet.exits import InputError
from clet.model.checkpoint import save_model
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.model.presets import preset_config
from clet.record import record_id
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.tokens import Tokenizer
from clet.train.flops import step_flops

SIDES = ("clet", "plain")
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}  # bf16, dense, as published
GEMM_SIZE = {"cpu": 512, "cuda": 8192}  # on a CPU short enough to be left in peace on a busy machine
COLUMNS = ("preset", "clet tokens/s", "plain", "times", "less CPU", "of ceiling", "plain", "peak MB", "plain")
COLUMNS += ("wait %", "books %")
DAY = "2026-03-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, and how: `turns` turns of each side, of `steps` steps, are counted after one that warms up.

    `document` is the length of the documents in a window, the window's if None.
    """

    presets: Sequence[str]
    seq_len: int = 512
    batch_size: int = 8
    accumulate: int = 1
    steps: int = 4
    turns: int = 5
    threads: int = 2
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    compile_plain: bool = False
    document: int | None = None
    seed: int = 1

    @property
    def num_steps(self) -> int:
        """Steps of a side, the first turn counted."""
        return self.steps * (self.turns + 1)


def measure(plan: Plan) -> dict[str, Any]:
    """Train each preset on both sides; a JSON-able dict."""
    torch.set_num_threads(plan.threads)
    rows = []
    for preset in plan.presets:
        with tempfile.TemporaryDirectory(prefix="clet-bench-") as work:
            rows.append({"preset": preset} | _measure(preset_config(preset), plan, Path(work)))
    return {"bench": "train", "plan": asdict(plan), "rows": rows}


def show(result: dict[str, Any]) -> None:
    """Print the figures of `measure` as tables."""
    plan = result["plan"]
    share = "ceiling_share_cpu" if plan["device"] == "cpu" else "ceiling_share"
    rows = [
        [
            row["preset"],
            row["clet"]["tokens_per_s"],
            row["plain"]["tokens_per_s"],
            row["times_faster"],
            row["times_less_cpu"],
            row["clet"][share],
            row["plain"][share],
            row["clet"]["peak_mb"],
            row["plain"]["peak_mb"],
            100 * row["clet"]["wait_share"],
            100 * row["clet"]["bookkeeping_share"],
        ]
        for row in result["rows"]
    ]
    report.show(
        f"{plan['dtype']} on {plan['device']}, {plan['threads']} threads, {plan['batch_size']} windows of "
        f"{plan['seq_len']}; {plan['turns']} turns of {plan['steps']} steps each",
        [
            "preset",
            "clet tokens/s",
            "plain",
            "times",
            "less CPU",
            "of ceiling",
            "plain",
            "peak MB",
            "plain",
            "wait %",
            "books %",
        ],
        rows,
        [
            f"{row['preset']}: ceiling {row['ceiling_gflops']:,.0f} GFLOP/s, loss of the counted turns "
            f"{row['clet']['loss']:.4f} and {row['plain']['loss']:.4f}"
            + "".join(f", {side} MFU {row[side]['mfu']:.1%}" for side in SIDES if "mfu" in row[side])
            for row in result["rows"]
        ],
    )


def flops_per_token(config: ModelConfig, seq_len: int, document: int | None) -> float:
    """The model's own operations of a token, forward and backward, in windows of documents of that length."""
    with torch.device("meta"):
        model = Decoder(config)
    segments = np.arange(seq_len, dtype=np.int32)[None] // (document or seq_len)
    counted = seq_len - 1 - int((np.diff(segments) != 0).sum())
    return step_flops(model)(segments, counted) / seq_len


def _measure(config: ModelConfig, plan: Plan, work: Path) -> dict[str, Any]:
    make_model(config, work / "model", plan.seed)
    make_shards(config, plan, work)
    sides = {side: Side(side, plan, work) for side in SIDES}
    turns: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    ceilings = []
    try:
        for side in sides.values():
            side.turn()
        for number in range(plan.turns):
            for name in SIDES if number % 2 == 0 else SIDES[::-1]:
                turns[name].append(sides[name].turn())
            ceilings.append(gemm_flops(plan.device, plan.dtype))
        ends = {name: side.end() for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.kill()
    by_clock, by_cpu = (report.median(samples) for samples in zip(*ceilings, strict=True))
    tokens = plan.steps * plan.batch_size * plan.seq_len
    per_token = flops_per_token(config, plan.seq_len, plan.document)
    figures: dict[str, Any] = {"parameters": config.num_parameters(), "ceiling_gflops": by_clock / 1e9}
    figures["ceiling_gflops_cpu"] = by_cpu / 1e9
    for name, samples in turns.items():
        rate = tokens / report.median([turn["seconds"] for turn in samples])
        figures[name] = {
            "tokens_per_s": rate,
            "ceiling_share": rate * per_token / by_clock,
            "ceiling_share_cpu": tokens / report.median([turn["cpu_s"] for turn in samples]) * per_token / by_cpu,
            "loss": float(np.mean([turn["loss"] for turn in samples])),
            "turns": samples,
            **ends[name],
        }
        if peak := next((flops for gpu, flops in PEAK_FLOPS.items() if gpu in ends[name]["device"]), None):
            figures[name]["mfu"] = rate * per_token / peak
    ours = turns["clet"]
    for part in ("wait", "bookkeeping"):
        spent = [turn[f"{part}_s"] / turn["seconds"] for turn in ours]
        figures["clet"][f"{part}_share"] = report.median(spent)
    pairs = zip(turns["plain"], ours, strict=True)
    figures["times_faster"] = report.median([theirs["seconds"] / mine["seconds"] for theirs, mine in pairs])
    pairs = zip(turns["plain"], ours, strict=True)
    figures["times_less_cpu"] = report.median([theirs["cpu_s"] / mine["cpu_s"] for theirs, mine in pairs])
    return figures


def make_model(config: ModelConfig, directory: Path, seed: int) -> None:
    """A model directory with random weights and a tokenizer of single bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    model = Decoder(config)
    initialise(model, seed)
    save_model(model, directory)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = Tokenizer(models.BPE({c: i for i, c in enumerate([*alphabet, "<|endoftext|>"])}, []))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    (directory / "tokenizer.json").write_text(engine.to_str())


def make_shards(config: ModelConfig, plan: Plan, work: Path) -> None:
    """Shards below `work`/shards with the windows of all steps."""
    tokenizer = Tokenizer.load(work / "model")
    size = (plan.document or plan.seq_len) - 1  # the builder adds the token that ends a document
    count = plan.num_steps * plan.batch_size * plan.seq_len // (size + 1)
    ids = seeds.numpy_generator(plan.seed, "bench/train").integers(0, config.vocab_size, count * size, dtype=np.uint32)
    head = {"source": "bench", "origin": "bench", "published": DAY, "fetched": DAY}
    records = [{"id": record_id(f"{number}"), "url": f"bench:{number}", **head} for number in range(count)]
    offsets = np.arange(count + 1, dtype=np.int64) * size
    batch = Batch.from_records(records).with_tokens(Ragged(ids, offsets), tokenizer.fingerprint)
    build = ShardPlan(plan.seq_len, 1 << 30, tokenizer.fingerprint, 256, config.vocab_size)
    with ShardDirectory.open(work / "shards", DAY) as shards:
        build_shards([batch], shards, build, reject=None)
        shards.commit()


def gemm_flops(device: str, dtype: str, seconds: float = 0.3) -> tuple[float, float]:
    """What square matrix products reach now, in operations a second and a CPU second: the best one of some.

    By CPU seconds on one thread: those of other threads are known with a delay that is longer than a product.
    """
    threads = torch.get_num_threads()
    by_clock = _fastest_product(device, dtype, seconds, time.perf_counter)
    torch.set_num_threads(1)
    by_cpu = _fastest_product(device, dtype, seconds, time.process_time)
    torch.set_num_threads(threads)
    return by_clock, by_cpu


def _fastest_product(device: str, dtype: str, seconds: float, clock: Callable[[], float]) -> float:
    size = GEMM_SIZE[device]
    kind = getattr(torch, dtype)
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    out = torch.empty_like(a)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = clock()
        torch.mm(a, b, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - began)
    return 2.0 * size**3 / best


class Side:
    """One side as a process (`training_sides`) that makes some steps whenever it is asked to."""

    def __init__(self, name: str, plan: Plan, work: Path) -> None:
        self.name = name
        self._log = work / f"{name}.log"
        command = [sys.executable, "-P", "-m", "clet.bench.training_sides", name, str(work)]
        with open(self._log, "wb") as stderr:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        self._say(asdict(plan))

    def turn(self) -> dict[str, Any]:
        """Make a turn's steps: seconds, loss, and on clet's side the parts. Raises InputError where the side fails."""
        return self._ask("turn")

    def end(self) -> dict[str, Any]:
        """What the process took, and its end."""
        taken = self._ask("end")
        self._process.wait()
        return taken

    def kill(self) -> None:
        """End the process, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _ask(self, what: str) -> dict[str, Any]:
        self._say(what)
        answer = self._process.stdout.readline()
        if not answer:
            last = (self._log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise InputError(f"the {self.name} side ended: {last}")
        return orjson.loads(answer)

    def _say(self, what: Any) -> None:
        try:
            self._process.stdin.write(orjson.dumps(what) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader of the answer says why
