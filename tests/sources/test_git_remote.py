"""Repositories at a URL, from a real server on loopback: whole, then what is new; checked, bounded, killable."""

import base64
import gzip
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.git import adapter as git
from clet.sources.git import process, remote
from clet.sources.interruption import Interrupted, Interruption


class GitServer:
    """Git's smart HTTP protocol for one repository, by `git upload-pack`; `answer` may do something else first."""

    def __init__(self, repository):
        self.requests = []
        self.answer = None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(("GET", self.path, dict(self.headers)))
                if server.answer is None or not server.answer(self):
                    head = b"001e# service=git-upload-pack\n0000"
                    self.give(head + server.upload_pack(self, ["--http-backend-info-refs"], b""), "advertisement")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                server.requests.append(("POST", self.path, dict(self.headers)))
                if server.answer is None or not server.answer(self):
                    self.give(server.upload_pack(self, [], body), "result")

            def give(self, body, kind):
                self.send_response(200)
                self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.repository = repository
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/o/r.git"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def upload_pack(self, handler, arguments, body):
        protocol = {"GIT_PROTOCOL": handler.headers.get("Git-Protocol", "")}
        command = ["git", "-c", "uploadpack.allowFilter=true", "upload-pack", "--stateless-rpc", *arguments]
        return subprocess.run(
            [*command, str(self.repository.path)], input=body, env=os.environ | protocol, capture_output=True
        ).stdout


@pytest.fixture
def server(repository):
    made = GitServer(repository)
    repository.write("a.txt", "text a\n")
    repository.write("b.txt", "text b\n")
    repository.commit("2020-01-01T00:00:00Z")
    yield made
    made.http.shutdown()
    made.http.server_close()


def titles(documents):
    return [document["title"] for document in documents]


def clone_of(tmp_path):
    (path,) = (tmp_path / "cache" / "git").glob("*.git")
    return path


def test_a_url_is_fetched_into_the_cache_and_again_only_what_is_new(server, repository, context, tmp_path):
    cursor = {}
    assert titles(git.read(server.url, context("git", cursor))) == ["a.txt", "b.txt"]
    repository.write("b.txt", "text b, edited\n")
    repository.git("mv", "a.txt", "moved.txt")
    repository.commit("2021-01-01T00:00:00Z")
    (document,) = git.read(server.url, context("git", cursor))
    assert document["title"] == "b.txt" and document["published"] == "2021-01-01T00:00:00Z"
    assert document["meta"]["supersedes"] and document["origin"] == server.url
    assert list(git.read(server.url, context("git", cursor))) == []
    assert not list((tmp_path / "cache").rglob("*.sample"))


def test_a_rewritten_remote_is_followed(server, repository, context):
    cursor = {}
    before = list(git.read(server.url, context("git", cursor)))
    repository.git("checkout", "-q", "--orphan", "other")
    repository.git("rm", "-q", "--cached", "b.txt")
    os.unlink(repository.path / "b.txt")
    repository.commit("2021-01-01T00:00:00Z")
    (gone,) = git.read(server.url, context("git", cursor))
    assert gone["id"] == before[1]["id"] and gone["meta"]["deleted"]


def test_blobs_that_nobody_would_read_stay_away_and_are_not_asked_for_later(
    server, repository, context, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote, "MAX_SOURCE_BYTES", 1000)
    repository.write("large.txt", os.urandom(50_000).hex())
    repository.write("edge.txt", "x" * 1000)
    repository.commit("2021-01-01T00:00:00Z")
    cursor = {}
    given = context("git", cursor)
    assert titles(git.read(server.url, given)) == ["a.txt", "b.txt", "edge.txt"]
    assert given.outlet.counts == {"absent": 1}
    packs = [file.stat().st_size for file in clone_of(tmp_path).rglob("*.pack")]
    assert sum(packs) < 10_000
    repository.write("large.txt", "small now\n")
    repository.commit("2022-01-01T00:00:00Z")
    assert titles(git.read(server.url, context("git", cursor))) == ["large.txt"]
    assert "promisor" not in (clone_of(tmp_path) / "config").read_text()


def test_sha256_repositories_are_fetched(context, tmp_path):
    class Wide:
        path = tmp_path / "wide"

    environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(Wide.path)], check=True, env=environment)
    (Wide.path / "a.txt").write_text("text\n")
    command = ["git", "-C", str(Wide.path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*command, "add", "."], check=True, env=environment)
    subprocess.run([*command, "commit", "-q", "-m", "x"], check=True, env=environment)
    wide = GitServer(Wide)
    try:
        assert titles(git.read(wide.url, context("git"))) == ["a.txt"]
    finally:
        wide.http.shutdown()
        wide.http.server_close()


