"""From logits to the next token: greedy, temperature, top-k, top-p (Holtzman et al. 2020, arXiv:1904.09751), min-p
(Nguyen et al. 2024, arXiv:2407.01082), penalties and biases, each as the OpenAI API and vLLM define them.

The order is: bias and penalties, temperature, top-k, top-p on what is left, min-p. Log-probabilities that are
reported are those of the model itself, before any of that. Every generation draws from its own named stream, one
uniform number a token, turned into a token by the inverse of the cumulative distribution: what a request gets depends
on its seed and its logits, never on the requests beside it. (Its logits depend on them only as far as a matrix
product of another height rounds differently, about 1e-6 relative.)

Cost a token: greedy one pass over the vocabulary; top-p a partial sort of the likeliest `HEAD` tokens, of all of them
only where those do not reach p.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

HEAD = 1024  # a nucleus is rarely larger; beyond it the whole vocabulary is sorted
COLDEST = 1e-5  # a temperature below this is greedy: logits divided by less would overflow float32
SMALLEST_NUCLEUS = 1e-9  # top_p 0 keeps the likeliest token


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. `top_k` 0 means no limit; `logit_bias` is added to the logits of the ids it names."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def greedy(self) -> bool:
        """True where the likeliest token is taken."""
        return self.temperature < COLDEST or self.top_k == 1

    @property
    def adjusts(self) -> bool:
        """True where logits are changed before the choice."""
        return bool(self.logit_bias or self.presence_penalty or self.frequency_penalty)


class Sampler:
    """The choices of one generation: its settings, its random stream and what it has said so far."""

    def __init__(self, sampling: Sampling, stream: random.Random) -> None:
        self.sampling = sampling
        self._stream = stream
        self._said: Counter[int] = Counter()

    def pick(self, logits: Tensor) -> int:
        """The next token for finite `logits` [V]."""
        if self.sampling.adjusts:
            logits = self._adjusted(logits)
        token = int(logits.argmax()) if self.sampling.greedy else self._draw(logits)
        if self.sampling.adjusts:
            self._said[token] += 1
        return token

    def _adjusted(self, logits: Tensor) -> Tensor:
        logits = logits.float().clone()
        changes = Counter(self.sampling.logit_bias)
        for token, count in self._said.items():
            changes[token] -= self.sampling.presence_penalty + self.sampling.frequency_penalty * count
        ids = torch.tensor(list(changes), device=logits.device, dtype=torch.long)
        return logits.index_add_(0, ids, torch.tensor(list(changes.values()), device=logits.device, dtype=logits.dtype))

    def _draw(self, logits: Tensor) -> int:
        probabilities, ids = distribution(logits, self.sampling)
        cumulative = probabilities.cumsum(0)
        point = self._stream.random() * cumulative[-1:]
        # The rounding of that product may reach the end: the last token with any probability is then meant.
        last = int(probabilities.nonzero()[-1])
        index = min(int(torch.searchsorted(cumulative, point, right=True)), last)
        return index if ids is None else int(ids[index])


def distribution(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """What a token is drawn from: weights (float64, not normalised) and their ids, None where they are 0..V-1."""
    log_p, ids = torch.log_softmax(logits.float() / sampling.temperature, dim=-1), None
    num_ids, nucleus = len(log_p), max(sampling.top_p, SMALLEST_NUCLEUS)
    if 0 < sampling.top_k < num_ids:
        log_p, ids = torch.topk(log_p, sampling.top_k)
        log_p = torch.log_softmax(log_p, dim=-1)
    elif nucleus < 1.0:
        everything = log_p
        log_p, ids = torch.topk(everything, min(HEAD, num_ids))
        if float(log_p.exp().sum()) < nucleus:
            log_p, ids = torch.sort(everything, descending=True)
    weights = log_p.double().exp()
    if nucleus < 1.0:
        weights[weights.cumsum(0) - weights >= nucleus] = 0.0
    if sampling.min_p:
        weights[weights < sampling.min_p * weights.max()] = 0.0
    return weights, ids


def pick_tokens(logits: Tensor, samplers: Sequence[Sampler]) -> list[int | None]:
    """The next token of each row of `logits` [S, V]; None for a row that is not finite, which no token can answer."""
    best, tokens = logits.max(dim=-1)
    # A NaN anywhere is the maximum; so is +inf. A row of -inf only has no choice either.
    finite, greedy = torch.isfinite(best).tolist(), tokens.tolist()
    picked: list[int | None] = []
    for row, sampler in enumerate(samplers):
        plain = sampler.sampling.greedy and not sampler.sampling.adjusts
        picked.append(None if not finite[row] else greedy[row] if plain else sampler.pick(logits[row]))
    return picked


@dataclass(frozen=True, slots=True)
class Scored:
    """A token with its log-probability (None for a first token, which nothing precedes) and the likeliest ones."""

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


def score(logits: Tensor, tokens: Sequence[int], num_top: int) -> list[Scored]:
    """Each token's log-probability under its row of `logits` [N, V], with the `num_top` likeliest (ids, values)."""
    log_p = torch.log_softmax(logits.float(), dim=-1)
    chosen = log_p.gather(1, torch.tensor(tokens, device=log_p.device)[:, None])[:, 0].tolist()
    if not num_top:
        return [Scored(token, value) for token, value in zip(tokens, chosen, strict=True)]
    values, ids = torch.topk(log_p, min(num_top, log_p.shape[1]))
    tops = (tuple(zip(*pair, strict=True)) for pair in zip(ids.tolist(), values.tolist(), strict=True))
    return [Scored(token, value, top) for token, value, top in zip(tokens, chosen, tops, strict=True)]
