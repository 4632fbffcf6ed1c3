"""Novelty: how many bits a token a document carries against everything that passed before.

An online n-gram model of token ids, n = 1 to 3, smoothed by the hierarchical Dirichlet prior of MacKay and Peto (1995):

    p1(w)      = (c(w) + A / V) / (N + A)
    p2(w|v)    = (c(v w) + B p1(w)) / (c(v) + B)
    p3(w|u v)  = (c(u v w) + C p2(w|v)) / (c(u v) + C)

and a document's *density* is the mean of -log2 p3 over its tokens, before it is learned itself: what repeats the past
costs little, what is new costs much. Counts decay by half every HALF_LIFE tokens, so that what nobody has written
about for long is news again. They are kept in three tables that are indexed by a hash without keys: a collision adds
counts, which makes a text look a little less novel, never more. Decay is done by growing the increment instead
(`weight`), so that it costs nothing a token.

`Scale` turns density into a factor. Density has no absolute meaning (it depends on tokenizer and language), so it is
compared with the running mean and deviation over documents. The factor rises from FLOOR for what repeats the past to
its most at NOISE_SIGMAS above the usual, and falls again for what is denser than that: what surrounds the text of web
pages, lists and noise are denser than news (perplexity pruning keeps the middle: Ankner et al. 2024, 2405.20541).

Where a model is at hand (`--model`), `excess` replaces density by what RHO-1 (Lin et al. 2024, 2404.07965) selects by:
the model's loss less that of a reference, both in bits a token: high where there is something left to learn that can
be learned.

Cost: three table accesses a token, 15 ns, twice (scored, then learned); 21 MB, in counts of 16 bits, whose error is a
hundredth of that of collisions (`clet.priority.counts`). Choose the model's loss where the budget allows a forward pass
over everything: it knows more than 4 million tokens back and three tokens wide.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.counts import add, scale_back, step_of, value_of
from clet.priority.triples import COUNTS, count_at, new_blocks

A, B, C = 512.0, 8.0, 4.0  # strength of each prior in tokens; density moves by under 2% between half and twice of them
NOMINAL_VOCAB = 1 << 16  # V: the uniform distribution under the prior of single tokens
HALF_LIFE = 4 << 20  # tokens: a month of a newsroom of 300 stories a day
LOG_BITS = (18, 21, 22)  # entries of the tables: 1, 4 and 8 MB; the last lies in blocks (see clet.priority.triples)
MAX_WEIGHT_BITS = 20
MAX_WEIGHT = 2.0**MAX_WEIGHT_BITS  # of an increment: then all counts are scaled back, once in 80 million tokens

FLOOR = 0.25  # of the factor: what is wholly known is worth a quarter, so that quality and credibility still count
NEUTRAL = 0.625  # of the factor, for the first documents, when nothing is known of the scale
NOISE_SIGMAS = 1.5  # above the mean from where density counts against a document; of good text one in fifteen is there
MEMORY_DOCUMENTS = 5000.0  # over which mean and deviation are taken
SETTLED_TOKENS = 200_000.0  # learned: below, the factor is drawn to NEUTRAL

TOTAL, WEIGHT = 0, 1

_U = np.uint64
_GOLDEN, _ODD = _U(0x9E3779B97F4A7C15), _U(0xD6E8FEB86659FD93)
_S29, _S32, _ONE = _U(29), _U(32), _U(1)
_SHIFTS = tuple(_U(64 - bits) for bits in LOG_BITS)
_UNI = np.uint32((1 << LOG_BITS[0]) - 1)


class Grams(NamedTuple):
    """The model: counts times the weight they were added with."""

    one: np.ndarray  # [2^18] float32, by id
    two: np.ndarray  # [2^21] uint16, by hash; see `clet.priority.counts`
    three: np.ndarray  # [2^20, 8] uint16, by hash: the first half of each block of `clet.priority.triples`
    sums: np.ndarray  # [2] float64: all tokens, and the present weight


def new_grams() -> Grams:
    """An empty model."""
    one, two = np.zeros(1 << LOG_BITS[0], np.float32), np.zeros(1 << LOG_BITS[1], np.uint16)
    return Grams(one, two, new_blocks().view(np.uint16), np.array([0.0, 1.0]))


@njit
def pair_hash(v, w):
    """64 well-mixed bits of two ids in order."""
    total = ((_U(v) << _S32) | _U(w)) * _GOLDEN
    return (total ^ (total >> _S29)) * _ODD


@njit
def triple_hash(u, pair):
    """64 well-mixed bits of an id and the hash of the two behind it."""
    total = (pair ^ (_U(u) * _ODD)) * _GOLDEN
    return total ^ (total >> _S32)


@njit
def hash_grams(ids, begin, end, pairs, triples):
    """Fill `pairs` and `triples` with the hash of the gram that ends at each token of the document `ids[begin:end]`.

    It is 0 where the gram would begin before the document.
    """
    doc = ids[begin:end]
    size = end - begin
    for i in range(1, size):
        pairs[i] = pair_hash(doc[i - 1], doc[i])
    for i in range(2, size):
        triples[i] = triple_hash(doc[i - 2], pairs[i])
    if size:
        pairs[0] = triples[0] = triples[min(1, size - 1)] = _U(0)


@njit
def look_up(g, pairs, size, two):
    """Fill `two` `[size]` uint16 with how often the pair that ends at each token of a document was met, weighted."""
    for i in range(_ONE, _U(size)):
        two[i] = g.two[pairs[i] >> _SHIFTS[1]]


@njit
def density(g, ids, begin, two, three, size, pairs_seen, chances):
    """Bits a token of the document of `size` tokens that begins at `ids[begin]`; 0.0 for none.

    `two` and `three` are what was found of its pairs and triples (`look_up`, `clet.priority.burst.watch`).
    `pairs_seen` `[size]` float32 becomes how often each pair was met, the weight taken out. `chances` is scratch.
    """
    if size <= 0:
        return 0.0
    doc = ids[begin:]
    two[0] = three[0] = three[min(1, size - 1)] = 0
    weight = g.sums[WEIGHT]
    all_tokens = 1.0 / (g.sums[TOTAL] + A * weight)
    uniform, b, c = A * weight / NOMINAL_VOCAB, B * weight, C * weight
    one = pairs_seen  # until the end
    for i in range(size):
        one[i] = g.one[doc[i] & _UNI]
    chances[0] = min(1.0, (one[0] + uniform) * all_tokens)
    for i in range(1, size):
        # Of two tables that collide differently the larger count may be the part's: never above 1. Where a document
        # begins there is no triple, and none of its parts was seen, which leaves the chance of the pair.
        of_pair = np.float64(value_of(two[i - 1]))
        p = (value_of(two[i]) + b * ((one[i] + uniform) * all_tokens)) / (one[i - 1] + b)
        chances[i] = min((min(np.float64(value_of(three[i])), of_pair) + c * p) / (of_pair + c), 1.0)
    bits, product = 0.0, 1.0
    for i in range(0, size - 3, 4):
        product *= (chances[i] * chances[i + 1]) * (chances[i + 2] * chances[i + 3])
        if product < 1e-200:
            bits -= math.log2(product)
            product = 1.0
    for i in range(size & ~3, size):
        product *= chances[i]
    scale = np.float32(1.0 / weight)
    for i in range(size):
        pairs_seen[i] = value_of(two[i]) * scale
    return (bits - math.log2(product)) / size


@njit
def learn(g, ids, begin, end, pairs, triples):
    """Add a document's tokens and grams, whose hashes `hash_grams` has filled in."""
    if end <= begin:
        return
    weight = np.float32(g.sums[WEIGHT])
    step = step_of(weight)
    chance = np.float64(g.sums[TOTAL]).view(np.uint64) * _GOLDEN  # another one for each document
    chance ^= chance >> _S32
    doc, two, three = ids[begin:end], g.two, g.three.reshape(-1)
    for i in range(_U(end - begin)):
        g.one[doc[i] & _UNI] += weight
        chance += _GOLDEN
        if i:
            pair = pairs[i]
            two[pair >> _SHIFTS[1]] = add(two[pair >> _SHIFTS[1]], step, pair ^ chance)
            if i > _ONE:
                at = count_at(triples[i])
                three[at] = add(three[at], step, triples[i] ^ chance)
    g.sums[TOTAL] += (end - begin) * np.float64(weight)
    g.sums[WEIGHT] *= 2.0 ** ((end - begin) / HALF_LIFE)
    if g.sums[WEIGHT] > MAX_WEIGHT:
        g.one[:] *= np.float32(1.0 / MAX_WEIGHT)
        scale_back(g.two, MAX_WEIGHT_BITS)
        scale_back(g.three[:, :COUNTS], MAX_WEIGHT_BITS)
        g.sums[:] /= MAX_WEIGHT


