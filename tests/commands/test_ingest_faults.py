"""clet ingest against a server that sends everything a feed reader has ever been sent: one line each, and no more.

What one layer does with each fault stands in tests/sources; here the command as a whole reads all of it in one run,
a good feed among them, and is not stopped, not fooled and not slow.
"""

import gzip
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import zstandard
from processes import clean_environment

BOMB_BYTES = 64 << 20


def rss(title, description="", head='<?xml version="1.0"?>'):
    item = f"<item><guid>{title}</guid><title>{title}</title><description>{description}</description></item>"
    return f'{head}<rss version="2.0"><channel><title>x</title>{item}</channel></rss>'


def laughs():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return f'<!DOCTYPE rss [<!ENTITY l0 "ha">{entities}]>'


LATIN = '<?xml version="1.0" encoding="utf-8"?>'
MIXED = rss("Mixed", "caf\u00e9 @ na\u00efve").encode().replace(b"@", "r\u00e9sum\u00e9".encode("cp1252"))
FILES = '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY % y SYSTEM "http://127.0.0.1:9/">%y;]>'
HALF = b'{"version": "https://jsonfeed.org/version/1", "items": [{"id": "1", "content_text": "half \\ud83d"}]}'
# What is sent, and the text of the document that it gives.
GIVES = {
    "/good": (rss("Good", "as it should be").encode(), {}, "Good\n\nas it should be"),
    "/cut": (rss("Cut", "as far as it w" + "@").encode().split(b"@")[0], {}, "Cut\n\nas far as it w"),
    "/misdeclared": (rss("D\u00e9j\u00e0", "vu", LATIN).encode("cp1252"), {}, "D\u00e9j\u00e0\n\nvu"),
    "/mixed": (MIXED, {}, "Mixed\n\ncaf\u00e9 r\u00e9sum\u00e9 na\u00efve"),
    "/utf16le": (rss("Wide", "no mark", "").encode("utf-16-le"), {}, "Wide\n\nno mark"),
    "/utf16be": (rss("Wider", "no mark", "").encode("utf-16-be"), {}, "Wider\n\nno mark"),
    "/gzip": (gzip.compress(rss("Zip", "said").encode()), {"Content-Encoding": "gzip"}, "Zip\n\nsaid"),
    "/gz": (gzip.compress(rss("Gz", "not said").encode()), {}, "Gz\n\nnot said"),
    "/laughs": (rss("Ha &l11;", "only this", laughs()).encode(), {}, "Ha &l11;\n\nonly this"),
    "/files": (rss("Of &x;", "a file", FILES).encode(), {}, "Of &x;\n\na file"),
    "/ansi": (rss("\x1b[31mRed\x1b[0m\x07 alert", "\x1b]0;owned\x07text").encode(), {}, "Red alert\n\ntext"),
    "/nul": (rss("N\0ul", "in\0side").encode(), {}, "Nul\n\ninside"),
    "/line": (rss("Long", "x" * 8_000_000).encode(), {}, "Long\n\n" + "x" * 8_000_000),
    "/half": (HALF, {}, "half \ufffd"),
}
# What is sent, and some of the words with which it is refused.
REFUSED = {
    "/page": (b"<!DOCTYPE html><html><head><title>x</title></head><body>Sign in</body></html>", {}, "an HTML page"),
    "/empty": (b"", {}, "empty"),
    "/bomb.gz": (gzip.compress(bytes(BOMB_BYTES)), {"Content-Encoding": "gzip"}, "inflates"),
    "/bomb.zst": (zstandard.compress(bytes(BOMB_BYTES)), {"Content-Encoding": "zstd"}, "inflates"),
    "/inner.zst": (zstandard.compress(bytes(BOMB_BYTES + 1)), {}, "inflates"),
    "/loop": (b"", {"Location": "/loop"}, "redirect"),
    "/ftp": (b"", {"Location": "ftp://example.org/x"}, "ftp"),
    "/endless": (None, {}, "bytes"),
}


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body, headers, _ = (GIVES | REFUSED).get(self.path, (b"", {}, None))
            self.send_response(302 if "Location" in headers else 200 if self.path != "/robots.txt" else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            if body is None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while True:
                    self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *_: None
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_every_fault_is_one_document_or_one_line_and_stops_nothing(clet, server):
    sources = [f"feed:{server.url}{path}" for path in (*REFUSED, *GIVES)]
    start = time.monotonic()
    done = clet("ingest", *sources, "--allow-private", "--plain", "--state", "s")
    assert time.monotonic() - start < 60  # of which most is the endless body
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["text"] for record in records] == [text for _, _, text in GIVES.values()]
    *complaints, summary = done.stderr.decode().splitlines()
    assert len(complaints) == len(REFUSED)
    for complaint, (path, (_, _, words)) in zip(complaints, REFUSED.items(), strict=True):
        assert f"{path}: " in complaint and words in complaint, complaint
    assert all(char.isprintable() for line in complaints for char in line)
    assert f"failed {len(REFUSED)}" in summary
    status = [json.loads(line) for line in clet("ingest", "--status", "--state", "s").stdout.splitlines()]
    assert sum(row["state"] == "failing" for row in status) == len(REFUSED)
    assert sum(row["state"] == "ok" for row in status) == len(GIVES)


