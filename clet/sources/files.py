"""Documents as files: text, Markdown, source code, and HTML (told by content, reduced to its main text).

A folder is read whole, in order, without what `selection.py` passes over; a file that was named itself is read
whatever its name. Cursor: mtime, size and record id a path, so that an untouched file is not opened, a touched one
with the same text is not repeated, and an edited one says which record it supersedes. About 100 bytes a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from clet.record import make_record, raw_hash
from clet.sources.adapter import MAX_FILE_BYTES, Context, Document, SourceFailed
from clet.sources.text.decode import NotText, decode_text, one_line
from clet.sources.text.extract import looks_like_html, page_language, page_text, page_title
from clet.sources.text.language import detect_language
from clet.sources.paths import Found, expand, file_signature, file_url, inflate, read_bounded, read_file
from clet.sources.selection import MAX_SOURCE_BYTES, skip_content, skip_name
from clet.streams import InputFile

_PROSE = re.compile(r"\.(?:txt|text|md|markdown|mdx|rst|adoc|org|tex|html?|xhtml)\Z|(?:^|/)[^./]+\Z", re.IGNORECASE)
_MARKDOWN = re.compile(r"\.(?:md|markdown|mdx)\Z", re.IGNORECASE)
_HEADING = re.compile(r"\A\s{0,3}#{1,2}\s+(.{1,300}?)\s*#*\s*$", re.MULTILINE)


def read(locator: str, context: Context) -> Iterator[Document]:
    """One document a file; `-` is one text on stdin."""
    if locator == "-":
        yield from _read_stdin(context)
        return
    before: dict[str, Any] = context.cursor
    met = set()
    for found in expand(locator):
        met.add(found.shown)
        if not found.named and (reason := skip_name(found.relative)):
            context.report.count(reason)
            continue
        try:
            document = _read_file(found, context)
        except SourceFailed as error:
            context.report.bad(str(error))
            continue
        if document is not None:
            yield document
    for path in [path for path in before if path not in met]:
        del before[path]


def _read_file(found: Found, context: Context) -> Document | None:
    mtime_ns, size = file_signature(found.path)
    known = context.cursor.get(found.shown)
    if known and known[:2] == [mtime_ns, size]:
        context.report.count("unchanged")
        return None
    if not found.named and size > MAX_SOURCE_BYTES:
        context.report.count("large")
        return None
    body = read_file(found.path)
    plain = inflate(body, found.shown)
    try:
        document = _document(
            plain,
            found.relative,
            context,
            origin=found.origin,
            url=file_url(found.path),
            published=datetime.fromtimestamp(mtime_ns / 1e9, UTC),
            raw=raw_hash(body),
            select=not found.named,
        )
    except NotText:
        if found.named:
            raise SourceFailed(f"{found.shown}: not text; clet reads text, Markdown and HTML here") from None
        context.report.count("binary")
        return None
    context.cursor[found.shown] = [mtime_ns, size, document["id"] if document else None]
    if document is None or (known and known[2] == document["id"]):
        return None
    if known and known[2]:
        document["meta"]["supersedes"] = known[2]
    return document


def _read_stdin(context: Context) -> Iterator[Document]:
    context.idle()
    with context.interruption.waiting():
        body = read_bounded(InputFile("-"), MAX_FILE_BYTES)
    if len(body) > MAX_FILE_BYTES:
        raise SourceFailed(f"stdin: over {MAX_FILE_BYTES} bytes; write jsonl:- for many documents")
    try:
        document = _document(inflate(body, "stdin"), "stdin", context, origin="stdin", raw=raw_hash(body))
    except NotText:
        raise SourceFailed("stdin: not text") from None
    if document is not None:
        yield document


def _document(
    body: bytes,
    path: str,
    context: Context,
    *,
    origin: str,
    raw: str,
    url: str | None = None,
    published: datetime | None = None,
    select: bool = False,
) -> Document | None:
    """The document in a body, or None where its content is not wanted. Raises NotText."""
    text = decode_text(body)
    if select and (reason := skip_content(path, text)):
        context.report.count(reason)
        return None
    language = None
    if looks_like_html(text):
        text = decode_text(body, markup=True)
        title, language, text = page_title(text), page_language(text), page_text(text)
    else:
        match = _HEADING.match(text) if _MARKDOWN.search(path) else None
        title = one_line(match[1]) if match else one_line(path.rpartition("/")[2])
    return make_record(
        source="file",
        origin=origin,
        text=text,
        fetched=context.now,
        url=url,
        title=title,
        lang=language or (detect_language(text) if _PROSE.search(path) else None),
        published=published,
        raw=raw,
        meta={"path": path},
    )
