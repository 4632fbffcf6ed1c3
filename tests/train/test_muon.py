"""Muon against a plain implementation and torch's own, and beside AdamW in one optimizer."""

from __future__ import annotations

import math

import pytest
import torch

from clet.model.checkpoint import load_model
from clet.train.muon import Muon, orthogonal
from clet.train.optimizer import Optimizer, moments, restore_moments


def _plain_orthogonal(matrix):
    x = matrix.double()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
        polynomial = -4.7750 * gram + 2.0315 * gram @ gram
        x = 3.4445 * x + (polynomial @ x if x.shape[0] <= x.shape[1] else x @ polynomial)
    return x


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_singular_values_are_brought_near_one(shape):
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(3, *shape, generator=generator) * torch.tensor([1.0, 1e-4, 1e4]).view(3, 1, 1)
    for made, matrix in zip(orthogonal(matrices), matrices, strict=True):
        torch.testing.assert_close(made.double(), _plain_orthogonal(matrix), rtol=1e-3, atol=1e-4)
        assert torch.linalg.svdvals(made).min() > 0.5 and torch.linalg.svdvals(made).max() < 1.3


def test_no_gradient_at_all_moves_nothing_but_by_decay():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    optimizer = Muon([{"params": [weight], "weight_decay": 0.1, "lr": 0.5}])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 0.95))


@pytest.mark.parametrize("shape", [(12, 12), (8, 24), (24, 8)])
def test_steps_are_those_of_torchs_muon_up_to_its_bfloat16(shape):
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(shape, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = Muon([{"params": [ours], "weight_decay": 0.1, "lr": 0.02}])
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # bfloat16 has three digits
    assert moved > 0.1


def test_an_update_has_the_size_of_one_of_adamw():
    weight = torch.nn.Parameter(torch.zeros(64, 256))
    weight.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(3))
    Muon([{"params": [weight], "weight_decay": 0.0, "lr": 1.0}]).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


def test_matrices_go_to_muon_and_embeddings_head_and_norms_to_adamw(model_dir):
    model = load_model(model_dir)
    optimizer = Optimizer(model, "muon")
    method, rest = optimizer.parts
    assert isinstance(method, Muon)
    names = {name for group in method.param_groups for name in group["param_names"]}
    others = {name for group in rest.param_groups for name in group["param_names"]}
    assert all(name.endswith("proj.weight") for name in names)
    assert names | others == {name for name, _ in model.named_parameters()} and not names & others
    assert "model.embed_tokens.weight" in others
    assert all(group["weight_decay"] for group in method.param_groups)


def test_many_matrices_of_a_shape_move_as_each_alone(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    starts = [torch.randn(6, 10, generator=generator) for _ in range(5)]
    together, alone = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    for one, other in zip(together, alone, strict=True):
        one.grad = torch.randn(6, 10, generator=generator)
        other.grad = one.grad.clone()
    monkeypatch.setattr("clet.train.muon.MAX_STACK", 2 * 60)  # stacks of two, two and one
    Muon([{"params": together, "lr": 0.1, "weight_decay": 0.1}]).step()
    for parameter in alone:
        Muon([{"params": [parameter], "lr": 0.1, "weight_decay": 0.1}]).step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_state_restored_into_a_new_optimizer_continues_bit_for_bit(model_dir):
    models = [load_model(model_dir) for _ in range(2)]

    def step(model, optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.clip()
        optimizer.step(0.01)

    first = Optimizer(models[0], "muon")
    for seed in range(3):
        step(models[0], first, seed)
    models[1].load_state_dict(models[0].state_dict())
    second = Optimizer(models[1], "muon")
    restore_moments(second, {name: value.clone() for name, value in moments(first).items()})
    step(models[0], first, 9)
    step(models[1], second, 9)
    assert second.norms == first.norms and math.isfinite(first.norms.mean)
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other), name
