from dataclasses import replace

import numpy as np
import pytest

from clet.batch import Batch
from clet.container import Kind, frame_parts
from clet.exits import InputError
from clet.shards.format import ShardParams
from clet.shards.manifest import entry_of
from clet.shards.reader import ShardReader
from clet.shards.verify import verify_shard
from clet.shards.writer import ShardWriter


def sealed(path, shard_tools, tokens, window_rows):
    """A shard written by hand: one window a row list, 3 ids for each row named."""
    writer = ShardWriter(path, ShardParams(16, np.dtype("<u2"), shard_tools.fingerprint))
    room, segments = writer.room, 0
    for window, rows in enumerate(window_rows):
        room.ids[window] = [*[1, 2, 3] * len(rows), *[0] * (16 - 3 * len(rows))]
        room.rows[segments : segments + len(rows)] = rows
        room.lengths[segments : segments + len(rows)] = 3
        segments += len(rows)
        room.ends[window] = segments
    room.fill[:2] = len(window_rows), segments
    records = [shard_tools.batch([[1]], start=i).fields(0) for i in range(len(tokens))]
    ids = np.frombuffer(b"".join(bytes.fromhex(record["id"]) for record in records), np.uint8).reshape(-1, 16)
    writer.table.add(Batch.from_records(records).head, np.asarray(tokens), ids)
    name = writer.seal()
    writer.sync()
    return entry_of(ShardReader.open(path), name)


def test_a_whole_shard_passes(small_shard):
    reader = verify_shard(small_shard)
    assert reader.num_documents == small_shard.num_documents == 9


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_windows": 1}, "num_windows is"),
        ({"num_tokens": 1}, "num_tokens is"),
        ({"root": "0" * 64}, "root is"),
        ({"lane": "other"}, "lane is main, the manifest says other"),
        ({"fingerprint": "cd" * 16}, "made with tokenizer"),
    ],
)
def test_a_shard_that_differs_from_its_manifest_line_fails(small_shard, change, told):
    with pytest.raises(InputError, match=told):
        verify_shard(replace(small_shard, **change))


def test_a_missing_shard_fails(small_shard):
    small_shard.path.unlink()
    with pytest.raises(InputError, match="missing, though the manifest lists it"):
        verify_shard(small_shard)


def test_tokens_are_counted_document_by_document(tmp_path, shard_tools):
    verify_shard(sealed(tmp_path / "right", shard_tools, [6, 3], [[0, 1], [0]]))
    with pytest.raises(InputError, match="has 6 tokens, not 5"):
        verify_shard(sealed(tmp_path / "wrong", shard_tools, [5, 4], [[0, 1], [0]]))


def test_a_root_of_other_documents_fails(tmp_path, shard_tools, monkeypatch):
    monkeypatch.setattr("clet.shards.table.merkle_root_of", lambda ids: bytes(32))
    entry = sealed(tmp_path / "forged", shard_tools, [3], [[0]])
    with pytest.raises(InputError, match="Merkle root"):
        verify_shard(entry)


def test_windows_that_contradict_their_shard_fail(tmp_path, shard_tools, monkeypatch):
    """A frame with a right checksum and wrong content: what a bug or a forger would write."""

    def forge(kind, info, arrays={}, level=None):
        if kind is Kind.WINDOWS:
            arrays = arrays | change[0]
        return frame_parts(kind, info, arrays, level)

    monkeypatch.setattr("clet.shards.writer.frame_parts", forge)
    change = []
    for number, forged in enumerate(
        [
            {"segment_rows": np.array([7], np.uint32)},
            {"segment_lengths": np.array([17], np.uint32)},
            {"segment_lengths": np.array([0], np.uint32)},
            {"segment_ends": np.array([2], np.uint32)},
            {"ids": np.full((1, 16), 9, np.uint16)},
            {"ids": np.zeros((1, 15), np.uint16)},
            {"ids": np.zeros((1, 16), np.uint32)},
            {"segment_rows": np.zeros(1, np.int64)},
            {"masked": np.array([[2, 1]], np.uint32)},
            {"masked": np.array([[2, 17]], np.uint32)},
            {"masked": np.array([[0, 2], [1, 3]], np.uint32)},
            {"masked": np.array([0, 2], np.uint32)},
        ]
    ):
        change[:] = [forged]
        path = tmp_path / str(number)
        entry = sealed(path, shard_tools, [3], [[0]])
        with pytest.raises(InputError, match=f"{path}: malformed windows at byte"):
            verify_shard(entry)
