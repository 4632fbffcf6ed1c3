"""The tokenizer bench: every side encodes the same texts, and what is said of them is what came out."""

import json

import pytest
from tokens_samples import byte_level, like_llama, saved

from clet.bench import tokenize
from clet.exits import InputError

pytest.importorskip("gigatoken")
TEXTS = ["The council didn't meet.\n" * 40, "", "Gr\u00f6\u00dfe \u4e2d\u6587 1234" * 30, "  x"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = saved(byte_level(), tmp_path_factory.mktemp("tokenizer"))
    return tokenize.measure(TEXTS, str(path), runs=1, jobs=1)


def test_every_side_that_can_be_loaded_is_measured_cold_and_warm(result):
    assert set(result["sides"]) | set(result["left_out"]) == set(tokenize.SIDES)
    assert {"tokenizers", "gigatoken", "clet strings", "clet batches"} <= set(result["sides"])
    for side in result["sides"].values():
        (sample,) = side["samples"]
        assert sample["tokens"] == result["tokens"] > 100
        assert min(sample["load_s"], sample["cold_s"], sample["warm_s"]) > 0
        assert side["cold_tokens_s"] == pytest.approx(result["tokens"] / sample["cold_s"])
    own, ours = result["sides"]["gigatoken"], result["sides"]["clet batches"]
    assert ours["cold_s_ratio"] == pytest.approx(own["samples"][0]["cold_s"] / ours["samples"][0]["cold_s"])
    assert own["warm_s_ratio"] == 1


def test_the_ids_of_every_side_are_compared_with_the_reference(result):
    assert result["documents"] == len(TEXTS)
    assert result["text_bytes"] == sum(len(text.encode()) for text in TEXTS)
    for name, side in result["sides"].items():
        assert side["same_ids"] == (side["same_texts"] == len(TEXTS))
        assert side["same_ids"], name


def test_a_side_that_cannot_take_the_tokenizer_is_left_out_with_the_reason(tmp_path):
    spec = like_llama(pre_tokenizer={"type": "Digits", "individual_digits": True})
    saved(spec, tmp_path)
    found = tokenize.measure(TEXTS, str(tmp_path), runs=1, jobs=1)
    assert {"clet strings", "clet batches"} <= set(found["left_out"])
    assert "tokenizers" in found["sides"]


def test_a_tokenizer_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(InputError, match="tokenizers ended with"):
        tokenize.measure(TEXTS, str(tmp_path), runs=1, jobs=1)


def test_batches_are_cut_as_ingest_cuts_them(monkeypatch):
    from clet.batch import Ragged

    column = Ragged.from_bytes([b"x" * 10] * 7)
    monkeypatch.setattr(tokenize, "BATCH_RECORDS", 3)
    assert tokenize._batches(column) == [range(3), range(3, 6), range(6, 7)]
    monkeypatch.setattr(tokenize, "BATCH_BYTES", 20)
    assert tokenize._batches(column) == [range(2), range(2, 4), range(4, 6), range(6, 7)]


def test_the_command_takes_texts_of_sources_and_shows_a_table(clet, workshop):
    command = ["bench", "tokenize", f"file:{workshop / 'docs'}", "--tokenizer", workshop / "model", "--runs", "1"]
    done = clet(*command)
    assert done.returncode == 0, done.stderr
    assert b"clet batches" in done.stdout and b"same ids" in done.stdout
    found = json.loads(clet(*command, "--json", "--mb", "1").stdout)
    assert (found["bench"], found["documents"]) == ("tokenize", 12)
    nothing = clet("bench", "tokenize", "file:/nonexistent", "--tokenizer", workshop / "model")
    assert nothing.returncode == 65 and b"/nonexistent" in nothing.stderr
