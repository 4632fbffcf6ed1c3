"""Documents with tokens, and shards made of them."""

from __future__ import annotations

import types
from datetime import UTC, datetime

import numpy as np
import pytest

from clet import seeds
from clet.batch import Batch, Ragged
from clet.record import make_record
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory

FINGERPRINT = "ab" * 16
FETCHED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_batch(rows, fingerprint=FINGERPRINT, start=0, dtype=np.uint16, **fields) -> Batch:
    """A batch of documents `start`, `start + 1`, ... with the ids `rows`."""
    records = [
        make_record(source="test", origin="somewhere", text=f"document {start + i}", fetched=FETCHED, title=f"nr {i}")
        | fields
        for i in range(len(rows))
    ]
    batch = Batch.from_records(records)
    return batch.with_tokens(Ragged.from_rows([np.asarray(row, dtype) for row in rows], dtype), fingerprint)


def random_rows(count, longest=60, vocab=500, name="rows"):
    """`count` documents of 1 to `longest` ids below `vocab`."""
    random = seeds.numpy_generator(5, f"tests/{name}")
    return [random.integers(0, vocab, random.integers(1, longest + 1)) for _ in range(count)]


def write_shards(path, batches, reject=None, jobs=1, **plan):
    """Shard `batches` into the directory `path`; (counts, entries added)."""
    plan = ShardPlan(**({"seq_len": 16} | plan))
    with ShardDirectory.open(path, jobs=jobs) as directory:
        counts = build_shards(batches, directory, plan, reject or _never)
        directory.commit()
        return counts, directory.added


def files(path):
    """{name: bytes} of all files below a folder."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def _never(batch, row, reason):
    raise AssertionError(reason)


@pytest.fixture(scope="session")
def shard_tools():
    """The functions above, for tests that cannot import a conftest."""
    return types.SimpleNamespace(
        batch=make_batch, rows=random_rows, write=write_shards, files=files, fingerprint=FINGERPRINT
    )


@pytest.fixture
def small_shard(tmp_path, shard_tools):
    """A manifest entry of one shard of a few windows in three frames."""
    import clet.shards.format as form
    import clet.shards.table as table

    patch = pytest.MonkeyPatch()
    patch.setattr(form, "FRAME_TOKENS", 64)
    patch.setattr(table, "TABLE_RECORDS", 5)
    _, (entry,) = shard_tools.write(tmp_path / "small", [shard_tools.batch(shard_tools.rows(9, longest=30))], eos_id=0)
    patch.undo()
    return entry
