"""Causal attention inside documents, forward and backward, for training in float32 on a CPU.

Exact attention by blocks, without the matrix of scores (FlashAttention-2, Dao 2023, arXiv:2307.08691): for a block of
queries of one head, the scores of the keys that it sees are a row of cache, made into probabilities there, multiplied
with the values, and made again in the backward pass from the logarithm of their sum. What the mask excludes is not
computed: 6 queries at a time see no key after the last of them, rounded up to a vector. The blocks are multiplied by
`tiles`. One thread takes a document and a key head (with the queries that share it) at a time, so results have the
same bits whatever the number of threads.

Forward and backward, one thread, against torch's causal kernel: 20 ms to 34 for 4 windows of 512 tokens, 4 heads of 64
of which 2 share keys; against `packed`, documents of 200 tokens, 9 ms to 21 for 8 x 512 of 2 heads. Memory: a copy of
one document's keys and values, their gradients, and 96 rows of scores, a thread.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clet.kernels import njit, prange
from clet.model.documents import Documents
from clet.model.rows import FAST, MAX_THREADS, split
from clet.model.tiles import LANES, PANEL, STRIP, VECTORS, multiply, multiply_add, row_exp2, row_exp2_gradient, row_max

QUERIES = 96  # of a block: a multiple of STRIP
DEPTH = 128  # keys of a block of values that stays in the first cache while all strips of queries pass
_LOG2E = math.log2(math.e)


def attend(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor | None:
    """Attend q [B, T, H, D] over k, v [B, T, Hkv, D] within documents: [B, T, H, D]; None where it would not pay.

    For float32 on a CPU, under autograd.
    """
    shares = documents.shares(k.shape[2], min(torch.get_num_threads(), MAX_THREADS))
    if q.shape[-1] % LANES or shares is None:
        return None
    return _Flash.apply(q, k, v, documents.longest, *shares)


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, longest: int, items: np.ndarray, bounds: np.ndarray) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        out, logs = torch.empty_like(q), q.new_empty(q.shape[0], q.shape[2], q.shape[1])
        parts = len(bounds) - 1
        scratch = q.new_empty(parts, _forward_places(longest, q.shape[-1])[-1])
        _forward(q, k, v, items, bounds, longest, scratch, out, logs, parts)
        ctx.save_for_backward(q, k, v, out, logs)
        ctx.shared = longest, items, bounds
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, out, logs = ctx.saved_tensors
        longest, items, bounds = ctx.shared
        gradients = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        parts = len(bounds) - 1
        scratch = q.new_empty(parts, _backward_places(longest, q.shape[-1])[-1])
        given = (q, k, v, out, logs, grad.contiguous())
        _backward(*given, items, bounds, longest, scratch, *gradients, parts)
        return *gradients, None, None, None


@njit
def _padded(length):
    return (length + PANEL - 1) // PANEL * PANEL


@njit
def _forward_places(longest, size):
    """Where in the scratch memory keys, values, queries, outputs, scores and their row's factors begin, and the end."""
    many, block = _padded(longest + STRIP) * size, QUERIES * size
    scores = 2 * many + 2 * block
    factors = scores + QUERIES * _row(longest)
    return 0, many, 2 * many, 2 * many + block, scores, factors, factors + QUERIES


@njit
def _backward_places(longest, size):
    """The same of keys by panels, by rows, values by panels, gradients of both, queries, upstream, dq, two scores."""
    many, block = _padded(longest + STRIP) * size, QUERIES * size
    scores, second = 5 * many + 3 * block, 5 * many + 3 * block + QUERIES * _row(longest)
    after = second + QUERIES * _row(longest)
    queries = 5 * many
    return 0, many, 2 * many, 3 * many, 4 * many, queries, queries + block, queries + 2 * block, scores, second, after


@njit
def _row(longest):
    """Length of a row of scores; not a power of two, whose rows would share few places of a cache."""
    return _padded(longest + STRIP + LANES) + LANES


@njit
def _pack_panels(buffer, at, x, row, start, stop, head):
    """Rows of x [B, T, H, D] as panels [D, PANEL], the last one filled with zeros."""
    size, length = x.shape[3], stop - start
    for panel in range(0, length, PANEL):
        place = at + panel * size
        for lane in range(PANEL):
            if panel + lane < length:
                for c in range(size):
                    buffer[place + c * PANEL + lane] = x[row, start + panel + lane, head, c]
            else:
                for c in range(size):
                    buffer[place + c * PANEL + lane] = 0.0


@njit
def _pack(buffer, at, x, row, start, stop, head, rows):
    """Rows of x [B, T, H, D] under each other, and zeros up to `rows` of them."""
    size, length = x.shape[3], stop - start
    for r in range(length):
        for c in range(size):
            buffer[at + r * size + c] = x[row, start + r, head, c]
    buffer[at + length * size : at + rows * size] = 0.0