def tokens_known(g: Grams) -> float:
    """Tokens learned, the older ones counted less."""
    return float(g.sums[TOTAL] / g.sums[WEIGHT])


# ---- from density to a factor

COUNT, MEAN, SQUARE = 0, 1, 2


def new_scale() -> np.ndarray:
    """Running count (up to MEMORY_DOCUMENTS), mean and mean square deviation of density."""
    return np.zeros(3)


@njit
def novelty(scale, bits, known):
    """The factor in [FLOOR, 1] of a document's density, where `known` tokens were learned before."""
    if scale[COUNT] < 2.0 or bits <= 0.0:
        return NEUTRAL
    sigma = max(math.sqrt(scale[SQUARE]), 0.05 * max(scale[MEAN], 0.1))
    z = (bits - scale[MEAN]) / sigma
    factor = FLOOR + (1.0 - FLOOR) / (1.0 + math.exp(-1.5 * z))
    if z > NOISE_SIGMAS:
        factor = FLOOR + (factor - FLOOR) / (1.0 + (z - NOISE_SIGMAS) ** 2)
    settled = known / (known + SETTLED_TOKENS)
    return NEUTRAL + settled * (factor - NEUTRAL)


@njit
def note_density(scale, bits):
    """Let a document's density count for the mean and the deviation."""
    scale[COUNT] = min(scale[COUNT] + 1.0, MEMORY_DOCUMENTS)
    step = 1.0 / scale[COUNT]
    before = bits - scale[MEAN]
    scale[MEAN] += step * before
    scale[SQUARE] += step * (before * (bits - scale[MEAN]) - scale[SQUARE])


def excess(model_bits: np.ndarray, reference_bits: np.ndarray) -> np.ndarray:
    """Excess loss `[n]` in bits a token, not below 0: what the model can still learn of each document."""
    return np.maximum(model_bits - reference_bits, 0.0)
