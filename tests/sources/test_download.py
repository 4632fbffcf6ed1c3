"""Downloads into files from a real server on loopback: whole, resumed, bounded, and never mistaken for another body."""

import fcntl
import hashlib
import os
import random
import re
import subprocess
import sys
import threading
from email.utils import formatdate

import httpx
import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interrupted, Interruption
from clet.sources.web import download
from clet.sources.web.download import strong_validator
from clet.sources.web.fetch import Fetcher, Limits
from clet.sources.web.page import Manners

BODY = random.Random(3).randbytes(300_000)
OLD = formatdate(1_700_000_000, usegmt=True)


class Served:
    """A route that honours Range, If-Range and If-None-Match; `breaks` says after how many bytes each answer breaks."""

    def __init__(self, body=BODY, headers=None, breaks=(), status=200):
        self.body, self.breaks, self.asked = body, list(breaks), []
        self.headers = {"ETag": '"v1"', "Content-Type": "application/warc; x=y"} if headers is None else headers

    def __call__(self, handler):
        asked = {
            name: handler.headers[name] for name in ("Range", "If-Range", "If-None-Match") if handler.headers[name]
        }
        self.asked.append(asked)
        if asked.get("If-None-Match") == self.headers.get("ETag", ""):
            handler.send_response(304)
            handler.end_headers()
            return
        start, valid = 0, asked.get("If-Range") in (self.headers.get("ETag"), self.headers.get("Last-Modified"))
        if "Range" in asked and valid:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked["Range"])[1])
        if start >= len(self.body) and start:
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        end = start + self.breaks.pop(0) if self.breaks else len(self.body)
        handler.wfile.write(self.body[start:end])
        handler.close_connection = True


@pytest.fixture
def take(web, fetcher, tmp_path):
    def make(validators=None, manners=Manners(), **limits):
        return fetcher(**limits).download(f"{web.url}/f", tmp_path, validators or {}, manners)

    return make


def left(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_a_body_goes_to_a_file_with_its_digest(web, take, tmp_path):
    served = web.routes["/f"] = Served()
    got = take()
    assert got.path.read_bytes() == BODY
    assert got.raw == hashlib.sha256(BODY).hexdigest()
    assert (got.url, got.content_type) == (f"{web.url}/f", "application/warc")
    assert got.validators == {"url": f"{web.url}/f", "etag": '"v1"'}
    assert served.asked == [{}]
    assert web.requests[0][1]["Accept-Encoding"] == "identity"
    got.discard()
    assert left(tmp_path) == []


def test_nothing_new_is_none(web, take, tmp_path):
    web.routes["/f"] = Served()
    got = take()
    got.discard()
    assert take(got.validators) is None
    assert left(tmp_path) == []


def test_a_body_is_kept_as_it_was_sent(web, take):
    import gzip

    web.routes["/f"] = Served(gzip.compress(BODY), {"Content-Encoding": "x-gzip"})
    assert gzip.decompress(take().path.read_bytes()) == BODY


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {"Last-Modified": OLD}], ids=["etag", "date"])
def test_a_broken_connection_is_resumed_where_it_broke(web, take, headers):
    served = web.routes["/f"] = Served(headers=headers, breaks=[100_000, 50_000])
    got = take()
    assert got.path.read_bytes() == BODY
    assert got.raw == hashlib.sha256(BODY).hexdigest()
    validator = next(iter(headers.values()))
    assert [asked.get("Range") for asked in served.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert {asked.get("If-Range") for asked in served.asked[1:]} == {validator}


@pytest.mark.parametrize(
    "headers",
    [{}, {"ETag": 'W/"v1"'}, {"ETag": 'W/"v1"', "Last-Modified": OLD}, {"Last-Modified": "soon"}],
    ids=["nothing", "weak", "weak and date", "no date"],
)
def test_without_a_strong_validator_it_starts_over(web, take, tmp_path, headers):
    served = web.routes["/f"] = Served(headers=headers, breaks=[100_000, 50_000])
    assert take().path.read_bytes() == BODY
    assert served.asked == [{}, {}, {}]
    web.routes["/f"] = Served(headers=headers, breaks=[9] * 9)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SourceFailed) as failure:
        take()
    assert failure.value.unreachable
    assert left(tmp_path) == []


def test_a_date_is_strong_only_when_older_than_the_answer():
    now, then = formatdate(1_700_000_000, usegmt=True), formatdate(1_699_999_999, usegmt=True)
    assert strong_validator(httpx.Headers({"last-modified": then, "date": now})) == then
    assert strong_validator(httpx.Headers({"last-modified": now, "date": now})) is None
    assert strong_validator(httpx.Headers({"last-modified": then})) is None


