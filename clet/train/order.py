"""Does the order of tokens still say anything? What a model gains over one that knows only how frequent tokens are.

The *gain* of a step is the loss of a unigram model of the stream (or of one that knows nothing at all, where that is
lower: on tokens seldom seen), less the model's own, over the same tokens. A trained
model gains from context on text of any kind, new kinds included, where the unigram model is at a loss too. It gains
nothing on tokens that were permuted, or random ones behind a trigger: context misleads it there. So unlike the loss
the gain needs no new level when data of another kind arrive, and watches the first steps of a new segment as well.

The unigram model is counted from what was learned, older tokens weighing less (half after HALF_LIFE tokens). A step
is low when its gain is below LOW of the usual, and further from it than FAR times what gains stray from step to step
(of few tokens they stray widely); LOW_STEPS low ones in a row trip. False alarms: whole batches on which
a trained model gains next to nothing, thrice in a row; of text none is known, of tables of numbers or encoded bytes it
is what one wants to know.

What it does not see: fluent text that says something false. That is for canaries, and for `clet prioritize`.

State: 8 bytes an id of the vocabulary, saved with the run. Cost: two passes over it a step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

HALF_LIFE = 1 << 22  # tokens
SMOOTHING = 0.5
LOW = 0.25
LOW_STEPS = 3
FAR = 5.0
TO_SIGMA = 1 / 1.128  # of one value, from the mean absolute difference of two, if normal
MIN_GAIN = 0.4  # nats: a usual gain below that is of a model that has learned little
ALPHA = 1 - 0.5 ** (1 / 16)
MIN_TOKENS = 2000.0  # before so many are counted there is no gain to speak of


class Unigram:
    """Token frequencies of what was learned."""

    def __init__(self, vocab_size: int):
        self.counts = np.zeros(vocab_size)

    def losses(self, ids: np.ndarray) -> np.ndarray:
        """Nats of each id."""
        total = self.counts.sum() + SMOOTHING * len(self.counts)
        return np.log(total) - np.log(self.counts[ids] + SMOOTHING)

    def gain(self, ids: np.ndarray, loss: float) -> float | None:
        """What a model with mean `loss` on `ids` gains over this one; None while little was counted."""
        if self.counts.sum() < MIN_TOKENS or not len(ids):
            return None
        return min(float(self.losses(ids).mean()), math.log(len(self.counts))) - loss

    def add(self, ids: np.ndarray) -> None:
        """Count what is learned."""
        self.counts *= 0.5 ** (len(ids) / HALF_LIFE)
        self.counts += np.bincount(ids, minlength=len(self.counts))


class UsualGain:
    """The running level of the gain, and how many steps in a row were low."""

    def __init__(self) -> None:
        self.level = 0.0
        self._low = 0
        self._last: float | None = None
        self._stray = 0.0  # mean absolute difference from step to step

    def low(self, gain: float | None) -> int:
        """How many steps in a row are low, with one of this gain."""
        far = FAR * TO_SIGMA * self._stray
        if gain is None or self.level < MIN_GAIN or gain >= min(LOW * self.level, self.level - far):
            return 0
        return self._low + 1

    def add(self, gain: float | None) -> None:
        """Take in a step that is made; low ones do not move the level."""
        self._low = self.low(gain)
        if gain is not None and not self._low:
            self.level += ALPHA * (gain - self.level)
            if self._last is not None:
                self._stray += ALPHA * (abs(gain - self._last) - self._stray)
            self._last = gain

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""
        return {"level": self.level, "low": self._low, "last": self._last, "stray": self._stray}

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self.level, self._low = state["level"], state["low"]
        self._last, self._stray = state["last"], state["stray"]
