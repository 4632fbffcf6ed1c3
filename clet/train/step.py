"""One step: from windows to a gradient, and from a gradient to new weights.

The loss is the mean over all counted next tokens of the batch; documents never attend to each other. A batch may be
computed in parts (gradient accumulation) whose sum is the same mean. `TERMS` are added to it: each is a function of the
model after its forward pass, whose part of the loss is taken in proportion to the part of the batch (terms that follow
from the weights alone are in `memory`). Arithmetic is float32; with `autocast` matrix products are bfloat16, and
weights, moments and the loss stay float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clet.model.decoder import Decoder, token_losses
from clet.train.feed import Batch
from clet.train.optimizer import Optimizer


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Mean loss (nats a token) of a batch, and the mean of each of its windows `[B]`; nan for one without tokens."""

    mean: float
    windows: list[float]


def router_balance(model: Decoder) -> Tensor | None:
    """The experts' load-balancing loss, weighted as the model's configuration says; None for a dense model."""
    if not model.config.num_experts:
        return None
    return model.config.router_aux_loss_coef * model.aux_loss()


TERMS: dict[str, Callable[[Decoder], Tensor | None]] = {"router": router_balance}


def add_gradients(model: Decoder, batch: Batch, *, accumulate: int = 1, autocast: bool = False) -> StepLoss:
    """Add the gradient of the batch's mean loss to that of the model's parameters, in `accumulate` parts.

    `batch.counted` must be above 0.
    """
    device = model.head_weight.device
    sums: list[Tensor] = []
    counts: list[Tensor] = []
    size = len(batch.ids)
    parts = min(accumulate, size)
    for part in range(parts):
        rows = slice(part * size // parts, (part + 1) * size // parts)
        ids, segments, mask = (
            torch.from_numpy(array[rows]).to(device, non_blocking=True)
            for array in (batch.ids, batch.segments, batch.loss_mask)
        )
        with torch.autocast(device.type, torch.bfloat16) if autocast else contextlib.nullcontext():
            nll, weight = token_losses(model, ids, segments, mask)
        loss = nll.sum() / batch.counted
        for term in TERMS.values():
            if (extra := term(model)) is not None:
                loss = loss + extra * (len(ids) / size)
        loss.backward()
        sums.append(nll.detach().sum(dim=1, dtype=torch.float64))
        counts.append(weight.sum(dim=1))
    totals, tokens = torch.cat(sums), torch.cat(counts)
    return StepLoss(float(totals.sum()) / batch.counted, (totals / tokens).tolist())


def clip(optimizer: Optimizer) -> float:
    """Shorten the gradient as the run's method says; its norm before."""
    return optimizer.clip()


def apply(optimizer: Optimizer, rate: float) -> dict[str, str]:
    """Move the weights by the gradient, which is gone afterwards; what the step's line says besides.

    Nothing, unless the update gate held it back.
    """
    gate = optimizer.step(rate)
    optimizer.zero_grad()
    return {"skipped": gate} if gate else {}
