"""The engine: the model's own greedy answers, whatever else is running; bounded, cancellable, hard to kill."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clet.seeds import python_random
from clet.serve.engine import Engine, EngineEnded, QueueFull
from clet.serve.generation import Delta, Generation
from clet.serve.limits import Limits
from clet.serve.loading import Served, load_served
from clet.serve.metrics import Metrics
from clet.serve.sampling import Sampler, Sampling

PROMPTS = ["the quick brown", "news", "of today: caf\u00e9 prices", "x", "again and again and again the lazy dog"]


@pytest.fixture(scope="module")
def served(model_dir: Path) -> Served:
    return load_served(model_dir, torch.float32, torch.device("cpu"))


@pytest.fixture
def engine(served: Served) -> Iterator[Engine]:
    started = Engine(served, Limits(max_batch=3, max_len=400, max_waiting=4), Metrics())
    yield started
    started.stop()
    assert started.join(10)


class Asked:
    """A generation and what has been told of it."""

    def __init__(self, served: Served, prompt: list[int], max_tokens: int = 20, **settings) -> None:
        self.deltas: queue.Queue[Delta] = queue.Queue()
        sampler = Sampler(settings.pop("sampling", Sampling(temperature=0.0)), python_random(1, "tests"))
        self.generation = Generation(
            prompt, sampler, self.deltas.put, max_tokens=max_tokens, pieces=served.pieces, **settings
        )

    def all(self) -> list[Delta]:
        """Every delta to the last one."""
        told = [self.deltas.get(timeout=30)]
        while not (told[-1].finish or told[-1].error):
            told.append(self.deltas.get(timeout=30))
        return told

    def text(self) -> str:
        return "".join(delta.text for delta in self.all())


class Gate:
    """Lets a model compute only as many calls as were allowed; makes "in the middle" a definite moment."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
        self._left = threading.Semaphore(calls)
        self.reached = threading.Event()
        hidden = served.model.hidden

        def gated(*args, **named):
            if not self._left.acquire(blocking=False):
                self.reached.set()
                assert self._left.acquire(timeout=30)
            return hidden(*args, **named)

        monkeypatch.setattr(served.model, "hidden", gated)

    def open(self) -> None:
        self._left.release(10**6)


