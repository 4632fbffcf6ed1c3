"""The fetcher against a real server on loopback: conditional, bounded in every direction, confined."""

import gzip
import random
import socket
import threading
import time
import zlib
from email.utils import formatdate

import pytest
import zstandard

from clet.sources.adapter import SourceFailed
from clet.sources.web import addresses
from clet.sources.web.addresses import checked_addresses, is_public, numeric_address
from clet.sources.web.fetch import Fetcher, HttpFailed
from clet.sources.web.page import Manners


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


@pytest.mark.parametrize("robots", [True, False])
@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest", "http://localhost:{port}/", "http://127.2:{port}/", "http://inside.example/"],
)
def test_every_hop_is_checked_against_private_addresses(web, fetcher, monkeypatch, target, robots):
    real = socket.getaddrinfo
    names = {"inside.example": "10.0.0.7", "localhost": "127.0.0.2"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real(names.get(host, host), *a, **k))
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")  # stands for the open internet
    web.routes["/hop"] = 302, {"Location": "/next"}, b""
    web.routes["/next"] = 302, {"Location": target.format(port=web.port)}, b""
    with pytest.raises(SourceFailed, match="is a private address; --allow-private permits it") as failure:
        fetcher(allow_private=False).get(f"{web.url}/hop", {}, Manners(robots=robots))
    assert not failure.value.unreachable
    assert len(web.requests) == 2


def test_a_robots_txt_cannot_lead_to_private_addresses_either(web, fetcher, monkeypatch):
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    web.routes["/robots.txt"] = 302, {"Location": "http://169.254.169.254/robots.txt"}, b""
    with pytest.raises(SourceFailed, match=r"robots\.txt: 169\.254\.169\.254.* is a private address"):
        fetcher(allow_private=False).get(web.url, {})
    assert web.requests == []


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


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "zstd", "two gzip", "two zstd"])
def test_bodies_are_inflated(web, fetcher, coding):
    text = random.Random(7).randbytes(70_000) + b"some words " * 20_000
    raw = zlib.compressobj(wbits=-15)
    squeeze = zstandard.ZstdCompressor().compress
    bodies = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
        "zstd": squeeze(text),
        "two gzip": gzip.compress(text[:99]) + gzip.compress(text[99:]) + bytes(5),
        "two zstd": squeeze(text[:99]) + squeeze(text[99:]),
    }
    web.routes["/z"] = 200, {"Content-Encoding": coding.split()[-1]}, bodies[coding]
    assert fetcher().get(f"{web.url}/z", {}).body == text
    assert web.requests[0][1]["Accept-Encoding"] == "gzip, deflate, zstd"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 2 * 65536])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_no_byte_of_a_body_is_left_in_the_decoder(web, fetcher, coding, size):
    body = {"gzip": gzip.compress, "deflate": zlib.compress}[coding](b"a" * size)
    web.routes["/z"] = 200, {"Content-Encoding": coding}, body
    assert fetcher().get(f"{web.url}/z", {}).body == b"a" * size


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_bombs_are_refused_by_size_and_by_ratio(web, fetcher, coding):
    squeeze = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}[coding]
    web.routes["/bomb"] = 200, {"Content-Encoding": coding}, squeeze(bytes(24 << 20))
    with pytest.raises(SourceFailed, match=r"inflates (over 200-fold|to over)") as failure:
        fetcher().get(f"{web.url}/bomb", {})
    assert not failure.value.unreachable
    with pytest.raises(SourceFailed, match="inflates to over 100000 bytes"):
        fetcher(max_bytes=100_000).get(f"{web.url}/bomb", {})


def test_a_zstd_window_beyond_the_standard_is_refused(web, fetcher):
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    squeezer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = squeezer.compress(bytes(100)) + squeezer.flush()
    web.routes["/z"] = 200, {"Content-Encoding": "zstd"}, body
    with pytest.raises(SourceFailed, match="damaged zstd body"):
        fetcher().get(f"{web.url}/z", {})


def test_a_coding_that_was_not_asked_for_is_refused(web, fetcher):
    web.routes["/br"] = 200, {"Content-Encoding": "br"}, b"\x0b\x02\x80hello\x03"
    with pytest.raises(SourceFailed, match="answers in br, which was not asked for"):
        fetcher().get(f"{web.url}/br", {})


