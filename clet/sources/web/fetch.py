"""One fetcher for all sources: polite, bounded in every direction, and confined to the open internet.

- Politeness: one request at a time to a host and a token bucket for it (`politeness.py`), robots.txt (`robots.py`),
  `connections` requests at once in all. A host that asks to be left alone (Retry-After) is, by everyone here.
- Conditional: ETag and Last-Modified of the last answer are sent back; 304 is None, and nothing is parsed.
- Deadlines for the connection, the first byte and the whole body; caps on bytes received, bytes after decompression,
  and their ratio (`body.py`). What is too large for memory goes to a file, and is resumed (`download.py`).
- Redirects are followed by hand, each hop checked as if it were new (`connection.py` pins the address).
- 429, 502, 503, 504 and broken connections are tried again, after Retry-After or an exponentially growing random time
  ("full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/); a longer wait than
  `max_wait_s` is a failure that says when to come again.
- What was fetched can be kept (`archive.py`).

A turn is held for one hop only, and in one order (the host's, then the common one), so no two threads can wait for
each other. Memory: one body a thread.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from clet.seeds import DEFAULT_SEED, python_random
from clet.sources.adapter import NotConfigured, SourceFailed
from clet.sources.interruption import Interruption
from clet.sources.web import download
from clet.sources.web.addresses import is_public
from clet.sources.web.exchange import Answer, Broken, Transport
from clet.sources.web.page import Download, Manners, Page
from clet.sources.web.politeness import MAX_REST_S, PUBLIC_BURST, PUBLIC_RATE, UNPACED, Hosts, Pace, Turns
from clet.sources.web.robots import MAX_BYTES as MAX_ROBOTS_BYTES
from clet.sources.web.robots import Robots, product_token
from clet.sources.web.urls import Login, host_of, parse_url, shown
from clet.sources.web.wishes import FileWish, Limits, Means, PageWish, Taken, Wish

if TYPE_CHECKING:
    from clet.sources.web.archive import Archive

MAX_REDIRECTS = 5  # RFC 9309 asks for as many for a robots.txt
DEFAULT_LIMITS = Limits()
_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (429, 502, 503, 504)
_ASKS_REST = (429, 503)
_ACCEPT = "application/atom+xml, application/rss+xml, application/feed+json, text/html;q=0.8, */*;q=0.5"
_CONTACT = re.compile(r"[^\s@<>()]+@[^\s@<>()]+\.[^\s@<>()]+|https?://\S+\.\S+")


class HttpFailed(SourceFailed):
    """The server answered with a status that is no success."""

    def __init__(self, status: int, reason: str, *, retry_s: float | None = None):
        super().__init__(reason, unreachable=True, status=status, retry_s=retry_s)


class Fetcher:
    """See the module's head. For several threads. `archive` stays the caller's to sync and close.

    `clock` is the one that paces are kept by.
    """

    def __init__(
        self,
        user_agent: str,
        *,
        allow_private: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        interruption: Interruption | None = None,
        connections: int = 16,
        archive: Archive | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        agent = re.sub(r"[^ -~]+", " ", user_agent).strip()
        self._agent = agent.encode("ascii")
        self._has_contact = bool(_CONTACT.search(agent))
        self._limits = limits
        self._interruption = interruption or Interruption()
        self._transport = Transport(
            allow_private, connections, limits.connect_s, limits.first_byte_s, self._interruption
        )
        self._means = Means(self._transport, limits, self._interruption, archive)
        self._hosts = Hosts(self._interruption, clock)
        self._turns = Turns(1, self._interruption)  # of each host
        self._common = Turns(connections, self._interruption)
        self._robots = Robots(product_token(agent), self._robots_text, Turns(1, self._interruption), clock)
        # waits differ from process to process: those who failed together must not come again together
        self._jitter = python_random(DEFAULT_SEED, f"fetch/back-off/{agent}/{os.getpid()}")

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def get(self, url: str, validators: dict[str, str], manners: Manners = Manners()) -> Page | None:
        """The page at a URL, or None where `validators` say that nothing changed. Raises SourceFailed."""
        return self._fetch(url, PageWish(self._means, validators, manners, self._limits.max_bytes))

    def download(
        self, url: str, folder: Path, validators: dict[str, str], manners: Manners = Manners()
    ) -> Download | None:
        """The body at a URL as a file in `folder`, or None where nothing changed. Raises SourceFailed."""
        name = shown(parse_url(url))
        with download.Part(folder, name, self._interruption) as part:
            if part.whole and validators:  # only one of the two bodies can be asked after
                part.restart()
            return self._fetch(url, FileWish(self._means, validators, manners, part))

    # ---- from hop to hop

    def _fetch(self, url: str, wish: Wish) -> Page | Download | None:
        target = parse_url(url)
        if wish.manners.contact and not self._has_contact:
            raise NotConfigured(f"{host_of(target)} wants to know who asks; give --user-agent 'Name you@example.org'")
        login = Login.of(target)
        for _ in range(MAX_REDIRECTS + 1):
            delay = self._robots.check(target) if wish.manners.robots else None
            outcome = self._ask_patiently(target, wish, login, delay)
            if not isinstance(outcome, _Moved):
                return outcome()
            target = parse_url(outcome.location, target)
        raise _TooManyRedirects(f"over {MAX_REDIRECTS} redirects")

    def _ask_patiently(self, url: httpx.URL, wish: Wish, login: Login | None, delay: float | None) -> Taken | _Moved:
        """One hop, tried again where that may help."""
        limits, attempt = self._limits, 0
        while True:
            mark = wish.progress()
            try:
                return self._ask(url, wish, login, delay)
            except Broken as broken:
                attempt = attempt + 1 if wish.progress() - mark < download.PROGRESS_BYTES else 1
                wait, rests = broken.wait_s, broken.wait_s is not None and broken.status in _ASKS_REST
                if rests:
                    self._hosts.rest(host_of(url), wait)
                if attempt >= limits.tries or (wait or 0) > limits.max_wait_s:
                    raise self._given_up(broken) from None
            if not rests:  # else everyone waits, when the host's turn comes
                longest = min(limits.max_wait_s, limits.back_off_s * (1 << min(attempt - 1, 20)))
                self._interruption.sleep(self._jitter.uniform(0, longest) if wait is None else wait)

    def _given_up(self, broken: Broken) -> SourceFailed:
        reason = str(broken)
        if broken.wait_s is not None:
            reason += f", asks to wait {broken.wait_s:g} s"
        if broken.status is not None:
            return HttpFailed(broken.status, reason, retry_s=broken.wait_s)
        return SourceFailed(reason, unreachable=True)

    def _ask(self, url: httpx.URL, wish: Wish, login: Login | None, delay: float | None) -> Taken | _Moved:
        """One request, when its turn comes. Raises Broken where another may help."""
        host = host_of(url)
        with self._turns.turn(host):
            left = self._hosts.rest_left(host)
            if left > self._limits.max_wait_s:
                raise SourceFailed(f"{host} asks to wait {left:.0f} s yet", unreachable=True, retry_s=left)
            pace = self._pace(host, wish.manners, delay)
            self._hosts.wait(host, pace)
            with self._common.turn(""):
                self._hosts.sent(host, pace)
                headers = list(self._headers(url, wish, login))
                with self._transport.ask(url, headers) as answer:
                    if answer.address is not None and not is_public(answer.address):
                        self._hosts.note_private(host)
                    conditional = any(name in download.CONDITIONAL for name, _ in headers)
                    outcome = self._dealt_with(answer, wish, conditional)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _pace(self, host: str, manners: Manners, delay: float | None) -> Pace:
        if manners.rate is not None:
            pace = Pace(manners.rate, max(1, manners.burst)) if manners.rate > 0 else UNPACED
        else:
            pace = UNPACED if self._hosts.is_private(host) else Pace(PUBLIC_RATE, PUBLIC_BURST)
        return pace.limited(delay)

    def _headers(self, url: httpx.URL, wish: Wish, login: Login | None) -> Iterator[tuple[bytes, bytes]]:
        yield b"User-Agent", self._agent
        yield b"Accept", (wish.manners.accept or _ACCEPT).encode("latin-1", "replace")
        if login and (authorization := login.for_url(url)):
            yield b"Authorization", authorization
        yield from wish.headers(url)

    def _dealt_with(self, answer: Answer, wish: Wish, conditional: bool) -> Taken | _Moved | Exception:
        """What an answer comes to. A failure by status is returned, so that its connection can be kept."""
        status = answer.status
        if status == 304 and conditional:  # else it says that what was never read has not changed
            return wish.unchanged(answer)
        if status in _REDIRECTS and "location" in answer.headers:
            return _Moved(answer.headers["location"])
        if status in wish.statuses:
            return wish.take(answer)
        wait = _retry_after(answer.headers)
        if status in _LATER:
            return Broken(f"HTTP {status}", wait_s=wait, status=status)
        return HttpFailed(status, f"HTTP {status}", retry_s=wait)

    def _robots_text(self, url: str) -> str | None:
        """The robots.txt at a URL, None where there is none. Raises SourceFailed where that cannot be learnt."""
        host = httpx.URL(url).host
        manners = Manners(robots=False, accept="text/plain, */*;q=0.5")
        try:
            page = self._fetch(url, PageWish(self._means, {}, manners, MAX_ROBOTS_BYTES, cut=True))
        except _TooManyRedirects:
            return None
        except HttpFailed as error:
            if 400 <= error.status < 500 and error.status != 429:
                return None
            raise SourceFailed(
                f"robots.txt of {host} cannot be read ({error}), so nothing there may be asked for; "
                "--ignore-robots, or robots = false in the sources file, overrides it",
                unreachable=True,
                retry_s=error.retry_s,
            ) from None
        except SourceFailed as error:
            raise SourceFailed(f"robots.txt: {error}", unreachable=error.unreachable, retry_s=error.retry_s) from None
        text = page.body.decode("utf-8", "replace")
        return text if len(page.body) < MAX_ROBOTS_BYTES else text[: text.rfind("\n") + 1]


@dataclass(frozen=True)
class _Moved:
    location: str


class _TooManyRedirects(SourceFailed):
    """The one failure that RFC 9309 takes for the absence of a robots.txt."""


# ---- headers


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait, by its own clock where it names a date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), MAX_REST_S)
    try:
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (ValueError, TypeError, KeyError):
        return None
    return min(max(0.0, wait), MAX_REST_S)
