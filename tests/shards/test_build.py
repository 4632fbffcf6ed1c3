import multiprocessing
import os
import signal

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clet.batch import Batch
from clet.exits import InputError, TryLater, UsageError, WriteError
from clet.shards import build as build_module
from clet.shards import directory as directory_module
from clet.shards.build import MAX_LANES, ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.shards.manifest import read_manifest
from clet.shards.reader import ShardReader
from clet.shards.verify import verify_shard


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def shards_of(path):
    return {name: body for name, body in files(path).items() if name.endswith(".clet")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 39), max_size=6, unique=True),
    lanes=st.lists(st.sampled_from(["a", "b", None, "not a lane"]), min_size=40, max_size=40),
    limits=st.sampled_from([(300, 1 << 30, 1 << 30), (1 << 30, 2000, 1 << 30), (1 << 30, 1 << 30, 4000)]),
)
def test_bytes_do_not_depend_on_how_records_arrived(tmp_path_factory, shard_tools, cuts, lanes, limits):
    """Whatever seals a shard: its tokens, its table, or all tables together."""
    path, patch = tmp_path_factory.mktemp("shards"), pytest.MonkeyPatch()
    patch.setattr(build_module, "MAX_TABLE_BYTES", limits[1])
    patch.setattr(build_module, "MAX_TABLES_BYTES", limits[2])
    rows = shard_tools.rows(40)
    rows[7] = []
    whole = shard_tools.batch(rows).annotate("priority", [{"lane": lane} if lane else 0.5 for lane in lanes])
    parts = np.split(np.arange(40), sorted(cuts))
    rejected = ([], [])
    for name, batches, said in (("a", [whole], rejected[0]), ("b", [whole.take(part) for part in parts], rejected[1])):

        def reject(batch, row, why, said=said):
            said.append((batch.fields(row)["id"], why))

        shard_tools.write(path / name, batches, reject, shard_tokens=limits[0])
    patch.undo()
    assert files(path / "a") == files(path / "b")
    assert rejected[0] == rejected[1]
    assert len(rejected[0]) == 1 + sum(lane == "not a lane" for row, lane in enumerate(lanes) if row != 7)
    assert len(shards_of(path / "a")) > 2
    for entry in read_manifest(path / "a"):
        verify_shard(entry)


def test_small_documents_do_not_make_endless_tables(tmp_path, shard_tools, monkeypatch):
    monkeypatch.setattr(build_module, "MAX_TABLE_BYTES", 3000)
    _, entries = shard_tools.write(tmp_path, [shard_tools.batch([[1]] * 50)])
    assert len(entries) > 2
    assert all(sum(map(len, map(orjson.dumps, entry.open().heads()))) < 6000 for entry in entries)


def test_a_document_lies_whole_in_one_shard(tmp_path, shard_tools):
    rows = shard_tools.rows(60)
    counts, entries = shard_tools.write(tmp_path, [shard_tools.batch(rows)], shard_tokens=200)
    tables = [ShardReader.open(entry.path).documents() for entry in entries]
    assert [document["tokens"] for table in tables for document in table] == [len(row) for row in rows]
    assert sum(entry.num_tokens for entry in entries) == counts.tokens == sum(map(len, rows))
    assert sum(entry.num_windows for entry in entries) == counts.windows
    assert all(entry.num_tokens >= 200 for entry in entries[:-1])


def test_lanes_come_from_the_records_priority(tmp_path, shard_tools):
    batch = shard_tools.batch(shard_tools.rows(6))
    lanes = [{"lane": "fast"}, {"score": 0.5}, {"lane": "fast"}, None, 0.7, {"lane": "slow-2"}]
    _, entries = shard_tools.write(tmp_path, [batch.annotate("priority", lanes)])
    assert {entry.lane: entry.num_documents for entry in entries} == {"fast": 2, "main": 3, "slow-2": 1}
    assert all(entry.path == tmp_path / entry.lane / f"{entry.name}.clet" and entry.path.exists() for entry in entries)
    assert {ShardReader.open(entry.path).lane for entry in entries} == {"fast", "main", "slow-2"}


@pytest.mark.parametrize("lane", ["../up", "", "A", "a/b", 7, "x" * 65, "nul\0"])
def test_a_lane_that_is_no_folder_name_is_rejected(tmp_path, shard_tools, lane):
    rejected = []
    batch = shard_tools.batch([[1, 2], [3]]).annotate("priority", [{"lane": lane}, {}])
    _, entries = shard_tools.write(tmp_path, [batch], reject=lambda *args: rejected.append(args[1:]))
    assert rejected == [(0, "bad-lane")]
    assert [entry.lane for entry in entries] == ["main"]


def test_the_number_of_lanes_is_bounded(tmp_path, shard_tools):
    rejected = []
    batch = shard_tools.batch([[1]] * (MAX_LANES + 3))
    batch = batch.annotate("priority", [{"lane": f"lane-{i}"} for i in range(len(batch))])
    shard_tools.write(tmp_path, [batch], reject=lambda *args: rejected.append(args[2]))
    assert rejected == ["bad-lane"] * 3


def test_records_without_tokens_are_rejected(tmp_path, shard_tools):
    rejected = []
    full = shard_tools.batch([[1], [], [2]])
    bare = Batch(full.head, full.text, full.has_text)
    _, (entry,) = shard_tools.write(
        tmp_path, [bare, full], reject=lambda *args: rejected.append(args[1:]), eos_id=0, vocab_size=3
    )
    assert rejected == [(0, "no-tokens"), (1, "no-tokens"), (2, "no-tokens"), (1, "empty")]
    assert (entry.num_documents, entry.num_tokens) == (2, 4)


