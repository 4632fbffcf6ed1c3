"""JSON Feed 1 and 1.1 (jsonfeed.org), and RSS in JSON (Scripting News), into entries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from clet.sources.adapter import SourceFailed
from clet.sources.feed.entry import (
    MAX_ENTRIES,
    MAX_TAGS,
    Entry,
    Feed,
    Text,
    enclosures,
    fullest,
    language_code,
    name_of,
    shown_text,
    tag_names,
    title_line,
    web_address,
)
from clet.sources.text.dates import read_date
from clet.sources.text.decode import NotText, decode_text

Item = dict[str, Any]


def read_json_feed(body: bytes, address: str | None) -> Feed:
    """The feed in a body that was found at `address`. Raises SourceFailed where it is none."""
    data = _load(body)
    data = data if isinstance(data, dict) else {}
    rss = _object(_object(data, "rss"), "channel")
    about, items, read = (rss, rss.get("item"), _rss_entry) if rss else (data, data.get("items"), _entry)
    if rss and isinstance(items, dict):
        items = [items]
    if not isinstance(items, list) or not (rss or "jsonfeed.org" in str(data.get("version")) or "title" in data):
        raise SourceFailed("JSON, but not a JSON Feed")
    if len(items) > MAX_ENTRIES:
        raise SourceFailed(f"over {MAX_ENTRIES} entries")
    base = address or web_address(_string(about, "feed_url", "home_page_url", "link"), None)
    everyone = _authors(about)
    entries = [read(item, base) for item in items if isinstance(item, dict)]
    for entry in entries:
        entry.author = entry.author or everyone
    return Feed(title_line(_plain(about, "title")), language_code(about.get("language")), entries)


def _load(body: bytes) -> Any:
    """The value in a body; half characters and raw line ends in strings are let through."""
    try:
        text = decode_text(body)
    except NotText:
        raise SourceFailed("binary, not a feed") from None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise SourceFailed("neither JSON nor a feed") from None


def _entry(item: Item, base: str | None) -> Entry:
    """One item of a JSON Feed. The specification has one text in two forms, and a summary where there is neither."""
    body = fullest([Text(_string(item, "content_html") or "")])
    body = body or shown_text(Text(_string(item, "content_text", "summary") or "", plain=True))
    updated = read_date(item.get("date_modified"))
    attached = ((each.get("url"), each.get("mime_type")) for each in _objects(item, "attachments"))
    return Entry(
        guid=name_of(_string(item, "id")),
        link=next((link for name in ("url", "external_url", "id") if (link := _link(item, name, base))), None),
        title=title_line(_plain(item, "title")),
        body=body,
        published=read_date(item.get("date_published")) or updated,
        updated=updated,
        author=_authors(item),
        tags=tag_names(_list(item, "tags")),
        language=language_code(item.get("language")),
        enclosures=enclosures(((_text(url), _text(kind)) for url, kind in attached), base),
    )


def _rss_entry(item: Item, base: str | None) -> Entry:
    """One item of RSS in JSON: the names of RSS 2.0, and attributes beside "#value"."""
    guid = _string(item, "guid")
    permanent = str(_object(item, "guid").get("isPermaLink", "true")).lower() != "false"
    attached = ((_text(each.get("url")), _text(each.get("type"))) for each in _objects(item, "enclosure"))
    texts = (_string(item, name) for name in ("content:encoded", "description"))
    return Entry(
        guid=name_of(guid),
        link=_link(item, "link", base) or (web_address(guid, None) if permanent else None),
        title=title_line(_string(item, "title")),
        body=fullest(Text(text) for text in texts if text),
        published=read_date(_string(item, "pubDate", "dc:date")),
        author=title_line(_string(item, "author", "dc:creator"), 200),
        tags=tag_names(_string({"": each}, "") for each in _list(item, "category")),
        enclosures=enclosures(attached, base),
    )


def _string(item: Item, *names: str) -> str | None:
    """The first of the named members that says anything; numbers as they are written."""
    for name in names:
        value = item.get(name)
        value = value.get("#value") if isinstance(value, dict) else value
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _plain(item: Item, name: str) -> Text | None:
    value = _string(item, name)
    return Text(value, plain=True) if value else None


def _link(item: Item, name: str, base: str | None) -> str | None:
    value = _string(item, name)
    if name == "id" and not (value or "").startswith(("http://", "https://")):
        return None
    return web_address(value, base)


def _object(item: Item, name: str) -> Item:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _list(item: Item, name: str) -> list[Any]:
    value = item.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


def _objects(item: Item, name: str) -> Iterator[Item]:
    return (each for each in _list(item, name) if isinstance(each, dict))


def _authors(item: Item) -> str | None:
    people = [*_objects(item, "authors"), *_objects(item, "author")][:MAX_TAGS]
    names = dict.fromkeys(name for person in people if (name := _string(person, "name")))
    return title_line(Text(", ".join(names), plain=True), 200)
