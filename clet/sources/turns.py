"""Whose turn it is: which source may be read next, one at a time for each host.

Two queues with one rule. `Places` is for a round: sources have places, are started in their order as far as hosts are
free, and are consumed in their order. `Agenda` is for ever: sources have times. A source whose host is busy is parked
until a source of that host has ended. Every step costs the logarithm of the number of sources.
"""

from __future__ import annotations

import heapq
from collections.abc import Container
from itertools import count
from typing import TYPE_CHECKING

from clet.sources.table import Source

if TYPE_CHECKING:
    from clet.sources.reading import Reading

Place = tuple[int, ...]  # a source's number among those named; then, in a list it named, its number there, and so on


class Places:
    """The sources of one round by place: not started, being read; those that have ended are gone."""

    def __init__(self) -> None:
        self.readings: dict[Place, Reading] = {}
        self._sources: dict[Place, Source] = {}
        self._order: list[Place] = []  # a heap; holds ended ones until they come up
        self._ready: list[Place] = []  # a heap of those not started
        self._parked: dict[str, list[Place]] = {}
        self._numbers = count()

    def add(self, source: Source, after: Place = ()) -> None:
        """A further source; `after` is the place of the one that listed it."""
        place = (*after, next(self._numbers))
        self._sources[place] = source
        heapq.heappush(self._order, place)
        heapq.heappush(self._ready, place)

    def first(self) -> Place | None:
        """The place that is consumed next."""
        while self._order and self._order[0] not in self._sources:
            heapq.heappop(self._order)
        return self._order[0] if self._order else None

    def source(self, place: Place) -> Source:
        """The source at a place."""
        return self._sources[place]

    def next(self, busy: Container[str], may: bool) -> Place | None:
        """A place to start now: the first if nobody reads it yet (everything waits for it), else one whose host is
        not busy, if another `may` be started. The caller puts its reading into `readings`."""
        first = self.first()
        if first is not None and first not in self.readings:
            self._forget(first)
            return first
        if not may:
            return None
        for host in [host for host in self._parked if host not in busy]:
            heapq.heappush(self._ready, heapq.heappop(self._parked[host]))
            if not self._parked[host]:
                del self._parked[host]
        while self._ready:
            place = heapq.heappop(self._ready)
            if place in self.readings or place not in self._sources:
                continue
            host = self._sources[place].host
            if host not in busy:
                return place
            heapq.heappush(self._parked.setdefault(host, []), place)
        return None

    def _forget(self, place: Place) -> None:
        parked = self._parked.get(self._sources[place].host, [])
        if place in parked:
            parked.remove(place)
            heapq.heapify(parked)
            if not parked:
                del self._parked[self._sources[place].host]

    def end(self, place: Place) -> None:
        """The source at a place has been read."""
        del self._sources[place]
        self.readings.pop(place, None)


class Agenda:
    """Sources by the time (of a monotonic clock, in seconds) when they are due."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Source]] = []
        self._parked: dict[str, list[tuple[float, int, Source]]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._due) + sum(map(len, self._parked.values()))

    def add(self, time_s: float, source: Source) -> None:
        """A source that is due at a time."""
        heapq.heappush(self._due, (time_s, next(self._numbers), source))

    def next(self, now_s: float, busy: Container[str]) -> Source | None:
        """A source that is due and whose host is not busy; it leaves the agenda."""
        for host in [host for host in self._parked if host not in busy]:
            heapq.heappush(self._due, heapq.heappop(self._parked[host]))
            if not self._parked[host]:
                del self._parked[host]
        while self._due and self._due[0][0] <= now_s:
            entry = heapq.heappop(self._due)
            host = entry[2].host
            if host not in busy:
                return entry[2]
            heapq.heappush(self._parked.setdefault(host, []), entry)
        return None

    def seconds_left(self, now_s: float) -> float:
        """Until the next one is due; infinity where none is."""
        return max(0.0, self._due[0][0] - now_s) if self._due else float("inf")
