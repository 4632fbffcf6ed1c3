"""The bench of quality on small made texts: what it counts is right, and what is not installed is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from clet import seeds
from clet.batch import Batch
from clet.bench import quality
from clet.bench.quality import measure_quality

WORDS = "council bridge river repair town people mayor winter school letter have been told that the of and".split()  # noqa: SIM905
SPAM = "casino bonus click cheap loan winner free offer pills credit now here".split()  # noqa: SIM905


def write(path: Path, words: list[str], count: int, record, **fields) -> str:
    random = seeds.python_random(1, path.name)
    with open(path, "wb") as file:
        for i in range(count):
            text = " ".join(random.choice(words) for _ in range(60)) + "."
            file.write(orjson.dumps(record(text, meta={"pair": i}, **fields)) + b"\n")
    return str(path)


def test_classifier_and_synthetic_text_are_measured(tmp_path, record, monkeypatch):
    monkeypatch.setattr(quality, "_peer", lambda task, files, python: {"left_out": f"no {task}"})
    good, bad = write(tmp_path / "good", WORDS, 200, record), write(tmp_path / "bad", SPAM, 200, record)
    people = [write(tmp_path / f"p{g}", WORDS, 120, record, origin=g) for g in ("one", "two")]
    machines = [write(tmp_path / f"m{g}", SPAM, 120, record, origin=g) for g in ("one", "two")]
    result = measure_quality([], good=[good], bad=[bad], people=people, machines=machines, compare=[good])
    assert result["agreement"] == {"left_out": "no verdicts"}
    assert result["classifier"]["clet"]["auc"] > 0.99
    assert result["classifier"]["fasttext"] == {"left_out": "no classify"}
    assert set(result["synthetic"]) == {"one", "two"}
    for row in result["synthetic"].values():
        assert row["unseen"]["auc"] > 0.99
        assert row["known"]["found_at_5%"] > 0.9


def test_speed_is_counted_a_token(tmp_path, record):
    path = tmp_path / "with-ids"
    path.write_bytes(b"".join(orjson.dumps(record("Some words here.", ids=[1, 2, 3])) + b"\n" for _ in range(50)))
    result = measure_quality([str(path)], runs=2)
    assert result["speed"]["tokens"] == 150
    way = result["speed"]["ways"]["text"]
    assert len(way["samples"]) == 2
    assert way["ns_per_token"] == pytest.approx(min(way["samples"]) / 150 * 1e9)


def test_verdicts_are_compared_text_by_text(monkeypatch, record):
    texts = ["Too short.", " ".join(WORDS * 10) + "."]
    theirs = {"gopher-quality": ["gopher_short_doc", "gopher_too_many_hashes"], "c4": [None, "too_few_sentences"]}
    monkeypatch.setattr(quality, "_peer", lambda *_: {"verdicts": theirs, "cpu_s": {}})
    found = quality.agreement([Batch.from_records([record(text, origin="o") for text in texts])], sys.executable)
    assert found["same"]["o"]["gopher-quality"] == {"texts": 2, "verdict": 0.5, "reason": 0.5}
    assert found["same"]["all"]["c4"] == {"texts": 2, "verdict": 0.5, "reason": 0.5}
    assert found["differences"]["c4"] == [{"datatrove": "kept", "clet": "c4-few-sentences", "texts": 1}]


def test_an_interpreter_without_the_peers_says_which_is_missing():
    assert set(quality._peer("classify", {"train.txt": b"", "test.txt": b""}, sys.executable)) & {"left_out", "runs"}


def test_a_prompt_falls_in_the_same_half_for_every_generator(record):
    records = [record(f"Text {i} {origin}.", origin=origin, meta={"pair": i}) for i in range(40) for origin in "ab"]
    halves = quality._by_origin([Batch.from_records(records)], seed=1)
    prompts = {
        name: [{half.fields(row)["meta"]["pair"] for row in range(len(half))} for half in parts]
        for name, parts in halves.items()
    }
    assert prompts["a"] == prompts["b"]
    assert not prompts["a"][0] & prompts["a"][1]
    assert np.isclose(len(prompts["a"][0]), 20, atol=10)
