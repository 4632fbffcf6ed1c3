"""Tokenizers made by the tests themselves, in the shapes of published ones, and random text that is hard on them."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import orjson

from clet.tokenizing import sample
from clet.tokenizing.shapes import SPLITS

END = "<|endoftext|>"
MARK = "\u2581"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(*patterns: str) -> dict[str, Any]:
    """A pre_tokenizer of regular expressions and then bytes, as Qwen and Llama 3 have it."""
    steps = [
        {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False} for each in patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*steps, BYTE_LEVEL | {"use_regex": False}]}


def pattern(name: str) -> tuple[str, ...]:
    """The regular expressions known under this name."""
    return next(patterns for patterns, known in SPLITS.items() if known == name)


def added(content: str, index: int, **flags: bool) -> dict[str, Any]:
    """An added token that is found in text."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return plain | {"id": index, "content": content} | flags


@functools.cache
def _trained() -> bytes:
    """A byte-level vocabulary of 1,500 tokens, trained on the texts of the self-check."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    engine.train_from_iterator([text for text in sample.rules() for _ in range(3)] + sample.texts()[9:30], trainer)
    engine.add_special_tokens([END])
    return engine.to_str().encode()


def byte_level(**changes: Any) -> dict[str, Any]:
    """A `tokenizer.json` like GPT-2's; `model={...}` changes fields of the model, others are of the file."""
    spec = orjson.loads(_trained())
    spec["model"] |= changes.pop("model", {})
    return spec | changes


def like_qwen(**changes: Any) -> dict[str, Any]:
    """Split by Qwen's regular expression, normalised to NFC."""
    return byte_level(normalizer={"type": "NFC"}, pre_tokenizer=split(*pattern("qwen2"))) | changes


@functools.cache
def _characters() -> bytes:
    """Characters, bytes and merges that cross none of the marks: the shape of Llama 2 and Phi-3."""
    characters = [*map(chr, range(33, 127)), MARK, *"\u00e9\u00df\u0301\u4e2d\u6587\u0435\u0430"]
    merges = [
        f"{MARK} t",
        "t h",
        "e r",
        "a n",
        f"{MARK}t h",
        "i n",
        "th e",
        f"{MARK} {MARK}",
        "a a",
        "a aa",
        "aa a",
        ". .",
    ]
    merges += [
        f"{MARK}th e",
        f"{MARK} the",
        f"{MARK}{MARK} {MARK}{MARK}",
        "i on",
        "o n",
        "t ion",
        ".. ..",
        "in g",
        "an d",
    ]
    made = [merge.replace(" ", "") for merge in merges]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters, *made]
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    model |= {"vocab": {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}, "merges": merges}
    mark_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    steps = [{"type": "Prepend", "prepend": MARK}, mark_spaces]
    back = [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}]
    back += [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    special = [added(name, index, special=True) for index, name in enumerate(("<unk>", "<s>", "</s>"))]
    spec = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "pre_tokenizer": None}
    spec |= {"normalizer": {"type": "Sequence", "normalizers": steps}, "post_processor": None, "model": model}
    return orjson.dumps(spec | {"decoder": {"type": "Sequence", "decoders": back}})


def like_llama(**changes: Any) -> dict[str, Any]:
    """BPE with byte fallback and marked spaces."""
    spec = orjson.loads(_characters())
    spec["model"] |= changes.pop("model", {})
    return spec | changes


def saved(spec: dict[str, Any], directory: Path) -> Path:
    """The file of a tokenizer."""
    path = directory / "tokenizer.json"
    path.write_bytes(orjson.dumps(spec))
    return path


_PIECES = (
    *(" ", "  ", "\n", "\r\n", "\t", "\r", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b", "\x1c", "\0", "\u200b"),
    *("a", "A", "the", " the", "The", "I'", "'s", "'S", "'T", "'re", "'LL", "'\u017f", "\u2019s", "1", "12", "1234"),
    *("\u0661", "\u00b2", "\u00bd", "!", "...", "-", "==", "/", "\\", "_", "'", '"', "(", "</s>", "<s>", END, MARK),
    *("<tool_call>", "\u00e9", "e\u0301", "\u0301", "\u0327", "\u212b", "\u0130", "\u01c5", "\u02b0", "\u4e2d\u6587"),
    *("\u30ab\u3099", "\uac00", "\u1100\u1161", "\u11a8", "\u0928\u0940", "\u094d", "\u0e01\u0e33", "\u05d0\u05b8"),
    *("\u0627\u0651\u064e", "\U0001f600", "\U0001f44d\U0001f3fd", "\u200d", "\ufe0f", "\U0001f1e9", "\U00020000"),
    *("\U0001d7d9", "\ue000", "\ufffd", "\uffff", "\U0001fae8", "\u1add", "\x7f", "\0CletNextText", "\1"),
)


def random_text(rng: random.Random) -> str:
    """A short text of hard pieces, of few different ones, or of bytes that are mostly no text."""
    length = 1 + int(rng.expovariate(1 / 20))
    kind = rng.random()
    if kind < 0.7:
        return "".join(rng.choice(_PIECES) * rng.choice((1, 1, 1, 1, 7, 33)) for _ in range(length))
    if kind < 0.85:
        few = rng.sample(_PIECES, 3)
        return "".join(rng.choice(few) for _ in range(length * 3))
    if kind < 0.95:
        return rng.randbytes(length * 3).decode("utf-8", "replace")
    points = (rng.randrange(rng.choice((0x80, 0x3000, 0x110000))) for _ in range(length))
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
