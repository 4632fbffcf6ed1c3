"""Documents as a parquet table: one row a document, for datasets, pandas, DuckDB and whatever else reads parquet.

Columns: id, source, origin, url, title, lang, published, fetched, license, lane (strings), tokens (list of uint16 or
uint32, with the end-of-document token), masked (list of booleans, null where every token is to be learned). The
schema's metadata names the tokenizer's fingerprint. pyarrow is an extra: `pip install 'clet[parquet]'`.

Memory: one row group of at most 1 M tokens. Time: that of zstd.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clet.exits import InputError, UsageError, WriteError
from clet.shards.documents import Documents, documents_of
from clet.shards.reader import ShardReader
from clet.sinks import Sink

if TYPE_CHECKING:
    import pyarrow

TEXTS = ("id", "source", "origin", "url", "title", "lang", "published", "fetched", "license")


def export_parquet(shards: Iterable[ShardReader], path: Path) -> tuple[int, int]:
    """Write all documents of `shards` to one parquet file, which appears whole; (documents, tokens).

    Raises UsageError where pyarrow is missing, InputError where shards differ in tokenizer or width of ids.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("--export parquet needs pyarrow; pip install 'clet[parquet]'") from None
    sink = Sink(str(path))
    output = _Output(sink)
    writer = schema = None
    num_documents = num_tokens = 0
    try:
        for shard in shards:
            if schema is None:
                schema = _schema(shard)
                writer = pyarrow.parquet.ParquetWriter(output, schema, compression="zstd")
            if not schema.equals(_schema(shard), check_metadata=True):
                raise InputError(f"{shard.path}: other ids than in the shards before it; export them apart")
            for documents in documents_of(shard):
                writer.write_table(_table(documents, shard, schema))
                num_documents += len(documents.heads)
                num_tokens += len(documents.ids.values)
        if writer is not None:
            writer.close()
        sink.close()
    except pyarrow.ArrowException as error:
        raise WriteError(f"{path}: {str(error).splitlines()[0]}") from None
    finally:
        output.end()
        sink.abort()
    return num_documents, num_tokens


def _schema(shard: ShardReader) -> pyarrow.Schema:
    import pyarrow

    ids = pyarrow.uint16() if shard.dtype.itemsize == 2 else pyarrow.uint32()
    fields = [(name, pyarrow.string()) for name in (*TEXTS, "lane")]
    fields += [("tokens", pyarrow.list_(ids)), ("masked", pyarrow.list_(pyarrow.bool_()))]
    return pyarrow.schema(fields, {"clet.tokenizer": shard.fingerprint, "clet.eos": str(shard.eos_id)})


def _table(documents: Documents, shard: ShardReader, schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow

    columns: list[Any] = []
    for name in TEXTS:
        columns.append(pyarrow.array([head.get(name) for head in documents.heads], pyarrow.string()))
    columns.append(pyarrow.array([shard.lane] * len(documents.heads), pyarrow.string()))
    offsets = documents.ids.offsets.astype(np.int32)
    columns.append(pyarrow.ListArray.from_arrays(offsets, pyarrow.array(documents.ids.values)))
    if len(documents.masked):
        some = np.logical_or.reduceat(documents.masked, offsets[:-1])
        flags = pyarrow.array(documents.masked)
        columns.append(pyarrow.ListArray.from_arrays(offsets, flags, mask=pyarrow.array(~some)))
    else:
        columns.append(pyarrow.nulls(len(documents.heads), schema.field("masked").type))
    return pyarrow.Table.from_arrays(columns, schema=schema)


class _Output:
    """A sink as a file to write to, for pyarrow."""

    closed = False

    def __init__(self, sink: Sink):
        self._sink: Sink | None = sink
        self._at = 0

    def end(self) -> None:
        """From now on nothing is written: a writer that was given up writes its footer when it is collected."""
        self._sink = None

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        view = memoryview(data).cast("B")
        if self._sink is not None:
            self._sink.write(view)
        self._at += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written."""
        return self._at

    def flush(self) -> None:
        """Nothing: the sink is made durable at its end."""

    def close(self) -> None:
        """Nothing: who made the sink closes it."""
