"""The index on disk: what was seen is remembered, whole or not at all, and never guessed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clet import seeds
from clet.batch import Batch
from clet.dedup import index as index_module
from clet.dedup.index import PARAMS, Index
from clet.dedup.repeats import drop_repeats
from clet.exits import InputError, TryLater, UsageError
from clet.state import State


def documents(make, size: int = 120) -> list:
    """Documents of 30 tokens, each fourth a near repeat of the one before."""
    rng = seeds.numpy_generator(1, "index")
    rows = []
    for i in range(size):
        ids = rng.integers(0, 30_000, 60).astype(np.uint16)
        if i % 4 == 3:
            ids = rows[-1].copy()
            ids[-1] = 40_000 + i
        rows.append(ids)
    return [make(f"Document {i}.", ids=ids) for i, ids in enumerate(rows)]


def run(batches, index: Index):
    """(ids kept, (id, reason) dropped)."""
    dropped = []
    out = drop_repeats(batches, index, threshold=0.8, reject=lambda b, r, why: dropped.append((b.fields(r), why)))
    return [batch.fields(i) for batch in out for i in range(len(batch))], dropped


def pass_through(directory: Path, records: list):
    """One committed run."""
    with State.open(directory, "dedup", PARAMS) as state:
        index = Index(state=state)
        result = run([Batch.from_records(records)] if records else [], index)
        index.commit()
    return result


def test_runs_with_a_state_decide_like_one_run(record, tmp_path, monkeypatch):
    records = documents(record)
    monkeypatch.setattr(index_module, "FRAME_BYTES", 4000)  # many frames
    parts = [records[:1], records[1:50], [], records[50:51], records[51:]]
    results = [pass_through(tmp_path / "a", part) for part in parts]
    kept, dropped = pass_through(tmp_path / "b", records)
    assert [r for part, _ in results for r in part] == kept
    assert [r for _, part in results for r in part] == dropped
    assert len(dropped) == 30
    again, repeats = pass_through(tmp_path / "a", records)
    assert not again
    assert {why for _, why in repeats} == {"exact"}  # what was dropped as near is known by its id now


def test_kill_between_append_and_commit_leaves_the_old_state(record, tmp_path):
    records = documents(record)
    pass_through(tmp_path / "state", records[:40])
    with State.open(tmp_path / "state", "dedup", PARAMS) as state:
        index = Index(state=state)
        run([Batch.from_records(records[40:])], index)
        index._save()
        # The journal is longer than HEAD says, as after a kill before the rename.
        with open(tmp_path / "state" / "seen.journal", "ab") as journal:
            journal.writelines(state._pending["seen"])
        shutil.copytree(tmp_path / "state", tmp_path / "killed")
    result = pass_through(tmp_path / "killed", records[40:])
    assert result == pass_through(tmp_path / "state", records[40:])
    assert len(result[0]) == 60


def test_nothing_is_kept_without_commit(record, tmp_path):
    records = documents(record, 8)
    with State.open(tmp_path, "dedup", PARAMS) as state:
        run([Batch.from_records(records)], Index(state=state))
    assert len(pass_through(tmp_path, records)[0]) == 6


def test_two_writers_on_one_state_are_told_to_wait(tmp_path):
    with State.open(tmp_path, "dedup", PARAMS), pytest.raises(TryLater):
        State.open(tmp_path, "dedup", PARAMS)


def test_other_parameters_are_refused(record, tmp_path):
    pass_through(tmp_path, documents(record, 4))
    with pytest.raises(UsageError, match="shingle 5"):
        State.open(tmp_path, "dedup", PARAMS | {"shingle": 8})


def test_another_tokenizer_is_refused(record, tmp_path):
    pass_through(tmp_path, [record("a", ids=np.arange(20), fp="one")])
    with pytest.raises(UsageError, match="tokenizer two"):
        pass_through(tmp_path, [record("b", ids=np.arange(20), fp="two")])


def test_a_state_draws_its_own_secret_and_keeps_it(record, tmp_path):
    secrets = []
    for name in ("a", "b", "a"):
        with State.open(tmp_path / name, "dedup", PARAMS) as state:
            index = Index(state=state)
            secrets.append(index.secret)
            index.commit()
    assert secrets[0] == secrets[2] != secrets[1]
    assert Index(5).secret == Index(5).secret != Index(6).secret


def test_growth_forgets_nothing(record):
    rng = seeds.numpy_generator(1, "growth")
    records = [record(str(i), ids=rng.integers(0, 60_000, 8).astype(np.uint16)) for i in range(3000)]
    index = Index()
    assert len(run([Batch.from_records(records[i : i + 100]) for i in range(0, 3000, 100)], index)[0]) == 3000
    kept, dropped = run([Batch.from_records(records)], index)
    assert not kept
    assert len(dropped) == 3000
    assert len(index) == 3000
    copies = [record(f"copy {i}", ids=[*range(i, i + 4), 1, 2, 3, 4]) for i in range(5)]
    assert len(run([Batch.from_records(copies)], index)[0]) == 5


@pytest.mark.parametrize(
    "damage",
    [
        {"owner": np.array([0, 7], np.int32)},
        {"owner": np.array([1, 0], np.int32)},
        {"lengths": np.array([3, 4], np.int64)},
        {"lengths": np.array([-1, 57], np.int64)},
        {"prior": np.array([-1, 9], np.int32)},
        {"tokens": np.zeros((1, 2), np.uint64)},
    ],
)
def test_a_journal_that_contradicts_itself_is_refused(record, tmp_path, damage):
    rng = seeds.numpy_generator(1, "damage")
    good = tmp_path / "good"
    pass_through(good, [record(str(i), ids=rng.integers(0, 9999, 30).astype(np.uint16)) for i in range(2)])
    with State.open(good, "dedup", PARAMS) as state:
        [arrays] = state.journal("seen")
    with State.open(tmp_path / "bad", "dedup", PARAMS) as state:
        state.append("seen", arrays | damage)
        state.values["secret"] = "00"
        state.commit()
    with State.open(tmp_path / "bad", "dedup", PARAMS) as state, pytest.raises(InputError, match="contradicts itself"):
        Index(state=state)
