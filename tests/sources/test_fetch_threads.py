"""One fetcher in many threads: turns, deadlines, and the end of the intake."""

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interrupted, Interruption
from clet.sources.web.fetch import Fetcher, Limits
from clet.sources.web.page import Manners

HEAD = b"HTTP/1.1 200 OK\r\n"


class Hosts:
    """One server under many names; notes how many requests are being answered at once, in all and for each name."""

    def __init__(self, web, monkeypatch, number):
        self.names = [f"host{index}.example" for index in range(number)]
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *a, **k: real("127.0.0.1" if host in self.names else host, *a, **k),
        )
        self.now, self.most, self.lock = Counter(), Counter(), threading.Lock()
        self.web = web

    def answering(self, handler, answer):
        host = handler.headers["Host"].partition(":")[0]
        with self.lock:
            for key in (host, "all"):
                self.now[key] += 1
                self.most[key] = max(self.most[key], self.now[key])
        self.web.over.wait(0.003)  # so that they meet
        with self.lock:
            for key in (host, "all"):
                self.now[key] -= 1
        return answer

    def url(self, index, path):
        return f"http://{self.names[index % len(self.names)]}:{self.web.port}{path}"


def test_never_two_requests_at_once_to_a_host_and_never_more_than_allowed_in_all(web, patience, monkeypatch):
    hosts = Hosts(web, monkeypatch, 12)
    web.routes["/x"] = lambda handler: hosts.answering(handler, (200, {}, b"x"))
    asking = Fetcher("tests", allow_private=True, interruption=patience, connections=5, clock=patience.clock)
    with ThreadPoolExecutor(50) as threads:
        pages = list(threads.map(lambda index: asking.get(hosts.url(index, "/x"), {}), range(150)))
    assert [page.body for page in pages] == [b"x"] * 150
    assert {hosts.most[name] for name in hosts.names} == {1}
    assert 1 < hosts.most["all"] <= 5
    assert len(web.robots) == 12  # one a host, however many threads asked
    asking.close()


def test_hosts_that_redirect_to_each_other_cannot_lock_each_other_out(web, patience, monkeypatch):
    hosts = Hosts(web, monkeypatch, 2)
    web.routes["/there"] = lambda handler: hosts.answering(
        handler, (302, {"Location": hosts.url("host0" in handler.headers["Host"], "/back")}, b"")
    )
    web.routes["/back"] = lambda handler: hosts.answering(
        handler, (302, {"Location": hosts.url("host0" in handler.headers["Host"], "/end")}, b"")
    )
    web.routes["/end"] = lambda handler: hosts.answering(handler, (200, {}, b"x"))
    asking = Fetcher("tests", allow_private=True, interruption=patience, connections=1, clock=patience.clock)
    with ThreadPoolExecutor(16) as threads:
        pages = list(threads.map(lambda index: asking.get(hosts.url(index, "/there"), {}), range(32)))
    assert [page.body for page in pages] == [b"x"] * 32
    assert hosts.most["all"] == 1


class Sleepers(Interruption):
    """Sleep lasts until the test ends it; `slept` is set when someone does."""

    def __init__(self):
        super().__init__()
        self.slept, self.awake = threading.Event(), threading.Event()

    def sleep(self, seconds):
        self.slept.set()
        assert self.awake.wait(30)


@pytest.mark.parametrize(
    ("path", "manners", "other"),
    [("/x", Manners(rate=1 / 50, robots=False), 1), ("/busy", Manners(robots=False), 0)],
    ids=["pace", "back-off"],
)
def test_who_sleeps_holds_nothing_that_others_need(web, monkeypatch, path, manners, other):
    """Waiting for a host's pace holds that host alone; waiting to try again holds not even that."""
    hosts, sleepers = Hosts(web, monkeypatch, 2), Sleepers()
    answers = [(502, {}, b""), (200, {}, b"x")]
    web.routes |= {"/x": (200, {}, b"x"), "/busy": lambda handler: answers.pop(0)}
    asking = Fetcher("tests", allow_private=True, interruption=sleepers, connections=1)
    if path == "/x":
        asking.get(hosts.url(0, "/x"), {}, manners)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(asking.get, hosts.url(0, path), {}, manners)
        try:
            assert sleepers.slept.wait(10)
            assert asking.get(hosts.url(other, "/x"), {}, Manners(robots=False)).body == b"x"
        finally:
            sleepers.awake.set()
        assert waiting.result(10).body == b"x"


def test_deadlines_belong_to_their_own_requests(web, monkeypatch):
    hosts = Hosts(web, monkeypatch, 8)

    def slowly(handler):
        handler.wfile.write(HEAD + b"Content-Length: 9\r\n\r\n")
        web.over.wait(5)

    web.routes |= {"/slow": slowly, "/x": lambda handler: hosts.answering(handler, (200, {}, b"x"))}
    asking = Fetcher("tests", allow_private=True, limits=Limits(body_s=1.0, tries=1))

    def ask(index):
        try:
            return asking.get(hosts.url(index, "/slow" if index == 0 else "/x"), {}, Manners(robots=False)).body
        except SourceFailed as failure:
            return str(failure)

    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(ask, range(8)))
    assert said == ["too slow: a deadline passed"] + [b"x"] * 7


@pytest.mark.parametrize("where", ["turn", "answer", "pace"])
def test_the_end_is_noticed_wherever_a_thread_waits(web, where):
    interruption, asked = Interruption(), threading.Event()

    def silence(handler):
        asked.set()
        web.over.wait(20)

    web.routes |= {"/silence": silence, "/": (200, {}, b"x")}
    asking = Fetcher("tests", allow_private=True, interruption=interruption)
    slow = Manners(rate=1 / 50, robots=False)
    ended = []

    def ask(path):
        try:
            asking.get(web.url + path, {}, slow)
        except Interrupted:
            ended.append(path)

    if where == "pace":
        asking.get(web.url, {}, slow)
    first = threading.Thread(target=ask, args=("/silence",))
    first.start()
    if where != "pace":
        assert asked.wait(10)
    second = threading.Thread(target=ask, args=("/",)) if where == "turn" else first
    if second is not first:
        second.start()
    interruption.stop.set()
    for thread in (first, second):
        thread.join(10)
        assert not thread.is_alive()
    assert sorted(ended) == (["/", "/silence"] if where == "turn" else ["/silence"])