def test_a_remote_without_commits_is_a_failure(server, repository, context):
    repository.git("symbolic-ref", "HEAD", "refs/heads/none")
    with pytest.raises(SourceFailed, match="no commit under HEAD"):
        list(git.read(server.url, context("git")))


def test_credentials_are_sent_and_neither_shown_nor_stored(server, context, tmp_path):
    secret = "s3cret%20word"
    url = server.url.replace("http://", f"http://me:{secret}@")
    documents = list(git.read(url, context("git")))
    assert {document["origin"] for document in documents} == {server.url}
    expected = "Basic " + base64.b64encode(b"me:s3cret word").decode()
    assert {headers.get("Authorization") for _, _, headers in server.requests} == {expected}
    for path in (tmp_path / "cache").rglob("*"):
        assert "s3cret" not in path.name
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


def test_a_redirect_is_refused_and_said(server, context):
    def redirect(handler):
        handler.send_response(301)
        handler.send_header("Location", server.url.replace("127.0.0.1", "localhost") + "/info/refs")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.answer = redirect
    with pytest.raises(SourceFailed, match="redirects are not followed"):
        list(git.read(server.url, context("git")))
    assert len(server.requests) == 1


def test_the_connection_goes_to_the_address_that_was_checked(server, context, monkeypatch):
    monkeypatch.setattr(remote, "checked_addresses", lambda *_: ["127.0.0.1"])
    url = server.url.replace("127.0.0.1", "name-that-nobody-has.invalid")
    assert titles(git.read(url, context("git"))) == ["a.txt", "b.txt"]


