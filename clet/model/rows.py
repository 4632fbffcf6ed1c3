"""What a layer does between its matrix products, as kernels over rows: each value is read once and written once.

On a CPU a small model spends a third of a step in passes over memory: RMSNorm, rotation and SwiGLU are ten to twenty
of torch's operations each, forward and backward. Here each is one kernel a direction, compiled by numba for this
machine, that splits the rows into as many parts as its last argument says and has a thread for each. Sums over rows
(the gradients of norms' weights) are taken by part, so they have the same bits whenever the number of parts is the
same. Arguments are contiguous float32 tensors on the CPU.

Exponentials are Cephes' polynomial of degree 6 after a reduction by powers of two (Moshier 1989), within 2 units in
the last place of float32, which LLVM vectorises where it cannot vectorise a call of libm. Sums may be reassociated,
but nothing may assume that there is no infinity or NaN: the breaker has to see them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from clet.kernels import njit, prange

LANES = 64
FAST = {"contract", "reassoc", "nsz", "arcp"}
EXACT = {"contract", "nsz"}  # where a difference of two parts of ln 2 must not be folded

_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_ONE, _HALF, _ZERO = np.float32(1.0), np.float32(0.5), np.float32(0.0)


try:
    from numba.np.ufunc import omppool  # noqa: F401
except ImportError:  # no libgomp on this machine; numba's own pool of threads may be used by one caller at a time
    MAX_THREADS = 1
else:
    MAX_THREADS = numba.config.NUMBA_NUM_THREADS
    numba.config.THREADING_LAYER = "omp"


def split(fastmath: set[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a kernel whose last argument is a number of parts, for one thread and for several."""

    def compiled(function: Callable[..., None]) -> Callable[..., None]:
        alone = njit(function, fastmath=fastmath)
        together = njit(function, fastmath=fastmath, parallel=True)

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            arrays = [a.detach().numpy() if isinstance(a, torch.Tensor) else a for a in arguments]
            threads = min(arguments[-1], MAX_THREADS)
            if threads == 1:
                return alone(*arrays)
            numba.set_num_threads(threads)
            return together(*arrays)

        return call

    return compiled


