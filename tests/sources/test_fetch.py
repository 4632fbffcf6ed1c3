"""The fetcher against a real server on loopback: conditional, bounded in every direction, confined."""

import gzip
import socket
import zlib

import pytest

from clet.sources.web import addresses
from clet.sources.adapter import SourceFailed
from clet.sources.web.addresses import is_public


def test_validators_are_sent_back_and_304_is_none(web, fetcher):
    def feed(handler):
        if handler.headers.get("If-None-Match") == '"v1"' and handler.headers.get("If-Modified-Since") == "yesterday":
            return 304, {}, b""
        return (
            200,
            {"ETag": '"v1"', "Last-Modified": "yesterday", "Content-Type": "text/xml; charset=gb2312"},
            b"<rss/>",
        )

    web.routes["/feed"] = feed
    get = fetcher().get
    page = get(f"{web.url}/feed", {})
    assert (page.body, page.content_type, page.charset) == (b"<rss/>", "text/xml", "gb2312")
    assert get(f"{web.url}/feed", page.validators) is None


def test_redirects_are_followed_and_validators_belong_to_where_they_came_from(web, fetcher):
    web.routes["/old"] = 301, {"Location": "/new?x=1"}, b""
    web.routes["/new?x=1"] = 200, {"ETag": '"e"'}, b"found"
    page = fetcher().get(f"{web.url}/old", {"url": f"{web.url}/new?x=1", "etag": '"e"'})
    assert (page.url, page.body) == (f"{web.url}/new?x=1", b"found")
    assert "If-None-Match" not in web.requests[0][1]
    assert web.requests[1][1]["If-None-Match"] == '"e"'


def test_a_redirect_loop_ends(web, fetcher):
    web.routes["/a"] = 302, {"Location": "/a"}, b""
    with pytest.raises(SourceFailed, match="over 5 redirects"):
        fetcher().get(f"{web.url}/a", {})
    assert len(web.requests) == 6


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://localhost:{port}/", "http://inside.example/"]
)
def test_every_hop_is_checked_against_private_addresses(web, fetcher, monkeypatch, target):
    real = socket.getaddrinfo
    names = {"inside.example": "10.0.0.7", "localhost": "127.0.0.2"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real(names.get(host, host), *a, **k))
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")  # stands for the open internet
    web.routes["/hop"] = 302, {"Location": target.format(port=web.port)}, b""
    with pytest.raises(SourceFailed, match="is a private address"):
        fetcher(allow_private=False).get(f"{web.url}/hop", {})
    assert len(web.requests) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "//", "javascript:1"])
def test_redirects_to_other_schemes_are_refused(web, fetcher, target):
    web.routes["/hop"] = 302, {"Location": target}, b""
    with pytest.raises(SourceFailed):
        fetcher().get(f"{web.url}/hop", {})


def test_loopback_needs_permission(web, fetcher):
    for url in (
        web.url,
        f"http://localhost:{web.port}",
        f"http://2130706433:{web.port}",
        f"http://[::ffff:127.0.0.1]:{web.port}",
    ):
        with pytest.raises(SourceFailed, match="--allow-private"):
            fetcher(allow_private=False).get(url, {})
    assert web.requests == []


def test_the_connection_goes_to_the_address_that_was_checked(web, fetcher, monkeypatch):
    answers = iter(["127.0.0.1", "10.0.0.1"])  # a name that resolves differently the second time
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real(next(answers) if host == "news.example" else host, *a, **k)
    )
    web.routes["/"] = 200, {}, b"here"
    assert fetcher().get(f"http://news.example:{web.port}/", {}).body == b"here"
    assert web.requests[0][1]["Host"] == f"news.example:{web.port}"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert is_public(address) is public


def test_a_body_over_the_limit_is_refused_before_it_is_all_read(web, fetcher):
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while not web.over.is_set():
            handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            sent.append(0x10000)

    web.routes["/endless"] = endless
    with pytest.raises(SourceFailed, match="over 300000 bytes"):
        fetcher(max_bytes=300_000).get(f"{web.url}/endless", {})


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_bodies_are_inflated(web, fetcher, coding):
    text = b"some words " * 1000
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
    }
    web.routes["/z"] = 200, {"Content-Encoding": coding.split()[-1]}, bodies[coding]
    assert fetcher().get(f"{web.url}/z", {}).body == text


