"""The bytes that each token id stands for, so that words can be put together from ids without any text.

Exact for byte-level vocabularies (each character of a token is a byte, by GPT-2's table), for those in the manner of
SentencePiece (U+2581 is a space, `<0x0A>` a byte), and for plain characters: joined over the ids of a text they are
the UTF-8 of the text as the tokenizer normalised it. That text may begin with a space that was added, and spaces that
an added token took with it are gone. Cost: 0.1 s for 150,000 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.tokenizing.shapes import SPACE_MARK, byte_characters


def names_by_id(spec: dict[str, Any]) -> dict[int, str]:
    """The token of each id of the model's vocabulary, as it is written there; added tokens are not in it."""
    vocab = spec["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else ((piece, i) for i, (piece, *_) in enumerate(vocab))
    return {index: name for name, index in pairs}


def token_bytes(spec: dict[str, Any], vocab_size: int) -> Ragged:
    """Bytes of each id `[vocab_size]`; those of special tokens and of ids that no token has are empty.

    Raises ValueError for a vocabulary whose tokens have no bytes of their own (WordPiece, or parts of words marked).
    """
    names = [""] * vocab_size
    for index, name in names_by_id(spec).items():
        names[index] = name
    rows = _converted(spec, names)
    for token in spec.get("added_tokens") or []:
        if token["id"] < vocab_size:
            rows[token["id"]] = b"" if token["special"] else token["content"].encode()
    return Ragged.from_bytes(rows)


def _converted(spec: dict[str, Any], names: list[str]) -> list[bytes]:
    model = spec["model"]
    kinds = {kind for part in ("decoder", "pre_tokenizer", "normalizer") for kind in _kinds(spec.get(part))}
    if "ByteLevel" in kinds:
        return _byte_level(names)
    if model.get("byte_fallback") or "Metaspace" in kinds or SPACE_MARK in kinds:
        byte_names = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)} if model.get("byte_fallback") else {}
        return [byte_names.get(name) or name.replace(SPACE_MARK, " ").encode() for name in names]
    if model.get("type") in ("WordPiece", "WordLevel") or _marks_parts(model):
        raise ValueError("its tokens are words and parts of words, which do not say what stood between them")
    return [name.encode() for name in names]


def _byte_level(names: list[str]) -> list[bytes]:
    """The bytes of names in the characters that stand for bytes, all at once: one by one would take 0.2 s."""
    characters = {ord(character): byte for character, byte in byte_characters().items()}
    table = np.full(max(characters) + 2, -1, np.int16)
    table[list(characters)] = list(characters.values())
    codes = np.frombuffer("".join(names).encode("utf-32-le", "surrogatepass"), "<u4")
    found = table[np.minimum(codes, len(table) - 1)]
    ends = np.cumsum([0, *map(len, names)])
    body = found.astype(np.uint8).tobytes()
    rows = [body[begin:end] for begin, end in pairwise(ends.tolist())]
    # A token that is not written in these characters stands for itself, as in the reference's decoder.
    for row in np.unique(np.searchsorted(ends, np.flatnonzero(found < 0), side="right") - 1).tolist():
        rows[row] = names[row].encode()
    return rows


def _marks_parts(model: dict[str, Any]) -> bool:
    return bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))


def _kinds(part: dict[str, Any] | None) -> Iterator[str]:
    """The types of the steps of a decoder, pre_tokenizer or normalizer, and U+2581 where one replaces or adds it."""
    if not part:
        return
    yield part["type"]
    for value in part.values():
        if isinstance(value, list):
            for step in value:
                if isinstance(step, dict):
                    yield from _kinds(step)
        elif value in (SPACE_MARK, {"String": SPACE_MARK}):
            yield SPACE_MARK
