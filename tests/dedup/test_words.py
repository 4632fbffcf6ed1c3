"""Words from text and from token ids: those of a plain reading of the text, whatever the tokens are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.batch import Ragged
from clet.dedup.words import byte_table, word_table, words_of

KEY = 0x1234567890ABCDEF
# The classes of characters once more, by code points: what a word may hold, and what is a word by itself.
SOLO = (
    "[\u0e00-\u0eff\u1000-\u10bf\u1780-\u17ff\u2e80-\u2fff\u3040-\ua4bf\uf900-\ufaff\uff00-\uffbf\U00020000-\U0003ffff]"
)
LETTER = (
    "[0-9A-Za-z_\u00aa\u00b2\u00b3\u00b5\u00b9\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u05bd\u05bf-\u060b\u060d-\u061a"
    "\u061c-\u061e\u0620-\u0dff\u0f00-\u0fff\u10c0-\u177f\u1800-\u1fff\u2c00-\u2dff\ua4c0-\ud7ff\ufb00-\ufdff"
    "\ufe80-\ufeff\U00010000-\U0001efff]"
)
WORD = re.compile(f"{SOLO}|{LETTER}+")
LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
CHARACTERS = (
    "aZ9_ .,\n-'\u2019\u00e9\u00df\u0416\u05d0\u05be\u0645\u060c\u0939\u0e01\u3042\u3002\u4e2d\uac00\uff21\u20ac\u2014"
    "\U0001f600\U00020000"
)
TEXT = st.text(CHARACTERS, max_size=60) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def of_text(text: str) -> np.ndarray:
    return words_of(np.frombuffer(text.encode(), np.uint8), byte_table(KEY), KEY)


def split(text: str) -> list[str]:
    return [word.translate(LOWER) for word in WORD.findall(text)]


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_words_are_those_of_a_plain_reading(text):
    expected = split(text)
    found = of_text(text)
    assert len(found) == len(expected)
    for word, value in zip(expected, found.tolist(), strict=True):
        assert of_text(word).tolist() == [value]


def test_different_words_have_different_hashes_and_equal_ones_equal_ones():
    rng = seeds.numpy_generator(1, "words")
    words = sorted({"".join(rng.choice(list("abcde\u00e9\u0416_0"), rng.integers(1, 9))) for _ in range(5000)})
    found = of_text(" ".join(words))
    assert len(set(found.tolist())) == len(words)
    assert np.array_equal(of_text("The CAT_5, sat!"), of_text("the cat_5 sat"))
    assert not np.array_equal(of_text("\u00c9t\u00e9"), of_text("\u00e9t\u00e9"))  # only ASCII is lower-cased


@settings(max_examples=200, deadline=None)
@given(TEXT, st.integers(0, 2**32 - 1))
def test_any_split_into_tokens_gives_the_words_of_the_text(text, seed):
    """Tokens may be any bytes: parts of a character, several words, nothing."""
    body = text.encode()
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, len(body) + 1, rng.integers(0, len(body) + 2)))
    tokens = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    table = word_table(Ragged.from_bytes([*tokens, b"never used"]), KEY)
    assert np.array_equal(words_of(np.arange(len(tokens), dtype=np.uint16), table, KEY), of_text(text))


def test_bytes_that_are_no_utf8_separate_and_end_nothing_early():
    cut_off = "caf\u00e9 au lait".encode().replace("\u00e9".encode(), b"\xc3")
    assert np.array_equal(words_of(np.frombuffer(cut_off, np.uint8), byte_table(KEY), KEY), of_text("caf au lait"))
    for body in (b"\xff\xfe", b"\x80\x80", b"\xe4\xb8", b"\xf0\x9f\x98"):
        assert len(words_of(np.frombuffer(body, np.uint8), byte_table(KEY), KEY)) <= 1


def test_ids_outside_the_table_are_passed_over():
    table = word_table(Ragged.from_bytes([b"one", b" two"]), KEY)
    assert np.array_equal(words_of(np.array([0, 7, 1], np.uint32), table, KEY), of_text("one two"))


@pytest.mark.parametrize("token", [b"a b " * 40, b"\xe4\xb8\xad" * 60])
def test_tokens_of_many_words_get_the_room_that_they_need(token):
    table = word_table(Ragged.from_bytes([token]), KEY)
    ids = np.zeros(50, np.uint16)
    assert np.array_equal(words_of(ids, table, KEY), of_text(token.decode() * 50))


def test_another_key_gives_other_words():
    body = np.frombuffer(b"one two three", np.uint8)
    assert not (words_of(body, byte_table(1), 1) == words_of(body, byte_table(2), 2)).any()
