"""Whether a fast engine reproduces the reference: id by id, text by text, on a fixed sample, at every load.

Texts for the merges and the engine's own ways, some of them made from the tokenizer's vocabulary; and texts for the
rules by which text is split, with characters of all scripts. These are encoded with a small vocabulary that shows
every split: a real one shows few, since most neighbours never merge, and an engine that splits otherwise would be
noticed only on the rare text where they do. (cl100k's regular expression passed with the vocabulary of GPT-2.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from clet.tokenizing import sample
from clet.tokenizing.fast import EngineFailed, FastEngine
from clet.tokenizing.reference import Reference
from clet.tokenizing.shapes import Unsupported, byte_characters

FROM_VOCABULARY = 2000  # tokens that the text made from the vocabulary is made of
MAX_ADDED = 100  # added tokens whose spelling is tried
# One character of each kind that the regular expressions tell apart.
_KINDS = b"aA1!'/ \n\r"
_LEADS, _CONTINUATIONS = range(0xC2, 0xF5), range(0x80, 0xC0)
_WIDE = np.dtype(np.uint32)


def check(fast: FastEngine, reference: Reference, spec: dict[str, Any], vocab_size: int) -> None:
    """Raise Unsupported, with the reason, where the fast engine differs from the reference or fails."""
    rules = [*sample.rules(), *sample.by_character()]
    texts = [*sample.texts(), *_from_vocabulary(reference, vocab_size), *_added_tokens(spec)]
    if spec["model"].get("byte_fallback"):
        _compare(fast, reference, rules + texts)
        return
    _compare(fast, reference, texts)
    small = _splits_shown(spec)
    shown = Reference(orjson.dumps(small))
    _compare(FastEngine(small, shown, len(small["model"]["vocab"]), _WIDE), shown, rules)


def _compare(fast: FastEngine, reference: Reference, texts: list[str]) -> None:
    expected = reference.encode(texts, _WIDE)
    try:
        found = fast.encode([text.encode() for text in texts], trusted=True)
    except EngineFailed as error:
        raise Unsupported(f"gigatoken fails in the self-check: {error}") from None
    if len(found) != len(expected):
        raise Unsupported("the self-check came back with another number of texts")
    for row, text in enumerate(texts):
        if not np.array_equal(found[row], expected[row]):
            raise Unsupported(f"the self-check differs on {text[:40]!a}")


def _from_vocabulary(reference: Reference, vocab_size: int) -> list[str]:
    """Tokens from all over the vocabulary as text, in two orders, so that they stand beside different ones."""
    ids = np.linspace(0, vocab_size - 1, min(vocab_size, FROM_VOCABULARY)).astype(np.int64)
    return [reference.decode(ids), reference.decode(ids.reshape(2, -1).T.ravel() if len(ids) % 2 == 0 else ids[::-1])]


def _added_tokens(spec: dict[str, Any]) -> list[str]:
    """The spellings of this tokenizer's added tokens, special or not, between blanks and letters."""
    contents = [token["content"] for token in spec.get("added_tokens") or []][:MAX_ADDED]
    return [f"{content}{content} a{content}b  {content}\n {content[:-1]} \t{content}" for content in contents]


def _splits_shown(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with a vocabulary in which two neighbours become one token wherever they are not split.

    It has the bytes, and a merge for each two of them that can meet where characters meet, if one is of `_KINDS`.
    """
    name = {byte: character for character, byte in byte_characters().items()}
    pairs = [(a, b) for a in (*_KINDS, *_CONTINUATIONS) for b in _KINDS]
    pairs += [(a, b) for a in _KINDS for b in _LEADS]
    vocab = {name[byte]: byte for byte in range(256)}
    vocab |= {name[a] + name[b]: 256 + i for i, (a, b) in enumerate(pairs)}
    model = {"type": "BPE", "vocab": vocab, "merges": [[name[a], name[b]] for a, b in pairs]}
    return {name: spec.get(name) for name in ("normalizer", "pre_tokenizer")} | {"model": model, "added_tokens": []}
