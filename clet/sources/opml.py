"""OPML: the feeds that a list names (opml.org/spec2.opml), each once, in the list's order."""

from __future__ import annotations

from urllib.parse import urljoin

from lxml import etree

from clet.sources.adapter import SourceFailed
from clet.sources.feed_entry import MAX_NAME_CHARS, MAX_OUTLINES


def listed_feeds(root: etree._Element, address: str | None) -> list[str]:
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
