"""The OpenAI API over a `Deck` of engines, as an ASGI application.

A request is read, checked, encoded and submitted to the engine that is current at that moment; all of its choices,
and the name and mark in its answer, are of that one release.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from clet.seeds import python_random
from clet.serve.answers import Answer, Chat, Choice, Completion
from clet.serve.engine import Engine, EngineEnded, QueueFull
from clet.serve.generation import Delta, Generation
from clet.serve.intake import answer_room, encode_prompts, prompt_text, read_json
from clet.serve.protocol import ApiError, Call, parse_chat, parse_completion
from clet.serve.reply import GenerationResponse, json_response
from clet.serve.sampling import Sampler
from clet.serve.status import render_status
from clet.serve.swap import Deck

RETRY_S = 1
PATHS = {"/v1/models", "/v1/completions", "/v1/chat/completions", "/health", "/metrics", "/"}  # counted by name
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def make_app(deck: Deck, seed: int) -> Starlette:
    """The application. `seed` gives requests without one of their own their random streams, in order of arrival."""
    api = Api(deck, seed)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(deck.close)

    routes = [
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/health", api.health),
        Route("/metrics", api.metrics),
        Route("/", api.status),
    ]
    handlers: dict[Any, Any] = {ApiError: api.on_api_error, HTTPException: api.on_http_error, Exception: api.on_bug}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


class Api:
    """The routes."""

    def __init__(self, deck: Deck, seed: int) -> None:
        self._deck, self._seed = deck, seed
        self._numbers = itertools.count()
        self._process = os.urandom(6).hex()  # ids of answers stay distinct when the server is started again

    # ---- generation

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions"""
        return await self._generate(request, parse_completion, Completion, "cmpl")

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions"""
        return await self._generate(request, parse_chat, Chat, "chatcmpl")

    async def _generate(
        self, request: Request, parse: Callable[[Any], Call], kind: type[Answer], prefix: str
    ) -> Response:
        call = parse(await read_json(request))
        names = self._deck.source.names
        if call.model is not None and call.model not in names:
            raise _unknown_model(call.model, names)
        number = next(self._numbers)
        with self._deck.lease() as engine:
            served = engine.served
            prompts = await encode_prompts(call, served, engine.limits.max_len)
            news: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
            choices, generations = self._prepare(call, prompts, engine, news, number)
            try:
                engine.submit(generations)
            except QueueFull:
                waiting = f"{engine.num_waiting} sequences are waiting already; try again"
                headers = {"retry-after": str(RETRY_S)}
                raise ApiError(429, waiting, code="rate_limit_exceeded", headers=headers) from None
            except EngineEnded:
                raise ApiError(503, "the server is stopping", headers={"retry-after": str(RETRY_S)}) from None
        answer = kind(
            call,
            choices,
            served.pieces,
            id=f"{prefix}-{self._process}-{number}",
            created=int(time.time()),
            model=call.model or names[0],
            mark=served.mark,
        )
        headers = {"x-clet-release": _header_text(served.release)}
        return GenerationResponse(answer, generations, news, headers, self._counter(request))

    def _prepare(
        self, call: Call, prompts: list[list[int]], engine: Engine, news: asyncio.Queue, number: int
    ) -> tuple[list[Choice], list[Generation]]:
        """Choices and generations of a request, prompts in order, each `n` times. Raises ApiError."""
        loop, served = asyncio.get_running_loop(), engine.served
        vocabulary = served.tokenizer.vocab_size
        if any(token >= vocabulary for token in (*call.sampling.logit_bias, *call.stop_ids)):
            raise ApiError(400, f"logit_bias or stop_token_ids name an id beyond the {vocabulary} of this model")
        stops = call.stops + (served.chat.stops if call.messages is not None else ())
        seed, name = (self._seed, f"serve/{number}") if call.seed is None else (call.seed, "serve/request")

        def sink_of(index: int) -> Callable[[Delta], None]:
            def sink(delta: Delta) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    loop.call_soon_threadsafe(news.put_nowait, (index, delta))

            return sink

        choices, generations = [], []
        for row, ids in enumerate(prompts):
            max_tokens = answer_room(len(ids), call.max_tokens, engine.limits.max_len)
            text = prompt_text(call, row, ids, served)
            for k in range(call.n):
                choices.append(Choice(ids, text))
                generations.append(
                    Generation(
                        ids,
                        Sampler(call.sampling, python_random(seed, f"{name}/{row}/{k}")),
                        sink_of(len(generations)),
                        max_tokens=max_tokens,
                        pieces=served.pieces,
                        stops=stops,
                        stop_ids=call.stop_ids | (frozenset() if call.ignore_eos else served.eos_ids),
                        num_top=call.num_top,
                        score_prompt=call.echo and call.num_top is not None,
                    )
                )
        return choices, generations

    # ---- what is served

    async def models(self, request: Request) -> Response:
        """GET /v1/models"""
        return json_response({"object": "list", "data": [self._described(name) for name in self._deck.source.names]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}"""
        name = request.path_params["name"]
        if name not in self._deck.source.names:
            raise _unknown_model(name, self._deck.source.names)
        return json_response(self._described(name))

    def _described(self, name: str) -> dict[str, Any]:
        engine = self._deck.current
        return {
            "id": name,
            "object": "model",
            "created": int(self._deck.since.timestamp()),
            "owned_by": "clet",
            "max_model_len": engine.limits.max_len,
            "release": engine.served.release,
            "system_fingerprint": engine.served.mark,
        }

    async def health(self, request: Request) -> Response:
        """GET /health: 200 while requests can be answered"""
        alive = self._deck.current.is_alive
        body = {"status": "ok" if alive else "stopped", "release": self._deck.current.served.release}
        return json_response(body, 200 if alive else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: Prometheus text"""
        engines = [self._deck.current, *filter(None, [self._deck.draining])]
        text = self._deck.metrics.prometheus(
            release=engines[0].served.release,
            running=sum(engine.num_running for engine in engines),
            waiting=sum(engine.num_waiting for engine in engines),
            slots=engines[0].limits.max_batch,
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def status(self, request: Request) -> Response:
        """GET /: the page for people"""
        return HTMLResponse(await asyncio.to_thread(render_status, self._deck), headers=PAGE_HEADERS)

    # ---- errors

    def _counter(self, request: Request) -> Callable[[int], None]:
        path = request.url.path if request.url.path in PATHS else "other"
        return lambda status: self._deck.metrics.add_request(path, status)

    async def on_api_error(self, request: Request, error: Exception) -> Response:
        """OpenAI's error object."""
        assert isinstance(error, ApiError)
        self._counter(request)(error.status)
        return json_response(error.body(), error.status, error.headers)

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        """No such route, or another method than it has."""
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {error.detail}"
        return await self.on_api_error(request, ApiError(error.status_code, message, headers=error.headers or {}))

    async def on_bug(self, request: Request, error: Exception) -> Response:
        """A fault of the server; the traceback goes to its log, not to the client."""
        self._counter(request)(500)
        return json_response(ApiError(500, "the server failed; its log says how").body(), 500)


def _unknown_model(name: str, names: list[str]) -> ApiError:
    return ApiError(
        404, f"no model {name!r:.100}; served here: {', '.join(names)}", param="model", code="model_not_found"
    )


def _header_text(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
