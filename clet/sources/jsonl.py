"""Documents as JSON objects, a line each: from files, folders and globs (plain, gzip, zstd) or from stdin.

A line needs `text` (or `content`); `url`, `title`, `published`, `lang`, `license` and `origin` (or `source`) are taken
over, `id` and whatever else it has are kept in `meta`. A line that is a clet record already passes as it is, without
tokens, so a stream may be taken in again. Lines of stdin are handed on as they arrive.

Cursor of a file: how many lines were taken and an xxh3 over them, so that a file that has grown continues where it
ended and one that was replaced starts over; an untouched file is not opened. Memory: one read (1 MB inflated) and
the longest line.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson
import xxhash

from clet import codecs
from clet.exits import InputError
from clet.record import RecordError, canonical_text, check_record, make_record, parse_object, raw_hash, record_id
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.dates import read_date
from clet.sources.decode import one_line
from clet.sources.language import detect_language
from clet.sources.paths import Found, expand, file_signature, open_regular
from clet.streams import InputFile, split_lines

MAX_META_BYTES = 64 << 10
_TEXT = ("text", "content")
_DATES = ("published", "date", "timestamp", "created")
_ORIGINS = ("origin", "source", "domain")
_TAKEN = {*_TEXT, *_DATES, *_ORIGINS, "url", "title", "lang", "license", "tok", "meta"}
_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.zst", ".ndjson.zst")


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents of every file that the locator names; `-` is stdin."""
    if locator == "-":
        yield from _Lines("stdin", "stdin", context).read(_Interruptible(context))
        return
    for found in expand(locator):
        if found.named or found.path.endswith(_SUFFIXES):
            with context.part(found.shown, "jsonl") as part:
                yield from _read_file(found, part)


def _read_file(found: Found, context: Context) -> Iterator[Document]:
    cursor = context.cursor
    signature = list(file_signature(found.path))
    if cursor.get("file") == signature:
        return
    origin = os.path.basename(found.shown).split(".")[0] or found.shown
    lines = _Lines(found.shown, origin, context)
    skip, skipped = cursor.get("lines", 0), xxhash.xxh3_64()
    if skip:
        with open_regular(found.path) as stream:
            try:
                skipped = _hash_lines(stream, found.shown, skip)
            except InputError:
                skip = 0
        if not skip or skipped.hexdigest() != cursor.get("digest"):
            skip, skipped = 0, xxhash.xxh3_64()
    lines.skip, lines.digest = skip, skipped
    try:
        with open_regular(found.path) as stream:
            try:
                yield from lines.read(stream)
            except InputError as error:
                raise SourceFailed(str(error)) from None
            except OSError as error:
                raise SourceFailed(f"{error.strerror}", unreachable=True) from None
        if lines.complete:
            cursor["file"] = signature
    finally:
        cursor["lines"], cursor["digest"] = lines.taken, lines.digest.hexdigest()


def _hash_lines(stream: BinaryIO, name: str, count: int) -> xxhash.xxh3_64:
    digest = xxhash.xxh3_64()
    for number, (line, _) in enumerate(_each_line(stream, name)):
        if number >= count:
            break
        digest.update(line + b"\n")
    return digest


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
    for lines in split_lines(inner, name):
        for line in lines:
            yield line, bool(ended) and last != b"\n"


class _Interruptible(io.RawIOBase):
    """Stdin, waiting for which SIGTERM may interrupt and before which what was collected is passed on."""

    def __init__(self, context: Context):
        self._context = context
        self._file = InputFile("-")

    def read(self, size: int = -1) -> bytes:
        """What one system call gives."""
        self._context.idle()
        with self._context.interruption.waiting():
            return self._file.read(size)

    def readable(self) -> bool:
        """True."""
        return True


class _Lines:
    """The lines of one stream as documents. `taken` lines are done with, `digest` is over them."""

    def __init__(self, name: str, origin: str, context: Context):
        self.name, self.origin, self.context = name, origin, context
        self.skip = self.taken = 0
        self.digest = xxhash.xxh3_64()
        self.complete = True

    def read(self, stream: BinaryIO) -> Iterator[Document]:
        """Documents; a bad line is reported and passed over. Raises InputError for a damaged stream."""
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
                        self.context.report.bad_line(f"{self.name}:{number}", str(error), line)
                    if cut:
                        return
            self.taken = number
            self.digest.update(line + b"\n")
            if document is not None:
                yield document

    def _document(self, line: bytes) -> Document:
        fields = parse_object(line)
        text = next((fields[name] for name in _TEXT if fields.get(name) is not None), None)
        if text is None:
            raise RecordError("no text")
        if not isinstance(text, str):
            raise RecordError("text is not a string")
        canonical = canonical_text(text)
        if fields.get("id") == record_id(canonical) and isinstance(fields.get("source"), str):
            return _record_again(fields, canonical)
        title = fields.get("title")
        language = fields.get("lang")
        return make_record(
            source="jsonl",
            origin=self._origin(fields),
            text=canonical,
            fetched=self.context.now,
            url=one_line(_string(fields, "url"), 2048),
            title=one_line(title) if isinstance(title, str) else None,
            lang=one_line(language, 16) if isinstance(language, str) and language else detect_language(canonical),
            published=next((date for name in _DATES if (date := read_date(fields.get(name)))), None),
            raw=raw_hash(line),
            license=one_line(_string(fields, "license"), 200),
            meta=_meta(fields),
        )

    def _origin(self, fields: dict[str, Any]) -> str:
        names = (one_line(_string(fields, name), 200) for name in _ORIGINS)
        return next((name for name in names if name), self.origin)


def _record_again(record: dict[str, Any], canonical: str) -> Document:
    check_record(record)
    record.pop("tok", None)
    record.pop("text")
    for name in ("published", "origin", "url"):
        record.setdefault(name, None)
    return record | {"text": canonical}


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _meta(fields: dict[str, Any]) -> dict[str, Any]:
    meta = dict(fields["meta"]) if isinstance(fields.get("meta"), dict) else {}
    meta |= {name: value for name, value in fields.items() if name not in _TAKEN}
    if len(orjson.dumps(meta)) > MAX_META_BYTES:
        meta = {"id": one_line(str(fields["id"]))} if "id" in fields else {}
    return meta
