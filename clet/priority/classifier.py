"""A linear model over hashed words and pairs of words: what kind of text is this like?

As in DCLM (Li et al. 2024, 2406.11794) the cheapest model that ranks documents well is a linear one over 1- and
2-grams, fastText's (Joulin et al. 2016, 1607.01759), fitted on texts one wants more and less of. Here the features are
keys of words (`clet.priority.words`), so that a model depends on no tokenizer, hashed into one table of 2^BITS slots
(Weinberger et al. 2009); a document's value is the sum of its features' weights over the square root of their number,
which keeps long and short documents comparable. Fitted by AdaGrad (Duchi et al. 2011) on the logistic loss, a pass an
epoch, in an order that the seed decides: the same texts and seed give the same file, bit for bit. Weights are stored
as int16.

A held-out part of the documents is never trained on. It calibrates the output by Platt's sigmoid (1999), so that of the
documents with 0.8 about 80% are good, and measures what the manifest states: AUC and the calibration error. Half of it
calibrates, the other half measures.

Cost: two random reads of a 2 MB table a word, 2 ns a token; fitting 0.1 us a word and epoch, memory 24 MB and the keys
of at most MAX_WORDS words of each document on disk. When not: where good and bad differ in truth, not in wording.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf
from clet.priority.keys import mixed

BITS = 20
SLOTS = 1 << BITS
MAX_WORDS = 4096  # of a document that training looks at

_U = np.uint64
_PAIR = _U(0x8EBC6AF09C88C6E3)
_MASK = _U(SLOTS - 1)


@leaf(forceinline=True)
def single(key):
    """The slot of a word."""
    return mixed(key) & _MASK


@leaf(forceinline=True)
def pair(key, after):
    """The slot of a word and the one behind it."""
    return mixed(key * _PAIR + after) & _MASK


@leaf
def sum_weights(keys, count, weights, sums):
    """Add to `sums` `[models]` the weights `[models, SLOTS]` int16 of the words and pairs of a text."""
    for model in range(len(weights)):
        total = np.int64(0)
        for i in range(count):
            total += weights[model, single(keys[i])]
        for i in range(count - 1):
            total += weights[model, pair(keys[i], keys[i + 1])]
        sums[model] += total


def feature_count(units: np.ndarray) -> np.ndarray:
    """How many words and pairs texts of so many units have, at least 1."""
    return np.maximum(2 * units - 1, 1)
