"""The tree of a feed into entries: RSS 0.90 to 2.0 (RDF as well), Atom 0.3 and 1.0, CDF, with the modules in use.

A field is looked for among an entry's own children only, so that what a `source`, an image or a channel says of itself
is never taken for the entry's. Namespaces are known by address, in any letter case, and by their customary prefix
where a feed does not declare them. Of several fields with the same sense the first that says something counts; of the
texts that are the entry's own (content, description, summary) the fullest; what describes its media (Media RSS) only
where there is no other text. Specifications: RSS 0.91, 1.0, 2.0; RFC 4287; Dublin Core; Media RSS 1.5.1.

Linear; about 50 us an entry, and as much again for each piece of markup that is turned into text.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from lxml import etree

from clet.sources.adapter import SourceFailed
from clet.sources.feed_entry import (
    MAX_ENTRIES,
    MAX_TAGS,
    Entry,
    Feed,
    Text,
    enclosures,
    fullest,
    language_code,
    license_name,
    name_of,
    tag_names,
    title_line,
    web_address,
)
from clet.sources.feed_markup import XML_NAMESPACE
from clet.sources.text.dates import read_date

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
_ROOTS = ("rss", "feed", "rdf", "channel")
_CHANNELS = ("channel", "feed")
_BODY = (
    *("content:encoded", "body", "xhtml:body", "content", "description", "summary"),
    *("dc:description", "dcterms:abstract", "atom:content", "atom:summary", "itunes:summary"),
)
_ABOUT_MEDIA = ("media:description", "itunes:subtitle")
_RELATIONS = {"alternate": 1, "": 1, "related": 20, "via": 22, "self": 24}  # others are not where it is read
_BASE = f"{{{XML_NAMESPACE}}}base"
_LANG = f"{{{XML_NAMESPACE}}}lang"
_BY_NAME = re.compile(r"\S+@\S+\s*\((.+)\)\s*\Z")  # RSS: "ann@n.example (Ann)"

Fields = dict[str, list[etree._Element]]


def read_feed(root: etree._Element, address: str | None) -> Feed:
    """The feed in a tree that was found at `address`. Raises SourceFailed where it is none."""
    top = _top(root)
    if top is None and _short(root.tag) == "atom:entry":
        top = root  # RFC 4287 lets an entry stand alone
    if top is None:
        named = "" if root.tag == "found" else f"; its root element is {_local(root)[:50]}"
        raise SourceFailed(f"not a feed{named}")
    reader = _Reader(top, address)
    items = list(_items(top))
    if len(items) > MAX_ENTRIES:
        raise SourceFailed(f"over {MAX_ENTRIES} entries")
    return Feed(reader.title, reader.language, [reader.entry(item) for item in items])


def holds_feed(root: etree._Element) -> bool:
    """Whether there is a feed anywhere in a tree (some stand in an HTML page)."""
    return _top(root) is not None


def _top(root: etree._Element) -> etree._Element | None:
    return next((each for each in root.iter(etree.Element) if _local(each) in _ROOTS), None)


def _items(top: etree._Element) -> Iterator[etree._Element]:
    """The entries, in document order; none that lies inside another."""
    own = _short(top.tag).rpartition(":")[0]
    for element in top.iter("{*}item", "{*}entry"):
        prefix = _short(element.tag).rpartition(":")[0]
        if prefix in ("", "atom", own) and next(element.iterancestors("{*}item", "{*}entry"), None) is None:
            yield element


@lru_cache(maxsize=4096)
def _short(tag: str) -> str:
    """`dc:date` of a tag as libxml2 gives it; a name of RSS itself has no prefix; lower case."""
    space, _, local = tag[1:].rpartition("}") if tag[:1] == "{" else ("", "", tag)
    space = space.lower()
    prefix = _SPACES.get(space, space if len(space) < 20 else "other")
    return f"{prefix}:{local.lower()}" if prefix else local.lower()


def _local(element: etree._Element) -> str:
    return _short(element.tag).rpartition(":")[2]


def _fields(element: etree._Element) -> Fields:
    """Children by name; those of an entry or a feed, in the element's own namespace, without a prefix."""
    own = _short(element.tag).rpartition(":")[0] + ":"
    own = own if own != "media:" else ""
    fields: Fields = {}
    for child in element.iterchildren(etree.Element):
        fields.setdefault(_short(child.tag).removeprefix(own), []).append(child)
    return fields


