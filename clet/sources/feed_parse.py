"""The bytes of a feed into its entries, whatever the dialect: told apart by content, never by name or media type."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from clet.sources.adapter import SourceFailed
from clet.sources.feed_entry import Entry, Feed
from clet.sources.feed_json import read_json_feed
from clet.sources.feed_markup import parse_markup, without_doctype
from clet.sources.feed_xml import holds_feed, read_feed
from clet.sources.opml import listed_feeds
from clet.sources.text.extract import looks_like_html

__all__ = ["Entry", "Feed", "parse_feed", "without_doctype"]

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
        return Feed(lists=listed_feeds(root, address))
    return read_feed(root, address)


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
