"""A model directory made ready to answer: weights, tokenizer, chat template, checked as one before anybody is served.

What is checked: everything that `clet.model.checkpoint` checks; that the tokenizer fits the model (ids within its
vocabulary, the fingerprint that release.json names, and the one served before); that a release's weights hash to what
release.json says; that the template compiles; and that a probe gives finite logits. Whatever fails is one
`InputError`, and nothing of the model stays in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from clet.exits import CletError, InputError
from clet.model.checkpoint import load_model, state_root
from clet.model.decoder import Decoder
from clet.release import FACTS, read_facts
from clet.serve.chat import ChatTemplate
from clet.serve.pieces import Pieces
from clet.tokens import Tokenizer

PROBE = "The 2 quick brown foxes, caf\u00e9 \u2014 \U0001f98a\n"
MAX_GENERATION_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Served:
    """One model with all that belongs to it. `release` is its number as text, or the directory's name."""

    directory: Path
    release: str
    facts: dict[str, Any]
    model: Decoder
    tokenizer: Tokenizer
    pieces: Pieces
    chat: ChatTemplate
    eos_ids: frozenset[int]
    mark: str  # what answers carry as `system_fingerprint`

    def text_ids(self, texts: list[str]) -> list[list[int]]:
        """Prompts as ids, each after what the tokenizer puts before a text; an empty one is the start of a document."""
        rows = self.tokenizer.encode(texts)
        ids = [self.pieces.leading + rows[i].tolist() for i in range(len(texts))]
        return [row or self.start_ids for row in ids]

    @property
    def start_ids(self) -> list[int]:
        """What stands before a document: begin-of-text, or the end of the one before. Empty if there is neither."""
        bos, eos = self.model.config.bos_token_id, self.tokenizer.eos_id
        return [bos] if bos is not None else [eos] if eos is not None else sorted(self.eos_ids)[:1]


def load_served(
    directory: Path, dtype: torch.dtype, device: torch.device, *, tokenizer_fingerprint: str | None = None
) -> Served:
    """Load and check a model directory. `tokenizer_fingerprint` is the one it must have, if any. Raises InputError."""
    facts = read_facts(directory) if (directory / FACTS).exists() else {}
    tokenizer = _checked_tokenizer(directory, facts, tokenizer_fingerprint)
    pieces = Pieces(directory / "tokenizer.json")
    chat = ChatTemplate.load(directory)
    model = _checked_model(directory, facts, dtype, device)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise InputError(
            f"{directory}: its tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}: "
            "they do not belong together"
        )
    _probe(directory, model, tokenizer)
    release = str(facts["number"]) if facts else directory.name
    eos_ids = frozenset(model.config.eos_token_ids) | _generation_eos(directory)
    eos_ids |= set() if tokenizer.eos_id is None else {tokenizer.eos_id}
    mark = f"clet-{release}-{str(facts.get('weights') or _identity(directory))[:12]}"
    return Served(directory, release, facts, model, tokenizer, pieces, chat, eos_ids, mark)


def _checked_tokenizer(directory: Path, facts: dict[str, Any], wanted: str | None) -> Tokenizer:
    try:
        tokenizer = Tokenizer.load(directory)
    except CletError as error:
        raise InputError(str(error)) from None
    for name, fingerprint in (("its release.json", facts.get("tokenizer")), ("what is served", wanted)):
        if isinstance(fingerprint, str) and fingerprint != tokenizer.fingerprint:
            raise InputError(f"{directory}: tokenizer {tokenizer.fingerprint} is not that of {name}, {fingerprint}")
    return tokenizer


def _checked_model(directory: Path, facts: dict[str, Any], dtype: torch.dtype, device: torch.device) -> Decoder:
    """The model; of a release, only if its weights hash to what release.json says (read in float32, as written)."""
    if not isinstance(facts.get("weights"), str):
        return load_model(directory, dtype=dtype, device=device)
    model = load_model(directory)
    root = state_root(model)
    if root != facts["weights"]:
        raise InputError(f"{directory}: its weights hash to {root[:16]}, release.json says {facts['weights'][:16]}")
    return model.to(device=device, dtype=dtype)


def _probe(directory: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode([PROBE])[0].tolist() or [0]
    ids = ids[: model.config.max_positions]
    with torch.inference_mode():
        logits = model(torch.tensor([ids], device=model.head_weight.device))
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"{directory}: the model's logits are not finite; its weights are damaged")


def _generation_eos(directory: Path) -> frozenset[int]:
    """Ends of an answer that only generation_config.json names, as Qwen3 does."""
    try:
        with (directory / "generation_config.json").open("rb") as file:
            document = orjson.loads(file.read(MAX_GENERATION_CONFIG_BYTES))
        named = document.get("eos_token_id")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return frozenset()
    return frozenset(i for i in (named if isinstance(named, list) else [named]) if type(i) is int and i >= 0)


def _identity(directory: Path) -> str:
    """Hash of configuration and weights (hex): the same for the same model wherever it lies."""
    digest = hashlib.sha256()
    for path in [directory / "config.json", *sorted(directory.glob("*.safetensors"))]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
