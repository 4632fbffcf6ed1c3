"""clet ingest killed at random moments, over adapters of every kind: no document is lost, what repeats has its id."""

import gzip
import json
import random
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from processes import CLET, clean_environment

SOURCES = (
    "feed:{url}/feed",
    "arxiv:{url}/api/query?search_query=cat:cs.LG",
    "edgar:{url}/cgi-bin/browse-edgar?action=getcurrent&output=atom&count=100",
    "jsonl:lines.jsonl",
    "file:notes",
    "git:project",
    "warc:crawl.warc.gz",
)
START = datetime(2026, 2, 27, 14, tzinfo=UTC)


def paper(number):
    """What arXiv's API says of one."""
    return (
        f"<entry><id>http://arxiv.org/abs/2602.{number:05}v1</id><title>paper document {number}</title>"
        f"<summary>found</summary><published>2026-02-27T00:00:00Z</published>"
        f"<updated>{START + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}</updated>"
        "<author><name>Ann Ng</name></author><category term='cs.LG'/></entry>"
    )


def accession(number):
    return f"0000000777-26-{number:06d}"


def listed(number):
    """What EDGAR's current filings say of one."""
    return (
        f"<entry><title>8-K - W (0000000777) (Filer)</title><link href='https://www.sec.gov/Archives/edgar/data/777/x'/>"
        f"<updated>{(START + timedelta(minutes=number)).isoformat()}</updated><category term='8-K'/>"
        f"<id>urn:tag:sec.gov,2008:accession-number={accession(number)}</id></entry>"
    )


def submission(number):
    return (
        f"<SEC-DOCUMENT>{accession(number)}.txt : 20260301\n<SEC-HEADER>\n<ACCEPTANCE-DATETIME>20260227120000\n"
        f"ACCESSION NUMBER:\t\t{accession(number)}\nCONFORMED SUBMISSION TYPE:\t8-K\nFILED AS OF DATE:\t20260227\n\n"
        "FILER:\n\n\tCOMPANY DATA:\n\t\tCOMPANY CONFORMED NAME:\tWIDGET\n\t\tCENTRAL INDEX KEY:\t0000000777\n"
        f"</SEC-HEADER>\n<DOCUMENT>\n<TYPE>8-K\n<SEQUENCE>1\n<TEXT>\n<html><p>filing document {number}</html>\n"
        "</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"
    )


def atom(entries, total):
    return f"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom"
        xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/"><id>http://arxiv.org/api/x</id>
        <opensearch:totalResults>{total}</opensearch:totalResults>{"".join(entries)}</feed>"""


class World:
    """Sources that grow: `publish` adds a document to each of them. `texts` are all that were ever published."""

    def __init__(self, folder):
        self.folder, self.texts, self.entries, self.number = folder, set(), [], 0
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = world.answer(self.path).encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.sources = [source.format(url=url) for source in SOURCES]
        (folder / "notes").mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, "-C", str(self.folder / "project"), *arguments], check=True)

    def answer(self, path):
        """The body at a path; empty for none."""
        place, numbers = urlsplit(path), range(self.number, 0, -1)  # newest first
        start = int(dict(parse_qsl(place.query)).get("start", 0))
        match place.path.split("/"):
            case ["", "feed"]:
                items = "".join(f"<item><guid>{entry}</guid><title>{entry}</title></item>" for entry in self.entries)
                return f'<rss version="2.0"><channel><title>x</title>{items}</channel></rss>'
            case ["", "api", "query"]:
                return atom(map(paper, numbers[start : start + 5]), len(numbers))
            case ["", "cgi-bin", "browse-edgar"]:
                return atom(map(listed, numbers[start : start + 5]), len(numbers))
            case ["", "Archives", *_, name]:
                return submission(int(name.removesuffix(".txt")[-6:]))
        return ""

    def publish(self):
        self.number += 1
        said = {kind: f"{kind} document {self.number}" for kind in ("feed", "line", "note", "commit", "page")}
        self.texts |= set(said.values())
        self.texts |= {f"paper document {self.number}\n\nfound", f"filing document {self.number}"}
        self.entries.insert(0, said["feed"])
        with open(self.folder / "lines.jsonl", "a") as file:
            file.write(json.dumps({"text": said["line"]}) + "\n")
        (self.folder / "notes" / f"{self.number:03}.txt").write_text(said["note"])
        (self.folder / "project" / f"{self.number:03}.txt").write_text(said["commit"])
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "more")
        head = f"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Target-URI: http://example.org/{self.number}\r\n"
        head += f"WARC-Record-ID: <urn:x:{self.number}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(said['page'])}\r\n\r\n"
        with open(self.folder / "crawl.warc.gz", "ab") as file:
            file.write(gzip.compress(f"{head}{said['page']}\r\n\r\n".encode()))


@pytest.fixture
def world(tmp_path):
    (tmp_path / "project").mkdir()
    made = World(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def note(ids, lines):
    """Keep the id of each whole line's text, which must always be the same."""
    for line in lines:
        if line.endswith(b"\n"):
            record = json.loads(line)
            assert ids.setdefault(record["text"], record["id"]) == record["id"]


def start(world, *arguments):
    command = [CLET, "ingest", "--state", "s", "--archive", "kept", "--plain", "--allow-private", "-q", *arguments]
    command += ["--delay", "0", "--user-agent", "tests someone@example.org"]
    return subprocess.Popen(
        [*command, *world.sources],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=world.folder,
        env=clean_environment(),
    )


def read_lines(process):
    """(lines so far, the thread that adds to them)."""
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")), daemon=True)
    thread.start()
    return lines, thread


def test_a_follower_killed_at_random_moments_loses_nothing(world):
    moments, ids = random.Random(4), {}
    for _ in range(12):
        world.publish()
        process = start(world, "--follow", "--interval", "0.1")
        lines, thread = read_lines(process)
        for _ in range(moments.randrange(3)):
            time.sleep(moments.uniform(0.0, 0.6))
            world.publish()
        time.sleep(moments.uniform(0.0, 1.2))
        process.kill()
        process.wait()
        thread.join()
        note(ids, lines)
    world.publish()  # something is left to come, so the end is asked for when the process is at work
    process = start(world, "--follow", "--interval", "0.1")
    try:
        lines, thread = read_lines(process)
        deadline = time.monotonic() + 60
        while not world.texts <= ids.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
            note(ids, list(lines))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        thread.join()
    assert ids.keys() == world.texts


def test_runs_killed_at_random_moments_leave_a_whole_file_or_none_and_lose_nothing(world):
    moments, ids, usual_s = random.Random(5), {}, 60.0
    for number in range(16):
        world.publish()
        output = world.folder / f"{number}.jsonl"
        begin, process = time.monotonic(), start(world, "-o", str(output))
        try:
            process.wait(timeout=moments.uniform(0.0, 1.5 * usual_s) if number else usual_s)
            usual_s = time.monotonic() - begin
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if output.exists():
            assert output.read_bytes()[-1:] in (b"\n", b"")
            note(ids, output.read_bytes().splitlines(keepends=True))
    assert start(world, "-o", str(world.folder / "last.jsonl")).wait(timeout=60) in (0, 3)
    note(ids, (world.folder / "last.jsonl").read_bytes().splitlines(keepends=True))
    assert ids.keys() == world.texts