class _Reader:
    """What the entries of one feed have in common."""

    def __init__(self, top: etree._Element, address: str | None):
        about = _fields(next((each for each in top.iter(etree.Element) if _local(each) in _CHANNELS), top))
        self._atom = _local(top) in ("feed", "entry")
        self._has_bases = bool(top.xpath("boolean(//@xml:base)", namespaces={"xml": XML_NAMESPACE}))
        self._address = address
        self._address = address or self._link(about)  # a feed in a file: its site
        self._author = self._authors(about) if self._atom else None
        self._license = self._license_of(about)
        self.title = title_line(self._first(about, "title", "dc:title"))
        self.language = language_code(_string(about, "language", "dc:language") or top.get(_LANG))

    def entry(self, item: etree._Element) -> Entry:
        """One entry."""
        fields = _fields(item)
        media = fields
        for outer in ("media:group", "media:content"):
            for group in fields.get(outer, []):
                media = {**_fields(group), **media}
        updated = _date(fields, "updated", "modified", "dcterms:modified", "atom:updated")
        issued = ("pubdate", "published", "issued", "dc:date", "dcterms:issued", "date", "atom:published")
        created = ("created", "dcterms:created", "dcterms:date")
        about = next((value for name, value in item.attrib.items() if name.endswith("}about") or name == "about"), None)
        guid = _string(fields, "guid", "id", "atom:id", "dc:identifier") or about
        body = fullest(self._prose(element) for name in _BODY for element in fields.get(name, []))
        return Entry(
            guid=name_of(guid),
            link=self._link(fields, item, about),
            title=title_line(self._first(media, "title", "dc:title", "media:title", "itunes:title", "atom:title")),
            body=body or fullest(self._prose(element) for name in _ABOUT_MEDIA for element in media.get(name, [])),
            published=_date(fields, *issued) or updated or _date(fields, *created),
            updated=updated,
            author=self._authors(fields) or self._author,
            tags=tag_names(_tags(media)),
            language=language_code(_string(fields, "dc:language") or item.get(_LANG)),
            license=self._license_of(fields) or self._license,
            enclosures=enclosures(_attached(fields, media), self._address),
        )

    def _first(self, fields: Fields, *names: str) -> Text | None:
        texts = (self._prose(element) for name in names for element in fields.get(name, []))
        return next((text for text in texts if text.value.strip()), None)

    def _prose(self, element: etree._Element) -> Text:
        """The text construct in an element, by the rules of the feed's dialect."""
        if len(element):
            return Text(_inner(element))
        value = element.text or ""
        if not self._atom and not _short(element.tag).startswith("atom:"):
            return Text(value)
        kind = element.get("type", "text").partition(";")[0].strip().lower()
        if element.get("mode") == "base64":
            value = _from_base64(value)
        elif "/" in kind and not kind.startswith("text/") and not kind.endswith(("/xml", "+xml")):
            return Text("")  # RFC 4287, 4.1.3.3: base64 of something that is not text
        return Text(value, plain=kind in ("text", "plain", "text/plain"))

    def _link(self, fields: Fields, item: etree._Element | None = None, about: str | None = None) -> str | None:
        """Where a person reads the entry: the best of its links, else an id that is an address."""
        ranked: list[tuple[int, str | None, etree._Element | None]] = []
        for element in [*fields.get("link", []), *fields.get("atom:link", [])]:
            if (href := element.get("href")) is None:
                ranked.append((0, element.text, element))
            else:
                rel = element.get("rel", "alternate").strip().lower()
                for_people = element.get("type", "text/html").lower() in ("text/html", "application/xhtml+xml")
                ranked.append((_RELATIONS.get(rel, 99) + (not for_people), href, element))
        for element in fields.get("guid", []):
            if element.get("isPermaLink", "true").strip().lower() != "false" and _is_web(element.text):
                ranked.append((10, element.text, element))
        ranked.append((11, about, item))
        ranked += [(11, element.get("src"), element) for element in fields.get("content", [])]
        ranked += [(12, element.text, element) for element in fields.get("id", []) if _is_web(element.text)]
        if item is not None:
            ranked.append((13, item.get("href"), item))
        for _, link, element in sorted((each for each in ranked if each[0] < 90), key=lambda each: each[0]):
            if found := web_address(link, self._base(element)):
                return found
        return None

    def _base(self, element: etree._Element | None) -> str | None:
        """What relative addresses at an element are relative to: xml:base, nested, and the feed's own address."""
        base = self._address
        if self._has_bases and element is not None:
            for each in reversed([element, *element.iterancestors()]):
                if value := each.get(_BASE):
                    base = web_address(value, base) or base
        return base

    def _authors(self, fields: Fields) -> str | None:
        for name in ("author", "dc:creator", "atom:author", "creator", "itunes:author"):
            names = [_person(element) for element in fields.get(name, [])[:MAX_TAGS]]
            if author := title_line(", ".join(dict.fromkeys(name for name in names if name)), 200):
                return author
        return None

    def _license_of(self, fields: Fields) -> str | None:
        for element in fields.get("cc:license", []) + fields.get("dcterms:license", []):
            about = next((value for name, value in element.attrib.items() if name.endswith("resource")), None)
            if found := license_name(element.text or about):
                return found
        for element in fields.get("link", []) + fields.get("atom:link", []):
            if element.get("rel") == "license" and (found := license_name(element.get("href"))):
                return found
        return None