def test_nothing_private_is_asked_unless_it_is_allowed(clet, server):
    port = server.url.rpartition(":")[2]
    sources = [f"feed:http://{host}:{port}/good" for host in ("127.0.0.1", "localhost", "127.1", "[::1]", "0.0.0.0")]
    done = clet("ingest", *sources, "feed:http://169.254.169.254/latest/meta-data", "--plain", "--ignore-robots")
    assert (done.stdout, done.returncode) == (b"", 1)
    *complaints, _ = done.stderr.decode().splitlines()
    assert len(complaints) == 6 and all("--allow-private" in line for line in complaints), complaints


# The command with its patience cut from two minutes to one second, and from four tries to two.
IMPATIENT = """
import sys
from clet.__main__ import main
from clet.sources.web.fetch import DEFAULT_LIMITS

for name, limit in {"connect_s": 0.5, "first_byte_s": 0.5, "body_s": 1.0, "tries": 2}.items():
    object.__setattr__(DEFAULT_LIMITS, name, limit)
sys.exit(main())
"""


@pytest.fixture
def dripping():
    """A server of one byte a second: `/head` never ends its head, `/body` its body; `/good` is a feed."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/head", "/body"):
                body = rss("Good", "as it should be").encode() if self.path == "/good" else b""
                self.send_response(200 if body else 404)
                self.end_headers()
                self.wfile.write(body)
                return
            start = b"HTTP/1.1 200 OK\r\n" + (b"X: " if self.path == "/head" else b"Content-Length: 99999\r\n\r\n")
            self.wfile.write(start)
            while not over.wait(1.0):
                self.wfile.write(b" ")

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *_: None
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    over.set()
    made.shutdown()
    made.server_close()


def test_one_byte_a_second_ends_after_its_time_and_stops_nothing(dripping, tmp_path):
    sources = [f"feed:{dripping}/{name}" for name in ("head", "body", "good")]
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, "ingest", *sources, "--allow-private", "--plain", "--ignore-robots"],
        capture_output=True,
        cwd=tmp_path,
        env=clean_environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert [json.loads(line)["title"] for line in done.stdout.splitlines()] == ["Good"]
    head, body, summary = done.stderr.decode().splitlines()
    assert "/head: too slow" in head and "/body: too slow" in body and "failed 2" in summary


INSIDE = (
    "http://169.254.169.254/latest",
    "http://10.0.0.1/",
    "http://[::1]:{port}/inside",
    "http://localhost:{port}/inside",
)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_redirect_into_a_private_network_is_not_followed(clet, allowed):
    """The open internet is a proxy here: it answers for names outside, and its redirects lead inside."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            number = self.path.partition("/feed")[2]
            self.send_response(302 if number else 200 if self.path == "/inside" else 404)
            if number:
                self.send_header("Location", INSIDE[int(number)].format(port=self.server.server_address[1]))
            self.end_headers()
            self.wfile.write(b"" if number else rss("Inside", "a secret").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        numbers = range(3, 4) if allowed else range(4)  # allowed, the way inside does lead somewhere
        sources = [f"feed:http://news{number}.example/feed{number}" for number in numbers]
        flags = ["--plain", "--ignore-robots", *(["--allow-private"] if allowed else [])]
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        done = clet("ingest", *sources, *flags, env={"http_proxy": proxy})
    finally:
        server.shutdown()
        server.server_close()
    if allowed:
        assert b"a secret" in done.stdout and "/inside" in asked
        return
    assert (done.stdout, done.returncode) == (b"", 1)
    assert sorted(asked) == [f"http://news{number}.example/feed{number}" for number in numbers]
    *complaints, _ = done.stderr.decode().splitlines()
    assert len(complaints) == 4 and all("is a private address" in line for line in complaints), complaints
