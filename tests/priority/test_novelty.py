"""Surprisal under the online model: equal to an exact one, decayed as promised, and what the factor makes of it."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from clet import seeds
from clet.priority import novelty
from clet.priority.burst import new_bursts, watch
from clet.priority.counts import LEAST, add, count_of, scale_back, step_of, value_of
from clet.priority.novelty import (
    FLOOR,
    HALF_LIFE,
    NEUTRAL,
    NOMINAL_VOCAB,
    A,
    B,
    C,
    density,
    excess,
    hash_grams,
    learn,
    look_up,
    new_grams,
    new_scale,
    note_density,
    tokens_known,
)


class Exact:
    """The same model in dictionaries, without hashing and without growing increments."""

    def __init__(self):
        self.counts = Counter()
        self.total = 0.0

    def density(self, ids):
        bits = 0.0
        for i, w in enumerate(ids):
            p = (self.counts[(w,)] + A / NOMINAL_VOCAB) / (self.total + A)
            if i:
                v = ids[i - 1]
                p = (self.counts[(v, w)] + B * p) / (self.counts[(v,)] + B)
                if i > 1:
                    u = ids[i - 2]
                    p = (self.counts[(u, v, w)] + C * p) / (self.counts[(u, v)] + C)
            bits -= math.log2(min(p, 1.0))
        return bits / len(ids)

    def learn(self, ids):
        for i in range(len(ids)):
            for n in (1, 2, 3):
                if i >= n - 1:
                    self.counts[tuple(ids[i - n + 1 : i + 1])] += 1
        self.total += len(ids)
        for gram in self.counts:
            self.counts[gram] *= 2 ** (-len(ids) / HALF_LIFE)
        self.total *= 2 ** (-len(ids) / HALF_LIFE)


def look(grams, ids):
    ids = np.asarray(ids, np.uint32)
    pairs, triples = np.zeros(len(ids) + 2, np.uint64), np.zeros(len(ids) + 2, np.uint64)
    two, three = np.zeros(len(ids) + 2, np.uint16), np.zeros(len(ids) + 2, np.uint16)
    hash_grams(ids, 0, len(ids), pairs, triples)
    look_up(grams, pairs, len(ids), two)
    bursts, met = new_bursts(grams.three.view(np.uint64)), np.zeros(len(ids), np.uint64)
    watch(bursts, triples, len(ids), grams.sums[novelty.WEIGHT], 0, 0, np.uint64(0), False, three, met)
    bits = density(grams, ids, 0, two, three, len(ids), np.zeros(len(ids), np.float32), np.zeros(len(ids)))
    return bits, (grams, ids, 0, len(ids), pairs, triples)


def test_density_is_that_of_an_exact_model():
    rng = seeds.python_random(1, "grams")
    grams, exact = new_grams(), Exact()
    for _ in range(40):
        ids = rng.choices(range(30), weights=range(1, 31), k=rng.randrange(1, 80))
        bits, learned = look(grams, ids)
        assert bits == pytest.approx(exact.density(ids), rel=2e-4)
        learn(*learned)
        exact.learn(ids)


def test_what_repeats_the_past_costs_little_and_the_past_fades(monkeypatch):
    grams = new_grams()
    text, other = list(range(100, 160)), list(range(500, 560))
    first, learned = look(grams, text)
    for _ in range(20):
        learn(*learned)
    assert look(grams, text)[0] < 0.1 * first
    assert look(grams, other)[0] > 0.9 * first
    fresh = look(grams, text)[0]
    grams.sums[novelty.WEIGHT] *= 2.0**12  # as after twelve half-lives in which nothing of it was said
    assert look(grams, text)[0] > 5 * fresh


def test_counts_halve_every_half_life_and_scaling_back_changes_nothing():
    grams = new_grams()
    learn(*look(grams, [1, 2, 3])[1])
    before = look(grams, [1, 2, 3])[0]
    grams.sums[novelty.WEIGHT] *= 2.0
    assert tokens_known(grams) == pytest.approx(1.5, rel=1e-4)
    grams.sums[novelty.WEIGHT] = novelty.MAX_WEIGHT * 1.5
    faded = look(grams, [1, 2, 3])[0]
    learn(*look(grams, [7])[1])  # crosses MAX_WEIGHT: every count is scaled back
    assert grams.sums[novelty.WEIGHT] == pytest.approx(1.5, rel=1e-5)
    assert look(grams, [1, 2, 3])[0] == pytest.approx(faded, rel=1e-3)
    assert before < faded


def test_a_count_is_right_on_average_however_large_it_grows():
    rng = seeds.numpy_generator(1, "chance")
    step = step_of(np.float32(1.37))
    for times, spread in ((100, 0.002), (30_000, 0.03)):
        found = []
        for _ in range(40):
            count = np.uint16(0)
            for noise in rng.integers(0, 1 << 63, times).astype(np.uint64):
                count = add(count, step, noise)
            found.append(float(value_of(count)) / (times * 1.37))
        assert np.mean(found) == pytest.approx(1, abs=4 * spread / math.sqrt(40))
        assert np.std(found) < spread


def test_counts_of_16_bits_are_read_as_they_were_written_and_scaled_back():
    values = np.float32([0.0, LEAST, 1.0, 1.5, 1000.0, 2.0**40])
    counts = np.array([count_of(value) for value in values], np.uint16)
    assert [value_of(count) for count in counts] == values.tolist()
    scale_back(counts, 3)
    assert [value_of(count) for count in counts] == [0.0, 0.0, *(values[2:] / 8).tolist()]


def test_the_factor_rises_with_density_and_falls_for_noise():
    scale = new_scale()
    assert novelty.novelty(scale, 5.0, 1e9) == NEUTRAL
    rng = seeds.numpy_generator(1, "densities")
    for bits in rng.normal(8, 1, 5000):
        note_density(scale, bits)
    assert scale[1] == pytest.approx(8, abs=0.1)
    assert math.sqrt(scale[2]) == pytest.approx(1, abs=0.05)
    dull, usual, fresh, noise = (novelty.novelty(scale, bits, 1e9) for bits in (4.0, 8.0, 9.5, 12.0))
    assert usual == pytest.approx((1 + FLOOR) / 2, abs=0.02)
    assert FLOOR <= dull < usual < fresh
    assert fresh > 0.9
    assert noise < usual
    assert novelty.novelty(scale, 16.0, 1e9) == pytest.approx(FLOOR, abs=0.05)
    assert abs(novelty.novelty(scale, 11.0, 1000.0) - NEUTRAL) < 0.01  # a new model says little


def test_excess_is_what_is_left_to_learn():
    assert excess(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.0])).tolist() == [2.0, 0.0, 0.0]
