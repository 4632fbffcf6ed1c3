import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.exits import InputError, UsageError
from clet.shards.documents import documents_of
from clet.shards.export import export_shards


def read_megatron(prefix):
    """Documents of PREFIX.bin and .idx, read as the format is described (megatron/core/datasets/indexed_dataset.py)."""
    codes = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.float64, 7: np.float32, 8: np.uint16}
    with open(f"{prefix}.idx", "rb") as index:
        assert index.read(9) == b"MMIDIDX\x00\x00"
        assert struct.unpack("<Q", index.read(8)) == (1,)
        dtype = np.dtype(codes[struct.unpack("<B", index.read(1))[0]])
        sequences, documents = struct.unpack("<QQ", index.read(16))
        lengths = np.frombuffer(index.read(4 * sequences), np.int32)
        pointers = np.frombuffer(index.read(8 * sequences), np.int64)
        starts = np.frombuffer(index.read(8 * documents), np.int64)
        assert index.read() == b""
    assert len(lengths) == len(pointers) == starts[-1] == sequences
    body = np.memmap(f"{prefix}.bin", dtype, "r") if sequences else np.zeros(0, dtype)
    found = [body[at // dtype.itemsize :][:size].tolist() for at, size in zip(pointers, lengths, strict=True)]
    assert sum(map(len, found)) == len(body)
    assert starts.tolist() == list(range(sequences + 1))  # a sequence a document
    return dtype, found


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=60), min_size=1, max_size=20),
    seq_len=st.integers(8, 40),
    eos=st.sampled_from([None, 999]),
    level=st.sampled_from([None, 1]),
    chunk=st.sampled_from([1, 50, 1 << 20]),
)
def test_documents_come_back_whole_from_their_pieces(tmp_path_factory, shard_tools, rows, seq_len, eos, level, chunk):
    patch = pytest.MonkeyPatch()
    patch.setattr("clet.shards.documents.CHUNK_TOKENS", chunk)
    path = tmp_path_factory.mktemp("shards")
    _, (entry,) = shard_tools.write(path, [shard_tools.batch(rows)], seq_len=seq_len, eos_id=eos, level=level)
    end = [] if eos is None else [eos]
    found, titles = [], []
    for part in documents_of(entry.open()):
        found += [part.ids[i].tolist() for i in range(len(part.ids))]
        titles += [head["title"] for head in part.heads]
        assert chunk > 1 or len(part.heads) == 1
    patch.undo()
    assert found == [[*row, *end] for row in rows]
    assert titles == [f"nr {i}" for i in range(len(rows))]


@pytest.fixture
def lanes(tmp_path, shard_tools):
    """(entries of several shards in two lanes, {lane: documents' ids}); the first document is masked in part."""
    rows = [row.tolist() for row in shard_tools.rows(30)]
    batch = shard_tools.batch(rows).annotate("priority", [{"lane": "ab"[i % 2]} for i in range(30)])
    batch = batch.annotate("dedup", [{"spans": [[0, 1]]}] + [{}] * 29)
    _, entries = shard_tools.write(tmp_path / "in", [batch], shard_tokens=150, eos_id=0)
    assert len(entries) > 3
    return entries, {"a": [[*row, 0] for row in rows[::2]], "b": [[*row, 0] for row in rows[1::2]]}


def test_megatron_reads_each_lane_as_documents(tmp_path, lanes):
    entries, expected = lanes
    counts = export_shards(entries, tmp_path / "out", "megatron")
    for lane, documents in expected.items():
        assert read_megatron(tmp_path / "out" / lane) == (np.uint16, documents)
        assert counts[lane] == (len(documents), sum(map(len, documents)))
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_megatron_cores_own_reader_reads_it(tmp_path, shard_tools, lanes):
    """Needs megatron-core (its wheel alone, without what it asks for, is enough beside torch)."""
    reading = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    entries, expected = lanes
    export_shards(entries, tmp_path / "out", "megatron")
    for lane, documents in expected.items():
        for in_memory in (True, False):
            found = reading.IndexedDataset(str(tmp_path / "out" / lane), mmap=in_memory)
            assert [found[i].tolist() for i in range(len(found))] == documents
            assert found.index.dtype == np.uint16
            assert found.document_indices.tolist() == list(range(len(documents) + 1))
    _, (entry,) = shard_tools.write(tmp_path / "wide", [shard_tools.batch([[1, 70_000], [5]], dtype=np.uint32)])
    export_shards([entry], tmp_path, "megatron")
    wide = reading.IndexedDataset(str(tmp_path / "main"))
    assert [wide[i].tolist() for i in range(len(wide))] == [[1, 70_000], [5]] and wide.index.dtype == np.int32


