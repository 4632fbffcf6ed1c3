"""HTTP/1.1 as uvicorn speaks it with httptools, with the bounds that it does not have: on how long and how large the
head of a request may be, and on how long a connection may take to close.

Slowloris is a client that opens a request and sends its head a byte at a time: each byte ends uvicorn's keep-alive
timer, and nothing else would ever end the connection. Bodies are bounded by the applications, who know their size.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 20.0  # from the first byte of a request, or from connecting, to the end of its head
MAX_HEAD_BYTES = 64 << 10
CLOSE_S = 2.0  # an idle peer that does not answer our close, as over TLS, is cut off in a drain


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    head_s = HEAD_S
    close_s = CLOSE_S

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client that says nothing at all is late too."""
        super().connection_made(transport)
        self._in_head, self._head_bytes = False, 0
        self._deadline: asyncio.TimerHandle | None = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to wait for."""
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what neither begins a request nor belongs to one that runs does not prolong a connection."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._deadline is None and self.timeout_keep_alive_task is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there, in time."""
        self._in_head = False
        self._forget_deadline()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """Close when idle, or after the running response; what is not closed soon after that is cut off."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(self.close_s, self.transport.abort)

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_s, self._late)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._in_head:
            self._refuse(b"408 Request Timeout")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        """Answer a request whose head is not taken any further, unless another answer is on its way, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()
