"""clet shard as a process: statuses, summary, streams."""

import os
import signal
import subprocess
import time

import numpy as np
import orjson
import pytest
import tokenizers
from processes import CLET, clean_environment

from clet.batch import Batch
from clet.container import end_frame
from clet.record import make_record
from clet.shards.manifest import find_shards, read_manifest
from clet.shards.reader import ShardReader
from clet.tokens import Tokenizer


def clet(*arguments, stdin=b""):
    command = [CLET, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env=clean_environment(), timeout=60)


def summary(result):
    last = orjson.loads(result.stderr.splitlines()[-1])
    assert last["event"] == "summary"
    return last


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    words = {"<|endoftext|>": 0, "[UNK]": 1} | {f"w{i}": i + 2 for i in range(40)}
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    engine.add_special_tokens(["<|endoftext|>"])
    engine.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file):
    return Tokenizer.load(tokenizer_file)


def batch_of(tokenizer, count, start=0):
    texts = [" ".join(f"w{(i * 7 + k) % 40}" for k in range(1 + i % 30)) for i in range(start, start + count)]
    records = [make_record(source="test", origin="here", text=text, fetched=None) for text in texts]
    return Batch.from_records(records).with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)


@pytest.fixture(scope="module")
def stream(tokenizer):
    """50 documents as a stream of batches."""
    return batch_of(tokenizer, 50).to_frame() + end_frame(1)


def test_a_stream_becomes_shards_that_verify(tmp_path, stream, tokenizer, tokenizer_file):
    made = clet("shard", "-o", tmp_path / "out", "--tokenizer", tokenizer_file, "--seq-len", 32, "--json", stdin=stream)
    assert made.returncode == 0, made.stderr
    told = summary(made)
    (entry,) = read_manifest(tmp_path / "out")
    assert (told["in"], told["out"], told["shards"]) == (50, 50, 1)
    assert told["tokens"] == entry.num_tokens == batch_of(tokenizer, 50).num_tokens + 50
    assert told["windows"] == entry.num_windows
    assert told["padding"] == round(1 - entry.num_tokens / (32 * entry.num_windows), 4)
    assert told["truncated"] == 0 < told["truncated_concatenated"]
    reader = ShardReader.open(entry.path, fingerprint=tokenizer.fingerprint)
    assert (reader.vocab_size, reader.eos_id) == (42, 0)
    windows = reader.windows(range(reader.num_windows))
    assert (windows.ids[windows.loss_mask] == 0).sum() == 50  # one end of document each
    checked = clet("shard", "--verify", tmp_path / "out", "-v")
    assert checked.returncode == 0, checked.stderr
    told = f"{entry.path}: {entry.num_windows} windows, 50 documents, {entry.root} whole"
    assert told in checked.stderr.decode()
    assert b"shards 1" in checked.stderr.splitlines()[-1]


def test_jsonl_and_batches_give_the_same_bytes(tmp_path, stream, tokenizer):
    batch = batch_of(tokenizer, 50)
    lines = b"".join(batch.line(i) + b"\n" for i in range(50))
    assert clet("shard", "-o", tmp_path / "a", stdin=stream).returncode == 0
    assert clet("shard", "-o", tmp_path / "b", stdin=lines).returncode == 0
    (a,), (b,) = read_manifest(tmp_path / "a"), read_manifest(tmp_path / "b")
    assert a.name == b.name and a.path.read_bytes() == b.path.read_bytes()


def test_level_compresses_the_same_windows(tmp_path, tokenizer):
    many = batch_of(tokenizer, 2000).to_frame() + end_frame(1)
    sizes, ids = [], []
    for level in (0, 3):
        assert clet("shard", "-o", tmp_path / str(level), "--level", level, stdin=many).returncode == 0
        (entry,) = read_manifest(tmp_path / str(level))
        reader = ShardReader.open(entry.path)
        sizes.append(reader.num_bytes)
        ids.append(reader.windows(range(reader.num_windows)).ids)
    assert np.array_equal(*ids) and sizes[1] < sizes[0]


def test_nothing_written_is_status_3(tmp_path, stream):
    assert clet("shard", "-o", tmp_path / "out", stdin=b"").returncode == 3
    assert find_shards([tmp_path / "out"]) == []
    assert clet("shard", "--verify", tmp_path / "out").returncode == 3
    assert clet("shard", "-o", tmp_path / "out", stdin=stream).returncode == 0
    again = clet("shard", "-o", tmp_path / "out", stdin=stream)
    assert again.returncode == 3 and b"holds 1 of these shards already" in again.stderr
    assert len(read_manifest(tmp_path / "out")) == 1


