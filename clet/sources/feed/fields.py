"""An element's children by name, whatever namespaces a feed gives its fields, and the values in them.

Namespaces are known by address, in any letter case, and by their customary prefix where a feed does not declare them:
`dc:date`, `content:encoded`. The names of an entry's own dialect have no prefix.
"""

from __future__ import annotations

import base64
import binascii
import html
from datetime import datetime
from functools import lru_cache

from lxml import etree

from clet.sources.text.dates import read_date

MAX_SAME = 64  # whatever is done for each of them is then done a bounded number of times

Fields = dict[str, list[etree._Element]]

_SPACES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/elements/1.0/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://purl.org/rss/1.0/modules/content/": "content",
    "http://search.yahoo.com/mrss": "media",
    "http://search.yahoo.com/mrss/": "media",
    "http://www.rssboard.org/media-rss": "media",
    "http://www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "http://www.w3.org/1999/xhtml": "xhtml",
    "http://www.w3.org/2005/atom": "atom",
    "http://purl.org/atom/ns#": "atom",
    "http://backend.userland.com/creativecommonsrssmodule": "cc",
    "http://cyber.law.harvard.edu/rss/creativecommonsrssmodule.html": "cc",
    "creativecommons": "cc",
    "http://web.resource.org/cc/": "cc",
    "http://creativecommons.org/ns#": "cc",
    "http://purl.org/rss/1.0/": "",
    "http://my.netscape.com/rdf/simple/0.9/": "",
    "http://channel.netscape.com/rdf/simple/0.9/": "",
    "http://purl.org/net/rss1.1#": "",
    "http://backend.userland.com/rss2": "",
    "http://backend.userland.com/rss": "",
    "": "",
}


@lru_cache(maxsize=4096)
def short_name(tag: str) -> str:
    """`dc:date` of a tag as libxml2 gives it; a name of RSS itself has no prefix; lower case."""
    space, _, local = tag[1:].rpartition("}") if tag[:1] == "{" else ("", "", tag)
    space = space.lower()
    prefix = _SPACES.get(space, space if len(space) < 20 else "other")
    return f"{prefix}:{local.lower()}" if prefix else local.lower()


def local_name(element: etree._Element) -> str:
    """The name without its prefix, in lower case."""
    return short_name(element.tag).rpartition(":")[2]


def fields_of(element: etree._Element) -> Fields:
    """Children by name, of each name the first MAX_SAME; those in the element's own namespace without a prefix."""
    own = short_name(element.tag).rpartition(":")[0] + ":"
    own = own if own != "media:" else ""
    fields: Fields = {}
    for child in element.iterchildren(etree.Element):
        same = fields.setdefault(short_name(child.tag).removeprefix(own), [])
        if len(same) < MAX_SAME:
            same.append(child)
    return fields


def string(fields: Fields, *names: str) -> str | None:
    """The first of the named fields that says anything."""
    for name in names:
        for element in fields.get(name, []):
            if value := (element.text or "").strip():
                return value
    return None


def date(fields: Fields, *names: str) -> datetime | None:
    """The first of the named fields that is a date."""
    moments = (read_date(element.text) for name in names for element in fields.get(name, []))
    return next((moment for moment in moments if moment), None)


def inner_markup(element: etree._Element) -> str:
    """The markup inside an element, its names without namespaces."""
    for each in element.iterdescendants(etree.Element):
        each.tag = each.tag.rpartition("}")[2]
    etree.cleanup_namespaces(element)
    pieces = [etree.tostring(child, encoding="unicode", method="html") for child in element]
    return html.escape(element.text or "", quote=False) + "".join(pieces)


def from_base64(value: str) -> str:
    """The text that was packed, or none."""
    try:
        return base64.b64decode(value, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
