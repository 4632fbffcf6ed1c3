"""Connections end: a request's head comes in time and in bounds, and nobody holds a drain by doing nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import uvicorn

from clet.http_protocol import MAX_HEAD_BYTES, BoundedProtocol
from clet.http_server import bind

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ASK = b"GET / HTTP/1.1\r\nhost: t\r\n"


class Hasty(BoundedProtocol):
    head_s = 0.1
    close_s = 0.1


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def serve(client: Callable[[Streams], Awaitable[bytes]], protocol: type[BoundedProtocol] = Hasty) -> bytes:
    """What `client` returns after talking to a server of `hello`; the server is drained afterwards."""

    async def both() -> bytes:
        sock = bind("127.0.0.1:0")
        server = uvicorn.Server(uvicorn.Config(hello, http=protocol, log_config=None, lifespan="off"))
        serving = asyncio.ensure_future(server._serve([sock]))
        streams = await asyncio.open_connection(*sock.getsockname())
        try:
            return await asyncio.wait_for(client(streams), 30)
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 30)
            streams[1].close()

    return asyncio.run(both())


async def rest(streams: Streams, *parts: bytes) -> bytes:
    """Send and read to the end of the connection, which the server makes."""
    for part in parts:
        streams[1].write(part)
        await streams[1].drain()
    return await streams[0].read()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([], b""),
        ([b"\r\n\r\n"], b""),
        ([b"GET / HT"], b"HTTP/1.1 408"),
        ([ASK + b"x-slow: a"], b"HTTP/1.1 408"),
        ([ASK + b"\r\n", b"\r\n"], b"HTTP/1.1 200"),
        ([ASK + b"\r\n" + ASK], b"HTTP/1.1 200"),
    ],
)
def test_a_request_whose_head_does_not_end_is_ended(sent, answer):
    got = serve(lambda streams: rest(streams, *sent))
    assert got.startswith(answer) and bool(got) == bool(answer)


def test_a_head_without_end_is_refused_before_it_fills_memory():
    class Patient(BoundedProtocol):
        head_s = 1e6

    pieces = [b"x-%d: %s\r\n" % (i, b"a" * 1000) for i in range(MAX_HEAD_BYTES // 1000 + 8)]
    with contextlib.suppress(ConnectionError):  # closed while we were still sending: a reset may overtake the answer
        assert serve(lambda streams: rest(streams, ASK, *pieces), Patient).startswith(b"HTTP/1.1 431")


def test_requests_on_a_kept_connection_are_answered_after_each_other():
    async def two(streams: Streams) -> bytes:
        for _ in range(2):
            streams[1].write(ASK + b"\r\n")
            assert b"200" in await streams[0].readuntil(b"hello")
        return b"done"

    assert serve(two) == b"done"
