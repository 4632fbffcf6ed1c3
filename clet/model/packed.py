"""Causal attention inside the documents of packed windows, exactly, in time that follows the documents.

A mask over a whole window costs T^2 whatever is in it, and torch's CPU kernel skips nothing under a mask. Here each
document is attended alone, in blocks of queries: a block sees the keys from its document's first token to its own
last, so only the last square of a block needs a causal mask. Each step is a matrix product over all heads; queries
that share a key head are stacked, so keys are never repeated. The backward pass computes the probabilities again, as
FlashAttention does (arXiv:2205.14135), hence memory is one block, heads * 128 * longest document floats.

For what `flash` does not do: evaluation, bfloat16, heads that are no multiple of a vector, one document for many
threads. Forward and backward, one thread, documents of 200 tokens, against the masked kernel: 24 to 53 ms for 8 x 512
tokens of 2 heads, 39 to 207 ms for 4 x 1024 of 4, 71 to 866 ms for 2 x 2048 of 8.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clet.model.documents import Documents

BLOCK_QUERIES = 128  # 64 pays more per call, 256 wastes half of its last square


class Block(NamedTuple):
    """Queries start..end-1 of one row of the batch, and the first token of the document that they are in."""

    row: int
    document: int
    start: int
    end: int


def document_blocks(documents: Documents) -> list[Block]:
    """The blocks of all documents."""
    return [
        Block(row, document, start, min(start + BLOCK_QUERIES, stop))
        for row, document, stop in documents
        for start in range(document, stop, BLOCK_QUERIES)
    ]


def packed_attention(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """Attend q [B, T, H, D] over k, v [B, T, Hkv, D] within documents: [B, T, H, D]."""
    future = torch.full((BLOCK_QUERIES, BLOCK_QUERIES), -math.inf, dtype=q.dtype, device=q.device).triu_(1)
    return _PackedAttention.apply(q, k, v, future, document_blocks(documents))


def _stacked(x: Tensor, num_groups: int) -> Tensor:
    """Rows of heads [n, H, D] as [Hkv, G * n, D]: the queries of one key head under each other."""
    rows, heads, size = x.shape
    return x.view(rows, num_groups, heads // num_groups, size).permute(1, 2, 0, 3).reshape(num_groups, -1, size)


def _unstack(stacked: Tensor, into: Tensor) -> None:
    """Write [Hkv, G * n, D] back to rows of heads [n, H, D]."""
    rows, heads, size = into.shape
    num_groups = stacked.shape[0]
    into.view(rows, num_groups, heads // num_groups, size).copy_(
        stacked.view(num_groups, heads // num_groups, rows, size).permute(2, 0, 1, 3)
    )


def _probabilities(q: Tensor, k: Tensor, future: Tensor, num_queries: int) -> Tensor:
    """Softmax of stacked queries [Hkv, G * n, D] over keys [m, Hkv, D], the last n of them causal: [Hkv, G * n, m]."""
    scores = torch.bmm(q, k.permute(1, 2, 0)).mul_(1.0 / math.sqrt(q.shape[-1]))
    square = scores.view(-1, num_queries, scores.shape[-1])[:, :, -num_queries:]
    square.add_(future[:num_queries, :num_queries])
    return torch.softmax(scores, dim=-1)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, future: Tensor, blocks: list[Block]) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        for row, document, start, end in blocks:
            keys, values = k[row, document:end], v[row, document:end]
            p = _probabilities(_stacked(q[row, start:end], k.shape[2]), keys, future, end - start)
            _unstack(torch.bmm(p, values.transpose(0, 1)), out[row, start:end])
        ctx.save_for_backward(q, k, v, future)
        ctx.blocks = blocks
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, future = ctx.saved_tensors
        batch, length, num_groups, size = k.shape
        grad = grad.contiguous()
        scale = 1.0 / math.sqrt(size)
        dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        # [B, Hkv, T, D]: a document's keys of one head are then contiguous, and products can be added in place.
        dk = torch.zeros(batch, num_groups, length, size, dtype=k.dtype, device=k.device)
        dv = torch.zeros_like(dk)
        for row, document, start, end in ctx.blocks:
            keys, values = k[row, document:end], v[row, document:end]
            queries, upstream = _stacked(q[row, start:end], num_groups), _stacked(grad[row, start:end], num_groups)
            p = _probabilities(queries, keys, future, end - start)
            dv[row, :, document:end].baddbmm_(p.transpose(1, 2), upstream)
            dp = torch.bmm(upstream, values.permute(1, 2, 0))
            dscores = torch._softmax_backward_data(dp, p, -1, p.dtype).mul_(scale)
            _unstack(torch.bmm(dscores, keys.transpose(0, 1)), dq[row, start:end])
            dk[row, :, document:end].baddbmm_(dscores.transpose(1, 2), queries)
        return dq, dk.transpose(1, 2), dv.transpose(1, 2), None, None
