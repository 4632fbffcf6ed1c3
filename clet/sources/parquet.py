"""Documents as rows of Parquet files, with the columns that `fields.py` knows by name.

A column `text` (or `content`) is needed; others than `id`, which goes to `meta`, are not read. Row groups are read in
small batches, strings in dictionary form, so that one value repeated a million times lies in memory once.

Cursor: the file's mtime and size, and how many rows were taken; a file that changed starts over, for a Parquet file is
never appended to. Memory: one batch of about 4 MB, and a page of the file (a hostile one may declare 2 GB).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from clet.record import raw_hash
from clet.sources.adapter import MAX_TEXT_BYTES, Context, Document, SourceFailed
from clet.sources.complaints import Complaints
from clet.sources.fields import TAKEN, TEXT, field_document, text_of
from clet.sources.paths import Found, file_signature, one_file, open_regular
from clet.sources.text.decode import NotText, decode_text, one_line

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_SUFFIXES = (".parquet", ".pq")
_COLUMNS = TAKEN | {"id"}
_BATCH_BYTES = 4 << 20
_MAX_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20
_MAX_VALUE_BYTES = 64 << 10  # of a title, an address and the like
_FREE_BYTES, _MAX_RATIO = 1 << 30, 1000  # text that may come of any file; beyond, how often the file's size
_MAX_THRIFT_STRING = 64 << 20
_MAX_THRIFT_ITEMS = 1_000_000
_EPOCH = datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents of a file, row by row. Of a folder or a glob each file is included."""
    if locator == "-":
        raise SourceFailed("a Parquet file cannot be read from stdin; name the file")
    if found := one_file(locator, context, _SUFFIXES):
        yield from _read_file(found, context)


def _read_file(found: Found, context: Context) -> Iterator[Document]:
    cursor, signature = context.cursor, list(file_signature(found.path))
    if cursor.get("file") != signature:
        cursor.clear()
        cursor.update(file=signature, rows=0, done=False)
    if cursor["done"]:
        return
    if importlib.util.find_spec("pyarrow") is None:
        raise SourceFailed("needs pyarrow; pip install 'clet[parquet]'")
    origin = found.shown.rpartition("/")[2].partition(".")[0] or found.shown
    with open_regular(found.path) as file, Complaints(context) as complaints:
        room = max(_FREE_BYTES, _MAX_RATIO * signature[1])
        for number, row in _read_rows(file, cursor["rows"]):
            context.interruption.check()
            document = _document(number, row, origin, context, complaints)
            cursor["rows"] = number + 1
            if document is not None:
                room -= len(document["text"])
                if room < 0:
                    raise SourceFailed(f"inflates over {_MAX_RATIO}-fold")
                yield document
    cursor["done"] = True


def _read_rows(file: BinaryIO, skip: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, values of the wanted columns) of each row after the first `skip`. Raises SourceFailed."""
    from pyarrow.lib import ArrowException

    try:
        yield from _rows(*_open(file), skip)
    except (ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = one_line(str(error), 200) or type(error).__name__
        raise SourceFailed(f"no Parquet file that can be read to its end: {reason}") from None


def _open(file: BinaryIO) -> tuple[pyarrow.parquet.ParquetFile, list[str]]:
    """The file, its strings to be read in dictionary form, and the columns to read. Raises SourceFailed."""
    from pyarrow.parquet import ParquetFile

    limits = {"thrift_string_size_limit": _MAX_THRIFT_STRING, "thrift_container_size_limit": _MAX_THRIFT_ITEMS}
    streamed = {"buffer_size": _BUFFER_BYTES, "pre_buffer": False, "page_checksum_verification": True}
    opened = ParquetFile(file, **limits, **streamed)
    schema = opened.schema_arrow
    wanted = {field.name: field.type for field in schema if field.name in _COLUMNS and _is_plain(field.type)}
    strings = [name for name, kind in wanted.items() if _is_string(kind)]
    if not any(name in strings for name in TEXT):
        shown = one_line(", ".join(schema.names), 200)
        raise SourceFailed(f"has no column {' or '.join(TEXT)} of strings; its columns are {shown}")
    return ParquetFile(file, metadata=opened.metadata, read_dictionary=strings, **limits, **streamed), list(wanted)


def _is_string(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _is_plain(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    dated = types.is_timestamp(kind) or types.is_date(kind)
    return dated or types.is_integer(kind) or types.is_floating(kind) or _is_string(kind)


def _rows(file: pyarrow.parquet.ParquetFile, columns: list[str], skip: int) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for group in range(file.metadata.num_row_groups):
        in_group = file.metadata.row_group(group).num_rows
        if number + in_group <= skip:
            number += in_group
            continue
        for batch in file.iter_batches(_batch_rows(file, group), [group], columns, use_threads=False):
            read = {name: _reader(batch.column(name), _limit(name)) for name in columns}
            for i in range(min(max(0, skip - number), batch.num_rows), batch.num_rows):
                yield number + i, {name: value(i) for name, value in read.items()}
            number += batch.num_rows


def _batch_rows(file: pyarrow.parquet.ParquetFile, group: int) -> int:
    """How many rows of a group make up a batch."""
    about = file.metadata.row_group(group)
    mean = about.total_byte_size // max(1, about.num_rows)
    return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // max(1, mean)))


def _limit(name: str) -> int:
    """Bytes that a string of a column may have; a longer one counts as absent."""
    return MAX_TEXT_BYTES if name in TEXT else _MAX_VALUE_BYTES


def _reader(array: pyarrow.Array, limit: int) -> Callable[[int], Any]:
    """What gives the value of an array by its row: a string, a number, or a time as RFC 3339."""
    from pyarrow import int64, types

    if types.is_timestamp(array.type):  # by hand, for the name of the time zone comes from the file
        numbers, per_second = array.view(int64()), _PER_SECOND[array.type.unit]
        return lambda row: _moment(numbers[row].as_py(), per_second)
    if types.is_dictionary(array.type):
        return lambda row: _string(array[row].value, limit)
    if _is_string(array.type):
        return lambda row: _string(array[row], limit)
    if types.is_date(array.type):
        return lambda row: str(array[row])
    return lambda row: array[row].as_py()


def _string(scalar: pyarrow.Scalar, limit: int) -> str | None:
    if not scalar.is_valid or (buffer := scalar.as_buffer()).size > limit:
        return None
    body = buffer.to_pybytes()
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    try:
        return decode_text(body)
    except NotText:
        return None


def _moment(number: int | None, per_second: int) -> str | None:
    try:
        return None if number is None else (_EPOCH + timedelta(seconds=number / per_second)).isoformat()
    except OverflowError:
        return None


def _document(
    number: int, row: dict[str, Any], origin: str, context: Context, complaints: Complaints
) -> Document | None:
    text = text_of(row)
    if not isinstance(text, str):
        complaints.bad("no-text", f"row {number + 1}: no text of at most {MAX_TEXT_BYTES} bytes")
        return None
    ident = row.get("id")
    meta = {} if ident is None else {"id": one_line(str(ident))}
    raw = raw_hash(text.encode())
    return field_document(row, text, context, origin=origin, raw=raw, meta=meta)
