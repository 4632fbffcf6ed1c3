"""Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245), with Qwen3's RMSNorm on queries and keys.

Causal over a whole window when it holds one document; within packed windows causal and inside the same document only,
exactly: on a CPU document by document (`clet/model/flash.py` in training, else `clet/model/packed.py`), on CUDA by
FlexAttention (`clet/model/flex.py`), else by a mask [B, 1, T, T] of one byte an entry; each made once for all layers.
With a cache, keys and values of earlier calls come from `clet/model/cache.py`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from clet.model import flex, fused
from clet.model.cache import CacheView
from clet.model.config import ModelConfig
from clet.model.documents import Documents, whole_windows
from clet.model.flex import document_mask
from clet.model.norm import RMSNorm
from clet.model.packed import packed_attention
from clet.model.rotary import rotate

# What a query may see in its window: everything before it (None), an exact mask, or its document.
Scope = Tensor | Documents | BlockMask | None


def attention_scope(segments: Tensor) -> Scope:
    """What the queries of packed windows may see, from segments [B, T], made once for all layers."""
    if bool((segments == segments[:, :1]).all()):
        return None
    if segments.device.type == "cpu":
        documents = Documents.of(segments)
        return segment_mask(segments) if documents is None else documents
    return document_mask(segments) if flex.is_here(segments.device) else segment_mask(segments)


def attend_documents(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """Attend q [B, T, H, D] over k, v [B, T, Hkv, D] within documents, on a CPU: [B, T, H, D]."""
    out = fused.attend(q, k, v, documents) if fused.fits(q) else None
    return packed_attention(q, k, v, documents) if out is None else out


def segment_mask(segments: Tensor) -> Tensor:
    """segments [B, T] -> bool [B, 1, T, T], True where a query (third dimension) may see a key (last)."""
    same = segments.unsqueeze(2) == segments.unsqueeze(1)
    return same.tril_().unsqueeze(1)


class Attention(nn.Module):
    """Self-attention of one layer; parameters are named as in Hugging Face's `self_attn`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.qkv_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.attention_output_bias)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.grouped = config.num_kv_heads != config.num_heads
        self.attend_documents = attend_documents  # a compiler is given it as one piece, see `Decoder.compile_layers`

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, scope: Scope, cache: CacheView | None) -> Tensor:
        """x [B, T, hidden] -> [B, T, hidden]; cos and sin broadcast against [B, T, H, D/2]."""
        q, k, v = self._heads(x, cos, sin)
        if cache is not None:
            return self.o_proj(cache.attend(self.layer, q, k, v).flatten(2))
        if isinstance(scope, Documents):
            return self.o_proj(self.attend_documents(q, k, v, scope).flatten(2))
        if scope is None and fused.fits(x):
            out = fused.attend(q, k, v, whole_windows(*x.shape[:2]))
            if out is not None:
                return self.o_proj(out.flatten(2))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, H, T, D]
        if isinstance(scope, BlockMask):
            return self.o_proj(flex.attend(q, k, v, scope, grouped=self.grouped).transpose(1, 2).flatten(2))
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=scope,
            is_causal=scope is None and x.shape[1] > 1,
            enable_gqa=self.grouped,
        )
        return self.o_proj(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normalised if the model does so and rotated, and values: [B, T, H, D]."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        if self.q_norm is not None and cos.ndim == 3 and fused.fits(x) and fused.is_plain(*projections):
            weights = self.q_proj.weight, self.k_proj.weight, self.v_proj.weight
            return fused.heads(x, weights, (self.q_norm.weight, self.k_norm.weight), self.q_norm.eps, cos, sin)
        shape = (x.shape[0], x.shape[1], -1, self.head_dim)
        q, k, v = (projection(x).view(shape) for projection in projections)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        return rotate(q, cos, sin), rotate(k, cos, sin), v
