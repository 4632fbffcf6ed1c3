"""The tree of a feed into entries: RSS 0.90 to 2.0 (RDF as well), Atom 0.3 and 1.0, CDF, with the modules in use.

A field is looked for among an entry's own children only, so that what a `source`, an image or a channel says of itself
is never taken for the entry's. Namespaces are known by address, in any letter case, and by their customary prefix
where a feed does not declare them. Of several fields with the same sense the first that says something counts; of the
texts that are the entry's own (content, description, summary) the fullest; what describes its media (Media RSS) only
where there is no other text. Specifications: RSS 0.91, 1.0, 2.0; RFC 4287; Dublin Core; Media RSS 1.5.1.

Linear; about 50 us an entry, and as much again for each piece of markup that is turned into text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from clet.sources.adapter import SourceFailed
from clet.sources.feed.entry import (
    MAX_ENTRIES,
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
from clet.sources.feed.fields import Fields, date, fields_of, from_base64, inner_markup, local_name, short_name, string
from clet.sources.feed.markup import XML_NAMESPACE

MAX_GROUPS = 8  # pieces of media in an entry whose captions are looked at
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


def read_feed(root: etree._Element, address: str | None) -> Feed:
    """The feed in a tree that was found at `address`. Raises SourceFailed where it is none."""
    top = _top(root)
    if top is None and short_name(root.tag) == "atom:entry":
        top = root  # RFC 4287 lets an entry stand alone
    if top is None:
        named = "" if root.tag == "found" else f"; its root element is {local_name(root)[:50]}"
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
    return next((each for each in root.iter(etree.Element) if local_name(each) in _ROOTS), None)


def _items(top: etree._Element) -> Iterator[etree._Element]:
    """The entries, in document order; none that lies inside another."""
    own = short_name(top.tag).rpartition(":")[0]
    for element in top.iter("{*}item", "{*}entry"):
        prefix = short_name(element.tag).rpartition(":")[0]
        if prefix in ("", "atom", own) and next(element.iterancestors("{*}item", "{*}entry"), None) is None:
            yield element


class _Reader:
    """What the entries of one feed have in common."""

    def __init__(self, top: etree._Element, address: str | None):
        about = fields_of(next((each for each in top.iter(etree.Element) if local_name(each) in _CHANNELS), top))
        self._atom = local_name(top) in ("feed", "entry")
        self._has_bases = bool(top.xpath("boolean(//@xml:base)", namespaces={"xml": XML_NAMESPACE}))
        self._address = address
        self._address = address or self._link(about)  # a feed in a file: its site
        self._author = self._authors(about) if self._atom else None
        self._license = self._license_of(about)
        self.title = title_line(self._first(about, "title", "dc:title"))
        self.language = language_code(string(about, "language", "dc:language") or top.get(_LANG))

    def entry(self, item: etree._Element) -> Entry:
        """One entry."""
        fields = fields_of(item)
        media = fields
        for outer in ("media:group", "media:content"):
            for group in fields.get(outer, [])[:MAX_GROUPS]:
                media = {**fields_of(group), **media}
        updated = date(fields, "updated", "modified", "dcterms:modified", "atom:updated")
        issued = ("pubdate", "published", "issued", "dc:date", "dcterms:issued", "date", "atom:published")
        created = ("created", "dcterms:created", "dcterms:date")
        about = next((value for name, value in item.attrib.items() if name.endswith("}about") or name == "about"), None)
        guid = string(fields, "guid", "id", "atom:id", "dc:identifier") or about
        body = fullest(self._prose(element) for name in _BODY for element in fields.get(name, []))
        return Entry(
            guid=name_of(guid),
            link=self._link(fields, item, about),
            title=title_line(self._first(media, "title", "dc:title", "media:title", "itunes:title", "atom:title")),
            body=body or fullest(self._prose(element) for name in _ABOUT_MEDIA for element in media.get(name, [])),
            published=date(fields, *issued) or updated or date(fields, *created),
            updated=updated,
            author=self._authors(fields) or self._author,
            tags=tag_names(_tags(media)),
            language=language_code(string(fields, "dc:language") or item.get(_LANG)),
            license=self._license_of(fields) or self._license,
            enclosures=enclosures(_attached(fields, media), self._address),
        )

    def _first(self, fields: Fields, *names: str) -> Text | None:
        texts = (self._prose(element) for name in names for element in fields.get(name, []))
        return next((text for text in texts if text.value.strip()), None)

    def _prose(self, element: etree._Element) -> Text:
        """The text construct in an element, by the rules of the feed's dialect."""
        if len(element):
            return Text(inner_markup(element))
        value = element.text or ""
        if not self._atom and not short_name(element.tag).startswith("atom:"):
            return Text(value)
        kind = element.get("type", "text").partition(";")[0].strip().lower()
        if element.get("mode") == "base64":
            value = from_base64(value)
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
            names = [_person(element) for element in fields.get(name, [])]
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


def _is_web(value: str | None) -> bool:
    return bool(value) and value.strip()[:8].lower().startswith(("http://", "https://"))


def _person(element: etree._Element) -> str | None:
    """A name, or what stands for it: Atom's child element, or RSS's remark behind an address."""
    if len(element):
        within = fields_of(element)
        return string(within, "name", "atom:name") or string(within, "email", "atom:email")
    text = (element.text or "")[:300].strip()
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
