"""Counts of a text against plain Python, and from token ids against from text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import plain_rules as plain
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clet.batch import Batch, Ragged
from clet.priority import lines as ln
from clet.priority import textstats, words
from clet.priority.characters import classes
from clet.priority.keys import PAD
from clet.priority.rules import OWN_LEAST, PUBLISHED_LEAST, c4, fineweb, first_broken, gopher, prose
from clet.priority.runs import byte_kinds, known_endings
from clet.priority.textstats import ALL, Least, Scratch, Stat, TokenTable, measure
from clet.tokens import Tokenizer

# ruff: noqa: E501 - escapes of other scripts are wide
SCRATCH = Scratch()
LINE_STATS = {name: getattr(ln, name) for name in (
    "ALL_LINES", "LINES", "DASHED", "DOTTED", "TERMINAL", "SHORT_LINES", "RAW_LINES", "RAW_DUP_LINES",
    "RAW_DUP_LINE_CHARS", "FULL_DUP_CHARS", "PARAGRAPHS", "DUP_PARAGRAPHS", "DUP_PARAGRAPH_CHARS",
)}  # fmt: skip


def batch_of(*texts: str) -> Batch:
    column = Ragged.from_bytes([text.encode() for text in texts])
    heads = Ragged.from_bytes([b"{}" for _ in texts])
    return Batch(heads, column, np.ones(len(texts), np.uint8))


def row_of(text: str, least: Least = ALL, *, whole: bool = False) -> np.ndarray:
    return measure(batch_of(text), SCRATCH, least=least, whole=whole)[0][0]


def stats_of(text: str) -> dict[str, float]:
    row = row_of(text)
    found = {stat.name: float(row[stat]) for stat in Stat} | {
        n: float(row[Stat.LINE + i]) for n, i in LINE_STATS.items()
    }
    found |= {f"TOP_CHARS_{n}": float(row[Stat.TOP_CHARS + n - 2]) for n in (2, 3, 4)}
    found |= {f"TOP_COUNT_{n}": float(row[Stat.TOP_COUNT + n - 2]) for n in (2, 3, 4)}
    return found | {f"DUP_CHARS_{n}": float(row[Stat.DUP_CHARS + n - 5]) for n in range(5, 11)}


def units_of(text: str, *, whole: bool = False) -> list[str]:
    body = text.encode()
    size = len(body)
    data = np.full(size + 2 * PAD + 8, 10, np.uint8)
    data[PAD : PAD + size] = np.frombuffer(body, np.uint8)
    cuts, keys = np.zeros((size + 1, 2), np.uint64), np.zeros(size + 1, np.uint64)
    sizes, flags = np.zeros(size + 1, np.int32), np.zeros(size + 1, np.uint8)
    lines, tally = np.zeros((text.count("\n") + 1, 5), np.int64), np.zeros(words.NUM_TALLIES, np.int64)
    count, _ = words.split(
        data, PAD, PAD + size, classes(), byte_kinds(), words.byte_flags(), known_endings(),
        whole, cuts, keys, sizes, flags, lines, tally,
    )  # fmt: skip
    return [body[int(a) - PAD : int(b) - PAD].decode() for a, b in cuts[:count]]


PIECES = [
    "the", "The", "of", "and", "be", "word", "other", "don't", "he\u2019s", "we'll", "U.S.", "Mr.", "e.g.", "10km", "5$", "$5", "50%",
    "3,000.50", "a,b", "well-known", "a--b", "1-2", "state\u2013of", "end.Next", "x=1", "a/b", "x=y", "http://a.b/c-d", "www.a.org/x", "a.org/b-c",
    "...", "wait...", "wait\u2026", "#tag", "##", "-", "\u2022", "(see", "it)", '"so"', "\u00abx\u00bb", "**b**", "_i_", "+1", "C++", "USA.", "A.", "\u00e9t\u00e9",
    "\u4e2d\u6587\uff0c\u6c49\u5b57\u3002", "\u041f\u0440\u0438\u0432\u0435\u0442,", "\U0001f600", "a\U0001f600b", "!?", ".", "..", "s", "'s", "'", "n't", "\u2019", "12pm", "7m.", "x'd", "'ve", "-foo", "foo-", "~", "a~b", ">=", "->", "[1]", "x.[2]", "[edit]",
]  # fmt: skip
SPACES = [" ", " ", " ", " ", "  ", "\n", "\n", "\n\n", "\n\n\n", "\t", " \n", "\n ", "\u00a0", "\u3000", ""]
texts = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SPACES)), max_size=120).map(
    lambda parts: "".join(piece + space for piece, space in parts)
)
repetitive = st.lists(st.sampled_from(["a", "bc", "def", "ghij.", "klmno\n", "p\n\n"]), max_size=150).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_words_are_cut_as_the_plain_rules_say(text):
    assert units_of(text) == plain.cut(text)
    assert units_of(text, whole=True) == plain.cut(text, whole=True)


@settings(max_examples=300, deadline=None)
@given(st.one_of(texts, repetitive))
@example("")
@example("\n")
@example("\n\na\n\na\n")
def test_all_counts_equal_the_plain_definitions(text):
    got, expected = stats_of(text), plain.counts(text)
    assert {name: got[name] for name in expected} == expected


@settings(max_examples=200, deadline=None)
@given(st.one_of(texts, repetitive), st.sampled_from([OWN_LEAST, PUBLISHED_LEAST]))
def test_what_is_not_counted_changes_no_verdict_and_no_score(text, least):
    from clet.priority.quality import prose_score

    short, full = row_of(text, least)[None], row_of(text)[None]
    sets = [prose] if least is OWN_LEAST else [gopher, c4, fineweb]
    for rules in sets:
        code = first_broken(rules(full), 1)[0]
        assert first_broken(rules(short), 1)[0] == code
        assert least is not OWN_LEAST or code or prose_score(short) == prose_score(full)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_measured(text):
    got = stats_of(text.encode("utf-8", "replace").decode())
    assert got["LATIN"] <= got["LETTERS"] <= got["CHARS"] == len(text)
    assert got["LETTER_WORDS"] <= got["WORDS"] <= got["UNITS"]
    assert got["LINES"] <= text.count("\n") + 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_text_are_measured_without_reading_past_them(body):
    column = Ragged.from_bytes([body, b"plain words"])
    batch = Batch(Ragged.from_bytes([b"{}", b"{}"]), column, np.ones(2, np.uint8))
    rows = measure(batch, SCRATCH)[0]
    assert rows[0, Stat.UNITS] <= len(body)
    assert np.array_equal(rows[1], row_of("plain words"))


@pytest.mark.parametrize("text", [
    "One sentence here. And two more! Really?", "No mark at the end of it", "It ends with dots...", "Two words.",
    "He said it.[12]", "Cited twice.[1][23]", "A claim.[citation needed]", "Look at it.[edit]", '"So it was," he said.',
    "Mr. Smith went to the U.S. in 2019. He stayed.", "x" * 1001 + " is a long word.", "It costs 3.50 or so. OK.",
    "First line is here.\nSecond line too. Yes.\nmenu\nThird one ends.",
])  # fmt: skip
def test_sentences_are_those_of_the_lines_that_c4_keeps(text):
    got = row_of(text)[Stat.LINE + ln.SENTENCES]
    assert got == sum(map(plain.kept_sentences, text.split("\n")))


@pytest.mark.parametrize(("text", "dropped"), [
    ("Enable JavaScript to go on, please.", True), ("See our Privacy Policy for more.", True),
    ("We use cookies on this site.", True), ("This site makes use of cookies here.", True),
    ("Read the terms of use first.", True), ("She uses cookies for tea.", True),
    ("The use of a policy is clear.", False), ("Java and scripts are two things.", False),
])  # fmt: skip
def test_lines_with_phrases_of_pages_are_not_kept_by_c4(text, dropped):
    assert (row_of(text)[Stat.LINE + ln.SENTENCES] == 0) == dropped


def test_placeholders_and_curly_brackets_are_seen_where_c4_looks():
    assert row_of("Here is Lorem ipsum dolor sit amet.")[Stat.LINE + ln.PLACEHOLDER] == 1
    assert row_of("A function has { and } in it.")[Stat.LINE + ln.CURLY] == 1
    assert row_of("no mark { at the end")[Stat.LINE + ln.CURLY] == 0


def test_own_words_and_marks():
    got = stats_of("\u2022 One, two!\n\n- Three and...\n**Six** (7th) 8 | | |\nSee https://a.b/c.")
    assert (got["WORDS"], got["LETTER_WORDS"], got["LINKS"]) == (2 + 2 + 3 + 1, 7, 1)
    assert got["MARKS"] == 2 + 3


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        ("The cat AND the dog have been to the house of the king", 5),
        ("Der Hund und die Katze sind nicht von hier", 5),
        ("Le chat et la souris dans les bois", 5),
        ("cheap flights best hotels buy now", 0),
    ],
)
def test_function_words_are_counted_by_language(text, distinct):
    assert stats_of(text)["STOP_DISTINCT"] == distinct


def test_scripts_are_told_apart():
    assert stats_of("Gr\u00fc\u00dfe aus K\u00f6ln")["LATIN"] == 12
    chinese = stats_of("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\n\u660e\u5929\u4e5f\u597d\uff01")
    assert (chinese["SPACELESS"], chinese["WORDS"], chinese["TERMINAL"]) == (10, 10, 2)
    russian = stats_of("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440")
    assert (russian["LETTERS"], russian["LATIN"], russian["SPACELESS"], russian["WORDS"]) == (9, 0, 0, 2)
    assert stats_of("\U0001f600 \U0001f680")["LETTERS"] == 0


def test_a_huge_text_is_judged_by_its_first_part():
    row = row_of("\u00e9t\u00e9 " * 1_200_000)
    assert 690_000 < row[Stat.WORDS] < 700_000
    assert textstats.MAX_BYTES == 4 << 20


def test_memory_for_one_text_is_bounded_and_a_long_one_does_not_change_its_neighbours():
    scratch = Scratch()
    texts = ["A short text.", "word " * 50_000, "A short text."]
    rows = measure(batch_of(*texts), scratch)[0]
    assert rows[1, Stat.UNITS] == 50_000
    assert np.array_equal(rows[0], rows[2])
    assert scratch.room <= textstats.MAX_BYTES


# ---- from ids


def byte_level(path: Path, merges: list[tuple[str, str]]) -> Tokenizer:
    """A tokenizer of bytes and a few merges, some across words and newlines."""
    from clet.tokenizing.shapes import byte_characters

    characters = byte_characters()
    vocab = dict(characters)
    by_byte = {byte: character for character, byte in characters.items()}
    written = []
    for pair in merges:
        left, right = ("".join(by_byte[b] for b in part.encode()) for part in pair)
        written.append([left, right])
        vocab[left + right] = len(vocab)
    spec = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocab, "merges": written},
    }  # fmt: skip
    path.write_bytes(orjson.dumps(spec))
    return Tokenizer.load(path, fast=False)


def sentence_piece(path: Path) -> Tokenizer:
    """One in the manner of SentencePiece: a space is put in front, unknown characters fall back to bytes."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefgh.,", "\u2581the", "\u2581a"]
    spec = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": "<unk>", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": [], "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True},
    }  # fmt: skip
    path.write_bytes(orjson.dumps(spec))
    return Tokenizer.load(path, fast=False)


