"""The cooldown branch of a release: a copy of the state learns on for a few steps while its rate goes to nothing.

A run's own rate never falls below its constant, so that it never has to be warmed up again; a model is better where
the rate was taken to zero. A branch gives the release that without the run's paying for it (infinite schedules:
arXiv:2403.08763; constant rate and cooldown, Haegele et al. 2024, arXiv:2405.18392, whose 1-sqrt form is used). The
released weights are the branch's; the run goes on from before it.

The branch reads nothing new: its windows are drawn from those the run has learned, of the newest segment without
repeats in an order of the branch's own, mixed with earlier ones in the run's share of replay. So the lineage of a
release is that of the run, and every window stays handed out once. The draws follow from the state and the seed, so a
run killed in a branch makes the same release.

It has at most SHARE of the steps made since the release before: a short segment is not learned by heart. Cost: its
steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from clet import seeds
from clet.train import replay
from clet.train.feed import Draw, Position, Segment, Shard, Skip, replayed_windows, whole_shards
from clet.train.learned import Learned

SHARE = 0.2  # of the steps since the release before; 10 to 20% of a run in arXiv:2405.18392


def num_steps(wanted: int, since: int) -> int:
    """Steps of a branch, `since` steps after the release before: at most `wanted`."""
    return min(wanted, math.ceil(SHARE * since))


def rate_factor(step: int, steps: int) -> float:
    """What the rate is multiplied by in step `step` (1 is the first) of `steps`: 1 - sqrt, zero behind the last."""
    return 1.0 - math.sqrt(step / (steps + 1))


def draws(
    segments: Sequence[Segment],
    learned: Learned,
    at: Position,
    steps: int,
    *,
    batch: int,
    share: float,
    seed: int,
    skip: Skip,
    gone: Collection[str],
    worth: Callable[[str, int], float],
) -> Iterator[Draw]:
    """The draws of a branch of `steps` steps that leaves the run at `at`; they count on from its step.

    All their windows are replayed ones.
    """
    newest = max((s.number for s in segments if any(_learned(shard, learned).size for shard in s.shards)), default=0)
    out = skip(newest)
    present = [
        window
        for shard in segments[newest].shards
        if shard.root not in gone
        for index in _learned(shard, learned).tolist()
        if (window := (shard.root, index)) not in out
    ]
    earlier = whole_shards(segments[:newest], gone)
    name = f"cooldown/{at.step}"
    order = seeds.numpy_generator(seed, name).permutation(len(present))
    taken = 0
    for step in range(1, steps + 1):
        wanted = replay.count(step, batch, share) if earlier else 0
        old = replayed_windows(earlier, wanted, seed, f"{name}/{step}", skip(newest - 1), worth)
        new = [present[order[i % len(order)]] for i in range(taken, taken + batch - len(old))] if present else []
        taken += batch - len(old)
        yield Draw((), (*dict.fromkeys(new), *old), Position(at.segment, at.offset, at.step + step))


def _learned(shard: Shard, learned: Learned) -> np.ndarray:
    """Which windows of a shard of a segment were learned."""
    indices = np.asarray(shard.indices, np.int64)
    return indices[learned.windows[shard.root][indices] != 0]
