"""Documents from news feeds: a URL, files, folders and globs of captures, stdin; an OPML file names further feeds.

An entry's text is its headline and the fullest of its content, summary and description, as a reader sees them; with
`full_text` the main text of the page behind it, where that says more (`pages.py`). An entry is known by its guid,
else its link, else its title; when its text changes, the new version comes out with `meta.supersedes` naming the record
before (`memory.py`). A date that lies in the future is not believed; it stands in `meta.claimed`.

Cursor of a feed: its validators, the hash of the body that was read last, so that the same bytes are not parsed again
whatever the server says, what came out, and the entries that wait for their page.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from clet.record import format_time, parse_time, raw_hash
from clet.sources.adapter import MAX_FILE_BYTES, Context, Document, SourceFailed
from clet.sources.feed.entry import Entry, Feed
from clet.sources.feed.memory import Memory, cut_hash, entry_names
from clet.sources.feed.pages import MAX_TRIES, MAX_WAITING, MAX_WAITING_CHARS, Pages, PageUnreachable
from clet.sources.feed.parse import parse_feed
from clet.sources.paths import Found, Stdin, file_signature, inflate, one_file, read_bounded, read_file
from clet.sources.table import is_url, without_credentials
from clet.sources.text.decode import one_line
from clet.sources.text.language import detect_language

CLOCK_SKEW = timedelta(days=1)  # zones are forgotten and clocks are wrong, but not by more
_GONE = 410


def read(locator: str, context: Context) -> Iterator[Document]:
    """Entries of the feed that the locator names which are new or edited since the cursor; lists are included."""
    if locator == "-":
        body = read_bounded(Stdin(context), MAX_FILE_BYTES)
        if len(body) > MAX_FILE_BYTES:
            raise SourceFailed(f"stdin: over {MAX_FILE_BYTES} bytes, not a feed")
        yield from _read_body(body, "stdin", context, origin="stdin")
    elif is_url(locator):
        yield from _poll(locator, context)
    elif found := one_file(locator, context):
        yield from _read_file(found, context)


def _poll(url: str, context: Context) -> Iterator[Document]:
    cursor = context.cursor
    try:
        page = context.fetch(url, cursor.get("http", {}))
    except SourceFailed as failure:
        yield from _unchanged(context)  # a list that cannot be read now still stands, and so does what waits
        if failure.status == _GONE:
            raise SourceFailed("the feed is gone for good (HTTP 410); remove it") from None
        raise
    if page is None:
        context.count("unchanged")
        yield from _unchanged(context)
        return
    origin = urlsplit(page.url).hostname or url
    yield from _read_body(page.body, "body", context, origin=origin, address=page.url, charset=page.charset)
    cursor["http"] = page.validators


def _read_file(found: Found, context: Context) -> Iterator[Document]:
    signature = list(file_signature(found.path))
    if context.cursor.get("file") == signature:
        context.count("unchanged")
        yield from _unchanged(context)
        return
    yield from _read_body(read_file(found.path), found.shown, context, origin=found.shown.rpartition("/")[2])
    context.cursor["file"] = signature


def _read_body(
    body: bytes, name: str, context: Context, *, origin: str, address: str | None = None, charset: str | None = None
) -> Iterator[Document]:
    cursor, raw = context.cursor, raw_hash(body)
    if cursor.get("body") == raw[:32]:
        context.count("unchanged")
        yield from _unchanged(context)
        return
    try:
        feed = parse_feed(inflate(body, name), address, charset)
    except SourceFailed:
        yield from _unchanged(context)
        raise
    if feed.lists is None:
        cursor.pop("lists", None)
        yield from _Reading(context, feed, raw, origin).new_entries()
    else:
        cursor["lists"] = feed.lists
        _include(context)
    cursor["body"] = raw[:32]


def _unchanged(context: Context) -> Iterator[Document]:
    """What there is to do where the feed says nothing new."""
    _include(context)
    if context.cursor.get("waiting"):
        yield from _Reading(context, Feed(), "", "").waiting()


def _include(context: Context) -> None:
    """The feeds of a list, each a source of its own."""
    for url in context.cursor.get("lists", []):
        if url.startswith(("http://", "https://")):
            context.include(url)
        else:
            context.bad(f"{one_line(without_credentials(url), 200)}: not the web address of a feed")


class _Reading:
    """One feed's entries into documents."""

    def __init__(self, context: Context, feed: Feed, raw: str, origin: str):
        self._context = context
        self._feed = feed
        self._raw = raw
        self._origin = origin
        self._memory = Memory(context.cursor)
        self._pages = Pages(context)
        self._waiting: dict[str, dict[str, Any]] = context.cursor.get("waiting", {})

    def new_entries(self) -> Iterator[Document]:
        """The entries whose text did not come out before, in the feed's order, then those that waited."""
        names = entry_names(self._feed.entries)
        shown, tried = set(names), set()
        for name, entry in _oldest_version_first(names, self._feed.entries):
            mark = self._print(name, entry)
            if self._memory.knows(name, mark, shown):
                self._context.count("seen")
                continue
            tried.add(name)
            yield from self._finish(name, mark, self._fields(entry))
        yield from self.waiting(tried)
        self._memory.forget_gone(names)

    def waiting(self, tried: set[str] = frozenset()) -> Iterator[Document]:
        """Entries that waited for their page and were not in this poll."""
        for name, entry in list(self._waiting.items()):
            if name not in tried:
                yield from self._finish(name, entry["print"], entry["fields"])

    def _print(self, name: str, entry: Entry) -> str:
        """Of what the feed says in an entry; where the page counts, a new date says that it may have changed."""
        said = [entry.title or "", entry.body]
        if self._context.options.full_text:
            said.append(format_time(entry.updated) or "")
        return cut_hash("\0".join(said) if entry.title or entry.body else f"\0{name}")

    def _fields(self, entry: Entry) -> dict[str, Any]:
        """What `Context.document` asks for, as JSON can carry it."""
        context, feed = self._context, self._feed
        future = entry.published is not None and entry.published > context.now + CLOCK_SKEW
        meta = {
            "feed": feed.title,
            "guid": entry.guid,
            "author": entry.author,
            "tags": entry.tags,
            "updated": format_time(entry.updated),
            "claimed": format_time(entry.published) if future else None,
            "media": entry.enclosures,
        }
        text = _with_title(entry.title, entry.body)
        return {
            "origin": self._origin,
            "text": text,
            "url": entry.link,
            "title": entry.title,
            "lang": entry.language or feed.language or detect_language(text),
            "published": None if future else format_time(entry.published),
            "raw": self._raw,
            "license": entry.license,
            "meta": {key: value for key, value in meta.items() if value},
        }

    def _finish(self, name: str, mark: str, fields: dict[str, Any]) -> Iterator[Document]:
        """The document of an entry, unless it waits for its page or says what another said."""
        completed = self._completed(name, mark, fields)
        if completed is None:
            return
        published: str | None = completed.pop("published")
        document = self._context.document(**completed, published=_moment(published))
        memory = self._memory
        if self._waiting.pop(name, None) and not self._waiting:
            del self._context.cursor["waiting"]
        if document["text"] and memory.knows_record(document["id"]):  # two links to one page, or all of it masked
            memory.pass_over(mark)
            self._context.count("seen")
            return
        if before := memory.last_record(name):
            document["meta"]["supersedes"] = before
        memory.keep(name, mark, document["id"])
        yield document

    def _completed(self, name: str, mark: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The fields with the page's text where it is wanted and to be had; None where the entry is to wait."""
        context, link = self._context, fields["url"]
        fields = dict(fields)
        if not context.options.full_text or not link:
            return fields
        title = fields["title"]
        body = fields["text"].removeprefix(title or "").lstrip("\n")
        tries = self._waiting.get(name, {}).get("tries", 0) + 1
        try:
            page = self._pages.main_text(link, title, body)
        except PageUnreachable:
            room = name in self._waiting or len(self._waiting) < MAX_WAITING
            if tries < MAX_TRIES and room and len(body) <= MAX_WAITING_CHARS:
                self._waiting[name] = {"print": mark, "tries": tries, "fields": fields}
                context.cursor["waiting"] = self._waiting
                context.count("full-text-later")
                return None
            page = None
        if page is None:
            context.count("full-text-failed")
            return fields
        context.count("full-text")
        moved = {"page": page.url} if page.url != link else {}
        return fields | {
            "text": _with_title(title, page.text),
            "title": title or page.title,
            "lang": fields["lang"] or page.language or detect_language(page.text),
            "raw": page.raw,
            "meta": fields["meta"] | {"feed_raw": fields["raw"]} | moved,
        }


def _with_title(title: str | None, body: str) -> str:
    """The headline and the text, but not twice the headline."""
    head = " ".join(body[: 2 * len(title or "") + 100].split())
    if not title or (head.startswith(title) and not head[len(title) :][:1].isalnum()):
        return body
    return f"{title}\n\n{body}"


def _moment(published: str | None) -> datetime | None:
    return parse_time(published) if published else None


def _oldest_version_first(names: list[str], entries: list[Entry]) -> list[tuple[str, Entry]]:
    """Entries in the feed's order, but those with one name are versions of one entry (RFC 4287, 4.1.1): oldest first,
    or, undated, the last first, since feeds begin with what is new."""
    versions: dict[str, list[Entry]] = {}
    for name, entry in zip(names, entries, strict=True):
        versions.setdefault(name, []).insert(0, entry)
    for each in versions.values():
        if len(each) > 1 and all(entry.updated or entry.published for entry in each):
            each.sort(key=lambda entry: entry.updated or entry.published)
    return [(name, entry) for name, each in versions.items() for entry in each]
