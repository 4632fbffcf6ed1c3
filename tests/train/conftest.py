"""A tiny model with a byte tokenizer, tiny shards, and an invocation of the trainer inside the test's process."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
import tiny_run
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """A model directory: 2 layers of 32, one token a byte."""
    directory = tmp_path_factory.mktemp("tiny") / "model"
    tiny_run.make_model_dir(directory)
    return directory


@pytest.fixture
def make_shards(model_dir):
    """Adds to a directory of shards: `make_shards(directory, texts, day=1, seq_len=32)`."""
    return functools.partial(tiny_run.make_shards, model=model_dir)


@pytest.fixture
def stories(make_shards, tmp_path) -> Path:
    """A directory with 24 short documents in shards."""
    return make_shards(tmp_path / "shards", [tiny_run.story(i) for i in range(24)])


class Events(list[dict[str, Any]]):
    """What a trainer emitted."""

    @property
    def losses(self) -> dict[int, float]:
        """{step: loss}; a step made twice counts as its last."""
        return {e["step"]: e["loss"] for e in self if "event" not in e}

    def named(self, event: str) -> list[dict]:
        """The events of one name."""
        return [e for e in self if e.get("event") == event]


@pytest.fixture
def learn(model_dir):
    """Runs one invocation: `learn(shards..., run=..., tokens=..., **settings)`; the events that it emitted."""
    from clet.train.loop import Surroundings
    from clet.train.session import Order
    from clet.train.session import learn as session

    def run_one(
        *shards,
        run,
        model=model_dir,
        seed=1,
        tokens=None,
        follow=False,
        evaluate=None,
        outer=None,
        on_event=None,
        watts=None,
        **given,
    ):
        events, stop = Events(), threading.Event()

        def emit(fields):
            events.append(orjson.loads(orjson.dumps(fields)))
            if on_event:
                on_event(fields, stop)

        settings = {"batch_size": 4, "lr": 3e-3, "warmup": 4, "save_every": 5, "threads": 1, "dtype": "float32"} | given
        order = Order([str(s) for s in shards], str(run), str(model), settings, seed, tokens, follow, "cpu")
        session(order, lambda source: Surroundings(emit, lambda: tiny_run.NOW, stop, evaluate, outer, watts=watts))
        return events

    return run_one
