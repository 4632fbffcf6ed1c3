"""clet bench train: both sides do the same work, and what is said was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clet.bench import train
from clet.bench.train import Plan, Side, flops_per_token, make_model, make_shards, show
from clet.exits import InputError
from clet.model.presets import preset_config
from clet.shards.manifest import find_shards
from clet.shards.reader import ShardReader


@pytest.fixture
def small(monkeypatch):
    """Presets of two layers and few ids: the bench itself is looked at."""
    from dataclasses import replace

    small = replace(preset_config("pico"), num_layers=2, vocab_size=512, hidden_size=64)
    monkeypatch.setattr(train, "preset_config", lambda name: small)
    return small


def test_both_sides_learn_the_same_windows_to_the_same_loss(small, capsys):
    pytest.importorskip("transformers")
    result = train.measure(Plan(("pico",), seq_len=64, batch_size=4, accumulate=2, steps=2, turns=2, threads=1))
    (row,) = result["rows"]
    ours, theirs = row["clet"], row["plain"]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert len(ours["turns"]) == len(theirs["turns"]) == 2
    assert row["times_faster"] == pytest.approx(
        sorted(b["seconds"] / a["seconds"] for a, b in zip(ours["turns"], theirs["turns"], strict=True))[1]
    )
    assert 0 <= ours["wait_share"] < 1 and 0 < ours["bookkeeping_share"] < 1
    assert 10 < ours["peak_mb"] < 4000 and 10 < theirs["peak_mb"] < 4000
    rate = 2 * 4 * 64 / sorted(turn["seconds"] for turn in ours["turns"])[1]
    assert ours["tokens_per_s"] == pytest.approx(rate)
    share = rate * flops_per_token(small, 64, None) / row["ceiling_gflops"] / 1e9
    assert ours["ceiling_share"] == pytest.approx(share)
    json.dumps(result)
    show(result)
    assert "clet tokens/s" in capsys.readouterr().out


def test_operations_are_six_a_weight_and_those_of_attention_inside_documents():
    layer = 3 * 128 * 384 + 128 * 64 * (2 * 2 + 2 * 1)
    for document, counted in ((None, 511), (128, 508)):
        attention = 5 * 12 * 2 * 64 * ((document or 512) + 1) / 2
        expected = 6 * 5 * layer + 6 * 8192 * 128 * counted / 512 + attention
        assert flops_per_token(preset_config("pico"), 512, document) == pytest.approx(expected)


def test_documents_fill_their_windows(small, tmp_path):
    plan = Plan(("pico",), seq_len=64, batch_size=4, steps=2, turns=2, document=32)
    make_model(small, tmp_path / "model", 1)
    make_shards(small, plan, tmp_path)
    (entry,) = find_shards([str(tmp_path / "shards")])
    windows = ShardReader.open(entry.path).windows(list(range(entry.num_windows)))
    assert entry.num_windows == plan.num_steps * plan.batch_size
    assert (np.asarray(windows.segments) == np.repeat([0, 1], 32)).all()


def test_a_side_that_fails_says_why(tmp_path):
    side = Side("clet", Plan(("pico",)), tmp_path)
    try:
        with pytest.raises(InputError, match="the clet side ended: "):
            side.turn()
    finally:
        side.kill()


def test_a_type_and_a_preset_that_do_not_exist_are_refused(clet):
    done = clet("bench", "train", "--dtype", "float16")
    assert done.returncode == 2 and b"choose float32 or bfloat16" in done.stderr
    done = clet("bench", "train", "--preset", "huge")
    assert done.returncode == 2 and b"unknown preset 'huge'" in done.stderr
