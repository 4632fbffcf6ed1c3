"""The outer optimiser of `clet train --sync` around a real model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clet.exits import UsageError
from clet.model.checkpoint import load_model
from clet.model.decoder import Decoder
from clet.sync.client import Client
from clet.sync.weights import ModelDirectory, layout_of, read_parameters
from clet.sync.worker import SyncWorker, default_worker_name
from clet.tokens import Tokenizer

from .sync_processes import tiny_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def join(serve, directory, monkeypatch):
    """A server of the model, and workers that join it: `join(name)`."""
    monkeypatch.setattr("clet.sync.rounds.CLOSE_S", 0.1)
    opened = ModelDirectory(directory)
    running = serve(initial=opened.weights(), identity=opened.identity, lr=1.0, momentum=0.0)
    made: list[SyncWorker] = []

    def make(worker: str = "w", tokenizer: str = Tokenizer.load(directory).fingerprint) -> SyncWorker:
        made.append(SyncWorker(running.url, worker=worker, tokenizer=tokenizer, every=2, codec="fp32"))
        return made[-1]

    make.running = running
    yield make
    for worker in made:
        worker.close()


def learn(worker: SyncWorker, model: Decoder, step: int) -> dict:
    """One step that moves each parameter a little; waits for an exchange to end, to be the same each time."""
    worker.before_step(model, step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.001)
    news = worker.after_step(model, step, 10)
    if worker._rounds._exchange is not None:
        assert worker._rounds._exchange.finished.wait(30)
    return news


def test_rounds_reach_the_server_and_another_worker_begins_with_them(join, directory):
    worker, model = join(), load_model(directory)
    start = read_parameters(model, layout_of(model))
    worker.start(model, 0)
    news = [learn(worker, model, step) for step in range(1, 6)]
    assert news[0] == news[1] == {} and news[2]["sync"]["version"] == 1 and news[4]["sync"]["outcome"] == "accepted"
    version, weights = join.running.server.published
    layout = layout_of(model)
    for name, view in layout.views(start - weights).items():
        np.testing.assert_allclose(view, 0.004, atol=1e-6, err_msg=name)  # two rounds of two steps
    assert version == 2
    other, second = join("other"), load_model(directory)
    other.start(second, 0)
    np.testing.assert_array_equal(read_parameters(second, layout), weights)


def test_a_restored_worker_goes_on_with_its_own_weights_and_number(join, directory):
    worker, model = join(), load_model(directory)
    worker.start(model, 0)
    for step in (1, 2, 3):
        learn(worker, model, step)
    values, tensors = worker.state()
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again, resumed = join(), load_model(directory)
    resumed.load_state_dict(saved)
    again.load_state(values, tensors)
    again.start(resumed, 3)
    learn(again, resumed, 4)
    assert "sync" in learn(again, resumed, 5)
    assert join.running.server.version == 2 and again._rounds.sequence == 2
    assert join.running.server.status()["workers"]["w"]["epoch"] == 2


def test_a_rollback_in_mid_run_never_uses_a_number_again(join, directory):
    worker, model = join(), load_model(directory)
    worker.start(model, 0)
    values, tensors = worker.state()
    for step in (1, 2, 3, 4, 5):
        learn(worker, model, step)
    worker.load_state(values, tensors)
    for step in (1, 2, 3):
        learn(worker, model, step)
    assert worker._rounds.sequence == 3 and join.running.server.version == 3


def test_a_run_that_trained_alone_joins_with_the_weights_of_the_group(join, directory):
    worker, model = join(), load_model(directory)
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    worker.load_state({}, {})
    worker.start(model, 7)
    np.testing.assert_array_equal(read_parameters(model, layout_of(model)), join.running.server.published[1])


def test_another_tokenizer_is_refused(join, directory):
    with pytest.raises(UsageError, match="another tokenizer than the server's"):
        join(tokenizer="0" * 32).start(load_model(directory), 0)


def test_saved_tensors_share_no_memory(join, directory):
    worker, model = join(), load_model(directory)
    worker.start(model, 0)
    for step in (1, 2):
        learn(worker, model, step)
    _, tensors = worker.state()
    places = [tensor.untyped_storage().data_ptr() for tensor in tensors.values()]
    assert {"start", "residual", "owed", "message"} == set(tensors) and len(set(places)) == len(places)


def test_a_worker_is_named_by_its_run(tmp_path):
    assert default_worker_name(tmp_path / "a") == default_worker_name(tmp_path / "b" / ".." / "a")
    assert default_worker_name(tmp_path / "a") != default_worker_name(tmp_path / "b")
    with pytest.raises(UsageError, match="name"):
        SyncWorker("http://127.0.0.1:1", worker="a b", tokenizer="")
    with pytest.raises(UsageError, match="--sync"):
        SyncWorker("ftp://127.0.0.1:1", worker="a", tokenizer="")


@pytest.mark.parametrize(
    "url", ["nope", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://h:x", "ftp://h"]
)
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(UsageError, match="want http"):
        Client(url)
