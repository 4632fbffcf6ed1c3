"""A tokenizer as the rest of clet sees it: ids, bytes of ids, and which engine makes them."""

import random
import sys

import numpy as np
import orjson
import pytest
from tokens_samples import END, MARK, byte_level, like_llama, like_qwen, random_text, saved

from clet import tokens
from clet.batch import Ragged
from clet.exits import InputError, UsageError
from clet.log import log
from clet.tokenizing.fast import EngineFailed, FastEngine
from clet.tokenizing.reference import Reference
from clet.tokens import Identity, Tokenizer

pytest.importorskip("gigatoken")

TEXTS = ["The council didn't meet.", "", "  a\n\nb ", f"x{END}y", "Gro\u0308\u00dfe \u4e2d\u6587 \U0001f600", "\0\1"]


@pytest.fixture
def loaded(tmp_path):
    """A tokenizer from what its file says."""

    def load(spec=None):
        return Tokenizer.load(saved(spec or byte_level(), tmp_path))

    return load


@pytest.fixture
def said(monkeypatch):
    """What is said with -v."""
    lines = []
    monkeypatch.setattr(log, "detail", lambda text, **_: lines.append(text))
    monkeypatch.setattr(log, "warn", lambda text, **_: lines.append(text))
    return lines


def same(one, other):
    return one.values.dtype == other.values.dtype and all(
        np.array_equal(a, b) for a, b in ((one.values, other.values), (one.offsets, other.offsets))
    )


@pytest.mark.parametrize("make", [byte_level, like_qwen, like_llama])
def test_both_engines_give_the_same_ids_whether_from_strings_or_from_bytes(loaded, make):
    tokenizer = loaded(make())
    rng = random.Random(3)
    texts = TEXTS + [random_text(rng) for _ in range(300)]
    column = Ragged.from_bytes([text.encode() for text in texts])
    slow, slow_column = tokenizer.encode(texts), tokenizer.encode_ragged(column)
    assert tokenizer.engine == "tokenizers"
    assert tokenizer.choose_engine() == "gigatoken"
    assert same(tokenizer.encode(texts), slow)
    assert same(tokenizer.encode_ragged(column), slow)
    assert same(slow_column, slow)


def test_text_that_spells_a_special_token_is_ordinary_text(loaded):
    tokenizer = loaded()
    for _ in range(2):
        ids = tokenizer.encode([END])[0]
        assert len(ids) > 1
        assert tokenizer.eos_id not in ids
        assert tokenizer.decode(ids) == END
        tokenizer.choose_engine()
    assert tokenizer.decode([tokenizer.eos_id]) == ""


def test_the_fast_engine_is_loaded_when_there_is_text_for_it(loaded, monkeypatch):
    monkeypatch.setattr(tokens, "FAST_FROM", 100)
    tokenizer = loaded()
    tokenizer.encode(["x" * 60])
    assert tokenizer.engine == "tokenizers"
    tokenizer.encode(["x" * 60])
    assert tokenizer.engine == "gigatoken"


def test_a_server_can_do_without_the_fast_engine(tmp_path):
    tokenizer = Tokenizer.load(saved(byte_level(), tmp_path), fast=False)
    assert tokenizer.choose_engine() == "tokenizers"
    assert tokenizer.decode(tokenizer.encode(["text"])[0]) == "text"


def test_ids_are_of_two_bytes_where_the_vocabulary_allows(loaded):
    small, large = loaded(), loaded(byte_level(added_tokens=[]))
    assert small.encode(["abc"]).values.dtype == np.uint16
    large.dtype = np.dtype(np.uint32)
    large.choose_engine()
    assert large.encode(["abc"]).values.dtype == np.uint32
    assert large.encode([]).values.dtype == np.uint32
    assert len(large.encode([])) == 0


def test_the_reference_stays_without_gigatoken_and_says_so_once(loaded, said, monkeypatch):
    tokenizer = loaded()
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    assert tokenizer.choose_engine() == "tokenizers"
    assert len(said) == 1
    assert "gigatoken cannot be imported" in said[0]
    assert len(tokenizer.encode(TEXTS)) == len(TEXTS)
    tokenizer.choose_engine()
    assert len(said) == 1


def test_an_engine_that_fails_is_replaced_and_nothing_is_lost(loaded, said, monkeypatch):
    tokenizer = loaded()
    expected = tokenizer.encode(TEXTS)
    tokenizer.choose_engine()
    said.clear()
    monkeypatch.setattr(FastEngine, "encode", lambda *_, **__: (_ for _ in ()).throw(EngineFailed("it panicked")))
    assert same(tokenizer.encode(TEXTS), expected)
    assert tokenizer.engine == "tokenizers"
    assert len(said) == 1
    assert "it panicked" in said[0]


def test_a_panic_in_rust_is_a_failed_engine_but_an_interrupt_is_not_swallowed(loaded, said):
    tokenizer = loaded()
    tokenizer.choose_engine()

    class Broken:
        def encode(self, _):
            raise self.error

    class PanicException(BaseException):
        pass

    tokenizer._fast._engine = Broken()
    Broken.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode(TEXTS)
    Broken.error = PanicException("index out of bounds")
    assert len(tokenizer.encode(TEXTS)) == len(TEXTS)
    assert tokenizer.engine == "tokenizers"


