"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, made orthogonal, for matrices.

An update of AdamW is dominated by a few directions of the gradient; here the momentum's singular values are all brought
near one by five Newton-Schulz iterations of an odd polynomial (to between 0.7 and 1.2, which is near enough), so that
rare directions are learned as fast. With the factor 0.2 * sqrt(max(rows, columns)) of Moonlight (Liu et al. 2025,
arXiv:2502.16982) an update has the root mean square of one of AdamW, so that AdamW's learning rate and weight decay
carry over. Embeddings, the head and norms are no such matrices and stay with AdamW.

Cost: one moment a parameter (AdamW has two), and 10 products of rows^2 * columns a step and matrix whatever the batch:
7% of a step of 4096 tokens of a 2 M model, 1% of one of 128 k tokens. Matrices of one shape are iterated together. The
iteration is in float32 on a CPU and in bfloat16 on CUDA, for which its coefficients were made.

To choose where tokens are dearer than time; AdamW where batches are a few windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # steepest at zero, bounded on [0, 1]
ITERATIONS = 5
SCALE = 0.2  # the root mean square of AdamW's updates, as measured in arXiv:2502.16982
EPS = 1e-7
MAX_STACK = 1 << 24  # elements iterated at once: more would double what a large model takes


class Muon(torch.optim.Optimizer):
    """Muon over matrices; groups have `lr` and `weight_decay`. The state of a parameter is its `momentum`."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        for group in self.param_groups:
            if any(parameter.ndim != 2 for parameter in group["params"]):
                raise ValueError("Muon is for matrices only")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move the weights that have a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(tuple(parameter.shape), []).append(parameter)
            for shape, parameters in alike.items():
                at_once = max(1, MAX_STACK // math.prod(shape))
                for start in range(0, len(parameters), at_once):
                    self._move(parameters[start : start + at_once], group["lr"], group["weight_decay"])

    def _move(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        momenta = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1.0 - MOMENTUM)
            momenta.append(parameter.grad.lerp(state["momentum"], MOMENTUM))  # Nesterov's
        rows, columns = parameters[0].shape
        updates = orthogonal(torch.stack(momenta))
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1.0 - rate * decay).add_(update, alpha=-rate * SCALE * math.sqrt(max(rows, columns)))


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with their singular values brought near one."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16) if matrices.device.type == "cuda" else matrices
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_(min=EPS)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
