"""The sync server's HTTP: checks who asks, bounds what comes in, and hands the work to one thread.

The event loop reads and writes sockets; numpy, fsync and every change of state run on a single worker thread, whose
queue is the lock. A body is collected whole, within a size that follows from the model and a time that follows from
the size, before the worker thread hears of it, and weights are sent from a vector that is never written into: a slow
or stuck client costs memory for a bounded time and stalls nobody.

Tokens are compared in constant time and never logged; nor is anything else of a request but worker names.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clet.exits import InputError, WriteError
from clet.log import log
from clet.sync.codec import encode_frames
from clet.sync.credentials import folded
from clet.sync.protocol import MAX_JOIN_BYTES, VERSION_HEADER, DeltaHeader, Identity, max_message_bytes, worker_name
from clet.sync.server import SyncServer, metrics

BODY_GRACE_S = 20.0
SLOWEST_BYTES_S = 32_000.0  # a client slower than this is cut off
MAX_BODIES = 16  # bodies held at once, in units of the largest
FRAMES = "application/x-clet-frames"


class Reply(Exception):
    """Ends a request early."""

    def __init__(self, status: int, word: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.response = _json(status, {"status": word, "message": message}, headers)


class SyncApp:
    """The ASGI application of one server; `failure` is set when the disk failed and the process was told to stop."""

    def __init__(self, server: SyncServer, tokens: list[str]) -> None:
        self.failure: WriteError | None = None
        self._server = server
        self._tokens = [folded(token) for token in tokens]
        self._work = ThreadPoolExecutor(1, "sync")
        self._held_bytes = 0
        self._largest = max_message_bytes(server.size)
        routes = [
            Route("/v1/join", self._guarded(self._join), methods=["POST"]),
            Route("/v1/delta", self._guarded(self._delta), methods=["POST"]),
            Route("/v1/model", self._guarded(self._model), methods=["GET"]),
            Route("/v1/status", self._guarded(self._status), methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
        ]
        self.asgi = Starlette(routes=routes)

    def close(self) -> None:
        """Wait for the worker thread; call after serving has ended."""
        self._work.shutdown()

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                self._authorise(request)
                return await handler(request)
            except Reply as reply:
                return reply.response
            except InputError as error:
                return _json(400, {"status": "malformed", "message": str(error)})
            except ClientDisconnect:
                return Response(status_code=400)

        return guarded

    def _authorise(self, request: Request) -> None:
        if not self._tokens:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = folded(token.strip())
        # Every token is compared, each in constant time: neither a match nor its place shows.
        matches = [hmac.compare_digest(given, known) for known in self._tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise Reply(401, "unauthorised", "a known bearer token is needed", **{"www-authenticate": "Bearer"})

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function` on the worker thread. A failed write ends the server: workers go on and try again."""
        if self.failure is None:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._work, function, *arguments)
            except WriteError as error:
                self.failure = self.failure or error
                log.error(str(error), event="error")
                os.kill(os.getpid(), signal.SIGTERM)
        raise Reply(503, "stopping", "the server is stopping", **{"retry-after": "5"})

    @contextlib.contextmanager
    def _room(self, limit: int) -> Iterator[None]:
        """Room in memory for one body. Raises Reply where the server holds enough already."""
        if self._held_bytes + limit > self._largest * MAX_BODIES:
            raise Reply(503, "busy", "too many messages at once", **{"retry-after": "1", "connection": "close"})
        self._held_bytes += limit
        try:
            yield
        finally:
            self._held_bytes -= limit

    async def _body(self, request: Request, limit: int) -> bytes:
        """The request's body. Raises Reply where it is over `limit` or too slow."""
        too_large = Reply(413, "too-large", f"a body here has at most {limit} bytes", connection="close")
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            raise too_large
        parts, got = [], 0
        try:
            async with asyncio.timeout(BODY_GRACE_S + limit / SLOWEST_BYTES_S):
                async for part in request.stream():
                    got += len(part)
                    if got > limit:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise Reply(408, "slow", "the body came too slowly", connection="close") from None
        return b"".join(parts)

    async def _join(self, request: Request) -> Response:
        body = await self._body(request, MAX_JOIN_BYTES)
        try:
            wish = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise InputError("want a JSON object of worker and identity") from None
        if not isinstance(wish, dict):
            raise InputError("want a JSON object of worker and identity")
        worker, identity = worker_name(wish.get("worker")), Identity.parse(wish.get("identity"))
        return _json(*await self._run(self._server.join, worker, identity))

    async def _delta(self, request: Request) -> Response:
        header = DeltaHeader.parse(request.query_params)
        with self._room(self._largest):
            body = await self._body(request, self._largest)
            return _json(*await self._run(self._server.delta, header, body))

    async def _model(self, request: Request) -> Response:
        version, weights = self._server.published
        headers = {VERSION_HEADER: str(version)}
        if request.query_params.get("known") == str(version):
            return Response(status_code=304, headers=headers)
        frames = encode_frames(weights, "fp32", {"version": version})
        return FrameResponse(frames, BODY_GRACE_S + self._largest / SLOWEST_BYTES_S, headers)

    async def _status(self, request: Request) -> Response:
        return _json(200, await self._run(self._server.status))

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(metrics(await self._run(self._server.status)))


class FrameResponse(Response):
    """Sends frames as they are made, one in memory at a time; breaks the connection after `timeout_s`."""

    def __init__(self, frames: Iterator[bytes], timeout_s: float, headers: dict[str, str]) -> None:
        super().__init__(media_type=FRAMES, headers=headers)
        del self.headers["content-length"]
        self._frames = frames
        self._timeout_s = timeout_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response. An unfinished one ends without its END frame, so a reader cannot mistake it."""
        async with asyncio.timeout(self._timeout_s):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while (frame := await asyncio.to_thread(next, self._frames, None)) is not None:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def loopback_only(listen: str) -> bool:
    """True when an address of --listen can be reached from this machine only."""
    from clet.http_server import parse_listen

    host, _ = parse_listen(listen)
    return host in ("localhost", "::1") or host.startswith("127.")


def _json(status: int, body: dict[str, Any], headers: dict[str, str] = {}) -> Response:
    return Response(orjson.dumps(body), status, dict(headers), "application/json")
