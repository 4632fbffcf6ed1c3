"""The archive of what was fetched: read back by two other readers, found by digest, whole after kill -9."""

import gzip
import hashlib
import io
import itertools
import os
import random
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from fastwarc.warc import ArchiveIterator as FastwarcReader

from clet.exits import InputError, WriteError
from clet.sources.adapter import SourceFailed
from clet.sources.web import archive as archive_module
from clet.sources.web.archive import Archive
from clet.sources.web.archive_index import copy, entries, find, members
from clet.sources.web.fetch import Fetcher
from clet.sources.web.warc_record import MAX_HTTP_HEAD_BYTES, Head

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEAD = Head(200, "OK", [(b"Content-Type", b"text/html"), (b"Content-Length", b"9")], decoded=True)
NOISE = random.Random(5).randbytes(3_000_000)


def sha(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def kept(tmp_path):
    made = []

    def make(**settings):
        seconds = itertools.count()
        settings = {"clock": lambda: START + timedelta(seconds=next(seconds))} | settings
        made.append(Archive(tmp_path / "archive", **settings))
        return made[-1]

    return make


@pytest.fixture
def fetching(web, patience, kept):
    """A fetcher that archives, and its archive."""
    archive = kept()
    return Fetcher("tests", allow_private=True, interruption=patience, archive=archive, clock=patience.clock), archive


def by_fastwarc(folder):
    """(type, URL, status line, headers, payload) of every record but the warcinfo ones; digests are verified."""
    for path in sorted(folder.glob("*.warc.gz")):
        for record in FastwarcReader(io.BytesIO(path.read_bytes())):
            kind = record.headers["WARC-Type"]
            if kind == "warcinfo":
                continue
            http = record.http_headers if record.is_http else None
            if kind != "revisit":
                verify = record.verify_payload_digest if http else record.verify_block_digest
                assert verify(consume=False)
            body = record.reader.read()
            yield kind, record.headers, http, body


def by_warcio(folder):
    """The same; skips the test where warcio is not installed."""
    reader = pytest.importorskip("warcio.archiveiterator").ArchiveIterator
    for path in sorted(folder.glob("*.warc.gz")):
        with open(path, "rb") as file:
            for record in reader(file, check_digests=True):
                body = record.content_stream().read()
                assert record.digest_checker.passed is not False
                assert record.digest_checker.problems == []
                if record.rec_type != "warcinfo":
                    yield record.rec_type, record.rec_headers, record.http_headers, body


def test_a_page_is_kept_decoded_so_that_its_digest_is_the_documents_raw(web, fetching, tmp_path):
    text = b"<html>some words</html>" * 50
    web.routes["/x?q=\xe9"] = web.routes["/x?q=%C3%A9"] = (
        200,
        {"Content-Encoding": "gzip", "Content-Type": "text/html; charset=utf-8", "X-Note": "y"},
        gzip.compress(text),
    )
    fetcher, archive = fetching
    page = fetcher.get(f"http://me:secret@127.0.0.1:{web.port}/x?q=%C3%A9", {})
    assert page.body == text
    archive.close()
    for reader in (by_fastwarc, by_warcio):
        ((kind, fields, http, body),) = reader(tmp_path / "archive")
        assert (kind, body) == ("response", text)
        read = dict(fields.items() if reader is by_fastwarc else fields.headers)
        assert read["WARC-Target-URI"] == page.url == f"{web.url}/x?q=%C3%A9"
        assert read["WARC-Payload-Digest"] == f"sha256:{sha(text)}"
        assert read["WARC-IP-Address"] == "127.0.0.1"
        assert read["WARC-Date"].startswith("2026-03-01T12:00:")
        told = dict(http.items() if reader is by_fastwarc else http.headers)
        assert told["X-Archive-Orig-Content-Encoding"] == "gzip"
        assert told["Content-Length"] == str(len(text))
        assert told["X-Archive-Orig-Content-Length"] == str(len(gzip.compress(text)))
        assert (told["X-Note"], told["Content-Type"]) == ("y", "text/html; charset=utf-8")
        assert "Content-Encoding" not in told
    files = list((tmp_path / "archive").iterdir())
    assert not any(b"secret" in file.read_bytes() for file in files)
    assert find(tmp_path / "archive", sha(page.body)) == text


def test_every_file_says_who_wrote_it_and_is_warc_1_1(kept, tmp_path):
    archive = kept()
    archive.store("http://a.example/", HEAD, b"some text", None)
    archive.close()
    (path,) = (tmp_path / "archive").glob("*.warc.gz")
    assert path.name.startswith("clet-20260301T1200") and path.name.endswith(f"-{os.getpid()}-00001.warc.gz")
    whole = gzip.decompress(path.read_bytes())
    assert whole.startswith(b"WARC/1.1\r\nWARC-Type: warcinfo\r\n")
    assert f"WARC-Filename: {path.name}\r\n".encode() in whole
    assert len(list(members(io.BytesIO(path.read_bytes())))) == 2
    idents = [line for line in whole.split(b"\r\n") if line.startswith(b"WARC-Record-ID")]
    assert len(set(idents)) == 2


def test_what_comes_again_is_a_revisit_of_the_first(kept, tmp_path):
    archive = kept()
    archive.store("http://a.example/1", HEAD, b"some text", "192.0.2.1")
    archive.store("http://a.example/2", HEAD, b"some text", "192.0.2.1")
    archive.close()
    archive = kept()  # also in the next run
    archive.store("http://a.example/3", HEAD, b"some text", None)
    archive.close()
    for reader in (by_fastwarc, by_warcio):
        first, *others = reader(tmp_path / "archive")
        assert (first[0], first[3]) == ("response", b"some text")
        date = first[1].get("WARC-Date") if reader is by_fastwarc else first[1].get_header("WARC-Date")
        assert len(others) == 2
        for kind, fields, http, body in others:
            read = dict(fields.items() if reader is by_fastwarc else fields.headers)
            assert (kind, body) == ("revisit", b"")
            assert read["WARC-Profile"] == "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
            assert read["WARC-Refers-To-Target-URI"] == "http://a.example/1"
            assert read["WARC-Refers-To-Date"] == date
            assert read["WARC-Payload-Digest"] == f"sha256:{sha(b'some text')}"
            assert http is not None
    assert [entry.type for entry in entries(tmp_path / "archive")] == ["response", "revisit", "revisit"]


def test_nothing_is_a_revisit_of_what_was_taken_away(kept, tmp_path):
    archive = kept()
    archive.store("http://a.example/1", HEAD, b"some text", None)
    archive.close()
    for path in (tmp_path / "archive").glob("*.warc.gz"):
        path.unlink()
    for _ in range(2):
        archive = kept()
        archive.store("http://a.example/1", HEAD, b"some text", None)
        archive.close()
    assert [kind for kind, *_ in by_warcio(tmp_path / "archive")] == ["response", "revisit"]
    assert find(tmp_path / "archive", sha(b"some text")) == b"some text"


def test_the_memory_of_what_was_seen_is_bounded(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_SEEN", 10)
    archive = kept()
    for number in range(50):
        archive.store("http://a.example/", HEAD, b"%d" % number, None)
    assert len(archive._seen) == 10
    archive.store("http://a.example/", HEAD, b"0", None)
    archive.store("http://a.example/", HEAD, b"49", None)
    archive.close()
    assert [entry.type for entry in entries(tmp_path / "archive")][-2:] == ["response", "revisit"]


def test_files_are_open_while_written_and_rotate(kept, tmp_path):
    archive = kept(max_file_bytes=2_500)
    folder = tmp_path / "archive"
    bodies = [NOISE[start : start + 1000] for start in range(0, 10_000, 1000)]
    for body in bodies:
        archive.store("http://a.example/", HEAD, body, None)
        assert find(folder, sha(body)) == body  # also before the file is finished
    assert len(list(folder.glob("*.open"))) <= 1
    archive.close()
    assert list(folder.glob("*.open")) == []
    assert len(list(folder.glob("*.warc.gz"))) == 5
    assert sorted(body for *_, body in by_warcio(folder)) == sorted(bodies)
    assert len({entry.file for entry in entries(folder)}) == 5


def test_the_index_has_one_line_a_record(kept, tmp_path):
    archive = kept()
    archive.store("http://a.example/", HEAD, b"some text", None)
    archive.close()
    (line,) = (tmp_path / "archive" / "index.jsonl").read_bytes().splitlines()
    entry = orjson.loads(line)
    assert entry["digest"] == sha(b"some text")
    assert (entry["url"], entry["date"], entry["type"]) == ("http://a.example/", "2026-03-01T12:00:01Z", "response")
    member = (tmp_path / "archive" / entry["file"]).read_bytes()[entry["offset"] :][: entry["length"]]
    assert b"some text" in gzip.decompress(member)


def test_hostile_headers_forge_no_record(kept, tmp_path):
    forged = [(b"X", b"y\r\n\r\nWARC/1.1\r\nWARC-Type: response"), (b"Z\r\nA", b"\0")]
    flood = [(b"X-%d" % number, b"y" * 1000) for number in range(200)]
    archive = kept()
    archive.store("http://a.example/", Head(200, "O\r\nK", forged + flood, decoded=True), b"some text", None)
    archive.close()
    for reader in (by_fastwarc, by_warcio):
        ((kind, _, http, body),) = reader(tmp_path / "archive")
        assert (kind, body) == ("response", b"some text")
        told = dict(http.items() if reader is by_fastwarc else http.headers)
        assert 10 < len(told) < 20
        assert sum(map(len, told.values())) < MAX_HTTP_HEAD_BYTES


# ---- downloads


@pytest.mark.parametrize("body", [NOISE, gzip.compress(NOISE[:100_000]) * 3, b"words " * 500_000, b""])
def test_a_download_is_kept_as_it_was_sent(web, fetching, tmp_path, body):
    web.routes["/f"] = 200, {"Content-Encoding": "x-gzip", "Content-Type": "application/warc"}, body
    fetcher, archive = fetching
    first = fetcher.download(f"{web.url}/f", tmp_path / "cache", {})
    again = fetcher.download(f"{web.url}/f", tmp_path / "cache", {})
    archive.close()
    assert first.raw == again.raw == sha(body)
    for reader in (by_fastwarc, by_warcio):
        (kind, _, http, _), (kind_again, *_) = reader(tmp_path / "archive")
        assert (kind, kind_again) == ("response", "revisit")
        assert http.get("Content-Encoding") == "x-gzip" if reader is by_fastwarc else True
    assert find(tmp_path / "archive", first.raw) == body
    with open(tmp_path / "copy", "w+b") as into:
        assert copy(tmp_path / "archive", first.raw, into) == len(body)
    assert (tmp_path / "copy").read_bytes() == body


def test_a_resumed_download_is_a_resource_since_no_answer_had_all_of_it(web, fetching, tmp_path):
    def route(handler):
        if handler.headers["Range"]:
            return 206, {"Content-Range": "bytes 1000-2999/3000", "ETag": '"e"'}, NOISE[1000:3000]
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Type: a/b\r\nContent-Length: 3000\r\n\r\n')
        handler.wfile.write(NOISE[:1000])
        return None

    web.routes["/f"] = route
    fetcher, archive = fetching
    got = fetcher.download(f"{web.url}/f", tmp_path / "cache", {})
    archive.close()
    for reader in (by_fastwarc, by_warcio):
        ((kind, fields, _, body),) = reader(tmp_path / "archive")
        read = dict(fields.items() if reader is by_fastwarc else fields.headers)
        assert (kind, body, read["Content-Type"]) == ("resource", NOISE[:3000], "a/b")
    assert find(tmp_path / "archive", got.raw) == NOISE[:3000]


def test_robots_redirects_and_failures_are_not_kept(web, fetching, tmp_path):
    web.routes |= {
        "/robots.txt": (200, {}, b"User-agent: *\nAllow: /"),
        "/a": (302, {"Location": "/b"}, b"moved"),
        "/b": (200, {"ETag": '"e"'}, b"found"),
        "/c": (500, {}, b"failed"),
    }
    fetcher, archive = fetching
    page = fetcher.get(f"{web.url}/a", {})
    assert fetcher.get(f"{web.url}/b", page.validators).body == b"found"
    with pytest.raises(SourceFailed):
        fetcher.get(f"{web.url}/c", {})
    archive.close()
    assert [(kind, body) for kind, _, _, body in by_warcio(tmp_path / "archive")] == [
        ("response", b"found"),
        ("revisit", b""),
    ]


# ---- finding


def test_what_is_not_there_or_not_what_it_was_is_an_error(kept, tmp_path):
    folder = tmp_path / "archive"
    with pytest.raises(InputError, match="nothing with the SHA-256"):
        find(folder, sha(b"x"))
    archive = kept()
    archive.store("http://a.example/1", HEAD, NOISE[:1000], None)
    archive.store("http://a.example/2", HEAD, NOISE[1000:2000], None)
    archive.close()
    with pytest.raises(InputError, match="nothing with the SHA-256"):
        find(folder, sha(b"x"))
    first, second = entries(folder)
    (path,) = folder.glob("*.warc.gz")
    body = bytearray(path.read_bytes())
    body[first.offset + first.length // 2] ^= 1
    path.write_bytes(body)
    with pytest.raises(InputError, match=f"the record at {first.offset} (is not what was archived|cannot be read)"):
        find(folder, first.digest)
    assert find(folder, second.digest) == NOISE[1000:2000]
    path.write_bytes(body[: second.offset + second.length // 2])
    with pytest.raises(InputError, match=f"the record at {second.offset} "):
        find(folder, second.digest)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        find(folder, second.digest)


def test_a_damaged_line_of_the_index_is_passed_over(kept, tmp_path):
    archive = kept()
    archive.store("http://a.example/1", HEAD, b"one", None)
    archive.close()
    with open(tmp_path / "archive" / "index.jsonl", "ab") as file:
        file.write(b'{"digest": "' + sha(b"two").encode())
    archive = kept()
    archive.store("http://a.example/2", HEAD, b"two", None)
    archive.close()
    assert find(tmp_path / "archive", sha(b"two")) == b"two"
    assert len(list(entries(tmp_path / "archive"))) == 2


# ---- faults

KILLED = """
import os, sys
from pathlib import Path
from clet.sources.web.archive import Archive
from clet.sources.web.warc_record import Head
archive = Archive(Path(sys.argv[1]))
for number in range(20):
    archive.store(f"http://a.example/{number}", Head(200, "OK", [], True), b"body %d" % number, None)
if len(sys.argv) > 2:
    os.write(archive._file.fd, bytes.fromhex(sys.argv[2]))
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("tail", [b"", b"\x1f", gzip.compress(NOISE[:500])[:-3], b"nonsense", bytes(4096)])
def test_a_killed_run_loses_no_whole_record_and_its_tail_is_cut(kept, tmp_path, tail):
    folder = tmp_path / "archive"
    child = subprocess.run([sys.executable, "-c", KILLED, str(folder), *([tail.hex()] if tail else [])], check=False)
    assert child.returncode == -9
    assert len(list(folder.glob("*.open"))) == 1
    index = (folder / "index.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "index.jsonl").write_bytes(b"".join(index[:7]) + index[7][:50])  # as if it had lagged behind
    archive = kept()
    assert list(folder.glob("*.open")) == []
    archive.store("http://a.example/again", HEAD, b"body 3", None)
    archive.store("http://a.example/again", HEAD, b"body 13", None)
    archive.close()
    for reader in (by_fastwarc, by_warcio):
        bodies = [body for kind, *_, body in reader(folder) if kind == "response"]
        assert bodies == [b"body %d" % number for number in range(20)]
    for number in range(20):
        assert find(folder, sha(b"body %d" % number)) == b"body %d" % number
    assert len(list(entries(folder))) == 22


def test_a_file_that_a_living_process_writes_is_left_alone(kept, tmp_path):
    first = kept()
    first.store("http://a.example/1", HEAD, b"one", None)
    second = kept()
    second.store("http://a.example/2", HEAD, b"two", None)
    first.store("http://a.example/3", HEAD, b"three", None)
    for archive in (first, second):
        archive.close()
    assert sorted(body for *_, body in by_warcio(tmp_path / "archive")) == [b"one", b"three", b"two"]
    idents = [headers["WARC-Record-ID"] for _, headers, *_ in by_fastwarc(tmp_path / "archive")]
    assert len(set(idents)) == 3


def test_an_open_file_without_a_record_is_cleared_away(kept, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "clet-x.warc.gz.open").write_bytes(b"\x1f\x8b")
    kept().close()
    assert [path.name for path in (tmp_path / "archive").iterdir()] == ["index.jsonl"]


def test_a_full_disk_is_one_line_and_leaves_no_half_record(kept, tmp_path, monkeypatch):
    archive = kept()
    archive.store("http://a.example/1", HEAD, b"one", None)
    real = os.write

    def full(fd, data):
        if len(data) > 500:
            real(fd, data[:100])
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WriteError, match="No space left on device"):
        archive.store("http://a.example/2", HEAD, NOISE[:5000], None)
    (tmp_path / "body").write_bytes(NOISE[:5000])
    with pytest.raises(WriteError, match="No space left on device"):
        archive.store_file("http://a.example/2", HEAD, tmp_path / "body", sha(NOISE[:5000]), "", None)
    monkeypatch.undo()
    archive.store("http://a.example/3", HEAD, NOISE[:5000], None)
    archive.close()
    assert [body for *_, body in by_warcio(tmp_path / "archive")] == [b"one", NOISE[:5000]]
    assert len(list((tmp_path / "archive").glob("*.warc.gz*"))) == 1


def test_a_line_of_the_index_that_was_cut_spoils_no_other(kept, tmp_path):
    archive = kept()
    real = archive._index

    class Full:
        def write(self, line):
            return real.write(line[:20])

    archive._index = Full()
    with pytest.raises(WriteError, match="No space left on device"):
        archive.store("http://a.example/1", HEAD, b"one", None)
    archive._index = real
    archive.store("http://a.example/2", HEAD, b"two", None)
    archive.close()
    assert find(tmp_path / "archive", sha(b"two")) == b"two"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match=str(tmp_path / "file")):
        Archive(tmp_path / "file")


def test_sync_makes_the_records_durable_and_does_nothing_twice(kept, monkeypatch):
    archive, synced = kept(), []
    archive.sync()
    archive.store("http://a.example/1", HEAD, b"one", None)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: [synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)])
    archive.sync()
    assert synced[0].endswith(".warc.gz.open")
    assert synced[1].endswith("index.jsonl")
    done = len(synced)
    archive.sync()
    assert len(synced) == done


def test_many_threads_store_at_once_and_every_record_is_whole(kept, tmp_path):
    archive, folder = kept(max_file_bytes=20_000), tmp_path / "archive"
    (tmp_path / "file").write_bytes(NOISE[:50_000])

    def go(index):
        for number in range(20):
            archive.store(f"http://a.example/{index}/{number}", HEAD, b"%d %d" % (index, number) * 50, None)
            archive.sync()
        archive.store_file("http://a.example/", HEAD, tmp_path / "file", sha(NOISE[:50_000]), "", None)

    threads = [threading.Thread(target=go, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    archive.close()
    bodies = [body for kind, *_, body in by_warcio(folder) if len(body) < 50_000 and kind == "response"]
    assert sorted(bodies) == sorted(b"%d %d" % (index, number) * 50 for index in range(8) for number in range(20))
    for entry in entries(folder):
        raw = gzip.decompress((folder / entry.file).read_bytes()[entry.offset :][: entry.length])
        assert f"sha256:{entry.digest}".encode() in raw
    assert find(folder, sha(NOISE[:50_000])) == NOISE[:50_000]


def test_members_are_told_apart_across_pieces():
    parts = [gzip.compress(NOISE[:1_500_000]), gzip.compress(b""), gzip.compress(bytes(5_000_000)), b"\x1f\x8b"]
    found = list(members(io.BytesIO(b"".join(parts))))
    assert [length for _, length, _ in found] == [len(part) for part in parts[:3]]
    assert [offset for offset, *_ in found] == [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    assert found[0][2] == NOISE[: 1 << 16]