MERGES = [("t", "h"), ("th", "e"), (" ", "the"), ("\n", "\n"), (".", "\n"), (" ", "o"), (" o", "f"), (" of", " the"), ("e", " of the"), (".", "."), ("..", ".")]  # fmt: skip


@pytest.fixture(scope="module", params=["bytes", "merges", "pieces"])
def tokenizer(request, tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    if request.param == "pieces":
        return sentence_piece(path)
    return byte_level(path, MERGES if request.param == "merges" else [])


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_ids_of_any_tokenizer_give_the_counts_of_the_text(tokenizer, text):
    batch = batch_of(text)
    with_ids = batch.with_tokens(tokenizer.encode([text]), tokenizer.fingerprint).without_text()
    got = measure(with_ids, SCRATCH, TokenTable(tokenizer))[0]
    assert np.array_equal(got, measure(batch, SCRATCH)[0])


def test_ids_that_the_tokenizer_does_not_have_stand_for_nothing(tokenizer):
    ids = tokenizer.encode(["the end."])
    more = Ragged.from_rows([np.concatenate((ids[0], [60_000])).astype(np.uint16)], np.uint16)
    table = TokenTable(tokenizer)
    with_ids, clean = (batch_of("").with_tokens(column, tokenizer.fingerprint) for column in (more, ids))
    assert np.array_equal(measure(with_ids, SCRATCH, table)[0], measure(clean, SCRATCH, table)[0])


def test_ids_of_another_tokenizer_are_not_read(tokenizer):
    batch = batch_of("Some text.").with_tokens(Ragged.from_rows([np.array([1, 2], np.uint16)], np.uint16), "other")
    assert np.array_equal(
        measure(batch, SCRATCH, TokenTable(tokenizer))[0], measure(batch_of("Some text."), SCRATCH)[0]
    )


def test_ids_of_a_huge_text_are_read_up_to_the_limit_and_not_in_the_middle_of_a_character(tokenizer):
    text = "\u00e9t\u00e9 " * 1_000_000
    batch = batch_of(text).with_tokens(tokenizer.encode([text]), tokenizer.fingerprint).without_text()
    row = measure(batch, Scratch(), TokenTable(tokenizer))[0][0]
    assert abs(row[Stat.WORDS] - textstats.MAX_BYTES / 6) < 2
    assert row[Stat.LETTERS] == row[Stat.LOUD_CHARS]
