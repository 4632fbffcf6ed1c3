"""robots.txt by RFC 9309: which URLs of a host may be asked for, and how slowly.

The file of each scheme, host and port is kept for a day (RFC 9309, 2.4), its first 500 KiB count (2.5). A client error
means that there are no rules (2.3.1.3); where the file cannot be had for another reason, nothing of the host may be
asked for (2.3.1.4), unless an older copy is known, and it is asked for again a minute later. 429 is such a reason too:
a host that wants fewer requests has not permitted more.

Of a file only the groups for this robot and for all robots reach the parser, since one that lists ten thousand robots
and as many rules would make it hold their product. Memory: about 500 bytes a rule, at most MAX_RULES of them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from protego import Protego

from clet.sources.adapter import SourceFailed
from clet.sources.web.politeness import Turns
from clet.sources.web.urls import host_of, origin_of, shown

MAX_BYTES = 500 << 10
MAX_RULES = 200_000
MAX_ORIGINS = 20_000
KEPT_S = 86_400.0
RETRY_S = 60.0
# as generous as parsers in use: a blank for the hyphen or the colon, and the usual slips in "disallow"
_FIELD = re.compile(r"\s*(user[\s-]?agent|allow|dis+al+ow|crawl[\s-]?delay)(?:\s*:|\s)\s*(.*)", re.IGNORECASE)
_NAMES = {"a": "Allow", "d": "Disallow", "c": "Crawl-delay"}
_TOKEN = re.compile(r"[A-Za-z_-]+")


def product_token(user_agent: str) -> str:
    """The name by which a robots.txt calls a robot: the letters that its user agent begins with."""
    match = _TOKEN.match(user_agent)
    return match.group().lower() if match else ""


@dataclass
class _Rules:
    """What one origin said. `problem`: why its file could not be had."""

    parsed: Protego | None
    number: int
    until: float
    problem: SourceFailed | None = None


class Robots:
    """The rules of every origin that was asked lately. For several threads.

    `fetch` gives the text at a URL, None where there are no rules; it raises SourceFailed where that is not known.
    """

    def __init__(self, token: str, fetch: Callable[[str], str | None], turns: Turns, clock: Callable[[], float]):
        self._token = token
        self._fetch = fetch
        self._turns = turns
        self._clock = clock
        self._known: dict[str, _Rules] = {}
        self._num_rules = 0
        self._lock = threading.Lock()

    def check(self, url: httpx.URL) -> float | None:
        """The crawl delay that holds for a URL, in seconds. Raises SourceFailed where it may not be asked for."""
        origin = origin_of(url)
        with self._turns.turn(origin):  # one asks, the others wait for what it learns
            rules = self._of(origin)
        if rules.problem is not None:
            raise SourceFailed(str(rules.problem), unreachable=rules.problem.unreachable, retry_s=rules.problem.retry_s)
        if rules.parsed is None:
            return None
        with self._lock:  # the parser keeps what it matched
            allowed = rules.parsed.can_fetch(shown(url), self._token)
            delay = rules.parsed.crawl_delay(self._token)
        if not allowed:
            raise SourceFailed(
                f"robots.txt of {host_of(url)} disallows it; "
                "--ignore-robots, or robots = false in the sources file, overrides it"
            )
        return delay

    def _of(self, origin: str) -> _Rules:
        with self._lock:
            old = self._known.get(origin)
        if old is not None and self._clock() < old.until:
            return old
        try:
            text = self._fetch(f"{origin}/robots.txt")
            parsed, number = parse_rules(text, self._token) if text else (None, 0)
            rules = _Rules(parsed, number, self._clock() + KEPT_S)
        except SourceFailed as error:
            until = self._clock() + RETRY_S
            if old is not None and old.problem is None:
                rules = _Rules(old.parsed, old.number, until)
            else:
                rules = _Rules(None, 0, until, error)
        self._keep(origin, rules)
        return rules

    def _keep(self, origin: str, rules: _Rules) -> None:
        with self._lock:
            old = self._known.pop(origin, None)
            self._num_rules += rules.number - (old.number if old else 0)
            self._known[origin] = rules
            while len(self._known) > 1 and (self._num_rules > MAX_RULES or len(self._known) > MAX_ORIGINS):
                self._num_rules -= self._known.pop(next(iter(self._known))).number


def parse_rules(text: str, token: str) -> tuple[Protego, int]:
    """The rules for one robot, and how many there are."""
    lines, agents, ours, number = [], False, False, 0
    for line in text.lstrip("\ufeff").splitlines():
        match = _FIELD.match(line.partition("#")[0].rstrip())
        if not match:
            continue
        field, value = match[1].lower(), match[2].strip()
        if field.startswith("user"):
            ours = ours and agents
            agents = True
            name = _TOKEN.match(value)
            called = "*" if value == "*" else token if token and name and name.group().lower() == token else None
            if called:
                lines.append(f"User-agent: {called}")
                ours = True
        else:
            agents = False
            if ours:
                lines.append(f"{_NAMES[field[0]]}: {value}")
                number += 1
    return Protego.parse("\n".join(lines)), number
