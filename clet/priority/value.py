"""The value of a document: the product of what speaks for it, each factor between a floor and 1.

    value = quality x credibility x novelty x freshness x likelihood of a human author x factors of the policy

A product, because each can spoil a document alone and none can make up for another: a fresh lie stays a lie. Floors
keep any single estimate, which may be wrong, from deciding alone. A weight of the policy is an exponent: 0 takes a
factor out, 2 lets it count twice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FRESH_FLOOR = 0.25  # what recency cannot take: an old document of full quality equals a fresh one of a quarter
SIGNS_FACTOR = 0.25  # of a document with signs of injection, where the policy does not say what becomes of it


class Weights(NamedTuple):
    """Exponents of the factors."""

    quality: float = 1.0
    credibility: float = 1.0
    novelty: float = 1.0
    freshness: float = 1.0


def value(
    weights: Weights,
    quality: np.ndarray,
    credibility: np.ndarray,
    novelty: np.ndarray,
    recency: np.ndarray,
    factor: np.ndarray,
) -> np.ndarray:
    """The value `[n]` in [0, 1] of documents from their factors `[n]`."""
    fresh = FRESH_FLOOR + (1 - FRESH_FLOOR) * recency
    out = factor.astype(np.float64)
    for part, weight in (
        (quality, weights.quality),
        (credibility, weights.credibility),
        (novelty, weights.novelty),
        (fresh, weights.freshness),
    ):
        if weight == 1.0:
            out *= part
        elif weight:
            out *= np.asarray(part, np.float64) ** weight
    return out
