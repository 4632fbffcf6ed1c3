"""What moves the weights: an optimizer from a table, the clipping before it, and the gate that may hold it back.

`adamw` is AdamW (Loshchilov and Hutter, arXiv:1711.05101) in torch's fused form: two moments a parameter (8 bytes in
float32), one pass over weights, gradients and moments a step, where the plain form makes about ten. `muon` moves
matrices by Muon (see `muon`) and the rest by AdamW.

Weight decay is for matrices that every token passes through. Norms and biases are scales without a direction to
shrink. Embeddings are left out as well: a row whose token does not occur gets no gradient, and decay alone would pull
rare words to zero; where the head is tied it is the same tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clet.train.clipping import CLIP_NORM, CLIPS, NormMoments
from clet.train.gates import GATES, StepFacts
from clet.train.memory import MEMORIES
from clet.train.muon import Muon

BETAS = (0.9, 0.95)
EPS = 1e-8
WEIGHT_DECAY = 0.1
PEAK_AT_WIDTH_256 = 1e-3  # scaled by 256/width, as Adam's best rate does (muP, arXiv:2203.03466)
NORMS = "gradient-norms"  # among the moments, those of the norm; no parameter is called so
REMEMBERED = "memory:"  # before the name of a parameter


def default_peak(hidden_size: int) -> float:
    """A peak learning rate for a model of this width: 2e-3 at 128, 1e-3 at 256, 2.5e-4 at 1024."""
    return PEAK_AT_WIDTH_256 * 256 / hidden_size


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups for an optimizer: matrices with weight decay; norms, biases and embeddings without. None is frozen."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            shrinks = parameter.ndim >= 2 and id(parameter) not in embeddings
            (decayed if shrinks else plain).append((name, parameter))
    groups = ((decayed, WEIGHT_DECAY), (plain, 0.0))
    return [{"params": members, "weight_decay": decay} for members, decay in groups if members]


def adamw(model: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all."""
    return [_adamw(parameter_groups(model))]


def muon(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest."""
    head = getattr(model, "head_weight", None)
    matrices, rest = [], []
    for group in parameter_groups(model):
        chosen = [p for p in group["params"] if group["weight_decay"] and p[1].ndim == 2 and p[1] is not head]
        others = [p for p in group["params"] if all(p[1] is not other for _, other in chosen)]
        matrices += [group | {"params": chosen}] if chosen else []
        rest += [group | {"params": others}] if others else []
    return [*([Muon(matrices)] if matrices else []), *([_adamw(rest)] if rest else [])]


def _adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS, fused=True)


OPTIMIZERS: dict[str, Callable[[nn.Module], list[torch.optim.Optimizer]]] = {"adamw": adamw, "muon": muon}


class Optimizer:
    """An optimizer of the table over the parameters of a model, and what a step does once its gradient is known.

    `clip` first, then `step`, then `zero_grad`. Names are keys of the tables. `norms` are the moments of the gradient's
    norm, `remembered` what the memory term keeps of each parameter, by name.
    """

    def __init__(
        self,
        model: nn.Module,
        method: str = "adamw",
        *,
        clip: str = "zclip",
        gate: str = "always",
        memory: str = "none",
    ):
        self.parts = OPTIMIZERS[method](model)
        self.norms = NormMoments()
        self.remembered: dict[str, dict[str, Tensor]] = {}
        self._clip, self._memory = CLIPS[clip], MEMORIES[memory]
        self._gate_name, self._gate = gate, GATES[gate]
        self._norm, self._seen = 0.0, NormMoments()

    def parameters(self) -> Iterator[tuple[str, nn.Parameter, dict[str, Tensor]]]:
        """Each parameter with its name and its moments."""
        for part in self.parts:
            for group in part.param_groups:
                for name, parameter in zip(group["param_names"], group["params"], strict=True):
                    yield name, parameter, part.state[parameter]

    @torch.no_grad()
    def clip(self) -> float:
        """Add what memory asks for, and shorten the gradient as far as the method says; its norm before.

        A norm that is not finite leaves gradient and statistics as they are: it is the breaker's business.
        """
        self._memory((p, self.remembered.setdefault(name, {})) for name, p, _ in self.parameters())
        gradients = [p.grad for _, p, _ in self.parameters() if p.grad is not None]
        self._norm = norm = float(torch.nn.utils.get_total_norm(gradients))
        self._seen = replace(self.norms)
        if not math.isfinite(norm):
            return norm
        counted = self._clip(norm, self._seen)
        self.norms.add(counted)
        if (allowed := min(counted, CLIP_NORM)) < norm:
            torch._foreach_mul_(gradients, allowed / norm)
        return norm

    def step(self, rate: float) -> str | None:
        """Move the weights, unless the gate holds the step back; then its name."""
        if not self._gate(StepFacts(self._norm, self._seen, rate)):
            return self._gate_name
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
        return None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient."""
        for part in self.parts:
            part.zero_grad(set_to_none)


def moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """All state of an optimizer as `<parameter>/<slot>` tensors, sharing its memory, and the moments of the norm."""
    found = {f"{name}/{slot}": value for name, _, slots in optimizer.parameters() for slot, value in slots.items()}
    for name, slots in optimizer.remembered.items():
        found |= {f"{REMEMBERED}{name}/{slot}": value for slot, value in slots.items()}
    return found | {NORMS: optimizer.norms.to_tensor()}


def restore_moments(optimizer: Optimizer, saved: dict[str, Tensor]) -> None:
    """Put back what `moments` gave; slots that are not in `saved` are dropped. Takes the tensors over."""
    kept: dict[str, dict[str, Tensor]] = {}
    for key, value in saved.items():
        name, _, slot = key.rpartition("/")
        kept.setdefault(name, {})[slot] = value
    optimizer.norms = NormMoments.from_tensor(saved[NORMS]) if NORMS in saved else NormMoments()
    optimizer.remembered = {}
    for part in optimizer.parts:
        part.state.clear()
    for name, parameter, slots in optimizer.parameters():
        slots.update({slot: value.to(parameter.device) for slot, value in kept.get(name, {}).items()})
        if (remembered := kept.get(REMEMBERED + name)) is not None:
            optimizer.remembered[name] = {slot: value.to(parameter.device) for slot, value in remembered.items()}
