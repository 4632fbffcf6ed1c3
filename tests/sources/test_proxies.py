"""Proxies that the environment names, against a real one on loopback."""

import socket
import threading

import httpx
import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.web.fetch import Fetcher
from clet.sources.web.page import Manners
from clet.sources.web.proxies import Proxies, parse_proxy

PLAIN = Manners(robots=False)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Sets proxy variables, after all others are gone."""
    for name in ("http", "https", "all", "no"):
        for spelled in (f"{name}_proxy", f"{name}_proxy".upper()):
            monkeypatch.delenv(spelled, raising=False)

    def make(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://a.example/", None),
        ({"http_proxy": "http://p:1"}, "http://a.example/", "http://p:1"),
        ({"http_proxy": "http://p:1"}, "https://a.example/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.example/", "http://p:1"),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example/", "http://p:1"),
        ({"all_proxy": "http://p:1", "no_proxy": "b.example,a.example"}, "http://a.example/", None),
        ({"all_proxy": "http://p:1", "no_proxy": ".example"}, "http://a.example/", None),
        ({"all_proxy": "http://p:1", "no_proxy": "*"}, "http://a.example/", None),
        ({"all_proxy": "http://p:1", "no_proxy": "example"}, "http://anexample/", "http://p:1"),
        ({"all_proxy": "http://p:1"}, "http://localhost/", None),
        ({"all_proxy": "http://p:1"}, "http://127.8.9.1/", None),
        ({"all_proxy": "http://p:1"}, "http://[::1]/", None),
        ({"all_proxy": "http://p:1"}, "http://8.8.8.8/", "http://p:1"),
    ],
)
def test_the_environment_is_followed(environment, variables, url, proxy):
    environment(**variables)
    assert Proxies(allow_private=False).for_url(httpx.URL(url)) == proxy


@pytest.mark.parametrize("host", ["10.0.0.7", "169.254.169.254", "2852039166", "0xa9.0xfe.43518"])
def test_private_addresses_in_numbers_are_refused_before_the_proxy_is_asked(environment, web, patience, host):
    environment(http_proxy=web.url)
    with pytest.raises(SourceFailed, match="is a private address; --allow-private permits it"):
        Fetcher("tests", interruption=patience).get(f"http://{host}/latest", {}, PLAIN)
    assert web.requests == []
    web.routes[f"http://{host}/latest"] = 200, {}, b"x"
    assert Fetcher("tests", allow_private=True).get(f"http://{host}/latest", {}, PLAIN).body == b"x"


def test_a_page_comes_by_the_proxy_which_alone_learns_its_password(environment, web):
    environment(http_proxy=f"http://me:s%23cret@127.0.0.1:{web.port}")
    web.routes["http://news.example/x"] = 200, {}, b"news"
    assert Fetcher("tests").get("http://news.example/x", {}).body == b"news"
    assert [path for path, _ in web.requests] == ["http://news.example/robots.txt", "http://news.example/x"]
    assert web.requests[1][1]["Proxy-Authorization"] == "Basic bWU6cyNjcmV0"
    assert web.requests[1][1]["Host"] == "news.example"


def test_a_redirect_behind_a_proxy_is_checked_as_far_as_can_be_told(environment, web):
    environment(http_proxy=web.url)
    web.routes["http://news.example/x"] = 302, {"Location": "http://169.254.169.254/latest"}, b""
    with pytest.raises(SourceFailed, match="is a private address"):
        Fetcher("tests").get("http://news.example/x", {}, PLAIN)
    web.routes["http://news.example/x"] = 302, {"Location": f"http://127.0.0.1:{web.port}/inside"}, b""
    with pytest.raises(SourceFailed, match="is a private address"):
        Fetcher("tests").get("http://news.example/x", {}, PLAIN)
    assert len(web.requests) == 2


def test_a_tunnel_that_is_refused_is_a_failure_of_one_line(environment):
    server = socket.create_server(("127.0.0.1", 0))
    said = []

    def refuse():
        connection, _ = server.accept()
        said.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    environment(https_proxy=f"127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(SourceFailed, match="407 Who are you") as failure:
        Fetcher("tests").get("https://news.example/x", {}, PLAIN)
    assert failure.value.unreachable
    assert said[0].startswith(b"CONNECT news.example:443 HTTP/1.1\r\n")
    thread.join(10)
    server.close()


@pytest.mark.parametrize("proxy", ["socks5://me:secret@127.0.0.1:1", "ftp://me:secret@x", "http://me:secret@[::1"])
def test_what_is_no_proxy_is_said_without_its_password(environment, proxy):
    environment(all_proxy=proxy)
    with pytest.raises(SourceFailed) as failure:
        Fetcher("tests").get("http://news.example/x", {}, PLAIN)
    assert "secret" not in str(failure.value)


def test_a_proxy_is_read_with_and_without_its_scheme():
    assert parse_proxy("p.example:8080").url.origin == parse_proxy("http://p.example:8080/").url.origin
    assert parse_proxy("https://me:pw@p.example").auth == (b"me", b"pw")
