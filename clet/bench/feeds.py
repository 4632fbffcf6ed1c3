"""Feeds measured on captures: are the entries found those that are there, and does each come out once over time.

`measure` compares what clet reads in each file with what an independent reader finds: of well-formed XML (white space
before the declaration forgiven) the items under a channel and the entries under a feed, by lxml and XPath; of JSON the
items; of everything else feedparser's entries. Titles are compared by their letters and digits, links exactly after
feedparser's and RFC 3986's resolution.

`replay` polls captures (`DATE/NAME`) in the order of their dates through a server on loopback, with the real fetcher
and a cursor that goes through JSON between any two polls. What should come out is computed from all captures by lxml
alone: every text of a feed once, and a text under a name that had another before as a version of it.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from lxml import etree
from lxml import html as lxml_html

from clet.exits import UsageError
from clet.sources.adapter import Context, Options, SourceFailed
from clet.sources.feed import adapter as feeds
from clet.sources.feed.parse import parse_feed
from clet.sources.paths import inflate, walk
from clet.sources.text import scrub
from clet.sources.web.fetch import Fetcher

_ITEMS = (
    "//*[local-name()='item'][parent::*[local-name()='channel' or local-name()='RDF' or local-name()='rss']]"
    "|//*[local-name()='entry'][parent::*[local-name()='feed']]"
)
_ADDRESS = "http://feed.example/a/feed"  # where every file is taken to have been found
_ATOM = "{http://www.w3.org/2005/Atom}"
_XML_BASE = "{http://www.w3.org/XML/1998/namespace}base"


@dataclass(frozen=True)
class Item:
    """What an independent reader finds of one entry; `name` is its id, link or title, `text` as it stands."""

    title: str
    link: str
    name: str = ""
    text: str = ""


# ---- what is found


def measure(folder: str) -> dict[str, Any]:
    """Every file below a folder: entries, titles and links that clet finds against the judge's. JSON-able."""
    files = []
    for found in walk(folder):
        if found.path.endswith(".tar.zst"):
            continue  # captures, for `replay`
        body = inflate(Path(found.path).read_bytes(), found.shown)
        judge, items = _judge(body)
        start = time.perf_counter()
        try:
            feed, reason = parse_feed(body, _ADDRESS), None
        except SourceFailed as failure:
            feed, reason = None, str(failure)
        spent_s = time.perf_counter() - start
        entries = feed.entries if feed else []
        number = len(feed.lists) if feed and feed.lists is not None else len(entries)
        same = len(entries) == len(items)
        titles = [
            (entry.title, item.title)
            for entry, item in zip(entries, items, strict=False)
            if same and _letters(entry.title or "") != _letters(_plain(item.title))
        ]
        links = [
            (entry.link, item.link)
            for entry, item in zip(entries, items, strict=False)
            if same and (entry.link or "") != item.link
        ]
        files.append(
            {
                "file": found.relative,
                "judge": judge,
                "expected": len(items),
                "found": number,
                "failed": reason,
                "titles": titles,
                "links": links,
                "seconds": spent_s,
            }
        )
    agree = [file for file in files if file["expected"] == file["found"]]
    return {
        "files": files,
        "num_files": len(files),
        "num_agreeing": len(agree),
        "num_entries": sum(file["found"] for file in files),
        "num_titles_differing": sum(len(file["titles"]) for file in files),
        "num_links_differing": sum(len(file["links"]) for file in files),
        "entries_per_s": sum(file["found"] for file in files) / max(1e-9, sum(file["seconds"] for file in files)),
    }


def _judge(body: bytes) -> tuple[str, list[Item]]:
    """(who judges, what there is)."""
    try:
        return "json", _json_items(json.loads(body))
    except ValueError:
        pass
    try:
        root = _strict(body)
    except etree.XMLSyntaxError:
        return "feedparser", _feedparser_items(body)
    if root.tag == "opml":
        urls = dict.fromkeys(outline.get("xmlUrl") for outline in root.iter("outline"))
        return "opml", [Item("", url) for url in urls if url]
    return "strict", _strict_items(root)


