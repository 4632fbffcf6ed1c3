"""A simulated newsroom over HTTP: several publishers' feeds and pages as they stood at a moment that can be advanced.

Anyone can run the whole loop on it without network or data: `clet.bench.newsroom.world` makes dated facts and the
articles about them, this file serves what had been published by the newsroom's clock, with strong ETags (SHA-256 of
the bytes), Last-Modified, 304 answers, an OPML list of the training feeds, and `POST /clock` (loopback only, never
backwards) to let time pass. Bodies are rendered when first asked for and cached until the clock moves: about 1 MB for
eight days. It is a test instrument: plain HTTP, a thread a connection, not for the open network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from clet.bench.newsroom import feeds
from clet.bench.newsroom.publishers import PUBLISHERS, TRAINING
from clet.bench.newsroom.world import Article, World

FEED_WINDOW = 1000  # items a feed shows at most: more than three weeks of the busiest publisher at 12 stories a day
MAX_CLOCK_BODY_BYTES = 64  # an RFC 3339 time with room to spare
IDLE_TIMEOUT_S = 30.0  # a connection that says nothing for so long is closed


@dataclass(frozen=True)
class Resource:
    """A body as served, with what a client may use to ask again. `modified` is UTC."""

    body: bytes
    content_type: str
    modified: datetime

    @property
    def etag(self) -> str:
        """Strong entity tag with its quotes."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class Newsroom:
    """What `world` has published by `upto` (timezone-aware), at addresses below `base`. Thread-safe."""

    def __init__(self, world: World, upto: datetime, base: str = "http://newsroom.invalid", window: int = FEED_WINDOW):
        self.world = world
        self.base = base
        self.window = window
        self._lock = threading.Lock()
        self._now = upto.astimezone(UTC)
        self._cache: dict[str, Resource | None] = {}

    @property
    def now(self) -> datetime:
        """The newsroom's clock, UTC."""
        return self._now

    def advance(self, to: datetime) -> None:
        """Move the clock forward to `to` (timezone-aware); ValueError when that is backwards."""
        if to.tzinfo is None:
            raise ValueError("the time needs a zone, such as 2026-03-08T00:00:00Z")
        with self._lock:
            if to < self._now:
                raise ValueError(f"the clock stands at {feeds.rfc3339(self._now)} and does not go backwards")
            self._now = to.astimezone(UTC)
            self._cache.clear()

    def visible(self, publisher: str) -> list[Article]:
        """The items of `publisher` at this moment: newest version of each guid, newest first, at most the window."""
        return self._visible(publisher, self._now)

    def _visible(self, publisher: str, now: datetime) -> list[Article]:
        newest: dict[str, Article] = {}
        for day in self.world.dates:
            if day > now.date():
                break
            for article in self.world.articles(day):
                if article.publisher == publisher and article.updated <= now:
                    newest[article.guid] = article
        return sorted(newest.values(), key=lambda a: (a.updated, a.guid), reverse=True)[: self.window]

    def resource(self, path: str) -> Resource | None:
        """What stands at `path` (no query) at this moment, or None."""
        with self._lock:
            if path not in self._cache:
                found = self._render(path, self._now)
                if found is None:  # not cached: anyone can make up paths
                    return None
                self._cache[path] = found
            return self._cache[path]

    def _render(self, path: str, now: datetime) -> Resource | None:
        start = datetime.combine(self.world.dates[0], time(), UTC)
        if path in ("/", "/opml.xml"):
            return Resource(feeds.render_opml(TRAINING, self.base), "text/x-opml; charset=utf-8", start)
        publisher = PUBLISHERS.get(path.removeprefix("/").partition("/")[0])
        if publisher is None:
            return None
        articles = self._visible(publisher.key, now)
        changed = max((a.updated for a in articles), default=start)
        if path == publisher.feed_path:
            body = feeds.render_feed(publisher, articles, self.base, changed)
            return Resource(body, feeds.CONTENT_TYPES[publisher.feed_format], changed)
        if path == f"/{publisher.key}/":
            return Resource(feeds.render_index(publisher, articles), "text/html; charset=utf-8", changed)
        for article in articles:
            if article.url == path:
                return Resource(feeds.render_page(publisher, article), "text/html; charset=utf-8", article.updated)
        return None


def not_modified(resource: Resource, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Whether 304 answers the request (RFC 9110, 13.2.2: If-None-Match, when there, decides alone)."""
    if if_none_match is not None:
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return "*" in tags or resource.etag in tags
    if if_modified_since is not None:
        try:
            since = parsedate_to_datetime(if_modified_since)
        except ValueError:
            return False
        return since.tzinfo is not None and resource.modified.replace(microsecond=0) <= since
    return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "clet-newsroom"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    newsroom: Newsroom  # set on the subclass that `serve` makes

    def do_GET(self) -> None:
        resource = self.newsroom.resource(self.path.split("?", 1)[0])
        if resource is None:
            self._answer(404, b"not found\n")
            return
        headers = {"ETag": resource.etag, "Last-Modified": feeds.http_date(resource.modified)}
        if not_modified(resource, self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since")):
            self._answer(304, b"", headers)
        else:
            self._answer(200, resource.body, {**headers, "Content-Type": resource.content_type})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # a refused body is not read, so the connection cannot be used again
        if self.path != "/clock":
            self._answer(404, b"not found\n")
        elif not ipaddress.ip_address(self.client_address[0]).is_loopback:
            self._answer(403, b"the clock moves from loopback only\n")
        else:
            try:
                length = int(self.headers.get("Content-Length", ""))
                if not 0 < length <= MAX_CLOCK_BODY_BYTES:
                    raise ValueError("the body must be one RFC 3339 time")
                to = moment(self.rfile.read(length).decode("ascii").strip())
            except ValueError as error:
                self._answer(400, f"{error}\n".encode())
                return
            try:
                self.newsroom.advance(to)
            except ValueError as error:
                self._answer(409, f"{error}\n".encode())
                return
            self._answer(200, f"{feeds.rfc3339(self.newsroom.now)}\n".encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "text/plain; charset=utf-8"}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header tells the newsroom's time: an answer depends on the simulated clock alone."""
        return feeds.http_date(self.newsroom.now)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle keep-alive client must not hold up the end

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error; anything else is a bug and shows its traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(newsroom: Newsroom, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `newsroom` in threads while the block runs; gives the base address, and sets it as the newsroom's own."""
    server = _Server((host, port), type("Handler", (_Handler,), {"newsroom": newsroom}))
    newsroom.base = f"http://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="newsroom", daemon=True)
    thread.start()
    try:
        yield newsroom.base
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def moment(text: str) -> datetime:
    """An RFC 3339 time, UTC; ValueError when there is no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time needs a zone, such as 2026-03-08T00:00:00Z")
    return moment.astimezone(UTC)
