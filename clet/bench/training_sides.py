"""One side of `clet bench train`, as a process: reads the plan, then makes a turn of steps whenever it is asked to.

    python -m clet.bench.training_sides clet|plain WORK

Standard input has one JSON value a line: the plan, then "turn" any number of times, then "end"; each but the first is
answered by one line. WORK holds `model` and `shards`. clet's side is a whole invocation of the trainer that is held up
between turns where it emits the metrics of a step; only the functions that do a step's arithmetic are timed besides.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clet.cores import share_cores

share_cores()

import numpy as np  # noqa: E402
import orjson  # noqa: E402
import torch  # noqa: E402

from clet.bench.train import Plan  # noqa: E402
from clet.shards.manifest import find_shards  # noqa: E402
from clet.shards.reader import ShardReader  # noqa: E402
from clet.train import loop  # noqa: E402
from clet.train.clipping import CLIP_NORM  # noqa: E402
from clet.train.feed import Position, Segment, draws  # noqa: E402
from clet.train.optimizer import BETAS, WEIGHT_DECAY, default_peak  # noqa: E402
from clet.train.session import Order, learn  # noqa: E402
from clet.train.start import as_shard  # noqa: E402

ARITHMETIC = ("add_gradients", "clip", "apply")


def main() -> None:
    """Be the side that the command line names."""
    side, work = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    plan = Plan(**_read())
    torch.set_num_threads(plan.threads)

    def answer(values: dict[str, Any]) -> None:
        answers.write(orjson.dumps(values) + b"\n")
        answers.flush()

    {"clet": learn_with_clet, "plain": learn_plainly}[side](plan, work, answer)
    answer({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, **_device(plan)})


def learn_with_clet(plan: Plan, work: Path, answer: Callable[[dict[str, Any]], None]) -> None:
    """`clet train`, a turn at a time."""
    arithmetic = [0.0]
    for name in ARITHMETIC:
        setattr(loop, name, _timed(getattr(loop, name), arithmetic))
    stop = threading.Event()
    turn = _Turn(plan)

    def emit(fields: dict[str, Any]) -> None:
        if "event" in fields:
            return
        turn.add(fields["loss"], fields["wait_s"])
        if turn.is_full:
            _finish(plan)
            seconds = turn.seconds
            parts = {"wait_s": turn.wait_s, "bookkeeping_s": seconds - turn.wait_s - arithmetic[0]}
            answer({"seconds": seconds, "cpu_s": turn.cpu_s, "loss": turn.loss, **parts})
            if _read() == "end":
                stop.set()
            turn.begin()
            arithmetic[0] = 0.0

    given = {
        "batch_size": plan.batch_size, "accumulate": plan.accumulate, "warmup": 0, "schedule": "constant",
        "save_every": 1 << 30, "dtype": plan.dtype, "compile": plan.compile, "threads": plan.threads,
    }  # fmt: skip
    order = Order([str(work / "shards")], str(work / "run"), str(work / "model"), given, plan.seed, device=plan.device)
    _read()
    turn.begin()
    learn(order, lambda _: loop.Surroundings(emit, lambda: datetime.now(UTC), stop))


def learn_plainly(plan: Plan, work: Path, answer: Callable[[dict[str, Any]], None]) -> None:
    """The loop of a tutorial around transformers' model."""
    from transformers import AutoModelForCausalLM

    batches = iter(list(_windows(plan, work)))  # in memory before the first turn
    model = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32).to(plan.device).train()
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.ndim >= 2 and p is not embedding]
    others = [p for p in model.parameters() if p.ndim < 2 or p is embedding]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=default_peak(model.config.hidden_size), betas=BETAS)
    forward = torch.compile(model) if plan.compile_plain else model
    turn = _Turn(plan)
    while _read() != "end":
        turn.begin()
        while not turn.is_full:
            ids = next(batches).to(plan.device)
            total = 0.0
            for part in ids.chunk(plan.accumulate):
                with torch.autocast(plan.device, torch.bfloat16, enabled=plan.dtype == "bfloat16"):
                    loss = forward(input_ids=part, labels=part, use_cache=False).loss * (len(part) / len(ids))
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()
            turn.add(total, 0.0)
        _finish(plan)
        answer({"seconds": turn.seconds, "cpu_s": turn.cpu_s, "loss": turn.loss})


class _Turn:
    """The steps of one turn."""

    def __init__(self, plan: Plan) -> None:
        self._size = plan.steps
        self.begin()

    def begin(self) -> None:
        self._began, self._cpu_s = time.perf_counter(), time.process_time()
        self._losses: list[float] = []
        self.wait_s = 0.0

    def add(self, loss: float, wait_s: float) -> None:
        self._losses.append(loss)
        self.wait_s += wait_s

    @property
    def is_full(self) -> bool:
        return len(self._losses) == self._size

    @property
    def loss(self) -> float:
        return sum(self._losses) / len(self._losses)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self._cpu_s


def _timed(function: Callable, total: list[float]) -> Callable:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            total[0] += time.perf_counter() - began

    return timed


def _windows(plan: Plan, work: Path) -> Iterator[torch.Tensor]:
    """The ids [B, L] of each step, in the order in which clet's feed hands them out."""
    shards = [as_shard(entry) for entry in find_shards([str(work / "shards")])]
    readers = {shard.root: ShardReader.open(shard.path) for shard in shards}
    for draw in draws([Segment(0, tuple(shards))], Position(), batch=plan.batch_size, share=0.0, seed=plan.seed):
        rows = [readers[root].windows([index]).ids for root, index in draw.fresh]
        yield torch.from_numpy(np.concatenate(rows).astype(np.int64))


def _read() -> Any:
    return orjson.loads(sys.stdin.buffer.readline() or b'"end"')


def _finish(plan: Plan) -> None:
    if plan.device == "cuda":
        torch.cuda.synchronize()


def _device(plan: Plan) -> dict[str, Any]:
    if plan.device != "cuda":
        return {"device": "cpu"}
    peak = torch.cuda.max_memory_allocated()
    return {"device": torch.cuda.get_device_name(), "peak_mb": peak / 1e6}


if __name__ == "__main__":
    main()
