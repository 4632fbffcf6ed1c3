"""The sketches as science: estimators against true similarities within their standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from clet import seeds
from clet.batch import Ragged
from clet.dedup import minhash
from clet.dedup.minhash import BANDS, ROWS, SHINGLE, SKETCH

KEY = 0x1234567890ABCDEF


def pair_of_sets(rng: np.random.Generator, union: int, jaccard: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Two sets of hashes with that similarity (rounded to whole elements), which is returned too."""
    values = rng.integers(0, 1 << 63, union, dtype=np.uint64) * np.uint64(2)
    both = round(jaccard * union)
    alone = (union - both) // 2
    return values[: both + alone], np.concatenate((values[:both], values[both + alone :])), both / union


def signature(hashes: np.ndarray, key: int = KEY) -> np.ndarray:
    out = np.empty(minhash.K, np.uint64)
    minhash.signature_of(hashes, np.uint64(key), out)
    return out


def bottom(hashes: np.ndarray) -> np.ndarray:
    out = np.empty(min(len(hashes), SKETCH), np.uint32)
    return out[: minhash.bottom_sketch(hashes, out)]


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
    assert not (signature(values) == np.uint64(0xFFFFFFFFFFFFFFFF)).any()


@pytest.mark.parametrize("jaccard", [0.3, 0.5, 0.6, 0.7, 0.8])
def test_candidates_follow_the_s_curve(jaccard: float):
    rng = seeds.numpy_generator(1, f"bands/{jaccard}")
    trials, found = 600, 0
    a_bands, b_bands = np.empty(BANDS, np.uint32), np.empty(BANDS, np.uint32)
    for _ in range(trials):
        a, b, true = pair_of_sets(rng, 3000, jaccard)
        minhash._bands_of(signature(a), np.uint64(KEY), a_bands)
        minhash._bands_of(signature(b), np.uint64(KEY), b_bands)
        found += (a_bands == b_bands).any()
    expected = 1 - (1 - true**ROWS) ** BANDS
    # Bins are drawn without replacement, which makes neighbouring bands a little alike: 0.02 beyond the standard error.
    assert abs(found / trials - expected) < 4 * np.sqrt(expected * (1 - expected) / trials) + 0.02


@pytest.mark.parametrize("size", [1, 500, SKETCH, 3 * SKETCH, 5 * SKETCH, 60 * SKETCH])
@pytest.mark.parametrize("distinct", [1.0, 0.01])
def test_bottom_sketch_is_the_least_distinct_values(size: int, distinct: float):
    rng = seeds.numpy_generator(1, f"bottom/{size}/{distinct}")
    values = rng.integers(0, 1 << 63, max(1, int(size * distinct)), dtype=np.uint64)
    hashes = rng.choice(values, size)
    expected = np.unique((hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32))[:SKETCH]
    assert np.array_equal(bottom(hashes), expected)


def test_jaccard_of_small_sets_is_exact():
    rng = seeds.numpy_generator(1, "jaccard/small")
    for union in (1, 2, 17, 300, 1300):
        for jaccard in (0.0, 0.31, 0.8, 1.0):
            a, b, true = pair_of_sets(rng, union, jaccard)
            if len(a) and len(b) and max(len(a), len(b)) < SKETCH:
                assert minhash.jaccard(bottom(a), bottom(b)) == pytest.approx(true, abs=1e-12)


@pytest.mark.parametrize("jaccard", [0.5, 0.8])
def test_jaccard_of_large_sets_is_unbiased_within_its_standard_error(jaccard: float):
    rng = seeds.numpy_generator(1, f"jaccard/{jaccard}")
    errors = []
    for _ in range(200):
        a, b, true = pair_of_sets(rng, 20_000, jaccard)
        errors.append(minhash.jaccard(bottom(a), bottom(b)) - true)
    error = np.sqrt(jaccard * (1 - jaccard) / SKETCH)
    assert abs(np.mean(errors)) < 4 * error / np.sqrt(len(errors))
    assert 0.8 * error < np.std(errors) < 1.2 * error


def test_jaccard_of_a_small_and_a_large_set_does_not_overestimate():
    rng = seeds.numpy_generator(1, "jaccard/uneven")
    values = rng.integers(0, 1 << 63, 50_000, dtype=np.uint64)
    assert minhash.jaccard(bottom(values[:900]), bottom(values)) < 0.06  # true: 0.018


def test_sketches_are_those_of_the_set_of_shingles():
    rng = seeds.numpy_generator(1, "shingles")
    ids = rng.integers(0, 1000, 80).astype(np.uint16)
    twice = np.concatenate((ids, ids[: SHINGLE - 1], ids))  # the same shingles and a few around the seam
    tok = Ragged.from_rows([ids, twice, ids[: SHINGLE - 1], ids[:0]], np.uint16)
    out = minhash.sketch(tok, KEY)
    assert out.lengths.tolist()[0] == 80 - SHINGLE + 1
    assert out.lengths.tolist()[2:] == [0, 0]
    first = out.values[out.starts[0] : out.starts[0] + out.lengths[0]]
    second = out.values[out.starts[1] : out.starts[1] + out.lengths[1]]
    assert np.isin(first, second).all()
    wide = minhash.sketch(Ragged.from_rows([ids.astype(np.uint32)], np.uint32), KEY)
    assert np.array_equal(wide.bands[0], out.bands[0])


def test_sketches_do_not_depend_on_jobs():
    rng = seeds.numpy_generator(1, "jobs")
    tok = Ragged.from_rows(
        [rng.integers(0, 99, size).astype(np.uint16) for size in (0, 3, 900, 7, 4000, 50, 5)], np.uint16
    )
    one = minhash.sketch(tok, KEY, 1)
    for jobs in (2, 3, 16):
        many = minhash.sketch(tok, KEY, jobs)
        assert np.array_equal(one.bands, many.bands)
        assert np.array_equal(one.lengths, many.lengths)
        for start, length in zip(one.starts, one.lengths, strict=True):
            assert np.array_equal(one.values[start : start + length], many.values[start : start + length])


def test_another_key_gives_other_bands():
    tok = Ragged.from_rows([np.arange(100, dtype=np.uint16)], np.uint16)
    assert not (minhash.sketch(tok, KEY).bands == minhash.sketch(tok, KEY + 1).bands).any()
