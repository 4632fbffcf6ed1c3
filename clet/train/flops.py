"""How many floating-point operations a step costs, counted from the shapes of the model and the lengths of documents.

Counted are the model's own products, as model FLOPs utilisation is defined (PaLM, arXiv:2204.02311, appendix B): what
the mathematics asks for, whatever a kernel does beside it. A matrix of n weights costs 2n operations a token forward,
2n for the gradient of its input and 2n for its own; a frozen one (below LoRA) has no gradient of its own. Of experts
those count that a token takes. The head counts for the tokens whose loss is taken. Attention costs by document: a
query sees what stands before it in its document, so n tokens have n(n+1)/2 pairs, and a pair 2 products forward and 4
backward over the width of all heads. Not counted: probabilities and activations computed again, norms, softmax, the
optimizer.

Cost: one pass over the segments of a batch; 20 microseconds for 8 windows of 512.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from clet.model.decoder import Decoder

FORWARD, BACKWARD = 2, 2  # operations a weight and token; BACKWARD for the input, and once more for the weight
PAIR_PRODUCTS = 6  # of width heads * head_dim: scores and output forward, two gradients of each backward


def step_flops(model: Decoder) -> Callable[[np.ndarray, int], int]:
    """What `flops(segments, counted)` of a step of this model is: segments [B, L], -1 on padding, and losses taken."""
    config = model.config
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    per_token = 0
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or id(parameter) in embeddings or parameter is model.head_weight:
            continue
        cost = _weight_flops(parameter.numel(), parameter.requires_grad)
        if ".experts." in name:
            cost = cost * config.num_experts_per_token // config.num_experts
        per_token += cost
    per_loss = _weight_flops(model.head_weight.numel(), model.head_weight.requires_grad)
    per_pair = PAIR_PRODUCTS * 2 * config.num_heads * config.head_dim * config.num_layers

    def flops(segments: np.ndarray, counted: int) -> int:
        return per_token * segments.size + per_loss * counted + per_pair * attention_pairs(segments)

    return flops


def attention_pairs(segments: np.ndarray) -> int:
    """Pairs of a query and a key that it may see, in segments [B, L]; padding (-1) sees nothing."""
    if not segments.size:
        return 0
    begins = np.ones(segments.shape, bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    flat = begins.ravel()
    starts = np.flatnonzero(flat)
    lengths = np.diff(starts, append=flat.size)[segments.ravel()[starts] >= 0].astype(np.int64)
    return int((lengths * (lengths + 1) // 2).sum())


def _weight_flops(numel: int, learns: bool) -> int:
    return numel * (FORWARD + BACKWARD + (BACKWARD if learns else 0))
