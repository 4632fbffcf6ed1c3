"""Clipping by z-score against the paper's formulas, its place in the saved state, update gates and memory terms."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from clet.exits import InputError
from clet.train import clipping, gates, memory, savepoint
from clet.train.clipping import NormMoments, by_norm, by_z_score
from clet.train.optimizer import Optimizer, moments, restore_moments
from clet.train.settings import Settings


def _plain_zclip(norms, alpha=0.97, limit=2.5, warmup=25):
    """arXiv:2504.02507, algorithm 1, written down: what each norm is shortened to."""
    out = list(norms[:warmup])
    mean, variance = np.mean(norms[:warmup]), np.var(norms[:warmup])
    for norm in norms[warmup:]:
        z = (norm - mean) / (math.sqrt(variance) + 1e-6)
        counted = mean + limit**2 / z * (math.sqrt(variance) + 1e-6) if z > limit else norm
        mean = alpha * mean + (1 - alpha) * counted
        variance = alpha * variance + (1 - alpha) * (counted - mean) ** 2
        out.append(counted)
    return out


def test_norms_are_shortened_as_the_paper_says():
    generator = np.random.default_rng(1)
    norms = (0.2 + 0.02 * generator.standard_normal(200)).tolist()
    norms[60], norms[61], norms[150] = 5.0, 0.6, 0.3
    seen, ours = NormMoments(), []
    for norm in norms:
        ours.append(by_z_score(norm, seen))
        seen.add(ours[-1])
    assert ours == pytest.approx(_plain_zclip(norms), rel=1e-9)
    assert ours[60] < 0.3 and ours[60] < ours[61]  # the more unusual, the shorter
    assert sum(counted < norm for counted, norm in zip(ours, norms, strict=True)) < 10


def test_norm_is_bounded_by_one_and_nothing_else():
    assert by_norm(7.0, NormMoments()) == 7.0
    model = torch.nn.Linear(3, 3, bias=False)
    optimizer = Optimizer(model, clip="norm")
    model.weight.grad = torch.full((3, 3), 2.0)
    assert optimizer.clip() == pytest.approx(6.0)
    assert model.weight.grad.norm().item() == pytest.approx(1.0)
    model.weight.grad = torch.full((3, 3), 0.1)
    optimizer.clip()
    assert torch.equal(model.weight.grad, torch.full((3, 3), 0.1))


def test_a_burst_is_shortened_where_the_bound_of_one_lets_it_pass():
    model = torch.nn.Linear(3, 3, bias=False)
    optimizer = Optimizer(model)
    for step in range(40):
        model.weight.grad = torch.full((3, 3), 0.01 + 0.0001 * (step % 3))
        optimizer.clip()
    model.weight.grad = torch.full((3, 3), 0.1)
    assert optimizer.clip() == pytest.approx(0.3)
    assert model.weight.grad.norm().item() < 0.04


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_leaves_the_moments(bad):
    model = torch.nn.Linear(2, 2, bias=False)
    optimizer = Optimizer(model)
    model.weight.grad = torch.ones(2, 2)
    optimizer.clip()
    before = NormMoments(optimizer.norms.count, optimizer.norms.mean, optimizer.norms.variance)
    model.weight.grad = torch.full((2, 2), bad)
    assert not math.isfinite(optimizer.clip())
    assert optimizer.norms == before


def test_moments_of_the_norm_are_saved_and_restored_to_the_bit():
    model = torch.nn.Linear(2, 2, bias=False)
    optimizer, other = Optimizer(model), Optimizer(model)
    for step in range(40):
        model.weight.grad = torch.full((2, 2), 0.01 * (step % 7))
        optimizer.clip()
    restore_moments(other, moments(optimizer))
    assert other.norms == optimizer.norms and other.norms.count == 40
    restore_moments(other, {})
    assert other.norms == NormMoments()


def _weights(run):
    return savepoint.load(run / "state").tensors["weights"]


@pytest.mark.parametrize("method", ["adamw", "muon"])
def test_a_run_in_two_invocations_has_the_bits_of_one(learn, stories, tmp_path, monkeypatch, method):
    monkeypatch.setattr(clipping, "WARMUP", 4)  # so that z-scores decide within this run
    one, two = tmp_path / "one", tmp_path / "two"
    learn(stories, run=one, epochs=4, optimizer=method, replay=0.0)
    learn(stories, run=two, epochs=4, optimizer=method, replay=0.0, on_event=_stop_at(7))
    learn(stories, run=two)
    assert _weights(one).keys() == _weights(two).keys()
    for name, value in _weights(one).items():
        assert torch.equal(value, _weights(two)[name]), name


def _stop_at(step):
    return lambda fields, stop: stop.set() if fields.get("step") == step and "event" not in fields else None


def test_muon_lowers_the_loss(learn, stories, tmp_path):
    losses = list(learn(stories, run=tmp_path / "run", epochs=6, optimizer="muon").losses.values())
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_a_step_that_a_gate_holds_back_changes_no_weight_and_says_so(learn, stories, tmp_path, monkeypatch):
    monkeypatch.setitem(gates.GATES, "never", lambda facts: facts.norm > 1e9)
    events = learn(stories, run=tmp_path / "run", gate="never", replay=0.0)
    steps = [event for event in events if "event" not in event]
    assert steps and all(step["skipped"] == "never" for step in steps)
    lines = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == ["never"] * len(steps)
    assert all(not name.endswith("exp_avg") for name in savepoint.load(tmp_path / "run" / "state").tensors["moments"])


def test_a_memory_term_is_one_line_in_the_table_and_its_slots_are_part_of_the_state(
    learn, stories, tmp_path, monkeypatch
):
    """Distance to the start, as elastic weight consolidation with equal importances: anchors are kept in slots."""

    def near_the_start(parameters):
        for parameter, slots in parameters:
            anchor = slots.setdefault("anchor", parameter.detach().clone())
            if parameter.grad is not None:
                parameter.grad.add_(parameter - anchor, alpha=100.0)

    monkeypatch.setitem(memory.MEMORIES, "near", near_the_start)
    runs = {name: tmp_path / name for name in ("free", "near", "again")}
    learn(stories, run=runs["free"], epochs=4, replay=0.0)
    learn(stories, run=runs["near"], epochs=4, replay=0.0, memory="near")
    learn(stories, run=runs["again"], epochs=4, replay=0.0, memory="near", on_event=_stop_at(9))
    learn(stories, run=runs["again"])

    saved = savepoint.load(runs["near"] / "state").tensors["moments"]
    anchors = {name: value for name, value in saved.items() if name.endswith("/anchor")}
    assert len(anchors) == len(_weights(runs["near"]))

    def distance(run):
        return sum((_weights(run)[n[len("memory:") : -len("/anchor")]] - a).norm().item() for n, a in anchors.items())

    assert distance(runs["near"]) < 0.5 * distance(runs["free"])
    for name, value in _weights(runs["near"]).items():
        assert torch.equal(value, _weights(runs["again"])[name]), name


@pytest.mark.parametrize("name", ["optimizer", "clip", "gate", "memory", "dtype", "schedule"])
def test_settings_that_no_table_has_are_refused(name):
    with pytest.raises(InputError, match="choose one of"):
        Settings.from_json({name: "no-such"})
