"""No damage passes: every bit and every length of a small shard."""

import os

import numpy as np
import pytest

from clet.exits import CletError, InputError, UsageError
from clet.shards import mapping
from clet.shards.loader import Loader
from clet.shards.reader import ShardReader, shards_in


@pytest.fixture(scope="module", params=[None, 1], ids=["stored", "zstd"])
def smallest(request, tmp_path_factory, shard_tools):
    """The bytes of a shard of a few short documents, one of them masked in part."""
    path, patch = tmp_path_factory.mktemp("shards"), pytest.MonkeyPatch()
    patch.setattr("clet.shards.format.FRAME_TOKENS", 16)
    patch.setattr("clet.shards.format.ZSTD_FRAME_TOKENS", 16)
    batch = shard_tools.batch([[5, 6, 7, 8, 9], [1, 2], [3] * 9, [4] * 6])
    batch = batch.annotate("dedup", [{"spans": [[1, 4]]}, {}, {}, {}])
    _, (entry,) = shard_tools.write(path, [batch], seq_len=8, level=request.param)
    patch.undo()
    return entry.path.read_bytes()


def read_all(path):
    reader = ShardReader.open(path)
    found = reader.windows(range(reader.num_windows))
    return found.ids.tolist(), found.loss_mask.tolist(), reader.heads()


@pytest.mark.parametrize("level", [None, 1])
def test_every_flipped_bit_is_refused(tmp_path, shard_tools, level):
    batch = shard_tools.batch([[5, 6, 7, 8, 9]], title=None).annotate("dedup", [{"spans": [[1, 4]]}])
    _, (entry,) = shard_tools.write(tmp_path, [batch], seq_len=8, level=level)
    path, whole = entry.path, entry.path.read_bytes()
    passed = []
    with path.open("r+b", buffering=0) as file:
        # Of the compressed shard all frames but those of windows are as in the other one.
        for bit in range(0, 8 * len(whole), 1 if level is None else 5):
            at, byte = bit // 8, whole[bit // 8]
            os.pwrite(file.fileno(), bytes([byte ^ 1 << bit % 8]), at)
            try:
                read_all(path)
                passed.append(bit)
            except InputError as error:
                assert str(path) in str(error) and "\n" not in str(error), bit
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert passed == []
    assert len(whole) > 1000 and len(read_all(path)[0]) == 1


def test_a_cut_at_every_length_is_refused(smallest, tmp_path):
    path = tmp_path / "cut.clet"
    path.write_bytes(smallest)
    file = path.open("r+b", buffering=0)
    for length in reversed(range(len(smallest))):
        file.truncate(length)
        with pytest.raises(InputError, match="truncated"):
            ShardReader.open(path)


def test_what_follows_a_shard_is_refused_unless_it_is_a_shard(smallest, tmp_path):
    path = tmp_path / "more.clet"
    for more in (b"x", b"\0" * 64, smallest[:-1]):
        path.write_bytes(smallest + more)
        with pytest.raises(InputError, match="more than one shard"):
            ShardReader.open(path)
        with pytest.raises(InputError):
            list(shards_in(path))
    path.write_bytes(smallest + smallest)
    with pytest.raises(InputError, match="more than one shard"):
        ShardReader.open(path)
    assert len(list(shards_in(path))) == 2


@pytest.mark.parametrize("shift", range(5))
def test_a_shard_reads_the_same_wherever_in_a_file_it_begins(smallest, tmp_path, shift):
    """Aligned or not: `shift` bytes are put before it, and the offset is named."""
    path = tmp_path / "moved.clet"
    path.write_bytes(smallest)
    expected = read_all(path)
    path.write_bytes(b"#" * shift + smallest + b"behind")
    reader = ShardReader.open(path, offset=shift)
    for order in (range(reader.num_windows), [2, 0, 2]):
        found = reader.windows(order)
        assert found.ids.tolist() == [expected[0][i] for i in order]
        assert found.loss_mask.tolist() == [expected[1][i] for i in order]
    assert [part.ids.tolist() for part in reader.all_windows()] == [expected[0][:2], expected[0][2:]]
    assert reader.heads() == expected[2]
    shuffled = [ids for portion in Loader([reader], batch=2) for ids in portion.windows.ids.tolist()]
    assert sorted(shuffled) == sorted(expected[0])
    reader.check_layout()


def test_a_shard_in_another_place_is_checked_too(smallest, tmp_path):
    path = tmp_path / "two.clet"
    for bit in range(8 * len(smallest), 16 * len(smallest), 61):
        body = bytearray(smallest * 2)
        body[bit // 8] ^= 1 << bit % 8
        path.write_bytes(body)
        with pytest.raises(InputError):
            for reader in shards_in(path):
                reader.windows(range(reader.num_windows))
                reader.documents()


def test_a_file_that_shrinks_while_it_is_read_is_told(small_shard):
    reader = ShardReader.open(small_shard.path)
    body = small_shard.path.read_bytes()
    small_shard.path.open("r+b").truncate(len(body) - 1)
    with pytest.raises(InputError, match="truncated while it was read"):
        reader.windows([0])


def test_many_readers_share_few_mappings(small_shard, monkeypatch, tmp_path):
    monkeypatch.setattr(mapping, "most_open", lambda: 3)
    paths = [tmp_path / f"{i}.clet" for i in range(6)]
    for path in paths:
        path.write_bytes(small_shard.path.read_bytes())
    readers = [ShardReader.open(path) for path in paths]
    first = readers[0].windows(range(small_shard.num_windows))
    views = [next(reader.all_windows()) for reader in readers]  # look into mappings that are let go meanwhile
    assert len(mapping._OPEN) <= 3
    for reader, view in zip(readers * 2, views * 2, strict=True):
        assert np.array_equal(reader.windows(range(small_shard.num_windows)).ids, first.ids)
        assert np.array_equal(view.ids, first.ids[: len(view.ids)])
    for path in paths:
        path.unlink()
        path.write_bytes(small_shard.path.read_bytes())
    with pytest.raises(InputError, match="was replaced while it was read"):
        for reader in readers:
            reader.windows([0])
    del readers, reader, views, view
    assert not [file for file in mapping._OPEN.values() if file.obj is None]


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="not a regular file"):
        ShardReader.open(tmp_path / "fifo")
    with pytest.raises(InputError, match="truncated"):
        ShardReader.open(tmp_path / "empty")
    with pytest.raises(CletError, match="Is a directory"):
        ShardReader.open(tmp_path)


@pytest.mark.parametrize("lane", ["../../etc", "/etc", "", "UP", "a/b"])
def test_a_lane_that_is_no_folder_is_refused(tmp_path, shard_tools, monkeypatch, lane):
    """The header of a forged shard names it, and an export would write there."""
    from clet.shards.format import ShardParams
    from clet.shards.writer import ShardWriter

    writer = ShardWriter(tmp_path / "forged", ShardParams(8, np.dtype("<u2"), "ab", lane))
    writer.room.ids[0], writer.room.ends[0], writer.room.lengths[0], writer.room.rows[0] = 1, 1, 8, 0
    writer.room.fill[:2] = 1, 1
    writer.table.add(shard_tools.batch([[1]]).head, np.asarray([8]), np.zeros((1, 16), np.uint8))
    writer.seal()
    writer.sync()
    with pytest.raises(InputError, match="no name of a folder"):
        ShardReader.open(tmp_path / "forged")
