"""The fast engine: exact on every shape it takes, whatever the text, the grouping and the number of threads."""

import mmap
import random

import numpy as np
import orjson
import pytest
from tokens_samples import END, added, byte_level, like_llama, like_qwen, pattern, random_text, split

from clet.batch import Ragged
from clet.tokenizing import fast as fast_module
from clet.tokenizing.fast import SEPARATOR, EngineFailed, FastEngine
from clet.tokenizing.reference import Reference
from clet.tokenizing.selfcheck import check
from clet.tokenizing.shapes import SPLITS, fast_spec
from clet.tokens import _vocab_size

pytest.importorskip("gigatoken")
WIDE = np.dtype(np.uint32)
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False}
PREFIXED = byte_level()["pre_tokenizer"] | {"add_prefix_space": True}


def with_added(spec, *contents, **flags):
    first = max(token["id"] for token in spec["added_tokens"]) + 1
    first = max(first, max(spec["model"]["vocab"].values()) + 1)
    new = [added(content, first + i, **flags) for i, content in enumerate(contents)]
    return spec | {"added_tokens": spec["added_tokens"] + new}


def both_ways(spec):
    """Every token that is made of two others by each pair of them, as files made from tiktoken's have it."""
    vocab = spec["model"]["vocab"]
    merges = [
        [token[:k], token[k:]]
        for token in vocab
        for k in range(1, len(token))
        if token != END and {token[:k], token[k:]} <= vocab.keys()
    ]
    return spec | {"model": spec["model"] | {"merges": merges}}


def renumbered(spec):
    """The same tokens with ids that say nothing of the order of merges, as RoBERTa has them."""
    vocab = spec["model"]["vocab"]
    numbers = list(vocab.values())
    random.Random(7).shuffle(numbers)
    vocab = dict(zip(vocab, numbers, strict=True))
    special = [token | {"id": vocab.get(token["content"], token["id"])} for token in spec["added_tokens"]]
    return spec | {"model": spec["model"] | {"vocab": vocab}, "added_tokens": special}


SHAPES = {
    "bytes": byte_level(),
    "a space in front": byte_level(pre_tokenizer=PREFIXED),
    "nfc": like_qwen(),
    "ids in another order": renumbered(byte_level()),
    "tokens made in several ways": both_ways(byte_level()),
    "whole words first": both_ways(byte_level(pre_tokenizer=split(*pattern("llama3")), model={"ignore_merges": True})),
    "tokens in text": with_added(byte_level(), "<tool_call>", "<m>", "<a b>"),
    "tokens in text, nfc": with_added(like_qwen(), "<tool_call>", "<m>", "<\u00e9>"),
    "tokens that take spaces": with_added(byte_level(), "<m>", "<tool_call>", lstrip=True, rstrip=True),
    "tokens of spaces": with_added(byte_level(), "  ", "    ", "\n\n", normalized=True),
    "characters": like_llama(),
    "characters, none in front": like_llama(normalizer=like_llama()["normalizer"]["normalizers"][1]),
    "characters, tokens in text": with_added(like_llama(), "<tool_call>", "</S>", rstrip=True),
} | {name: byte_level(pre_tokenizer=split(*patterns)) for patterns, name in SPLITS.items()}
for scheme in ("always", "first", "never"):
    for words in (True, False):
        marked = METASPACE | {"prepend_scheme": scheme, "split": words}
        SHAPES[f"metaspace {scheme} {words}"] = like_llama(normalizer=None, pre_tokenizer=marked)


def engines(spec):
    """The reference and the fast engine of one file."""
    reference = Reference(orjson.dumps(spec))
    return reference, FastEngine(spec, reference, _vocab_size(spec, reference), WIDE)


def encode(fast, texts, **options):
    return fast.encode([text.encode() for text in texts], trusted=True, **options)


def assert_same(found, expected, texts):
    for row, text in enumerate(texts):
        assert np.array_equal(found[row], expected[row]), ascii(text)
    assert len(found) == len(expected) == len(texts)


@pytest.mark.parametrize("name", SHAPES)
def test_ids_are_those_of_the_reference_on_hard_random_text(name):
    spec = SHAPES[name]
    reference, fast = engines(spec)
    check(fast, reference, spec, _vocab_size(spec, reference))
    rng = random.Random(name)
    texts = [random_text(rng) for _ in range(400)]
    assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)


class Watched:
    """An engine, and which of its functions were called."""

    def __init__(self, engine):
        self.engine, self.used = engine, set()

    def __getattr__(self, name):
        self.used.add(name)
        return getattr(self.engine, name)


def test_ids_depend_neither_on_threads_nor_on_what_is_encoded_together(monkeypatch):
    rng = random.Random(1)
    words = [
        "the ",
        "The",
        " didn't",
        "\n\n",
        "  ",
        "\t",
        "1234",
        "...",
        "\u00e9t\u00e9 ",
        "\u4e2d\u6587",
        "\U0001f600",
    ]
    words += ["".join(rng.choices("abcdefgh", k=rng.randrange(1, 9))) + " " for _ in range(3000)]
    texts = ["".join(rng.choices(words, k=rng.randrange(1, 20_000))) for _ in range(50)]
    texts += ["a b " * 700_000, *words, "", "", "x" * 70_000]  # one is longer than what threads are given
    assert sum(map(len, texts)) > 4 * fast_module.PARALLEL_PIECE_BYTES
    monkeypatch.setenv("RAYON_NUM_THREADS", "2")
    monkeypatch.setattr(fast_module, "CACHE_BYTES", 1 << 40)  # loading it again would lose what watches it
    for spec in (byte_level(), like_qwen(), like_llama()):
        _, fast = engines(spec)
        whole = encode(fast, texts)
        fast._engine = Watched(fast._engine)
        threads = encode(fast, texts, jobs=2)
        assert ("encode_batch_padded" in fast._engine.used) == (not spec["model"]["byte_fallback"])
        assert np.array_equal(whole.values, threads.values)
        assert np.array_equal(whole.offsets, threads.offsets)
        cuts = sorted(rng.sample(range(len(texts)), 20))
        parts = [encode(fast, texts[a:b]) for a, b in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
        assert np.array_equal(Ragged.concat(parts).values, whole.values)


def test_a_very_long_word_and_long_runs_are_exact():
    texts = ["x" * 100_000, "\u4e2d" * 70_000, "ab" * 40_000, " " * 66_000, "\u0301" * 66_000, "\n" * 66_000]
    for spec in (byte_level(), like_qwen(), like_llama()):
        reference, fast = engines(spec)
        assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)