def greedy(served: Served, prompt: list[int], number: int) -> list[int]:
    """The reference: the whole sequence through the model again for every token."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(number):
            ids.append(int(served.model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_answers_are_the_models(served: Served, engine: Engine):
    for prompt in served.text_ids(PROMPTS):
        asked = Asked(served, prompt)
        engine.submit([asked.generation])
        assert asked.text() == served.pieces.text(greedy(served, prompt, 20))


def test_answers_do_not_depend_on_what_else_is_running(served: Served, engine: Engine):
    prompts = served.text_ids(PROMPTS)
    sampled = {"sampling": Sampling(temperature=0.8, top_p=0.9)}
    alone = []
    for prompt in prompts:
        for settings in ({}, sampled):
            asked = Asked(served, prompt, **settings)
            engine.submit([asked.generation])
            alone.append(asked.text())
    together = [Asked(served, prompt, **settings) for prompt in prompts for settings in ({}, sampled)]
    engine.submit([asked.generation for asked in together])
    assert [asked.text() for asked in together] == alone


def test_a_prompt_of_several_chunks_is_read_exactly(served: Served, engine: Engine):
    prompt = (served.text_ids(["the lazy fox of today runs away, "])[0] * 40)[:300]  # chunks of 128
    asked = Asked(served, prompt, max_tokens=12)
    engine.submit([asked.generation])
    assert asked.text() == served.pieces.text(greedy(served, prompt, 12))


def test_a_long_prompt_does_not_stop_running_answers(served: Served, engine: Engine, monkeypatch):
    gate = Gate(served, monkeypatch, calls=1)
    stream = Asked(served, served.text_ids(["the"])[0], max_tokens=200)
    engine.submit([stream.generation])
    assert gate.reached.wait(30)
    long = Asked(served, [5] * 380, max_tokens=1)
    engine.submit([long.generation])
    gate.open()
    long.all()
    # Three chunks of prompt: by then the other answer has had a token in each of the steps between.
    assert stream.generation.num_tokens >= 3
    stream.all()


def test_scores_of_a_prompt_are_those_of_one_pass(served: Served, engine: Engine):
    prompt = (served.text_ids(["news of today: the fox "])[0] * 40)[:200]
    asked = Asked(served, prompt, max_tokens=0, num_top=2, score_prompt=True)
    engine.submit([asked.generation])
    scored = asked.all()[0].prompt
    with torch.inference_mode():
        expected = torch.log_softmax(served.model(torch.tensor([prompt]))[0], -1)
    assert scored[0].logprob is None and [item.token for item in scored] == prompt
    for position, item in enumerate(scored[1:]):
        assert item.logprob == pytest.approx(float(expected[position, item.token]), abs=1e-4)
        assert item.top[0][1] == pytest.approx(float(expected[position].max()), abs=1e-4)


def test_a_stop_id_ends_the_answer_and_counts(served: Served, engine: Engine):
    prompt = served.text_ids(["the quick"])[0]
    tokens = greedy(served, prompt, 6)
    asked = Asked(served, prompt, stop_ids=frozenset([tokens[5]]))
    engine.submit([asked.generation])
    last = asked.all()[-1]
    assert last.finish == "stop" and last.num_tokens == tokens.index(tokens[5]) + 1


def test_padding_of_the_head_is_never_an_answer(make_model, tmp_path: Path):
    served = load_served(make_model(tmp_path / "padded", vocab_size=400), torch.float32, torch.device("cpu"))
    started = Engine(served, Limits(max_batch=2, max_len=200, max_waiting=4), Metrics())
    for sampling in (Sampling(temperature=0.0), Sampling(temperature=2.0)):
        asked = Asked(served, [5], max_tokens=150, num_top=0, sampling=sampling)
        started.submit([asked.generation])
        tokens = [token.scored.token for delta in asked.all() for token in delta.tokens]
        assert len(tokens) == 150 and max(tokens) < served.tokenizer.vocab_size < 400
    started.stop()
    assert started.join(10)


def test_beyond_the_queue_new_work_is_refused_and_the_rest_is_done(served: Served, engine: Engine, monkeypatch):
    gate = Gate(served, monkeypatch, calls=0)
    prompt = served.text_ids(["the"])[0]
    running = [Asked(served, prompt, max_tokens=2) for _ in range(3)]
    engine.submit([asked.generation for asked in running])
    assert gate.reached.wait(30)
    waiting = [Asked(served, prompt, max_tokens=2) for _ in range(4)]
    for asked in waiting:
        engine.submit([asked.generation])
    with pytest.raises(QueueFull):
        engine.submit([Asked(served, prompt).generation])
    gate.open()
    assert [asked.all()[-1].finish for asked in running + waiting] == ["length"] * 7


def test_cancelled_work_frees_its_slot(served: Served, engine: Engine, monkeypatch):
    gate = Gate(served, monkeypatch, calls=2)
    prompt = served.text_ids(["the"])[0]
    dropped = [Asked(served, prompt, max_tokens=300) for _ in range(5)]  # three run, two wait
    engine.submit([asked.generation for asked in dropped])
    assert gate.reached.wait(30)
    for asked in dropped:
        asked.generation.cancel()
    gate.open()
    after = Asked(served, prompt, max_tokens=3)
    engine.submit([after.generation])
    assert after.all()[-1].finish == "length"
    assert max(asked.generation.num_tokens for asked in dropped) <= 3
    assert engine.num_waiting == 0


def test_a_failing_step_fails_its_sequences_only(served: Served, engine: Engine, monkeypatch, capfd):
    def broken(*args, **named):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(served.model, "hidden", broken)
        asked = Asked(served, [5, 6])
        engine.submit([asked.generation])
        assert asked.all()[-1].error == "the engine failed: RuntimeError"
    assert "out of memory" in capfd.readouterr().err
    engine.warm_up()


def test_a_retired_engine_finishes_what_it_has_and_waits_for_its_leases(served: Served, engine: Engine, monkeypatch):
    gate = Gate(served, monkeypatch, calls=1)
    first = Asked(served, [5, 6], max_tokens=8)
    with engine.lease():
        engine.submit([first.generation])
        assert gate.reached.wait(30)
        engine.retire()
        gate.open()
        assert first.all()[-1].finish == "length"
        assert engine.is_alive
        late = Asked(served, [5, 6], max_tokens=2)
        engine.submit([late.generation])
    assert late.all()[-1].finish == "length"
    assert engine.join(30)
    with pytest.raises(EngineEnded):
        engine.submit([Asked(served, [5]).generation])


def test_a_stopped_engine_fails_what_is_running(served: Served, engine: Engine, monkeypatch):
    gate = Gate(served, monkeypatch, calls=1)
    asked = Asked(served, [5, 6], max_tokens=300)
    engine.submit([asked.generation])
    assert gate.reached.wait(30)
    engine.stop()
    gate.open()
    assert asked.all()[-1].error == "the engine has ended"
