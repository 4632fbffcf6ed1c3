"""Fitting the classifier: AdaGrad on good and bad texts, calibrated and measured on texts held out.

Logistic loss with AdaGrad (Duchi et al. 2011), whose steps shrink slot by slot, so that rare words learn as fast as
common ones; each class weighs the same in all, whatever its number of documents. Epochs pass over the documents in an
order that the seed decides. The same texts and seed give the same file, bit for bit.

A tenth of the documents, chosen by a hash of their words, so that copies of one fall on the same side, is never trained
on. Half of it fits Platt's sigmoid (1999), the other half measures what the manifest states: AUC (Mann-Whitney) and the
expected calibration error over up to ten bins.

Cost: 0.1 us a word and epoch. Memory: 24 MB for the table, 17 bytes a document; the features of the first MAX_WORDS
words of each document wait in a temporary file, 4 bytes each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from clet import seeds
from clet.batch import Batch, Ragged
from clet.exits import InputError
from clet.kernels import leaf
from clet.priority.classifier import MAX_FEATURES, SLOTS, Model, pair, sigmoid, single
from clet.priority.synthetic import threshold
from clet.priority.textstats import Scratch, TokenTable, word_keys
from clet.streams import OnBad, read_batches, refuse_bad

MAX_WORDS = MAX_FEATURES // 2
MIN_DOCUMENTS = 20  # of each class: fewer cannot be held out and calibrated
HELD_OUT = 0.1
EPOCHS = 8
RATE = 0.1
BIN_SIZE = 100
_BINS = 10
_START = 1e-2  # of AdaGrad's sums: the first steps of a slot are not longer than this allows

_U = np.uint64


@leaf
def _features(keys, count, out):
    """Slots of the words and pairs of a text; returns how many."""
    for i in range(count):
        out[i] = single(keys[i])
    for i in range(count - 1):
        out[count + i] = pair(keys[i], keys[i + 1])
    return max(2 * count - 1, 0)


@leaf
def _pack(values, offsets, out, lengths, marks):
    """Features of each row of keys, one behind the other, their number, and a hash of each row's keys."""
    at = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        mark = _U(0x9E3779B97F4A7C15)
        for i in range(begin, end):
            mark = (mark ^ values[i]) * _U(0xD6E8FEB86659FD93)
            mark ^= mark >> _U(29)
        marks[row] = mark
        lengths[row] = _features(values[begin:end], end - begin, out[at:])
        at += lengths[row]
    return at


@leaf
def _epoch(slots, offsets, labels, order, class_weights, weights, squares, bias, rate):
    """One pass over the documents in `order`; returns the bias."""
    weight_of_bias, square_of_bias = bias
    for row in order:
        begin, end = offsets[row], offsets[row + 1]
        size = end - begin
        if size == 0:
            continue
        scale = 1.0 / np.sqrt(size)
        total = 0.0
        for i in range(begin, end):
            total += weights[slots[i]]
        value = total * scale + weight_of_bias
        error = (1.0 / (1.0 + np.exp(-value)) - labels[row]) * class_weights[labels[row]]
        step = error * scale
        for i in range(begin, end):
            slot = slots[i]
            squares[slot] += np.float32(step * step)
            weights[slot] -= np.float32(rate * step / np.sqrt(squares[slot]))
        square_of_bias += error * error
        weight_of_bias -= rate * error / np.sqrt(square_of_bias)
    return weight_of_bias, square_of_bias


@leaf
def _values(slots, offsets, rows, weights, bias, out):
    for k in range(len(rows)):
        begin, end = offsets[rows[k]], offsets[rows[k] + 1]
        total = 0.0
        for i in range(begin, end):
            total += weights[slots[i]]
        out[k] = total / np.sqrt(max(end - begin, 1)) + bias


