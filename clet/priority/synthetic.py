"""How likely a text was written by a machine, as a bounded down-weight: never a reason to drop.

The likelihood is that of a model of `clet.priority.classifier` that the user fits on texts by people and by machines
(`clet judge fit --kind synthetic --good PEOPLE --bad MACHINES`); without one there is no such score, and every weight
is 1. No model is shipped: what gives a machine away is its habits of wording, which differ by generator and by year,
and a model that is not fitted on one's own kind of text is little better than chance at a rate of false alarms that
one can live with.

Below the threshold, the likelihood that THRESHOLD_RATE of held-out texts by people exceed, the weight is 1; above it
it falls to 1 - STRENGTH, at most. So of the texts by people one in a hundred loses at most half of its weight, and
none its place for good.

What it can see, measured on generators that were not in the training set (clet-performance(7)): most text of chat
models, nearly none that base models sample. Counts of repetition and burstiness (variation of sentence lengths, words
that occur once) were tried as further features: they added little for known generators and cost accuracy for unknown
ones. Who rewrites a machine's text, or asks it for another style, is not seen.

Cost: that of the classifier.
"""

from __future__ import annotations

import numpy as np

STRENGTH = 0.5  # what the most suspicious text loses
THRESHOLD_RATE = 0.01  # of texts by people, that may lose anything


def threshold(likelihood_of_people: np.ndarray) -> float:
    """The likelihood that THRESHOLD_RATE of texts by people exceed; of few texts, the highest."""
    return float(np.quantile(likelihood_of_people, 1 - THRESHOLD_RATE, method="higher"))


def weight(likelihood: np.ndarray, threshold: float) -> np.ndarray:
    """What a score is multiplied by, `[n]` in [1 - STRENGTH, 1]; 1 where there is no likelihood (NaN)."""
    excess = np.clip((likelihood - threshold) / max(1 - threshold, 1e-9), 0, 1)
    return 1 - STRENGTH * np.where(np.isnan(likelihood), 0, excess)
