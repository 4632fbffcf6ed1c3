"""Canaries: prompts whose answers a model must keep; what a breaker and a gate look at besides perplexity.

A file has one JSON object a line, {"prompt": ..., "answer": ...}. A canary holds if the model, asked with the prompt,
would say the answer greedily: each token of the answer is the likeliest one after the prompt and the tokens before it.
That is read off one forward pass over prompt and answer, together with the mean loss of the answer's tokens, which says
how near a canary that holds is to being lost. The answer's tokens are those that the whole text has behind the
prompt's, so an answer is to begin as it would stand in text, mostly with a space.

Cost: a forward pass over all prompts and answers, in batches by length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch

from clet.exits import InputError, UsageError
from clet.model.decoder import Decoder
from clet.tokens import Tokenizer

MAX_FILE_BYTES = 16 << 20
MAX_CANARIES = 10_000
BATCH_TOKENS = 4096
KEY_CHARS = 80


@dataclass(frozen=True, slots=True)
class Canary:
    """A prompt and its answer as tokens: `ids` [n], of which the last `answer` are the answer's. `key` names it."""

    key: str
    ids: np.ndarray
    answer: int


def read_canaries(path: str | Path, tokenizer: Tokenizer, max_positions: int) -> list[Canary]:
    """The canaries of a file. Raises UsageError where it cannot be read, InputError for a line that is none."""
    try:
        with open(path, "rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(body) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    found: dict[str, Canary] = {}
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        canary = _parse(line, f"{path}:{number}", tokenizer, max_positions)
        if canary.key in found:
            raise InputError(f"{path}:{number}: stands there before")
        found[canary.key] = canary
    if not 0 < len(found) <= MAX_CANARIES:
        raise InputError(f"{path}: {len(found)} canaries; give 1 to {MAX_CANARIES}")
    return list(found.values())


def _parse(line: bytes, where: str, tokenizer: Tokenizer, max_positions: int) -> Canary:
    try:
        entry = orjson.loads(line)
        prompt, answer = entry["prompt"], entry["answer"]
        if not isinstance(prompt, str) or not isinstance(answer, str) or not prompt or not answer.strip():
            raise TypeError
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise InputError(f'{where}: not {{"prompt": text, "answer": text}}') from None
    both = tokenizer.encode([prompt, prompt + answer])
    before, whole = np.asarray(both[0]), np.asarray(both[1])
    # Where the two are merged across the seam, the answer begins with the token that differs.
    same = min(len(before), len(whole))
    shared = int(np.cumprod(before[:same] == whole[:same]).sum())
    if shared == 0 or shared == len(whole):
        raise InputError(f"{where}: the answer's tokens cannot be told from the prompt's")
    if len(whole) > max_positions:
        raise InputError(f"{where}: {len(whole)} tokens; the model has {max_positions} positions")
    key = f"{prompt[-KEY_CHARS:]}|{answer[:KEY_CHARS]}"
    return Canary("".join(c if c.isprintable() else " " for c in key), whole.astype(np.int64), len(whole) - shared)


def check_canaries(model: Decoder, canaries: Sequence[Canary]) -> dict[str, tuple[float, bool]]:
    """{key: (mean loss of the answer's tokens in nats, whether it holds)}, in the order given."""
    by_length = sorted(canaries, key=lambda canary: len(canary.ids))
    found: dict[str, tuple[float, bool]] = {}
    at = 0
    while at < len(by_length):
        room = max(1, BATCH_TOKENS // len(by_length[min(at + 1, len(by_length) - 1)].ids))
        part = by_length[at : at + room]
        at += len(part)
        found |= _scored(model, part)
    return {canary.key: found[canary.key] for canary in canaries}


def _scored(model: Decoder, part: Sequence[Canary]) -> dict[str, tuple[float, bool]]:
    longest = max(len(canary.ids) for canary in part)
    ids = np.zeros((len(part), longest), np.int64)  # padded behind: what comes later is not seen
    for row, canary in enumerate(part):
        ids[row, : len(canary.ids)] = canary.ids
    device = model.head_weight.device
    found = {}
    with torch.inference_mode():
        hidden = model.hidden(torch.from_numpy(ids).to(device))  # [B, T, H]
        for row, canary in enumerate(part):
            end = len(canary.ids)
            answer = torch.from_numpy(canary.ids[end - canary.answer :]).to(device)
            logits = (hidden[row, end - canary.answer - 1 : end - 1] @ model.head_weight.t()).float()
            loss = torch.nn.functional.cross_entropy(logits, answer)
            found[canary.key] = (float(loss), bool((logits.argmax(dim=-1) == answer).all()))
    return found
