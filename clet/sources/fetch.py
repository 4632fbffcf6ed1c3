"""One fetcher for all sources: polite, bounded in every direction, and confined to the open internet.

- Conditional: ETag and Last-Modified of the last answer are sent back; 304 is None, and nothing is parsed.
- Deadlines for the connection, the first byte and the whole body; caps on bytes received, bytes after decompression,
  and their ratio. A body is read in pieces, so no cap is passed by more than one piece.
- Redirects are followed by hand, each hop checked as if it were new (`connection.py` pins the address).
- 429 and 503 are tried again after Retry-After, or 1, 2, 4 s, a few times; a longer wait is a failure.
- One request at a time, and a pause between two to one host.

HTTP/2 where the server offers it. Memory: one body.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpcore
import httpx

from clet.sources.adapter import SourceFailed
from clet.sources.connection import PinnedBackend, Refused
from clet.sources.interruption import Interruption
from clet.sources.table import without_credentials

MAX_REDIRECTS = 5
MAX_URL_CHARS = 8192
MAX_RATIO = 200  # deflate reaches 1032; feeds and pages stay below 50
RATIO_FREE_BYTES = 1 << 20  # below this much output the ratio is nobody's problem
_PIECE = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (429, 503)
_ACCEPT = b"application/atom+xml, application/rss+xml, application/feed+json, text/html;q=0.8, */*;q=0.5"


@dataclass(frozen=True)
class Limits:
    """What one request may cost: seconds, bytes, tries."""

    connect_s: float = 10.0
    first_byte_s: float = 30.0
    body_s: float = 120.0
    max_bytes: int = 32 << 20
    tries: int = 4
    max_wait_s: float = 30.0
    spacing_s: float = 0.5


@dataclass(frozen=True)
class Page:
    """An answer. `url` is where it was found; `validators` belong into the cursor once the body was dealt with."""

    url: str
    body: bytes
    content_type: str
    charset: str | None
    validators: dict[str, str]


class Fetcher:
    """See the module's head. Not for several threads at once."""

    def __init__(
        self,
        user_agent: str,
        *,
        allow_private: bool = False,
        limits: Limits = Limits(),
        interruption: Interruption | None = None,
    ):
        self._agent = user_agent.encode("ascii", "replace")
        self._limits = limits
        self._interruption = interruption or Interruption()
        self._backend = PinnedBackend(allow_private)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=8,
            keepalive_expiry=30.0,
            http2=True,
            network_backend=self._backend,
        )
        self._last: dict[str, float] = {}

    def get(self, url: str, validators: dict[str, str]) -> Page | None:
        """The page at a URL, or None where `validators` say that nothing changed. Raises SourceFailed."""
        target, login = _parse(url, None), None
        if target.userinfo:
            login = (target.host, b"Basic " + base64.b64encode(target.userinfo))
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask_patiently(target, validators, login)
            if isinstance(answer, Page) or answer is None:
                return answer
            target = _parse(answer, target)
        raise SourceFailed(f"over {MAX_REDIRECTS} redirects")

    def _ask_patiently(self, url: httpx.URL, validators: dict[str, str], login: tuple | None) -> Page | str | None:
        """One hop: a page, None for 304, or where it redirects to."""
        for attempt in range(self._limits.tries):
            last = attempt + 1 == self._limits.tries
            self._pause(url.host)
            try:
                with self._interruption.waiting():
                    answer = self._ask(url, validators, login)
            except Refused as refused:
                raise refused.reason from None
            except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError) as error:
                if last:
                    raise SourceFailed(_words(error), unreachable=True) from None
                wait = float(1 << attempt)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise SourceFailed(_words(error), unreachable=True) from None
            else:
                if not isinstance(answer, _Later):
                    return answer
                wait = float(1 << attempt) if answer.wait_s is None else answer.wait_s
                if last or wait > self._limits.max_wait_s:
                    asked = f", asks to wait {wait:g} s" if answer.wait_s is not None else ""
                    raise SourceFailed(f"HTTP {answer.status}{asked}", unreachable=True)
            self._interruption.sleep(wait)
        raise AssertionError("the last try always ends above")

    def _pause(self, host: str) -> None:
        """Keep the distance between two requests to one public host."""
        since = time.monotonic() - self._last.get(host, float("-inf"))
        if since < self._limits.spacing_s and host not in self._backend.private_hosts:
            self._interruption.sleep(self._limits.spacing_s - since)

    def _ask(self, url: httpx.URL, validators: dict[str, str], login: tuple | None) -> Page | str | _Later | None:
        limits = self._limits
        start = time.monotonic()
        self._backend.deadline = start + limits.connect_s + limits.first_byte_s
        timeout = {"connect": limits.connect_s, "read": limits.first_byte_s, "write": limits.first_byte_s, "pool": 1.0}
        request = httpcore.Request(
            "GET",
            httpcore.URL(
                scheme=url.raw_scheme,
                host=url.raw_host,
                port=url.port,
                target=url.raw_path,
            ),
            headers=self._headers(url, validators, login),
            extensions={"timeout": timeout},
        )
        response = self._pool.handle_request(request)
        try:
            headers = httpx.Headers(response.headers)
            if response.status == 304:
                return None
            if response.status in _REDIRECTS and "location" in headers:
                return headers["location"]
            if response.status in _LATER:
                return _Later(response.status, _retry_after(headers))
            if response.status not in (200, 203):
                raise SourceFailed(f"HTTP {response.status}", unreachable=True)
            self._backend.deadline = start + limits.body_s
            body = _read_body(response.stream, headers, limits.max_bytes)
        finally:
            self._backend.deadline = min(self._backend.deadline, time.monotonic() + limits.first_byte_s)
            response.close()
            self._last[url.host] = time.monotonic()
        kind = headers.get("content-type", "")
        shown = without_credentials(str(url))
        fresh = {name: headers[name][:1000] for name in ("etag", "last-modified") if headers.get(name)}
        return Page(shown, body, kind.partition(";")[0].strip().lower(), _charset(kind), {"url": shown, **fresh})

    def _headers(self, url: httpx.URL, validators: dict[str, str], login: tuple | None) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"Host", url.netloc.rpartition(b"@")[2]),
            (b"User-Agent", self._agent),
            (b"Accept", _ACCEPT),
            (b"Accept-Encoding", b"gzip, deflate"),
        ]
        if login and login[0] == url.host:
            headers.append((b"Authorization", login[1]))
        if validators.get("url") == without_credentials(str(url)):
            for name, field in (("etag", b"If-None-Match"), ("last-modified", b"If-Modified-Since")):
                if validators.get(name):
                    headers.append((field, validators[name].encode("latin-1", "replace")))
        return headers


