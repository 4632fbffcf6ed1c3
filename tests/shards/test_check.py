"""The kernel that checks frames where they are mapped believes what is whole, and nothing else."""

import numpy as np
import pytest

from clet.container import Kind, frame_at, pack_frame
from clet.shards.check import check_frames
from clet.shards.reader import ShardReader


@pytest.fixture
def frame(tmp_path, shard_tools):
    """(bytes of a shard's one frame of windows, its reader)."""
    _, (entry,) = shard_tools.write(tmp_path, [shard_tools.batch([[5, 6, 7], [1] * 30, [9, 300]])], seq_len=16)
    reader = ShardReader.open(entry.path)
    assert reader.num_frames == 1 and not reader.num_masked
    offset = int(reader._seek_windows[0, 0])
    body = entry.path.read_bytes()
    return bytearray(body[offset : frame_at(memoryview(body), "", offset)[1]]), reader


def is_believed(body, reader, size=None, **other):
    """Whether the kernel takes a frame; its places are then those of the arrays."""
    data = np.frombuffer(bytes(body), np.uint8)
    whole = data[: len(data) // 4 * 4]
    about = {"seq_len": 16, "num_documents": reader.num_documents, "vocab_size": reader.vocab_size} | other
    places = np.zeros((1, 4), np.int64)
    seek = np.asarray([[0, 0, size or reader.num_windows]])
    done = check_frames(data, whole.view("<u2"), whole.view("<u4"), 0, seek, np.asarray([0]), *about.values(), places)
    if not done:
        assert not places.any()
        return False
    arrays = frame_at(memoryview(bytes(body)), "", 0)[0].arrays
    ids, ends, lengths, rows = places[0].tolist()
    numbers = whole.view("<u4")
    assert np.array_equal(whole.view("<u2")[ids : ids + arrays["ids"].size], arrays["ids"].reshape(-1))
    for name, place in (("segment_ends", ends), ("segment_lengths", lengths), ("segment_rows", rows)):
        assert np.array_equal(numbers[place : place + len(arrays[name])], arrays[name])
    return True


def test_a_frame_is_believed_as_clet_writes_it(frame):
    assert is_believed(*frame)


def test_no_flipped_bit_passes(frame):
    body, reader = frame
    passed = []
    for bit in range(8 * len(body)):
        body[bit // 8] ^= 1 << bit % 8
        if is_believed(body, reader):
            passed.append(bit)
        body[bit // 8] ^= 1 << bit % 8
    assert passed == [] and is_believed(body, reader)


def test_no_cut_passes(frame):
    body, reader = frame
    assert not any(is_believed(body[:length], reader) for length in range(4, len(body)))


def test_whole_frames_of_other_windows_documents_or_words_do_not_pass(frame):
    body, reader = frame
    other = [{"seq_len": 8}, {"num_documents": 2}, {"vocab_size": 300}, {"size": reader.num_windows + 1}]
    assert not any(is_believed(body, reader, **each) for each in other)
    assert is_believed(body, reader, vocab_size=301)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("segment_ends", 0, 0), ("segment_ends", 0, 2**32 - 1), ("segment_ends", -1, 1), ("segment_lengths", 0, 0),
        ("segment_lengths", 0, 17), ("segment_rows", 0, 3), ("segment_rows", 1, 2**31), ("ids", 0, 60_000),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_frame_with_the_right_checksum_is_seen(frame, name, place, value):
    body, reader = frame
    got, _ = frame_at(memoryview(bytes(body)), "", 0)
    arrays = {each: array.copy() for each, array in got.arrays.items()}
    assert is_believed(pack_frame(Kind.WINDOWS, got.info, arrays, level=None), reader)
    arrays[name].reshape(-1)[place] = value
    assert not is_believed(pack_frame(Kind.WINDOWS, got.info, arrays, level=None), reader)
    assert not is_believed(pack_frame(Kind.WINDOWS, {"first": 1}, got.arrays, level=None), reader)
