"""What each token id spells, in bytes: the table that streaming needs to send whole characters only.

Read from `tokenizer.json` itself, for the two alphabets that the supported families use: byte-level (GPT-2's printable
stand-ins for bytes; Qwen, Llama 3, clet's own) and SentencePiece's (a bar for a space, `<0x0A>` for a byte; Llama 2).
Concatenated bytes are the exact text, whatever the cut, where decoding token by token would give replacement
characters and lost spaces. About 60 bytes of memory an id.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BAR = "\u2581"  # SentencePiece's mark for a space


class Pieces:
    """Bytes and names of token ids. Special tokens spell nothing; ids beyond the vocabulary neither."""

    def __init__(self, path: Path) -> None:
        """Read a `tokenizer.json`. Raises InputError where its alphabet is not understood."""
        try:
            spec = orjson.loads(path.read_bytes())
            vocab = spec["model"]["vocab"]
            pairs = vocab.items() if isinstance(vocab, dict) else ((entry[0], i) for i, entry in enumerate(vocab))
            spell = _speller(spec.get("decoder") or {})
            table = {int(token): spell(text) for text, token in pairs}
            added = {int(token["id"]): token for token in spec.get("added_tokens", [])}
            self.special = {token["content"]: i for i, token in added.items() if token.get("special")}
            table |= {i: b"" if token.get("special") else token["content"].encode() for i, token in added.items()}
            self._names = {i: name for name, i in self.special.items()}
            self.leading = _leading_ids(spec.get("post_processor") or {}, self.special)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(f"{path}: not a tokenizer that can be served: {error}") from None
        self._table = [table.get(i, b"") for i in range(max(table, default=-1) + 1)]
        self.longest = max(map(len, self._table), default=0)  # bytes of the token that spells most

    def spelled(self, token: int) -> bytes:
        """The bytes that `token` adds to a text."""
        return self._table[token] if token < len(self._table) else b""

    def name(self, token: int) -> str:
        """How `token` is called in log-probabilities: its text, or `bytes:\\xe2\\x80` where it is part of a character.

        Distinct for tokens of distinct bytes, so that it can be the key of a table.
        """
        if token in self._names:
            return self._names[token]
        spelled = self.spelled(token)
        try:
            return spelled.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)

    def text(self, tokens: list[int]) -> str:
        """The text of `tokens`; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.spelled, tokens)).decode("utf-8", "replace")


def _speller(decoder: dict[str, Any]) -> Any:
    """The function from a vocabulary entry to its bytes."""
    kinds = {part.get("type") for part in decoder.get("decoders", [decoder])}
    if "ByteLevel" in kinds:
        inverse = _byte_level()
        # An entry with a character outside the alphabet stands for itself, as in the tokenizers library.
        return lambda text: bytes(map(inverse.__getitem__, text)) if inverse.keys() >= set(text) else text.encode()
    if kinds & {"Metaspace", "ByteFallback", "Replace"}:
        return _sentencepiece
    raise ValueError(f"decoder {decoder.get('type')!r:.40} is not supported (ByteLevel, Metaspace, ByteFallback are)")


def _byte_level() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and up, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in set(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _sentencepiece(text: str) -> bytes:
    byte = _BYTE.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else text.replace(_BAR, " ").encode()


def _leading_ids(processor: dict[str, Any], special: dict[str, int]) -> list[int]:
    """Ids that the tokenizer itself puts before a text (Llama's begin-of-text)."""
    for part in processor.get("processors", [processor]):
        if part.get("type") == "TemplateProcessing":
            names = []
            for item in part["single"]:
                if "SpecialToken" not in item:
                    break
                names.append(item["SpecialToken"]["id"])
            return [special[name] for name in names if name in special]
    return []
