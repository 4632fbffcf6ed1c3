"""The bytes of a feed into entries: RSS 0.9x, 1.0 (RDF) and 2.0, Atom, JSON Feed; and OPML into the feeds it lists.

XML feeds go through feedparser, which reads what people really publish; most of it is not well-formed. Before that
the document type is cut off with all its declarations, so there are no entities to expand or to fetch. JSON Feed
(jsonfeed.org) is read here. Cost: about 1 ms an entry; memory: some ten times the body, which the fetcher caps.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from clet.sources.adapter import SourceFailed
from clet.sources.dates import read_date
from clet.sources.decode import decode_text, one_line
from clet.sources.extract import fragment_text, looks_like_html

MAX_OUTLINES = 20_000
MAX_TAGS = 32
_HEAD_BYTES = 8192
_DOCTYPE = re.compile(
    rb"<!DOCTYPE(?:[^\[>\"']|\"[^\"]*\"|'[^']*')*(?:\[(?:[^\]\"']|\"[^\"]*\"|'[^']*')*\]\s*)?>", re.IGNORECASE
)
_ROOT = re.compile(rb"<[A-Za-z_]")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class Entry:
    """One item. `guid` is its own id if it has one; `link` is absolute or None; `body` is text."""

    guid: str | None
    link: str | None
    title: str | None
    body: str
    published: datetime | None
    updated: datetime | None
    author: str | None
    tags: list[str]
    language: str | None


@dataclass
class Feed:
    """A parsed feed; for OPML `lists` holds the addresses and there are no entries."""

    title: str | None = None
    language: str | None = None
    entries: list[Entry] = field(default_factory=list)
    lists: list[str] | None = None


def parse_feed(body: bytes, base: str | None, content_type: str = "", charset: str | None = None) -> Feed:
    """The feed in a body found at `base`. Raises SourceFailed where it is none."""
    head = body[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if head.startswith((b"{", b"[")):
        return _json_feed(body, base)
    if re.search(rb"<opml[\s>]", head[:2000], re.IGNORECASE):
        return _opml(body, base)
    if not head:
        raise SourceFailed("empty, not a feed")
    if looks_like_html(head.decode("latin-1")) and not re.search(rb"<(?:rss|feed|rdf:rdf)[\s>]", head, re.IGNORECASE):
        raise SourceFailed("an HTML page, not a feed")
    return _xml_feed(body, base, content_type, charset)


def without_doctype(body: bytes) -> bytes:
    """The body with any document type declaration before the root element, and what it declares, cut out."""
    root = _ROOT.search(body)
    limit = root.start() if root else len(body)
    found = body.upper().find(b"<!DOCTYPE", 0, limit)
    if found < 0:
        return body
    match = _DOCTYPE.match(body, found)
    if match is None:
        raise SourceFailed("malformed document type declaration")
    return body[:found] + body[match.end() :]


# ---- XML


def _xml_feed(body: bytes, base: str | None, content_type: str, charset: str | None) -> Feed:
    import feedparser

    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in body[:200]:
        # UTF-16, maybe without a mark: no byte pattern of ours fits it before it is decoded
        text = decode_text(body, charset, markup=True)
        body = re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode("utf-8", "replace")
        charset = "utf-8"
    headers = {}
    if content_type or charset:
        kind = content_type if content_type.endswith("xml") else "application/xml"
        headers["content-type"] = kind + (f"; charset={charset}" if charset else "")
    if base:
        headers["content-location"] = base
    try:
        parsed = feedparser.parse(
            io.BytesIO(without_doctype(body)),
            response_headers=headers,
            sanitize_html=False,
            resolve_relative_uris=False,
        )
        if not parsed.entries and not parsed.version:
            raise SourceFailed("not a feed")
        about = parsed.feed
        site = base or _string(about, "link") or next((link.get("href") for link in about.get("links", [])), None)
        entries = [_xml_entry(entry, site) for entry in parsed.entries]
        return Feed(one_line(_plain(_string(about, "title"))), _language(_string(about, "language")), entries)
    except SourceFailed:
        raise
    except Exception as error:  # feedparser lets many kinds through on hostile input; none of them may stop the others
        raise SourceFailed(f"not a feed that can be read ({type(error).__name__})") from None


def _xml_entry(entry: Any, site: str | None) -> Entry:
    candidates = [(part.get("value"), part.get("type", "")) for part in _get(entry, "content") or []]
    candidates.append((_string(entry, "summary"), (_get(entry, "summary_detail") or {}).get("type", "")))
    published = _date(entry, "published")
    updated = _date(entry, "updated")
    tags = [tag.get("label") or tag.get("term") for tag in _get(entry, "tags") or []]
    return Entry(
        guid=_clean(_string(entry, "id")),
        link=_absolute(_string(entry, "link"), site),
        title=one_line(_plain(_string(entry, "title"))),
        body=_longest(candidates),
        published=published or updated or _date(entry, "created"),
        updated=updated,
        author=one_line(_plain(_string(entry, "author")), 200),
        tags=_tags(tags),
        language=_language((_get(entry, "title_detail") or {}).get("language")),
    )


def _get(entry: Any, name: str) -> Any:
    """A field as it stands: feedparser's own lookup answers `updated` with `published` where there is none."""
    return dict.get(entry, name)


