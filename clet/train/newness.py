"""Data of a new kind: text that the model does not know yet, told from tokens that nothing can be learned from.

A model that has learned English meets its first Arabic at a loss above that of knowing nothing, and gains nothing from
context. So it does on random or permuted tokens. What tells the two apart is in the data: in text of any language a
token follows the same tokens again and again, more often than chance brings them together. Its *own order* is
kappa = (observed - chance) / (1 - chance) (Cohen 1960), where observed is the share of tokens that come again behind
the same context, and chance the same of tokens that stand far from that context. The context is the token before, or
up to MAX_CONTEXT of them where in a small alphabet all pairs come again anyhow (chance above CROWDED).

Measured on 512 to 4,096 tokens with vocabularies of 257 (bytes) to 151,643, on average: English 0.24 to 0.52, German
0.10 to 0.48, Chinese 0.19 to 0.66, Arabic 0.37 to 0.60, program text 0.32 to 0.54; permuted text, random tokens,
base64 and hexadecimal digits -0.01 to 0.09; documents that go on in random tokens after a real beginning of up to 64
0.06 to 0.13.

A segment is of a new kind from its first step on until the model has understood UNDERSTOOD steps in a row. While it is,
an objection that data of a new kind raise as well (see `spikes`) is a doubt. It does not hold where the windows that
are strange to the model (`strangest`) have so far at least ORDERLY of the usual order, and the model still knows what
it had learned before: at the first doubt in a segment nearly as well as then (KNOWN), while the new is much stranger to
it; later at least half of it, since what is new makes a model forget. Were the fault in its weights it would not.

State: a few numbers, saved with the run. Cost: four to ten sorts of at most MAX_PAIRS numbers a step, 0.3 to 0.6 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ORDERLY = 0.5
LEAST = 0.03  # usual order below that says nothing
UNDERSTOOD = 16
MAX_PAIRS = 4096
MIN_PAIRS = 200
KNOWN = 0.15  # of what was known may be lost when a segment is first taken to be of a new kind
MAX_CONTEXT = 4
CROWDED = 0.5
ALPHA = 1 - 0.5 ** (1 / 16)


def own_order(before: np.ndarray, after: np.ndarray) -> float | None:
    """Kappa of tokens `after`, each behind its `before`, in their order. None of fewer than MIN_PAIRS."""
    previous, after = before[:MAX_PAIRS].astype(np.uint64), after[:MAX_PAIRS].astype(np.uint64)
    if len(previous) < MIN_PAIRS:
        return None
    far = np.roll(after, len(after) // 2)
    context = previous
    for length in range(1, MAX_CONTEXT + 1):
        if (chance := _repeated(context, far)) <= CROWDED or length == MAX_CONTEXT:
            break
        context = _hashed(context, np.roll(previous, length))
    return (_repeated(context, after) - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def _repeated(contexts: np.ndarray, tokens: np.ndarray) -> float:
    """The share of tokens that come again behind the same context."""
    keys = np.sort(_hashed(contexts, tokens))
    same = keys[1:] == keys[:-1]
    return float((np.append(same, False) | np.append(False, same)).mean())


def _hashed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One number for two; of some thousand pairs no two have the same."""
    mixed = second * np.uint64(0xBF58476D1CE4E5B9)  # the constants of splitmix64 (Steele et al. 2014)
    return (first * np.uint64(0x9E3779B97F4A7C15)) ^ mixed ^ (mixed >> np.uint64(31))


def strangest(losses: Sequence[float], nothing: float) -> np.ndarray:
    """Which windows of a step are the strangest: worse than knowing nothing, or the half with the higher losses.

    Windows that teach nothing have a loss that is not a number, and are none of them.
    """
    found = np.asarray(losses)
    if np.isnan(found).all():
        return np.ones(len(found), bool)
    above = found > nothing
    return above if above.any() else found >= np.nanmedian(found)


class Newness:
    """How orderly data usually are, and whether the present segment is of a kind that the model does not know yet."""

    def __init__(self) -> None:
        self._usual: float | None = None
        self._segment = -1
        self._sum, self._count = 0.0, 0  # of the order of its strange windows, while they were strange
        self._understood = 0  # steps in a row
        self._accepted = False

    def explains(self, segment: int, order: float | None) -> bool:
        """Whether a step of `segment` may be strange since its kind is new; `order` is that of its strange windows."""
        if self._usual is None or self._usual < LEAST or order is None:
            return False
        if segment != self._segment:
            return order >= ORDERLY * self._usual
        return self._understood < UNDERSTOOD and (self._sum + order) / (self._count + 1) >= ORDERLY * self._usual

    def accepts(self, segment: int, loss: float, then: Sequence[float], still: Sequence[float], nothing: float) -> bool:
        """Whether a model that gives strange windows of `segment` this loss knows what it knew; remembered if so.

        Windows learned before the segment had losses `then`, and have `still`; `nothing` is that of knowing nothing.
        """
        if not then:
            return False
        before, now = float(np.mean(then)), float(np.mean(still))
        known = max(0.0, nothing - before)
        if self._accepted and segment == self._segment:
            return now < before + 0.5 * known
        if now > before + KNOWN * known or loss < 0.5 * (now + nothing):
            return False
        self._begin(segment)
        self._accepted = True
        return True

    def add(self, segment: int, order: float | None, strange: float | None, *, understood: bool) -> None:
        """Take in a step that is made: the own order of its data, and that of its strange windows."""
        self._begin(segment)
        if self._understood < UNDERSTOOD:
            self._understood = self._understood + 1 if understood else 0
        if understood and order is not None:
            self._usual = order if self._usual is None else self._usual + ALPHA * (order - self._usual)
        if not understood and strange is not None:
            self._sum, self._count = self._sum + strange, self._count + 1

    def _begin(self, segment: int) -> None:
        if segment != self._segment:
            self._segment, self._sum, self._count, self._understood = segment, 0.0, 0, 0
            self._accepted = False

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""
        return {
            "usual": self._usual,
            "segment": self._segment,
            "sum": self._sum,
            "count": self._count,
            "understood": self._understood,
            "accepted": self._accepted,
        }

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self._usual, self._segment, self._accepted = state["usual"], state["segment"], state["accepted"]
        self._sum, self._count, self._understood = state["sum"], state["count"], state["understood"]
