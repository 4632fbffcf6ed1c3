"""Documents as JSON objects, a line each: from files, folders and globs (plain, gzip, zstd) or from stdin.

A line needs `text` (or `content`); `url`, `title`, `published`, `lang`, `license` and `origin` (or `source`) are taken
over (`fields.py`), `id` and whatever else it has are kept in `meta`. A line that is a clet record already passes as it
is, without tokens, so a stream may be taken in again. Lines of stdin are handed on as they arrive.

Cursor of a file: how many lines were taken and an xxh3 over them, so that a file that has grown continues where it
ended and one that was replaced starts over; an untouched file is not opened. Memory: one read (1 MB inflated) and
the longest line. Cost: that of parsing and hashing, each at 0.5 GB/s or more, and about 30 us a document.
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson
import xxhash

from clet import codecs
from clet.exits import InputError
from clet.record import RecordError, canonical_text, check_record, parse_object, raw_hash, record_id
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.fields import TAKEN, field_document, text_of
from clet.sources.paths import Found, Stdin, file_signature, one_file, open_regular
from clet.sources.text.decode import one_line
from clet.streams import split_lines

MAX_META_BYTES = 64 << 10
_SHORT_LINE = MAX_META_BYTES // 4  # writing a value again at most trebles it: 1E2 becomes 100.0
_NOT_META = TAKEN | {"tok", "meta"}
_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.zst", ".ndjson.zst")
_ID = re.compile(r"[0-9a-f]{32}\Z")


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents of the file that the locator names; `-` is stdin. Of a folder or a glob each file is included."""
    if locator == "-":
        yield from _Lines("stdin", "stdin", context).read(Stdin(context))
    elif found := one_file(locator, context, _SUFFIXES):
        yield from _read_file(found, context)


def _read_file(found: Found, context: Context) -> Iterator[Document]:
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
            for document in lines.read(stream):
                lines.note(cursor)
                yield document
        if lines.complete:
            cursor["file"] = signature
    except OSError as error:
        raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
    finally:
        lines.note(cursor)


def _each_line(stream: BinaryIO, name: str) -> Iterator[tuple[bytes, bool]]:
    """(line without its newline, whether the stream ended before one)."""
    ended = last = None

    def watched() -> Iterator[bytes]:
        nonlocal ended, last
        for chunk in codecs.plain_chunks(codecs.Peekable(stream), name):
            last = chunk[-1:]
            yield chunk
        ended = True

    inner = codecs.Peekable(codecs.ChunkReader(watched()))
    if codecs.sniff(inner.peek(4)) == "clet":
        raise InputError(f"{name}: holds token batches; the next stage reads them as they are")
    first = True
    for lines in split_lines(inner, name):
        for line in lines:
            if first and line.startswith(BOM_UTF8):
                line = line[len(BOM_UTF8) :]
            first = False
            yield line, bool(ended) and last != b"\n"


class _Lines:
    """The lines of one stream as documents. `taken` lines are done with, `digest` is over them."""

    def __init__(self, name: str, origin: str, context: Context):
        self.name, self.origin, self.context = name, origin, context
        self.skip = self.taken = 0
        self.digest = xxhash.xxh3_64()
        self.complete = True

    def note(self, cursor: dict[str, Any]) -> None:
        """Remember what is done with."""
        cursor["lines"], cursor["digest"] = self.taken, self.digest.hexdigest()

    def skip_known(self, stream: BinaryIO, count: int, digest: str) -> None:
        """Pass over the first `count` lines of the stream when it is read, if they still have this digest."""
        hashed = xxhash.xxh3_64()
        try:
            for number, (line, _) in enumerate(_each_line(stream, self.name)):
                if number >= count:
                    break
                hashed.update(line)
                hashed.update(b"\n")
        except InputError:
            return
        if hashed.hexdigest() == digest:
            self.skip, self.digest = count, hashed

    def read(self, stream: BinaryIO) -> Iterator[Document]:
        """Documents; a bad line is reported and passed over. Raises InputError for a damaged stream."""
        digest = self.digest
        for number, (line, cut) in enumerate(_each_line(stream, self.name), 1):
            if number <= self.skip:
                self.taken = number
                continue
            document = None
            if line and not line.isspace():
                try:
                    document = self._document(line)
                except RecordError as error:
                    self.complete = not cut  # somebody may still be writing this line: it is not done with
                    if not (cut and self.context.follow):
                        self.context.bad_line(f"{self.name}:{number}", str(error), line)
                    if cut:
                        return
            self.taken = number
            digest.update(line)
            digest.update(b"\n")
            if document is not None:
                yield document

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
