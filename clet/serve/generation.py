"""One sequence being answered: prompt, choices so far, where it stands, and who hears of it.

The engine's thread alone changes a generation after it was submitted; the only thing others may do is `cancel`.
What is new reaches the caller as a `Delta`, through a function that must not block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clet.serve.pieces import Pieces
from clet.serve.sampling import Sampler, Scored
from clet.serve.text import TextStream


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token with its scores, and where in the answer its text begins, in characters."""

    scored: Scored
    offset: int


@dataclass(frozen=True, slots=True)
class Delta:
    """News of one generation. `finish` is "stop" or "length" in the last one; `error` instead when it failed.

    `tokens` are scored tokens since the delta before (only where log-probabilities were asked for); `prompt` are the
    prompt's, once, in the first delta; `num_tokens` counts all that were generated so far.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    prompt: tuple[Scored, ...] | None = None
    finish: str | None = None
    error: str | None = None
    num_tokens: int = 0


class Generation:
    """What to generate, and its state in the engine."""

    def __init__(
        self,
        prompt: Sequence[int],
        sampler: Sampler,
        sink: Callable[[Delta], None],
        *,
        max_tokens: int,
        pieces: Pieces,
        stops: Sequence[str] = (),
        stop_ids: frozenset[int] = frozenset(),
        num_top: int | None = None,
        score_prompt: bool = False,
    ) -> None:
        """`num_top` is the number of likeliest tokens to report with each one; None reports no log-probabilities."""
        assert prompt and max_tokens >= 0
        self.prompt, self.sampler, self.max_tokens = list(prompt), sampler, max_tokens
        self.num_top, self.score_prompt = num_top, score_prompt
        self.slot = -1
        self.num_cached = 0  # tokens of prompt and answer whose keys and values are in the cache
        self.last = -1  # the newest token, not yet in the cache
        self.num_tokens = 0
        self.finished = False
        self.cancelled = False
        self.prompt_scores: list[Scored] = [Scored(self.prompt[0], None)] if score_prompt else []
        self._sink, self._pieces, self._stop_ids = sink, pieces, stop_ids
        self._text = TextStream(stops)
        self._tokens: list[Token] = []
        self._prompt_told = not score_prompt

    @property
    def is_filling(self) -> bool:
        """True while part of the prompt is not in the cache."""
        return self.num_cached < len(self.prompt)

    def cancel(self) -> None:
        """Nobody waits for the answer any more; callable from any thread. No delta follows."""
        self.cancelled = True

    def accept(self, token: int, scored: Scored | None) -> None:
        """Take the next token of the answer, and tell what is certain by it."""
        self.last = token
        self.num_tokens += 1
        if scored is not None:
            self._tokens.append(Token(scored, self._text.num_seen))
        if token in self._stop_ids:
            self.finish("stop")
            return
        text = self._text.push(self._pieces.spelled(token))
        if self._text.stopped:
            self.finish("stop", text)
        elif self.num_tokens >= self.max_tokens:
            self.finish("length", text)
        elif text:
            self._tell(text)

    def finish(self, reason: str, text: str = "") -> None:
        """End the answer: what was held back is told too."""
        text += self._text.finish()
        self.finished = True
        if self._text.stopped:  # tokens whose text was cut away with the stop string are not part of the answer
            self._tokens = [token for token in self._tokens if token.offset < self._text.num_given]
        self._tell(text, finish=reason)

    def fail(self, error: str) -> None:
        """End without an answer."""
        self.finished = True
        self._sink(Delta("", error=error, num_tokens=self.num_tokens))

    def _tell(self, text: str, finish: str | None = None) -> None:
        prompt = None
        if not self._prompt_told:
            self._prompt_told, prompt = True, tuple(self.prompt_scores)
        tokens, self._tokens = tuple(self._tokens), []
        self._sink(Delta(text, tokens, prompt, finish, None, self.num_tokens))
