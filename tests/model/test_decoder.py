"""What the decoder promises apart from its agreement with transformers: packing, positions, shapes, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clet.model import packed as packed_module
from clet.model import rotary as rotary_module
from clet.model.attention import attention_scope, segment_mask
from clet.model.documents import Documents
from clet.model.norm import RMSNorm
from clet.model.rotary import rotate


@pytest.mark.parametrize("experts", [0, 4])
def test_packed_documents_equal_documents_run_apart(tiny, random_ids, experts):
    model, ids = tiny(num_experts=experts), random_ids(2, 24)
    segments = torch.tensor([[0] * 7 + [1] * 1 + [2] * 16, [5] * 24])
    with torch.no_grad():
        packed = model(ids, segments=segments)
        apart = [model(ids[:1, 0:7]), model(ids[:1, 7:8]), model(ids[:1, 8:24])]
    assert torch.allclose(packed[:1], torch.cat(apart, dim=1), atol=1e-4)
    assert torch.allclose(packed[1:], model(ids[1:]), atol=1e-4)


def test_another_document_in_the_window_changes_nothing_at_all(tiny, random_ids):
    model, ids = tiny(), random_ids(1, 20)
    segments = torch.tensor([[0] * 9 + [1] * 11])
    other = ids.clone()
    other[0, :9] = random_ids(1, 9, "other")[0]
    with torch.no_grad():
        assert torch.equal(model(ids, segments=segments)[0, 9:], model(other, segments=segments)[0, 9:])


def test_the_future_changes_nothing_at_all(tiny, random_ids):
    model, ids = tiny(), random_ids(1, 20)
    other = ids.clone()
    other[0, 12:] = random_ids(1, 8, "other")[0]
    with torch.no_grad():
        assert torch.equal(model(ids)[0, :12], model(other)[0, :12])


def test_segment_mask_is_causal_within_equal_numbers():
    mask = segment_mask(torch.tensor([[0, 0, 1], [2, 2, 2]]))
    assert mask[0, 0].tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    assert mask[1, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_windows_of_one_document_need_no_mask_and_odd_numbering_falls_back_to_one():
    assert attention_scope(torch.tensor([[3, 3], [4, 4]])) is None
    assert attention_scope(torch.tensor([[0, 1, 0]]))[0, 0].tolist() == [
        [True, False, False],
        [False, True, False],
        [True, False, True],
    ]


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_attention_by_document_and_its_gradients_equal_the_masked_reference(monkeypatch, num_kv_heads):
    monkeypatch.setattr(packed_module, "BLOCK_QUERIES", 4)  # documents of several blocks, the last one partial
    segments = torch.tensor([[0] * 11 + [1] * 1 + [2] * 4, [7] * 2 + [9] * 14])
    generator = torch.Generator().manual_seed(9)
    q, k, v = (
        torch.randn(2, 16, heads, 8, generator=generator, requires_grad=True)
        for heads in (4, num_kv_heads, num_kv_heads)
    )
    upstream = torch.randn(2, 16, 4, 8, generator=generator)
    ours = packed_module.packed_attention(q, k, v, Documents.of(segments))
    reference = F.scaled_dot_product_attention(
        *(x.double().transpose(1, 2) for x in (q, k, v)), attn_mask=segment_mask(segments), enable_gqa=True
    ).transpose(1, 2)
    assert torch.allclose(ours.double(), reference, atol=1e-5)
    mine = torch.autograd.grad(ours, (q, k, v), upstream)
    theirs = torch.autograd.grad(reference, (q, k, v), upstream.double())
    for gradient, expected in zip(mine, theirs, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-5)


def test_blocks_cover_every_token_once():
    segments = torch.tensor([[0] * 300 + [1] * 5, [0] * 305])
    covered = [(b.row, t) for b in packed_module.document_blocks(Documents.of(segments)) for t in range(b.start, b.end)]
    assert sorted(covered) == [(row, t) for row in range(2) for t in range(305)]


def test_shifted_positions_give_the_same_logits(tiny, random_ids):
    model, ids = tiny(), random_ids(2, 10)
    positions = torch.arange(10).expand(2, 10) + torch.tensor([[40], [7]])
    with torch.no_grad():
        assert torch.allclose(model(ids, positions=positions), model(ids), atol=1e-4)


def test_last_only_is_the_last_row(tiny, random_ids):
    model, ids = tiny(), random_ids(3, 9)
    with torch.no_grad():
        assert torch.allclose(model(ids, last_only=True), model(ids)[:, -1:], atol=1e-5)


def test_positions_beyond_the_model_are_refused(tiny, random_ids):
    with pytest.raises(ValueError, match="128 positions"):
        tiny()(random_ids(1, 129))


def test_a_model_that_has_served_can_still_be_trained(tiny, random_ids):
    model = tiny()
    with torch.inference_mode():
        model(random_ids(1, 8))
    model(random_ids(1, 8)).sum().backward()
    assert model.model.embed_tokens.weight.grad.abs().max() > 0


def test_longer_positions_extend_the_tables(tiny, random_ids, monkeypatch):
    model = tiny()
    with torch.no_grad():
        whole = model(random_ids(1, 100))
        monkeypatch.setattr(rotary_module, "FIRST_TABLE", 16)
        grown = tiny()
        grown(random_ids(1, 10))
        assert torch.equal(grown(random_ids(1, 100)), whole)


def test_norm_and_its_gradient_equal_torchs(random_ids):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3, 5, 32, generator=generator, requires_grad=True)
    norm = RMSNorm(32, 1e-6)
    norm.weight.data.normal_(1.0, 0.5, generator=generator)
    upstream = torch.randn(3, 5, 32, generator=generator)
    ours = torch.autograd.grad(norm(x), (x, norm.weight), upstream)
    exact = F.rms_norm(x.double(), (32,), norm.weight.double(), 1e-6)
    theirs = torch.autograd.grad(exact, (x, norm.weight), upstream.double())
    assert torch.allclose(norm(x).double(), exact, atol=1e-6)
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, reference, atol=1e-5)


def test_rotation_keeps_lengths_and_its_gradient_is_the_inverse():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(2, 4, 3, 8, generator=generator, requires_grad=True)
    angles = torch.randn(4, 1, 4, generator=generator)
    turned = rotate(x, angles.cos(), angles.sin())
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    (back,) = torch.autograd.grad(turned, x, turned.detach())
    assert torch.allclose(back, x, atol=1e-5)


def test_aux_loss_is_k_when_even_and_zero_when_dense(tiny, random_ids):
    sparse = tiny(num_experts=4).train()
    for layer in sparse.model.layers:
        layer.mlp.gate.weight.data.zero_()  # all experts equally probable
    sparse(random_ids(2, 16))
    assert sparse.aux_loss().item() == pytest.approx(2.0)
    dense = tiny().train()
    dense(random_ids(1, 4))
    assert dense.aux_loss().item() == 0.0


def test_aux_loss_of_a_collapsed_router_is_larger_and_its_gradient_reaches_the_router(tiny, random_ids):
    model = tiny(num_experts=4).train()
    gate = model.model.layers[0].mlp.gate.weight
    model(random_ids(2, 16))
    loss = model.aux_loss()
    loss.backward()
    assert loss.item() > 2.0
    assert gate.grad.abs().max() > 0


def test_sparse_dispatch_equals_every_expert_on_every_token(tiny, random_ids):
    block = tiny(num_experts=4).model.layers[0].mlp
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        probabilities = block.gate(x).softmax(-1)
        kept = torch.zeros_like(probabilities).scatter(-1, probabilities.topk(2).indices, 1.0) * probabilities
        kept = kept / kept.sum(-1, keepdim=True)
        dense = sum(kept[..., [e]] * expert(x) for e, expert in enumerate(block.experts))
        assert torch.allclose(block(x), dense, atol=1e-4)
