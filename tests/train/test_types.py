"""bfloat16, torch.compile and layers computed twice: what they must not change."""

from __future__ import annotations

import json
import os

import pytest
import torch

from clet import seeds
from clet.model.checkpoint import load_model
from clet.model.loss import token_losses
from clet.train import dtype, savepoint
from clet.train.dtype import choose_dtype


def _weights(run):
    return savepoint.load(run / "state").tensors["weights"]


def _gradients(model, ids, segments):
    model.zero_grad(set_to_none=True)
    nll, weight = token_losses(model, ids, segments)
    loss = nll.sum() / weight.sum() + 0.01 * model.aux_loss()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("experts", [False, True])
def test_layers_computed_twice_have_the_same_gradients_to_the_bit(tmp_path, experts, packed):
    from tiny_run import make_model_dir

    from clet.model.config import QWEN3_MOE

    moe = {"architecture": QWEN3_MOE, "num_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 32}
    make_model_dir(tmp_path / "model", **(moe if experts else {}))
    model = load_model(tmp_path / "model").train()
    ids = torch.randint(0, 257, (3, 32), generator=seeds.torch_generator(1, "tests/recompute"))
    segments = torch.tensor([[0] * 20 + [1] * 12] * 3) if packed else None
    once = _gradients(model, ids, segments)
    model.recompute = True
    twice = _gradients(model, ids, segments)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_run_with_layers_computed_twice_has_the_weights_of_one_without(learn, stories, tmp_path):
    learn(stories, run=tmp_path / "once")
    learn(stories, run=tmp_path / "twice", recompute=True)
    twice = _weights(tmp_path / "twice")
    assert all(torch.equal(value, twice[name]) for name, value in _weights(tmp_path / "once").items())


def test_bfloat16_on_a_cpu_learns_as_float32_does_with_weights_in_float32(learn, stories, tmp_path):
    full = learn(stories, run=tmp_path / "full", epochs=4, dtype="float32").losses
    half = learn(stories, run=tmp_path / "half", epochs=4, dtype="bfloat16").losses
    early, late = ([losses[step] for step in range(1, 21)] for losses in (half, full))
    assert early == pytest.approx(late, rel=0.02) and half != full
    assert sum(list(half.values())[-10:]) == pytest.approx(sum(list(full.values())[-10:]), rel=0.1)
    assert all(value.dtype is torch.float32 for value in _weights(tmp_path / "half").values())


def test_the_type_is_chosen_by_timing_once_and_kept_with_the_run(learn, stories, make_shards, tmp_path, monkeypatch):
    asked = []

    def fast(work):
        asked.append(work)
        return 3.0

    monkeypatch.setattr(dtype, "faster_in_bfloat16", fast)
    run = tmp_path / "run"
    learn(stories, run=run, dtype="auto")
    assert len(asked) == 2  # a product, then a layer
    assert json.loads((run / "run.json").read_text())["settings"]["dtype"] == "bfloat16"
    make_shards(tmp_path / "shards", ["another day " * 20], day=2)
    learn(stories, run=run, dtype=None)
    assert len(asked) == 2


def test_a_product_that_gains_nothing_is_answer_enough_and_a_wish_is_not_questioned(model_dir, monkeypatch):
    model = load_model(model_dir)
    asked = []
    monkeypatch.setattr(dtype, "faster_in_bfloat16", lambda work: asked.append(work) or 0.02)
    assert choose_dtype("auto", model) == "float32"
    assert len(asked) == 1
    assert choose_dtype("bfloat16", model) == "bfloat16" and choose_dtype("float32", model) == "float32"
    assert len(asked) == 1


def test_the_probe_compares_the_best_of_equal_tries_and_gives_up_on_a_hopeless_one(model_dir, monkeypatch):
    clock, tries = [0.0], []

    def work(enabled):
        tries.append(enabled)
        clock[0] += (2.0 if enabled else 5.0) + len(tries) % 3  # noise

    monkeypatch.setattr(dtype.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(dtype.time, "process_time", lambda: 2 * clock[0])
    assert dtype.faster_in_bfloat16(work) == pytest.approx(5.0 / 2.0, rel=0.5)
    assert tries.count(True) == tries.count(False) == dtype.TRIES + 1
    tries.clear()

    def hopeless(enabled):
        tries.append(enabled)
        clock[0] += 50.0 if enabled else 1.0

    assert dtype.faster_in_bfloat16(hopeless) == pytest.approx(1 / 50)
    assert tries == [False, True]
    monkeypatch.setattr(dtype.time, "process_time", lambda: float(len(tries)))  # the clock was luck
    assert dtype.faster_in_bfloat16(work) == 1.0


def test_the_probed_layer_is_the_models_own(model_dir):
    model = load_model(model_dir)
    for enabled in (False, True):
        dtype._layer(model, enabled)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.skipif(not os.environ.get("CLET_TEST_COMPILE"), reason="compiles for a minute: CLET_TEST_COMPILE=1")
def test_documents_that_end_elsewhere_are_not_compiled_anew(model_dir):
    from torch._dynamo.testing import CompileCounter

    model, counter = load_model(model_dir).train(), CompileCounter()
    model.compile_layers()
    for layer in model.model.layers:
        layer.compile(backend=counter)
    counts = []
    for length in (7, 9, 11):
        segments = (torch.arange(32) // length).expand(2, 32)
        token_losses(model, torch.ones(2, 32, dtype=torch.int64), segments)[0].sum().backward()
        counts.append(counter.frame_count)
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.skipif(not os.environ.get("CLET_TEST_COMPILE"), reason="compiles for a minute: CLET_TEST_COMPILE=1")
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_compiled_layers_learn_the_same(learn, stories, tmp_path, kind):
    plain = learn(stories, run=tmp_path / "plain", dtype=kind).losses
    compiled = learn(stories, run=tmp_path / "compiled", dtype=kind, compile=True).losses
    assert list(compiled.values()) == pytest.approx(list(plain.values()), rel=1e-3 if kind == "float32" else 0.02)
