"""What a client may ask, checked: OpenAI's completions and chat completions, plus the sampling fields vLLM added.

Unknown fields are ignored, as OpenAI's clients expect; a known field that would change the answer and is not built is
refused by name, because silence would be a wrong answer. Every number has a range and every list a length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clet.serve.sampling import Sampling

MAX_CHOICES = 128  # prompts times n of one request
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
MAX_MESSAGES = 4096
COMPLETION_TOKENS = 16  # OpenAI's default of max_tokens for completions; chat answers may fill the context
ROLES = ("system", "developer", "user", "assistant")

# Fields that would change the answer, and the values that ask for nothing.
NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),  # without tools, "auto" asks for nothing
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": ("none",),
    "min_tokens": (0,),
    "repetition_penalty": (1, 1.0),
    "use_beam_search": (False,),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "prompt_logprobs": (),
}


class ApiError(Exception):
    """An answer other than 200: OpenAI's error object and its status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, dict(headers)

    def body(self) -> dict[str, Any]:
        """The JSON object that OpenAI's clients expect."""
        kind = {429: "rate_limit_error"}.get(self.status, "server_error" if self.status >= 500 else None)
        error = {
            "message": self.message,
            "type": kind or "invalid_request_error",
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


@dataclass(frozen=True, slots=True)
class Call:
    """One checked request. Exactly one of `prompts` and `messages` is set; `max_tokens` None fills the context."""

    model: str | None
    prompts: list[str] | list[list[int]] | None
    messages: list[dict[str, str]] | None
    n: int
    max_tokens: int | None
    sampling: Sampling
    seed: int | None
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    ignore_eos: bool
    num_top: int | None  # likeliest tokens to report with each one; None: no log-probabilities
    echo: bool
    stream: bool
    include_usage: bool


def parse_completion(body: Any) -> Call:
    """The request of /v1/completions. Raises ApiError."""
    fields = _Fields(body)
    prompts = _prompts(fields.take("prompt"))
    max_tokens = fields.integer("max_tokens", 0, 1 << 24)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    best_of = fields.integer("best_of", 1, MAX_CHOICES)
    if best_of not in (None, n):
        raise _refused("best_of")
    return _call(
        fields,
        prompts=prompts,
        n=n,
        max_tokens=COMPLETION_TOKENS if max_tokens is None else max_tokens,
        num_top=fields.integer("logprobs", 0, MAX_TOP_LOGPROBS),
        echo=fields.flag("echo"),
    )


def parse_chat(body: Any) -> Call:
    """The request of /v1/chat/completions. Raises ApiError."""
    fields = _Fields(body)
    max_tokens = fields.integer("max_completion_tokens", 1, 1 << 24)
    older = fields.integer("max_tokens", 1, 1 << 24)
    num_top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    logprobs = fields.flag("logprobs")
    if num_top is not None and not logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    return _call(
        fields,
        messages=_messages(fields.take("messages")),
        n=fields.integer("n", 1, MAX_CHOICES) or 1,
        max_tokens=older if max_tokens is None else max_tokens,
        num_top=(num_top or 0) if logprobs else None,
    )


def _call(
    fields: _Fields,
    *,
    n: int,
    max_tokens: int | None,
    num_top: int | None,
    prompts: list[Any] | None = None,
    messages: list[dict[str, str]] | None = None,
    echo: bool = False,
) -> Call:
    for name, harmless in NOT_BUILT.items():
        value = fields.take(name)
        if value is not None and value not in harmless:
            raise _refused(name)
    num_choices = n * len(prompts or [0])
    if num_choices > MAX_CHOICES:
        raise ApiError(400, f"{num_choices} choices in one request, more than {MAX_CHOICES}", param="n")
    stream, options = fields.flag("stream"), fields.take("stream_options")
    if options is not None and not isinstance(options, dict):
        raise ApiError(400, "stream_options is not an object", param="stream_options")
    if options and not stream:
        raise ApiError(400, "stream_options needs stream to be true", param="stream_options")
    return Call(
        model=fields.text("model"),
        prompts=prompts,
        messages=messages,
        n=n,
        max_tokens=max_tokens,
        sampling=Sampling(
            temperature=fields.number("temperature", 0.0, 2.0, 1.0),
            top_p=fields.number("top_p", 0.0, 1.0, 1.0),
            top_k=max(0, fields.integer("top_k", -1, 1 << 24) or 0),
            min_p=fields.number("min_p", 0.0, 1.0, 0.0),
            presence_penalty=fields.number("presence_penalty", -2.0, 2.0, 0.0),
            frequency_penalty=fields.number("frequency_penalty", -2.0, 2.0, 0.0),
            logit_bias=_biases(fields.take("logit_bias")),
        ),
        seed=fields.integer("seed", -(1 << 63), (1 << 63) - 1),
        stops=_stops(fields.take("stop")),
        stop_ids=frozenset(_ids(fields.take("stop_token_ids") or [], "stop_token_ids", MAX_STOPS)),
        ignore_eos=fields.flag("ignore_eos"),
        num_top=num_top,
        echo=echo,
        stream=stream,
        include_usage=_Fields(options or {}, "stream_options.").flag("include_usage"),
    )


class _Fields:
    """Typed reading of an untrusted JSON object; null is the same as absent."""

    def __init__(self, body: Any, prefix: str = "") -> None:
        if not isinstance(body, dict):
            raise ApiError(400, "the request is not a JSON object")
        self._body, self._prefix = body, prefix

    def take(self, name: str) -> Any:
        return self._body.get(name)

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.take(name)
        if value is None:
            return default
        if type(value) not in (int, float) or not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def _wrong(self, name: str, want: str) -> ApiError:
        return ApiError(400, f"{self._prefix}{name} is not {want}", param=self._prefix + name)


def _refused(name: str) -> ApiError:
    return ApiError(
        400, f"{name} is not supported by this server; leave it out", param=name, code="unsupported_parameter"
    )


def _prompts(value: Any) -> list[str] | list[list[int]]:
    """A text, texts, ids, or lists of ids; none is one empty text."""
    if value is None:
        return [""]
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ApiError(400, "prompt is not a string, token ids, or a list of either", param="prompt")
    if all(isinstance(item, str) for item in value):
        return value
    rows = [value] if type(value[0]) is int else value
    return [_ids(row, "prompt", None) for row in rows]


def _ids(value: Any, param: str, limit: int | None) -> list[int]:
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise ApiError(400, f"{param} has something that is not a list of token ids", param=param)
    if limit is not None and len(value) > limit:
        raise ApiError(400, f"{param} has {len(value)} entries, more than {limit}", param=param)
    return value


def _messages(value: Any) -> list[dict[str, str]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise ApiError(400, f"messages is not a list of 1 to {MAX_MESSAGES} messages", param="messages")
    return [_message(item, f"messages[{i}]") for i, item in enumerate(value)]


def _message(value: Any, param: str) -> dict[str, str]:
    """Role and text; a developer's message is a system's to models that know no developer."""
    if not isinstance(value, dict) or value.get("role") not in ROLES:
        raise ApiError(400, f"{param} has no role of {', '.join(ROLES)}", param=param)
    for name in ("tool_calls", "function_call", "audio"):
        if value.get(name):
            raise ApiError(400, f"{param}.{name} is not supported by this server", param=f"{param}.{name}")
    content = value.get("content")
    if content is None and value["role"] == "assistant":
        content = ""
    if isinstance(content, list):
        content = "".join(_part(part, f"{param}.content[{i}]") for i, part in enumerate(content))
    if not isinstance(content, str):
        raise ApiError(400, f"{param}.content is not text", param=f"{param}.content")
    return {"role": "system" if value["role"] == "developer" else value["role"], "content": content}


def _part(part: Any, param: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise ApiError(400, f"{param} is not of type text, the only one this model reads", param=param)
    return part["text"]


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    good = isinstance(stops, list) and all(isinstance(stop, str) and 0 < len(stop) <= MAX_STOP_CHARS for stop in stops)
    if not good or len(stops) > MAX_STOPS:
        raise ApiError(
            400, f"stop is not a string or up to {MAX_STOPS} of 1 to {MAX_STOP_CHARS} characters", param="stop"
        )
    return tuple(stops)


def _biases(value: Any) -> dict[int, float]:
    """{"id": bias}; ids are checked against the vocabulary later."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_BIASES:
        raise ApiError(400, f"logit_bias is not an object of up to {MAX_BIASES} token ids", param="logit_bias")
    for name, bias in value.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            raise ApiError(400, f"logit_bias: {name!r:.40} is not a token id", param="logit_bias")
        if type(bias) not in (int, float) or not math.fabs(bias) <= 100:
            raise ApiError(400, f"logit_bias: the bias of {name} is not from -100 to 100", param="logit_bias")
    return {int(name): float(bias) for name, bias in value.items()}