def test_cut_and_damaged_bodies_are_failures_not_documents(web, fetcher):
    body, text = gzip.compress(b"some words " * 1000), b"some words " * 1000
    web.routes["/cut"] = 200, {"Content-Encoding": "gzip"}, body[:-9]
    web.routes["/cut-zstd"] = 200, {"Content-Encoding": "zstd"}, zstandard.ZstdCompressor().compress(text)[:-3]
    web.routes["/damaged"] = 200, {"Content-Encoding": "gzip"}, b"\x1f\x8bnonsense" + body
    for path, words in (("/cut", "cut short"), ("/cut-zstd", "cut short"), ("/damaged", "damaged gzip body")):
        with pytest.raises(SourceFailed, match=words):
            fetcher().get(web.url + path, {})


def say(text):
    """A route that sends these bytes and hangs up."""

    def route(handler):
        handler.wfile.write(text)

    return route


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 100\r\n\r\nonly a little",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\nhello\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        HEAD + b"Content-Length: -5\r\n\r\nhello",
        b"<html>HTTP/0.9 says hello</html>\r\n",
        b"\x16\x03\x01\x00\xa5nonsense" * 100,
        HEAD + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
        HEAD + b"".join(b"X%d: y\r\n" % number for number in range(30_000)) + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
        b"",
    ],
    ids=["length", "chunks", "chunk size", "two lengths", "negative", "0.9", "tls", "line", "flood", "100s", "silence"],
)
def test_answers_that_break_http_are_failures_after_a_few_tries(web, fetcher, answer):
    web.routes["/broken"] = say(answer)
    with pytest.raises(SourceFailed) as failure:
        fetcher(tries=3).get(f"{web.url}/broken", {}, Manners(robots=False))
    assert failure.value.unreachable
    assert len(str(failure.value)) < 300
    assert len(web.requests) == 3


def test_a_broken_connection_is_tried_again_after_a_random_time_that_grows(web, fetcher, patience):
    answers = [
        say(b""),
        say(HEAD + b"Content-Length: 9\r\n\r\nhalf"),
        (502, {}, b""),
        (504, {}, b""),
        (200, {}, b"at last"),
    ]
    web.routes["/flaky"] = lambda handler: route(handler) if callable(route := answers.pop(0)) else route
    assert (
        fetcher(tries=5, back_off_s=4.0, max_wait_s=20.0).get(f"{web.url}/flaky", {}, Manners(robots=False)).body
        == b"at last"
    )
    assert len(patience.slept) == 4
    assert all(0 <= wait <= longest for wait, longest in zip(patience.slept, (4.0, 8.0, 16.0, 20.0), strict=True))
    assert len(set(patience.slept)) == 4


def test_a_length_over_the_limit_is_refused_before_anything_is_read(web, fetcher):
    web.routes["/"] = lambda handler: handler.wfile.write(HEAD + b"Content-Length: 999999999999\r\n\r\n")
    with pytest.raises(SourceFailed, match="over 33554432 bytes"):
        fetcher().get(web.url, {})


@pytest.mark.parametrize("etag", [b'"a\x01b"', b'"' + b"x" * 2000 + b'"', b"   "])
def test_validators_that_cannot_be_sent_back_are_not_kept(web, fetcher, etag):
    web.routes["/"] = say(HEAD + b"Content-Length: 1\r\nETag: " + etag + b"\r\n\r\nx")
    page = fetcher().get(web.url, {})
    assert page.validators == {"url": web.url}
    assert fetcher().get(web.url, page.validators).body == b"x"


def test_a_304_that_nobody_asked_for_is_a_failure(web, fetcher):
    web.routes["/"] = 304, {}, b""
    with pytest.raises(HttpFailed, match="HTTP 304"):
        fetcher().get(web.url, {})


def test_one_byte_at_a_time_meets_the_deadline_in_head_and_body(web, fetcher):
    def drip(handler, start):
        handler.wfile.write(start)
        while not web.over.wait(0.02):
            handler.wfile.write(b"x")

    web.routes["/head"] = lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nX: ")
    web.routes["/body"] = lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    for path in ("/head", "/body"):
        with pytest.raises(SourceFailed, match="deadline") as failure:
            fetcher(connect_s=0.5, first_byte_s=0.2, body_s=0.3).get(web.url + path, {}, Manners(robots=False))
        assert failure.value.unreachable


