"""The index struck at a random system call: what it remembers is the old or the new, and a run after it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from faults import parts, places, strike

from clet import seeds as random_seeds
from clet.batch import Batch
from clet.dedup import index as index_module
from clet.dedup.bloom import BloomIndex
from clet.dedup.index import Index
from clet.dedup.repeats import Plan, drop_repeats
from clet.exits import CletError, ExitCode
from clet.record import encode_tok, make_record
from clet.state import State

pytestmark = pytest.mark.faults


def records(day: int, size: int = 12) -> list:
    rng = random_seeds.numpy_generator(day, "faults")
    made = []
    for _ in range(size):
        ids = rng.integers(0, 30_000, 60)
        record = make_record(source="t", origin="t", fetched=None, text=" ".join(f"w{i}" for i in ids))
        made.append(record | {"tok": encode_tok(ids.astype(np.uint16), "fp")})
    return made


def turn(path: Path, kind: str, day: int) -> list[str]:
    """One committed run over a day's records; the ids that passed."""
    with State.open(path, "dedup", {"kind": kind}) as state:
        index = Index(state=state) if kind == "segments" else BloomIndex(0.8, 16, 48, state=state)
        batch = Batch.from_records(records(day))
        plan = Plan(span=20 if kind == "segments" else 0)
        kept = [b.fields(i)["id"] for b in drop_repeats([batch], index, plan, lambda *_: None) for i in range(len(b))]
        index.commit()
        return kept


def told(path: Path, kind: str, days: list[int]) -> int:
    try:
        for day in days:
            turn(path, kind, day)
    except CletError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.status)
    return 0


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Spills within a run, and merges of what it spilled."""
    monkeypatch.setattr(index_module, "SPILL_DOCS", 5)
    monkeypatch.setattr(index_module, "RATIO", 2)


@pytest.mark.parametrize("kind", ["segments", "filters"])
@pytest.mark.parametrize("seeds", parts(), ids=str)
def test_a_run_that_is_struck_is_remembered_whole_or_not_at_all(tmp_path, kind, seeds):
    def begin(name: str) -> Path:
        path = tmp_path / name
        turn(path, kind, 1)
        return path

    calm = begin("calm")
    assert len(turn(calm, kind, 2)) == 12  # also compiles what the children will need
    assert not turn(calm, kind, 2)
    calls = strike(lambda: told(begin("count"), kind, [2, 3])).calls
    assert calls > 15
    for seed, at, how in places(calls, seeds, f"dedup/{kind}"):
        path = begin(str(seed))
        outcome = strike(lambda path=path: told(path, kind, [2, 3]), at, how)
        if outcome.status > 0:
            assert outcome.said.count("\n") == 1, (seed, at, how, outcome)
        assert not turn(path, kind, 1), (seed, at, how)  # what was remembered before still is
        passed = [len(turn(path, kind, day)) for day in (2, 3)]
        # A day is known whole or not at all, and no later one without the earlier.
        assert passed in ([12, 12], [0, 12], [0, 0]), (seed, at, how, outcome)
        if outcome.status == ExitCode.OK:
            assert passed == [0, 0], (seed, outcome)
        named = {entry["file"] for entry in head(path)}
        found = {each.name for each in path.iterdir() if each.name.startswith(("segment-", "filter-"))}
        assert found == named, (seed, at, how)  # nothing is left over


def head(path: Path) -> list[dict]:
    values = State.peek(path, "dedup").values
    return values.get("segments", []) + values.get("generations", [])
