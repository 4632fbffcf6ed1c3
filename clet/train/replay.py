"""Replay: a share of every batch comes from windows learned in earlier segments of the run, against forgetting.

5% of old data keep most of what a model knew when the new data are near, more is needed the further they are (Ibrahim
et al. 2024, arXiv:2403.08763: 5% for a weak shift, 25 to 50% for a strong one). Windows are drawn uniformly over all
earlier ones, by a stream named after the step: nothing about replay has to be saved to resume a run.

The share is met over steps, not in each: a batch of 8 at 5% replays one window in every 2.5 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clet import seeds

MAX_TRIES = 16  # draws for one window that hit what may not be replayed, before the batch goes without it


def count(step: int, batch: int, share: float) -> int:
    """How many of the `batch` windows of step `step` (1 is the first) are replayed: `batch * share` on average."""
    return int(step * batch * share) - int((step - 1) * batch * share)


def pick(
    sizes: Sequence[int], wanted: int, seed: int, step: int, allowed: Callable[[int, int], bool]
) -> list[tuple[int, int]]:
    """`wanted` windows as (shard index, window), uniformly over shards of `sizes` windows, without repeats.

    `allowed(shard, window)` says which may be replayed. Fewer than `wanted` where few are allowed.
    """
    total = int(sum(sizes))
    if not total or not wanted:
        return []
    starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    generator = seeds.numpy_generator(seed, f"replay/{step}")
    chosen: dict[tuple[int, int], None] = {}
    for _ in range(MAX_TRIES * wanted):
        at = int(generator.integers(total))
        shard = int(np.searchsorted(starts, at, side="right")) - 1
        window = at - int(starts[shard])
        if allowed(shard, window):
            chosen[shard, window] = None
            if len(chosen) == wanted:
                break
    return list(chosen)
