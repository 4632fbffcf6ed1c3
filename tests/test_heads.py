import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.batch import Ragged
from clet.heads import NO_TIME, Heads
from clet.record import format_time, parse_time

NAMES = ("id", "published", "priority", "x")
TEXT = st.text('ab"\\{}[],:\u00e9\n x', max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 10**9) | st.floats(allow_nan=False, width=16) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


def heads_of(objects):
    return Heads.of(Ragged.from_bytes([orjson.dumps(each) for each in objects]), NAMES)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON, max_size=6), max_size=4))
def test_fields_are_those_of_the_parsed_object(objects):
    heads = heads_of(objects)
    for row, each in enumerate(objects):
        for name in NAMES:
            assert heads.has(name)[row] == (name in each)
            assert heads.value(row, name) == orjson.loads(orjson.dumps(each.get(name)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), min_size=1, max_size=4))
def test_fields_inside_a_field_are_those_of_the_parsed_object(objects):
    inner = heads_of(objects).inside("priority", ("x", "id"))
    for row, each in enumerate(objects):
        expected = each.get("priority") if isinstance(each.get("priority"), dict) else {}
        assert [inner.has(name)[row] for name in ("x", "id")] == [name in expected for name in ("x", "id")]
        assert inner.value(row, "x") == orjson.loads(orjson.dumps(expected.get("x")))


def test_ids_are_the_bytes_of_their_digits():
    digits = ["00ff" * 8, "0123456789abcdef" * 2]
    heads = heads_of([{"title": "a", "id": each} for each in digits])
    assert [each.tobytes().hex() for each in heads.ids] == digits


TIMES = st.sampled_from(
    [
        "2026-01-31T08:00:00Z",
        "2026-01-31T07:59:59Z",
        "2026-01-31 09:00:00Z",
        "2026-01-31T08:00:01.5Z",
        "2026-01-31T10:00:00+03:00",
        "2026-01-30",
        "9999-99-99T99:99:99Z",
        "no time at all, TwentZ",
        "",
        None,
        "0001-01-01T00:00:00Z",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TIMES, max_size=8), TIMES)
def test_the_latest_time_is_that_of_parsing_all(texts, known):
    def moment(text):
        try:
            return format_time(parse_time(text)) if text else None
        except ValueError:
            return None

    heads = heads_of([{"id": "x"} if text is None else {"published": text} for text in texts])
    rows = np.arange(len(texts))
    expected = max(filter(None, map(moment, [known, *texts])), default=None)
    assert heads.latest(rows, "published", moment(known)) == expected


@pytest.mark.parametrize("length", [*range(14, 19), 31, 32, 33])
def test_strings_that_end_at_a_block_do_not_confuse(length):
    for text in ("a" * length, "a" * (length - 2) + '"b', "a" * (length - 1) + "\\", '"' * length):
        heads = heads_of([{"k": text, "id": text, "x": [text, {"id": "inner"}]}])
        assert heads.value(0, "id") == text
        assert heads.value(0, "x") == [text, {"id": "inner"}]


@settings(max_examples=80, deadline=None)
@given(st.lists(TIMES | st.datetimes().map(lambda t: format_time(t)) | st.none() | st.integers(0, 9), max_size=6))
def test_seconds_are_those_of_the_parsed_times(values):
    heads = heads_of([{"published": value} for value in values])
    for found, value in zip(heads.seconds("published").tolist(), values, strict=True):
        try:
            expected = int(parse_time(format_time(parse_time(value))).timestamp())
        except (ValueError, TypeError, AttributeError):
            expected = NO_TIME
        assert found == expected


def test_equal_values_have_equal_hashes_and_missing_ones_none():
    hashes = heads_of([{"x": "a"}, {"x": "b"}, {"x": "a"}, {"x": None}, {}]).hashes("x").tolist()
    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[3:] == [0, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.just("x"), JSON, max_size=1), max_size=30))
def test_heads_are_alike_whose_fields_are(objects):
    bodies = [orjson.dumps(each["x"]) if "x" in each else b"" for each in objects]
    assert heads_of(objects).first_alike("x").tolist() == [bodies.index(body) for body in bodies]


def test_a_time_that_is_missing_or_before_1970_is_0():
    moments = [None, "2026-01-31T08:00:00Z", "1969-12-31T23:59:59Z", "1969-01-05T23:59:59Z", 7, "soon"]
    heads = heads_of([{}, *({"published": moment} for moment in moments)])
    assert heads.times("published").tolist() == [0, 0, 1769846400, 0, 0, 0, 0]