@intrinsic
def _as_float32(_context, value):
    """The float32 with these bits."""

    def build(_cg, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


@njit(inline="always")
def _exp(x):
    x = _LOWEST if x < _LOWEST else x  # in this order NaN stays NaN
    x = _HIGHEST if x > _HIGHEST else x
    power = np.floor(x * _LOG2E + _HALF)
    r = x - power * _LN2_HIGH - power * _LN2_LOW
    y = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    return (y * r * r + r + _ONE) * _as_float32(np.int32((np.int32(power) + np.int32(127)) << np.int32(23)))


@split(EXACT)
def swiglu(gate, up, out, parts):
    """out = silu(gate) * up, all [N, C]."""
    rows = len(gate)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            for c in range(gate.shape[1]):
                g = gate[row, c]
                out[row, c] = g / (_ONE + _exp(-g)) * up[row, c]


@split(EXACT)
def swiglu_backward(gate, up, dout, out, dgate, parts):
    """From gate, up and dout [N, C]: `out` anew, `dgate`, and d(up) written over `dout`."""
    rows = len(gate)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            for c in range(gate.shape[1]):
                g, u, d = gate[row, c], up[row, c], dout[row, c]
                s = _ONE / (_ONE + _exp(-g))
                silu = g * s
                out[row, c] = silu * u
                dgate[row, c] = d * u * (s + silu * (_ONE - s))
                dout[row, c] = d * silu


@split(FAST)
def norm(x, weight, eps, out, scales, parts):
    """RMSNorm of rows [N, C]: out = x * scale * weight, with the `scales` [N]."""
    rows, size = x.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            total = _ZERO
            for c in range(size):
                total += x[row, c] * x[row, c]
            scale = _ONE / np.sqrt(total / np.float32(size) + eps)
            scales[row] = scale
            for c in range(size):
                out[row, c] = x[row, c] * scale * weight[c]


@split(FAST)
def add_norm(x, y, weight, eps, added, out, scales, parts):
    """added = x + y, and the RMSNorm of that."""
    rows, size = x.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            total = _ZERO
            for c in range(size):
                value = x[row, c] + y[row, c]
                added[row, c] = value
                total += value * value
            scale = _ONE / np.sqrt(total / np.float32(size) + eps)
            scales[row] = scale
            for c in range(size):
                out[row, c] = added[row, c] * scale * weight[c]


@split(FAST)
def norm_backward(x, weight, scales, dout, dpast, dx, dweight, parts):
    """dx = dpast + the gradient through the norm; dweight [parts, C] must be zero.

    With u = dout * weight and n = x * scale: dx = scale * (u - n * mean(u * n)).
    """
    rows, size = x.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            scale, dot = scales[row], _ZERO
            for c in range(size):
                along = dout[row, c] * x[row, c] * scale
                dweight[part, c] += along
                dot += along * weight[c]
            dot *= scale / np.float32(size)
            for c in range(size):
                dx[row, c] = dpast[row, c] + scale * (dout[row, c] * weight[c] - x[row, c] * dot)


@split(FAST)
def turn(x, weight, eps, cos, sin, out, parts):
    """RMSNorm of each head x [N, H, D] by weight [D], then its rotation by cos and sin [L, D/2] of token n % L."""
    rows, heads, size = x.shape
    half, length = size // 2, len(cos)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            at = row % length
            for head in range(heads):
                total = _ZERO
                for c in range(size):
                    total += x[row, head, c] * x[row, head, c]
                scale = _ONE / np.sqrt(total / np.float32(size) + eps)
                for c in range(half):
                    a = x[row, head, c] * scale * weight[c]
                    b = x[row, head, half + c] * scale * weight[half + c]
                    out[row, head, c] = a * cos[at, c] - b * sin[at, c]
                    out[row, head, half + c] = b * cos[at, c] + a * sin[at, c]


@split(FAST)
def turn_backward(x, weight, eps, cos, sin, dout, dx, dweight, parts):
    """The gradients of `turn`; dweight [parts, D] must be zero."""
    rows, heads, size = x.shape
    half, length = size // 2, len(cos)
    for part in prange(parts):
        back = np.empty(size, np.float32)
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            at = row % length
            for head in range(heads):
                total, dot = _ZERO, _ZERO
                for c in range(size):
                    total += x[row, head, c] * x[row, head, c]
                scale = _ONE / np.sqrt(total / np.float32(size) + eps)
                for c in range(half):
                    a, b = dout[row, head, c], dout[row, head, half + c]
                    back[c] = a * cos[at, c] + b * sin[at, c]
                    back[half + c] = b * cos[at, c] - a * sin[at, c]
                for c in range(size):
                    along = back[c] * x[row, head, c] * scale
                    dweight[part, c] += along
                    dot += along * weight[c]
                dot *= scale / np.float32(size)
                for c in range(size):
                    dx[row, head, c] = scale * (back[c] * weight[c] - x[row, head, c] * dot)


@split(EXACT)
def cross_entropy(logits, targets, losses, parts):
    """Losses [N] of logits [N, V] against targets [N]; the logits become softmax(logits) - onehot(target)."""
    rows, size = logits.shape
    whole = size // LANES * LANES
    for part in prange(parts):
        lanes = np.empty(LANES, np.float32)
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            right = logits[row, targets[row]]
            # A maximum, and a sum that may not be reassociated, are vectors only if they are written as such.
            lanes[:] = logits[row, 0]
            for c in range(0, whole, LANES):
                for lane in range(LANES):
                    x = logits[row, c + lane]
                    lanes[lane] = x if x > lanes[lane] else lanes[lane]
            for c in range(whole, size):
                x = logits[row, c]
                lanes[0] = x if x > lanes[0] else lanes[0]
            top = lanes.max()
            lanes[:] = _ZERO
            for c in range(0, whole, LANES):
                for lane in range(LANES):
                    x = _exp(logits[row, c + lane] - top)
                    logits[row, c + lane] = x
                    lanes[lane] += x
            for c in range(whole, size):
                x = _exp(logits[row, c] - top)
                logits[row, c] = x
                lanes[0] += x
            total = lanes.sum()
            losses[row] = np.log(total) - (right - top)
            scale = _ONE / total
            for c in range(size):
                logits[row, c] *= scale
            logits[row, targets[row]] -= _ONE
