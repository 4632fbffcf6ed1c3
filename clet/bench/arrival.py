"""From a document's arrival to its tokens: latency of `clet ingest --follow` under a stream of documents.

Documents arrive by a Poisson process of a given rate, with real text. One way in is standard input, a JSON line each;
the other is a feed on a loopback server, polled, whose new entries are those that have arrived: there the clock starts
when the server begins to send the answer that holds the entry, so the polling interval is not counted. The clock stops
when the batch that holds the tokens has been read from the command's output.

For comparison the same arrivals are collected, and processed by one run of the same command when the last one is in:
what a nightly batch does, at its most favourable. Method: open loop (a slow consumer does not slow the arrivals), all
samples kept; the first WARM_S seconds are not counted.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import orjson

from clet.codecs import Peekable
from clet.exits import InputError
from clet.streams import read_stream, refuse_bad

WARM_S = 3.0
POLL_S = 0.25
KEEP = 250  # entries that the feed shows: those of the last polls


def measure(texts: Sequence[str], tokenizer: str, *, rate: float, seconds: float, seed: int = 1) -> dict[str, Any]:
    """Latencies in seconds: {"stdin": {...}, "feed": {...}, "batch": {...}} with median, p99, max and all samples."""
    times = _poisson(rate, seconds, seed)
    texts = [f"{texts[number % len(texts)]}\n\n{number}" for number in range(len(times))]
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        stdin = _through_stdin(texts, times, tokenizer)
        feed = _through_feed(texts, times, tokenizer)
        batch = _collected(texts, times, tokenizer, Path(folder))
    return {name: _figures(samples) for name, samples in (("stdin", stdin), ("feed", feed), ("batch", batch))}


def _poisson(rate: float, seconds: float, seed: int) -> list[float]:
    generator, now, times = random.Random(seed), 0.0, []
    while (now := now + generator.expovariate(rate)) < seconds:
        times.append(now)
    return times


def _ingest(tokenizer: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "clet", "ingest", "-q", "--tokenizer", tokenizer, *arguments]


def _line(number: int, text: str) -> bytes:
    return orjson.dumps({"id": str(number), "text": text}) + b"\n"


class _Watch(threading.Thread):
    """Reads what the command writes and notes when each document's tokens were there, by its number."""

    def __init__(self, process: subprocess.Popen[bytes]):
        super().__init__(daemon=True)
        self.ready: dict[int, float] = {}
        self.failure: Exception | None = None
        self._stream = Peekable(process.stdout.raw)

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self.failure = error

    def _read(self) -> None:
        for batch in read_stream(self._stream, "ingest", refuse_bad):
            now = time.monotonic()
            for row in range(len(batch)):
                text = orjson.loads(batch.line(row))["text"]
                self.ready[int(text.rpartition("\n")[2])] = now

    def wait_for(self, number: int, patience_s: float = 60.0) -> None:
        """Until so many documents have come. Raises InputError where they do not."""
        deadline = time.monotonic() + patience_s
        while len(self.ready) < number:
            if self.failure or time.monotonic() > deadline:
                raise InputError(f"only {len(self.ready)} of {number} documents came out") from self.failure
            time.sleep(0.01)


def _through_stdin(texts: Sequence[str], times: Sequence[float], tokenizer: str) -> list[float]:
    process = subprocess.Popen(_ingest(tokenizer, "--follow", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watch = _Watch(process)
    watch.start()
    process.stdin.write(_line(-1, "a first document, so that everything has been imported\n\n-1"))
    process.stdin.flush()
    watch.wait_for(1)
    start, sent = time.monotonic(), []
    for number, (text, at) in enumerate(zip(texts, times, strict=True)):
        time.sleep(max(0.0, start + at - time.monotonic()))
        sent.append(start + at)  # when it should have been sent: a blocked pipe is the consumer's delay
        process.stdin.write(_line(number, text))
        process.stdin.flush()
    watch.wait_for(len(texts) + 1)
    process.stdin.close()
    process.wait()
    return [watch.ready[number] - sent[number] for number, at in enumerate(times) if at >= WARM_S]


class _Newsroom:
    """A feed on loopback whose entries are the documents that have arrived by now."""

    def __init__(self, texts: Sequence[str], times: Sequence[float]):
        self.sent: dict[int, float] = {}
        self.start = float("inf")
        room = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                now = time.monotonic()
                arrived = sum(room.start + at <= now for at in times) if self.path == "/feed" else 0
                body = _rss(texts, range(max(0, arrived - KEEP), arrived)) if self.path == "/feed" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "application/rss+xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for number in range(max(0, arrived - KEEP), arrived):
                    room.sent.setdefault(number, time.monotonic())
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # the client hangs up when it has seen enough
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/feed"


def _rss(texts: Sequence[str], numbers: Sequence[int]) -> bytes:
    items = "".join(
        f"<item><guid>{number}</guid><title>{number}</title><description>{_markup(texts[number])}</description></item>"
        for number in numbers
    )
    return f'<rss version="2.0"><channel><title>bench</title>{items}</channel></rss>'.encode()


def _markup(text: str) -> str:
    """The text as a description has it: HTML, escaped, its lines kept."""
    return escape(f"<pre>{escape(text)}</pre>")


def _through_feed(texts: Sequence[str], times: Sequence[float], tokenizer: str) -> list[float]:
    room = _Newsroom(texts, times)
    command = _ingest(tokenizer, "--follow", "--interval", str(POLL_S), "--allow-private", f"feed:{room.url}")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    watch = _Watch(process)
    watch.start()
    room.start = time.monotonic() + 1.0
    try:
        watch.wait_for(len(texts), patience_s=times[-1] + 60.0)
    finally:
        process.kill()
        process.wait()
        room.server.shutdown()
        room.server.server_close()
    return [watch.ready[number] - room.sent[number] for number, at in enumerate(times) if at >= WARM_S]


def _collected(texts: Sequence[str], times: Sequence[float], tokenizer: str, folder: Path) -> list[float]:
    collected = folder / "collected.jsonl"
    collected.write_bytes(b"".join(_line(number, text) for number, text in enumerate(texts)))
    start = time.monotonic()
    subprocess.run(_ingest(tokenizer, f"jsonl:{collected}", "-o", str(folder / "out.clet")), check=True)
    end = times[-1] + time.monotonic() - start
    return [end - at for at in times if at >= WARM_S]


def _figures(samples: list[float]) -> dict[str, Any]:
    ordered = sorted(samples)
    return {
        "documents": len(ordered),
        "median_s": ordered[len(ordered) // 2],
        "p99_s": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        "max_s": ordered[-1],
        "samples_s": [round(sample, 5) for sample in samples],
    }
