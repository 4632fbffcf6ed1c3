"""The fetcher over TLS and HTTP/2, against a server that does what a test says with the h2 protocol machine."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading

import h2.config
import h2.connection
import h2.events
import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.web.fetch import Fetcher, Limits
from clet.sources.web.page import Manners

PLAIN = Manners(robots=False)
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program for a certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {folder / 'key'} -out {folder / 'cert'}".split(),
        check=True,
        capture_output=True,
    )
    return folder


class Server:
    """`routes[path]` is a function of (h2 connection, stream, headers asked with); `connections` counts."""

    def __init__(self, certificate):
        self.routes, self.connections, self.streams = {}, 0, 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate / "cert", certificate / "key")
        self.context.set_alpn_protocols(["h2"])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.socket.getsockname()[1]}"
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self.talk, args=(plain,), daemon=True).start()

    def talk(self, plain):
        with contextlib.suppress(OSError), self.context.wrap_socket(plain, server_side=True) as stream:
            self.open.append(stream)
            state = h2.connection.H2Connection(
                h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
            )
            state.initiate_connection()
            stream.sendall(state.data_to_send())
            while data := stream.recv(65536):
                for event in state.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.streams += 1
                        asked = {name.decode(): value.decode() for name, value in event.headers}
                        if self.routes[asked[":path"]](state, event.stream_id, asked) == "hang up":
                            stream.sendall(state.data_to_send())
                            return
                stream.sendall(state.data_to_send())

    def close(self):
        self.socket.close()
        for stream in self.open:
            stream.close()


def say(body, status="200", headers=(), end=True):
    """A route that answers so."""

    def route(state, stream, asked):
        state.send_headers(stream, [(":status", status), *headers], end_stream=end and not body)
        if body:
            window = state.local_flow_control_window(stream)
            size = state.max_outbound_frame_size
            sent = body[: min(len(body), window)]
            for start in range(0, len(sent), size):
                last = start + size >= len(body)
                state.send_data(stream, sent[start : start + size], end_stream=end and last)

    return route


@pytest.fixture
def server(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert"))
    made = Server(certificate)
    yield made
    made.close()


@pytest.fixture
def asking(server, patience):
    made = Fetcher(
        "tests", allow_private=True, interruption=patience, limits=Limits(tries=2, body_s=5.0), clock=patience.clock
    )
    yield made
    made.close()


def test_pages_come_over_one_connection(server, asking):
    server.routes |= {
        "/robots.txt": say(b"", "404"),
        "/a": say(b"", "302", [("location", "/b")]),
        "/b": say(b"found" * 10_000, headers=[("etag", '"e"'), ("content-type", "text/html; charset=latin-1")]),
    }
    page = asking.get(f"{server.url}/a", {})
    assert (page.body, page.charset, page.validators["etag"]) == (b"found" * 10_000, "latin-1", '"e"')
    assert (server.connections, server.streams) == (1, 3)


def test_a_certificate_that_is_not_trusted_is_a_failure_and_not_tried_again(server, asking, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceFailed, match="certificate verify failed") as failure:
        Fetcher("tests", allow_private=True).get(f"{server.url}/a", {}, PLAIN)
    assert failure.value.unreachable
    assert server.connections == 1


def test_a_name_that_the_certificate_does_not_have_is_a_failure(server, asking):
    with pytest.raises(SourceFailed, match="certificate verify failed"):
        asking.get(server.url.replace("localhost", "127.0.0.1"), {}, PLAIN)


def test_a_body_that_is_not_wanted_does_not_starve_the_next_request(server, asking):
    server.routes |= {"/big": say(bytes(3_000_000), "302", [("location", "/small")]), "/small": say(b"x")}
    for _ in range(12):  # together more than the window of a connection
        assert asking.get(f"{server.url}/big", {}, PLAIN).body == b"x"


def test_a_robots_txt_of_which_only_the_beginning_counts_does_not_starve_the_next_request(server, asking):
    server.routes |= {"/robots.txt": say(b"User-agent: *\nDisallow: /no\n" + b"#" * 3_000_000), "/a": say(b"x")}
    assert asking.get(f"{server.url}/a", {}).body == b"x"
    with pytest.raises(SourceFailed, match="disallows it"):
        asking.get(f"{server.url}/no", {})
    assert server.connections == 2  # the first was ended, since it would have brought the rest


def test_a_connection_that_was_closed_meanwhile_is_replaced_at_once(server, asking, patience):
    server.routes["/a"] = say(b"x")
    asking.get(f"{server.url}/a", {}, PLAIN)
    server.open[0].close()
    assert asking.get(f"{server.url}/a", {}, PLAIN).body == b"x"
    assert server.connections == 2
    assert patience.slept == []


def _flood(state, stream, asked):
    state.send_headers(stream, [(":status", "200"), *((f"x-{number}", "y" * 2000) for number in range(100))])


def _cut(state, stream, asked):
    say(b"half", headers=[("content-length", "9")], end=False)(state, stream, asked)
    return "hang up"


def _short(state, stream, asked):
    state.send_headers(stream, [(":status", "200"), ("content-length", "9")])
    state.send_data(stream, b"half", end_stream=False)
    state.reset_stream(stream)


@pytest.mark.parametrize(
    "route", [_flood, _cut, _short, say(b"x", "nonsense"), say(b"x", headers=[("content-length", "9")])]
)
def test_answers_that_break_the_protocol_are_failures_after_a_few_tries(server, asking, route):
    server.routes["/a"] = route
    with pytest.raises(SourceFailed) as failure:
        asking.get(f"{server.url}/a", {}, PLAIN)
    assert failure.value.unreachable
    assert server.streams == 2


def test_a_body_that_stops_meets_the_deadline(server, patience):
    server.routes["/a"] = say(b"half", end=False)
    asking = Fetcher("tests", allow_private=True, interruption=patience, limits=Limits(body_s=0.2))
    with pytest.raises(SourceFailed, match="too slow"):
        asking.get(f"{server.url}/a", {}, PLAIN)
