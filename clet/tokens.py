"""Text to token ids and back, with the tokenizer's fingerprint.

The engine is Hugging Face `tokenizers`, exact by definition since models are published with its `tokenizer.json`.
Documents come from strangers, so text that spells a special token (`<|endoftext|>`) is encoded as ordinary text;
only clet itself places special ids. Cost: about 0.5 M tokens/s a core.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet.batch import Ragged
from clet.exits import InputError, UsageError

MAX_TOKENIZER_BYTES = 256 << 20
# Names under which published tokenizers keep their end-of-document token, most specific first.
_EOS_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")


class Tokenizer:
    """A loaded `tokenizer.json`. Attributes: `fingerprint`, `vocab_size`, `eos_id` (None if unknown), `dtype`."""

    def __init__(self, path: Path, body: bytes, eos_name: str | None):
        import tokenizers

        try:
            spec = orjson.loads(body)
            self._engine = tokenizers.Tokenizer.from_str(body.decode())
        except Exception as error:  # tokenizers raises bare Exception for a malformed file
            raise InputError(f"{path}: not a tokenizer.json: {error}") from None
        self._engine.no_truncation()
        self._engine.no_padding()
        self._engine.encode_special_tokens = True
        self.path = path
        self.fingerprint = fingerprint(spec)
        ids = self._engine.get_vocab(with_added_tokens=True)
        self.vocab_size = max(ids.values(), default=-1) + 1
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        names = [eos_name] if eos_name else _EOS_NAMES
        self.eos_id: int | None = next((ids[name] for name in names if name in ids), None)

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """The tokenizer in a `tokenizer.json` or in a model directory. Raises UsageError or InputError."""
        path = Path(path)
        is_directory = os.path.isdir(path)  # Path.is_dir raises where the folder above may not be searched
        directory = path if is_directory else path.parent
        file = path / "tokenizer.json" if is_directory else path
        try:
            if file.stat().st_size > MAX_TOKENIZER_BYTES:
                raise InputError(f"{file}: over {MAX_TOKENIZER_BYTES >> 20} MB, not a tokenizer")
            body = file.read_bytes()
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}; name a tokenizer.json or a model directory") from None
        return Tokenizer(file, body, _eos_name(directory / "tokenizer_config.json"))

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Ids of each text, without special tokens."""
        rows = [
            np.asarray(e.ids, self.dtype) for e in self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
        return Ragged.from_rows(rows, self.dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of the ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=True)

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name, special or not."""
        return self._engine.token_to_id(token)


def _eos_name(config: Path) -> str | None:
    try:
        value: Any = orjson.loads(config.read_bytes()).get("eos_token")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return None
    return value.get("content") if isinstance(value, dict) else value


def fingerprint(spec: dict[str, Any]) -> str:
    """128 bits of SHA-256 over what decides ids: all of tokenizer.json but truncation and padding, keys sorted."""
    kept = {name: value for name, value in spec.items() if name not in ("truncation", "padding")}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def set_jobs(jobs: int) -> None:
    """Threads for `encode`; counts only before the first call in a process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if jobs > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(jobs)