def test_a_clone_that_grows_too_large_is_ended_and_removed(server, repository, context, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MAX_CLONE_BYTES", 300_000)
    monkeypatch.setattr(remote, "WEIGH_S", 0.0)
    monkeypatch.setattr(process, "POLL_S", 0.01)
    repository.write("c.txt", os.urandom(1_000_000).hex())
    repository.commit("2021-01-01T00:00:00Z")

    pack = GitServer.upload_pack

    def dripping(self, handler, arguments, body):
        answer = pack(self, handler, arguments, body)
        if len(answer) > 500_000:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/x-git-upload-pack-result")
            handler.end_headers()
            handler.wfile.write(answer[:-1000])
            handler.wfile.flush()
            over.wait(20)
        return answer

    over = threading.Event()
    monkeypatch.setattr(GitServer, "upload_pack", dripping)
    try:
        with pytest.raises(SourceFailed, match="clone it yourself"):
            list(git.read(server.url, context("git")))
    finally:
        over.set()
    assert not list(clone_of(tmp_path).rglob("tmp_*"))


def test_a_fetch_that_hangs_ends_with_the_intake(server, context, tmp_path):
    asked, over = threading.Event(), threading.Event()

    def hang(handler):
        asked.set()
        over.wait(20)
        return True

    server.answer = hang
    interruption = Interruption()
    threading.Thread(target=lambda: (asked.wait(20), interruption.stop.set()), daemon=True).start()
    try:
        with pytest.raises(Interrupted):
            list(git.read(server.url, context("git", interruption=interruption)))
    finally:
        over.set()
    assert not process._children


def test_a_fetch_that_takes_too_long_is_a_failure(server, context, monkeypatch):
    monkeypatch.setattr(remote, "ASK_TIMEOUT_S", 0.3)
    over = threading.Event()
    server.answer = lambda handler: over.wait(20) or True
    try:
        with pytest.raises(SourceFailed, match="took too long"):
            list(git.read(server.url, context("git")))
    finally:
        over.set()


def test_what_a_killed_fetch_left_does_not_stop_the_next(server, repository, context, tmp_path):
    cursor = {}
    list(git.read(server.url, context("git", cursor)))
    clone = clone_of(tmp_path)
    for left in ("HEAD.lock", "refs/clet/head.lock", "shallow.lock", "config.lock", "packed-refs.lock"):
        (clone / left).write_bytes(b"")
    (clone / "objects" / "pack" / "tmp_pack_x").write_bytes(b"half")
    repository.write("c.txt", "text c\n")
    repository.commit("2021-01-01T00:00:00Z")
    assert titles(git.read(server.url, context("git", cursor))) == ["c.txt"]
    assert not list(clone.rglob("tmp_*"))


SCRIPT = """
import json, sys
from datetime import datetime, UTC
from pathlib import Path
from clet.sources.git import adapter as git
from clet.sources.adapter import Context
from clet.sources.text import scrub

class Outlet:
    def count(self, what, number): pass
    def idle(self): pass

def commit():
    new = cursor.with_suffix(".new")
    new.write_text(json.dumps(kept))
    new.rename(cursor)

url, cache, cursor = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
kept = json.loads(cursor.read_text()) if cursor.exists() else {}
context = Context("git", "x", kept, datetime.now(UTC), Outlet(), None, scrub, cache, allow_private=True)
"""
READ = """
for document in git.read(url, context):
    print(document["title"], flush=True)
    commit()
commit()
"""
LEAVE = """
import threading
threading.Thread(target=lambda: list(git.read(url, context)), daemon=True).start()
input()
"""


def test_killed_at_any_moment_no_document_is_lost(server, repository, tmp_path):
    for number in range(150):
        repository.write(f"{number:03}.txt", f"text {number}\n")
    repository.commit("2021-01-01T00:00:00Z")
    command = [sys.executable, "-c", SCRIPT + READ, server.url, str(tmp_path / "cache"), str(tmp_path / "cursor")]
    environment = os.environ | {"PYTHONPATH": str(Path(git.__file__).parents[3])}
    met = []
    for kill_after in (0, 40, 90, None):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        if kill_after == 0:
            while not list((tmp_path / "cache").glob("git/*.git")) and child.poll() is None:
                time.sleep(0.005)
            child.kill()
        elif kill_after:
            met += [child.stdout.readline().strip() for _ in range(kill_after)]
            child.kill()
        met += child.stdout.read().split()
        child.wait()
    assert child.returncode == 0
    assert set(met) == {"a.txt", "b.txt", *(f"{number:03}.txt" for number in range(150))}
    assert json.loads((tmp_path / "cursor").read_text()).keys() == {"commit"}


@pytest.mark.parametrize(
    "locator",
    [
        "ext::sh -c true",
        "ext://x",
        "git://example.org/x",
        "http://93.184.215.14/x",
        "--upload-pack=true",
        "https://-x/y",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://169.254.169.254/x",
        "https://good.example\\@127.0.0.1/x",
        "https://exam ple.org/x",
        "https://8.8.8.8/a b",
        "https://8.8.8.8/a\nb",
        "ssh://localhost/x",
        "ssh://-oProxyCommand=true@8.8.8.8/x",
        "ssh://8.8.8.8:x/",
        "git@localhost:x",
        "-oProxyCommand=true@8.8.8.8:x",
        "git@8.8.8.8:-x",
        "https://x:port/",
        "https://",
        "/nowhere",
    ],
)
def test_other_transports_and_private_hosts_are_refused(locator, context, monkeypatch):
    monkeypatch.setattr(remote, "run", lambda *_, **__: pytest.fail("git was run"))
    with pytest.raises(SourceFailed) as caught:
        list(git.read(locator, context("git", allow_private=False)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("locator", "url", "transport"),
    [
        ("ssh://git@8.8.8.8:2222/o/r.git", "ssh://git@8.8.8.8:2222/o/r.git", "ssh"),
        ("git@8.8.8.8:o/r.git", "git@8.8.8.8:o/r.git", "ssh"),
        ("https://u:p@8.8.8.8/o/r.git?x=1#frag", "https://8.8.8.8/o/r.git?x=1", "https"),
        ("https://[2606:4700:4700::1111]/o/r", "https://[2606:4700:4700::1111]/o/r", "https"),
    ],
)
def test_git_is_given_a_url_made_of_what_was_checked(locator, url, transport, context):
    found = remote.remote_of(locator, context("git", allow_private=False))
    assert (found.url, found.transport) == (url, transport)


def test_a_server_that_never_stops_talking_is_not_listened_to(server, context):
    server.answer = lambda handler: handler.give(b"0012\x02" + b"\x1b[31mnoise" * 100_000, "advertisement") or True
    with pytest.raises(SourceFailed) as caught:
        list(git.read(server.url, context("git")))
    assert len(str(caught.value)) < 500 and "\x1b" not in str(caught.value)


def test_two_fetches_into_one_folder_take_turns(server, context, patience):
    list(git.read(server.url, context("git")))
    given = context("git")
    (clone,) = (given.cache / "git").glob("*.git")
    with remote._locked(clone, given):
        waiting = context("git")
        release = threading.Event()
        waiting.interruption.sleep = lambda seconds: release.set() or (_ for _ in ()).throw(Interrupted())
        with pytest.raises(Interrupted):
            list(git.read(server.url, waiting))
        assert release.is_set()


def test_children_do_not_outlive_the_command(tmp_path):
    port = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{port.getsockname()[1]}/x"
    environment = os.environ | {"PYTHONPATH": str(Path(git.__file__).parents[3])}
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + LEAVE, url, str(tmp_path / "cache"), str(tmp_path / "cursor")],
        stdin=subprocess.PIPE,
        env=environment,
    )
    connection, _ = port.accept()  # git asks, and gets no answer
    child.communicate(b"\n", timeout=20)
    connection.settimeout(20)
    while connection.recv(1000):
        pass  # git hung up, because it is gone
    assert child.returncode == 0
