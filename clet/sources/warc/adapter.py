"""Web archives: WARC, WET and ARC files, whole crawls or the answers that `--archive` kept.

Of the records, the answers with status 200 (`response`), what was stored without HTTP (`resource`) and text extracted
by somebody else (`conversion`) become documents where they hold a page or text; the rest is counted. A `revisit` says
that an earlier record's content came again: nothing is lost by passing it over where that record was met in this run
("revisit"); where it was not, it is counted as "unresolved". `raw` is the SHA-256 of the body without its transfer and
content codings.

Cursor: the file's mtime and size (of a URL its validators) once all was read, and meanwhile the place behind the last
record that gave a document. It holds as long as the file begins, and runs up to there, as it did; so an archive that
was interrupted, or has grown, is continued. Memory: one record; cost: that of extracting the pages' text.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
import xxhash

from clet.record import format_time
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.complaints import Complaints
from clet.sources.paths import Stdin, file_signature, one_file, open_regular, shown
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.text.language import detect_language
from clet.sources.warc.content import Content, read_content
from clet.sources.warc.http import BadBody
from clet.sources.warc.members import START, Archive, NotReadable, Place
from clet.sources.warc.records import Broken, Record, read_records

_SUFFIXES = tuple(f".{kind}{packed}" for kind in ("warc", "arc", "wet") for packed in ("", ".gz", ".zst"))
_WANTED = frozenset({"response", "resource", "conversion"})
# What crawlers note of themselves, and what sites tell them.
_FOR_PROGRAMS = re.compile(r"<?(?:metadata:|urn:|dns:|https?://[^/]*/robots\.txt\b)")
_ARC_DATE = re.compile(r"\d{14}")
_HEAD_BYTES, _TAIL_BYTES = 64 << 10, 4 << 10  # of an archive, that show it to be the same
_AHEAD_BYTES = 8 << 10
_ORIGINALS = 1 << 20  # slots


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents of an archive: a file, a URL, or `-` for stdin. Of a folder or a glob each archive is included."""
    if locator == "-":
        with Complaints(context) as complaints:
            for document, _ in _Reading("stdin", context, complaints).documents(Stdin(context)):
                if document is not None:
                    yield document
    elif locator.startswith(("http://", "https://")):
        yield from _read_url(locator, context)
    elif found := one_file(locator, context, _SUFFIXES):
        signature = list(file_signature(found.path))
        if context.cursor.get("file") != signature:
            yield from _read_file(found.path, shown(os.path.basename(found.path)), context)
            context.cursor["file"] = signature


def _read_url(url: str, context: Context) -> Iterator[Document]:
    fetched = context.download(url, context.cursor.get("validators"))
    if fetched is None:
        return
    try:
        name = url.partition("?")[0].rpartition("/")[2] or "archive"
        yield from _read_file(os.fspath(fetched.path), name, context)
    except SourceFailed:
        fetched.discard()
        raise
    context.cursor["validators"] = fetched.validators
    fetched.discard()


def _read_file(path: str, name: str, context: Context) -> Iterator[Document]:
    with open_regular(path) as file, Complaints(context) as complaints:
        progress = _Progress(file, context.cursor)
        begin = end = progress.begin()
        for document, end in _Reading(name, context, complaints).documents(file, begin, file.fileno()):
            if document is not None:
                progress.note(end)
                yield document
        progress.note(end)


class _Progress:
    """How much of a file was dealt with, in its cursor."""

    def __init__(self, file: BinaryIO, cursor: dict[str, Any]):
        self._fd, self._cursor = file.fileno(), cursor
        self._head = os.pread(self._fd, _HEAD_BYTES, 0)

    def begin(self) -> Place:
        """Where to go on; at the beginning, if this is not the file of which the cursor tells."""
        known = self._cursor.get("progress")
        if not known:
            return START
        place = Place(known["offset"], known["skip"])
        return place if known["digest"] == self._digest(place, known["head"]) else START

    def note(self, place: Place) -> None:
        """What lies before the place was dealt with."""
        digest = self._digest(place, len(self._head))
        progress = {"offset": place.offset, "skip": place.skip, "head": len(self._head), "digest": digest}
        self._cursor["progress"] = progress

    def _digest(self, place: Place, head_bytes: int) -> str:
        begin = max(0, place.offset - _TAIL_BYTES)
        digest = xxhash.xxh3_64(self._head[:head_bytes])
        digest.update(os.pread(self._fd, place.offset - begin, begin))
        return digest.hexdigest()


