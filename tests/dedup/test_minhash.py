"""The sketches as science: estimators against true similarities within their standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from clet import seeds
from clet.batch import Ragged
from clet.dedup import minhash
from clet.dedup.minhash import BANDS, ROWS, SAMPLE, SHINGLE, new_set
from clet.dedup.words import byte_table

KEY = 0x1234567890ABCDEF


def pair_of_sets(rng: np.random.Generator, union: int, jaccard: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Two sets of hashes with that similarity (rounded to whole elements), which is returned too."""
    values = rng.integers(0, 1 << 63, union, dtype=np.uint64) * np.uint64(2)
    both = round(jaccard * union)
    alone = (union - both) // 2
    return values[: both + alone], np.concatenate((values[:both], values[both + alone :])), both / union


def signature(hashes: np.ndarray, key: int = KEY) -> np.ndarray:
    out = np.empty(minhash.K, np.uint32)
    filled, empty = np.empty(minhash.K, np.uint32), np.empty(minhash.K, np.uint8)
    minhash.signature_of(hashes, len(hashes), np.uint64(key), filled, empty, out)
    return out


def sample(hashes: np.ndarray) -> tuple[np.ndarray, int]:
    out = np.empty(2 * SAMPLE, np.uint32)
    count, level = minhash.sample_of(hashes, len(hashes), new_set(), out)
    return out[:count], level


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    (ours, our_level), (theirs, their_level), slots = sample(a), sample(b), new_set()
    found = minhash.similarity(ours, our_level, theirs, their_level, slots, minhash.fill_set(slots, ours))
    assert found <= minhash.similarity_bound(len(ours), our_level, len(theirs), their_level)
    return found


def texts(rows: list[np.ndarray]) -> Ragged:
    return Ragged.from_bytes([" ".join(f"w{i}" for i in row).encode() for row in rows])


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("union", [12, 60, 4000])
def test_densified_signatures_estimate_jaccard_without_bias(union: int, jaccard: float):
    rng = seeds.numpy_generator(1, f"minhash/{union}/{jaccard}")
    errors = []
    for _ in range(300):
        a, b, true = pair_of_sets(rng, union, jaccard)
        errors.append((signature(a) == signature(b)).mean() - true)
    errors = np.array(errors)
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(errors)) + 1e-9
    if union > 2000:  # no empty bins: k independent draws without replacement, so at most the binomial error
        assert errors.std() < 1.15 * np.sqrt(jaccard * (1 - jaccard) / minhash.K)


def test_equal_sets_have_equal_signatures_in_any_order():
    rng = seeds.numpy_generator(1, "minhash/order")
    values = rng.integers(0, 1 << 63, 30, dtype=np.uint64)
    assert (signature(values) == signature(rng.permutation(np.repeat(values, 3)))).all()
    assert not (signature(values) == np.uint32(0xFFFFFFFF)).any()


@pytest.mark.parametrize("jaccard", [0.3, 0.5, 0.6, 0.7, 0.8])
def test_candidates_follow_the_s_curve(jaccard: float):
    rng = seeds.numpy_generator(1, f"bands/{jaccard}")
    trials, found = 600, 0
    a_bands, b_bands = np.empty(BANDS, np.uint32), np.empty(BANDS, np.uint32)
    for _ in range(trials):
        a, b, true = pair_of_sets(rng, 3000, jaccard)
        for hashes, bands in ((a, a_bands), (b, b_bands)):
            minhash.bands_of(signature(hashes), np.uint64(KEY), ROWS, np.empty(BANDS, np.uint64), bands)
        found += (a_bands == b_bands).any()
    expected = 1 - (1 - true**ROWS) ** BANDS
    # Bins are drawn without replacement, which makes neighbouring bands a little alike: 0.02 beyond the standard error.
    assert abs(found / trials - expected) < 4 * np.sqrt(expected * (1 - expected) / trials) + 0.02


