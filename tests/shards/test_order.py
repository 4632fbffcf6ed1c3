import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clet.shards.order import shuffled


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 1 << 40))
def test_every_window_of_every_shard_comes_once(sizes, seed):
    order = shuffled(sizes, seed, "epoch/0")
    expected = [(shard, window) for shard, size in enumerate(sizes) for window in range(size)]
    assert sorted(map(tuple, order.tolist())) == expected
    assert order.shape == (sum(sizes), 2)


def test_order_depends_on_seed_name_and_sizes_alone():
    first = shuffled([30, 40], 1, "epoch/0")
    assert np.array_equal(first, shuffled([30, 40], 1, "epoch/0"))
    for other in (shuffled([30, 40], 2, "epoch/0"), shuffled([30, 40], 1, "epoch/1")):
        assert not np.array_equal(first, other)


def test_order_is_pinned_so_that_an_old_run_resumes_on_a_new_numpy():
    assert shuffled([3, 2], 1, "epoch/0").tolist() == PINNED


def test_each_window_is_equally_likely_in_each_place():
    runs = 3000
    counts = np.zeros((6, 6))
    for seed in range(runs):
        order = shuffled([4, 2], seed, "uniform")
        counts[np.arange(6), order[:, 0] * 4 + order[:, 1]] += 1
    expected = runs / 6
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 52.6  # 0.1% point of chi-square with (6 - 1)^2 = 25 degrees of freedom


PINNED = [[0, 0], [0, 1], [1, 1], [1, 0], [0, 2]]
