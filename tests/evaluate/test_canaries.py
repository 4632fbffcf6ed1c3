"""Canaries hold exactly where greedy decoding says the answer, and are read with suspicion."""

from __future__ import annotations

import orjson
import pytest
import torch
from tiny_run import make_model_dir

from clet.evaluate.canaries import check_canaries, read_canaries
from clet.exits import InputError, UsageError
from clet.model.checkpoint import load_model
from clet.tokens import Tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(model, tokenizer, folder)."""
    folder = tmp_path_factory.mktemp("canaries")
    make_model_dir(folder / "model")
    return load_model(folder / "model"), Tokenizer.load(folder / "model"), folder


def write(folder, entries):
    path = folder / "canaries.jsonl"
    path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in entries))
    return path


def greedy(model, tokenizer, prompt, length):
    """What the model says after a prompt, token by token, and each token's probability."""
    ids = torch.as_tensor(tokenizer.encode([prompt])[0].astype("int64"))
    for _ in range(length):
        ids = torch.cat([ids, model(ids[None])[0, -1].argmax()[None]])
    return tokenizer.decode(ids[-length:].numpy())


def test_a_canary_holds_where_greedy_decoding_says_its_answer(place):
    model, tokenizer, folder = place
    prompts = ["The capital of x is", "a", "some longer prompt of several words, which ends"]
    answers = [greedy(model, tokenizer, prompt, 3) for prompt in prompts]
    good = [{"prompt": p, "answer": a} for p, a in zip(prompts, answers, strict=True) if a.isascii() and a.strip()]
    bad = [{"prompt": p, "answer": " no"} for p in prompts]
    canaries = read_canaries(write(folder, good + bad), tokenizer, 128)
    with torch.inference_mode():
        found = list(check_canaries(model, canaries).values())
    assert [holds for _, holds in found] == [True] * len(good) + [False] * len(bad)
    assert all(loss > 0 for loss, _ in found)
    alone = check_canaries(model, canaries[-1:])
    assert next(iter(alone.values()))[0] == pytest.approx(found[-1][0], rel=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "0 canaries"),
        (b"nonsense\n", "canaries.jsonl:1"),
        (b'{"prompt": "a"}\n', "not"),
        (b'{"prompt": "a", "answer": "  "}\n', "not"),
        (b'{"prompt": "a", "answer": 7}\n', "not"),
        (b'{"prompt": "a", "answer": "' + b"x" * 200 + b'"}\n', "positions"),
        (2 * b'{"prompt": "a", "answer": "b"}\n', "before"),
    ],
)
def test_a_file_that_has_no_canaries_is_refused_with_its_line(place, body, words):
    _, tokenizer, folder = place
    (folder / "canaries.jsonl").write_bytes(body)
    with pytest.raises(InputError, match=words):
        read_canaries(folder / "canaries.jsonl", tokenizer, 128)
    with pytest.raises(UsageError, match="No such file"):
        read_canaries(folder / "nowhere", tokenizer, 128)
