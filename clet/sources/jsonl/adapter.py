"""Documents as JSON objects, a line each: from files, folders and globs (plain, gzip, zstd) or from stdin.

A line needs `text` (or `content`); `url`, `title`, `published`, `lang`, `license` and `origin` (or `source`) are taken
over (`fields.py`), `id` and whatever else it has are kept in `meta`. A line that is a clet record already passes as it
is, without tokens, so a stream may be taken in again. Lines of stdin are handed on as they arrive.

Where nothing has to be looked at by itself (masking, a limit, an age), many lines are read at once, into columns
(`columns.py`); what is not sure there, and all of a small source, is read line by line, as here.

Cursor of a file: how many lines were taken and an xxh3 over them, so that a file that has grown continues where it
ended and one that was replaced starts over; an untouched file is not opened. Memory: four blocks (of 1 MB inflated)
and the longest line. Cost: about 15 us a document in columns, 100 by itself.
"""

from __future__ import annotations

import os
import re
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import orjson
import xxhash

from clet import codecs
from clet.container import MAGIC
from clet.exits import InputError
from clet.record import LongLine, RecordError, canonical_text, check_record, parse_object, raw_hash, record_id
from clet.sources.adapter import Columns, Context, Document, SourceFailed
from clet.sources.fields import TAKEN, field_document, text_of
from clet.sources.paths import Found, Stdin, file_signature, one_file, open_regular
from clet.sources.text.decode import one_line
from clet.streams import line_blocks

BLOCK_BYTES = 1 << 20  # of a file, read at once
MIN_BLOCK_BYTES = 8 << 10  # below, lines are read one by one
COLUMNS_FROM = 1 << 20  # of a file, unless kernels are there already
MAX_META_BYTES = 64 << 10
_SHORT_LINE = MAX_META_BYTES // 4  # writing a value again at most trebles it: 1E2 becomes 100.0
_NOT_META = TAKEN | {"tok", "meta"}
_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.zst", ".ndjson.zst")
_ID = re.compile(r"[0-9a-f]{32}\Z")


def read(locator: str, context: Context) -> Iterator[Document | Columns]:
    """Documents of the file that the locator names; `-` is stdin. Of a folder or a glob each file is included."""
    if locator == "-":
        yield from _Lines("stdin", "stdin", context).read(Stdin(context), gather=False)
    elif found := one_file(locator, context, _SUFFIXES):
        yield from _read_file(found, context)


def _read_file(found: Found, context: Context) -> Iterator[Document | Columns]:
    cursor = context.cursor
    signature = list(file_signature(found.path))
    if cursor.get("file") == signature:
        return
    name = found.shown
    lines = _Lines(name, os.path.basename(name).split(".")[0] or name, context)
    if skip := cursor.get("lines", 0):
        with open_regular(found.path) as stream:
            lines.skip_known(stream, skip, cursor.get("digest", ""))
    try:
        with open_regular(found.path) as stream:
            for document in lines.read(stream, gather=True):
                lines.note(cursor)
                yield document
        if lines.complete:
            cursor["file"] = signature
    except OSError as error:
        raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
    finally:
        lines.note(cursor)


def _blocks(stream: BinaryIO, name: str, *, gather: bool) -> Iterator[tuple[bytes, bool]]:
    """(lines without the newline of the last, whether the stream ended before it); a `LongLine` comes alone.

    `gather`: what comes in small pieces is put together, since nobody waits for it.
    """
    chunks = codecs.plain_chunks(codecs.Peekable(stream), name)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(MAGIC):
            break
    if codecs.sniff(head) == "clet":
        raise InputError(f"{name}: holds token batches; the next stage reads them as they are")
    head = head.removeprefix(BOM_UTF8)
    return line_blocks(chain([head] if head else [], chunks), name, BLOCK_BYTES if gather else 0)


def _lines_of(block: bytes) -> list[bytes]:
    return [block] if isinstance(block, LongLine) else block.split(b"\n")


