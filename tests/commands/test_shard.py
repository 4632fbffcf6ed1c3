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
    assert told["windows_concatenated"] == -(-entry.num_tokens // 32) <= told["windows"]
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


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_equal_runs_give_equal_bytes_whenever_they_are_made(tmp_path, stream, tokenizer):
    assert clet("shard", "-o", tmp_path / "a", stdin=stream).returncode == 0
    assert clet("shard", "-o", tmp_path / "b", stdin=stream).returncode == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert read_manifest(tmp_path / "a")[0].created is None  # nothing says when its documents were fetched
    fetched = batch_of(tokenizer, 3).annotate("fetched", ["2026-02-01T00:00:00Z", None, "2026-03-01T00:00:00Z"])
    lines = b"".join(fetched.line(i) + b"\n" for i in range(3))
    assert clet("shard", "-o", tmp_path / "c", stdin=lines).returncode == 0
    assert clet("shard", "-o", tmp_path / "d", "--now", "2026-04-01", stdin=lines).returncode == 0
    created = [read_manifest(tmp_path / name)[0].created for name in "cd"]
    assert created == ["2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"]
    assert clet("shard", "-o", tmp_path / "e", "--now", "soon", stdin=lines).returncode == 2


def test_level_compresses_the_same_windows_and_jobs_change_no_byte(tmp_path, tokenizer):
    many = batch_of(tokenizer, 6000).to_frame() + end_frame(1)
    sizes, ids = [], []
    for name, flags in {"0": [], "3": ["--level", 3], "3j": ["--level", 3, "-j", 3]}.items():
        assert clet("shard", "-o", tmp_path / name, *flags, stdin=many).returncode == 0
        (entry,) = read_manifest(tmp_path / name)
        reader = ShardReader.open(entry.path)
        sizes.append(reader.num_bytes)
        ids.append(reader.windows(range(reader.num_windows)).ids)
    assert np.array_equal(ids[0], ids[1]) and sizes[1] < sizes[0]
    assert files(tmp_path / "3") == files(tmp_path / "3j")


def test_much_padding_is_told_with_the_fix(tmp_path, tokenizer):
    texts = [f"w{i % 40} " * 20 + f"w{i // 40}" for i in range(600)]
    records = [make_record(source="test", origin="here", text=text, fetched=None) for text in texts]
    batch = Batch.from_records(records).with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)
    made = clet("shard", "-o", tmp_path / "out", "--seq-len", 32, stdin=batch.to_frame() + end_frame(1))
    assert made.returncode == 0
    assert b"34% of all positions are padding" in made.stderr and b"choose another --seq-len" in made.stderr


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


def test_shards_one_behind_the_other_verify(tmp_path, tokenizer):
    many = batch_of(tokenizer, 50).to_frame() + end_frame(1)
    assert clet("shard", "-o", tmp_path / "out", "--shard-tokens", 100, "--seq-len", 16, stdin=many).returncode == 0
    entries = read_manifest(tmp_path / "out")
    assert len(entries) > 3
    both = tmp_path / "both.clet"
    both.write_bytes(b"".join(entry.path.read_bytes() for entry in entries))
    checked = clet("shard", "--verify", both, "--json")
    assert checked.returncode == 0 and summary(checked)["shards"] == len(entries)
    both.write_bytes(both.read_bytes()[:-1])
    assert clet("shard", "--verify", both).returncode == 65


# ---- followed streams


@pytest.fixture
def follower(tmp_path):
    """Starts `clet shard --follow` with more flags on a pipe; the process is ended at the end."""
    started = []

    def start(*flags):
        command = [CLET, "shard", "--follow", "-o", tmp_path / "out", "--json", *flags]
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path, documents):
    """Wait until so many documents are listed; a minute at most."""
    for _ in range(1200):
        if (path / "manifest.jsonl").exists() and sum(e.num_documents for e in read_manifest(path)) == documents:
            return
        time.sleep(0.05)
    raise AssertionError(f"never {documents} documents in {path}")


