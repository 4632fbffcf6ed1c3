"""Attention inside the documents of packed windows on CUDA, by FlexAttention (Dong et al. 2024, arXiv:2412.05496).

A mask over whole windows sends torch's attention to a kernel that skips nothing and reads T^2 bytes. FlexAttention
compiles one kernel for the rule "not after the query, and of its document", and is told which blocks of 128 x 128 the
rule leaves empty: those are neither read nor computed, so time follows the documents. Against kernels for sequences of
varying length (`torch.nn.attention.varlen`) it takes float32 as well as bfloat16, keeps windows as they are, and its
forward pass can be checked without a GPU: uncompiled it computes the same on any device, if slowly. Where triton is
not installed nothing can be compiled, and the mask is used.

Cost: the blocks of a batch, made once for all layers, from T^2 booleans a window; compiling at the first step.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def is_here(device: torch.device) -> bool:
    """Whether FlexAttention can be compiled for this device."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def document_mask(segments: Tensor) -> BlockMask:
    """What the queries of packed windows may see, from segments [B, T]."""

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (segments[row, query] == segments[row, key])

    batch, length = segments.shape
    return create_block_mask(visible, batch, None, length, length, device=segments.device)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask, *, grouped: bool) -> Tensor:
    """Attend q [B, H, T, D] over k, v [B, Hkv, T, D] where the mask lets it: [B, H, T, D]."""
    kernel = flex_attention if torch.compiler.is_compiling() or q.device.type == "cpu" else _compiled()
    return kernel(q, k, v, block_mask=mask, enable_gqa=grouped)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)