def test_tokens_that_are_not_the_tokenizers_are_refused(tmp_path, shard_tools):
    batch = shard_tools.batch([[1, 2], [3, 300]])
    with pytest.raises(InputError, match="id 300 is outside the vocabulary of 300") as caught:
        shard_tools.write(tmp_path / "a", [batch], vocab_size=300)
    assert batch.fields(1)["id"] in str(caught.value)
    with pytest.raises(InputError, match="--tokenizer is " + "cd" * 16):
        shard_tools.write(tmp_path / "b", [batch], fingerprint="cd" * 16)
    with pytest.raises(InputError, match="those before are of " + shard_tools.fingerprint):
        shard_tools.write(tmp_path / "c", [batch, shard_tools.batch([[1]], fingerprint="cd" * 16)])
    for name in "abc":
        assert set(files(tmp_path / name)) == {"lock", "manifest.jsonl"}
        assert read_manifest(tmp_path / name) == []


def test_the_reader_knows_a_bound_of_the_ids(tmp_path, shard_tools):
    _, (with_tokenizer,) = shard_tools.write(tmp_path / "a", [shard_tools.batch([[5, 9]])], vocab_size=70)
    _, (without,) = shard_tools.write(tmp_path / "b", [shard_tools.batch([[5, 9]])])
    assert ShardReader.open(with_tokenizer.path).vocab_size == 70
    assert ShardReader.open(without.path).vocab_size == 10


def test_a_directory_keeps_to_one_tokenizer_and_one_length(tmp_path, shard_tools):
    shard_tools.write(tmp_path, [shard_tools.batch([[1]])])
    before = files(tmp_path)
    with pytest.raises(UsageError, match="write to another directory"):
        shard_tools.write(tmp_path, [shard_tools.batch([[1]], fingerprint="cd" * 16)])
    with pytest.raises(UsageError, match="holds windows of 16 tokens"):
        shard_tools.write(tmp_path, [shard_tools.batch([[1]])], seq_len=32)
    assert files(tmp_path) == before


def test_the_same_records_again_add_nothing(tmp_path, shard_tools):
    batch = shard_tools.batch(shard_tools.rows(30))
    shard_tools.write(tmp_path, [batch], shard_tokens=200)
    before = files(tmp_path)
    _, added = shard_tools.write(tmp_path, [batch], shard_tokens=200)
    assert added == [] and files(tmp_path) == before
    _, added = shard_tools.write(tmp_path, [shard_tools.batch([[7]], start=99)], shard_tokens=200)
    assert len(added) == 1 and set(before) < set(files(tmp_path))


def test_an_input_that_fails_leaves_nothing_of_the_run(tmp_path, shard_tools):
    def failing():
        yield shard_tools.batch(shard_tools.rows(30))
        raise InputError("cut short")

    shard_tools.write(tmp_path, [shard_tools.batch([[1, 2]], start=90)])
    before = files(tmp_path)
    with pytest.raises(InputError, match="cut short"):
        shard_tools.write(tmp_path, failing(), shard_tokens=100)
    assert files(tmp_path) == before


def test_two_writers_exclude_each_other(tmp_path):
    with ShardDirectory.open(tmp_path, "now"):
        with pytest.raises(TryLater, match="another process"):
            ShardDirectory.open(tmp_path, "now")
    ShardDirectory.open(tmp_path, "now").close()


def test_a_full_disk_is_a_write_error(tmp_path, shard_tools, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    ShardDirectory.open(tmp_path, "now").close()
    monkeypatch.setattr(directory_module.os, "replace", full)
    with pytest.raises(WriteError, match="No space left"):
        shard_tools.write(tmp_path, [shard_tools.batch([[1, 2]])])
    monkeypatch.undo()
    assert set(files(tmp_path)) == {"lock", "manifest.jsonl"} and read_manifest(tmp_path) == []


def _die_in(path, batch, module_name, function):
    """Shard in this process, and get killed at the first call of a function."""
    import importlib

    module = importlib.import_module(module_name)
    setattr(module, function, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with ShardDirectory.open(path, "2026-01-02T03:04:05Z") as directory:
        build_shards([batch], directory, ShardPlan(16, shard_tokens=200), lambda *_: None)
        directory.commit()


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("clet.shards.table", "merkle_root_of"),  # windows are written, the shard is not sealed
        ("clet.shards.directory", "shard_path"),  # one shard is sealed
        ("clet.state", "fsync_directory"),  # files have their names, the manifest does not know them
        ("clet.shards.directory", "append_entries"),
    ],
)
def test_killed_then_run_again_gives_the_bytes_of_an_undisturbed_run(tmp_path, shard_tools, module, function):
    batch = shard_tools.batch(shard_tools.rows(30))
    shard_tools.write(tmp_path / "calm", [batch], shard_tokens=200)
    broken = tmp_path / "broken"
    ShardDirectory.open(broken, "now").close()
    process = multiprocessing.get_context("fork").Process(target=_die_in, args=(broken, batch, module, function))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_manifest(broken) == []
    shard_tools.write(broken, [batch], shard_tokens=200)
    assert files(broken) == files(tmp_path / "calm")
    for entry in read_manifest(broken):
        verify_shard(entry)
