"""One request and its answer, over pools of kept connections (HTTP/1.1, and HTTP/2 where the server offers it).

What can go wrong becomes one of three things: SourceFailed (this will not work, or not now), `Broken` (the exchange
broke off; asking again may help), or what the caller itself raises. A kept connection that turns out to have been
closed by the other side is replaced at once. Memory: the pools keep at most `connections` idle connections for 30 s.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h2.exceptions
import httpcore
import httpx

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interruption
from clet.sources.web.connection import PinnedBackend, Refused
from clet.sources.web.proxies import Proxies, parse_proxy

_KEPT_S = 30.0
_DRAIN_BYTES = 1 << 16  # of an answer that nobody reads (a redirect's), so that its connection can be kept
_DRAIN_S = 1.0
# LocalProtocolError is what httpcore makes of a server that breaks the rules of HTTP/2
_BROKEN = (httpcore.ProtocolError, httpcore.ReadError, httpcore.WriteError, h2.exceptions.H2Error)
_FAILED = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProxyError)


class Broken(Exception):
    """The exchange broke off, or the server asks to come again: a further try may help.

    `wait_s`: how long the server asks to wait. `status`: of its answer, if there was one.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None, status: int | None = None):
        super().__init__(reason)
        self.wait_s = wait_s
        self.status = status


class Pieces:
    """The body of an answer as it arrives. `ended`: whether its end was reached."""

    def __init__(self, stream: Iterable[bytes]):
        self._stream = iter(stream)
        self.ended = False

    def __iter__(self) -> Iterator[bytes]:
        return self  # not a generator: dropping one would close the stream

    def __next__(self) -> bytes:
        try:
            return next(self._stream)
        except StopIteration:
            self.ended = True
            raise


@dataclass(frozen=True)
class Answer:
    """Head of an answer, and its body to come. `address` is that of the host, None behind a proxy."""

    url: httpx.URL
    status: int
    reason: str
    headers: httpx.Headers
    pieces: Pieces
    address: str | None

    @property
    def length(self) -> int | None:
        """How many bytes of body the server announces."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


class Transport:
    """Pools for what is asked directly and for each proxy. For several threads."""

    def __init__(
        self, allow_private: bool, connections: int, connect_s: float, first_byte_s: float, interruption: Interruption
    ):
        self._connections = connections
        self._connect_s = connect_s
        self._first_byte_s = first_byte_s
        self._backend = PinnedBackend(allow_private, interruption)
        self._to_proxy = PinnedBackend(True, interruption)  # where a proxy is, is the user's own choice
        self._proxies = Proxies(allow_private)
        self._tls = httpx.create_ssl_context()
        self._pools: dict[str | None, httpcore.ConnectionPool] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close every connection."""
        for pool in list(self._pools.values()):
            pool.close()

    def allow(self, seconds: float) -> None:
        """What is left of this thread's exchange may take so long from now."""
        self._backend.allow(seconds)
        self._to_proxy.allow(seconds)

    @contextlib.contextmanager
    def ask(self, url: httpx.URL, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[Answer]:
        """Send a GET; its head has come once the block is entered, and the connection is given back at its end.

        Raises SourceFailed and Broken, also inside the block.
        """
        try:
            with self._exchange(url, headers) as answer:
                yield answer
        except Refused as refused:
            raise refused.reason from None
        except _BROKEN as error:
            raise Broken(_words(error)) from None
        except _FAILED as error:
            raise SourceFailed(_words(error), unreachable=True) from None

    @contextlib.contextmanager
    def _exchange(self, url: httpx.URL, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[Answer]:
        proxy = self._proxies.for_url(url)
        backend = self._to_proxy if proxy else self._backend
        timeout = {"connect": self._connect_s, "read": self._first_byte_s, "write": self._first_byte_s, "pool": 1.0}
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(b"Host", url.netloc.rpartition(b"@")[2]), *headers],
            extensions={"timeout": timeout},
        )
        backend.begin(self._connect_s + self._first_byte_s)
        response = _send(self._pool(proxy), request, backend)
        pieces = Pieces(response.stream)
        try:
            yield Answer(
                url,
                response.status,
                _reason(response),
                httpx.Headers(response.headers),
                pieces,
                None if proxy else _address(response),
            )
            if not pieces.ended:
                backend.allow(_DRAIN_S)
                _drain(pieces)
        finally:
            _give_back(response, pieces)

    def _pool(self, proxy: str | None) -> httpcore.ConnectionPool:
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = httpcore.ConnectionPool(
                    ssl_context=self._tls,
                    proxy=parse_proxy(proxy) if proxy else None,
                    max_connections=self._connections,
                    keepalive_expiry=_KEPT_S,
                    http2=True,
                    network_backend=self._to_proxy if proxy else self._backend,
                )
            return self._pools[proxy]


def _send(pool: httpcore.ConnectionPool, request: httpcore.Request, backend: PinnedBackend) -> httpcore.Response:
    try:
        return pool.handle_request(request)
    except _BROKEN:
        if not backend.stale:
            raise
    except ValueError:  # of a status that is no number, in HTTP/2
        raise Broken("an answer without a status") from None
    return pool.handle_request(request)


def _drain(pieces: Pieces) -> None:
    read = 0
    with contextlib.suppress(*_BROKEN, *_FAILED):
        for piece in pieces:
            read += len(piece)
            if read > _DRAIN_BYTES:
                return


def _give_back(response: httpcore.Response, pieces: Pieces) -> None:
    """End an exchange. httpcore closes a half-read HTTP/1.1 connection itself; HTTP/2 would keep on receiving."""
    stream: Any = response.extensions.get("network_stream")
    if not pieces.ended and stream is not None and response.extensions.get("http_version") == b"HTTP/2":
        stream.close()
    with contextlib.suppress(h2.exceptions.H2Error):
        response.close()


def _reason(response: httpcore.Response) -> str:
    said = response.extensions.get("reason_phrase", b"").decode("latin-1")
    try:
        return said or HTTPStatus(response.status).phrase
    except ValueError:
        return ""


def _address(response: httpcore.Response) -> str | None:
    stream: Any = response.extensions.get("network_stream")
    try:
        return str(stream.get_extra_info("server_addr")[0])
    except (OSError, AttributeError, TypeError):
        return None


def _words(error: Exception) -> str:
    if isinstance(error, httpcore.TimeoutException):
        return "no connection in time" if isinstance(error, httpcore.ConnectTimeout) else "too slow: a deadline passed"
    return (str(error) or type(error).__name__)[:200]
