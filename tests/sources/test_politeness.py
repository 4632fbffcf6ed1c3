"""Turns and paces by a clock that the test moves."""

import threading

import pytest

from clet.sources.interruption import Interrupted, Interruption
from clet.sources.web import politeness
from clet.sources.web.politeness import UNPACED, Hosts, Pace, Turns


class Clock:
    """Time that passes only in sleep."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def check(self):
        pass

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hosts(clock):
    return Hosts(clock, clock)


def times(hosts, clock, pace, number, name="a", taking=0.0):
    """When requests are sent that come one after the other and take so long."""
    sent = []
    for _ in range(number):
        hosts.wait(name, pace)
        hosts.sent(name, pace)
        sent.append(round(clock.now - 1000.0, 6))
        clock.now += taking
    return sent


def test_a_burst_is_free_and_then_the_rate_holds(hosts, clock):
    assert times(hosts, clock, Pace(2.0, 2), 5) == [0.0, 0.0, 0.5, 1.0, 1.5]


def test_without_a_burst_requests_keep_their_distance(hosts, clock):
    assert times(hosts, clock, Pace(1 / 3), 4) == [0.0, 3.0, 6.0, 9.0]
    assert clock.slept == pytest.approx([3.0, 3.0, 3.0])


def test_the_burst_comes_back_with_time_and_not_beyond_its_size(hosts, clock):
    times(hosts, clock, Pace(10.0, 10), 10)
    clock.now += 0.35
    start = clock.now - 1000.0
    assert times(hosts, clock, Pace(10.0, 10), 5) == pytest.approx([start] * 3 + [start + 0.05, start + 0.15])
    clock.now += 3600
    start = clock.now - 1000.0
    assert times(hosts, clock, Pace(10.0, 10), 11) == pytest.approx([start] * 10 + [start + 0.1])


@pytest.mark.parametrize(("rate", "burst", "taking"), [(2.0, 2, 0.0), (10.0, 10, 0.03), (0.5, 1, 0.7), (10.0, 3, 1.0)])
def test_no_stretch_of_time_holds_more_than_burst_and_rate_allow(hosts, clock, rate, burst, taking):
    sent = times(hosts, clock, Pace(rate, burst), 60, taking=taking)
    for first in range(60):
        for last in range(first, 60):
            assert last - first + 1 <= burst + rate * (sent[last] - sent[first]) + 1e-6


def test_a_slow_pace_counts_what_a_fast_one_sent(hosts, clock):
    times(hosts, clock, Pace(10.0, 5), 1)
    assert times(hosts, clock, Pace(1 / 3), 1) == [3.0]


def test_hosts_do_not_wait_for_each_other_and_the_unpaced_never(hosts, clock):
    for name in "abc":
        hosts.wait(name, Pace(0.1))
        hosts.sent(name, Pace(0.1))
    assert times(hosts, clock, UNPACED, 9, "d") == [0.0] * 9
    assert clock.slept == []


def test_a_rest_holds_for_every_pace_and_is_bounded(hosts, clock):
    hosts.rest("a", 30.0)
    assert hosts.rest_left("a") == 30.0
    assert hosts.rest_left("b") == 0.0
    hosts.wait("a", UNPACED)
    assert clock.slept == [30.0]
    assert hosts.rest_left("a") == 0.0
    hosts.rest("a", 1e12)
    assert hosts.rest_left("a") == politeness.MAX_REST_S


@pytest.mark.parametrize(
    ("pace", "delay", "expected"),
    [
        (Pace(2.0, 2), None, Pace(2.0, 2)),
        (Pace(2.0, 2), 0.0, Pace(2.0, 2)),
        (Pace(2.0, 2), 10.0, Pace(0.1)),
        (Pace(2.0, 2), 0.1, Pace(2.0, 2)),
        (UNPACED, 4.0, Pace(0.25)),
        (Pace(1 / 3), 100_000.0, Pace(1 / 60)),
    ],
)
def test_a_crawl_delay_only_slows_down_and_only_so_far(pace, delay, expected):
    assert pace.limited(delay) == expected


def test_what_is_kept_of_hosts_is_bounded(hosts, clock, monkeypatch):
    monkeypatch.setattr(politeness, "MAX_HOSTS", 10)
    for index in range(100):
        hosts.note_private(f"host{index}")
    assert not hosts.is_private("host5")
    assert hosts.is_private("host99")
    assert len(hosts._hosts) == 10


def test_turns_are_had_in_the_order_of_asking_and_never_by_two():
    turns, having, order = Turns(1, Interruption()), [], []
    queued = threading.Semaphore(0)

    def go(index):
        with turns.turn("a"):
            having.append(index)
            assert len(having) == 1
            order.append(index)
            having.pop()

    threads = []
    with turns.turn("a"):
        for index in range(20):
            thread = threading.Thread(target=go, args=(index,))
            thread.start()
            while len(turns._waiting["a"]) < index + 2:
                queued.acquire(timeout=0.001)
            threads.append(thread)
    for thread in threads:
        thread.join(10)
    assert order == list(range(20))
    assert turns._waiting == {}


def test_who_stops_waiting_leaves_the_queue_to_the_others():
    interruption = Interruption()
    turns, ended = Turns(1, interruption), []

    def wait():
        try:
            with turns.turn("a"):
                ended.append("had")
        except Interrupted:
            ended.append("interrupted")

    with turns.turn("a"):
        thread = threading.Thread(target=wait)
        thread.start()
        interruption.stop.set()
        thread.join(10)
        assert ended == ["interrupted"]
        interruption.stop.clear()
        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(10)
    assert ended == ["interrupted", "had"]


def test_several_may_have_a_turn_where_several_are_allowed():
    turns, meeting = Turns(3, Interruption()), threading.Barrier(3, timeout=10)

    def go():
        with turns.turn(""):
            meeting.wait()

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not meeting.broken