def _strict(body: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
    return etree.fromstring(body.lstrip(), parser)


def _strict_items(root: etree._Element) -> list[Item]:
    return [_strict_item(element) for element in root.xpath(_ITEMS)]


def _strict_item(element: etree._Element) -> Item:
    space = element.tag.rpartition("}")[0] + "}" if "}" in element.tag else ""
    title = element.find(f"{space}title")
    texts = [
        _content(child)
        for child in element.iterchildren(etree.Element)
        if etree.QName(child).localname in ("description", "encoded", "content", "summary")
    ]
    guid = element.findtext(f"{space}guid") or element.findtext(f"{space}id") or ""
    link = _strict_link(element, space)
    shown = "" if title is None else _content(title)
    return Item(shown, link, (guid or link or shown).strip(), max(texts, key=len, default=""))


def _strict_link(element: etree._Element, space: str) -> str:
    for link in [*element.findall(f"{space}link"), *element.findall(f"{_ATOM}link")]:
        if link.get("href") is None and (link.text or "").strip():
            return urljoin(_ADDRESS, link.text.strip())
        if link.get("href") and link.get("rel", "alternate") == "alternate":
            base = _ADDRESS
            for each in reversed([link, *link.iterancestors()]):
                base = urljoin(base, each.get(_XML_BASE, ""))
            return urljoin(base, link.get("href"))
    guid = element.find(f"{space}guid")
    return (guid.text or "").strip() if guid is not None and guid.get("isPermaLink") != "false" else ""


def _content(element: etree._Element) -> str:
    """Text, or the markup inside."""
    return (element.text or "") + "".join(etree.tostring(child, encoding="unicode") for child in element)


def _json_items(data: Any) -> list[Item]:
    if not isinstance(data, dict):
        raise ValueError
    channel = data.get("rss", {}).get("channel", {})
    items = channel.get("item") or data.get("items") or []
    links = ("link",) if channel else ("url", "external_url")
    return [
        Item(
            html.escape(html.unescape(str(item.get("title") or ""))),
            next((urljoin(_ADDRESS, str(item[name])) for name in links if item.get(name)), ""),
        )
        for item in items
    ]


def _feedparser_items(body: bytes) -> list[Item]:
    try:
        import feedparser
    except ImportError:
        raise UsageError("the judge of feeds that are not well-formed is missing; pip install 'clet[peers]'") from None

    entries = feedparser.parse(io.BytesIO(body), response_headers={"content-location": _ADDRESS}).entries
    return [Item(entry.get("title") or "", entry.get("link") or "") for entry in entries]


def _plain(markup: str) -> str:
    """Text of a piece of markup by lxml alone."""
    if not markup.strip():
        return ""
    try:
        return lxml_html.fromstring(f"<div>{markup}</div>").text_content()
    except etree.ParserError:
        return markup


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


# ---- what comes out over time


def replay(folder: str, *, etags: bool = True) -> dict[str, Any]:
    """Poll the captures in `folder` (DATE/NAME) in order; without `etags` the server answers every poll in full."""
    captures = sorted(found.relative for found in walk(folder))
    truth = _Truth()
    server = _Server(etags)
    counts: Counter[str] = Counter()
    cursors: dict[str, str] = defaultdict(lambda: "{}")
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    spent_s = 0.0
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as cache:
        web = Fetcher("clet-bench", allow_private=True)
        for capture in captures:
            date, _, name = capture.partition("/")
            body = Path(folder, capture).read_bytes()
            truth.see(name, body)
            server.bodies[f"/{name}"] = body
            outlet = _Outlet(counts)
            now = datetime.fromisoformat(date).replace(tzinfo=UTC)
            cursor = json.loads(cursors[name])
            context = Context("feed", name, cursor, now, outlet, web, scrub, Path(cache), Options(), allow_private=True)
            start = time.perf_counter()
            records[name] += feeds.read(f"{server.url}/{name}", context)
            spent_s += time.perf_counter() - start
            cursors[name] = json.dumps(cursor, separators=(",", ":"))
    server.close()
    everything = [record for each in records.values() for record in each]
    sizes = [len(body) for body in cursors.values()]
    return {
        "polls": len(captures),
        "feeds": len(records),
        "identical_polls": truth.identical,
        "unchanged": counts["unchanged"],
        "answers": dict(server.answers),
        "documents": len(everything),
        "expected_documents": sum(len(texts) for texts in truth.texts.values()),
        "repeated_ids": sum(len(each) - len({record["id"] for record in each}) for each in records.values()),
        "missing": truth.missing(records),
        "versions": sum("supersedes" in record["meta"] for record in everything),
        "expected_versions": truth.versions,
        "dangling_supersedes": _dangling(records),
        "complaints": outlet.complaints,
        "cursor_bytes_mean": sum(sizes) / len(sizes),
        "cursor_bytes_max": max(sizes),
        "seconds": spent_s,
    }


def _dangling(records: dict[str, list[dict[str, Any]]]) -> int:
    """Versions that name a record which did not come out before them, in the same feed."""
    number = 0
    for each in records.values():
        out: set[str] = set()
        for record in each:
            former = record["meta"].get("supersedes")
            number += former is not None and former not in out
            out.add(record["id"])
    return number


@dataclass
class _Truth:
    """What the captures hold, feed by feed, read by lxml."""

    texts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    versions: int = 0
    identical: int = 0
    _last: dict[str, bytes] = field(default_factory=dict)

    def see(self, feed: str, body: bytes) -> None:
        """One capture, in order."""
        if self._last.get(feed) == body:
            self.identical += 1
            return
        self._last[feed] = body
        for item in _strict_items(_strict(body)):
            title, text = _squeezed(_plain(item.title)), _squeezed(_plain(item.text))
            text = text if text.startswith(title) else title + text
            if text not in self.texts[feed]:
                self.versions += item.name in self.names[feed]
                self.texts[feed].add(text)
            self.names[feed].add(item.name)

    def missing(self, records: dict[str, list[dict[str, Any]]]) -> int:
        """Texts of which no record has all the letters."""
        number = 0
        for feed, texts in self.texts.items():
            out = {_letters(record["text"]) for record in records[feed]}
            number += sum(_letters(text) not in out for text in texts)
        return number


def _squeezed(text: str) -> str:
    return "".join(text.split())


class _Outlet:
    def __init__(self, counts: Counter[str]):
        self._counts = counts
        self.complaints: list[str] = []

    def count(self, what: str, number: int) -> None:
        self._counts[what] += number

    def bad(self, message: str) -> None:
        self.complaints.append(message)

    def bad_line(self, place: str, reason: str, line: bytes) -> None:
        self.complaints.append(f"{place}: {reason}")

    def include(self, locator: str) -> None:
        self.complaints.append(f"lists {locator}")

    def idle(self) -> None:
        pass


class _Server:
    """Bodies by path, each with the hash of its bytes as its ETag."""

    def __init__(self, etags: bool):
        self.bodies: dict[str, bytes] = {}
        self.answers: Counter[int] = Counter()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = server.bodies.get(self.path)
                tag = f'"{hashlib.sha256(body or b"").hexdigest()}"'
                known = etags and self.headers.get("If-None-Match") == tag
                status = 404 if body is None else 304 if known else 200
                server.answers[status] += self.path != "/robots.txt"
                self.send_response(status)
                if etags and body is not None:
                    self.send_header("ETag", tag)
                self.send_header("Content-Length", str(len(body or b"") if status == 200 else 0))
                self.end_headers()
                if status == 200:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