def test_bombs_are_refused_by_size_and_by_ratio(web, fetcher):
    web.routes["/bomb"] = 200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(8 << 20))
    with pytest.raises(SourceFailed, match="inflates over 200-fold"):
        fetcher().get(f"{web.url}/bomb", {})
    with pytest.raises(SourceFailed, match="inflates to over 100000 bytes"):
        fetcher(max_bytes=100_000).get(f"{web.url}/bomb", {})


def test_cut_and_damaged_bodies_are_failures_not_documents(web, fetcher):
    body = gzip.compress(b"some words " * 1000)
    web.routes["/cut"] = 200, {"Content-Encoding": "gzip"}, body[:-9]
    web.routes["/damaged"] = 200, {"Content-Encoding": "gzip"}, b"\x1f\x8bnonsense" + body
    for path, words in (("/cut", "cut short"), ("/damaged", "damaged gzip body")):
        with pytest.raises(SourceFailed, match=words):
            fetcher().get(web.url + path, {})


def test_one_byte_at_a_time_meets_the_deadline_in_head_and_body(web, fetcher):
    def drip(handler, start):
        handler.wfile.write(start)
        while not web.over.wait(0.02):
            handler.wfile.write(b"x")

    web.routes["/head"] = lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nX: ")
    web.routes["/body"] = lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    for path in ("/head", "/body"):
        with pytest.raises(SourceFailed, match="deadline") as failure:
            fetcher(connect_s=0.1, first_byte_s=0.2, body_s=0.3).get(web.url + path, {})
        assert failure.value.unreachable


def test_busy_servers_are_asked_again_as_they_wish(web, fetcher, patience):
    answers = [(503, {"Retry-After": "7"}, b""), (429, {}, b""), (200, {}, b"at last")]
    web.routes["/busy"] = lambda handler: answers.pop(0)
    assert fetcher().get(f"{web.url}/busy", {}).body == b"at last"
    assert patience.slept == [7.0, 2.0]


def test_a_long_wait_is_a_failure_and_tries_are_bounded(web, fetcher):
    web.routes["/later"] = 429, {"Retry-After": "3600"}, b""
    with pytest.raises(SourceFailed, match="asks to wait 3600 s"):
        fetcher().get(f"{web.url}/later", {})
    assert len(web.requests) == 1
    web.routes["/never"] = 503, {}, b""
    with pytest.raises(SourceFailed, match="HTTP 503"):
        fetcher(tries=3).get(f"{web.url}/never", {})
    assert len(web.requests) == 4


def test_requests_to_one_public_host_keep_their_distance(web, fetcher, patience, monkeypatch):
    monkeypatch.setattr("clet.sources.web.connection.is_public", lambda address: True)
    web.routes["/"] = 200, {}, b"x"
    asking = fetcher(spacing_s=5.0)
    asking.get(web.url, {})
    asking.get(web.url, {})
    assert len(patience.slept) == 1
    assert 0 < patience.slept[0] <= 5.0


def test_credentials_go_to_their_host_only_and_are_not_kept(web, fetcher):
    web.routes["/"] = 200, {}, b"x"
    web.routes["/away"] = 302, {"Location": f"http://localhost:{web.port}/"}, b""
    page = fetcher().get(f"http://me:secret@127.0.0.1:{web.port}/away", {})
    assert web.requests[0][1]["Authorization"].startswith("Basic ")
    assert "Authorization" not in web.requests[1][1]
    assert "secret" not in repr((page.url, page.validators))


@pytest.mark.parametrize(
    "url", ["http://", "ftp://x/", "nonsense", "http://[::1", "http://a\x00b/", "https://" + "x" * 9000]
)
def test_what_is_no_web_address_is_a_failure(fetcher, url):
    with pytest.raises(SourceFailed):
        fetcher().get(url, {})
