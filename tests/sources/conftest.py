"""A loopback web server that does what a test says, contexts for adapters, and small repositories."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clet.sources.adapter import Context, Options
from clet.sources.text import scrub
from clet.sources.web.fetch import Fetcher, Limits

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Patience:
    """An interruption that never comes; it notes how long it was asked to sleep, and does not.

    By its `clock` the time has passed all the same.
    """

    def __init__(self):
        self.stop = threading.Event()
        self.slept = []

    def check(self):
        pass

    def sleep(self, seconds):
        self.slept.append(seconds)

    def clock(self):
        return time.monotonic() + sum(self.slept)


class Said:
    """An outlet that keeps what an adapter said: `counts`, `complaints`, `lines`, `included`, `idled`."""

    def __init__(self):
        self.counts, self.complaints, self.lines, self.included, self.idled = Counter(), [], [], [], 0

    def count(self, what, number):
        self.counts[what] += number

    def bad(self, message):
        self.complaints.append(message)

    def bad_line(self, place, reason, line):
        self.lines.append((place, reason, line))

    def include(self, locator):
        self.included.append(locator)

    def idle(self):
        self.idled += 1


class Unconnected:
    """A web that nobody may ask."""

    def get(self, url, validators, manners=None):
        raise AssertionError(f"asked for {url}")

    def download(self, url, folder, validators, manners=None):
        raise AssertionError(f"asked for {url}")


class Web:
    """`routes[path]` is (status, headers, body) or a function of the handler; `requests` lists what was asked.

    Requests for robots.txt, which the fetcher adds by itself, are listed apart, in `robots`.
    """

    def __init__(self):
        self.routes = {}
        self.requests = []
        self.robots = []
        self.over = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                asked = web.robots if self.path == "/robots.txt" else web.requests
                asked.append((self.path, dict(self.headers)))
                route = web.routes.get(self.path, (404, {}, b""))
                if callable(route):
                    route = route(self)
                if route is None:
                    self.close_connection = True
                    return
                status, headers, body = route
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients hang up on purpose here
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


@pytest.fixture
def patience():
    return Patience()


@pytest.fixture
def fetcher(patience):
    def make(*, allow_private=True, **limits):
        settings = {"limits": Limits(**limits), "interruption": patience, "clock": patience.clock}
        return Fetcher("tests", allow_private=allow_private, **settings)

    return make


@pytest.fixture
def context(tmp_path, patience):
    """Makes a context: `context("feed", cursor, web=fetcher())`; `.outlet` keeps what the adapter says."""

    def make(adapter="test", cursor=None, **fields):
        settings = {
            "web": Unconnected(),
            "scrubber": scrub,
            "cache": tmp_path / "cache",
            "options": Options(),
            "allow_private": True,
            "interruption": patience,
        } | fields
        return Context(adapter, "test", {} if cursor is None else cursor, NOW, Said(), **settings)

    return make


@pytest.fixture
def repository(tmp_path):
    """A git repository: `write(path, content)`, `commit(date)` which returns the name, `git(*arguments)`."""

    class Repository:
        path = tmp_path / "repo"

        def git(self, *arguments, date="2020-01-01T00:00:00Z"):
            who = {f"GIT_{role}_{part}": f"{role}@x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
            return subprocess.run(
                ["git", *arguments],
                cwd=self.path,
                env=os.environ
                | who
                | {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "GIT_CONFIG_GLOBAL": "/dev/null"},
                check=True,
                capture_output=True,
            ).stdout.decode()

        def write(self, path, content):
            target = os.path.join(os.fsencode(self.path), os.fsencode(path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)

        def commit(self, date):
            self.git("add", "-A")
            self.git("commit", "-q", "-m", "change", date=date)
            return self.git("rev-parse", "HEAD").strip()

    made = Repository()
    made.path.mkdir()
    made.git("init", "-q")
    return made
