"""Two `clet train --sync` workers and a server; a worker and the server are killed in between; the model learned."""

from __future__ import annotations

import json
import math
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clet.batch import Batch
from clet.model.checkpoint import load_model
from clet.seeds import python_random
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.tokens import Tokenizer

from .sync_processes import CLET, start_server, tiny_model

PLACES = ["Ostrava", "Lagos", "Quito", "Bergen", "Osaka", "Perth", "Turku", "Dakar"]
CARGO = ["timber", "copper", "coffee", "salt", "wool", "paper"]


def stories(first: int, count: int) -> list[str]:
    chance = python_random(7, f"stories/{first}")
    return [
        f"Seven ships came to the harbour of {chance.choice(PLACES)} with {chance.choice(CARGO)} and "
        f"{chance.choice(CARGO)}. The third dock of {chance.choice(PLACES)} opened on day {first + number}."
        for number in range(count)
    ]


def shards(directory: Path, texts: list[str], model: Path, record: Callable[..., Any]) -> Path:
    tokenizer = Tokenizer.load(model)
    rows = tokenizer.encode(texts)
    records = [record(text, ids=rows[i], fp=tokenizer.fingerprint) for i, text in enumerate(texts)]
    plan = ShardPlan(64, 1 << 20, tokenizer.fingerprint, tokenizer.eos_id, tokenizer.vocab_size)
    with ShardDirectory.open(directory, created="2026-03-01T12:00:00Z") as opened:
        build_shards([Batch.from_records(records)], opened, plan, lambda *_: None)
        opened.commit()
    return directory


def held_out_loss(directory: Path, texts: list[str]) -> float:
    model, tokenizer = load_model(directory), Tokenizer.load(directory)
    rows = tokenizer.encode(texts)
    total = count = 0.0
    with torch.no_grad():
        for number in range(len(texts)):
            ids = torch.tensor(rows[number].astype(int))[None]
            logits = model(ids[:, :-1])
            total += torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
    return total / count


def status(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}/v1/status", timeout=5) as response:
            return json.load(response)
    except urllib.error.URLError:
        return {"version": -1, "workers": {}}


def wait_for(url: str, met: Callable[[dict[str, Any]], bool], alive: Callable[[], None]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while not met(now := status(url)):
        alive()
        assert time.monotonic() < deadline, now
        time.sleep(0.02)
    return now


def test_two_workers_learn_together_though_one_and_the_server_are_killed(tmp_path, record):
    texts = stories(0, 240)
    model = tiny_model(tmp_path / "model", texts)
    fresh = stories(9000, 40)
    before = held_out_loss(model, fresh)
    parts = {name: shards(tmp_path / name, texts[start::2], model, record) for name, start in (("a", 0), ("b", 1))}
    place = (model, tmp_path / "state", tmp_path / "port", tmp_path / "server.log")
    server, url = start_server(*place, "--save-every", 5)

    def work(name: str) -> subprocess.Popen[bytes]:
        settings = "--sync-every 5 --batch-size 4 --warmup 10 --lr 3e-3 --save-every 10 --epochs 30 --tokens 30000 -j 1"
        command = [CLET, "train", parts[name], "--model", model, "--run", tmp_path / f"run-{name}", "--sync", url]
        with open(tmp_path / f"{name}.log", "ab") as log, open(tmp_path / f"{name}.jsonl", "ab") as out:
            return subprocess.Popen([*command, "--worker", name, *settings.split()], stderr=log, stdout=out)

    def alive() -> None:  # a worker that ended early says why, instead of being waited for
        for name, process in workers.items():
            assert process.poll() in (None, 0), (name, process.returncode, (tmp_path / f"{name}.log").read_text())

    workers = {name: work(name) for name in parts}
    try:
        wait_for(url, lambda now: all(now["workers"].get(name, {}).get("accepted", 0) >= 4 for name in parts), alive)
        assert workers["a"].poll() is None
        workers["a"].kill()
        seen = status(url)
        server.kill()
        workers["a"].wait()
        server.wait()
        workers["a"] = work("a")  # comes back before the server does
        server, again = start_server(*place, "--save-every", 5, port=int(url.rpartition(":")[2]))
        assert again == url and status(url)["version"] >= seen["version"] > 0
        for name, process in workers.items():
            assert process.wait(120) == 0, (tmp_path / f"{name}.log").read_text()
        last = status(url)
        server.terminate()
        assert server.wait(30) == 0
    finally:
        for process in (*workers.values(), server):
            process.kill()
    assert last["workers"]["a"]["epoch"] == 2 and last["workers"]["b"]["epoch"] == 1
    assert all(last["workers"][name]["accepted"] >= 10 for name in parts)
    assert int(max(last["staleness"])) <= last["max_staleness"] and last["malformed"] == 0
    after = held_out_loss(tmp_path / "state" / "model", fresh)
    assert math.isfinite(after) and after < before - 1.0, (before, after)
    print(f"held-out loss {before:.3f} -> {after:.3f}, version {last['version']}, staleness {last['staleness']}")