def _string(entry: Any, name: str) -> str | None:
    value = _get(entry, name)
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else None


def _date(entry: Any, name: str) -> datetime | None:
    return read_date(_get(entry, name)) or read_date(_get(entry, f"{name}_parsed"))  # feedparser's eye is less exact


def _longest(candidates: Iterable[tuple[Any, str]]) -> str:
    """The fullest of the texts that an entry offers, markup taken off."""
    texts = [
        fragment_text(_SURROGATES.sub("\ufffd", value)) if kind != "text/plain" else value.strip()
        for value, kind in candidates
        if isinstance(value, str) and value
    ]
    return max(texts, key=len, default="")


# ---- JSON Feed


def _json_feed(body: bytes, base: str | None) -> Feed:
    try:
        data = orjson.loads(decode_text(body))
    except (orjson.JSONDecodeError, ValueError):
        raise SourceFailed("neither JSON nor a feed") from None
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list) or not ("jsonfeed.org" in str(data.get("version", "")) or "title" in data):
        raise SourceFailed("JSON, but not a JSON Feed")
    site = base or _string(data, "feed_url") or _string(data, "home_page_url")
    entries = [_json_entry(item, site) for item in items if isinstance(item, dict)]
    return Feed(one_line(_string(data, "title")), _language(_string(data, "language")), entries)


def _json_entry(item: dict[str, Any], site: str | None) -> Entry:
    candidates = [
        (_get(item, "content_html"), "text/html"),
        (_get(item, "content_text"), "text/plain"),
        (_get(item, "summary"), "text/plain"),
    ]
    authors = _get(item, "authors") if isinstance(_get(item, "authors"), list) else [_get(item, "author")]
    names = [author.get("name") for author in authors if isinstance(author, dict)]
    updated = read_date(_get(item, "date_modified"))
    guid = _get(item, "id")
    return Entry(
        guid=_clean(str(guid)) if isinstance(guid, str | int | float) and guid != "" else None,
        link=_absolute(_string(item, "url") or _string(item, "external_url"), site),
        title=one_line(_plain(_string(item, "title"))),
        body=next((text for candidate in candidates if (text := _longest([candidate]))), ""),
        published=read_date(_get(item, "date_published")) or updated,
        updated=updated,
        author=one_line(", ".join(name for name in names if isinstance(name, str)), 200),
        tags=_tags(_get(item, "tags") if isinstance(_get(item, "tags"), list) else []),
        language=_language(_string(item, "language")),
    )


# ---- OPML


def _opml(body: bytes, base: str | None) -> Feed:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, recover=True, huge_tree=False)
    try:
        root = etree.fromstring(without_doctype(body), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if root is None:
        raise SourceFailed("malformed OPML")
    addresses: dict[str, None] = {}
    for outline in root.iter("outline", "{*}outline"):
        address = next((value for name, value in outline.attrib.items() if name.lower() == "xmlurl"), "").strip()
        if address:
            addresses.setdefault(urljoin(base, address) if base else address)
        if len(addresses) > MAX_OUTLINES:
            raise SourceFailed(f"lists over {MAX_OUTLINES} feeds")
    return Feed(lists=list(addresses))


# ---- fields


def _plain(text: str | None) -> str | None:
    return fragment_text(text) if text else None


def _clean(text: str | None) -> str | None:
    return one_line(text, 2048)


def _absolute(link: str | None, site: str | None) -> str | None:
    """A web address, resolved against the feed's; None for anything else."""
    link = _clean(link)
    if not link:
        return None
    try:
        link = urljoin(site, link) if site else link
        return link if urlsplit(link).scheme in ("http", "https") else None
    except ValueError:
        return None


def _tags(values: Iterable[Any]) -> list[str]:
    names = (one_line(value, 100) for value in values if isinstance(value, str))
    return list(dict.fromkeys(name for name in names if name))[:MAX_TAGS]


def _language(value: Any) -> str | None:
    """`en` of `en-US`; None for what is no language code."""
    code = re.match(r"\s*([A-Za-z]{2,3})(?:[-_]|\s*\Z)", value) if isinstance(value, str) else None
    return code[1].lower() if code else None