def test_a_lone_surrogate_and_bytes_that_are_no_text_are_refused_by_either_engine(loaded):
    for make in (byte_level, like_llama):
        tokenizer = loaded(make())
        for _ in range(2):
            with pytest.raises(UnicodeEncodeError):
                tokenizer.encode(["fine", "a\ud800b"])
            for wrong in (b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"a" * 99 + b"\xc0\xaf", b"\xe4\xb8" * 9):
                with pytest.raises(UnicodeDecodeError):
                    tokenizer.encode_ragged(Ragged.from_bytes([b"fine", wrong, b"\xadfine"]))
            tokenizer.choose_engine()


def test_a_character_cut_between_two_rows_is_no_character(loaded):
    tokenizer = loaded()
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            tokenizer.encode_ragged(Ragged.from_bytes([b"caf\xc3", b"\xa9 au lait"]))
        tokenizer.choose_engine()


@pytest.mark.parametrize("make", [byte_level, like_qwen, like_llama])
def test_bytes_of_the_ids_of_a_text_are_the_normalised_text(loaded, make):
    tokenizer = loaded(make())
    table = tokenizer.token_bytes()
    assert len(table) == tokenizer.vocab_size
    rng = random.Random(5)
    reference = Reference(orjson.dumps(make()))
    for text in [*TEXTS, *(random_text(rng) for _ in range(200))]:
        joined = b"".join(table.bytes_at(index) for index in tokenizer.encode([text])[0])
        expected = reference.normalise(text)
        if make is like_llama:
            expected = expected.replace(MARK, " ")
        assert joined == expected.encode()


def test_bytes_of_special_tokens_and_of_ids_that_no_token_has_are_empty(loaded):
    spec = byte_level()
    last = spec["added_tokens"][0]["id"]
    spec["model"]["vocab"]["\u0120zebra"] = last + 3
    tokenizer = loaded(spec)
    table = tokenizer.token_bytes()
    assert tokenizer.vocab_size == last + 4
    assert [table.bytes_at(index) for index in range(last, last + 4)] == [b"", b"", b"", b" zebra"]


def test_tokens_that_are_words_have_no_bytes(loaded):
    words = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    tokenizer = loaded(byte_level(decoder=None, pre_tokenizer={"type": "Whitespace"}) | {"model": words})
    with pytest.raises(InputError, match="words and parts of words"):
        tokenizer.token_bytes()


def test_plain_characters_stand_for_themselves(loaded):
    model = {"type": "BPE", "vocab": {"a": 0, "\u00e9": 1, "a\u00e9": 2}, "merges": ["a \u00e9"]}
    tokenizer = loaded(byte_level(decoder=None, pre_tokenizer=None, added_tokens=[]) | {"model": model})
    assert [tokenizer.token_bytes().bytes_at(index) for index in range(3)] == [b"a", b"\xc3\xa9", b"a\xc3\xa9"]


def test_a_file_that_is_no_tokenizer_and_one_that_is_missing_are_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    for body in (b"", b"[]", b"{}", b'{"model": {"type": "BPE", "vocab": 1, "merges": []}}', b"\xff"):
        path.write_bytes(body)
        with pytest.raises(InputError, match="not a tokenizer"):
            Tokenizer.load(path)
    with pytest.raises(UsageError, match="name a tokenizer"):
        Tokenizer.load(tmp_path / "none")


def test_the_fingerprint_is_of_what_decides_ids(loaded):
    spec = byte_level()
    one = loaded(spec).fingerprint
    assert loaded(spec | {"truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0}}).fingerprint != ""
    assert tokens.fingerprint(spec | {"padding": {}}) == one
    assert tokens.fingerprint(spec | {"normalizer": {"type": "NFC"}}) != one


SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


@pytest.mark.parametrize("make", [byte_level, like_qwen, like_llama])
@pytest.mark.parametrize("named", [None, "<eos>", "<|none|>", "the"])
def test_an_identity_is_that_of_the_loaded_tokenizer(tmp_path, make, named):
    spec, vocab = make(), make()["model"]["vocab"]
    first = 1 + max([len(vocab) - 1, *(token["id"] for token in spec["added_tokens"])])
    for gap in (0, 7):  # with a gap the file says what the reference does not do
        spec["added_tokens"] = make()["added_tokens"] + [
            {"content": content, "id": first + gap + i} | SPECIAL for i, content in enumerate(["<eos>", "<more>"])
        ]
        file = saved(spec, tmp_path)
        config = file.with_name("tokenizer_config.json")
        config.write_bytes(orjson.dumps({"eos_token": named}))
        loaded = Tokenizer.load(file)
        assert Identity.load(file) == (loaded.fingerprint, loaded.vocab_size, loaded.eos_id)
    config.unlink()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model":{"vocab":[1]}}', b"\xff"])
def test_the_identity_of_what_is_no_tokenizer_is_refused(tmp_path, body):
    (tmp_path / "tokenizer.json").write_bytes(body)
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        Identity.load(tmp_path)
