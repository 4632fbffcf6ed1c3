"""clet cat as a process, over everything that clet writes."""

import gzip
import subprocess

import numpy as np
import orjson
import pytest
import zstandard
from processes import CLET, clean_environment

from clet.batch import Batch, Ragged
from clet.container import end_frame
from clet.record import make_record
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.state import State


def cat(*arguments, stdin=b""):
    command = [CLET, "cat", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env=clean_environment(), timeout=60)


def parsed(result, status=0):
    assert result.returncode == status, result.stderr
    return [orjson.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def batch():
    records = [make_record(source="t", origin="o", text=f"text \u00e9 {i}", fetched=None) for i in range(5)]
    tok = Ragged.from_rows([np.arange(i + 3, dtype=np.uint16) for i in range(5)], np.uint16)
    return Batch.from_records(records).with_tokens(tok, "ab" * 16)


@pytest.fixture(scope="module")
def lines(batch):
    return [batch.line(i) for i in range(len(batch))]


@pytest.fixture(scope="module")
def shards(batch, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    with ShardDirectory.open(path, "2026-01-02T03:04:05Z") as directory:
        build_shards([batch], directory, ShardPlan(seq_len=8), lambda *_: None)
        directory.commit()
        return path, directory.added[0]


def test_every_encoding_of_a_stream_prints_the_same_lines(batch, lines):
    text = b"\n".join(lines) + b"\n"
    frames = batch.take([0, 1]).to_frame() + batch.take([2, 3, 4]).to_frame() + end_frame(2)
    for stdin in (text, gzip.compress(text), zstandard.compress(text), frames, zstandard.compress(frames)):
        result = cat(stdin=stdin)
        assert result.returncode == 0 and result.stdout == text
    assert cat("-n", 2, stdin=frames).stdout == b"".join(line + b"\n" for line in lines[:2])


def test_concatenated_streams_are_one(batch, lines, tmp_path):
    one = batch.to_frame() + end_frame(1)
    (tmp_path / "a").write_bytes(one + one)
    (tmp_path / "b").write_bytes(zstandard.compress(lines[0]) + zstandard.compress(b"\n" + lines[1]))
    assert cat(tmp_path / "a", tmp_path / "b").stdout.splitlines() == lines * 2 + lines[:2]


def test_a_bad_line_is_reported_and_passed_over(lines):
    result = cat(stdin=b"\n".join([lines[0], b"{oops", lines[1], b'{"id":"x"}', lines[2]]))
    assert result.stdout.splitlines() == lines[:3]
    assert result.returncode == 1
    assert b"stdin:2: not JSON" in result.stderr and b"stdin:4: no id of 32 hex digits" in result.stderr


def test_unreadable_lines_kept_in_rejects_are_shown():
    kept = b'{"reject":{"stage":"dedup","reason":"not JSON","place":"a:1"},"line":"x"}'
    assert cat(stdin=kept).stdout == kept + b"\n"


def test_truncated_input_is_status_65(batch, lines, shards):
    frames = batch.to_frame() + end_frame(1)
    shard = shards[1].path.read_bytes()
    cuts = [frames[:-1], frames[:50], batch.to_frame(), zstandard.compress(lines[0])[:-1], shard[:-96], shard[:-1]]
    for cut in cuts:
        result = cat(stdin=cut)
        assert result.returncode == 65 and b"truncated" in result.stderr, result.stderr


def test_a_shard_is_its_header_and_a_line_a_window(batch, shards):
    header, *windows = parsed(cat(shards[1].path))
    assert header["shard"]["seq_len"] == 8 and header["shard"]["fp"] == "ab" * 16
    assert [window["window"] for window in windows] == list(range(shards[1].num_windows))
    found = {batch.fields(i)["id"]: [] for i in range(len(batch))}
    for window in windows:
        assert len(window["ids"]) == sum(window["lengths"]) <= 8
        at = 0
        for document, length in zip(window["documents"], window["lengths"], strict=True):
            found[document] += window["ids"][at : at + length]
            at += length
    assert list(found.values()) == [list(range(i + 3)) for i in range(len(batch))]
    assert parsed(cat(stdin=shards[1].path.read_bytes() * 2)) == [header, *windows] * 2


def test_headers_show_each_frame_and_no_content(batch, lines, shards):
    frames = parsed(cat("--headers", shards[1].path))
    assert [frame["kind"] for frame in frames] == ["shard_header", "windows", "documents", "shard_footer", "end"]
    assert [frame["offset"] for frame in frames] == np.cumsum([0, *[f["bytes"] for f in frames[:-1]]]).tolist()
    assert frames[1]["arrays"]["ids"] == f"<u2[{shards[1].num_windows}, 8]"
    assert frames[3]["info"]["root"] == shards[1].root
    (told,) = parsed(cat("--headers", stdin=zstandard.compress(b"\n".join(lines))))
    assert told == {"file": "stdin", "kind": "records", "codec": "zstd", "records": 5}


def test_a_directory_of_shards_is_its_manifest(shards):
    (line,) = parsed(cat(shards[0]))
    assert line["name"] == shards[1].name and line["windows"] == shards[1].num_windows


def test_a_state_is_its_head_and_its_committed_journals(tmp_path):
    with State.open(tmp_path / "state", "dedup", {"near": 0.8}) as state:
        state.values["seen"] = 2
        for part in ([1, 2], [3]):
            state.append("exact", {"keys": np.array(part, np.uint64)})
        state.commit()
    with open(tmp_path / "state/exact.journal", "ab") as journal:
        journal.write(b"left over from a crash")
    head, *journal = parsed(cat(tmp_path / "state"))
    assert (head["command"], head["values"]) == ("dedup", {"seen": 2})
    assert journal == [{"journal": "exact", "arrays": {"keys": keys}} for keys in ([1, 2], [3])]
    assert parsed(cat(tmp_path / "state/HEAD")) == [head]
    _, first, _ = parsed(cat("--headers", tmp_path / "state"))
    assert first["kind"] == "journal" and first["arrays"] == {"keys": "<u8[2]"}
    (tmp_path / "state/exact.journal").write_bytes(b"")
    assert cat(tmp_path / "state").returncode == 65


def test_what_cannot_be_opened_is_a_usage_error(tmp_path):
    for operand in (tmp_path, tmp_path / "missing"):
        result = cat(operand)
        assert result.returncode == 2 and result.stderr.count(b"\n") == 1
