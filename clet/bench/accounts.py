"""What it costs a trainer to say what it does: accounts, lines, metrics and the live view, and how long data kept it.

A real run of the shards named, in this process, with every onlooker there is: each part is timed where the loop calls
it, the view on a terminal in memory. The first steps warm up. Times are of the CPU, so that others' work beside does
not count: a part's against what a step takes of each core (on CUDA: against its seconds without the wait). The wait is
the trainer's own, from `wait_s` of its lines, and of the clock.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import torch
from rich.console import Console

from clet.bench.report import median, show
from clet.train.accounting import Account
from clet.train.feed import Position, draws, load
from clet.train.loop import Surroundings
from clet.train.metrics import Metrics
from clet.train.rundir import RunDirectory, read_run, read_segments
from clet.train.session import Order, learn
from clet.train.shelf import Shelf
from clet.train.view import LiveView

WARM_STEPS = 3
FEED_BATCHES = 2000
PARTS = ("account", "steps.jsonl", "standard output", "metrics", "view")


def measure(shards: list[str], model: str, *, steps: int, batch_size: int, jobs: int | None) -> dict[str, Any]:
    """Microseconds a step of each part, and shares of the time; of `steps` steps after the warm ones."""
    spent = dict.fromkeys(PARTS, 0.0)
    lines: list[dict[str, Any]] = []
    stop, console = threading.Event(), Console(file=io.StringIO(), force_terminal=True, width=100)

    with tempfile.TemporaryDirectory() as folder, open("/dev/null", "wb", buffering=0) as nowhere:
        run = Path(folder) / "run"
        metrics = Metrics()
        view: list[LiveView] = []

        def surround(_: Path) -> Surroundings:
            metrics.begin(run)
            view.append(LiveView(run, console))
            return Surroundings(emit, lambda: datetime.now(UTC), stop)

        def emit(fields: dict[str, Any]) -> None:
            if "event" in fields:
                return
            _timed("standard output", spent, lambda: nowhere.write(orjson.dumps(fields) + b"\n"))
            _timed("metrics", spent, metrics.see, fields)
            _timed("view", spent, view[0].see, fields)
            lines.append(fields)
            if len(lines) == WARM_STEPS:
                spent.update(dict.fromkeys(spent, 0.0))
            if len(lines) == WARM_STEPS + steps:
                stop.set()

        account, write = Account.step, RunDirectory.write_step
        settings = {"batch_size": batch_size, "threads": jobs}
        with (
            _replaced(Account, "step", lambda *given: _timed("account", spent, account, *given)),
            _replaced(RunDirectory, "write_step", lambda *given: _timed("steps.jsonl", spent, write, *given)),
        ):
            try:
                learn(Order(shards, str(run), model, settings, seed=0, device="auto"), surround)
            finally:
                for each in view:
                    each.close()
        feed = _feed_tokens_per_s(run, batch_size)
        num_bytes = (run / "steps.jsonl").stat().st_size / len(lines)
    cores = 1 if torch.cuda.is_available() else torch.get_num_threads()
    return _figures(lines[WARM_STEPS:], spent, num_bytes, cores) | {"feed_tokens_per_s": feed}


def _feed_tokens_per_s(run: Path, batch_size: int) -> float:
    """How fast the run's batches are made on one core: drawn, read, checked and put together."""
    facts, segments = read_run(run), read_segments(run)
    shelf = Shelf(facts["tokenizer"], facts["seq_len"], facts["config"]["vocab_size"])
    for shard in (shard for segment in segments for shard in segment.shards):
        shelf.add(shard)
    plan = draws(segments, Position(), batch=batch_size, share=0.0, seed=0, worth=shelf.worth)
    began, tokens = time.thread_time(), 0
    for draw in islice(plan, FEED_BATCHES):
        tokens += load(draw, shelf.read).tokens
    return tokens / (time.thread_time() - began)


@contextmanager
def _replaced(owner: type, name: str, method: Callable) -> Iterator[None]:
    """A method of a class is another one for a while."""
    before = getattr(owner, name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _timed(name: str, spent: dict[str, float], function: Callable, *given: Any) -> Any:
    began = time.thread_time()
    try:
        return function(*given)
    finally:
        spent[name] += time.thread_time() - began


def _figures(lines: list[dict[str, Any]], spent: dict[str, float], num_bytes: float, cores: int) -> dict[str, Any]:
    seconds, steps = sum(line["seconds"] for line in lines), max(len(lines), 1)
    busy_s = sum(line["device_s"] for line in lines) / cores
    wait_s = sum(line["wait_s"] for line in lines)
    return {
        "steps": len(lines),
        "step_s": median([line["seconds"] for line in lines]) if lines else None,
        "busy_s": busy_s / steps,
        "tokens_per_s": sum(line["tokens"] for line in lines) / seconds if seconds else None,
        "flops_per_s": sum(line["flops"] for line in lines) / seconds if seconds else None,
        "energy": lines[-1]["energy"] if lines else None,
        "wait_share": wait_s / seconds if seconds else None,
        "longest_wait_s": max((line["wait_s"] for line in lines), default=None),
        "bytes_a_line": num_bytes,
        "parts_us": {name: 1e6 * value / steps for name, value in spent.items()},
        "share": sum(spent.values()) / busy_s if busy_s else None,
    }


def show_accounts(result: dict[str, Any]) -> None:
    """The figures as a table."""
    rows = [[name, round(value, 1), 1e-4 * value / result["busy_s"]] for name, value in result["parts_us"].items()]
    rows.append(["all", round(sum(result["parts_us"].values()), 1), 100 * result["share"]])
    title = (
        f"{result['steps']} steps of {1e3 * result['step_s']:.0f} ms ({1e3 * result['busy_s']:.0f} ms of a core), "
        f"{result['tokens_per_s']:,.0f} tokens/s"
    )
    wait, longest = 100 * result["wait_share"], 1e3 * result["longest_wait_s"]
    notes = [
        f"{result['flops_per_s'] / 1e9:,.1f} GFLOP/s, {result['bytes_a_line']:,.0f} bytes a line of steps.jsonl",
        f"waited for data {wait:.3f}% of the time, {longest:.2f} ms at most; "
        f"the feed alone makes {result['feed_tokens_per_s'] / 1e6:,.1f} M tokens/s on one core",
    ]
    show(title, ["part", "us a step", "% of it"], rows, notes)