def test_busy_servers_are_asked_again_as_they_wish(web, fetcher, patience):
    answers = [(503, {"Retry-After": "7"}, b""), (429, {}, b""), (200, {}, b"at last")]
    web.routes["/busy"] = lambda handler: answers.pop(0)
    assert fetcher().get(f"{web.url}/busy", {}).body == b"at last"
    assert len(patience.slept) == 2
    assert patience.slept[0] == pytest.approx(7.0, abs=0.5)
    assert 0 <= patience.slept[1] <= 2.0


def test_retry_after_may_be_a_date_by_the_servers_own_clock(web, fetcher, patience):
    answers = [(503, {"Retry-After": formatdate(time.time() + 9, usegmt=True)}, b""), (200, {}, b"at last")]
    web.routes["/busy"] = lambda handler: answers.pop(0)
    assert fetcher().get(f"{web.url}/busy", {}).body == b"at last"
    assert patience.slept[0] == pytest.approx(9.0, abs=2.0)


def test_a_long_wait_is_a_failure_and_tries_are_bounded(web, fetcher):
    web.routes["/later"] = 429, {"Retry-After": "3600"}, b""
    with pytest.raises(HttpFailed, match="HTTP 429, asks to wait 3600 s") as failure:
        fetcher().get(f"{web.url}/later", {})
    assert (failure.value.retry_s, failure.value.unreachable, failure.value.status) == (3600.0, True, 429)
    assert len(web.requests) == 1
    web.routes["/never"] = 503, {}, b""
    with pytest.raises(SourceFailed, match="HTTP 503"):
        fetcher(tries=3).get(f"{web.url}/never", {})
    assert len(web.requests) == 4


def test_a_host_that_wants_to_be_left_alone_is_left_alone_by_everyone(web, fetcher, patience):
    web.routes["/later"] = 503, {"Retry-After": "3600"}, b""
    web.routes["/other"] = 200, {}, b"x"
    asking = fetcher()
    with pytest.raises(SourceFailed, match="asks to wait 3600 s"):
        asking.get(f"{web.url}/later", {})
    with pytest.raises(SourceFailed, match=r"127\.0\.0\.1 asks to wait 3[56]") as failure:
        asking.get(f"{web.url}/other", {})
    assert failure.value.retry_s == pytest.approx(3600, abs=60)
    assert asking.get(f"http://localhost:{web.port}/other", {}).body == b"x"
    patience.sleep(3600)
    assert asking.get(f"{web.url}/other", {}).body == b"x"


def test_public_hosts_are_asked_twice_a_second_at_most_and_private_ones_freely(web, fetcher, patience, monkeypatch):
    web.routes["/"] = 200, {}, b"x"
    asking = fetcher()
    for _ in range(5):
        asking.get(web.url, {}, Manners(robots=False))
    assert patience.slept == []
    monkeypatch.setattr("clet.sources.web.fetch.is_public", lambda address: True)
    asking = fetcher()
    for _ in range(4):
        asking.get(web.url, {}, Manners(robots=False))
    assert len(patience.slept) == 2  # the burst is two
    assert patience.slept == pytest.approx([0.5, 0.5], abs=0.4)


def test_a_rate_that_an_adapter_states_holds_for_every_host(web, fetcher, patience):
    web.routes["/"] = 200, {}, b"x"
    asking = fetcher()
    for _ in range(3):
        asking.get(web.url, {}, Manners(rate=1 / 3, robots=False))
    assert patience.slept == pytest.approx([3.0, 3.0], abs=0.5)


@pytest.mark.parametrize("agent", ["clet/1.0", "me", "me@home", ""])
def test_where_a_contact_is_wanted_nothing_is_sent_without_one(web, patience, agent):
    with pytest.raises(SourceFailed, match=r"wants to know who asks; give --user-agent 'Name you@example.org'"):
        Fetcher(agent, allow_private=True).get(web.url, {}, Manners(contact=True))
    assert web.requests == web.robots == []


