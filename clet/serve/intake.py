"""Taking in a request: its bytes, its prompts as token ids, and whether they fit.

Bounded in bytes and seconds before anything is parsed. Long prompts are encoded on a thread, so that the event loop
goes on delivering the answers of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from clet.serve.chat import TemplateRefused
from clet.serve.loading import Served
from clet.serve.protocol import ApiError, Call
from clet.serve.reply import CLIENT_GONE

MAX_BODY_BYTES = 16 << 20
BODY_S = 30.0
ENCODE_INLINE_CHARS = 4096  # about 2 ms
NORMALISED_SHARE = 0.25  # of a text's characters are left at least by any normaliser that a tokenizer has


async def read_json(request: Request) -> Any:
    """The request's JSON, bounded in bytes and time. Raises ApiError.

    Only as application/json: a browser sends that to another site only after asking, so that no web page can make a
    server on somebody's own machine work for it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send the request with Content-Type: application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise ApiError(413, f"the request is larger than {MAX_BODY_BYTES >> 20} MB")
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {BODY_S:g} s") from None
    except ClientDisconnect:
        raise ApiError(CLIENT_GONE, "the client closed the connection") from None
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the request is not JSON: {error}") from None


async def encode_prompts(call: Call, served: Served, max_len: int) -> list[list[int]]:
    """Token ids of each prompt. Raises ApiError, at once for a text that cannot fit in `max_len` tokens."""
    if call.prompts is not None and not isinstance(call.prompts[0], str):
        vocabulary = served.model.config.vocab_size
        for ids in call.prompts:
            if max(ids, default=0) >= vocabulary:
                raise ApiError(400, f"token id {max(ids)} is beyond the {vocabulary} of this model", param="prompt")
        rows = [list(ids) or served.start_ids for ids in call.prompts]
    elif call.prompts is not None:
        _refuse_hopeless(max(map(len, call.prompts)), served, max_len)
        rows = await _encoded_by(lambda: served.text_ids(call.prompts), sum(map(len, call.prompts)))
    else:
        messages = call.messages
        num_chars = sum(len(message["content"]) for message in messages)
        _refuse_hopeless(num_chars, served, max_len)

        def encode() -> list[list[int]]:
            return [served.chat.prompt_ids(messages, served.tokenizer, served.pieces)]

        try:
            rows = await _encoded_by(encode, num_chars)
        except TemplateRefused as error:
            raise ApiError(400, str(error), param="messages") from None
    if not all(rows):
        raise ApiError(400, "the prompt is empty and this model has no token to begin with", param="prompt")
    return rows


def _refuse_hopeless(num_chars: int, served: Served, max_len: int) -> None:
    """Raise ApiError for a text too long in any tokens: encoding 16 MB takes seconds of a core, for nothing."""
    if num_chars * NORMALISED_SHARE > max_len * served.pieces.longest:
        message = f"this server's context is {max_len} tokens; a text of {num_chars} characters cannot fit"
        raise ApiError(400, message, param="prompt", code="context_length_exceeded")


async def _encoded_by(encode: Callable[[], list[list[int]]], num_chars: int) -> list[list[int]]:
    return encode() if num_chars <= ENCODE_INLINE_CHARS else await asyncio.to_thread(encode)


def prompt_text(call: Call, row: int, ids: list[int], served: Served) -> str:
    """What echo repeats: the prompt as it was given, or what its ids spell."""
    if not call.echo or call.prompts is None:
        return ""
    given = call.prompts[row]
    return given if isinstance(given, str) else served.pieces.text(ids)


def answer_room(num_prompt: int, max_tokens: int | None, max_len: int) -> int:
    """How many tokens may be generated. Raises ApiError where prompt and answer do not fit."""
    if num_prompt + (1 if max_tokens is None else max_tokens) > max_len:
        wanted = "" if max_tokens is None else f" and {max_tokens} tokens of answer were asked for"
        message = f"this server's context is {max_len} tokens; the prompt has {num_prompt}{wanted}"
        raise ApiError(400, message, param="max_tokens", code="context_length_exceeded")
    return max_len - num_prompt if max_tokens is None else max_tokens
