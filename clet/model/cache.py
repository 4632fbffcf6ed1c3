"""Keys and values of running sequences, for continuous batching (Orca, OSDI 2022) in fixed slots.

One preallocated block [layers, slots, kv_heads, max_len, head_dim] for keys and one for values:
`2 * layers * slots * kv_heads * max_len * head_dim * itemsize` bytes, no growth, no fragmentation. A sequence owns one
slot from its first chunk of prompt to its last token; freeing a slot costs nothing, because the length of a sequence
is the caller's and nothing beyond it is ever read.

A call of the decoder works on a *view*: some slots, each at its own length, and the same number of new tokens for each,
padded at the right where a row has fewer (`counts`). That one shape covers prefill of several prompts, a further chunk
of a long prompt, and a decode step over any subset of slots:

    view = cache.view(slots=[3, 0], lengths=[17, 4])             # 17 and 4 tokens are cached already
    logits = decoder(ids, cache=view, last_only=True)            # ids [2, T]; afterwards they are 17 + T and 4 + T

Attention is exact: a query sees the keys of its own slot up to its own position, and padding never enters the cache.
On a CPU rows are attended one by one over views of the cache, without copying it: short sequences do not pay for
long ones, and a row's attention does not depend on its neighbours. Elsewhere a decode step gathers its slots and
masks them in one launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clet.model.config import ModelConfig


class KVCache:
    """Room for `num_slots` sequences of at most `max_len` tokens each."""

    def __init__(
        self,
        config: ModelConfig,
        num_slots: int,
        max_len: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 < max_len <= config.max_positions:
            raise ValueError(f"max_len {max_len} is not within the model's {config.max_positions} positions")
        shape = (config.num_layers, num_slots, config.num_kv_heads, max_len, config.head_dim)
        self.keys, self.values = (_zeros(shape, dtype, torch.device(device)) for _ in range(2))
        self.num_slots, self.max_len = num_slots, max_len

    @property
    def num_bytes(self) -> int:
        """Memory held, in bytes."""
        return self.keys.nbytes + self.values.nbytes

    def view(self, slots: Sequence[int], lengths: Sequence[int], counts: Sequence[int] | None = None) -> CacheView:
        """The rows of the next call: row i is slot `slots[i]` with `lengths[i]` tokens cached.

        `counts[i]` is the number of real new tokens of row i, at least 1; None means that all of them are real.
        """
        return CacheView(self, slots, lengths, counts)


class CacheView:
    """What one call of the decoder may read and write; made by `KVCache.view`, used once."""

    def __init__(
        self, cache: KVCache, slots: Sequence[int], lengths: Sequence[int], counts: Sequence[int] | None
    ) -> None:
        self.cache = cache
        self.slots, self.lengths = list(slots), list(lengths)
        self.counts = None if counts is None else list(counts)
        if len(set(self.slots)) != len(self.slots) or not all(0 <= slot < cache.num_slots for slot in self.slots):
            raise ValueError(f"slots {self.slots} are not distinct slots of {cache.num_slots}")
        if len(self.lengths) != len(self.slots) or min(self.lengths, default=0) < 0:
            raise ValueError(f"{len(self.lengths)} lengths for {len(self.slots)} slots, or one below zero")

    def begin(self, num_rows: int, num_new: int) -> Tensor:
        """Check the shape [num_rows, num_new] of the call; positions [num_rows, num_new] of its tokens (int64)."""
        if self.counts is None:
            self.counts = [num_new] * num_rows
        if num_rows != len(self.slots) or len(self.counts) != num_rows:
            raise ValueError(f"{num_rows} rows of ids for {len(self.slots)} slots and {len(self.counts)} counts")
        for length, count in zip(self.lengths, self.counts, strict=True):
            if not 1 <= count <= num_new or length + count > self.cache.max_len:
                raise ValueError(f"{length} + {count} of {num_new} new tokens do not fit in {self.cache.max_len}")
        device = self.cache.keys.device
        positions = self._lengths_tensor[:, None] + torch.arange(num_new, device=device)
        # Padding may point past the end; it is attended by nobody, so any valid position will do.
        return positions.clamp_(max=self.cache.max_len - 1)

    def last_rows(self) -> Tensor:
        """Index of the last real new token of each row: int64 [rows]."""
        return torch.tensor(self.counts, device=self.cache.keys.device) - 1

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k, v [S, T, Hkv, D] of one layer and attend q [S, T, H, D] over all that is cached: [S, T, H, D]."""
        if q.shape[1] > 1:
            return self._attend_rows(layer, q, k, v)
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[self._slots_tensor, :, self._lengths_tensor] = k[:, 0].to(keys.dtype)
        values[self._slots_tensor, :, self._lengths_tensor] = v[:, 0].to(values.dtype)
        # The queries that share a key head stand where a sequence stands: [S, Hkv, G, D]. No key is repeated.
        grouped = q.view(q.shape[0], keys.shape[1], -1, q.shape[-1])
        decode = _decode_by_row if q.device.type == "cpu" else _decode_masked
        return decode(grouped, keys, values, self).reshape(q.shape)

    def _attend_rows(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Prefill: each row over its own cached prefix and its own real tokens; padding stays zero."""
        out = torch.zeros_like(q)
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        grouped = q.shape[2] != k.shape[2]
        for row, (slot, length, count) in enumerate(zip(self.slots, self.lengths, self.counts, strict=True)):
            end = length + count
            keys[slot, :, length:end] = k[row, :count].transpose(0, 1)
            values[slot, :, length:end] = v[row, :count].transpose(0, 1)
            mask = None
            if length and count > 1:
                mask = torch.ones(count, end, dtype=torch.bool, device=q.device).tril_(diagonal=length)
            attended = F.scaled_dot_product_attention(
                q[row : row + 1, :count].transpose(1, 2),
                keys[slot : slot + 1, :, :end].to(q.dtype),
                values[slot : slot + 1, :, :end].to(q.dtype),
                attn_mask=mask,
                is_causal=length == 0 and count > 1,
                enable_gqa=grouped,
            )
            out[row, :count] = attended[0].transpose(0, 1)
        return out

    @cached_property
    def _slots_tensor(self) -> Tensor:
        return torch.tensor(self.slots, device=self.cache.keys.device)

    @cached_property
    def _lengths_tensor(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.cache.keys.device)

    @cached_property
    def decode_mask(self) -> Tensor:
        """Keys visible to one new token of each row: bool [S, 1, 1, longest]."""
        longest = max(self.lengths) + 1
        steps = torch.arange(longest, device=self.cache.keys.device)
        return (steps <= self._lengths_tensor[:, None])[:, None, None]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros and not empty: a masked key has weight 0, and 0 times a stray NaN would be NaN.

    On a CPU numpy gives pages that the system zeroes when they are first touched; torch.zeros would make the whole
    cache resident at once (1 GB for 1 GB, against 1 MB measured).
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def _decode_by_row(q: Tensor, keys: Tensor, values: Tensor, view: CacheView) -> Tensor:
    """One token a row over a view of its slot: nothing copied, nothing masked. q [S, Hkv, G, D]."""
    out = torch.empty_like(q)
    for row, (slot, length) in enumerate(zip(view.slots, view.lengths, strict=True)):
        visible = (slice(slot, slot + 1), slice(None), slice(0, length + 1))
        out[row] = F.scaled_dot_product_attention(
            q[row : row + 1], keys[visible].to(q.dtype), values[visible].to(q.dtype)
        )[0]
    return out


def _decode_masked(q: Tensor, keys: Tensor, values: Tensor, view: CacheView) -> Tensor:
    """One token a row in one call: the slots gathered up to the longest, the rest masked. q [S, Hkv, G, D]."""
    longest = max(view.lengths) + 1
    gathered = [block[:, :, :longest][view._slots_tensor].to(q.dtype) for block in (keys, values)]
    return F.scaled_dot_product_attention(q, *gathered, attn_mask=view.decode_mask)
