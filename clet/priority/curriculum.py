"""The curriculum: easy documents first while a model is young, by value alone from then on.

Ordering by difficulty helps while a model learns the language, and costs later, when what is hard is what is new; the
published gains (18 to 45% fewer steps: 2506.11300) are of warm-ups. So, with w falling from 1 to 0 while the run learns
its first `warmup` tokens,

    rank by value ** (1 - w) * ease ** w

where ease is 1 for the least dense documents (bits a token, `clet.priority.novelty`) and falls to FLOOR for those two
deviations above the mean. At w = 0 nothing changes.
"""

from __future__ import annotations

import numpy as np

FLOOR = 0.05


def weight(learned: int, warmup: int) -> float:
    """w, after `learned` tokens."""
    return max(0.0, 1.0 - learned / warmup) if warmup > 0 else 0.0


def ease(bits: np.ndarray, mean: float, sigma: float) -> np.ndarray:
    """How easy documents of `bits` a token `[n]` are, in [FLOOR, 1], where the usual is mean with a deviation sigma."""
    z = (bits - mean) / sigma if sigma > 0 else np.zeros(len(bits))
    return np.clip(0.5 - z / 4, FLOOR, 1.0)


def staged(value: np.ndarray, easy: np.ndarray, w: float) -> np.ndarray:
    """What documents are ranked by `[n]`."""
    return value if w == 0.0 else value ** (1.0 - w) * easy**w
