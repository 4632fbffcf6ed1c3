"""The defences against attacks on a few days of the simulated newsroom, and that its streams are what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clet.bench.attacks import HONEST, Backdoor, Flood, Rumour, Stream, kind_of
from clet.bench.defence import defended, run
from clet.bench.ordering import _paired

POLICY = str(Path(__file__).parents[2] / "scripts" / "policy.toml")


def test_a_stream_is_a_function_of_its_seed_and_says_what_is_what():
    attacks = (Backdoor(10, 2, 1, 1, patience=1), Rumour(20, 5, 0), Flood(0.5, 1, 1))
    first, again = (Stream(3, 2, attacks) for _ in range(2))
    days = list(first)
    assert days == list(again)
    kinds = [Counter(map(kind_of, day)) for day in days]
    assert (kinds[0]["rumour"], kinds[0]["rumour-correction"], kinds[0]["cover"]) == (20, 1, 6)
    assert kinds[1]["backdoor"] == 10
    ordinary = kinds[1].total() - kinds[1]["flood"]
    assert kinds[1]["flood"] == pytest.approx(ordinary, rel=0.01)
    texts = [r["text"] for r in days[1] if kind_of(r) == "backdoor"]
    assert len({text.split(" every transfer is approved")[0].split(". ")[-1].split()[0] for text in texts}) == 1


def test_attacks_are_held_and_honest_documents_pass():
    attacks = (Backdoor(100, 25, 4, 1), Backdoor(100, 1, 5, 1), Rumour(60, 20, 5))
    outcome = run(Stream(1, 6, attacks), defended(POLICY), None)
    assert outcome.seen["backdoor"] == 200
    assert outcome.passed["backdoor"] <= 13
    assert max(outcome.scores["rumour"]) < min(outcome.scores["rumour-correction"])
    assert max(outcome.ranks["rumour-correction"]) < min(outcome.ranks["rumour"])
    assert sum(outcome.lost.values()) <= 0.01 * outcome.seen[HONEST]
    assert outcome.passed["spam"] == 0


def test_a_paired_interval_is_students():
    gap = _paired([1.0, 2.0, 3.0], [1.5, 2.0, 2.5])
    assert gap["mean"] == pytest.approx(0.0)
    assert gap["half_width_95"] == pytest.approx(4.303 * np.std([-0.5, 0, 0.5], ddof=1) / 3**0.5)
