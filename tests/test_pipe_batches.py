"""Token batches through a pipe: the same records however they were cut, none where anything was damaged or cut off."""

import io
import os
import threading
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import codecs, vetting
from clet.batch import Batch
from clet.container import end_frame
from clet.exits import InputError
from clet.record import encode_tok, make_record
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory
from clet.sinks import PIPE_BYTES, Sink
from clet.streams import RecordWriter, read_batches, read_stream, refuse_bad

assert vetting  # as in a stage: kernels are loaded


def records(count, text="text \u00e9"):
    made = []
    for number in range(count):
        record = make_record(source="s", origin="o", text=f"{text} {number} " * (number % 9), fetched=None)
        record["tok"] = encode_tok(np.arange(number % 40 + 1, dtype=np.uint16), "ab" * 16)
        made.append(record)
    return made


MADE = records(60)


class Drip(io.RawIOBase):
    """A stream that gives a few bytes a call, as a pipe may."""

    def __init__(self, body, sizes):
        self._body, self._sizes, self._turn = body, sizes, 0

    def readinto(self, buffer):
        size = min(self._sizes[self._turn % len(self._sizes)], len(buffer), len(self._body))
        self._turn += 1
        memoryview(buffer)[:size] = self._body[:size]
        self._body = self._body[size:]
        return size

    def readable(self):
        return True


def stream_of(made, cuts, level):
    bounds = sorted({0, len(made), *(cut for cut in cuts if cut < len(made))})
    frames = [Batch.from_records(made[a:b]).to_frame(level) for a, b in pairwise(bounds)]
    return b"".join(frames) + end_frame(len(frames))


def read_all(body, sizes=(1 << 20,)):
    return list(read_stream(codecs.Peekable(Drip(body, sizes)), "x", refuse_bad))


CUTS = st.lists(st.integers(1, 59), max_size=6)
SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(CUTS, SIZES, st.sampled_from([None, 1]))
def test_records_do_not_depend_on_frames_reads_or_compression(cuts, sizes, level):
    batches = read_all(stream_of(MADE, cuts, level), sizes)
    assert [batch.record(row) for batch in batches for row in range(len(batch))] == MADE


@settings(max_examples=15, deadline=None)
@given(CUTS, CUTS, st.integers(1, 2), SIZES)
def test_shards_do_not_depend_on_batches_reads_or_jobs(tmp_path_factory, cuts, other_cuts, jobs, sizes):
    def shards(cuts, jobs, sizes):
        path = tmp_path_factory.mktemp("shards")
        with ShardDirectory.open(path, jobs=jobs) as directory:
            plan = ShardPlan(16, shard_tokens=300, level=1)
            build_shards(read_all(stream_of(MADE, cuts, None), sizes), directory, plan, lambda *_: None)
            directory.commit()
        return {file.name: file.read_bytes() for file in path.rglob("*.*")}

    assert shards(cuts, 1, [1 << 20]) == shards(other_cuts, jobs, sizes)


def test_a_stream_cut_at_any_length_is_refused():
    body = stream_of(MADE[:6], [3], None)
    assert sum(map(len, read_all(body))) == 6
    for length in range(1, len(body)):
        with pytest.raises(InputError, match=r"truncated|no id of|not JSON"):
            read_all(body[:length])


@pytest.mark.parametrize("level", [None, 1])
def test_a_flipped_bit_anywhere_in_a_stream_is_refused(level):
    body = bytearray(stream_of(MADE[:2], [1], level))
    passed = []
    for bit in range(8 * len(body)):
        body[bit // 8] ^= 1 << bit % 8
        try:
            read_all(body)
            passed.append(bit)
        except InputError as error:
            assert "\n" not in str(error)
        body[bit // 8] ^= 1 << bit % 8
    assert passed == [] and sum(map(len, read_all(body))) == 2


def test_a_pipe_gets_stored_frames_and_a_file_compressed_ones(tmp_path):
    made = records(50, text="again and again " * 50)
    read_end, write_end = os.pipe()
    got = []
    reader = threading.Thread(target=lambda: got.extend(read_batches([f"/dev/fd/{read_end}"])))
    reader.start()
    with open(f"/dev/fd/{write_end}", "wb") as pipe:
        os.close(write_end)
        write(f"/dev/fd/{pipe.fileno()}", made)
    reader.join()
    os.close(read_end)
    assert [batch.record(row) for batch in got for row in range(len(batch))] == made
    raw = sum(len(orjson.dumps(record)) for record in made)
    write(str(tmp_path / "x.clet"), made)
    assert (tmp_path / "x.clet").stat().st_size < raw / 4
    assert not any(column.flags.writeable for batch in got for column in (batch.tok.values, batch.head.values))


def write(target, made):
    writer = RecordWriter(target)
    writer.write(Batch.from_records(made))
    writer.close()


def test_an_output_that_does_not_block_is_waited_for():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    body, got = os.urandom(3 * PIPE_BYTES), bytearray()

    def read():
        while part := os.read(read_end, 1 << 16):
            got.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with open(f"/dev/fd/{write_end}", "wb") as pipe:
        os.close(write_end)
        os.set_blocking(pipe.fileno(), False)
        sink = Sink(f"/dev/fd/{pipe.fileno()}")
        os.set_blocking(sink._file.fileno(), False)
        sink.write(body)
        sink.close()
    reader.join()
    os.close(read_end)
    assert bytes(got) == body