def test_records_without_tokens_go_to_the_rejects_with_the_fix(tmp_path):
    lines = b"".join(
        orjson.dumps(make_record(source="t", origin="o", text=f"text {i}", fetched=None)) + b"\n" for i in range(3)
    )
    rejects = tmp_path / "rejects.jsonl"
    result = clet("shard", "-o", tmp_path / "out", "--rejects", rejects, "--json", stdin=lines)
    assert result.returncode == 3
    assert summary(result)["rejected"] == {"no-tokens": 3}
    assert b"3 records carry no tokens; make them with clet ingest --tokenizer DIR" in result.stderr
    kept = [orjson.loads(line) for line in rejects.read_bytes().splitlines()]
    assert [record["reject"] for record in kept] == [{"stage": "shard", "reason": "no-tokens"}] * 3


def test_another_tokenizer_is_refused(tmp_path, tokenizer, tokenizer_file):
    other = batch_of(tokenizer, 3).with_tokens(batch_of(tokenizer, 3).tok, "cd" * 16)
    result = clet("shard", "-o", tmp_path / "out", "--tokenizer", tokenizer_file, stdin=other.to_frame() + end_frame(1))
    assert result.returncode == 65
    assert "cdcd" in result.stderr.decode() and len(result.stderr.splitlines()) == 1


def test_a_truncated_stream_leaves_nothing(tmp_path, tokenizer):
    whole = batch_of(tokenizer, 50).to_frame() + batch_of(tokenizer, 50, 50).to_frame() + end_frame(2)
    result = clet("shard", "-o", tmp_path / "out", "--shard-tokens", 100, "--seq-len", 16, stdin=whole[:-10])
    assert result.returncode == 65 and b"truncated" in result.stderr
    assert read_manifest(tmp_path / "out") == []
    assert not list(tmp_path.glob("out/*/*"))


def test_a_bad_line_is_reported_and_the_rest_sharded(tmp_path, tokenizer):
    lines = [batch_of(tokenizer, 3).line(i) for i in range(3)]
    body = b"\n".join([lines[0], b"not json", *lines[1:]])
    result = clet("shard", "-o", tmp_path / "out", stdin=body)
    assert result.returncode == 1 and b"stdin:2: not JSON" in result.stderr
    assert read_manifest(tmp_path / "out")[0].num_documents == 3


def test_damage_is_status_65_and_names_file_and_frame(tmp_path, stream):
    assert clet("shard", "-o", tmp_path / "out", stdin=stream).returncode == 0
    (entry,) = read_manifest(tmp_path / "out")
    body = bytearray(entry.path.read_bytes())
    body[400] ^= 8
    entry.path.write_bytes(body)
    for operand in (tmp_path / "out", entry.path):
        result = clet("shard", "--verify", operand)
        assert result.returncode == 65
        assert f"{entry.path}: checksum of the frame at byte 288 differs" in result.stderr.decode()
        assert b"1 of 1 shards are damaged" in result.stderr


def test_usage_errors(tmp_path, stream):
    for arguments in (["shard"], ["shard", "-o", "-"], ["shard", "--verify"], ["shard", "--verify", tmp_path]):
        result = clet(*arguments, stdin=stream)
        assert result.returncode == 2 and result.stderr.count(b"\n") == 1, result.stderr
    assert clet("shard", "--verify", "-o", tmp_path, tmp_path).returncode == 2


def test_a_second_writer_is_told_to_try_later_and_a_killed_one_leaves_no_trace(tmp_path, stream, tokenizer):
    out = tmp_path / "out"
    first = subprocess.Popen([CLET, "shard", "-o", out], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        first.stdin.write(batch_of(tokenizer, 50).to_frame())
        first.stdin.flush()
        while not list(out.glob("main/shard-*.tmp-*")):  # it has the lock, and documents
            assert first.poll() is None
            time.sleep(0.01)
        second = clet("shard", "-o", out, stdin=stream)
        assert second.returncode == 75
        assert b"another process writes shards there" in second.stderr
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.kill()
        first.communicate()
    assert read_manifest(out) == []
    assert clet("shard", "-o", out, stdin=stream).returncode == 0
    assert clet("shard", "-o", tmp_path / "calm", stdin=stream).returncode == 0
    names = [sorted(str(file.relative_to(base)) for file in base.rglob("*")) for base in (out, tmp_path / "calm")]
    assert names[0] == names[1]


def test_ids_too_narrow_for_the_tokenizer_are_refused(tmp_path):
    model = tokenizers.models.WordLevel({f"w{i}": i for i in range(70_000)} | {"<eos>": 70_000}, unk_token="w0")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    fingerprint = Tokenizer.load(tmp_path).fingerprint
    record = make_record(source="s", origin="o", text="x", fetched=None)
    record["tok"] = {"n": 1, "dtype": "u16", "ids": "AQA=", "fp": fingerprint}
    done = clet("shard", "-o", tmp_path / "out", "--tokenizer", tmp_path, stdin=orjson.dumps(record) + b"\n")
    assert done.returncode == 65
    assert b"are not those of --tokenizer" in done.stderr