def test_text_that_spells_the_token_between_texts_is_text():
    texts = ["a", SEPARATOR, f"b{SEPARATOR}c{SEPARATOR}", "", SEPARATOR[1:], SEPARATOR[:-1], SEPARATOR * 3, "\0", "d"]
    for spec in (byte_level(), like_qwen(), like_llama()):
        reference, fast = engines(spec)
        assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)
        assert_same(encode(fast, texts[1:2]), reference.encode(texts[1:2], WIDE), texts[1:2])


@pytest.fixture
def elsewhere(monkeypatch):
    """Texts that the fast engine was not given."""
    texts = []
    kept = FastEngine._encode_elsewhere
    monkeypatch.setattr(FastEngine, "_encode_elsewhere", lambda *given: (texts.append(given[-1]), kept(*given))[1])
    return texts


def test_characters_younger_than_unicode_14_are_left_to_the_reference(elsewhere):
    young = ["a\U0001fae8b", "x\u088f1", "\U00031350", "noncharacter \uffff", "\u0378"]
    old = ["\U0001f600 \u4e2d\u6587 \u0928\u094d \ue000 \ufffd", "plain"]
    reference, fast = engines(byte_level())
    texts = [*old, *young, *old]
    assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)
    assert elsewhere == young
    elsewhere.clear()
    encode(engines(like_llama())[1], texts)
    assert elsewhere == []  # its text is not split by what characters are


def test_text_is_normalised_by_the_reference_and_tokens_are_found_before(elsewhere):
    texts = ["e\u0301", "\u212b", "q\u0307\u0323", "\u1100\u1161", "\u0958", "plain \u00e9 \u4e2d", "<m>\u0338 <m>"]
    reference, fast = engines(like_qwen())
    assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)
    assert elsewhere == []
    reference, fast = engines(with_added(like_qwen(), "<m>"))
    assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)
    assert elsewhere == [text for text in texts if text != "plain \u00e9 \u4e2d" and reference.normalise(text) != text]


def test_of_two_ways_to_make_a_token_the_order_of_merges_decides():
    spec = byte_level()
    spec["model"]["vocab"] = {
        token: i for token, i in spec["model"]["vocab"].items() if len(token) == 1 or token == END
    }
    last = max(spec["model"]["vocab"].values())
    spec["model"]["vocab"] |= {"aa": last + 1, "aaa": last + 2, "aab": last + 3, "baa": last + 4}
    spec["model"]["merges"] = [["a", "a"], ["aa", "a"], ["a", "aa"], ["aa", "b"], ["b", "aa"]]
    spec["added_tokens"] = [added(END, last + 5, special=True)]
    texts = ["a" * n + tail for n in range(1, 40) for tail in ("", "b", "ba", "bb" + "a" * n)]
    for merges in (spec["model"]["merges"], [spec["model"]["merges"][i] for i in (0, 2, 1, 4, 3)]):
        spec["model"]["merges"] = merges
        reference, fast = engines(spec)
        assert_same(encode(fast, texts), reference.encode(texts, WIDE), texts)


def test_the_cache_of_the_engine_is_given_back_when_the_process_has_grown(monkeypatch):
    reference, fast = engines(byte_level())
    texts = [random_text(random.Random(n)) for n in range(50)]
    expected = reference.encode(texts, WIDE)
    engine, grown = fast._engine, iter((fast_module.CACHE_BYTES, fast_module.CACHE_BYTES + 1, 0))
    monkeypatch.setattr(fast_module, "CHECK_BYTES", 1)
    monkeypatch.setattr(fast_module, "resident_bytes", lambda: fast._resident + next(grown))
    assert_same(encode(fast, texts), expected, texts)
    assert fast._engine is engine
    assert_same(encode(fast, texts), expected, texts)
    assert fast._engine is not engine
    assert_same(encode(fast, texts[:0]), [], [])


def test_an_engine_that_cannot_be_loaded_again_is_a_failed_engine(monkeypatch):
    _, fast = engines(byte_level())
    fast._body = b"{}"
    monkeypatch.setattr(fast_module, "CHECK_BYTES", 1)
    monkeypatch.setattr(fast_module, "CACHE_BYTES", -(1 << 60))
    with pytest.raises(EngineFailed, match="loaded again"):
        encode(fast, ["text"])


def test_the_memory_of_a_process_is_known():
    size = fast_module.resident_bytes()
    with mmap.mmap(-1, 30_000_000) as held:
        held.write(b"x" * len(held))
        assert fast_module.resident_bytes() - size > 20_000_000


def test_the_engine_gets_neither_special_tokens_nor_a_normalizer():
    body, needs_nfc = fast_spec(like_qwen(), separator="S", separator_id=9999)
    spec = orjson.loads(body)
    assert needs_nfc
    assert spec["normalizer"] is None
    assert [token["content"] for token in spec["added_tokens"]] == ["S"]
