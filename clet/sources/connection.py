"""Connections for the fetcher: to checked addresses only, every operation held to one deadline.

A name is resolved once, its addresses are checked, and the connection goes to a checked one, while TLS and the Host
header keep the name.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import httpcore

from clet.sources.adapter import SourceFailed
from clet.sources.addresses import checked_addresses, is_public


class Refused(Exception):
    """Carries a SourceFailed through the connection pool, which would not know it."""

    def __init__(self, reason: SourceFailed):
        super().__init__(str(reason))
        self.reason = reason


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and holds every operation on the connections to `deadline`.

    `deadline` is a time of the monotonic clock; it bounds what per-operation timeouts cannot: a peer that sends one
    byte a second. `private_hosts` collects the names that resolved to private addresses.
    """

    def __init__(self, allow_private: bool):
        self.deadline = float("inf")
        self.private_hosts: set[str] = set()
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def remaining(self, timeout: float | None) -> float:
        """The smaller of a timeout and what is left until the deadline. Raises httpcore.ReadTimeout past it."""
        left = self.deadline - time.monotonic()
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
        try:
            addresses = checked_addresses(host, port, self._allow_private)
        except SourceFailed as error:
            raise Refused(error) from None
        if not is_public(addresses[0]):
            self.private_hosts.add(host)
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
        return self._stream.read(max_bytes, self._backend.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.remaining(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._backend.remaining(timeout))
        return _TimedStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
