"""Streaming text: whole characters, no part of a stop string, the same whatever the cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clet.serve.text import TextStream


def streamed(data: bytes, cuts: list[int], stops: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """The parts given out when `data` arrives cut at `cuts`, up to a stop."""
    text, parts = TextStream(stops), []
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(borders):
        parts.append(text.push(data[start:end]))
        if text.stopped:
            return parts, text
    return [*parts, text.finish()], text


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=30))
def test_any_cut_gives_the_text_of_the_whole(data: bytes, cuts: list[int]):
    parts, text = streamed(data, cuts)
    assert "".join(parts) == data.decode("utf-8", "replace")
    assert text.num_seen == text.num_given == len("".join(parts))


@given(st.text(max_size=40), st.lists(st.integers(0, 60), max_size=30))
def test_half_a_character_is_never_given_out(given_text: str, cuts: list[int]):
    parts, _ = streamed(given_text.encode(), cuts)
    assert all("\ufffd" not in part for part in parts) or "\ufffd" in given_text


@given(
    st.text(alphabet="abS\u20ac", max_size=40),
    st.lists(st.integers(0, 80), max_size=30),
    st.lists(st.text(alphabet="abS\u20ac", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_text_ends_before_a_stop_string_wherever_chunks_are_cut(whole: str, cuts: list[int], stops: list[str]):
    parts, text = streamed(whole.encode(), cuts, tuple(stops))
    found = "".join(parts)
    assert whole.startswith(found)
    assert not any(stop in found for stop in stops)
    if text.stopped:
        assert any(whole[len(found) :].startswith(stop) for stop in stops)
    else:
        assert found == whole


def test_the_beginning_of_a_stop_string_is_held_back_until_it_is_none():
    text = TextStream(["STOP"])
    assert text.push(b"go ST") == "go "
    assert text.push(b"AND") == "STAND"
    assert text.push(b" STO") == " "
    assert text.finish() == "STO"


def test_an_unfinished_character_at_the_end_becomes_a_replacement_character():
    text = TextStream()
    assert text.push("caf\u00e9".encode()[:-1]) == "caf"
    assert text.finish() == "\ufffd"


def test_a_stop_string_hides_what_came_in_the_same_token():
    text = TextStream(["\n\n"])
    assert text.push(b"end.\n\nUser: more") == "end."
    assert text.stopped and text.push(b"x") == "" and text.finish() == ""


def test_an_empty_stop_string_is_a_programming_error():
    with pytest.raises(AssertionError):
        TextStream([""])