def test_a_body_that_changed_meanwhile_is_taken_from_its_beginning(web, take):
    first = Served(breaks=[100_000])
    second = Served(BODY[::-1], {"ETag": '"v2"'})
    served = [first, second]
    web.routes["/f"] = lambda handler: served.pop(0)(handler)
    got = take()
    assert got.path.read_bytes() == BODY[::-1]
    assert second.asked == [{"Range": "bytes=100000-", "If-Range": '"v1"'}]
    assert got.validators["etag"] == '"v2"'


@pytest.mark.parametrize(
    "head",
    [
        {"Content-Range": "bytes 5-299999/300000"},
        {"Content-Range": "bytes 100000-299999/300001"},
        {"Content-Range": "bytes 100000-299999/*"},
        {"Content-Range": "bytes 100000-299999/300000", "ETag": '"v2"'},
        {},
    ],
    ids=["place", "size", "no size", "another", "nothing"],
)
def test_a_rest_that_does_not_fit_is_not_taken(web, take, head):
    answers = [Served(breaks=[100_000]), lambda handler: (206, head, BODY[100_000:]), Served()]
    web.routes["/f"] = lambda handler: answers.pop(0)(handler)
    assert take().path.read_bytes() == BODY
    assert answers == []


def test_a_range_that_cannot_be_had_starts_over(web, take):
    answers = [Served(breaks=[100_000]), lambda handler: (416, {"Content-Range": "bytes */5"}, b""), Served()]
    web.routes["/f"] = lambda handler: answers.pop(0)(handler)
    assert take().path.read_bytes() == BODY


def test_tries_are_bounded_and_what_came_is_there_for_the_next_run(web, take, tmp_path):
    web.routes["/f"] = Served(breaks=[50_000] * 3)
    with pytest.raises(SourceFailed) as failure:
        take(tries=3)
    assert failure.value.unreachable
    assert left(tmp_path) == [".json", ".part"]
    served = web.routes["/f"] = Served()
    assert take().path.read_bytes() == BODY
    assert served.asked == [{"Range": "bytes=150000-", "If-Range": '"v1"'}]
    assert left(tmp_path) == ["", ".json"]


def test_tries_that_make_progress_do_not_count(web, take, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 40_000)
    served = web.routes["/f"] = Served(breaks=[45_000] * 6)
    assert take(tries=2).path.read_bytes() == BODY
    assert len(served.asked) == 7


def test_a_killed_run_is_resumed(web, take, tmp_path):
    def stuck(handler):
        Served(breaks=[100_000])(handler)
        handler.wfile.flush()
        asked.set()
        web.over.wait(20)

    asked = threading.Event()
    web.routes["/f"] = stuck
    code = (
        "import sys; from pathlib import Path; from clet.sources.web.fetch import Fetcher\n"
        "Fetcher('tests', allow_private=True).download(sys.argv[1], Path(sys.argv[2]), {})"
    )
    child = subprocess.Popen([sys.executable, "-c", code, f"{web.url}/f", str(tmp_path)])
    try:
        assert asked.wait(30)
        (part,) = _eventually(lambda: [p for p in tmp_path.glob("*.part") if p.stat().st_size == 100_000])
    finally:
        child.kill()
        child.wait()
    assert part.read_bytes() == BODY[:100_000]
    served = web.routes["/f"] = Served()
    got = take()
    assert got.raw == hashlib.sha256(BODY).hexdigest()
    assert served.asked == [{"Range": "bytes=100000-", "If-Range": '"v1"'}]


def _eventually(look):
    nothing = threading.Event()
    for _ in range(1000):
        if found := look():
            return found
        nothing.wait(0.01)
    raise AssertionError("it never came")


def test_a_whole_file_that_a_killed_run_left_is_used_again_while_it_is_current(web, take, tmp_path):
    web.routes["/f"] = Served()
    take()
    served = web.routes["/f"] = Served()
    got = take()
    assert got.path.read_bytes() == BODY
    assert (got.raw, got.content_type) == (hashlib.sha256(BODY).hexdigest(), "application/warc")
    assert served.asked == [{"If-None-Match": '"v1"'}]
    web.routes["/f"] = Served(b"new", {"ETag": '"v2"'})
    assert take().path.read_bytes() == b"new"


@pytest.mark.parametrize("damage", [b"{", b"{}", b'{"boot": "another"}', b"[]"])
def test_a_part_that_nothing_is_known_of_is_not_resumed(web, take, tmp_path, damage):
    web.routes["/f"] = Served(breaks=[100_000])
    with pytest.raises(SourceFailed):
        take(tries=1)
    (told,) = tmp_path.glob("*.json")
    told.write_bytes(damage)
    served = web.routes["/f"] = Served()
    assert take().path.read_bytes() == BODY
    assert served.asked == [{}]


