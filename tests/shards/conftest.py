"""Documents with tokens, and shards made of them."""

from __future__ import annotations

import numpy as np
import pytest

from clet import seeds
from clet.batch import Batch, Ragged
from clet.record import make_record
from clet.shards.build import ShardPlan, build_shards
from clet.shards.directory import ShardDirectory

FINGERPRINT = "ab" * 16
CREATED = "2026-01-02T03:04:05Z"


def make_batch(rows, fingerprint=FINGERPRINT, start=0, dtype=np.uint16, **fields) -> Batch:
    """A batch of documents `start`, `start + 1`, ... with the ids `rows`."""
    records = [
        make_record(source="test", origin="somewhere", text=f"document {start + i}", fetched=None, title=f"number {i}")
        | fields
        for i in range(len(rows))
    ]
    batch = Batch.from_records(records)
    return batch.with_tokens(Ragged.from_rows([np.asarray(row, dtype) for row in rows], dtype), fingerprint)


def random_rows(count, longest=60, vocab=500, name="rows"):
    """`count` documents of 1 to `longest` ids below `vocab`."""
    random = seeds.numpy_generator(5, f"tests/{name}")
    return [random.integers(0, vocab, random.integers(1, longest + 1)) for _ in range(count)]


def write_shards(path, batches, reject=None, **plan):
    """Shard `batches` into the directory `path`; (counts, entries added)."""
    plan = ShardPlan(**({"seq_len": 16} | plan))
    with ShardDirectory.open(path, CREATED) as directory:
        counts = build_shards(batches, directory, plan, reject or _never)
        directory.commit()
        return counts, directory.added


def _never(batch, row, reason):
    raise AssertionError(reason)


@pytest.fixture
def shard_tools():
    """The functions above, for tests that cannot import a conftest."""
    import types

    return types.SimpleNamespace(
        batch=make_batch, rows=random_rows, write=write_shards, fingerprint=FINGERPRINT, created=CREATED
    )


@pytest.fixture
def small_shard(tmp_path, shard_tools):
    """A manifest entry of one shard of a few windows in three frames."""
    import clet.shards.format as form

    patch = pytest.MonkeyPatch()
    patch.setattr(form, "FRAME_TOKENS", 64)
    patch.setattr(form, "TABLE_RECORDS", 5)
    _, (entry,) = shard_tools.write(tmp_path / "small", [shard_tools.batch(shard_tools.rows(9, longest=30))], eos_id=0)
    patch.undo()
    return entry
