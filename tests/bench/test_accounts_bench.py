"""clet bench accounts on a tiny model: every part is timed, and the classes are as they were afterwards."""

from __future__ import annotations

import pytest
import torch
from tiny_run import make_model_dir, make_shards, story

from clet.bench.accounts import PARTS, measure, show_accounts
from clet.train.accounting import Account
from clet.train.rundir import RunDirectory


@pytest.fixture
def place(tmp_path):
    make_model_dir(tmp_path / "model")
    make_shards(tmp_path / "shards", [story(i) for i in range(24)], model=tmp_path / "model")
    return tmp_path


def test_every_part_is_timed_and_the_rest_is_left_as_it_was(place, capsys):
    torch.set_num_threads(1)
    before = Account.step, RunDirectory.write_step
    figures = measure([str(place / "shards")], str(place / "model"), steps=4, batch_size=2, jobs=1)
    assert (Account.step, RunDirectory.write_step) == before
    assert figures["steps"] == 4 and set(figures["parts_us"]) == set(PARTS)
    assert all(value > 0 for value in figures["parts_us"].values())
    assert 0 <= figures["wait_share"] < 1 and 200 < figures["bytes_a_line"] < 1000
    assert figures["feed_tokens_per_s"] > 0
    show_accounts(figures)
    assert "4 steps of" in capsys.readouterr().out


def test_too_few_windows_are_no_figure(place):
    small = make_shards(place / "small", [story(1)], model=place / "model")
    assert measure([str(small)], str(place / "model"), steps=4, batch_size=8, jobs=1)["steps"] == 0
