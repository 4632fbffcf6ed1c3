"""Parts of a layer with their gradients written out, for training in float32 on a CPU.

What autograd would record as a chain of small operations, each with a tensor of its own kept until the backward pass,
is one operation here: matrix products by torch, all between them by the kernels of `rows`. Gradients that add up (of
the residual stream, of the input of several projections) are added within the product or kernel that makes the second
one. Kept for the backward pass is what the products need, and nothing that one pass over them gives back.

`fits` says when: elsewhere (other devices and types, inference, under torch.compile, which makes its own) modules
compute as they are written. Both agree within float32's rounding (tests/model/test_fused.py).
"""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from clet.model.documents import Documents


def fits(x: Tensor) -> bool:
    """Whether the operations of this file are for an input like x, here and now."""
    return (
        x.dtype is torch.float32
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def is_plain(*modules: nn.Module) -> bool:
    """Whether all of them are linear layers without bias, and nothing else (no adapter, no quantised weights)."""
    return all(type(module) is nn.Linear and module.bias is None for module in modules)


def norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(x, RMSNorm of x): what goes past a block, and into it. x [..., C]."""
    return _Norm.apply(x, weight, eps)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(x + y, RMSNorm of that)."""
    return _AddNorm.apply(x, y, weight, eps)


def heads(
    x: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    norms: tuple[Tensor, Tensor],
    eps: float,
    cos: Tensor,
    sin: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, normalised and rotated, and values, [B, T, H, D] each, of x [B, T, C].

    `weights` are those of q, k and v, `norms` those of q and k; cos and sin are [T, 1, D/2].
    """
    return _Heads.apply(x, *weights, *norms, eps, cos, sin)


def feed_forward(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x)) of x [..., C], given the three weights."""
    return _FeedForward.apply(x, gate, up, down)


def attend(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor | None:
    """Attend q [B, T, H, D] over k, v [B, T, Hkv, D] within documents: [B, T, H, D]; None where it would not pay."""
    from clet.model import flash

    return flash.attend(q, k, v, documents)


@functools.cache
def _rows() -> ModuleType:
    # numba is imported by whoever trains, not by whoever serves
    from clet.model import rows

    return rows


def _parts(num_rows: int) -> int:
    return max(1, min(torch.get_num_threads(), num_rows))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        flat = x.contiguous().view(-1, x.shape[-1])
        out, scales = torch.empty_like(flat), flat.new_empty(len(flat))
        _rows().norm(flat, weight, np.float32(eps), out, scales, _parts(len(flat)))
        ctx.save_for_backward(flat, weight, scales)
        return x, out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, dpast: Tensor, dout: Tensor) -> tuple[Tensor, Tensor, None]:
        return (*_norm_gradients(ctx, dpast, dout), None)


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        flat, other = (each.contiguous().view(-1, x.shape[-1]) for each in (x, y))
        added, out, scales = torch.empty_like(flat), torch.empty_like(flat), flat.new_empty(len(flat))
        _rows().add_norm(flat, other, weight, np.float32(eps), added, out, scales, _parts(len(flat)))
        ctx.save_for_backward(added, weight, scales)
        return added.view(x.shape), out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, dpast: Tensor, dout: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        dx, dweight = _norm_gradients(ctx, dpast, dout)
        return dx, dx, dweight, None


def _norm_gradients(ctx, dpast: Tensor, dout: Tensor) -> tuple[Tensor, Tensor]:
    x, weight, scales = ctx.saved_tensors
    parts = _parts(len(x))
    dx, dweight = torch.empty_like(x), x.new_zeros(parts, x.shape[1])
    dout, past = dout.contiguous().view(x.shape), dpast.contiguous().view(x.shape)
    _rows().norm_backward(x, weight, scales, dout, past, dx, dweight, parts)
    return dx.view(dpast.shape), dweight.sum(0)


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, wq, wk, wv, nq, nk, eps: float, cos, sin) -> tuple[Tensor, Tensor, Tensor]:
        size, flat = len(nq), x.contiguous().view(-1, x.shape[-1])
        shape = (*x.shape[:-1], -1, size)
        cos, sin = cos.squeeze(1).contiguous(), sin.squeeze(1).contiguous()
        raw = [(flat @ w.t()).view(len(flat), -1, size) for w in (wq, wk)]
        turned = [torch.empty_like(each) for each in raw]
        for each, weight, out in zip(raw, (nq, nk), turned, strict=True):
            _rows().turn(each, weight, np.float32(eps), cos, sin, out, _parts(len(flat)))
        ctx.save_for_backward(flat, wq, wk, wv, nq, nk, cos, sin, *raw)
        ctx.eps = eps
        return turned[0].view(shape), turned[1].view(shape), (flat @ wv.t()).view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, wq, wk, wv, nq, nk, cos, sin, *raw = ctx.saved_tensors
        parts = _parts(len(x))
        grads, dnorms = [], []
        for each, weight, above in zip(raw, (nq, nk), upstream, strict=False):
            below, dweight = torch.empty_like(each), each.new_zeros(parts, len(weight))
            above = above.contiguous().view(each.shape)
            _rows().turn_backward(each, weight, np.float32(ctx.eps), cos, sin, above, below, dweight, parts)
            grads.append(below.view(len(x), -1))
            dnorms.append(dweight.sum(0))
        grads.append(upstream[2].contiguous().view(len(x), -1))
        dx = _input_gradient(grads, (wq, wk, wv)) if ctx.needs_input_grad[0] else None
        dweights = _weight_gradients(grads, x, ctx.needs_input_grad[1:4])
        dx = None if dx is None else dx.view(*upstream[0].shape[:2], -1)
        return dx, *dweights, *dnorms, None, None, None


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        flat = x.contiguous().view(-1, x.shape[-1])
        g, u = flat @ gate.t(), flat @ up.t()
        hidden = torch.empty_like(g)
        _rows().swiglu(g, u, hidden, _parts(len(flat)))
        ctx.save_for_backward(flat, gate, up, down, g, u)
        return (hidden @ down.t()).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, down, g, u = ctx.saved_tensors
        above = upstream.contiguous().view(x.shape)
        du = above @ down
        hidden, dg = torch.empty_like(g), torch.empty_like(g)
        _rows().swiglu_backward(g, u, du, hidden, dg, _parts(len(x)))
        ddown = above.t() @ hidden if ctx.needs_input_grad[3] else None
        dx = _input_gradient([dg, du], (gate, up)).view(upstream.shape) if ctx.needs_input_grad[0] else None
        return dx, *_weight_gradients([dg, du], x, ctx.needs_input_grad[1:3]), ddown


def _input_gradient(grads: list[Tensor], weights: tuple[Tensor, ...]) -> Tensor:
    """The sum over several products of one input."""
    dx = grads[0] @ weights[0]
    for grad, weight in zip(grads[1:], weights[1:], strict=True):
        dx.addmm_(grad, weight)
    return dx


def _weight_gradients(grads: list[Tensor], x: Tensor, needed: tuple[bool, ...]) -> list[Tensor | None]:
    return [grad.t() @ x if wanted else None for grad, wanted in zip(grads, needed, strict=True)]
