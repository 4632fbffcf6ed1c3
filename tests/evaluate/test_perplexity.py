"""Perplexity against what is known beforehand: uniform models, documents scored one by one, text and bytes."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
import torch
from tiny_run import make_model_dir, make_shards, records, story

from clet.evaluate.perplexity import Piece, evaluate_files, score
from clet.exits import InputError, UsageError
from clet.model.checkpoint import load_model
from clet.model.decoder import token_losses
from clet.tokens import Tokenizer


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("tiny") / "model"
    make_model_dir(directory)
    return directory


@pytest.fixture(scope="module")
def tokenizer(model_dir):
    return Tokenizer.load(model_dir)


@pytest.fixture
def model(model_dir):
    """Random weights, sharpened so that context matters."""
    model = load_model(model_dir)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    return model


@pytest.fixture
def write(tmp_path):
    """Writes records as JSONL."""

    def make(texts, name="held.jsonl", **fields):
        path = tmp_path / name
        path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records(texts, **fields)))
        return str(path)

    return make


def test_perplexity_of_a_uniform_model_is_its_vocabulary(model_dir, tokenizer, write):
    model = load_model(model_dir)
    with torch.no_grad():
        model.head_weight.zero_()
    scores = evaluate_files(model, [write(["Some text.", "Another one, longer than that."])], tokenizer).to_json()
    assert scores["perplexity"] == pytest.approx(257, rel=1e-5)
    assert scores["bits_per_byte"] == pytest.approx(math.log2(257), rel=1e-5)  # one token a byte
    assert (scores["documents"], scores["tokens"]) == (2, 9 + 29)


def test_packed_documents_score_as_each_alone(model, tokenizer, write):
    texts = [story(i, 30 + 7 * i)[: 20 + 5 * i].strip() for i in range(9)]
    packed = evaluate_files(model, [write(texts)], tokenizer, seq_len=100).to_json()
    total = 0.0
    for text in texts:
        ids = torch.from_numpy(tokenizer.encode([text])[0].astype(np.int64)).unsqueeze(0)
        with torch.no_grad():
            total += float(token_losses(model, ids)[0].double().sum())
    assert packed["nll"] * packed["tokens"] == pytest.approx(total, rel=1e-5)


def test_of_a_long_document_every_token_but_the_first_is_predicted_once(model, tokenizer, write):
    text = story(1, 400)
    for seq_len in (2, 17, 64, 128):
        scores = evaluate_files(model, [write([text])], tokenizer, seq_len=seq_len).to_json()
        assert (scores["documents"], scores["tokens"]) == (1, len(text) - 1)
        assert scores["bits_per_byte"] == pytest.approx(scores["nll"] / math.log(2), rel=1e-9)


def test_sources_are_told_apart(model):
    ids = np.arange(40)
    scores = score(model, [Piece(ids, "a", 39), Piece(ids + 50, "b", 39), Piece(ids, "a", 39)], 64)
    parts = scores.to_json()["by_source"]
    assert {name: part["documents"] for name, part in parts.items()} == {"a": 2, "b": 1}
    assert sum(part["nll"] * part["tokens"] for part in parts.values()) == pytest.approx(scores.total.nll)


def test_shards_and_the_records_in_them_score_alike(model, model_dir, tokenizer, tmp_path, write):
    texts = ["A short one.", "Another short document.", "And a third."]
    shards = make_shards(tmp_path / "shards", texts, model=model_dir, seq_len=64)
    from_shards = evaluate_files(model, [str(shards)], tokenizer, seq_len=64).to_json()
    alone = evaluate_files(model, [str(next(shards.glob("main/*.clet")))], tokenizer, seq_len=64).to_json()
    assert alone == from_shards
    with_eos = sum(len(text) for text in texts)  # each document ends with its end token, and its first is not predicted
    assert (from_shards["documents"], from_shards["tokens"]) == (3, with_eos)


def test_a_limit_counts_documents(model, tokenizer, write):
    path = write([story(i, 200) for i in range(5)])
    assert evaluate_files(model, [path], tokenizer, seq_len=32, limit=2).to_json()["documents"] == 2


def test_tokens_of_another_tokenizer_need_text(model, tokenizer, record, tmp_path):
    made = record("Text.", ids=[1, 2, 3], fp="other")
    path = tmp_path / "other.jsonl"
    path.write_bytes(orjson.dumps(made) + b"\n")
    assert evaluate_files(model, [str(path)], tokenizer).total.tokens == 4
    made["text"] = None
    path.write_bytes(orjson.dumps(made) + b"\n")
    with pytest.raises(InputError, match="tokens of tokenizer other and without text"):
        evaluate_files(model, [str(path)], tokenizer)


def test_windows_that_the_model_does_not_have_are_refused(model, tokenizer, write):
    with pytest.raises(UsageError, match="128 positions"):
        evaluate_files(model, [write(["text"])], tokenizer, seq_len=129)
