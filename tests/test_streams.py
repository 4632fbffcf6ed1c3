"""Streams: sniffing, concatenation, truncation, encodings, atomic files."""

import gzip
import io
import os
import subprocess
import sys

import orjson
import pytest
import zstandard

from clet import codecs
from clet.batch import Batch
from clet.exits import InputError, UsageError, WriteError
from clet.sinks import Sink
from clet.stage import Stage
from clet.streams import InputFile, RecordWriter, read_batches, read_records, split_lines


@pytest.fixture
def made(record):
    return [record(f"Text number {i}. " * (i % 40), ids=range(i % 50)) for i in range(300)]


@pytest.fixture
def lines(made):
    return b"".join(orjson.dumps(r) + b"\n" for r in made)


def write(target, made, step=50, plain=False):
    writer = RecordWriter(str(target), plain=plain)
    for start in range(0, len(made), step):
        writer.write(Batch.from_records(made[start : start + step]))
    writer.close()


ENCODERS = {
    "plain": bytes,
    "zstd": lambda b: zstandard.ZstdCompressor().compress(b),
    "zstd without size": lambda b: (c := zstandard.ZstdCompressor().compressobj()).compress(b) + c.flush(),
    "two zstd frames": lambda b: zstandard.compress(b[:999]) + zstandard.compress(b[999:]),
    "skippable frame first": lambda b: b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstandard.compress(b),
    "gzip": gzip.compress,
    "two gzip members": lambda b: gzip.compress(b[:999]) + gzip.compress(b[999:]),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoding_is_found_by_magic_bytes(tmp_path, made, lines, name):
    path = tmp_path / "misleading.gz"
    path.write_bytes(ENCODERS[name](lines))
    assert list(read_records([str(path)])) == made


@pytest.mark.parametrize("name", [n for n in ENCODERS if n != "plain"])
def test_a_stream_cut_anywhere_is_an_error(tmp_path, lines, name):
    body = ENCODERS[name](lines)
    path = tmp_path / "cut"
    legal = {len(ENCODERS[name](lines[:999])) if name == "two gzip members" else len(zstandard.compress(lines[:999]))}
    for size in {1, 3, 5, 11, len(body) // 3, len(body) // 2, len(body) - 5, len(body) - 1} - legal:
        path.write_bytes(body[:size])
        if codecs.sniff(body[:size]) == "plain":
            continue  # cut inside the magic bytes: reported as lines that are no JSON
        with pytest.raises(InputError, match=r"truncated|damaged"):
            list(read_records([str(path)]))


@pytest.mark.parametrize("suffix", [".clet", ".jsonl", ".jsonl.zst", ".other"])
def test_written_is_read_back(tmp_path, made, suffix):
    path = tmp_path / f"x{suffix}"
    write(path, made)
    assert list(read_records([str(path)])) == made


def test_names_choose_the_encoding(tmp_path, made, record):
    heads = {}
    for name in ("x.clet", "x.jsonl", "x.jsonl.zst", "x"):
        write(tmp_path / name, made)
        heads[name] = codecs.sniff((tmp_path / name).read_bytes()[:4])
    assert heads == {"x.clet": "clet", "x.jsonl": "plain", "x.jsonl.zst": "zstd", "x": "clet"}
    write(tmp_path / "y", [record("no tokens")])
    assert codecs.sniff((tmp_path / "y").read_bytes()[:4]) == "zstd"


@pytest.mark.parametrize("suffix", [".clet", ".jsonl.zst"])
def test_bytes_do_not_depend_on_how_records_arrived(tmp_path, made, suffix):
    write(tmp_path / f"a{suffix}", made * 5, step=1)
    write(tmp_path / f"b{suffix}", made * 5, step=299)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_files_of_both_encodings_concatenate(tmp_path, made):
    for name in ("a.clet", "a.jsonl.zst"):
        write(tmp_path / name, made)
        doubled = tmp_path / f"two-{name}"
        doubled.write_bytes((tmp_path / name).read_bytes() * 2)
        assert list(read_records([str(doubled)])) == made * 2


@pytest.mark.parametrize("suffix", [".clet", ".jsonl.zst", ".jsonl"])
def test_an_empty_stream_is_a_stream(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    write(path, [])
    assert list(read_records([str(path)])) == []


def test_records_with_and_without_tokens_mix(tmp_path, record):
    mixed = [record("a", ids=[1]), record("b"), record("c", ids=[2], fp="other"), record("d", ids=[3])]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(map(orjson.dumps, mixed)))
    batches = list(read_batches([str(tmp_path / "x.jsonl")]))
    assert [b.fingerprint for b in batches] == ["fp", None, "other", "fp"]
    writer = RecordWriter(str(tmp_path / "y"))
    for batch in batches:
        writer.write(batch)
    writer.close()
    assert list(read_records([str(tmp_path / "y")])) == mixed


def test_bad_lines_are_reported_by_place_and_passed_over(tmp_path, made):
    body = [orjson.dumps(r) for r in made[:4]]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([body[0], b"nonsense", b"", body[1], b'{"id":1}', body[2]]))
    bad = []
    assert list(read_records([str(path)], lambda *args: bad.append(args))) == made[:3]
    assert [(place, reason) for place, reason, _ in bad] == [
        (f"{path}:2", "not JSON"),
        (f"{path}:5", "no id of 32 hex digits; documents get theirs from clet ingest"),
    ]


def test_a_failed_write_leaves_no_file(tmp_path, made):
    writer = RecordWriter(str(tmp_path / "x.clet"))
    writer.write(Batch.from_records(made))
    writer.abort()
    assert os.listdir(tmp_path) == []


def test_an_old_output_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    sink = Sink(str(path))
    sink.write(b"new")
    assert path.read_bytes() == b"old"
    sink.close()
    assert path.read_bytes() == b"new"


def test_missing_input_and_unwritable_output_say_why(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        list(read_records([str(tmp_path / "none")]))
    with pytest.raises(UsageError, match="is a directory"):
        list(read_records([str(tmp_path)]))
    with pytest.raises(WriteError, match="No such file"):
        Sink(str(tmp_path / "none" / "x"))


def test_a_line_without_end_is_refused_in_bounded_memory(monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return b"x" * size

    from clet.streams import read_stream

    with pytest.raises(InputError, match="a line of over"):
        list(read_stream(codecs.Peekable(Endless()), "endless", lambda *args: None))


def test_lines_cut_by_chunks_are_joined():
    class Drip(io.RawIOBase):
        parts = [b"ab", b"c", b"\nd", b"e\n\nf"]

        def read(self, size=-1):
            return self.parts.pop(0) if self.parts else b""

    assert list(split_lines(codecs.Peekable(Drip()), "x")) == [[b"abc"], [b"de", b""], [b"f"]]


def test_an_output_that_is_a_fifo_or_a_device_stays_one(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = Sink(str(path))
    sink.write(b"through")
    sink.close()
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert path.is_fifo() and os.listdir(tmp_path) == ["fifo"]
    with pytest.raises(WriteError, match="/dev/full"):
        Sink("/dev/full").write(b"x")


def test_an_output_that_is_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    sink = Sink(str(tmp_path / "link"))
    sink.write(b"new")
    sink.close()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_an_input_that_does_not_block_is_waited_for():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    script = f"import os, sys; sys.stdin.read(1); os.write({write_end}, b'late')"
    late = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=[write_end])
    os.close(write_end)
    with InputFile(f"/proc/self/fd/{read_end}") as stream:
        os.set_blocking(stream.fileno(), False)
        late.communicate(b"x")
        assert stream.read(10) == b"late"
    os.close(read_end)


def test_rejects_and_output_may_not_be_one_file(tmp_path):
    with pytest.raises(UsageError, match="a file of its own"):
        Stage(["in"], str(tmp_path / "x"), rejects=f"{tmp_path}/./x")
    with pytest.raises(WriteError):
        Stage(["in"], str(tmp_path / "none" / "x"), rejects=str(tmp_path / "r"))
    assert os.listdir(tmp_path) == []