@pytest.mark.parametrize("size", [1, 500, SAMPLE, SAMPLE + 1, 3 * SAMPLE, 60 * SAMPLE])
@pytest.mark.parametrize("distinct", [1.0, 0.01])
def test_a_sample_is_all_distinct_values_below_the_first_cut_that_leaves_few_enough(size: int, distinct: float):
    rng = seeds.numpy_generator(1, f"sample/{size}/{distinct}")
    values = rng.integers(0, 1 << 63, max(1, int(size * distinct)), dtype=np.uint64)
    hashes = rng.choice(values, size)
    every = np.unique((hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32))
    level = next(level for level in range(33) if (every < (1 << 32 >> level)).sum() <= SAMPLE)
    found, its_level = sample(hashes)
    assert its_level == level
    assert np.array_equal(np.sort(found), every[every < (1 << 32 >> level)])


def test_a_sample_has_the_hashes_in_order_of_appearance_and_zero_is_one_of_them():
    low = np.array([7, 0, 5, 7, 0, 9, 5], np.uint64)
    found, level = sample(low + (np.arange(7, dtype=np.uint64) << np.uint64(32)))
    assert (found.tolist(), level) == ([7, 0, 5, 9], 0)
    assert similarity(low, np.array([0, 1], np.uint64)) == 1 / 5


def test_jaccard_of_small_sets_is_exact():
    rng = seeds.numpy_generator(1, "jaccard/small")
    for union in (1, 2, 17, 300, 2300):
        for jaccard in (0.0, 0.31, 0.8, 1.0):
            a, b, true = pair_of_sets(rng, union, jaccard)
            if len(a) and len(b) and max(len(a), len(b)) <= SAMPLE:
                assert similarity(a, b) == pytest.approx(true, abs=1e-12)


@pytest.mark.parametrize("jaccard", [0.5, 0.8])
def test_jaccard_of_large_sets_is_unbiased_within_its_standard_error(jaccard: float):
    rng = seeds.numpy_generator(1, f"jaccard/{jaccard}")
    errors = []
    for _ in range(200):
        a, b, true = pair_of_sets(rng, 20_000, jaccard)
        errors.append(similarity(a, b) - true)
    most = np.sqrt(jaccard * (1 - jaccard) / (SAMPLE / 2))
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(len(errors))
    assert np.std(errors) < 1.1 * most


def test_jaccard_of_a_small_and_a_large_set_does_not_overestimate():
    rng = seeds.numpy_generator(1, "jaccard/uneven")
    values = rng.integers(0, 1 << 63, 50_000, dtype=np.uint64)
    assert similarity(values[:900], values) < 0.06  # true: 0.018


def test_sketches_are_those_of_the_set_of_shingles():
    rng = seeds.numpy_generator(1, "shingles")
    words = rng.integers(0, 1000, 80)
    twice = np.concatenate((words, words[: SHINGLE - 1], words))  # the same shingles and a few around the seam
    out = minhash.sketch(texts([words, twice, words[: SHINGLE - 1], words[:0]]), byte_table(KEY), KEY)
    lengths = np.diff(out.starts).tolist()
    assert lengths[0] == 80 - SHINGLE + 1
    assert lengths[2:] == [0, 0]
    first, second = (out.values[out.starts[i] : out.starts[i + 1]] for i in range(2))
    assert np.isin(first, second).all()
    assert len(np.unique(second)) == len(second)


def test_sketches_do_not_depend_on_jobs():
    rng = seeds.numpy_generator(1, "jobs")
    column = texts([rng.integers(0, 99, size) for size in (0, 3, 900, 7, 9000, 50, 5)])
    one = minhash.sketch(column, byte_table(KEY), KEY, 1)
    for jobs in (2, 3, 16):
        many = minhash.sketch(column, byte_table(KEY), KEY, jobs)
        assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_another_key_gives_other_bands():
    column = texts([np.arange(100)])
    bands = [minhash.sketch(column, byte_table(key), key).bands for key in (KEY, KEY + 1)]
    assert not (bands[0] == bands[1]).any()