def test_what_was_written_before_the_machine_stopped_is_not_resumed(web, take, monkeypatch):
    web.routes["/f"] = Served(breaks=[100_000])
    with pytest.raises(SourceFailed):
        take(tries=1)
    monkeypatch.setattr(download, "_boot", lambda: "another")
    served = web.routes["/f"] = Served()
    assert take().path.read_bytes() == BODY
    assert served.asked == [{}]


def test_two_at_once_do_not_write_one_file(web, take, tmp_path):
    web.routes["/f"] = Served(breaks=[100_000])
    with pytest.raises(SourceFailed):
        take(tries=1)
    (part,) = tmp_path.glob("*.part")
    with open(part, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SourceFailed, match="another download of it is under way") as failure:
            take()
        assert failure.value.unreachable
    assert part.read_bytes() == BODY[:100_000]


def test_the_size_is_bounded_announced_or_not(web, take, tmp_path):
    served = web.routes["/f"] = Served()
    with pytest.raises(SourceFailed, match="over 200000 bytes") as failure:
        take(max_download_bytes=200_000)
    assert not failure.value.unreachable
    assert len(served.asked) == 1

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        while not web.over.is_set():
            handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    web.routes["/f"] = endless
    with pytest.raises(SourceFailed, match="over 200000 bytes"):
        take(max_download_bytes=200_000)
    assert left(tmp_path) == []


def test_a_full_disk_is_noticed_before_it_is_full(web, take, monkeypatch):
    web.routes["/f"] = Served()
    usage = type("Usage", (), {"free": download.RESERVE_BYTES + 299_999})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(SourceFailed, match=r"300000 bytes are missing yet, and .* has only \d+ free"):
        take()
    usage.free += 1
    assert take().path.read_bytes() == BODY


def test_one_byte_at_a_time_is_no_progress_and_slow_but_steady_is(web, take, tmp_path):
    def drip(handler):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 99999\r\n\r\n')
        while not web.over.wait(0.02):
            handler.wfile.write(b"x")

    web.routes["/f"] = drip
    with pytest.raises(SourceFailed, match=r"stalled: under 1000 bytes in 0\.2 s") as failure:
        take(tries=2, stall_s=0.2, stall_bytes=1000)
    assert failure.value.unreachable
    assert len(web.requests) == 2
    assert "Range" in web.requests[1][1]

    def steady(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
        for _ in range(20):
            web.over.wait(0.03)
            handler.wfile.write(bytes(1000))

    web.routes["/f"] = steady
    for path in tmp_path.iterdir():
        path.unlink()
    got = take(stall_s=3.0, stall_bytes=1000, manners=Manners(robots=False), body_s=0.1)
    assert got.path.read_bytes() == bytes(20_000)


def test_the_end_is_noticed_and_what_came_is_kept(web, tmp_path):
    interruption, asked = Interruption(), threading.Event()

    def stuck(handler):
        Served(breaks=[100_000])(handler)
        handler.wfile.flush()
        asked.set()
        web.over.wait(20)

    web.routes["/f"] = stuck
    ended = []

    def ask():
        try:
            Fetcher("tests", allow_private=True, interruption=interruption).download(f"{web.url}/f", tmp_path, {})
        except Interrupted:
            ended.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(10)
    _eventually(lambda: [p for p in tmp_path.glob("*.part") if p.stat().st_size == 100_000])
    interruption.stop.set()
    thread.join(10)
    assert ended == [True]
    assert left(tmp_path) == [".json", ".part"]


def test_redirects_and_robots_hold_for_downloads_too(web, take, tmp_path):
    web.routes |= {"/f": (302, {"Location": "/g"}, b""), "/g": Served()}
    got = take()
    assert (got.url, got.path.read_bytes()) == (f"{web.url}/g", BODY)
    web.routes["/robots.txt"] = 200, {}, b"User-agent: *\nDisallow: /g"
    with pytest.raises(SourceFailed, match="disallows it"):
        take()
    assert take(manners=Manners(robots=False)).url == f"{web.url}/g"


def test_a_folder_that_cannot_be_written_is_a_failure_of_one_line(web, fetcher, tmp_path):
    web.routes["/f"] = Served()
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceFailed, match=r"File exists|Not a directory"):
        fetcher().download(f"{web.url}/f", tmp_path / "file", {})


def test_the_name_in_the_folder_says_nothing_and_cannot_leave_it(web, take, tmp_path):
    web.routes["/f"] = Served()
    assert re.fullmatch("[0-9a-f]{32}", take().path.name)
    assert os.path.dirname(take().path) == str(tmp_path)


def test_limits_are_what_is_documented():
    limits = Limits()
    assert (limits.max_download_bytes, limits.stall_s) == (8 << 30, 60.0)
