"""FlexAttention's rule and blocks, which CUDA uses for packed windows, computed on a CPU against the exact mask."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clet.model import attention, flex
from clet.model.attention import segment_mask
from clet.model.flex import attend, document_mask
from clet.model.loss import token_losses


def _segments(length: int) -> torch.Tensor:
    """Three windows: documents of 130, of 1 and the rest; one document; one that ends with padding."""
    rows = [[0] * 130 + [1] + [2] * (length - 131), [5] * length, [3] * 200 + [-1] * (length - 200)]
    return torch.tensor(rows, dtype=torch.int32)


def test_blocks_are_those_in_which_something_is_visible():
    segments = _segments(512)
    exact = segment_mask(segments)
    blocks = exact.view(3, 1, 4, 128, 4, 128)
    seen = document_mask(segments).to_dense().bool()
    assert torch.equal(seen, blocks.any(dim=5).any(dim=3))
    assert not seen[0, 0, 3, 0] and seen[1, 0, 3, 0]  # what is skipped: a block between documents


@pytest.mark.parametrize("num_kv_heads", [1, 4])
def test_attention_equals_the_masked_reference(num_kv_heads):
    """Forward only: on a CPU torch has no backward pass of it; tests/model/test_gpu.py compares gradients."""
    segments = _segments(256)
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(3, heads, 256, 16, generator=generator) for heads in (4, num_kv_heads, num_kv_heads))
    ours = attend(q, k, v, document_mask(segments), grouped=num_kv_heads != 4)
    reference = F.scaled_dot_product_attention(q, k, v, attn_mask=segment_mask(segments), enable_gqa=True)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-5)


def test_losses_of_the_model_are_the_same_whichever_way_documents_are_kept_apart(tiny, monkeypatch):
    model = tiny(max_positions=256)
    ids = torch.randint(0, 97, (3, 256), generator=torch.Generator().manual_seed(4))
    segments = _segments(256)
    found = {}
    for way, scope in (("blocks", attention.attention_scope), ("mask", segment_mask), ("flex", document_mask)):
        monkeypatch.setattr("clet.model.decoder.attention_scope", scope)
        with torch.no_grad():
            found[way], _ = token_losses(model, ids, segments, segments >= 0)
    torch.testing.assert_close(found["mask"], found["blocks"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["flex"], found["blocks"], rtol=1e-4, atol=1e-4)


def test_it_is_for_cuda_with_triton_only(monkeypatch):
    assert not flex.is_here(torch.device("cpu"))
    monkeypatch.setattr(flex.importlib.util, "find_spec", lambda name: None)
    assert not flex.is_here(torch.device("cuda"))
    monkeypatch.setattr(flex.importlib.util, "find_spec", lambda name: object())
    assert flex.is_here(torch.device("cuda"))
