"""Data of a new kind are learned; noise is not, though it looks the same to a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tiny_run import Harm, step_lines, story

from clet import release as releases
from clet.seeds import numpy_generator
from clet.train.breaker import read_trips
from clet.train.newness import MIN_PAIRS, UNDERSTOOD, Newness, own_order, strangest
from clet.train.provenance import verify

SCRIPT = {ord("a") + i: 0x10D0 + (7 * i) % 26 for i in range(26)}  # Georgian letters, in another order
SETTINGS = {"lr": 1e-2, "epochs": 1, "batch_size": 16, "warmup": 5}


def foreign(number: int) -> str:
    """A story in letters that nothing else is written in."""
    return story(number).translate(SCRIPT)


@pytest.fixture
def learned(learn, make_shards, tmp_path):
    """A run of stories, learned well, and the folder of its shards."""
    shards = make_shards(tmp_path / "shards", [story(i) for i in range(60)])
    learn(shards, run=tmp_path / "run", **SETTINGS | {"epochs": 4})
    assert step_lines(tmp_path / "run")[-1]["loss"] < 2.5
    return tmp_path / "run", shards


def fresh(run, segment):
    return sum(len(which) for line in step_lines(run) if line["segment"] == segment for _, which in line["windows"])


def test_text_in_another_script_is_learned_and_that_is_said(learned, learn, make_shards, capfd):
    run, shards = learned
    make_shards(shards, [foreign(i) for i in range(30)], day=2)
    learn(shards, run=run, **SETTINGS)
    first = next(line for line in step_lines(run) if line["segment"] == 1)
    assert first["loss"] > math.log(257) + 0.75  # more than enough to trip
    assert read_trips(run) == [] and fresh(run, 1) > 100
    assert capfd.readouterr().err.count("of a kind new to the model") == 1


def test_a_mixture_of_known_and_new_text_is_learned(learned, learn, make_shards):
    run, shards = learned
    make_shards(shards, [foreign(i) if i % 3 else story(100 + i) for i in range(30)], day=2)
    learn(shards, run=run, **SETTINGS)
    assert read_trips(run) == [] and fresh(run, 1) > 100


def test_noise_is_not_learned_and_what_was_released_before_it_stays(learned, learn, make_shards):
    run, shards = learned
    letters = numpy_generator(1, "tests/newness").permutation(list("".join(story(i) for i in range(30))))
    make_shards(shards, ["".join(letters[i : i + 120]) for i in range(0, len(letters), 120)], day=2)
    learn(shards, run=run, **SETTINGS, max_trips=9)
    trips = read_trips(run)
    assert trips and all(trip["windows"] or trip["recalled"] == [] for trip in trips)
    assert fresh(run, 1) < 40
    assert releases.recalled(run) == {} and releases.tier_number(run, "live") == 1
    assert verify(run, releases.read_release(run, 1)) == []


def test_harm_to_the_weights_is_noticed_while_new_data_are_learned(learned, learn, make_shards):
    run, shards = learned
    make_shards(shards, [foreign(i) for i in range(30)], day=2)
    last = step_lines(run)[-1]["step"]
    learn(shards, run=run, **SETTINGS, outer=Harm([last + 2], factor=300.0))
    (trip,) = read_trips(run)
    assert last + 3 <= trip["step"] <= last + 4 and trip["windows"] == []
    assert fresh(run, 1) > 100


def test_order_of_neighbours_is_high_in_text_and_nothing_in_noise():
    text = np.frombuffer("".join(story(i) for i in range(40)).encode(), np.uint8)
    shuffled = numpy_generator(1, "tests/newness").permutation(text)
    noise = numpy_generator(2, "tests/newness").integers(0, 50_000, 4000)
    assert own_order(text[:-1], text[1:]) > 0.5
    assert abs(own_order(shuffled[:-1], shuffled[1:])) < 0.1
    assert abs(own_order(noise[:-1], noise[1:])) < 0.01
    assert own_order(text[: MIN_PAIRS - 1], text[1:MIN_PAIRS]) is None


def usual(order=0.3):
    kind = Newness()
    for _ in range(40):
        kind.add(0, order, order, understood=True)
    return kind


def test_a_kind_is_new_until_it_was_understood_for_a_while():
    kind = usual()
    assert not kind.explains(0, 0.3)
    assert kind.explains(1, 0.3) and kind.explains(1, 0.16) and not kind.explains(1, 0.14)
    assert not kind.explains(1, None)
    for _ in range(UNDERSTOOD - 1):
        kind.add(1, 0.3, 0.3, understood=True)
        assert kind.explains(1, 0.3)
    kind.add(1, 0.3, 0.3, understood=False)  # mixed with the known: from the beginning
    for _ in range(UNDERSTOOD):
        assert kind.explains(1, 0.3)
        kind.add(1, 0.3, 0.3, understood=True)
    assert not kind.explains(1, 0.3)


def test_one_step_that_looks_orderly_does_not_excuse_a_segment_of_noise():
    kind = usual()
    for order in (0.05, 0.05, 0.05):
        kind.add(1, 0.3, order, understood=False)
    assert not kind.explains(1, 0.3)


def test_what_was_known_must_be_known_nearly_as_well_at_first_and_half_of_it_later():
    kind = usual()
    assert not kind.accepts(1, 9.0, [], [], 5.0)
    assert not kind.accepts(1, 5.5, [2.0, 3.0], [3.5, 3.5], 5.0)  # it forgot before anything new was learned
    assert not kind.accepts(1, 3.6, [2.0, 3.0], [2.6, 2.6], 5.0)  # the new is no stranger to it than the old
    assert kind.accepts(1, 5.5, [2.0, 3.0], [2.6, 2.6], 5.0)
    assert kind.accepts(1, 3.6, [2.0, 3.0], [3.5, 3.5], 5.0)
    assert not kind.accepts(1, 3.6, [2.0, 3.0], [4.0, 4.0], 5.0)
    assert not kind.accepts(2, 5.5, [2.0, 3.0], [3.5, 3.5], 5.0)  # another segment, another doubt
    assert not kind.accepts(2, 9.0, [6.0], [6.5], 5.0)


def test_the_strangest_windows_are_those_worse_than_nothing_or_the_worse_half():
    assert strangest([1.0, 6.0, 2.0, 7.0], 5.0).tolist() == [False, True, False, True]
    assert strangest([1.0, 4.0, 2.0, 3.0], 5.0).tolist() == [False, True, False, True]


def test_noise_among_text_of_a_new_kind_is_not_excused_by_it(learned, learn, make_shards):
    run, shards = learned
    letters = numpy_generator(1, "tests/newness").permutation(list("".join(story(i) for i in range(60))))
    noise = ["".join(letters[i : i + 120]) for i in range(0, len(letters), 120)]
    make_shards(shards, [*noise, *(story(100 + i) for i in range(len(noise)))], day=2)
    learn(shards, run=run, **SETTINGS, max_trips=9)
    assert read_trips(run) and all(trip["windows"] for trip in read_trips(run))
