"""Parameter groups, and moments that survive saving."""

from __future__ import annotations

import pytest
import torch

from clet.model.checkpoint import load_model
from clet.train import optimizer as optimisers


def test_only_matrices_that_every_token_passes_are_decayed(model_dir):
    model = load_model(model_dir)
    groups = optimisers.parameter_groups(model)
    decayed = {name for group in groups if group["weight_decay"] for name, _ in group["params"]}
    plain = {name for group in groups if not group["weight_decay"] for name, _ in group["params"]}
    assert decayed | plain == {name for name, _ in model.named_parameters()}
    assert decayed and all(name.endswith("proj.weight") for name in decayed)
    assert "model.embed_tokens.weight" in plain
    assert all("norm" in name or "embed" in name for name in plain)


def test_a_step_is_that_of_torch_adamw():
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimizer = optimisers.Optimizer(ours)
    reference = torch.optim.AdamW(
        [{"params": [theirs.weight], "weight_decay": 0.1}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.01, betas=(0.9, 0.95), foreach=False,
    )  # fmt: skip
    for step in range(3):
        for model in (ours, theirs):
            model(torch.full((4, 3), 1.0 + step)).square().sum().backward()
        optimizer.step(0.01)
        reference.step()
        for each in (optimizer, reference):
            each.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-5, atol=1e-6)


def test_moments_restored_into_a_new_optimizer_continue_bit_for_bit():
    models = [torch.nn.Linear(5, 5) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())

    def step(model, optimizer):
        model(torch.ones(2, 5)).square().sum().backward()
        optimizer.clip()
        optimizer.step(0.1)
        optimizer.zero_grad()

    first = optimisers.Optimizer(models[0])
    step(models[0], first)
    saved = {name: value.clone() for name, value in optimisers.moments(first).items()}
    models[1].load_state_dict(models[0].state_dict())
    second = optimisers.Optimizer(models[1])
    optimisers.restore_moments(second, saved)
    step(models[0], first)
    step(models[1], second)
    assert torch.equal(models[0].weight, models[1].weight)


def test_the_default_rate_falls_with_the_width():
    assert optimisers.default_peak(256) == pytest.approx(1e-3)
    assert optimisers.default_peak(1024) == pytest.approx(2.5e-4)
