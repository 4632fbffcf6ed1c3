"""Routing: which device learns what, so that a token budget is met in time at least energy.

A fleet is a TOML file of device classes:

    deadline_s = 28800
    [[device]]
    name = "h100"          # the lane's name, and the folder of its shards
    count = 2
    tokens_per_s = 40000   # of one, training
    watts = 650            # of one, drawn while it trains
    memory_gb = 80         # optional: what is preferred for dense documents where speed is equal

*Plan.* All devices work at once, so class i can take at most c_i = count * tokens_per_s * deadline_s tokens, and a
token costs it e_i = watts / tokens_per_s joules, whatever the token. Minimising the sum of e_i x_i with x_i <= c_i and
the sum of x_i the budget is a fractional knapsack: classes are filled in the order of e_i, and no plan is better (an
exchange argument: moving a token to a cheaper class with room always helps). Where all together cannot meet the
deadline, the plan says by how much, and each class gets what it can do.

The plan is for what a run may still let pass: what is left of the budget, of the day's where it is one of a day, and no
more than all classes have time for; when a new day begins within the run, for its budget and the time that is left.

*Lanes.* Energy does not depend on which tokens a class gets, so that is free for what learning needs: documents of
high density (bits a token, `clet.priority.novelty`) go to the fastest class, on which they are learned first, and what
is plain and repetitive to the others. Each group of documents that leaves the window is cut by density in the plan's
proportions, so that within a group no document is on a faster class than a denser one; what does not come out even is
carried to the next, so that no lane is ever off by more than a document.

Cost: a sort of each group. Choose one lane (no fleet) where all devices are alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clet.config import line_of, load_toml
from clet.exits import ConfigError

MAX_DEVICES = 16
LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")  # what clet shard takes as the name of a folder
SKIP = "skip"
_KEYS = {"count": int, "tokens_per_s": float, "watts": float, "memory_gb": float}


@dataclass(frozen=True)
class Device:
    """A class of devices; rates and power are of one."""

    name: str
    tokens_per_s: float
    watts: float
    count: int = 1
    memory_gb: float = 0.0

    @property
    def joules_per_token(self) -> float:
        """Energy of a token."""
        return self.watts / self.tokens_per_s

    @property
    def rate(self) -> float:
        """Tokens/s of all of them."""
        return self.count * self.tokens_per_s


@dataclass(frozen=True)
class Lane:
    """What one class gets."""

    device: Device
    tokens: int

    @property
    def seconds(self) -> float:
        """How long all of the class work on it."""
        return self.tokens / self.device.rate

    @property
    def joules(self) -> float:
        """What it costs."""
        return self.tokens * self.device.joules_per_token


@dataclass(frozen=True)
class Plan:
    """Lanes in the order of the density that they get, densest first; tokens that no class has time for."""

    lanes: tuple[Lane, ...]
    deadline_s: float
    left_over: int

    @property
    def joules(self) -> float:
        """Energy of all lanes."""
        return sum(lane.joules for lane in self.lanes)

    @property
    def seconds(self) -> float:
        """When the last lane ends."""
        return max((lane.seconds for lane in self.lanes), default=0.0)

    def alone(self) -> dict[str, tuple[float, float]]:
        """(seconds, joules) of all the planned tokens on one class alone."""
        tokens = sum(lane.tokens for lane in self.lanes)
        return {
            lane.device.name: (tokens / lane.device.rate, tokens * lane.device.joules_per_token) for lane in self.lanes
        }

    def to_json(self) -> dict[str, Any]:
        """The plan for a report."""
        return {
            "lanes": {
                lane.device.name: {
                    "tokens": lane.tokens,
                    "seconds": round(lane.seconds, 1),
                    "joules": round(lane.joules, 1),
                }
                for lane in self.lanes
            },
            "joules": round(self.joules, 1),
            "seconds": round(self.seconds, 1),
            "left_over": self.left_over,
            "alone": {
                name: {"seconds": round(seconds, 1), "joules": round(joules, 1)}
                for name, (seconds, joules) in self.alone().items()
            },
        }


@dataclass(frozen=True)
class Fleet:
    """Device classes and the time there is."""

    devices: tuple[Device, ...]
    deadline_s: float

    def room(self, device: Device) -> int:
        """Tokens that a class has time for."""
        return int(device.rate * self.deadline_s)

    @property
    def tokens(self) -> int:
        """Tokens that all classes have time for."""
        return sum(self.room(device) for device in self.devices)


def load_fleet(path: str) -> Fleet:
    """The fleet in a TOML file. Raises ConfigError for what is missing or makes no sense."""
    table = load_toml(path)
    unknown = table.keys() - {"deadline_s", "device"}
    if unknown:
        key = sorted(unknown)[0]
        raise ConfigError(f"{path}:{line_of(path, key)}: no fleet has {key!r}; known are deadline_s, device")
    deadline = table.get("deadline_s")
    if not _positive(deadline):
        raise ConfigError(f"{path}: deadline_s is missing, or no number of seconds above 0")
    entries = table.get("device")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path}: write [[device]], once for each class")
    if len(entries) > MAX_DEVICES:
        raise ConfigError(f"{path}: over {MAX_DEVICES} classes of devices")
    devices: list[Device] = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        if not isinstance(name, str) or not LANE.match(name) or name in (d.name for d in devices):
            raise ConfigError(f"{path}: device {number}: needs a name of its own that can name a folder")
        if name == SKIP:
            raise ConfigError(
                f"{path}: device {number}: no lane is called {SKIP!r}: it says that nobody learns a record"
            )
        for key, value in entry.items():
            if key != "name" and (key not in _KEYS or not _positive(value)):
                raise ConfigError(f"{path}: device {name}: {key} is unknown, or no number above 0")
        if type(entry.get("count", 1)) is not int:
            raise ConfigError(f"{path}: device {name}: count is a whole number")
        missing = {"tokens_per_s", "watts"} - entry.keys()
        if missing:
            raise ConfigError(f"{path}: device {name}: {' and '.join(sorted(missing))} missing")
        devices.append(Device(**entry))
    return Fleet(tuple(devices), float(deadline))


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e15


def plan(fleet: Fleet, tokens: int, used: Mapping[str, int] | None = None) -> Plan:
    """How many of `tokens` each class gets, where some have `used` up part of their time for tokens before."""
    left, used = tokens, used or {}
    given: dict[str, int] = {}
    for device in sorted(fleet.devices, key=lambda d: (d.joules_per_token, -d.rate, d.name)):
        given[device.name] = min(left, max(0, fleet.room(device) - used.get(device.name, 0)))
        left -= given[device.name]
    by_speed = sorted(fleet.devices, key=lambda d: (-d.tokens_per_s, -d.memory_gb, d.name))
    return Plan(tuple(Lane(device, given[device.name]) for device in by_speed), fleet.deadline_s, left)


class Router:
    """Gives documents their lanes by density, in the proportions of a plan. `announce` is told of each plan."""

    def __init__(self, fleet: Fleet, announce: Callable[[Plan], None] = lambda _: None):
        self.fleet, self._announce = fleet, announce
        self.names = [lane.device.name for lane in plan(fleet, 0).lanes]
        self.planned = False
        self.tokens = np.zeros(len(self.names), np.int64)
        self._active = np.zeros(1, np.int64)  # lanes that get anything
        self._shares = np.ones(1)  # of what comes, up to and with each of them
        self._due = np.zeros(0)  # tokens that they, and those before them, should have got under this plan
        self._got = np.zeros(0)

    def begin(self, tokens: int) -> None:
        """Plan for `tokens` to come."""
        planned = plan(self.fleet, tokens, dict(zip(self.names, self.tokens.tolist(), strict=True)))
        given = np.array([lane.tokens for lane in planned.lanes], np.float64)
        if given.any():
            self._active = np.flatnonzero(given)
            self._shares = np.cumsum(given[self._active]) / given.sum()
        self._due, self._got = np.zeros(len(self._active)), np.zeros(len(self._active))
        self.planned = True
        self._announce(planned)

    def route(self, bits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The number `[n]` of each document's lane, where documents of `bits` a token leave together."""
        order = np.argsort(-bits, kind="stable")
        ends = np.cumsum(tokens[order])
        self._due += self._shares * ends[-1]
        # A lane ends at the document whose middle is behind what it and those before it are due.
        cuts = np.searchsorted(ends - tokens[order] / 2, np.maximum.accumulate(self._due - self._got)[:-1])
        self._got[:-1] += np.concatenate(([0], ends))[cuts]
        self._got[-1] += ends[-1]
        lanes = np.empty(len(bits), np.int64)
        lanes[order] = self._active[np.searchsorted(cuts, np.arange(len(bits)), side="right")]
        self.tokens += np.bincount(lanes, tokens, len(self.names)).astype(np.int64)
        return lanes
