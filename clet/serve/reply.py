"""Sending an answer: whole or as server-sent events, and giving up its generations when nobody takes it.

Whatever the engine's thread says reaches the event loop through a queue. A client that goes away, or that does not
take what it is sent within `SEND_S`, loses its generations at once, so that nobody computes for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clet.serve.answers import Answer
from clet.serve.generation import Delta, Generation
from clet.serve.protocol import ApiError

SEND_S = 60.0
CLIENT_GONE = 499  # nginx's status for a client that closed the connection; counted, never sent


def json_response(body: Any, status: int = 200, headers: dict[str, str] = {}) -> Response:
    """A JSON body."""
    return Response(orjson.dumps(body), status, {**headers}, media_type="application/json")


class GenerationResponse(Response):
    """Sends an answer as it comes or when it is complete, and gives up the generations when nobody takes it."""

    def __init__(
        self,
        answer: Answer,
        generations: list[Generation],
        news: asyncio.Queue[tuple[int, Delta]],
        headers: dict[str, str],
        count: Callable[[int], None],
    ) -> None:
        self._answer, self._generations, self._news = answer, generations, news
        self._headers, self._count = headers, count
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: run until the answer was sent or the client is gone."""
        working = asyncio.ensure_future(self._stream(send) if self._answer.call.stream else self._send_whole(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self._count(CLIENT_GONE)
        finally:
            for generation in self._generations:
                generation.cancel()
            for task in (working, leaving):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, TimeoutError, OSError, ClientDisconnect):
                await working

    async def _deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """News of all choices until each has ended. Raises ApiError where one failed."""
        left = len(self._generations)
        while left:
            index, delta = await self._news.get()
            if delta.error is not None:
                raise ApiError(500, delta.error)
            self._answer.choices[index].add(delta)
            left -= delta.finish is not None
            yield index, delta

    async def _send_whole(self, send: Send) -> None:
        try:
            async for _ in self._deltas():
                pass
            status, body = 200, self._answer.whole()
        except ApiError as error:
            status, body = error.status, error.body()
        self._count(status)
        async with asyncio.timeout(SEND_S):
            await json_response(body, status, self._headers)({"type": "http"}, _nothing, send)

    async def _stream(self, send: Send) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"} | self._headers
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        try:
            for chunk in self._answer.opening():
                await _event(send, orjson.dumps(chunk))
            async for index, delta in self._deltas():
                await _event(send, orjson.dumps(self._answer.chunk(index, delta)))
            for chunk in self._answer.closing():
                await _event(send, orjson.dumps(chunk))
            await _event(send, b"[DONE]")
            self._count(200)
        except ApiError as error:
            self._count(error.status)
            await _event(send, orjson.dumps(error.body()))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _event(send: Send, data: bytes) -> None:
    async with asyncio.timeout(SEND_S):
        await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}
