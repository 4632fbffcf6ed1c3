"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864), with Llama 3.1's scaling of long wavelengths.

The halves of a head are rotated as Hugging Face does it: pair i is (x[i], x[i + D/2]). The backward pass of a rotation
is the rotation by the negative angle, so nothing but the tables is kept for it. The tables are computed in float32 as
far as positions are used, and grow by doubling: 4 * D bytes a position, once for all layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clet.model.config import Llama3Rope, ModelConfig

FIRST_TABLE = 2048  # positions computed at the first use; most windows and requests are shorter


def inverse_frequencies(config: ModelConfig) -> Tensor:
    """Angle of one step for each pair of a head: [head_dim / 2] float32, on the CPU."""
    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.int64, device="cpu").to(torch.float32)
    steps = 1.0 / (config.rope_theta ** (pairs / config.head_dim))
    return steps if config.rope_scaling is None else _llama3(steps, config.rope_scaling)


def _llama3(steps: Tensor, scaling: Llama3Rope) -> Tensor:
    """Slow wavelengths beyond the original context by `factor`, keep the short ones, ramp in between."""
    wavelengths = 2 * math.pi / steps
    longest, shortest = (
        scaling.original_max_positions / scaling.low_freq_factor,
        scaling.original_max_positions / scaling.high_freq_factor,
    )
    slowed = torch.where(wavelengths > longest, steps / scaling.factor, steps)
    ramp = (scaling.original_max_positions / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    mixed = (1 - ramp) * steps / scaling.factor + ramp * steps
    between = (wavelengths <= longest) & (wavelengths >= shortest)
    return torch.where(between, mixed, slowed)


class RotaryTable:
    """cos and sin of every (position, pair), shared by all layers of a decoder.

    Deliberately no module and no buffer: the table follows from the configuration, so it is neither saved, nor moved
    through the meta device on loading, nor part of a model's identity.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._cos_sin: tuple[Tensor, Tensor] | None = None

    def upto(self, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(cos, sin), each [at least `length`, head_dim / 2], on `device` in `dtype`."""
        if length > self.config.max_positions:
            raise ValueError(f"position {length - 1} is beyond this model's {self.config.max_positions} positions")
        have = self._cos_sin
        if have is None or have[0].shape[0] < length or have[0].device != device or have[0].dtype != dtype:
            rows = FIRST_TABLE
            while rows < length:
                rows *= 2
            rows = min(rows, self.config.max_positions)
            # A table made while serving (inference mode) must still be good for training.
            with torch.inference_mode(False):
                positions = torch.arange(rows, dtype=torch.float32, device="cpu")
                angles = torch.outer(positions, inverse_frequencies(self.config))
                have = (angles.cos().to(device, dtype), angles.sin().to(device, dtype))
            self._cos_sin = have  # in one assignment: a second thread sees the old pair or the new one
        return have


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads x [B, T, H, D] by tables that broadcast against [B, T, H, D/2]."""
    if torch.compiler.is_compiling():  # a compiler fuses what is written plainly, and writes into views less surely
        half = x.shape[-1] // 2
        x1, x2, cos, sin = x[..., :half], x[..., half:], cos.to(x.dtype), sin.to(x.dtype)
        return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)
    return _Rotate.apply(x, cos, sin) if torch.is_grad_enabled() else _turn(x, cos, sin, 1.0)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    half = x.shape[-1] // 2
    x1, x2, y1, y2 = x[..., :half], x[..., half:], out[..., :half], out[..., half:]
    torch.mul(x1, cos, out=y1).addcmul_(x2, sin, value=-sign)
    torch.mul(x2, cos, out=y2).addcmul_(x1, sin, value=sign)
    return out


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1.0), None, None
