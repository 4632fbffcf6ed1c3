"""How much an engine takes on: sequences at once, tokens of each, sequences that may wait.

The KV cache is the memory that grows with both: `2 * layers * kv_heads * head_dim * itemsize` bytes a token. By default
a quarter of the machine's memory at most is given to it (of a GPU's free memory two fifths), because during a swap
there are two engines.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from clet.exits import UsageError
from clet.serve.loading import Served

DEFAULT_BATCH = 32
DEFAULT_LEN = 4096
WAITING_PER_SLOT = 8
MIN_WAITING = 128  # one evaluation request of many prompts must fit
CPU_SHARE, GPU_SHARE = 0.25, 0.4


@dataclass(frozen=True, slots=True)
class Limits:
    """Room of an engine: sequences answered at once, tokens of each (prompt and answer), sequences that may wait."""

    max_batch: int
    max_len: int
    max_waiting: int


def choose_limits(served: Served, max_batch: int | None, max_len: int | None) -> Limits:
    """What was asked for, checked; None leaves it to the model and the machine. Raises UsageError."""
    positions = served.model.config.max_positions
    if max_len is not None and max_len > positions:
        raise UsageError(f"--max-len {max_len} is more than the model's {positions} positions")
    length = max_len or min(positions, DEFAULT_LEN)
    slot_bytes = length * cache_bytes_per_token(served)
    budget = _budget_bytes(served.model.head_weight.device)
    if max_batch is None:
        max_batch = min(DEFAULT_BATCH, budget // slot_bytes)
        if not max_batch:
            raise UsageError(
                f"{length} tokens need {slot_bytes >> 20} MB of cache, {budget >> 20} MB are to be had; "
                "choose a smaller --max-len"
            )
    return Limits(max_batch, length, max(MIN_WAITING, WAITING_PER_SLOT * max_batch))


def cache_bytes_per_token(served: Served) -> int:
    """Memory of one token's keys and values, in bytes."""
    config = served.model.config
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * served.model.head_weight.element_size()


def _budget_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE)
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * CPU_SHARE)
