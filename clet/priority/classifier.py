"""A linear model over hashed words and pairs of words: what kind of text is this like?

As in DCLM (Li et al. 2024, 2406.11794) the cheapest model that ranks documents well is a linear one over 1- and
2-grams, fastText's (Joulin et al. 2016, 1607.01759), fitted on texts one wants more and less of. Here the features are
keys of words (`clet.priority.words`), so that a model depends on no tokenizer, hashed into one table of 2^BITS slots
(Weinberger et al. 2009). A document's value is the mean weight of its words and pairs, times the square root of their
number up to MAX_FEATURES: more text is more evidence, up to a point. Platt's sigmoid (1999) makes it a probability.
How it is fitted: `clet.priority.fitting`.

The file is one frame of clet's container: no code, nothing pickled; sizes and numbers are checked when it is read.

Cost: two random reads of a 2 MB table a word, 2 to 3 ns a token. When not: where good and bad differ in truth, not in
wording.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clet.container import Kind, end_frame, pack_frame, read_frames
from clet.exits import InputError
from clet.kernels import leaf
from clet.priority.keys import mixed
from clet.sinks import Sink
from clet.streams import open_input

BITS = 20
SLOTS = 1 << BITS
MAX_FEATURES = 8192
FEATURES = "words-1"  # changes when `words` cuts differently, so that a model is not asked about words it never saw
KINDS = ("quality", "synthetic")

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


def value_of(sums: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Sums of weights over texts of so many units, as the values a model was fitted for."""
    features = np.maximum(2.0 * units - 1, 1)
    return sums / features * np.sqrt(np.minimum(features, MAX_FEATURES))


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-values)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))


@dataclass(frozen=True)
class Model:
    """A fitted model: `weights` `[SLOTS]` int16 in units of `scale`, `bias`, Platt's (slope, offset), and what its
    file says of it (`about`: counts, seed, AUC, calibration error)."""

    kind: str
    weights: np.ndarray
    scale: float
    bias: float
    slope: float
    offset: float
    about: dict[str, Any]

    def probability(self, sums: np.ndarray, units: np.ndarray) -> np.ndarray:
        """The probability `[n]` that texts are of the first class, from `sum_weights` and their numbers of units."""
        return sigmoid(self.slope * (value_of(sums * self.scale, units) + self.bias) + self.offset)

    @property
    def threshold(self) -> float:
        """The likelihood to be bad that hardly a good text exceeds (`clet.priority.synthetic`)."""
        return self.about["threshold"]

    def save(self, path: str) -> None:
        """Write the file; it appears whole or not at all."""
        numbers = {name: getattr(self, name) for name in ("scale", "bias", "slope", "offset")}
        info = {"model": self.kind, "features": FEATURES, "bits": BITS, **numbers, "about": self.about}
        sink = Sink(path)
        try:
            sink.write(pack_frame(Kind.MODEL, info, {"weights": self.weights}))
            sink.write(end_frame(1))
            sink.close()
        except BaseException:
            sink.abort()
            raise

    @staticmethod
    def load(path: str | Path, kind: str) -> Model:
        """The model in a file. Raises UsageError where it cannot be opened, InputError for what is none of `kind`."""
        with open_input(str(path)) as stream:
            frames = read_frames(stream, str(path))
            frame, more = next(frames, None), next(frames, None)
        try:
            if frame is None or more is not None:
                raise ValueError("not one frame")
            info, weights = frame.info, frame.arrays["weights"]
            numbers = [float(info[name]) for name in ("scale", "bias", "slope", "offset")]
            if frame.kind != Kind.MODEL or weights.dtype != np.int16 or weights.shape != (SLOTS,):
                raise ValueError("its weights are not those of a model")
            if not all(map(math.isfinite, [*numbers, info["about"]["threshold"]])):
                raise ValueError("its numbers are not finite")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a model of clet judge fit: {error}") from None
        if info.get("features") != FEATURES:
            raise InputError(f"{path}: fitted on features {info.get('features')}; this clet has {FEATURES}: fit again")
        if info.get("model") != kind:
            raise InputError(f"{path}: a model of kind {info.get('model')}, where one of kind {kind} is needed")
        return Model(kind, weights, *numbers, info["about"])
