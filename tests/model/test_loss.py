"""Chunked losses and their gradients are those of plain cross entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clet.model import loss as loss_module
from clet.model.decoder import token_losses

SEGMENTS = torch.tensor([[0] * 5 + [1] * 11, [0] * 16])


def loss_mask() -> torch.Tensor:
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[1, 10:] = False
    return mask


def plain(model, ids, segments, mask):
    """nll [B, T-1] by F.cross_entropy on whole logits, and where it counts."""
    logits = model(ids, segments=segments)[:, :-1]
    nll = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(2, -1)
    return nll, mask[:, 1:] & (segments[:, 1:] == segments[:, :-1])


def gradients(model, value) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.fixture(params=[{}, {"tie_embeddings": False}, {"num_experts": 4}], ids=["tied", "untied", "sparse"])
def model(request, tiny):
    return tiny(**request.param).train()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several chunks, the last one partial, also for a few dozen tokens."""
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(loss_module, "MIN_CHUNK_ROWS", 7)


def test_losses_and_weights_equal_cross_entropy(model, random_ids):
    ids = random_ids(2, 16)
    nll, weight = token_losses(model, ids, SEGMENTS, loss_mask())
    expected, counted = plain(model, ids, SEGMENTS, loss_mask())
    assert torch.equal(weight, counted)
    assert torch.allclose(nll, torch.where(counted, expected, 0.0), atol=1e-4)
    assert nll.dtype == torch.float32 and nll.shape == (2, 15)


def test_mean_has_the_gradient_of_cross_entropy(model, random_ids):
    ids = random_ids(2, 16)
    nll, weight = token_losses(model, ids, SEGMENTS, loss_mask())
    ours = gradients(model, (nll * weight).sum() / weight.sum())
    expected, counted = plain(model, ids, SEGMENTS, loss_mask())
    theirs = gradients(model, expected[counted].mean())
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, atol=1e-5), name


@pytest.mark.parametrize("told", [True, False], ids=["weights known", "weights unknown"])
def test_uneven_weights_have_the_exact_gradient(model, random_ids, told):
    ids = random_ids(2, 16)
    uneven = torch.rand(2, 15, generator=torch.Generator().manual_seed(8))
    nll, weight = token_losses(model, ids, SEGMENTS, loss_mask(), grad_weights=uneven if told else None)
    ours = gradients(model, (nll * weight * uneven).sum())
    expected, counted = plain(model, ids, SEGMENTS, loss_mask())
    theirs = gradients(model, (expected * counted * uneven).sum())
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, atol=1e-4), name


def test_uneven_weights_that_are_known_need_no_second_pass(tiny, random_ids, monkeypatch):
    model, ids = tiny().train(), random_ids(2, 16)
    uneven = torch.rand(2, 15, generator=torch.Generator().manual_seed(8))
    nll, _ = token_losses(model, ids, grad_weights=uneven)
    monkeypatch.setattr(loss_module, "_Head", None)
    (nll * uneven).sum().backward()
    assert model.model.embed_tokens.weight.grad.abs().max() > 0


def test_without_segments_and_mask_everything_counts(model, random_ids):
    ids = random_ids(2, 16)
    nll, weight = token_losses(model, ids)
    assert weight.all()
    expected = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert nll.mean().item() == pytest.approx(expected.item(), abs=1e-4)


def test_nothing_counted_is_zero_with_zero_gradient(tiny, random_ids):
    model = tiny().train()
    nll, weight = token_losses(model, random_ids(1, 8), loss_mask=torch.zeros(1, 8, dtype=torch.bool))
    nll.sum().backward()
    assert not weight.any() and nll.sum().item() == 0.0
    assert model.model.embed_tokens.weight.grad.abs().max() == 0.0


def test_huge_logits_stay_finite(tiny, random_ids):
    model = tiny().eval()
    model.model.embed_tokens.weight.data.mul_(1e4)
    with torch.no_grad():
        nll, _ = token_losses(model, random_ids(1, 8))
    assert torch.isfinite(nll).all()


def test_under_autocast_the_heads_products_are_bfloat16_and_its_gradient_is_float32(tiny, random_ids):
    model, ids = tiny().train(), random_ids(3, 20)
    weights = torch.rand(3, 19, generator=torch.Generator().manual_seed(8))
    found = {}
    for enabled in (False, True):
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            nll, _ = token_losses(model, ids)
        (nll * weights).sum().backward()  # weights that were not said before: the backward pass computes chunks again
        found[enabled] = nll.detach(), model.model.norm.weight.grad, model.head_weight.grad
    for full, half in zip(found[False], found[True], strict=True):
        assert half.dtype is torch.float32
        assert not torch.equal(full, half)
        assert (full - half).norm() < 0.1 * full.norm()
