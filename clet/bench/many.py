"""Many feeds in one process: is each polled when it is due, does all arrive, and at what cost.

A server on loopback answers for every feed under an address of its own (127.1.0.1 and so on), so that each is a host
of its own as on the internet, and each gets a new entry after a random time of INTERVAL_S on average; conditional
requests are honoured. `clet ingest --follow` polls them all for a while. Counted are polls, how late each came after
the interval, documents against the entries that were shown, memory and processor time.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError

INTERVAL_S = 15.0
ROUNDS = 4
KEEP = 20  # entries that a feed shows
PATIENCE_S = 120.0
SETTLE_S = 1.0  # for what the last answers brought to be written


class _World:
    """The feeds: what each shows at a time, when it was polled, and what was shown of it."""

    def __init__(self, number: int, seed: int):
        self.generator = random.Random(seed)
        self.times = [self._moments() for _ in range(number)]
        self.polls: list[list[float]] = [[] for _ in range(number)]
        self.shown = [0] * number
        self.start = time.monotonic()

    def _moments(self) -> list[float]:
        now, moments = 0.0, [0.0]
        while (now := now + self.generator.expovariate(1 / INTERVAL_S)) < ROUNDS * INTERVAL_S:
            moments.append(now)
        return moments

    def answer(self, feed: int, known: str | None) -> tuple[str, bytes | None]:
        """(ETag, body or None where nothing changed since the ETag that is `known`)."""
        now = time.monotonic() - self.start
        self.polls[feed].append(now)
        count = sum(moment <= now for moment in self.times[feed])
        tag = f'"{count}"'
        if known == tag:
            return tag, None
        self.shown[feed] = max(self.shown[feed], count)
        items = "".join(
            f"<item><guid>{feed}-{n}</guid><title>Entry {n} of feed {feed}</title></item>"
            for n in range(max(0, count - KEEP), count)
        )
        return tag, f'<rss version="2.0"><channel><title>{feed}</title>{items}</channel></rss>'.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: Any) -> None:
        """Connections of a process that was ended."""


@contextmanager
def _serving(world: _World) -> Iterator[int]:
    """The port on which the feeds are."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path[1:]
            tag, body = world.answer(int(name), self.headers.get("If-None-Match")) if name.isdigit() else ("", b"")
            self.send_response(404 if not tag else 304 if body is None else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = _Server(("0.0.0.0", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def measure(number: int, connections: int = 64, seed: int = 1) -> dict[str, Any]:
    """Figures of one process that follows `number` feeds for `ROUNDS` intervals. Raises InputError if it ends."""
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as name:
        folder, world = Path(name), _World(number, seed)
        with _serving(world) as port:
            hosts = [f"127.1.{feed // 250}.{feed % 250 + 1}:{port}" for feed in range(number)]
            outlines = "".join(f'<outline xmlUrl="http://{host}/{feed}"/>' for feed, host in enumerate(hosts))
            (folder / "feeds.opml").write_text(f'<opml version="2.0"><body>{outlines}</body></opml>')
            command = [sys.executable, "-m", "clet", "ingest", f"feed:{folder}/feeds.opml", "--follow", "--plain", "-q"]
            command += ["--interval", str(INTERVAL_S), "--connections", str(connections), "--allow-private"]
            with open(folder / "out.jsonl", "wb") as output:
                process = subprocess.Popen(
                    [*command, "--state", str(folder / "state")], stdin=subprocess.DEVNULL, stdout=output
                )
            try:
                peak, seconds = _watch(process, world)
            finally:
                process.terminate()
                try:
                    process.wait(timeout=PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        titles = [orjson.loads(line)["title"] for line in (folder / "out.jsonl").read_bytes().splitlines()]
    polls = sum(map(len, world.polls))
    late = sorted(b - a - INTERVAL_S for each in world.polls for a, b in pairwise(each))
    return {
        "feeds": number,
        "polled": sum(bool(each) for each in world.polls),
        "polls": polls,
        "late_median_s": late[len(late) // 2],
        "late_p99_s": late[len(late) * 99 // 100],
        "entries_shown": sum(world.shown),
        "documents": len(titles),
        "repeated": len(titles) - len(set(titles)),
        "cpu_ms_per_poll": 1000 * seconds / polls,
        "peak_mb": peak / 1e6,
    }


def _watch(process: subprocess.Popen[bytes], world: _World) -> tuple[int, float]:
    """(most resident bytes, processor seconds) until every feed was polled after its last entry, and SETTLE_S more."""
    peak, seconds = 0, 0.0
    deadline = time.monotonic() + PATIENCE_S + (ROUNDS + 1) * INTERVAL_S
    while time.monotonic() < deadline:
        if all(polls and polls[-1] > ROUNDS * INTERVAL_S for polls in world.polls):
            deadline = min(deadline, time.monotonic() + SETTLE_S)
        if process.poll() is not None:
            raise InputError(f"clet ingest ended with {process.returncode}")
        with open(f"/proc/{process.pid}/status") as file:
            peak = max(peak, *(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS")))
        with open(f"/proc/{process.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        seconds = (int(user) + int(system)) / 100
        time.sleep(0.25)
    return peak, seconds
