"""Answers in OpenAI's shapes: completions and chat completions, whole or as chunks of a stream.

One class for each of the two kinds, with the same methods, so that the HTTP side does not care which it serves.
Text offsets and log-probability tables follow the completions API: null for a first token, one entry a token, the
chosen token always in its own table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clet.serve.generation import Delta, Token
from clet.serve.pieces import Pieces
from clet.serve.protocol import Call
from clet.serve.sampling import Scored
from clet.serve.text import TextStream


@dataclass
class Choice:
    """What one choice has become so far."""

    prompt_ids: list[int]
    prompt_text: str  # what echo repeats
    text: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    prompt: tuple[Scored, ...] | None = None
    finish: str | None = None
    num_tokens: int = 0

    def add(self, delta: Delta) -> None:
        """Take in news of it."""
        self.text.append(delta.text)
        self.tokens.extend(delta.tokens)
        self.prompt = delta.prompt if delta.prompt is not None else self.prompt
        self.finish, self.num_tokens = delta.finish, delta.num_tokens


class Answer:
    """What the two kinds share: the frame around choices, and usage."""

    object_whole = object_chunk = ""

    def __init__(
        self, call: Call, choices: Sequence[Choice], pieces: Pieces, *, id: str, created: int, model: str, mark: str
    ) -> None:
        self.call, self.choices, self.pieces = call, choices, pieces
        self._frame = {"id": id, "created": created, "model": model, "system_fingerprint": mark}

    def whole(self) -> dict[str, Any]:
        """The object of an answer that is not streamed, when all choices are complete."""
        choices = [self._choice(i, choice) for i, choice in enumerate(self.choices)]
        return self._frame | {"object": self.object_whole, "choices": choices, "usage": self.usage()}

    def opening(self) -> list[dict[str, Any]]:
        """Chunks before any text."""
        return []

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """The chunk for news of choice `index`."""
        return self._chunk([self._chunk_choice(index, delta)])

    def closing(self) -> list[dict[str, Any]]:
        """Chunks after the last text: the usage, where it was asked for."""
        return [self._chunk([]) | {"usage": self.usage()}] if self.call.include_usage else []

    def usage(self) -> dict[str, int]:
        """Tokens of each prompt once, however many choices it has, and all that were generated (ends included)."""
        prompt = sum(len(choice.prompt_ids) for choice in self.choices[:: self.call.n])
        generated = sum(choice.num_tokens for choice in self.choices)
        return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._frame | {"object": self.object_chunk, "choices": choices}
        return chunk | {"usage": None} if self.call.include_usage else chunk

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def _chunk_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        raise NotImplementedError


class Completion(Answer):
    """Of /v1/completions."""

    object_whole = object_chunk = "text_completion"

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        return {
            "index": index,
            "text": choice.prompt_text + text if self.call.echo else text,
            "logprobs": self._logprobs(choice, choice.prompt, choice.tokens),
            "finish_reason": choice.finish,
        }

    def _chunk_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        choice = self.choices[index]
        echo = choice.prompt_text if self.call.echo and len(choice.text) == 1 else ""  # with the first delta
        return {
            "index": index,
            "text": echo + delta.text,
            "logprobs": self._logprobs(choice, delta.prompt, delta.tokens),
            "finish_reason": delta.finish,
        }

    def _logprobs(
        self, choice: Choice, prompt: tuple[Scored, ...] | None, tokens: Sequence[Token]
    ) -> dict[str, Any] | None:
        if self.call.num_top is None:
            return None
        offsets = _offsets(choice.prompt_ids, self.pieces) if prompt else []
        base = len(choice.prompt_text) if self.call.echo else 0
        scored = [*(prompt or ()), *(token.scored for token in tokens)]
        return {
            "tokens": [self.pieces.name(item.token) for item in scored],
            "token_logprobs": [item.logprob for item in scored],
            "top_logprobs": [self._top(item) for item in scored],
            "text_offset": [*offsets, *(base + token.offset for token in tokens)],
        }

    def _top(self, item: Scored) -> dict[str, float] | None:
        if item.logprob is None:
            return None
        table: dict[str, float] = {}
        for token, logprob in (*item.top, (item.token, item.logprob)):
            table.setdefault(self.pieces.name(token), logprob)
        return table


class Chat(Answer):
    """Of /v1/chat/completions."""

    object_whole, object_chunk = "chat.completion", "chat.completion.chunk"

    def opening(self) -> list[dict[str, Any]]:
        """The role of each choice."""
        role = {"role": "assistant", "content": "", "refusal": None}
        return [
            self._chunk([{"index": i, "delta": role, "logprobs": None, "finish_reason": None}])
            for i in range(len(self.choices))
        ]

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(choice.text), "refusal": None}
        logprobs = self._logprobs(choice.tokens)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish}

    def _chunk_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        content = {"content": delta.text} if delta.text or delta.finish is None else {}
        return {
            "index": index,
            "delta": content,
            "logprobs": self._logprobs(delta.tokens),
            "finish_reason": delta.finish,
        }

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if self.call.num_top is None:
            return None
        entries = []
        for token in tokens:
            top = [self._entry(i, logprob) for i, logprob in token.scored.top]
            entries.append(self._entry(token.scored.token, token.scored.logprob) | {"top_logprobs": top})
        return {"content": entries, "refusal": None}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        return {"token": self.pieces.name(token), "logprob": logprob, "bytes": list(self.pieces.spelled(token))}


def _offsets(ids: Sequence[int], pieces: Pieces) -> list[int]:
    """Where the text of each id begins in the text of all, in characters."""
    text, offsets = TextStream(), []
    for token in ids:
        offsets.append(text.num_seen)
        text.push(pieces.spelled(token))
    return offsets
