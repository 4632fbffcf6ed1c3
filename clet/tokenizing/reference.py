"""The reference engine: Hugging Face `tokenizers`, exact by definition since models are published with its file.

Text that spells a special token (`<|endoftext|>`) is encoded as ordinary text: documents come from strangers, and
only clet itself places special ids. Cost: about 1 M tokens/s a core, and 400 bytes a token while a group is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from clet.batch import Ragged

GROUP_CHARS = 1 << 20  # encoded at once: its own objects take about 400 bytes a token meanwhile


class Reference:
    """A `tokenizer.json` loaded by `tokenizers`. Raises ValueError where it cannot be."""

    name = "tokenizers"

    def __init__(self, body: bytes):
        import tokenizers

        try:
            self._engine = tokenizers.Tokenizer.from_str(body.decode())
        except Exception as error:  # tokenizers raises bare Exception for a malformed file
            raise ValueError(str(error)) from None
        self._engine.no_truncation()
        self._engine.no_padding()
        self._engine.encode_special_tokens = True

    def encode(self, texts: Sequence[str], dtype: np.dtype) -> Ragged:
        """Ids of each text, without special tokens. Raises UnicodeEncodeError for a lone surrogate."""
        rows = [np.asarray(encoding.ids, dtype) for group in _groups(texts) for encoding in self._encode(group)]
        return Ragged.from_rows(rows, dtype)

    def _encode(self, group: list[str]) -> list[Any]:
        try:
            return self._engine.encode_batch_fast(group, add_special_tokens=False)
        except TypeError:
            for text in group:
                text.encode()  # a lone surrogate, which the engine reports as a wrong type
            raise

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of the ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=True)

    def normalise(self, text: str) -> str:
        """The text as the normalizer of this tokenizer leaves it."""
        normalizer = self._engine.normalizer
        return text if normalizer is None else normalizer.normalize_str(text)

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name, special or not."""
        return self._engine.token_to_id(token)


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, about GROUP_CHARS together, at least one a group."""
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= GROUP_CHARS:
            yield group
            group, size = [], 0
    if group:
        yield group
