"""Documents from news feeds: a URL, files, folders and globs of captures, stdin; an OPML file stands for all its feeds.

An entry's text is its headline and the fullest of its content, summary and description, as a reader sees them. An
entry is known by its guid, else its link, else its title; when the text under a known name changes, the new version
comes out with `meta.supersedes` naming the record before. Cursor of a feed: ETag and Last-Modified, and for each entry
its last record id and the poll that showed it last; entries that the feed has dropped are forgotten beyond
KEEP_ENTRIES. About 60 bytes an entry.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from clet.record import make_record, raw_hash
from clet.sources.adapter import MAX_FILE_BYTES, Context, Document, SourceFailed
from clet.sources.feed_parse import Entry, Feed, parse_feed
from clet.sources.text.language import detect_language
from clet.sources.paths import expand, file_signature, inflate, read_bounded, read_file, shown
from clet.sources.table import is_url, without_credentials
from clet.streams import InputFile

KEEP_ENTRIES = 4096


def read(locator: str, context: Context) -> Iterator[Document]:
    """Entries of every feed that the locator names that are new or edited since the cursor."""
    if locator == "-":
        yield from _read_stdin(context)
    elif is_url(locator):
        yield from _read_url(locator, context, lists=True)
    else:
        for found in expand(locator):
            with context.part(found.shown, "feed") as part:
                yield from _read_file(found.path, part)


def _read_url(url: str, context: Context, *, lists: bool) -> Iterator[Document]:
    context.idle()
    page = context.fetch(url, context.cursor.get("http", {}))
    if page is None:
        context.report.count("unchanged")
        yield from _read_listed(context.cursor.get("lists", []), context)
        return
    body = inflate(page.body, "body")
    feed = parse_feed(body, page.url, page.content_type, page.charset)
    if feed.lists is not None:
        if not lists:
            raise SourceFailed("a list of feeds inside a list of feeds")
        context.cursor["lists"] = feed.lists
        yield from _read_listed(feed.lists, context)
    else:
        yield from _new_entries(feed, raw_hash(page.body), urlsplit(page.url).hostname or url, context)
    context.cursor["http"] = page.validators


def _read_file(path: str, context: Context) -> Iterator[Document]:
    signature = list(file_signature(path))
    if context.cursor.get("file") != signature:
        body = read_file(path)
        feed = parse_feed(inflate(body, shown(path)), None)
        if feed.lists is not None:
            context.cursor["lists"] = feed.lists
        yield from _new_entries(feed, raw_hash(body), shown(path).rpartition("/")[2], context)
        context.cursor["file"] = signature
    else:
        context.report.count("unchanged")
    yield from _read_listed(context.cursor.get("lists", []), context)


def _read_stdin(context: Context) -> Iterator[Document]:
    context.idle()
    with context.interruption.waiting():
        body = read_bounded(InputFile("-"), MAX_FILE_BYTES)
    if len(body) > MAX_FILE_BYTES:
        raise SourceFailed(f"stdin: over {MAX_FILE_BYTES} bytes, not a feed")
    feed = parse_feed(inflate(body, "stdin"), None)
    yield from _new_entries(feed, raw_hash(body), "stdin", context)
    yield from _read_listed(feed.lists or [], context)


def _read_listed(urls: list[str], context: Context) -> Iterator[Document]:
    """The feeds of an OPML list, each with a cursor of its own; one that fails does not stop the next."""
    for url in urls:
        with context.part(without_credentials(url), "feed") as part:
            if not is_url(url):
                raise SourceFailed("not a URL")
            yield from _read_url(url, part, lists=False)


def _new_entries(feed: Feed, raw: str, host: str, context: Context) -> Iterator[Document]:
    cursor = context.cursor
    seen: dict[str, list[Any]] = cursor.setdefault("seen", {})
    poll = cursor.get("polls", 0) + 1
    said = {ident for ident, _ in seen.values()}
    keys = _keys(feed.entries)
    for key, entry in zip(keys, feed.entries, strict=True):
        document = _document(entry, feed, raw, host, context)
        before = seen.get(key)
        if document["text"]:
            seen[key] = [document["id"], poll]
        if document["id"] in said:  # the text came out before, under this name or another
            context.report.count("seen")
            continue
        if document["text"]:
            said.add(document["id"])
        if before is not None:
            document["meta"]["supersedes"] = before[0]
        yield document
    cursor["polls"] = poll
    if len(seen) > max(KEEP_ENTRIES, 2 * len(keys)):
        newest = sorted(seen.items(), key=lambda item: (-item[1][1], item[0]))
        for key, _ in newest[max(KEEP_ENTRIES, 2 * len(keys)) :]:
            del seen[key]


def _keys(entries: list[Entry]) -> list[str]:
    """A short name for each entry: of its guid, link or title; where entries share one, of that and the title."""
    names = [entry.guid or entry.link or entry.title or entry.body for entry in entries]
    shared = Counter(names)
    return [
        hashlib.sha256((f"{name}\0{entry.title}" if shared[name] > 1 else name).encode()).hexdigest()[:16]
        for name, entry in zip(names, entries, strict=True)
    ]


def _document(entry: Entry, feed: Feed, raw: str, host: str, context: Context) -> Document:
    text = entry.body
    if entry.title and not text.startswith(entry.title):
        text = f"{entry.title}\n\n{text}"
    meta = {
        "feed": feed.title,
        "guid": entry.guid,
        "author": entry.author,
        "tags": entry.tags,
        "updated": entry.updated.strftime("%Y-%m-%dT%H:%M:%SZ") if entry.updated else None,
    }
    return make_record(
        source="feed",
        origin=host,
        text=text,
        fetched=context.now,
        url=entry.link,
        title=entry.title,
        lang=entry.language or feed.language or detect_language(text),
        published=entry.published,
        raw=raw,
        meta={name: value for name, value in meta.items() if value},
    )
