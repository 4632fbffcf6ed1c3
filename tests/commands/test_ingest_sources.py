"""clet ingest over many sources: the sources file, status, long runs killed at any moment, adapters from elsewhere."""

import json
import re
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from processes import CLET, clean_environment

MAN = Path(__file__).parent.parent.parent / "man"


@pytest.fixture
def press():
    """A loopback server of feeds `/<name>/<n>`: `stories[path]` lists titles; `broken` paths answer 500."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            titles = self.server.stories.get(self.path, [])
            items = "".join(f"<item><guid>{t}</guid><title>{t}</title></item>" for t in titles)
            body = f'<rss version="2.0"><channel><title>x</title>{items}</channel></rss>'.encode()
            missing = self.path not in self.server.stories
            self.send_response(500 if self.path in self.server.broken else 404 if missing else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    server.stories, server.broken = {}, set()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(done):
    return json.loads(done.stderr.splitlines()[-1])


def test_a_sources_file_names_what_to_read_and_what_is_known_of_it(clet, press, tmp_path):
    press.stories["/a"] = ["mail me at someone@example.org"]
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "notes.jsonl").write_text('{"text": "a note"}\n')
    (tmp_path / "list" / "sources.toml").write_text(
        f"""
        [[source]]
        name = "daily"
        url = "feed:{press.url}/a"
        trust = 0.25
        license = "CC-BY-4.0"
        tags = ["press"]
        scrub = ["pii"]
        interval = "1h"

        [[source]]
        url = "jsonl:notes.jsonl"
        """
    )
    line = ["ingest", "--sources", "list/sources.toml", "--state", "s", "--allow-private", "--plain", "--json"]
    done = clet(*line)
    assert done.returncode == 0, done.stderr
    story, note = records(done)
    assert story["license"] == "CC-BY-4.0"
    assert story["ingest"]["name"] == "daily" and story["ingest"]["trust"] == 0.25
    assert story["ingest"]["tags"] == ["press"] and story["ingest"]["masked"]["email"] >= 1
    assert "@" not in story["text"]
    assert "ingest" not in note and note["text"] == "a note"
    assert summary(done)["sources"]["daily"]["documents"] == 1
    rows = records(clet("ingest", "--status", "--state", "s"))
    assert {row["name"] for row in rows} == {"daily", None}
    again = clet(*line)
    assert again.returncode == 3
    assert summary(again)["not-due"] == 1


def test_a_mistake_in_the_sources_file_is_one_line(clet, tmp_path):
    (tmp_path / "s.toml").write_text('[[source]]\nurl = "feed:http://x"\nintervall = 5\n')
    done = clet("ingest", "--sources", "s.toml")
    assert done.returncode == 78
    assert done.stderr.count(b"\n") == 1 and b"intervall" in done.stderr


def test_status_shows_each_source(clet, press, tmp_path):
    press.stories["/a"] = ["one", "two"]
    clet("ingest", f"feed:{press.url}/a", f"feed:{press.url}/gone", "--state", "s", "--allow-private")
    done = clet("ingest", "--status", "--state", "s")
    assert done.returncode == 0
    a, gone = records(done)
    assert (a["source"], a["state"], a["documents"], a["failures"]) == (f"feed:{press.url}/a", "ok", 2, 0)
    assert a["success"] and a["lag_s"] >= 0 and a["due"] > a["success"]
    assert (gone["state"], gone["success"], gone["failures"]) == ("failing", None, 1)
    assert "404" in gone["error"]
    assert clet("ingest", "--status").returncode == 2
    assert clet("ingest", "--status", "--state", "nothing").returncode == 2


def test_many_feeds_of_a_list_come_in_its_order_and_the_broken_ones_stop_none(clet, press, tmp_path):
    port = press.url.rpartition(":")[2]
    paths = [(f"127.0.0.{number % 7 + 1}", f"/{number}") for number in range(150)]
    for number, (_, path) in enumerate(paths):
        press.stories[path] = [f"story {number}"]
    press.server_bind_all = True
    press.broken = {"/13", "/77"}
    server = ThreadingHTTPServer(("0.0.0.0", 0), press.RequestHandlerClass)
    server.daemon_threads, server.stories, server.broken = True, press.stories, press.broken
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    port = server.server_address[1]
    outlines = "".join(f'<outline xmlUrl="http://{host}:{port}{path}"/>' for host, path in paths)
    (tmp_path / "list.opml").write_text(f'<opml version="2.0"><body>{outlines}</body></opml>')
    try:
        done = clet("ingest", "feed:list.opml", "--allow-private", "--plain", "--json", "--ignore-robots")
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 1
    wanted = [f"story {number}" for number in range(150) if f"/{number}" not in press.broken]
    assert [record["title"] for record in records(done)] == wanted
    assert summary(done)["failed"] == 2


def start_following(folder, *arguments):
    return subprocess.Popen(
        [CLET, "ingest", "--follow", "--interval", "0.1", "--state", "s", "--plain", "--allow-private", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=clean_environment(),
    )


def test_killed_at_any_moment_no_document_is_lost_and_repeats_have_the_same_id(press, tmp_path):
    for number in range(12):
        press.stories[f"/{number}"] = [f"{number}: first", f"{number}: second"]
    feeds = [f"feed:{press.url}/{number}" for number in range(12)]
    ids = {}
    for kill_after in (1, 3, 7, 12, 20, 24, 2, 30):
        for titles in press.stories.values():
            titles.append(f"{titles[0]} and {len(titles)}")
        process = start_following(tmp_path, *feeds)
        try:
            for _ in range(kill_after):
                line = process.stdout.readline()
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line)
                assert ids.setdefault(record["title"], record["id"]) == record["id"]
        finally:
            process.kill()
            rest = process.stdout.read().splitlines(keepends=True)
            process.wait()
        for line in rest:
            if line.endswith(b"\n"):
                record = json.loads(line)
                assert ids.setdefault(record["title"], record["id"]) == record["id"]
    wanted = {title for titles in press.stories.values() for title in titles}
    process = start_following(tmp_path, *feeds)
    try:
        while ids.keys() < wanted:
            record = json.loads(process.stdout.readline())
            assert ids.setdefault(record["title"], record["id"]) == record["id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()
    assert ids.keys() == wanted


def test_status_can_be_asked_while_an_intake_runs_and_rejects_grow_meanwhile(clet, press, tmp_path):
    press.stories["/a"] = ["one"]
    process = start_following(tmp_path, f"feed:{press.url}/a", "--since", "2026-01-01", "--rejects", "r.jsonl")
    try:
        assert json.loads(process.stdout.readline())["title"] == "one"
        rows = []
        while not rows or not rows[0]["documents"]:
            rows = records(clet("ingest", "--status", "--state", "s"))
        assert rows[0]["source"] == f"feed:{press.url}/a"
        assert clet("ingest", f"feed:{press.url}/a", "--state", "s").returncode == 75
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "r.jsonl").exists()


def test_the_adapter_of_the_manual_works_as_printed(clet, tmp_path):
    page = (MAN / "clet-sources.7.in").read_text()
    code = re.search(r'^\.\\" clet_mbox\.py\n\.Bd -literal.*\n((?:.*\n)*?)\.Ed', page, re.M)[1]
    code = code.replace("\\e", "\\").replace("\\-", "-").replace("\\&", "")
    assert code.count("\n") <= 40
    (tmp_path / "clet_mbox.py").write_text(code)
    installed = tmp_path / "clet_mbox-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: clet-mbox\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[clet.adapters]\nmbox = clet_mbox\n")
    mails = "From a@x\nSubject: One\nDate: Thu, 01 Jan 2026 10:00:00 +0100\n\nFirst mail.\n\n"
    (tmp_path / "in.mbox").write_text(mails)
    environment = {"PYTHONPATH": str(tmp_path)}
    line = ["ingest", "mbox:in.mbox", "--plain", "--state", "s"]
    (first,) = records(clet(*line, env=environment))
    assert (first["source"], first["title"], first["text"]) == ("mbox", "One", "First mail.")
    assert first["published"] == "2026-01-01T09:00:00Z"
    assert clet(*line, env=environment).returncode == 3
    with open(tmp_path / "in.mbox", "a") as file:
        file.write("From b@x\nSubject: Two\n\nSecond mail.\n")
    assert [record["title"] for record in records(clet(*line, env=environment))] == ["Two"]
    assert clet("ingest", "mbox:in.mbox").returncode == 2