def _string(fields: Fields, *names: str) -> str | None:
    """The first of the named fields that says anything."""
    for name in names:
        for element in fields.get(name, []):
            if value := (element.text or "").strip():
                return value
    return None


def _date(fields: Fields, *names: str) -> datetime | None:
    """The first of the named fields that is a date."""
    moments = (read_date(element.text) for name in names for element in fields.get(name, []))
    return next((moment for moment in moments if moment), None)


def _inner(element: etree._Element) -> str:
    """The markup inside an element, its names without namespaces."""
    for each in element.iterdescendants(etree.Element):
        each.tag = each.tag.rpartition("}")[2]
    etree.cleanup_namespaces(element)
    pieces = [etree.tostring(child, encoding="unicode", method="html") for child in element]
    return html.escape(element.text or "", quote=False) + "".join(pieces)


def _from_base64(value: str) -> str:
    try:
        return base64.b64decode(value, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _is_web(value: str | None) -> bool:
    return bool(value) and value.strip()[:8].lower().startswith(("http://", "https://"))


def _person(element: etree._Element) -> str | None:
    """A name, or what stands for it: Atom's child element, or RSS's remark behind an address."""
    if len(element):
        within = _fields(element)
        return _string(within, "name", "atom:name") or _string(within, "email", "atom:email")
    text = (element.text or "")[:1000].strip()
    match = _BY_NAME.match(text)
    return match[1] if match else text


def _tags(fields: Fields) -> Iterator[str | None]:
    for element in [*fields.get("category", []), *fields.get("dc:subject", []), *fields.get("atom:category", [])]:
        yield element.get("label") or element.get("term") or element.text
    for element in [*fields.get("itunes:keywords", []), *fields.get("media:keywords", [])]:
        yield from (element.text or "")[:4000].split(",")


def _attached(fields: Fields, media: Fields) -> Iterator[tuple[str | None, str | None]]:
    for element in [*fields.get("enclosure", []), *media.get("media:content", [])]:
        yield element.get("url"), element.get("type")
    for element in [*fields.get("link", []), *fields.get("atom:link", [])]:
        if element.get("rel") == "enclosure":
            yield element.get("href"), element.get("type")
