"""Replay: a share of every batch comes from windows learned in earlier segments of the run, against forgetting.

5% of old data keep most of what a model knew when the new data are near, more is needed the further they are (Ibrahim
et al. 2024, arXiv:2403.08763: 5% for a weak shift, 25 to 50% for a strong one).

Windows are drawn from all earlier ones in proportion to what they are worth: the score that `clet prioritize` gave
their documents. That is what a weighted reservoir of one slot for each window wanted would hold after a pass over the
whole past (A-Res of Efraimidis and Spirakis 2006, Information Processing Letters 97: draws without replacement, each
in proportion to the weights of what is left). A reservoir is for a stream that is seen once. Here the past lies in
shards that can be read at any place, so a draw costs no pass, no slots and no state: a uniform place is taken with the
probability that its worth says and else drawn anew (rejection, von Neumann 1951). The random numbers are those of a
stream named after the step: nothing about replay has to be saved to resume a run.

Time: 1 / mean worth lookups a window, at most 16 on average. Memory: 8 bytes a shard.

The share is met over steps, not in each: a batch of 8 at 5% replays one window in every 2.5 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clet import seeds

MIN_SCORE, MAX_SCORE = 1 / 16, 1.0  # scores are cut to this range: the long tail is replayed too, if seldom
UNSCORED = 0.5  # of documents that did not come through `clet prioritize`; as it takes quality that it cannot judge
MAX_TRIES = 64  # draws for one window that were not taken, before the batch goes without it


def count(step: int, batch: int, share: float) -> int:
    """How many of the `batch` windows of step `step` (1 is the first) are replayed: `batch * share` on average."""
    return int(step * batch * share) - int((step - 1) * batch * share)


def pick(
    sizes: Sequence[int], wanted: int, seed: int, stream: str, worth: Callable[[int, int], float]
) -> list[tuple[int, int]]:
    """`wanted` windows as (shard index, window) of shards of `sizes` windows, without repeats, by the numbers of the
    random stream named `stream`.

    `worth(shard, window)`, 0 to MAX_SCORE, is what its chance is in proportion to; 0 is never drawn. Fewer than
    `wanted` where few are worth anything.
    """
    total = int(sum(sizes))
    if not total or not wanted:
        return []
    starts = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
    generator = seeds.numpy_generator(seed, stream)
    chosen: dict[tuple[int, int], None] = {}
    for _ in range(MAX_TRIES * wanted):
        at, luck = int(generator.integers(total)), MAX_SCORE * float(generator.random())
        shard = int(np.searchsorted(starts, at, side="right")) - 1
        window = at - int(starts[shard])
        if (shard, window) not in chosen and luck < worth(shard, window):
            chosen[shard, window] = None
            if len(chosen) == wanted:
                break
    return list(chosen)


def mean_worth(scores: np.ndarray, lengths: np.ndarray) -> float:
    """What a window is worth whose segments of `lengths` tokens are of documents with `scores`."""
    return float(np.average(scores.clip(MIN_SCORE, MAX_SCORE), weights=lengths))
