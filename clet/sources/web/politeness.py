"""Turns and paces: how often and how many at once hosts are asked.

A turn is FIFO: the first `at_once` of those who wait for a key have it. A pace is a token bucket, kept as the generic
cell rate algorithm does (ITU-T I.371): one number a host, the time at which the next request would be due if all had
come evenly. Whoever has the turn of a host waits for its pace, so there is never more than one to wait. Nothing but
the host's own turn is held meanwhile.

Memory: about 200 bytes for each of the last MAX_HOSTS hosts.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from clet.sources.interruption import Interruption

PUBLIC_RATE = 2.0  # requests a second to a host, where nobody states another
PUBLIC_BURST = 2
MAX_CRAWL_DELAY_S = 60.0  # of a robots.txt; a longer one is held to this
MAX_REST_S = 86_400.0
MAX_HOSTS = 20_000
_LOOK_S = 0.5  # how long a wait for a turn may keep a thread from noticing that the intake is to end


@dataclass(frozen=True)
class Pace:
    """A token bucket: `rate` tokens a second, at most `burst` of them."""

    rate: float
    burst: int = 1

    def limited(self, crawl_delay_s: float | None) -> Pace:
        """The same, but not faster than a robots.txt asks."""
        if not crawl_delay_s:
            return self
        asked = 1 / min(crawl_delay_s, MAX_CRAWL_DELAY_S)
        return Pace(asked, 1) if asked < self.rate else self


UNPACED = Pace(float("inf"))


class Turns:
    """FIFO turns, `at_once` of them for each key. For several threads."""

    def __init__(self, at_once: int, interruption: Interruption):
        self._at_once = at_once
        self._interruption = interruption
        self._waiting: dict[str, deque[threading.Event]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait for a turn, and have it within the block. Raises Interrupted."""
        mine = threading.Event()
        with self._lock:
            queue = self._waiting.setdefault(key, deque())
            queue.append(mine)
            self._call(queue)
        try:
            while not mine.wait(_LOOK_S):
                self._interruption.check()
            yield
        finally:
            with self._lock:
                queue.remove(mine)
                self._call(queue)
                if not queue:
                    del self._waiting[key]

    def _call(self, queue: deque[threading.Event]) -> None:
        for event in islice(queue, self._at_once):
            event.set()


@dataclass
class _Host:
    due: float = float("-inf")  # when the next request would come if all came evenly
    last: float = float("-inf")
    rests_until: float = float("-inf")
    private: bool = False


class Hosts:
    """What is known of each host's pace. A host may be waited for only by the one who has its turn."""

    def __init__(self, interruption: Interruption, clock: Callable[[], float]):
        self._interruption = interruption
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def _host(self, name: str) -> _Host:
        with self._lock:
            host = self._hosts.pop(name, None) or _Host()
            self._hosts[name] = host  # the last asked comes last
            if len(self._hosts) > MAX_HOSTS:
                del self._hosts[next(iter(self._hosts))]
            return host

    def is_private(self, name: str) -> bool:
        """Whether the host answered from a private address."""
        return self._host(name).private

    def note_private(self, name: str) -> None:
        """It answered from a private address."""
        self._host(name).private = True

    def rest(self, name: str, seconds: float) -> None:
        """The host asks to be left alone for so long."""
        self._host(name).rests_until = self._clock() + min(seconds, MAX_REST_S)

    def rest_left(self, name: str) -> float:
        """Seconds for which the host asked to be left alone yet."""
        return max(0.0, self._host(name).rests_until - self._clock())

    def wait(self, name: str, pace: Pace) -> None:
        """Sleep until the host may be asked. Raises Interrupted."""
        host, now = self._host(name), self._clock()
        ready = host.rests_until
        if pace.rate < float("inf"):
            step = 1 / pace.rate
            ready = max(ready, host.due - (pace.burst - 1) * step)
            if pace.burst == 1:  # also where the last request was counted at a faster pace
                ready = max(ready, host.last + step)
        if ready > now:
            self._interruption.sleep(ready - now)

    def sent(self, name: str, pace: Pace) -> None:
        """A request goes to the host now."""
        host, now = self._host(name), self._clock()
        host.last = now
        if pace.rate < float("inf"):
            host.due = max(host.due, now) + 1 / pace.rate
