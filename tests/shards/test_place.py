import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.exits import UsageError
from clet.shards.place import Place, share


@st.composite
def histories(draw):
    """(windows, [(readers, how many each has taken)]): an epoch read by changing numbers of readers, out of step."""
    total = draw(st.integers(0, 120))
    place, history = Place(), []
    for _ in range(draw(st.integers(1, 5))):
        world = draw(st.integers(1, 9))
        size = place.remaining(total)
        taken = [draw(st.integers(0, share(size, rank, world))) for rank in range(world)]
        history.append(taken)
        place = place.after(total, taken)
    return total, history


def positions_of(place, total, rank, world):
    numbers = np.arange(rank, place.remaining(total), world)
    return place.positions(numbers).tolist()


@settings(max_examples=300, deadline=None)
@given(histories())
def test_changing_the_number_of_readers_repeats_no_window_and_loses_none(case):
    total, history = case
    place, seen = Place(), []
    for taken in history:
        for rank, count in enumerate(taken):
            seen += positions_of(place, total, rank, len(taken))[:count]
        place = Place.from_bytes(place.after(total, taken).to_bytes(7), 7)
        assert place.remaining(total) == total - len(seen)
        assert len(place.left) <= place.passed
    for rank in range(3):
        seen += positions_of(place, total, rank, 3)
    assert sorted(seen) == list(range(total))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.integers(1, 12), st.integers(0, 30))
def test_readers_in_step_leave_nothing_out_so_that_a_place_is_20_bytes(total, world, steps):
    taken = [min(steps, share(total, rank, world)) for rank in range(world)]
    place = Place().after(total, taken)
    assert place == Place(0, sum(taken))
    assert len(place.to_bytes(1)) == 20


@given(st.integers(0, 200), st.integers(1, 12))
def test_shares_are_even_and_whole(total, world):
    shares = [share(total, rank, world) for rank in range(world)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_what_is_left_out_is_bounded_by_how_far_readers_are_apart():
    place = Place().after(10_000, [50, 50, 47, 50])
    assert place == Place(0, 200, (4 * 47 + 2, 4 * 48 + 2, 4 * 49 + 2))


def test_more_than_a_share_cannot_be_taken():
    with pytest.raises(ValueError, match="more than its share"):
        Place().after(10, [5, 6])
    with pytest.raises(ValueError, match="more than its share"):
        Place().after(10, [-1])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no place"),
        (b"x" * 19, "no place"),
        (Place(1, 5).to_bytes(8), "other shards"),
        (Place(0, 3, (1, 1)).to_bytes(7), "cannot have left out"),
        (Place(0, 3, (3,)).to_bytes(7), "cannot have left out"),
        (Place(0, 3, (-1,)).to_bytes(7), "cannot have left out"),
        (Place(0, 3, (1,)).to_bytes(7)[:-1], "no place"),
    ],
)
def test_what_is_no_place_of_these_shards_is_refused(body, told):
    with pytest.raises(UsageError, match=told):
        Place.from_bytes(body, 7)