@pytest.mark.parametrize(
    "agent", ["Jo Doe jo@example.org", "clet/1.0 (+https://example.org/bot)", "x <jo@example.org>"]
)
def test_a_mail_address_or_a_url_is_a_contact(web, agent):
    web.routes["/"] = 200, {}, b"x"
    assert Fetcher(agent, allow_private=True).get(web.url, {}, Manners(contact=True)).body == b"x"
    assert web.requests[0][1]["User-Agent"] == agent


def test_what_is_accepted_can_be_said(web, fetcher):
    web.routes["/"] = 200, {}, b"x"
    fetcher().get(web.url, {}, Manners(accept="application/json"))
    assert web.requests[0][1]["Accept"] == "application/json"


def test_credentials_go_to_their_origin_only_and_are_not_kept(web, fetcher):
    web.routes["/"] = 200, {"ETag": '"e"'}, b"x"
    web.routes["/away"] = 302, {"Location": f"http://you:other@localhost:{web.port}/"}, b""
    web.routes["/here"] = 302, {"Location": "/"}, b""
    page = fetcher().get(f"http://me:s%23cret@127.0.0.1:{web.port}/away#part", {})
    assert web.requests[0][1]["Authorization"] == "Basic bWU6cyNjcmV0"
    assert "Authorization" not in web.requests[1][1]
    assert page.url == f"http://localhost:{web.port}/"
    page = fetcher().get(f"http://me:secret@127.0.0.1:{web.port}/here", {})
    assert web.requests[3][1]["Authorization"] == "Basic bWU6c2VjcmV0"
    assert all("Authorization" not in headers for _, headers in web.robots)
    assert "secret" not in repr(page)


@pytest.mark.parametrize("path", ["/500", "/hop", "/private", "/cut"])
def test_no_failure_shows_credentials(web, fetcher, path):
    web.routes |= {
        "/500": (500, {}, b""),
        "/hop": (302, {"Location": "ftp://me:secret@x/"}, b""),
        "/private": (302, {"Location": "http://me:secret@nowhere.invalid/"}, b""),
        "/cut": say(HEAD + b"Content-Length: 9\r\n\r\nhalf"),
    }
    with pytest.raises(SourceFailed) as failure:
        fetcher().get(f"http://me:secret@127.0.0.1:{web.port}{path}", {})
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    "url", ["http://", "ftp://x/", "nonsense", "http://[::1", "http://a\x00b/", "https://" + "x" * 9000]
)
def test_what_is_no_web_address_is_a_failure(fetcher, url):
    with pytest.raises(SourceFailed):
        fetcher().get(url, {})


# ---- connections


def test_a_connection_is_kept_and_one_that_was_closed_meanwhile_is_replaced_at_once(web, fetcher, patience):
    peers = []

    def route(handler):
        peers.append(handler.client_address)
        if handler.path == "/last":
            handler.close_connection = True
        return 200, {}, b"x"

    web.routes |= {"/": route, "/last": route}
    asking = fetcher(tries=1)
    for path in ("/", "/", "/last", "/", "/"):
        assert asking.get(web.url + path, {}, Manners(robots=False)).body == b"x"
    assert len(set(peers)) == 2
    assert patience.slept == []


def test_a_redirects_body_is_read_so_that_its_connection_can_be_kept(web, fetcher):
    peers = []

    def note(answer):
        def route(handler):
            peers.append(handler.client_address)
            return answer

        return route

    web.routes |= {"/a": note((302, {"Location": "/b"}, b"moved " * 50)), "/b": note((200, {}, b"x"))}
    fetcher().get(f"{web.url}/a", {})
    assert len(set(peers)) == 1


def test_a_name_that_is_not_resolved_in_time_is_a_failure(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    try:
        with pytest.raises(SourceFailed, match="not resolved in time") as failure:
            checked_addresses("slow.example", 80, False, 0.05)
        assert failure.value.unreachable
    finally:
        over.set()


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.1", "127.0.0.1"), ("0x7f000001", "127.0.0.1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1"), ("example", None)],
)
def test_addresses_are_known_in_every_spelling(host, address):
    assert numeric_address(host) == address