def test_a_followed_stream_appears_by_size_and_by_time_and_ends_well(tmp_path, tokenizer, follower):
    process = follower("--interval", 1, "--shard-tokens", 500, "--seq-len", 32)
    process.stdin.write(batch_of(tokenizer, 10).to_frame())
    process.stdin.flush()
    wait_for(tmp_path / "out", 10)  # by time: the pipe stays open
    process.stdin.write(batch_of(tokenizer, 50, 10).to_frame())
    process.stdin.flush()
    wait_for(tmp_path / "out", 60)
    entries = read_manifest(tmp_path / "out")
    assert len(entries) == 3 and entries[1].num_tokens >= 500 > entries[2].num_tokens
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    last = orjson.loads(told.splitlines()[-1])
    assert (last["in"], last["out"], last["shards"]) == (60, 60, 3)
    assert clet("shard", "--verify", tmp_path / "out").returncode == 0


def test_a_stop_seals_what_a_followed_stream_has_brought(tmp_path, tokenizer, follower):
    process = follower("--interval", 600, "--rejects", tmp_path / "rejects.jsonl")
    process.stdin.write(b"not a record\n")
    for row in range(7):
        process.stdin.write(batch_of(tokenizer, 7).line(row) + b"\n")
    process.stdin.flush()
    while not list(tmp_path.glob("out/main/shard-*.tmp-*")):  # it has them
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1, told
    assert [entry.num_documents for entry in read_manifest(tmp_path / "out")] == [7]
    assert b"not a record" in (tmp_path / "rejects.jsonl").read_bytes()


def test_a_followed_stream_that_breaks_off_keeps_what_came_whole(tmp_path, tokenizer, follower):
    process = follower("--interval", 600)
    whole = batch_of(tokenizer, 5).to_frame()
    _, told = process.communicate(whole + whole[: len(whole) // 2], timeout=60)
    assert process.returncode == 65 and b"truncated" in told
    assert [entry.num_documents for entry in read_manifest(tmp_path / "out")] == [5]


# ---- exports


def test_exports_hold_all_documents(tmp_path, tokenizer):
    pytest.importorskip("pyarrow")
    batch = batch_of(tokenizer, 50).annotate("dedup", [{"spans": [[0, 1]]}] + [{}] * 49)
    made = clet("shard", "-o", tmp_path / "out", "--seq-len", 16, stdin=batch.to_frame() + end_frame(1))
    assert made.returncode == 0
    for form, names in {"megatron": {"main.bin", "main.idx"}, "parquet": {"main.parquet"}}.items():
        done = clet("shard", tmp_path / "out", "--export", form, "-o", tmp_path / form, "--json")
        assert done.returncode == 0, done.stderr
        told = summary(done)
        assert (told["in"], told["out"], told["tokens"]) == (50, 50, batch.num_tokens)
        assert {path.name for path in (tmp_path / form).iterdir()} == names
        assert (b"1 masked tokens" in done.stderr) == (form == "megatron")
    assert (tmp_path / "megatron" / "main.bin").stat().st_size == 2 * batch.num_tokens


def test_what_cannot_be_exported_is_told(tmp_path, stream):
    assert clet("shard", "-o", tmp_path / "out", stdin=stream).returncode == 0
    for arguments in (
        ["--export", "csv", "-o", tmp_path / "x", tmp_path / "out"],
        ["--export", "parquet", "-o", tmp_path / "x"],
        ["--export", "parquet", tmp_path / "out"],
        ["--export", "parquet", "--verify", tmp_path / "out"],
        ["--export", "parquet", "-o", tmp_path / "x", tmp_path],
    ):
        done = clet("shard", *arguments, stdin=stream)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done.stderr
    body = bytearray((tmp_path / "out" / "main").glob("*.clet").__next__().read_bytes())
    body[600] ^= 4
    (tmp_path / "damaged.clet").write_bytes(body)
    done = clet("shard", "--export", "megatron", "-o", tmp_path / "x", tmp_path / "damaged.clet")
    assert done.returncode == 65 and list((tmp_path / "x").iterdir()) == []


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
