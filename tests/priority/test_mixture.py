"""Mixture and curriculum: where rewards come from, floors, and that neither changes anything when it has ended."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from clet import seeds
from clet.priority.curriculum import FLOOR, ease, staged, weight
from clet.priority.mixture import MAX_ARMS, OTHERS, SPREAD, Mixture, improvements, tokens_learned


def test_probabilities_add_up_and_nobody_falls_below_the_floor():
    mixture = Mixture()
    for _ in range(200):
        mixture.update({"a": 1.0, "b": 0.0, "c": 0.2})
        p = mixture.probabilities()
        assert sum(p.values()) == pytest.approx(1)
        assert min(p.values()) >= mixture.epsilon - 1e-12
    assert mixture.factor("a") > mixture.factor("c") >= mixture.factor("b")
    assert 1 / SPREAD <= mixture.factor("b") < 1 < mixture.factor("a") <= SPREAD


def test_the_bandit_follows_a_change():
    mixture, rng = Mixture(), seeds.python_random(1, "bandit")
    for _ in range(100):
        mixture.update({"a": 0.5 + rng.random() / 2, "b": rng.random() / 2})
    assert mixture.factor("a") > mixture.factor("b")
    for _ in range(100):
        mixture.update({"a": rng.random() / 2, "b": 0.5 + rng.random() / 2})
    assert mixture.factor("b") > mixture.factor("a")


def test_names_beyond_the_arms_share_one():
    mixture = Mixture()
    mixture.update({f"o{i}": 0.5 for i in range(200)})
    assert len(mixture.gains) == MAX_ARMS
    assert mixture.factor("o199") == mixture.factor(OTHERS)


def line(step, **origins):
    return orjson.dumps({"step": step, "total_tokens": 100 * step, "origins": origins}) + b"\n"


def test_improvement_is_the_fall_of_an_origins_mean_loss():
    steps = [{"a": (8.0, 8 * (5 - k)), "b": (8.0, 24.0), "rare": (0.5, 1.0)} for k in range(4)]
    assert improvements(steps) == {"a": 1.0, "b": 0.0}


def test_steps_are_read_once_and_a_torn_line_waits(tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b"".join(line(k, a=[8, 8 * (5 - k)], b=[8, 24]) for k in range(4)) + b'{"step":4,"orig')
    mixture = Mixture()
    assert mixture.read(tmp_path) == 4
    assert mixture.gains["a"] > mixture.gains["b"] == 0
    assert mixture.read(tmp_path) == 0
    again = Mixture(mixture.to_json())
    path.write_bytes(path.read_bytes()[:-15] + line(4, a=[8, 1]))
    assert again.read(tmp_path) == 1
    assert tokens_learned(tmp_path) == 400
    assert tokens_learned(tmp_path / "none") == 0
    assert Mixture().read(tmp_path / "none") == 0


def test_lines_without_sense_teach_nothing(tmp_path):
    lines = ['{"origins": 5}', "nothing", '{"origins": {"a": [1]}}', "[]", '{"origins": {"a": ["x", 1]}}']
    (tmp_path / "steps.jsonl").write_text("\n".join(lines) + "\n")
    mixture = Mixture()
    assert mixture.read(tmp_path) == 0
    assert mixture.gains == {}


def test_the_curriculum_goes_from_ease_to_value():
    value, bits = np.array([0.9, 0.1]), np.array([12.0, 4.0])
    easy = ease(bits, 8.0, 2.0)
    assert easy.tolist() == [FLOOR, 1.0]
    assert staged(value, easy, weight(0, 1000)).argmax() == 1
    assert staged(value, easy, weight(1000, 1000)).tolist() == value.tolist()
    assert [weight(t, 1000) for t in (0, 500, 2000)] == [1.0, 0.5, 0.0]
    assert weight(0, 0) == 0.0