def test_wide_ids_become_int32_for_megatron(tmp_path, shard_tools):
    _, (entry,) = shard_tools.write(tmp_path / "in", [shard_tools.batch([[1, 70_000]], dtype=np.uint32)])
    export_shards([entry], tmp_path, "megatron")
    assert read_megatron(tmp_path / "main") == (np.int32, [[1, 70_000]])
    _, (wide,) = shard_tools.write(tmp_path / "wide", [shard_tools.batch([[1, 1 << 31]], dtype=np.uint32)])
    with pytest.raises(InputError, match="more than Megatron can hold"):
        export_shards([wide], tmp_path, "megatron")
    assert read_megatron(tmp_path / "main") == (np.int32, [[1, 70_000]])


@pytest.mark.parametrize("level", [None, 1])
def test_parquet_has_a_row_a_document(tmp_path, shard_tools, lanes, level):
    parquet = pytest.importorskip("pyarrow.parquet")
    entries, expected = lanes
    counts = export_shards(entries, tmp_path / "out", "parquet")
    for lane, documents in expected.items():
        table = parquet.read_table(tmp_path / "out" / f"{lane}.parquet")
        assert table.column("tokens").to_pylist() == documents
        assert str(table.schema.field("tokens").type) == "list<element: uint16>"
        assert set(table.column("lane").to_pylist()) == {lane}
        heads = [head for entry in entries if entry.lane == lane for head in entry.open().heads()]
        for name in ("id", "source", "origin", "url", "title", "lang", "published", "fetched", "license"):
            assert table.column(name).to_pylist() == [head[name] for head in heads]
        assert table.schema.metadata[b"clet.tokenizer"].decode() == shard_tools.fingerprint
        assert counts[lane] == (len(documents), sum(map(len, documents)))
    masked = parquet.read_table(tmp_path / "out" / "a.parquet").column("masked").to_pylist()
    assert masked == [[True] + [False] * (len(expected["a"][0]) - 1)] + [None] * (len(masked) - 1)


def test_datasets_reads_the_parquet(tmp_path, lanes, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from datasets import Dataset

    entries, expected = lanes
    export_shards(entries, tmp_path / "out", "parquet")
    found = Dataset.from_parquet(str(tmp_path / "out" / "b.parquet"), cache_dir=str(tmp_path / "cache"))
    assert found["tokens"][:] == expected["b"]


def test_shards_of_several_tokenizers_are_exported_apart(tmp_path, shard_tools):
    _, one = shard_tools.write(tmp_path / "one", [shard_tools.batch([[1]])])
    _, two = shard_tools.write(tmp_path / "two", [shard_tools.batch([[1]], fingerprint="cd" * 16)])
    _, wide = shard_tools.write(tmp_path / "wide", [shard_tools.batch([[1]], dtype=np.uint32)])
    with pytest.raises(UsageError, match="2 tokenizers"):
        export_shards([*one, *two], tmp_path / "out", "megatron")
    for form in ("megatron", "parquet"):
        with pytest.raises(InputError, match="export them apart"):
            export_shards([*one, *wide], tmp_path / "out", form)
        assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_shard_leaves_no_export(tmp_path, lanes):
    entries, _ = lanes
    body = bytearray(entries[-1].path.read_bytes())
    body[600] ^= 1
    entries[-1].path.write_bytes(body)
    for form in ("megatron", "parquet"):
        with pytest.raises(InputError):
            export_shards(entries[-1:], tmp_path / "out", form)
        assert list((tmp_path / "out").iterdir()) == []
