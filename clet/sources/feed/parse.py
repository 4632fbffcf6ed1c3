"""The bytes of a feed into its entries, whatever the dialect: told apart by content, never by name or media type.

A list of feeds (OPML, opml.org/spec2.opml) gives their addresses instead, each once, in the list's order. An HTML page
is no feed; what is said of it names the feed that the page itself names. Cost: that of the reader of the dialect.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from lxml import etree

from clet.sources.adapter import SourceFailed
from clet.sources.feed.entry import MAX_NAME_CHARS, MAX_OUTLINES, Feed
from clet.sources.feed.json_feed import read_json_feed
from clet.sources.feed.markup import parse_markup
from clet.sources.feed.xml_feed import holds_feed, read_feed
from clet.sources.text.extract import looks_like_html

_HEAD_BYTES = 8192
_FEED = re.compile(rb"<(?:rss|feed|rdf:rdf)[\s>]", re.IGNORECASE)
_NAMED_FEED = re.compile(
    rb"""<link(?=[^>]{0,500}?type\s*=\s*["']?application/(?:rss|atom|feed)\+(?:xml|json))"""
    rb"""[^>]{0,500}?href\s*=\s*["']?([^"'\s>]{1,500})""",
    re.IGNORECASE,
)


def parse_feed(body: bytes, address: str | None, charset: str | None = None) -> Feed:
    """The feed in a body that was found at `address`, where the transport said `charset`. Raises SourceFailed."""
    head = body[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if not head:
        raise SourceFailed("empty, not a feed")
    if head.startswith((b"{", b"[")):
        return read_json_feed(body, address)
    if looks_like_html(head.decode("latin-1")) and not _FEED.search(head):
        raise _page(body, address)
    root = parse_markup(body, charset)
    name = root.tag.rpartition("}")[2].lower() if root.tag != "found" else ""
    if name == "html" and not holds_feed(root):
        raise _page(body, address)
    if name == "opml" or (not name and root.find("{*}opml") is not None):
        return Feed(lists=_listed(root, address))
    return read_feed(root, address)


def _listed(root: etree._Element, address: str | None) -> list[str]:
    """Addresses in the outlines of a list that was found at `address`; what a reader calls feed: is http:."""
    found: dict[str, None] = {}
    for outline in root.iter("{*}outline"):
        link = next((value for name, value in outline.attrib.items() if name.lower() == "xmlurl"), "").strip()
        if link[:5].lower() == "feed:":
            link = link[5:] if "://" in link[5:] else "http:" + link[5:]
        if link and len(link) <= MAX_NAME_CHARS:
            try:
                found[urljoin(address, link) if address else link] = None
            except ValueError:
                found[link] = None
        if len(found) > MAX_OUTLINES:
            raise SourceFailed(f"lists over {MAX_OUTLINES} feeds")
    return list(found)


def _page(body: bytes, address: str | None) -> SourceFailed:
    """What to say of an HTML page: the feed that it names, if it does."""
    named = _NAMED_FEED.search(body[: 1 << 18])
    if named is None:
        return SourceFailed("an HTML page, not a feed")
    try:
        link = urljoin(address or "", named[1].decode("utf-8", "replace"))
    except ValueError:
        return SourceFailed("an HTML page, not a feed")
    return SourceFailed(f"an HTML page, not a feed; the page names {link}")