@dataclass(frozen=True)
class _Later:
    status: int
    wait_s: float | None


def _parse(url: str, base: httpx.URL | None) -> httpx.URL:
    """An http or https URL, relative to `base`. Raises SourceFailed."""
    try:
        if len(url) > MAX_URL_CHARS:
            raise ValueError
        parsed = base.join(url) if base else httpx.URL(url)
        if base and parsed.userinfo and base.userinfo != parsed.userinfo:
            parsed = parsed.copy_with(userinfo=b"")
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise SourceFailed("not a URL" if base is None else "redirects to what is no URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hop = "" if base is None else "redirects to "
        raise SourceFailed(f"{hop}{parsed.scheme or 'no scheme'}: is not fetched; only http and https are")
    return parsed


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait, by its own clock where it names a date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, TypeError, KeyError):
        return None


def _charset(content_type: str) -> str | None:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")[:40] or None
    return None


def _words(error: Exception) -> str:
    if isinstance(error, httpcore.TimeoutException):
        return "no connection in time" if isinstance(error, httpcore.ConnectTimeout) else "too slow: a deadline passed"
    return (str(error) or type(error).__name__)[:200]


# ---- the body


def _read_body(stream: Iterator[bytes], headers: httpx.Headers, max_bytes: int) -> bytes:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise SourceFailed(f"answers in {coding[:40]}, which was not asked for")
    inflater = None if coding in ("identity", "") else _Inflater(coding, max_bytes)
    parts, received, size = [], 0, 0
    for piece in stream:
        received += len(piece)
        for part in inflater.feed(piece, received) if inflater else [piece]:
            size += len(part)
            parts.append(part)
        if max(received, size) > max_bytes:
            raise SourceFailed(f"over {max_bytes} bytes")
    if inflater:
        inflater.finish()
    return b"".join(parts)


class _Inflater:
    """gzip (also several members) or deflate, piece by piece, within a cap and a ratio."""

    def __init__(self, coding: str, max_bytes: int):
        self._wbits = 31 if coding.endswith("gzip") else 15
        self._max = max_bytes
        self._decoder = zlib.decompressobj(self._wbits)
        self._started = False
        self._out = 0

    def feed(self, piece: bytes, received: int) -> Iterator[bytes]:
        """What a piece inflates to. Raises SourceFailed on damage and past a limit."""
        while piece:
            if self._decoder.eof:
                if not piece.strip(b"\0") or self._wbits != 31:
                    return
                self._decoder = zlib.decompressobj(self._wbits)
            part = self._decompress(piece)
            self._started = True
            self._out += len(part)
            if self._out > self._max:
                raise SourceFailed(f"inflates to over {self._max} bytes")
            if self._out > RATIO_FREE_BYTES and self._out > MAX_RATIO * received:
                raise SourceFailed(f"inflates over {MAX_RATIO}-fold")
            if part:
                yield part
            piece = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail

    def _decompress(self, piece: bytes) -> bytes:
        try:
            return self._decoder.decompress(piece, _PIECE)
        except zlib.error as error:
            if self._wbits == 15 and not self._started:  # many servers mean raw deflate
                self._wbits = -15
                self._decoder = zlib.decompressobj(-15)
                return self._decompress(piece)
            raise SourceFailed(f"damaged {'gzip' if self._wbits == 31 else 'deflate'} body: {error}") from None

    def finish(self) -> None:
        """Raise SourceFailed where the body ended inside a member."""
        if self._started and not self._decoder.eof:
            raise SourceFailed("the compressed body is cut short", unreachable=True)
