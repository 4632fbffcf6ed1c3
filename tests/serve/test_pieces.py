"""Bytes of tokens: exactly what the tokenizers library decodes, for both alphabets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors

from clet.exits import InputError
from clet.serve.pieces import Pieces
from clet.tokens import Tokenizer


@pytest.fixture(scope="module")
def both(model_dir: Path) -> tuple[Pieces, Tokenizer]:
    return Pieces(model_dir / "tokenizer.json"), Tokenizer.load(model_dir)


def saved(tokenizer: tokenizers.Tokenizer, directory: Path) -> Path:
    path = directory / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_bytes_of_any_ids_are_what_the_library_decodes(both):
    pieces, tokenizer = both
    rng = np.random.Generator(np.random.Philox(key=3))
    for _ in range(50):
        ids = rng.integers(0, tokenizer.vocab_size, 40).tolist()
        assert pieces.text(ids) == tokenizer.decode(ids)


@given(text=st.text(max_size=80))
def test_encoded_text_comes_back_byte_by_byte(both, text: str):
    pieces, tokenizer = both
    ids = tokenizer.encode([text])[0].tolist()
    assert b"".join(map(pieces.spelled, ids)) == text.encode()


def test_names_are_distinct_and_special_tokens_spell_nothing(both):
    pieces, tokenizer = both
    names = {pieces.name(token) for token in range(tokenizer.vocab_size)}
    assert len(names) == tokenizer.vocab_size
    assert pieces.special["<|endoftext|>"] == 0
    assert pieces.spelled(0) == b"" and pieces.name(0) == "<|endoftext|>"
    zhe = tokenizer.encode(["\u0416"])[0].tolist()
    assert [pieces.name(token) for token in zhe] == ["bytes:\\xd0", "bytes:\\x96"]


def test_ids_beyond_the_vocabulary_spell_nothing(both):
    assert both[0].spelled(10**6) == b"" and both[0].text([10**6]) == ""


def test_sentencepiece_bars_and_bytes_are_spelled(tmp_path: Path):
    vocab = {"<unk>": 0, "<s>": 1, "\u2581the": 2, "\u2581fox": 3, "<0xE2>": 4, "<0x82>": 5, "<0xAC>": 6}
    engine = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=True, unk_token="<unk>"))
    engine.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    engine.add_special_tokens(["<s>"])
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    pieces = Pieces(saved(engine, tmp_path))
    assert pieces.text([2, 3, 4, 5, 6]) == " the fox\u20ac" == " " + engine.decode([2, 3, 4, 5, 6])
    assert pieces.leading == [1]


def test_a_decoder_that_is_not_understood_is_refused(tmp_path: Path):
    engine = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.decoder = decoders.WordPiece()
    with pytest.raises(InputError, match="WordPiece"):
        Pieces(saved(engine, tmp_path))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model": {"vocab": 3}}', b'{"model": {"vocab": {"a": "x"}}}'])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, body: bytes):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(body)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Pieces(path)
