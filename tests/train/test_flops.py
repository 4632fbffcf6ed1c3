"""Operations counted from shapes against what torch's counter sees of the same model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clet.model import fused
from clet.model.config import LLAMA, QWEN3, QWEN3_MOE, ModelConfig
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.train.flops import attention_pairs, step_flops

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_layers": 3, "num_heads": 4, "num_kv_heads": 2}
SHAPE |= {"vocab_size": 101, "head_dim": 16, "max_positions": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 16}


def counted_by_torch(model: Decoder, lengths: list[int]) -> int:
    """Forward and backward of documents, each alone, by torch's plain attention: every query against every key."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        for length in lengths:
            ids = torch.randint(0, 101, (1, length))
            F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "kind",
    [
        {"architecture": QWEN3},
        {"architecture": LLAMA, "tie_embeddings": False, "qk_norm": False},
        {"architecture": QWEN3_MOE, **EXPERTS},
    ],
)
def test_counted_from_shapes_is_what_torch_counts_but_for_keys_that_no_query_may_see(kind, monkeypatch):
    monkeypatch.setattr(fused, "fits", lambda x: False)  # torch's counter does not see into kernels of training
    model = Decoder(ModelConfig(**SHAPE, **kind))
    initialise(model, 1)
    lengths = [9, 1, 22]
    segments = np.repeat(np.arange(3), lengths)[None]
    ours = step_flops(model)(segments, 32)
    pair = 6 * 2 * 4 * 16 * 3
    unseen = sum(n * n - n * (n + 1) // 2 for n in lengths)
    assert ours + pair * unseen == counted_by_torch(model, lengths)


def test_a_frozen_weight_has_no_gradient_of_its_own():
    model = Decoder(ModelConfig(**SHAPE))
    segments = np.zeros((2, 8), np.int32)
    whole = step_flops(model)(segments, 14)
    weight = model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    assert whole - step_flops(model)(segments, 14) == 2 * weight.numel() * 16


@pytest.mark.parametrize(
    ("segments", "pairs"),
    [
        ([[0, 0, 0, 0]], 10),
        ([[0, 1, 2, 3]], 4),
        ([[0, 0, 1, -1], [0, 0, 0, 0]], 3 + 1 + 10),
        ([[4, 4], [4, 4]], 6),  # a document does not go on in the next row
        ([[-1, -1]], 0),
        (np.zeros((0, 4)), 0),
    ],
)
def test_a_query_is_paired_with_what_stands_before_it_in_its_document(segments, pairs):
    assert attention_pairs(np.asarray(segments)) == pairs
