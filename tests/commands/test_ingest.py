"""clet ingest as a process: what comes out, what is remembered, how it ends."""

import contextlib
import gzip
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tokenizers
from processes import CLET, clean_environment

from clet.cli import run

NOW = ("--now", "2026-03-01T12:00:00Z")


def rss(*titles):
    items = "".join(
        f"<item><guid>{title.split(':')[0]}</guid><title>{title}</title><description>Story {title}.</description>"
        f"<pubDate>2026-02-0{number + 1}</pubDate></item>"
        for number, title in enumerate(titles)
    )
    return f'<rss version="2.0"><channel><title>News</title>{items}</channel></rss>'.encode()


@pytest.fixture
def news():
    """A loopback server: `pages[path]` is served with an ETag; `asked` lists (path, If-None-Match)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.server.pages.get(self.path)
            tag = f'"{hash(body)}"'
            if self.path != "/robots.txt":
                self.server.asked.append((self.path, self.headers.get("If-None-Match")))
            if body is not None and self.headers.get("If-None-Match") == tag:
                self.send_response(304)
                body = b""
            else:
                self.send_response(200 if body is not None else 404)
                self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.pages, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def tokenizer(tmp_path):
    """A byte-level tokenizer.json without merges: one id a byte."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    engine = tokenizers.Tokenizer(tokenizers.models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    engine.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(done):
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "summary"
    return last


def jsonl(*texts):
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def test_stdin_becomes_records_with_tokens_that_decode_back(clet, tokenizer):
    done = clet("ingest", "--plain", "--tokenizer", tokenizer, *NOW, input=jsonl("One \u00fc.", "Two."))
    assert done.returncode == 0
    one, two = records(done)
    assert (one["text"], one["tok"]["n"], two["tok"]["n"]) == ("One \u00fc.", 7, 4)
    assert one["fetched"] == "2026-03-01T12:00:00Z"
    assert list(one)[-2:] == ["text", "tok"]
    assert done.stderr.startswith(b"clet ingest: 2 in, 2 out, 0 bad, 11 tokens")


def test_a_feed_is_asked_for_once_read_once_and_its_edits_follow(clet, news):
    news.pages["/feed"] = rss("a: first", "b: first")
    line = ["ingest", f"feed:{news.url}/feed", "--allow-private", "--state", "s", "--plain", "--json"]
    first = clet(*line)
    assert first.returncode == 0
    assert [record["title"] for record in records(first)] == ["a: first", "b: first"]
    assert records(first)[0]["published"] == "2026-02-01T00:00:00Z"
    again = clet(*line)
    assert (again.returncode, again.stdout) == (3, b"")
    assert summary(again)["sources"] == {f"feed:{news.url}/feed": {"unchanged": 1}}
    assert [tag is not None for _, tag in news.asked] == [False, True]
    news.pages["/feed"] = rss("c: first", "a: second", "b: first")
    edited = clet(*line)
    assert [record["title"] for record in records(edited)] == ["c: first", "a: second"]
    assert records(edited)[1]["meta"]["supersedes"] == records(first)[0]["id"]