@njit
def _scores(buffer, rows, strips, first, panels, length, size, out, out_row):
    """out = rows by panels: what strips of queries from `first` on see of a document of that length."""
    for panel in range(0, min(first + strips * STRIP, length), PANEL):
        for strip in range(max(0, (panel - first) // STRIP), strips):
            seen = min(first + strip * STRIP + STRIP, length) - panel
            vectors = min(VECTORS, (seen + LANES - 1) // LANES)
            at = strip * STRIP
            if vectors > 0:
                multiply(
                    buffer, rows + at * size, size, 1, panels + panel * size, PANEL, vectors,
                    out + at * out_row + panel, out_row, size,
                )  # fmt: skip


@njit
def _weighted(buffer, weights, weights_row, strips, first, x, length, size, out):
    """out [queries, D] = weights by x [keys, D], as far as each strip of queries from `first` on sees."""
    for block in range(0, min(first + strips * STRIP, length), DEPTH):
        for strip in range(strips):
            at = strip * STRIP
            depth = min(block + DEPTH, first + at + STRIP, length) - block
            if depth <= 0:
                continue
            left = weights + at * weights_row + block
            for c in range(0, size, PANEL):
                vectors = min(VECTORS, (size - c) // LANES)
                right, place = x + block * size + c, out + at * size + c
                if block == 0:
                    multiply(buffer, left, weights_row, 1, right, size, vectors, place, size, depth)
                else:
                    multiply_add(buffer, left, weights_row, 1, right, size, vectors, place, size, depth)


@njit
def _add_transposed(buffer, weights, weights_row, rows, first, x, size, out):
    """out [keys, D] += weights, transposed, by x [queries, D]; a key counts for the queries that see it."""
    for key in range(0, first + rows, STRIP):
        skip = max(0, key - first)
        left = weights + skip * weights_row + key
        for c in range(0, size, PANEL):
            vectors = min(VECTORS, (size - c) // LANES)
            multiply_add(
                buffer, left, 1, weights_row, x + skip * size + c, size, vectors, out + key * size + c, size,
                rows - skip,
            )  # fmt: skip


@split(FAST)
def _forward(q, k, v, items, bounds, longest, scratch, out, logs, parts):
    size, group = q.shape[3], q.shape[2] // k.shape[2]
    factor = np.float32(_LOG2E / math.sqrt(size))
    keys, values, queries, outs, scores, factors, _ = _forward_places(longest, size)
    wide = _row(longest)
    for part in prange(parts):
        buffer = scratch[part]
        for item in range(bounds[part], bounds[part + 1]):
            row, start, stop, key_head = items[item]
            length = stop - start
            _pack_panels(buffer, keys, k, row, start, stop, key_head)
            _pack(buffer, values, v, row, start, stop, key_head, length)
            for head in range(key_head * group, (key_head + 1) * group):
                for first in range(0, length, QUERIES):
                    num = min(QUERIES, length - first)
                    strips = (num + STRIP - 1) // STRIP
                    begin = start + first
                    _pack(buffer, queries, q, row, begin, begin + num, head, strips * STRIP)
                    _scores(buffer, queries, strips, first, keys, length, size, scores, wide)
                    for r in range(num):
                        at, seen = scores + r * wide, first + r + 1
                        top = row_max(buffer, at, seen) * factor
                        total = row_exp2(buffer, at, seen, factor, top)
                        buffer[factors + r] = np.float32(1.0) / total
                        logs[row, head, begin + r] = top + np.log2(total)
                    _weighted(buffer, scores, wide, strips, first, values, length, size, outs)
                    for r in range(num):
                        for c in range(size):
                            out[row, begin + r, head, c] = buffer[outs + r * size + c] * buffer[factors + r]


@split(FAST)
def _backward(q, k, v, out, logs, dout, items, bounds, longest, scratch, dq, dk, dv, parts):
    size, group = q.shape[3], q.shape[2] // k.shape[2]
    scale = np.float32(1.0 / math.sqrt(size))
    factor = np.float32(_LOG2E / math.sqrt(size))
    places = _backward_places(longest, size)
    panels, keys, values, dkeys, dvalues, queries, above, dqueries, scores, dscores, _ = places
    wide = _row(longest)
    for part in prange(parts):
        buffer = scratch[part]
        for item in range(bounds[part], bounds[part + 1]):
            row, start, stop, key_head = items[item]
            length = stop - start
            _pack_panels(buffer, panels, k, row, start, stop, key_head)
            _pack_panels(buffer, values, v, row, start, stop, key_head)
            _pack(buffer, keys, k, row, start, stop, key_head, length)
            for grad in (dkeys, dvalues):
                buffer[grad : grad + (length + STRIP) * size] = 0.0
            for head in range(key_head * group, (key_head + 1) * group):
                for first in range(0, length, QUERIES):
                    num = min(QUERIES, length - first)
                    strips = (num + STRIP - 1) // STRIP
                    begin = start + first
                    _pack(buffer, queries, q, row, begin, begin + num, head, strips * STRIP)
                    _pack(buffer, above, dout, row, begin, begin + num, head, strips * STRIP)
                    _scores(buffer, queries, strips, first, panels, length, size, scores, wide)
                    _scores(buffer, above, strips, first, values, length, size, dscores, wide)
                    for r in range(num):
                        mean = np.float32(0.0)
                        for c in range(size):
                            mean += buffer[above + r * size + c] * out[row, begin + r, head, c]
                        log = logs[row, head, begin + r]
                        p, d = scores + r * wide, dscores + r * wide
                        row_exp2_gradient(buffer, p, d, first + r + 1, factor, log, mean, scale)
                    _add_transposed(buffer, scores, wide, num, first, above, size, dvalues)
                    _add_transposed(buffer, dscores, wide, num, first, queries, size, dkeys)
                    _weighted(buffer, dscores, wide, strips, first, keys, length, size, dqueries)
                    for r in range(num):
                        for c in range(size):
                            dq[row, begin + r, head, c] = buffer[dqueries + r * size + c]
            for r in range(length):
                for c in range(size):
                    dk[row, start + r, key_head, c] = buffer[dkeys + r * size + c]
                    dv[row, start + r, key_head, c] = buffer[dvalues + r * size + c]