class _Lines:
    """The lines of one stream as documents. `taken` lines are done with, `digest` is over them."""

    def __init__(self, name: str, origin: str, context: Context):
        self.name, self.origin, self.context = name, origin, context
        self.skip = self.taken = 0
        self.digest = xxhash.xxh3_64()
        self.complete = True
        self._seen_bytes = 0

    def note(self, cursor: dict[str, Any]) -> None:
        """Remember what is done with."""
        cursor["lines"], cursor["digest"] = self.taken, self.digest.hexdigest()

    def skip_known(self, stream: BinaryIO, count: int, digest: str) -> None:
        """Pass over the first `count` lines of the stream when it is read, if they still have this digest."""
        known, self.digest = self.digest, xxhash.xxh3_64()
        try:
            for block, _ in _blocks(stream, self.name, gather=True):
                for line in _lines_of(block)[: count - self.taken]:
                    self._take(line)
                if self.taken == count:
                    break
        except InputError:
            self.taken = 0
        if self.taken and self.digest.hexdigest() == digest:
            self.skip = count
        else:
            self.digest = known
        self.taken = 0

    def read(self, stream: BinaryIO, *, gather: bool) -> Iterator[Document | Columns]:
        """Documents; a bad line is reported and passed over. Raises InputError for a damaged stream."""
        number = 0
        for block, cut in _blocks(stream, self.name, gather=gather):
            if not cut and number >= self.skip and self._is_for_columns(block):
                yield from self._in_columns(block, number)
                number = self.taken
                continue
            for line in _lines_of(block):
                number += 1
                if number <= self.skip:
                    self.taken = number
                    continue
                document = self._read_line(line, number, cut=cut)
                if not self.complete:
                    return
                self._take(line)
                if document is not None:
                    yield document

    def _is_for_columns(self, block: bytes) -> bool:
        """Whether a block is worth the kernels, which take longer to load than it takes to read a megabyte."""
        if not self.context.in_columns or self.context.options.scrub or isinstance(block, LongLine):
            return False
        self._seen_bytes += len(block)
        return len(block) >= MIN_BLOCK_BYTES and (self._seen_bytes >= COLUMNS_FROM or "clet.kernels" in sys.modules)

    def _in_columns(self, block: bytes, before: int) -> Iterator[Document | Columns]:
        """The documents of a block of whole lines, of which `before` came earlier."""
        from clet.sources.jsonl.columns import read_block

        found = read_block(block, self.context, self.origin)
        stops = found.lines.stops.tolist()
        next_line = begin = 0
        for line in [*found.doubtful.tolist(), len(stops)]:
            if line > next_line:
                self._take(memoryview(block)[begin : stops[line - 1]], line - next_line)
                columns = found.between(next_line, line)
                begin = stops[line - 1] + 1
                if len(columns):
                    yield columns
            if line < len(stops):
                body = block[begin : stops[line]]
                document = self._read_line(body, before + line + 1)
                self._take(body)
                begin = stops[line] + 1
                if document is not None:
                    yield document
            next_line = line + 1

    def _take(self, lines: bytes | memoryview, number: int = 1) -> None:
        """Lines, with newlines between them, are done with."""
        self.taken += number
        self.digest.update(lines)
        if isinstance(lines, LongLine):
            self.digest.update(lines.digest.digest())
        self.digest.update(b"\n")

    def _read_line(self, line: bytes, number: int, *, cut: bool = False) -> Document | None:
        """The document of a line, None for none; of one that is bad and `cut`, the stream is not `complete`."""
        if not line or line.isspace():
            return None
        try:
            return self._document(line)
        except RecordError as error:
            self.complete = not cut  # somebody may still be writing this line: it is not done with
            if not (cut and self.context.follow):
                self.context.bad_line(f"{self.name}:{number}", str(error), line)
            return None

    def _document(self, line: bytes) -> Document:
        fields = parse_object(line, mend=True)
        text = text_of(fields)
        if text is None:
            raise RecordError("no text")
        if not isinstance(text, str):
            raise RecordError("text is not a string")
        if (again := self._record_again(fields, text)) is not None:
            return again
        return field_document(
            fields, text, self.context, origin=self.origin, raw=raw_hash(line), meta=_meta(fields, len(line))
        )

    def _record_again(self, fields: dict[str, Any], text: str) -> Document | None:
        """The line as the clet record that it is, scrubbed and annotated as this source asks; None if it is none."""
        ident = fields.get("id")
        if not (isinstance(ident, str) and _ID.match(ident) and isinstance(fields.get("source"), str)):
            return None
        canonical = canonical_text(text)
        if ident != record_id(canonical):
            return None
        check_record(fields)
        record = {name: value for name, value in fields.items() if name not in ("tok", "text")}
        for name in ("published", "origin", "url"):
            record.setdefault(name, None)
        options, masked = self.context.options, Counter()
        if options.scrub:
            for name, value in (("title", record.get("title")), ("text", canonical)):
                if value:
                    record[name], found = self.context.scrubber.scrub(value, options.scrub)
                    masked.update(found)
            canonical = canonical_text(record.pop("text", canonical))
            record["id"] = record_id(canonical)
        if options.license and not record.get("license"):
            record["license"] = options.license
        return self.context.annotate(record | {"text": canonical}, dict(masked))


def _meta(fields: dict[str, Any], size: int) -> dict[str, Any]:
    """All that has no place elsewhere, as long as it is small. `size` is that of the line."""
    meta = dict(fields["meta"]) if isinstance(fields.get("meta"), dict) else {}
    meta |= {name: value for name, value in fields.items() if name not in _NOT_META}
    if size > _SHORT_LINE and len(orjson.dumps(meta)) > MAX_META_BYTES:
        meta = {"id": one_line(str(fields["id"]))} if "id" in fields else {}
    return meta
