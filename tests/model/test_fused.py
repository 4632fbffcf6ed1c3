"""The kernels between matrix products, and the operations made of them, against what they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clet.model import fused, rows
from clet.model.loss import token_losses


def _gradients(model, ids, segments):
    model.zero_grad(set_to_none=True)
    nll, weight = token_losses(model, ids, segments)
    loss = nll.sum() / weight.sum()
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"num_kv_heads": 4}, {"num_experts": 4}, {"tie_embeddings": False}])
@pytest.mark.parametrize("packed", [False, True])
def test_a_step_by_fused_operations_equals_one_by_autograd(tiny, random_ids, monkeypatch, changes, packed):
    model, ids = tiny(**changes).train(), random_ids(3, 24)
    segments = torch.tensor([[0] * 9 + [1] * 15] * 3) if packed else None
    loss, gradients = _gradients(model, ids, segments)
    monkeypatch.setattr(fused, "fits", lambda _: False)
    plain, expected = _gradients(model.double(), ids, segments)
    assert loss == pytest.approx(plain, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient.double(), expected[name], rtol=1e-3, atol=1e-6, msg=name)


def test_frozen_weights_get_no_gradient_and_others_the_same(tiny, random_ids):
    model, ids = tiny().train(), random_ids(2, 16)
    _, before = _gradients(model, ids, None)
    frozen = [name for name, _ in model.named_parameters() if "up_proj" in name or "k_proj" in name]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    model.zero_grad(set_to_none=True)
    nll, weight = token_losses(model, ids)
    (nll.sum() / weight.sum()).backward()
    assert frozen
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, before[name]), name


def test_several_threads_give_the_gradients_of_one(tiny, random_ids):
    model, ids = tiny().train(), random_ids(4, 32)
    loss, one = _gradients(model, ids, None)
    torch.set_num_threads(2)
    try:
        again, two = _gradients(model, ids, None)
        third = _gradients(model, ids, None)[1]
    finally:
        torch.set_num_threads(1)
    assert again == pytest.approx(loss, rel=1e-6)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-7, msg=name)
        assert torch.equal(two[name], third[name]), name  # and the same bits each time


def test_a_value_that_is_no_number_reaches_loss_and_gradient(tiny, random_ids):
    for name in ("model.layers.0.mlp.gate_proj.weight", "model.layers.1.input_layernorm.weight", "model.norm.weight"):
        model = tiny().train()
        with torch.no_grad():
            model.get_parameter(name).view(-1)[3] = float("nan")
        nll, weight = token_losses(model, random_ids(2, 8))
        assert not torch.isfinite(nll.sum()), name
        (nll.sum() / weight.sum()).backward()
        assert not torch.isfinite(model.model.embed_tokens.weight.grad.sum()), name


@pytest.mark.parametrize("size", [3, 64, 200, 1000])
def test_cross_entropy_and_its_gradient_equal_torchs(size):
    generator = torch.Generator().manual_seed(size)
    logits = 40 * torch.randn(7, size, generator=generator)
    targets = torch.randint(0, size, (7,), generator=generator)
    exact = F.cross_entropy(logits.double(), targets, reduction="none")
    expected = logits.double().softmax(-1) - F.one_hot(targets, size)
    losses = torch.empty(7)
    rows.cross_entropy(logits, targets, losses, 1)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_cross_entropy_of_a_bad_logit_is_no_number(bad):
    logits, losses = torch.zeros(3, 130), torch.empty(3)
    logits[1, 129] = logits[2, 5] = bad
    rows.cross_entropy(logits, torch.tensor([0, 1, 2]), losses, 1)
    assert torch.isfinite(losses).tolist() == [True, False, False]


def test_swiglu_is_exact_to_the_last_places_over_the_whole_range():
    gate = torch.cat([torch.linspace(-100, 100, 4001), torch.tensor([0.0, -0.0, 1e-30, -1e-30])]).unsqueeze(1)
    out = torch.empty_like(gate)
    rows.swiglu(gate, torch.ones_like(gate), out, 1)
    torch.testing.assert_close(out.double(), F.silu(gate.double()), rtol=1e-6, atol=1e-35)


def test_elsewhere_modules_compute_as_they_are_written(tiny):
    x = torch.zeros(1, 2, 32)
    assert fused.fits(x)
    assert not fused.fits(x.double())
    assert not fused.fits(torch.empty(1, device="meta"))
    with torch.no_grad():
        assert not fused.fits(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused.fits(x)
    mlp = tiny().model.layers[0].mlp
    assert fused.is_plain(mlp.gate_proj, mlp.up_proj)
    assert not fused.is_plain(torch.nn.Linear(2, 2)) and not fused.is_plain(torch.nn.Identity())


def test_in_training_another_document_of_the_window_changes_no_loss_and_gets_no_gradient(tiny, random_ids):
    model, ids = tiny().train(), random_ids(1, 20)
    segments = torch.tensor([[0] * 9 + [1] * 11])
    other = ids.clone()
    other[0, :9] = random_ids(1, 9, "other")[0]
    found = []
    for each in (ids, other):
        embedded = model.model.embed_tokens(each).detach().requires_grad_()
        model.model.embed_tokens.forward = lambda _, x=embedded: x
        nll, _ = token_losses(model, each, segments)
        later = nll[0, 9:]  # about tokens 10 on, which are of the second document
        found.append(later.detach())
        (gradient,) = torch.autograd.grad(later.sum(), embedded)
        assert gradient[0, :9].abs().max() == 0 and gradient[0, 9:19].abs().max() > 0
    assert torch.equal(*found)


@pytest.mark.parametrize("packed", [False, True])
def test_layers_that_are_traced_take_no_kernel_of_ours_and_give_the_same(tiny, random_ids, monkeypatch, packed):
    """What --compile does before it generates code; the generator itself takes a minute (tests/train/test_types.py)."""
    model, ids = tiny().train(), random_ids(2, 24)
    segments = torch.tensor([[0] * 9 + [1] * 15] * 2) if packed else None
    loss, expected = _gradients(model, ids, segments)
    for layer in model.model.layers:
        layer.compile(backend="aot_eager")
    for name in ("turn", "swiglu", "add_norm"):
        monkeypatch.setattr(rows, name, lambda *_: pytest.fail("a kernel was called from a traced layer"))
    traced, gradients = _gradients(model, ids, segments)
    assert traced == pytest.approx(loss, rel=1e-5)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], rtol=1e-3, atol=1e-6, msg=name)
