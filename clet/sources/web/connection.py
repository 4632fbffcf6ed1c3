"""Connections for the fetcher: to checked addresses only, every operation held to one deadline a request.

A name is resolved once, its addresses are checked, and the connection goes to a checked one, while TLS and the Host
header keep the name. A request runs in one thread from its beginning to its end, so its deadline is that thread's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interruption
from clet.sources.web.addresses import checked_addresses

_LOOK_S = 1.0  # how long a silent peer may keep a thread from noticing that the intake is to end


class Refused(Exception):
    """Carries a SourceFailed through the connection pool, which would not know it."""

    def __init__(self, reason: SourceFailed):
        super().__init__(str(reason))
        self.reason = reason


class _Request(threading.local):
    """What this thread's request may take and has done."""

    deadline = float("inf")
    connected = False
    received = False


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and holds every operation of a thread to the deadline of its request.

    The deadline bounds what per-operation timeouts cannot: a peer that sends one byte a second. For several threads.
    """

    def __init__(self, allow_private: bool, interruption: Interruption):
        self._allow_private = allow_private
        self._interruption = interruption
        self._plain = httpcore.SyncBackend()
        self._request = _Request()

    def begin(self, seconds: float) -> None:
        """A request of this thread begins, and has so long."""
        self._request.deadline = time.monotonic() + seconds
        self._request.connected = self._request.received = False

    def allow(self, seconds: float) -> None:
        """What is left of this thread's request may take so long from now."""
        self._request.deadline = time.monotonic() + seconds

    @property
    def stale(self) -> bool:
        """Whether this thread's request used a kept connection and got nothing back: it had been closed meanwhile."""
        return not (self._request.connected or self._request.received)

    def note_received(self) -> None:
        """Something came for this thread's request."""
        self._request.received = True

    def remaining(self, timeout: float | None) -> float:
        """The smaller of a timeout and what is left until the deadline. Raises httpcore.ReadTimeout past it."""
        self._interruption.check()
        left = self._request.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first checked address that answers."""
        self._request.connected = True
        try:
            addresses = checked_addresses(host, port, self._allow_private, self.remaining(timeout))
        except SourceFailed as error:
            raise Refused(error) from None
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = self._plain.connect_tcp(
                    address, port, self.remaining(timeout), local_address, socket_options or []
                )
                return _TimedStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def sleep(self, seconds: float) -> None:
        """Part of the interface; the pool uses it between its own retries, of which there are none here."""
        time.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, backend: PinnedBackend):
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        end = time.monotonic() + self._backend.remaining(timeout)
        while True:
            left = min(end - time.monotonic(), self._backend.remaining(None))
            try:
                piece = self._stream.read(max_bytes, max(0.001, min(left, _LOOK_S)))
            except httpcore.ReadTimeout:
                if left <= _LOOK_S:
                    raise
            else:
                if piece:
                    self._backend.note_received()
                return piece

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._backend.remaining(timeout))
        return _TimedStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
