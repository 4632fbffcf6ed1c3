"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) in torch's fused form, and what goes with it.

Weight decay is for matrices that every token passes through. Norms and biases are scales without a direction to
shrink. Embeddings are left out as well: a row whose token does not occur gets no gradient, and decay alone would pull
rare words to zero; where the head is tied it is the same tensor.

Cost: two moments a parameter (8 bytes in float32) and one pass over weights, gradients and moments a step. The fused
step is one such pass; the plain one makes about ten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
EPS = 1e-8
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
PEAK_AT_WIDTH_256 = 1e-3  # scaled by 256/width, as Adam's best rate does (muP, arXiv:2203.03466)


def default_peak(hidden_size: int) -> float:
    """A peak learning rate for a model of this width: 2e-3 at 128, 1e-3 at 256, 2.5e-4 at 1024."""
    return PEAK_AT_WIDTH_256 * 256 / hidden_size


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups for an optimizer: matrices with weight decay; norms, biases and embeddings without."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # a frozen base
            continue
        shrinks = parameter.ndim >= 2 and id(parameter) not in embeddings
        (decayed if shrinks else plain).append((name, parameter))
    groups = ((decayed, WEIGHT_DECAY), (plain, 0.0))
    return [{"params": members, "weight_decay": decay} for members, decay in groups if members]


def build(model: nn.Module) -> torch.optim.AdamW:
    """The optimizer over all parameters of `model`; its rate is set before each step."""
    return torch.optim.AdamW(parameter_groups(model), lr=0.0, betas=BETAS, eps=EPS, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step, for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All state of the optimizer as `<parameter>/<slot>` tensors, sharing its memory. Empty before the first step."""
    return {
        f"{name}/{slot}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    """Put back what `moments` gave; slots that are not in `saved` are dropped. Takes the tensors over."""
    slots: dict[str, dict[str, Tensor]] = {}
    for key, value in saved.items():
        name, _, slot = key.rpartition("/")
        slots.setdefault(name, {})[slot] = value
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            if name in slots:
                optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in slots[name].items()}
