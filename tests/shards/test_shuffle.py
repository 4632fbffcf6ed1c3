import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.shards.shuffle import Shuffle


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 1 << 40))
def test_every_thing_comes_once(total, seed):
    order = Shuffle(total, seed, "epoch/0").at(np.arange(total))
    assert np.array_equal(np.sort(order), np.arange(total))


@given(st.integers(1, 1 << 48), st.data())
def test_any_place_is_computed_alone_also_in_a_trillion(total, data):
    shuffle = Shuffle(total, 3, "x")
    places = np.asarray(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=20)))
    found = shuffle.at(places)
    assert (found >= 0).all() and (found < total).all()
    assert [shuffle.at(places[i : i + 1])[0] for i in range(len(places))] == found.tolist()
    assert len(np.unique(found)) == len(np.unique(places))


def test_order_depends_on_total_seed_and_name_alone():
    first = Shuffle(900, 1, "epoch/0").at(np.arange(900))
    assert np.array_equal(first, Shuffle(900, 1, "epoch/0").at(np.arange(900)))
    for other in (Shuffle(901, 1, "epoch/0"), Shuffle(900, 2, "epoch/0"), Shuffle(900, 1, "epoch/1")):
        assert not np.array_equal(first, other.at(np.arange(900)))


def test_order_is_pinned_so_that_a_place_means_the_same_tomorrow():
    assert Shuffle(10, 1, "epoch/0").at(np.arange(10)).tolist() == PINNED


@pytest.mark.parametrize(("total", "point"), [(4, 49.7), (5, 172.5)])
def test_each_order_is_equally_likely(total, point):
    """`point`: the 0.1% point of chi-square with total! - 1 degrees of freedom."""
    runs = 100 * len(list(itertools.permutations(range(total))))
    counts = dict.fromkeys(itertools.permutations(range(total)), 0)
    for seed in range(runs):
        counts[tuple(Shuffle(total, seed, "uniform").at(np.arange(total)).tolist())] += 1
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < point


def test_neighbours_and_steps_are_those_of_chance():
    """Over 20,000 places: correlation with the place, with the next, and the share of ascents, within 4 deviations."""
    total = 20_000
    order = Shuffle(total, 1, "chance").at(np.arange(total)).astype(float)
    bound = 4 / np.sqrt(total)
    assert abs(np.corrcoef(order, np.arange(total))[0, 1]) < bound
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < bound
    assert abs((np.diff(order) > 0).mean() - 0.5) < 4 * np.sqrt(1 / 12 / total)
    fixed = (order == np.arange(total)).sum()
    assert fixed <= 8  # Poisson with mean 1


PINNED = [4, 9, 2, 3, 8, 7, 6, 5, 1, 0]