class _Reading:
    """The records of one archive, each as a document or counted."""

    def __init__(self, name: str, context: Context, complaints: Complaints):
        self._name, self._context, self._complaints = name, context, complaints

    def documents(
        self, stream: BinaryIO, begin: Place = START, fd: int | None = None
    ) -> Iterator[tuple[Document | None, Place]]:
        """(its document or None, the place behind it) for each record. Raises SourceFailed.

        `fd` is that of a seekable stream, which alone can begin elsewhere than at its beginning.
        """
        ahead = None if fd is None else (lambda offset: os.pread(fd, _AHEAD_BYTES, offset))
        num_records, held = 0, None  # a broken piece, told once something follows it
        try:
            archive = Archive(stream, seekable=fd is not None)
            for record in read_records(archive, begin, ahead):
                self._context.interruption.check()
                if held:
                    self._tell(held)
                held = record if isinstance(record, Broken) else None
                if isinstance(record, Record):
                    num_records += 1
                    yield self._document(record, plain=archive.plain), record.end
        except NotReadable as error:
            raise SourceFailed(str(error)) from None
        except OSError as error:
            raise SourceFailed(error.strerror or "cannot be read", unreachable=True) from None
        if held and not num_records and begin == START and not held.at_end:
            raise SourceFailed(f"no web archive that can be read: {held.reason}")
        if held:
            self._tell(held)

    def _tell(self, broken: Broken) -> None:
        """Report a record that cannot be read. One that the archive stops in may still be being written."""
        if not broken.at_end:
            self._complaints.bad("broken", f"{broken.place}: {broken.reason}")
        elif self._context.follow:
            self._context.count("unfinished")
        else:
            self._complaints.bad("cut", f"{broken.place}: {broken.reason}")

    def _document(self, record: Record, *, plain: bool) -> Document | None:
        if record.kind == "revisit":
            self._context.count("revisit" if _originals.met(record) else "unresolved")
        elif record.kind == "continuation" or (record.kind in _WANTED and "warc-segment-number" in record.headers):
            self._context.count("segmented")
        elif record.kind in _WANTED and not _FOR_PROGRAMS.match(record.headers.get("warc-target-uri", "")):
            return self._wanted(record, plain)
        return None

    def _wanted(self, record: Record, plain: bool) -> Document | None:
        _originals.add(record)
        place = ": ".join(filter(None, [str(record.begin), _address(record)]))
        if record.block is None:
            self._context.count("large")
        elif plain and not record.intact():  # compressed members have a checksum of their own
            self._complaints.bad("broken", f"{place}: its block has not the digest that its header tells")
        else:
            try:
                found = read_content(record, self._context.options.extract)
            except BadBody as error:
                self._complaints.bad("broken", f"{place}: {error}")
                return None
            if not isinstance(found, str):
                return self._make(record, found)
            self._context.count(found)
        return None

    def _make(self, record: Record, content: Content) -> Document:
        headers, address = record.headers, _address(record)
        meta = {
            "warc": self._name,
            "record": one_line(headers.get("warc-record-id"), 200),
            "captured": format_time(_read_time(headers.get("warc-date", ""))),
            "truncated": one_line(headers.get("warc-truncated"), 40),
        }
        return self._context.document(
            origin=_host(address) or self._name,
            text=content.text,
            url=address,
            title=content.title,
            lang=content.language or detect_language(content.text),
            raw=content.raw,
            meta={name: value for name, value in meta.items() if value},
        )


def _address(record: Record) -> str | None:
    return one_line(record.headers.get("warc-target-uri", "").strip("<> "), 2048)


def _host(address: str | None) -> str | None:
    try:
        return one_line(urlsplit(address or "").hostname, 253)
    except ValueError:
        return None


def _read_time(text: str) -> datetime | None:
    """When a record was made: RFC 3339 in WARC, 14 digits in ARC."""
    if _ARC_DATE.match(text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}Z"
    return read_date(text)


class _Originals:
    """Which contents were met in this process, by hash: a table in which the newer overwrites the older, 8 MB."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: np.ndarray | None = None

    def add(self, record: Record) -> None:
        """Remember a record by its id, its payload's digest, and its address and time."""
        headers = record.headers
        with self._lock:
            if self._slots is None:
                self._slots = np.zeros(_ORIGINALS, np.uint64)
            for name, value in (
                ("id", headers.get("warc-record-id")),
                ("digest", headers.get("warc-payload-digest")),
                ("place", _joined(headers, "warc-target-uri", "warc-date")),
            ):
                if value:
                    key = _key(name, value)
                    self._slots[key % _ORIGINALS] = key

    def met(self, revisit: Record) -> bool:
        """Whether what a revisit refers to was met."""
        headers = revisit.headers
        with self._lock:
            slots = self._slots
            return slots is not None and any(
                value and slots[(key := _key(name, value)) % _ORIGINALS] == key
                for name, value in (
                    ("id", headers.get("warc-refers-to")),
                    ("digest", headers.get("warc-payload-digest")),
                    ("place", _joined(headers, "warc-refers-to-target-uri", "warc-refers-to-date")),
                )
            )


_originals = _Originals()


def _joined(headers: dict[str, str], *names: str) -> str | None:
    values = [headers.get(name, "") for name in names]
    return " ".join(values) if all(values) else None


def _key(name: str, value: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{name} {value}".encode())
