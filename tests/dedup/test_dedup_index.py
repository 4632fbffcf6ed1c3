"""The index on disk: what was seen is remembered, whole or not at all, and never guessed."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clet import seeds
from clet.batch import Batch
from clet.dedup import index as index_module
from clet.dedup import table
from clet.dedup.index import PARAMS, Index
from clet.dedup.repeats import Plan, drop_repeats
from clet.exits import InputError, TryLater, UsageError, WriteError
from clet.record import encode_tok
from clet.state import State


@pytest.fixture
def small(monkeypatch):
    """Segments of a few documents, merged often."""
    monkeypatch.setattr(index_module, "SPILL_DOCS", 7)
    monkeypatch.setattr(index_module, "SPILL_KEYS", 40)
    monkeypatch.setattr(index_module, "RATIO", 2)


def documents(make, size: int = 120, seed: int = 1, length: int = 60) -> list:
    """Documents of `length` words, each fourth a near repeat of the one before."""
    rng = seeds.numpy_generator(seed, "index")
    rows = []
    for i in range(size):
        ids = rng.integers(0, 30_000, length)
        if i % 4 == 3:
            ids = rows[-1].copy()
            ids[-1] = 40_000 + i
        rows.append(ids)
    return [make(" ".join(f"w{i}" for i in ids), ids=ids, origin=f"o{n % 5}") for n, ids in enumerate(rows)]


def run(batches, index: Index, **plan):
    """(records kept, (record, reason) dropped)."""
    dropped = []

    def reject(batch: Batch, reasons: list[str]) -> None:
        dropped.extend((batch.fields(row), reason) for row, reason in enumerate(reasons))

    out = drop_repeats(batches, index, Plan(**plan), reject)
    return [batch.record(i) for batch in out for i in range(len(batch))], dropped


def pass_through(directory: Path, records: list, batch: int = 1000, **options):
    """One committed run."""
    plan = {name: options.pop(name) for name in ("span", "mark", "jobs") if name in options}
    with State.open(directory, "dedup", PARAMS) as state:
        index = Index(state=state, **options)
        result = run([Batch.from_records(records[i : i + batch]) for i in range(0, len(records), batch)], index, **plan)
        index.commit()
    return result


def test_runs_with_a_state_decide_like_one_run(record, tmp_path, small):
    records = documents(record)
    parts = [records[:1], records[1:50], [], records[50:51], records[51:]]
    results = [pass_through(tmp_path / "a", part) for part in parts]
    kept, dropped = pass_through(tmp_path / "b", records)
    assert [r for part, _ in results for r in part] == kept
    assert [r for _, part in results for r in part] == dropped
    assert len(dropped) == 30
    again, repeats = pass_through(tmp_path / "a", records)
    assert not again
    assert {why for _, why in repeats} == {"exact"}  # what was dropped as near is known by its id now


@pytest.mark.parametrize("span", [0, 20])
def test_segments_decide_like_tables_in_memory(record, tmp_path, monkeypatch, span):
    records = documents(record, 160)
    expected = run([Batch.from_records(records)], Index(7), span=span)
    monkeypatch.setattr(index_module, "SPILL_DOCS", 9)
    monkeypatch.setattr(index_module, "RATIO", 2)
    for batch in (1, 13, 160):
        batches = [Batch.from_records(records[i : i + batch]) for i in range(0, len(records), batch)]
        index = Index(7)
        assert run(batches, index, span=span) == expected
        assert index.header()["segments"] > 1


@pytest.mark.parametrize("jobs", [2, 5])
def test_jobs_change_nothing_over_segments(record, tmp_path, small, jobs):
    records = documents(record, 100)
    for number in (1, jobs):
        index = Index(3)
        results = [run([Batch.from_records(part)], index, jobs=number) for part in (records[:60], records[40:])]
        if number == 1:
            expected = results
    assert results == expected


def test_what_segments_know_of_clusters_is_what_was_counted(record, tmp_path, small):
    rng = seeds.numpy_generator(1, "clusters")
    base = rng.integers(0, 30_000, 900)

    def copy(n: int):
        ids = base.copy()
        ids[5 * n + 5] = 50_000
        return record(" ".join(f"w{i}" for i in ids), ids=ids, origin=f"o{n % 4}")

    copies = [copy(n) for n in range(40)]
    fillers = documents(record, 40, seed=2)
    records = [each for pair in zip(copies, fillers, strict=True) for each in pair]
    expected, _ = run([Batch.from_records(records)], Index(5), mark=True)
    got = [pass_through(tmp_path, list(part), mark=True)[0] for part in (records[:21], records[21:50], records[50:])]
    notes = [record["dedup"] for part in got for record in part]
    assert notes == [record["dedup"] for record in expected]
    assert max(note["size"] for note in notes) == 40
    assert max(note["origins"] for note in notes) == 4


def test_a_new_version_is_told_from_its_past_across_segments(record, tmp_path, small):
    rng = seeds.numpy_generator(1, "versions")
    ids = rng.integers(0, 30_000, 200)
    first = record(" ".join(f"w{i}" for i in ids), ids=ids)
    pass_through(tmp_path, [first, *documents(record, 30)])
    second = record(" ".join(f"w{i}" for i in ids[:-1]), ids=ids[:-1], meta={"supersedes": first["id"]})
    [kept], _ = pass_through(tmp_path, [second])
    assert kept["dedup"]["updates"] == first["id"]
    assert kept["dedup"]["jaccard"] > 0.9
    third = record(" ".join(f"w{i}" for i in ids[:-2]), ids=ids[:-2], meta={"supersedes": second["id"]})
    assert len(pass_through(tmp_path, [third])[0]) == 1  # not a repeat of the first version either


def test_beyond_the_capacity_the_oldest_are_forgotten(record, tmp_path, small):
    records = documents(record, 400)
    unlike = [r for i, r in enumerate(records) if i % 4 != 3]
    pass_through(tmp_path, unlike, capacity=80)
    with State.open(tmp_path, "dedup", PARAMS) as state:
        index = Index(state=state, capacity=80)
        assert 70 <= index.num_remembered <= 80
        assert len(index) == 300
        kept, dropped = run([Batch.from_records(unlike[-70:])], index)
        assert not kept
        assert len(run([Batch.from_records(unlike[:200])], index)[0]) == 200
    assert {record["dedup"]["of"] for record, _ in dropped} == {r["id"] for r in unlike[-70:]}


def test_segments_older_than_the_window_are_deleted(record, tmp_path, small):
    def day(n: int):
        made = documents(record, 12, seed=n)
        time = (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=n)).strftime("%Y-%m-%dT00:00:00Z")
        return [each | {"fetched": time} for each in made]

    for n in range(60):
        pass_through(tmp_path, day(n), window=20 * 86_400)
    with State.open(tmp_path, "dedup", PARAMS) as state:
        index = Index(state=state, window=20 * 86_400)
        remembered = index.num_remembered
        assert 20 * 9 <= remembered <= 25 * 9
        files = {path.name for path in tmp_path.glob("segment-*")}
        assert files == {entry["file"] for entry in state.values["segments"]}
        assert not run([Batch.from_records(day(45))], index)[0]
    # A machine whose clock is wrong by a year forgets at most an eighth of the window for it.
    future = [each | {"fetched": "2027-03-01T00:00:00Z"} for each in documents(record, 4, seed=99)]
    pass_through(tmp_path, future, window=20 * 86_400)
    with State.open(tmp_path, "dedup", PARAMS) as state:
        assert Index(state=state, window=20 * 86_400).num_remembered >= remembered * 0.8


def test_kill_before_the_commit_leaves_the_old_state(record, tmp_path, small):
    records = documents(record)
    pass_through(tmp_path / "state", records[:40])
    with State.open(tmp_path / "state", "dedup", PARAMS) as state:
        index = Index(state=state)
        run([Batch.from_records(records[40:])], index)
        index._spill()
        shutil.copytree(tmp_path / "state", tmp_path / "killed")  # new files are there, HEAD names the old ones
    result = pass_through(tmp_path / "killed", records[40:])
    assert result == pass_through(tmp_path / "state", records[40:])
    assert len(result[0]) == 60
    with State.open(tmp_path / "killed", "dedup", PARAMS) as state:
        names = {entry["file"] for entry in state.values["segments"]}
    assert {path.name for path in (tmp_path / "killed").glob("segment-*")} == names


def test_nothing_is_kept_without_commit(record, tmp_path):
    records = documents(record, 8)
    with State.open(tmp_path, "dedup", PARAMS) as state:
        run([Batch.from_records(records)], Index(state=state))
    assert len(pass_through(tmp_path, records)[0]) == 6


def test_a_full_disk_leaves_the_old_state(record, tmp_path, small, monkeypatch):
    records = documents(record, 40)
    pass_through(tmp_path, records[:20])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    from clet import pages

    def full(file, body):
        os.write(file.fileno(), body[: len(body) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "_write", full)
    with pytest.raises(WriteError, match="No space left"):
        pass_through(tmp_path, records[20:])
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_writers_on_one_state_are_told_to_wait(tmp_path):
    with State.open(tmp_path, "dedup", PARAMS), pytest.raises(TryLater):
        State.open(tmp_path, "dedup", PARAMS)


def test_other_parameters_are_refused(record, tmp_path):
    pass_through(tmp_path, documents(record, 4))
    with pytest.raises(UsageError, match="shingle 5"):
        State.open(tmp_path, "dedup", PARAMS | {"shingle": 8})


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
    records = [record(str(i), ids=rng.integers(0, 60_000, 8)) for i in range(3000)]
    index = Index()
    assert len(run([Batch.from_records(records[i : i + 100]) for i in range(0, 3000, 100)], index)[0]) == 3000
    kept, dropped = run([Batch.from_records(records)], index)
    assert not kept
    assert len(dropped) == 3000
    assert len(index) == 3000
    copies = [record(f"copy {i}", ids=[*range(i, i + 4), 1, 2, 3, 4]) for i in range(5)]
    assert len(run([Batch.from_records(copies)], index)[0]) == 5


def test_a_flipped_bit_anywhere_is_found(record, tmp_path):
    pass_through(tmp_path / "good", documents(record, 8), span=20)
    [path] = (tmp_path / "good").glob("segment-*")
    body = path.read_bytes()
    rng = seeds.numpy_generator(1, "flips")
    for place in [0, len(body) - 1, *rng.integers(0, len(body), 60).tolist()]:
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        damaged = bytearray(body)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "bad" / path.name).write_bytes(damaged)
        with State.open(tmp_path / "bad", "dedup", PARAMS) as state, pytest.raises(InputError, match=path.name):
            Index(state=state)
        shutil.rmtree(tmp_path / "bad")


def test_a_flipped_bit_in_a_large_segment_is_found_when_it_is_read(record, tmp_path, monkeypatch):
    from clet import pages

    monkeypatch.setattr(pages, "SMALL_BYTES", 0)
    records = documents(record, 60)
    pass_through(tmp_path, records)
    [path] = tmp_path.glob("segment-*")
    body = bytearray(path.read_bytes())
    with State.open(tmp_path, "dedup", PARAMS) as state:
        at = Index(state=state)._segments[0].layout.docs * 8
    body[at + 3] ^= 4  # in the id of the first document
    path.write_bytes(body)
    with State.open(tmp_path, "dedup", PARAMS) as state, pytest.raises(InputError, match="checksum of page"):
        run([Batch.from_records(records)], Index(state=state))


@pytest.mark.parametrize("kind", ["cut", "gone", "swapped", "other place"])
def test_files_that_head_does_not_describe_are_refused(record, tmp_path, small, kind):
    for number in range(3):
        pass_through(tmp_path, documents(record, 12 >> number, seed=number))
    paths = sorted(tmp_path.glob("segment-*"))
    if kind == "cut":
        paths[0].write_bytes(paths[0].read_bytes()[:-20])
    elif kind == "gone":
        paths[0].unlink()
    elif kind == "swapped":
        paths[0].write_bytes(paths[1].read_bytes())
    with State.open(tmp_path, "dedup", PARAMS) as state:
        if kind == "other place":
            state.values["segments"][0]["file"] = "../segment-00000001"
        with pytest.raises(InputError):
            Index(state=state)


def test_documents_of_a_segment_are_those_of_the_tables(record, small):
    records = documents(record, 30)
    index = Index(2)
    run([Batch.from_records(records)], index)
    kept = [r for i, r in enumerate(records) if i % 4 != 3]
    for number, (old, new) in enumerate(pairwise(index._segments)):
        assert old.end == new.first, number
    for number, each in enumerate(kept):
        assert index.ids_of(np.array([number])) == [each["id"]]
        sample = each["text"].split()
        assert len(index.origins_of(number)) >= 1
        if number < index.first:
            [holder] = [s for s in index._segments if s.first <= number < s.end]
            assert len(holder.sample(number)[0]) == len(sample) - 4


def test_the_kernel_reserve_keeps_all_keys():
    tables = table.reserve(table.new_tables(), 10, 0)
    for key in range(1, 11):
        table._add_key(tables, np.uint64(key), key, 0)
    tables = table.reserve(tables, 5000, 100)
    assert [table.find_key(tables, np.uint64(key), 0, 0, 0)[0] for key in range(1, 12)] == [*range(1, 11), -1]


def test_records_of_two_widths_of_ids_share_an_index(record):
    text = " ".join(f"w{i}" for i in range(50))
    narrow = record(text, ids=range(50), fp="narrow")
    wide = record(text + " more", fp="wide") | {"tok": encode_tok(np.arange(51, dtype=np.uint32), "wide")}
    _, dropped = run([Batch.from_records([narrow]), Batch.from_records([wide])], Index())
    assert [why for _, why in dropped] == ["near"]