class Spool:
    """Features of documents on disk, with their labels; made by `add`, then read as one array."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._scratch = Scratch()
        self._lengths: list[np.ndarray] = []
        self._marks: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, batch: Batch, label: int, table: TokenTable | None = None) -> int:
        """Take a batch in; how many of its records have no words."""
        keys: Ragged = word_keys(batch, self._scratch, table, most=MAX_WORDS)
        out = np.empty(2 * len(keys.values), np.uint32)
        lengths, marks = np.zeros(len(batch), np.int64), np.zeros(len(batch), np.uint64)
        size = _pack(keys.values, keys.offsets, out, lengths, marks)
        self._file.write(out[:size].tobytes())
        full = lengths > 0
        self._lengths.append(lengths[full])
        self._marks.append(marks[full])
        self._labels.append(np.full(full.sum(), label, np.int8))
        return int((~full).sum())

    def documents(self) -> Documents:
        """What was added."""
        self._file.flush()
        offsets = np.concatenate(([0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *self._lengths]))))
        size = int(offsets[-1])
        slots = np.memmap(self._file, np.uint32, "r", shape=(size,)) if size else np.zeros(0, np.uint32)
        labels = np.concatenate([np.zeros(0, np.int8), *self._labels])
        return Documents(slots, offsets, labels, np.concatenate([np.zeros(0, np.uint64), *self._marks]))


class Documents(NamedTuple):
    """Documents as slots: row i is `slots[offsets[i]:offsets[i + 1]]`; `marks` are hashes of their words."""

    slots: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    marks: np.ndarray


@dataclass
class Report:
    """What a fit says of itself."""

    model: Model
    empty: int  # documents without words, left out


def fit(
    good: Sequence[str],
    bad: Sequence[str],
    *,
    kind: str,
    seed: int,
    epochs: int = EPOCHS,
    table: TokenTable | None = None,
    on_bad: OnBad = refuse_bad,
) -> Report:
    """The model that tells the records of files `good` from those of `bad`. Raises InputError where one is missing."""
    sources = [(read_batches(files, on_bad), label) for files, label in ((good, 1), (bad, 0))]
    return fit_batches(sources, kind=kind, seed=seed, epochs=epochs, table=table)


def fit_batches(
    sources: Iterable[tuple[Iterable[Batch], int]],
    *,
    kind: str,
    seed: int,
    epochs: int = EPOCHS,
    table: TokenTable | None = None,
) -> Report:
    """The same for batches with their label, 1 for good."""
    with tempfile.TemporaryFile(prefix="clet-fit-") as file:
        spool = Spool(file)
        empty = sum(spool.add(batch, label, table) for batches, label in sources for batch in batches)
        documents = spool.documents()
        for label, name in ((1, "good"), (0, "bad")):
            if (count := int((documents.labels == label).sum())) < MIN_DOCUMENTS:
                raise InputError(
                    f"{count} {name} documents with words: at least {MIN_DOCUMENTS} of each kind are needed"
                )
        return Report(_fit(documents, kind, seed, epochs), empty)


def _fit(documents: Documents, kind: str, seed: int, epochs: int) -> Model:
    slots, offsets, labels, marks = documents
    salt = np.uint64(seeds.integer(seed, "held out"))
    share = ((marks ^ salt) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2.0**24
    held, calibrating = share < HELD_OUT, share < HELD_OUT / 2
    training = np.flatnonzero(~held)
    counts = np.bincount(labels[training], minlength=2)
    for part, name in (
        (calibrating, "to calibrate with"),
        (held & ~calibrating, "to measure with"),
        (~held, "to learn"),
    ):
        if len(set(labels[part].tolist())) < 2:
            raise InputError(f"too few documents: none of one kind is left {name}; give more than {len(labels)}")
    weights, squares = np.zeros(SLOTS, np.float32), np.full(SLOTS, _START, np.float32)
    generator = seeds.numpy_generator(seed, "order")
    class_weights, bias = len(training) / (2.0 * np.maximum(counts, 1)), (0.0, _START)
    for _ in range(epochs):
        order = generator.permutation(training)
        bias = _epoch(slots, offsets, labels, order, class_weights, weights, squares, bias, RATE)
    scale = float(np.abs(weights).max() / 32767) or 1.0
    rounded = np.rint(weights / scale).astype(np.int16)

    def values(part: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(part)
        out = np.zeros(len(rows))
        _values(slots, offsets, rows, rounded * np.float32(scale), bias[0], out)
        return out

    slope, offset = platt(values(calibrating), labels[calibrating])
    measured = held & ~calibrating
    probability = sigmoid(slope * values(measured) + offset)
    truth = labels[measured]
    people = 1 - sigmoid(slope * values(held & (labels == 1)) + offset)
    about = {
        "good": int((labels == 1).sum()),
        "bad": int((labels == 0).sum()),
        "trained": len(training),
        "calibrated": int(calibrating.sum()),
        "measured": int(measured.sum()),
        "auc": round(auc(probability, truth), 5),
        "calibration_error": round(calibration_error(probability, truth), 5),
        "seed": seed,
        "epochs": epochs,
        "rate": RATE,
        "threshold": threshold(people),  # of the likelihood to be bad; for texts that machines wrote
    }
    return Model(kind, rounded, scale, float(bias[0]), slope, offset, about)


def platt(values: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(slope, offset) of the sigmoid that fits labels best, by Newton's method with Platt's softened targets.

    Classes weigh the same, as in training: the probability is that of an even mixture.
    """
    positive = labels == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    targets = np.where(positive, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    weight = np.where(positive, 0.5 / max(ones, 1), 0.5 / max(zeros, 1))
    design = np.stack((values, np.ones_like(values)), 1)
    solution = np.zeros(2)
    for _ in range(50):
        predicted = sigmoid(design @ solution)
        gradient = design.T @ (weight * (predicted - targets))
        curvature = (design * (weight * predicted * (1 - predicted))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        solution -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            break
    return float(solution[0]), float(solution[1])


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that a random good text scores above a random bad one; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = labels == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / max(ones * zeros, 1))


def calibration_error(probability: np.ndarray, labels: np.ndarray) -> float:
    """Expected difference of predicted and observed share of good texts, over bins of equal size.

    There are up to ten, of at least BIN_SIZE texts each, or chance alone would make a difference.

    Observed shares are those of an even mixture of both classes, for which the probability is meant.
    """
    order = np.argsort(probability, kind="stable")
    positive = labels == 1
    weight = np.where(positive, 0.5 / max(int(positive.sum()), 1), 0.5 / max(int((~positive).sum()), 1))
    error = 0.0
    for part in np.array_split(order, min(max(len(order) // BIN_SIZE, 1), _BINS)):
        share = weight[part].sum()
        if share > 0:
            error += abs((weight[part] * (probability[part] - positive[part])).sum())
    return float(error)
