"""What a record of an archive holds for a reader: the text of a page, or why there is none.

Pages are told by their type and, where a server named none or said text/plain, by their beginning; the main part is
extracted. Other text is taken as it is. Feeds, data, styles, scripts, pictures and programs are no documents here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clet.record import raw_hash
from clet.sources.text.decode import NotText, decode_text
from clet.sources.text.extract import looks_like_html, page_language, page_text, page_title
from clet.sources.warc.http import is_answer, parse_answer
from clet.sources.warc.records import Record

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_UNSAID = frozenset(
    {"", "unknown", "no-type", "unk", "unknown/unknown"}
)  # what crawlers write where a server is silent
# Kinds of text that nobody reads.
_NO_TEXT = re.compile(r"text/(?:css|(?:x-)?(?:java|ecma)script|xml|dns|cache-manifest|vtt|calendar|.*\+xml|.*font.*)\Z")
_BINARY = (b"%PDF-", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"RIFF", b"\x7fELF")
_XML = re.compile(
    r"\s*(?:<\?xml[^>]{0,500}>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:rss|feed|rdf:RDF|urlset|sitemapindex|svg)\b", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Content:
    """A text and what its page says of itself. `raw` is the SHA-256 of the body that it was taken from."""

    text: str
    title: str | None
    language: str | None
    raw: str


def read_content(record: Record, extract: str) -> Content | str:
    """The content of a record with a block, or the word under which one without any is counted. Raises BadBody."""
    kind, body = record.headers.get("content-type", ""), record.block or b""
    if record.kind == "response" and (is_answer(body) or kind.lower().startswith("application/http")):
        answer = parse_answer(body)
        if answer.status != 200:
            return f"{answer.status // 100}xx"
        kind = answer.headers.get("content-type", "")
        body = answer.decoded(cut="warc-truncated" in record.headers)
    if not body.strip():
        return "empty"
    try:
        found = _read_text(body, *_split_type(kind), extract)
    except NotText:
        found = None
    return "type" if found is None else Content(*found, raw_hash(body))


def _read_text(body: bytes, kind: str, charset: str | None, extract: str) -> tuple[str, str | None, str | None] | None:
    """(text, title, language), or None where the type is not wanted. Raises NotText."""
    page = kind in _PAGES
    if body.startswith(_BINARY) or not (page or kind in _UNSAID or (kind[:5] == "text/" and not _NO_TEXT.match(kind))):
        return None
    text = decode_text(body, charset, markup=page)
    if not page and looks_like_html(text):
        page, text = True, decode_text(body, charset, markup=True)
    if _XML.match(text[:8192]) or (page and "\0" in text[:4096]):
        return None
    if not page:
        return text, None, None
    return page_text(text, extract), page_title(text), page_language(text)


def _split_type(value: str) -> tuple[str, str | None]:
    """(type in lower case, charset) of a Content-Type header."""
    kind, _, rest = value.partition(";")
    match = re.search(r"charset\s*=\s*[\"']?\s*([^\s;\"']{1,40})", rest[:1000], re.IGNORECASE)
    return kind.strip().lower(), match[1] if match else None
