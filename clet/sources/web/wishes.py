"""What a call of the fetcher asks for at every hop, and what becomes of the answer: a page, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from clet.sources.interruption import Interruption
from clet.sources.web.body import ACCEPTED, read_body
from clet.sources.web.download import Part, conditional, receive, validators_of
from clet.sources.web.exchange import Answer, Transport
from clet.sources.web.page import Download, Manners, Page
from clet.sources.web.urls import shown
from clet.sources.web.warc_record import Head

if TYPE_CHECKING:
    from clet.sources.web.archive import Archive

Taken = Callable[[], Page | Download | None]  # what remains to be done once the host's turn is over


@dataclass(frozen=True)
class Limits:
    """What one request may cost: seconds, bytes, tries."""

    connect_s: float = 10.0
    first_byte_s: float = 30.0  # after the connection
    body_s: float = 120.0  # after the head
    max_bytes: int = 32 << 20
    tries: int = 4
    back_off_s: float = 1.0  # before the second try at most; then twice as much each time
    max_wait_s: float = 30.0
    max_download_bytes: int = 8 << 30
    stall_s: float = 60.0
    stall_bytes: int = 64 << 10  # what a download must bring in stall_s


@dataclass(frozen=True)
class Means:
    """What wishes share."""

    transport: Transport
    limits: Limits
    interruption: Interruption
    archive: Archive | None


class Wish(Protocol):
    """What one call asks for. `statuses`: of answers that it can take."""

    manners: Manners
    statuses: tuple[int, ...]

    def headers(self, url: httpx.URL) -> Iterator[tuple[bytes, bytes]]:
        """What the request for a hop carries."""

    def unchanged(self, answer: Answer) -> Taken:
        """What a 304 means."""

    def take(self, answer: Answer) -> Taken:
        """Read the body. Raises SourceFailed, and Broken where another try may help."""

    def progress(self) -> int:
        """Bytes that a further try will not ask for again."""


class PageWish:
    """A body in memory, content codings taken off. With `cut` its first `max_bytes` are enough, and not archived."""

    statuses: tuple[int, ...] = (200, 203)

    def __init__(
        self, means: Means, validators: dict[str, str], manners: Manners, max_bytes: int, *, cut: bool = False
    ):
        self.manners = manners
        self._means = means
        self._validators = validators
        self._max_bytes = max_bytes
        self._cut = cut

    def headers(self, url: httpx.URL) -> Iterator[tuple[bytes, bytes]]:
        """Conditional where the validators belong to the URL."""
        yield b"Accept-Encoding", ACCEPTED
        if self._validators.get("url") == shown(url):
            yield from conditional(self._validators)

    def unchanged(self, answer: Answer) -> Taken:
        """Nothing to parse."""
        return lambda: None

    def progress(self) -> int:
        """A page is always asked for whole."""
        return 0

    def take(self, answer: Answer) -> Taken:
        """Read it within body_s."""
        self._means.transport.allow(self._means.limits.body_s)
        body = read_body(answer, self._max_bytes, cut=self._cut)
        return lambda: self._page(answer, body)

    def _page(self, answer: Answer, body: bytes) -> Page:
        url, kind = shown(answer.url), answer.headers.get("content-type", "")
        if self._means.archive is not None and not self._cut:
            head = Head(answer.status, answer.reason, answer.headers.raw, decoded=True)
            self._means.archive.store(url, head, body, answer.address)
        return Page(url, body, _media_type(kind), _charset(kind), {"url": url, **validators_of(answer.headers)})


class FileWish:
    """A body in a file, as it is sent."""

    statuses: tuple[int, ...] = (200, 203, 206, 416)

    def __init__(self, means: Means, validators: dict[str, str], manners: Manners, part: Part):
        self.manners = manners
        self._means = means
        self._validators = validators
        self._part = part

    def headers(self, url: httpx.URL) -> Iterator[tuple[bytes, bytes]]:
        """Conditional where the validators belong to the URL, and for the rest where a part is there."""
        yield b"Accept-Encoding", b"identity"  # ranges are of what is sent
        if self._validators.get("url") == shown(url):
            yield from conditional(self._validators)
        yield from self._part.headers()

    def unchanged(self, answer: Answer) -> Taken:
        """Nothing to read; or the file that a killed run left is still the right one."""
        if self._part.whole and not self._validators:
            return lambda: self._download(answer, None)
        self._part.discard()
        return lambda: None

    def progress(self) -> int:
        """What is in the file, if it can be resumed."""
        return self._part.size if self._part.validator else 0

    def take(self, answer: Answer) -> Taken:
        """Read it into the file, as long as it makes progress."""
        limits, means = self._means.limits, self._means
        receive(
            answer,
            self._part,
            means.transport.allow,
            means.interruption,
            limits.max_download_bytes,
            limits.stall_s,
            limits.stall_bytes,
        )
        resumed = answer.status == 206  # then no answer has the whole body
        head = None if resumed else Head(answer.status, answer.reason, answer.headers.raw, decoded=False)
        return lambda: self._download(answer, head)

    def _download(self, answer: Answer, head: Head | None) -> Download:
        part, url = self._part, shown(answer.url)
        raw = part.finish()
        if self._means.archive is not None:
            self._means.archive.store_file(url, head, part.path, raw, part.content_type, answer.address)
        return Download(url, part.path, _media_type(part.content_type), raw, {"url": url, **part.validators})


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _charset(content_type: str) -> str | None:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")[:40] or None
    return None