def test_without_state_everything_comes_each_time(clet, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    assert clet("ingest", "file:a.txt", *NOW).stdout == clet("ingest", "file:a.txt", *NOW).stdout != b""


def test_what_could_not_be_written_is_not_remembered(clet, bash, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    assert bash("clet ingest file:'*.txt' --state s > /dev/full").returncode == 74
    assert bash("clet ingest file:'*.txt' --state s -o nowhere/out.clet").returncode == 74
    reader, writer = os.pipe()
    os.close(reader)
    line = [CLET, "ingest", "file:*.txt", "--state", "s"]
    assert subprocess.run(line, stdout=writer, cwd=tmp_path, env=clean_environment()).returncode != 0
    os.close(writer)
    assert not (tmp_path / "s" / "HEAD").exists()
    assert clet("ingest", "file:*.txt", "--state", "s", "--plain").stdout.count(b"\n") == 3


def test_a_killed_run_is_repeated_with_the_same_ids(clet, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl("one", "two"))
    victim = subprocess.Popen(
        [CLET, "ingest", "jsonl:a.jsonl", "jsonl:-", "--state", "s", "--plain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=clean_environment(),
    )
    before = [json.loads(victim.stdout.readline())["id"] for _ in range(2)]  # it waits for stdin now
    victim.kill()
    victim.communicate()
    after = clet("ingest", "jsonl:a.jsonl", "--state", "s", "--plain")
    assert [record["id"] for record in records(after)] == before


def test_a_failing_source_stops_no_other(clet, news, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    news.pages["/html"] = b"<!doctype html><html><body>Not here"
    done = clet(
        "ingest",
        f"feed:{news.url}/gone",
        f"feed:{news.url}/html",
        "file:a.txt",
        "file:none",
        "--allow-private",
        "--plain",
        "--json",
    )
    assert done.returncode == 1
    assert [record["text"] for record in records(done)] == ["text"]
    messages = [json.loads(line).get("message") for line in done.stderr.splitlines()[:-1]]
    assert messages == [
        f"feed:{news.url}/gone: HTTP 404",
        f"feed:{news.url}/html: an HTML page, not a feed",
        "file:none: no such file",
    ]
    assert (summary(done)["failed"], summary(done)["in"]) == (3, 1)


def test_nothing_reachable_is_69(clet, news):
    done = clet("ingest", f"feed:{news.url}/gone", "--allow-private", "-o", "out.jsonl")
    assert done.returncode == 69
    assert clet("ingest", f"feed:{news.url}/x").returncode == 1  # refused, not unreachable
    assert news.asked == [("/gone", None)]


def test_lines_that_are_no_json_are_kept_and_the_rest_goes_on(clet):
    body = jsonl("one") + b"nonsense\n" + jsonl("two")
    done = clet("ingest", "-", "--plain", "--rejects", "r.jsonl", input=body)
    assert done.returncode == 1
    assert [record["text"] for record in records(done)] == ["one", "two"]
    assert done.stderr.splitlines()[0] == b"clet ingest: stdin:2: not JSON"
    assert clet("ingest", "-", "--max-errors", "0", input=body).returncode == 65


def test_truncated_stdin_aborts_with_65(clet, tmp_path):
    done = clet("ingest", "-o", "out", "--state", "s", input=gzip.compress(jsonl("one"))[:-5])
    assert done.returncode == 65
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "s" / "HEAD").exists()


def test_empty_large_and_old_documents_go_to_the_rejects(clet, tmp_path):
    lines = [
        {"text": " \n"},
        {"text": "x" * ((8 << 20) + 1)},
        {"text": "old", "date": "2019-01-01"},
        {"text": "undated"},
        {"text": "new", "date": "2026-01-01"},
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    done = clet("ingest", "--since", "2020-01-01", "--rejects", "r.jsonl", "--plain", "--json", input=body)
    assert done.returncode == 0
    assert [record["text"] for record in records(done)] == ["undated", "new"]
    assert summary(done)["rejected"] == {"empty": 1, "too-large": 1, "old": 1}
    kept = [json.loads(line)["reject"] for line in (tmp_path / "r.jsonl").read_bytes().splitlines()]
    assert kept == [{"stage": "ingest", "reason": reason} for reason in ("empty", "too-large", "old")]


def test_the_same_bytes_at_any_j(clet, tokenizer, tmp_path):
    body = jsonl(*(f"Sentence {n} of many words. " * (n % 40 + 1) for n in range(1300)))
    line = ["ingest", "--tokenizer", tokenizer, *NOW]
    # Into a pipe a batch goes out as it arrived: the same records, not the same frames.
    piped = [clet(*line, "-j", jobs, input=body).stdout for jobs in (1, 2)]
    shown = [clet("cat", input=stream).stdout for stream in piped]
    assert shown[0] == shown[1] != b""
    for jobs in (1, 2):
        assert clet(*line, "-j", jobs, "-o", f"{jobs}.clet", input=body).returncode == 0
    assert (tmp_path / "1.clet").read_bytes() == (tmp_path / "2.clet").read_bytes() != b""


def test_a_limit_stops_and_the_rest_comes_next_time(clet, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(*"abcde"))
    line = ["ingest", "jsonl:a.jsonl", "--state", "s", "--plain", "-n", "2"]
    assert [[record["text"] for record in records(clet(*line))] for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
    assert clet(*line).returncode == 3


def test_another_tokenizer_needs_another_state(clet, tokenizer):
    assert clet("ingest", "--state", "s", input=jsonl("a")).returncode == 0
    done = clet("ingest", "--state", "s", "--tokenizer", tokenizer, input=jsonl("a"))
    assert done.returncode == 2
    assert b"made with tokenizer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.txt"], b"not a source"),
        (["nosuch:x"], b"is no adapter; known are feed:"),
        (["http://example.org/"], b"not a source"),
        (["feed:"], b"nothing follows feed:"),
        (["-", "feed:-"], b"only one source can read stdin"),
        (["-", "--since", "soon"], b"not a date"),
        (["-", "--follow", "-o", "x"], b"pipe it on"),
        (["-", "--extract", "best"], b"fast, precise"),
        (["-", "--scrub", "names"], b"known are pii, secrets"),
        (["--sources", "none.toml", "--status"], b"--status needs --state"),
        (["-", "--tokenizer", "none"], b"name a tokenizer.json"),
    ],
)
def test_wrong_usage_is_one_line_with_the_fix(arguments, words, capfdbinary, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert run(["ingest", *arguments]) == 2
    message = capfdbinary.readouterr().err
    assert words in message
    assert message.count(b"\n") == 1


def test_follow_writes_each_round_commits_it_and_ends_on_sigterm(clet, news, tmp_path):
    news.pages["/feed"] = rss("a: first")
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(tmp_path / "notify"))
    ready.settimeout(60)
    process = subprocess.Popen(
        [
            CLET,
            "ingest",
            f"feed:{news.url}/feed",
            "--follow",
            "--interval",
            "0.1",
            "--state",
            "s",
            "--plain",
            "--allow-private",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment() | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
    )
    try:
        assert json.loads(process.stdout.readline())["title"] == "a: first"
        assert ready.recv(99).startswith(b"READY=1\n")
        news.pages["/feed"] = rss("b: first", "a: first")
        assert json.loads(process.stdout.readline())["title"] == "b: first"
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"")
        assert b"2 in, 2 out" in errors.splitlines()[-1]
        assert ready.recv(99) != b""
    finally:
        ready.close()
        process.kill()
        process.wait()
    assert clet("ingest", f"feed:{news.url}/feed", "--state", "s", "--allow-private").returncode == 3


def test_follow_passes_on_stdin_as_it_arrives(tmp_path):
    process = subprocess.Popen(
        [CLET, "ingest", "--follow", "--plain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=clean_environment(),
    )
    try:
        for text in ("one", "two"):
            process.stdin.write(jsonl(text))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdout.close()


def test_sigterm_reaches_a_process_that_waits_for_stdin(tmp_path):
    process = subprocess.Popen(
        [CLET, "ingest", "--follow", "--plain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=clean_environment(),
    )
    try:
        process.stdin.write(jsonl("one"))
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def test_sigterm_ends_a_follower_whose_output_nobody_reads_and_what_was_committed_stays(clet, tmp_path):
    process = subprocess.Popen(
        [CLET, "ingest", "--follow", "--plain", "--state", "s", f"jsonl:{tmp_path}/some.jsonl", "--interval", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(),
    )
    path = tmp_path / "some.jsonl"
    try:
        path.write_bytes(jsonl("first"))
        assert json.loads(process.stdout.readline())["text"] == "first"
        for _ in range(600):  # until that is committed
            rows = clet("ingest", "--status", "--state", "s").stdout
            if rows and json.loads(rows.splitlines()[0])["documents"] == 1:
                break
            time.sleep(0.05)
        with path.open("ab") as file:
            file.write(b"".join(jsonl(f"{number} {'x' * 10_000}") for number in range(200)))
        while not select.select([process.stdout], [], [], 0.1)[0]:
            pass
        time.sleep(0.5)  # it is in the middle of 2 MB, and the pipe is full
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(timeout=60) == 143
        assert time.monotonic() - started < 30  # about one second; it never ended
        assert b"nobody read the output" in process.stderr.read().splitlines()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    again = clet("ingest", f"jsonl:{path}", "--state", "s", "--plain")
    assert [json.loads(line)["text"].split()[0] for line in again.stdout.splitlines()] == [str(n) for n in range(200)]
