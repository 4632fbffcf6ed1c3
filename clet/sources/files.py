"""Documents as files: text, Markdown, source code, HTML and PDF, told by content.

A folder is one source. It is read whole, in order, without what `selection.py` passes over; a file that was named
itself is read whatever its name. Of HTML the main text is kept; PDF is read by `text/pdf.py`.

Cursor: mtime, size and record id by absolute path, so that an untouched file is not opened, a touched one with the
same text is not repeated, an edited one says which record it supersedes, and one that is gone is told as a deletion.
About 150 bytes a file.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from clet.record import raw_hash
from clet.sources.adapter import MAX_FILE_BYTES, Context, Document, SourceFailed
from clet.sources.complaints import Complaints
from clet.sources.paths import Found, Stdin, expand, file_signature, file_url, inflate, read_bounded, read_file, shown
from clet.sources.selection import MAX_SOURCE_BYTES, skip_content, skip_name
from clet.sources.text.decode import NotText, decode_text, one_line
from clet.sources.text.extract import looks_like_html, page_language, page_text, page_title
from clet.sources.text.language import detect_language
from clet.sources.text.pdf import PdfFailed, PdfMissing, is_pdf, pdf_text

_PROSE = re.compile(r"\.(?:txt|text|md|markdown|mdx|rst|adoc|org|tex|html?|xhtml)\Z|(?:^|/)[^./]+\Z", re.IGNORECASE)
_MARKDOWN = re.compile(r"\.(?:md|markdown|mdx)\Z", re.IGNORECASE)
_PDF = re.compile(r"\.pdf\Z", re.IGNORECASE)
_HEADING = re.compile(r"\A\s{0,3}#{1,2}\s+(.{1,300}?)\s*#*\s*$", re.MULTILINE)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def read(locator: str, context: Context) -> Iterator[Document]:
    """One document a file; `-` is one text on stdin."""
    if locator == "-":
        yield from _read_stdin(context)
        return
    met = set()
    with Complaints(context) as complaints:
        for found in expand(locator, lambda message: complaints.bad("unreadable", message)):
            context.interruption.check()
            met.add(_key(found))
            try:
                document = _read_file(found, context, complaints)
            except SourceFailed as error:
                if found.path == locator:
                    raise
                complaints.bad("unreadable", f"{found.shown}: {error}")
                continue
            if document is not None:
                yield document
    yield from _deletions(locator, met, context)


def _key(found: Found) -> str:
    return shown(os.path.abspath(found.path))


def _read_file(found: Found, context: Context, complaints: Complaints) -> Document | None:
    """The document in a file, or None where there is none or nothing new. Raises SourceFailed."""
    key = _key(found)
    mtime_ns, size = file_signature(found.path)
    known = context.cursor.get(key)
    if known and known[:2] == [mtime_ns, size]:
        context.count("unchanged")
        return None
    if not found.named and (reason := _skip(found.relative, size)):
        context.count(reason)
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
            raise SourceFailed("not text; clet reads text, Markdown, HTML and PDF here") from None
        context.count("binary")
        document = None
    except PdfMissing as missing:
        complaints.bad("needs-pypdfium2", f"{found.shown}: {missing}")
        return None
    except PdfFailed as failed:
        complaints.bad("bad-pdf", f"{found.shown}: {failed}")
        document = None  # it is not tried again before it changes: that may cost half a minute
    former = known[2] if known else None
    context.cursor[key] = [mtime_ns, size, document["id"] if document else former]
    if document is None or document["id"] == former:
        return None
    if former:
        document["meta"]["supersedes"] = former
    return document


def _skip(path: str, size: int) -> str | None:
    """Why a file that was met in a folder is not opened."""
    reason, limit = skip_name(path), MAX_SOURCE_BYTES
    if _PDF.search(path):
        reason, limit = None if reason == "binary" else reason, MAX_FILE_BYTES
    return reason or ("large" if size > limit else None)


def _deletions(locator: str, met: set[str], context: Context) -> Iterator[Document]:
    """What was read earlier and is gone. A text that another file still has was only moved."""
    cursor: dict[str, Any] = context.cursor
    gone = {path: cursor[path][2] for path in cursor if path not in met and _is_gone(path)}
    held = {known[2] for path, known in cursor.items() if path not in gone} if gone else set()
    for path, ident in gone.items():
        del cursor[path]
        if ident and ident not in held:
            folder, name = os.path.split(path)
            if os.path.isdir(locator):
                folder, name = os.path.abspath(locator), os.path.relpath(path, os.path.abspath(locator))
            yield context.deletion(
                origin=shown(os.path.basename(folder)) or "/",
                deletes=ident,
                url=file_url(path),
                meta={"path": shown(name)},
            )


def _is_gone(path: str) -> bool:
    """Whether nothing has the path of a cursor's key. What cannot be looked at, as in a folder now closed, is not."""
    for name in (path, _ESCAPED.sub(lambda match: os.fsdecode(bytes.fromhex(match[1])), path)):
        try:
            os.lstat(name)
            return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                return False
    return True


def _read_stdin(context: Context) -> Iterator[Document]:
    body = read_bounded(Stdin(context), MAX_FILE_BYTES)
    if len(body) > MAX_FILE_BYTES:
        raise SourceFailed(f"stdin: over {MAX_FILE_BYTES} bytes; write jsonl:- for many documents")
    try:
        document = _document(inflate(body, "stdin"), "stdin", context, origin="stdin", raw=raw_hash(body))
    except NotText:
        raise SourceFailed("stdin: not text") from None
    except PdfFailed as failed:
        raise SourceFailed(f"stdin: {failed}") from None
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
    """The document in a body, or None where its content is not wanted. Raises NotText, PdfFailed."""
    title = language = None
    if is_pdf(body):
        context.idle()
        text, title = pdf_text(body, context.interruption.check)
        language = detect_language(text)
    else:
        text = decode_text(body)
        is_page = looks_like_html(text)  # written by programs, often on one line, and meant to be read all the same
        if select and not is_page and (reason := skip_content(path, text)):
            context.count(reason)
            return None
        if is_page:
            markup = decode_text(body, markup=True)
            title, language = page_title(markup), page_language(markup)
            text = page_text(markup, context.options.extract)
        elif _MARKDOWN.search(path) and (match := _HEADING.match(text)):
            title = match[1]
        if _PROSE.search(path):
            language = language or detect_language(text)
    return context.document(
        origin=origin,
        text=text,
        url=url,
        title=one_line(title) or one_line(path.rpartition("/")[2]),
        lang=language,
        published=published,
        raw=raw,
        meta={"path": path},
    )
