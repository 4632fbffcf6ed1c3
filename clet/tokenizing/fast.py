"""The exact fast engine: gigatoken, given only what it encodes as the reference does.

Texts are joined by a token of our own and encoded in one call, so that a batch costs no object a document and no
list of ints: the ids come back in one buffer, which is cut where that token stands (0.4 ns a token). Text that the
two engines may see differently is kept from it (`characters`): documents with characters younger than Unicode 14.0 go
to the reference, and where a tokenizer normalises to NFC, the reference's normalizer does it.

With one job the engine runs in the calling thread and holds the interpreter for one piece (about a millisecond); with
more, byte-level tokenizers are encoded by that many threads of the engine with the interpreter released. Ids depend
on neither. Memory: twice the vocabulary (30 to 100 MB), and a cache of the pieces of text seen, which the engine
never empties: it is loaded anew when the process has grown by CACHE_BYTES.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.tokenizing.characters import ACTIVE, UNKNOWN, suspects
from clet.tokenizing.reference import Reference
from clet.tokenizing.shapes import Unsupported, fast_spec, plain_tokens

# It begins with a character that it has nowhere else, so no text before it can make it be found too early. Text that
# spells all of it is found by the count of what was cut, and given to the reference.
SEPARATOR = "\0CletNextText\1"
PIECE_BYTES = 1 << 19  # given to the engine at once
PARALLEL_BYTES = 1 << 20  # a piece where several are encoded at once: fewer bytes are one thread's work for it
MAX_PARALLEL_BYTES = 2 << 20  # a longer piece would be cut by the engine; such documents are encoded in one
CACHE_BYTES = 512 << 20  # growth of the process after which the engine is loaded anew
CHECK_BYTES = 32 << 20  # of text between two looks; text made to fill the cache takes 17 times its size there

Row = bytes | memoryview


class FastEngine:
    """gigatoken for a `tokenizer.json`. Raises Unsupported where it cannot be exact or is not installed.

    `vocab_size` is one more than the largest id, `dtype` that of the ids.
    """

    name = "gigatoken"

    def __init__(self, spec: dict[str, Any], reference: Reference, vocab_size: int, dtype: np.dtype):
        self._reference, self._dtype, self._separator_id = reference, dtype, vocab_size
        try:
            self._body, self._needs_nfc = fast_spec(spec, separator=SEPARATOR, separator_id=vocab_size)
            self._plain = plain_tokens(spec)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Unsupported(f"a tokenizer.json of another form ({type(error).__name__}: {error})") from None
        for token in self._plain:
            if reference.id_of(token["content"]) != token["id"]:
                raise Unsupported(f"an added token {token['content']!r} that has another id in the vocabulary")
        self._by_bytes = not spec["model"].get("byte_fallback")
        # Nothing asks of which kind a character is where text is not split by a regular expression.
        self._suspect = (UNKNOWN if self._by_bytes else 0) | (ACTIVE if self._needs_nfc else 0)
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        try:
            import gigatoken
        except ImportError as error:
            raise Unsupported(f"gigatoken cannot be imported: {error}") from None
        self._engine = None  # what it holds is free before it is loaded again
        try:
            self._engine = gigatoken.Tokenizer.from_json(self._body)
        except Exception as error:
            raise Unsupported(f"gigatoken refuses it: {error}") from None
        self._text_bytes, self._resident = 0, _resident_bytes()

    def encode(self, rows: Sequence[Row], *, trusted: bool, jobs: int = 1) -> Ragged:
        """Ids of each text of UTF-8 bytes, without special tokens.

        Unless the rows are `trusted` to be UTF-8 this is checked: raises UnicodeDecodeError. What the engine itself
        raises (RuntimeError) means that it is no longer to be used.
        """
        with self._lock:
            parts = list(self._encode_pieces([_Piece(self, rows[a:b], trusted) for a, b in _cuts(rows, jobs)], jobs))
            self._text_bytes += sum(map(len, rows))
            if self._text_bytes >= CHECK_BYTES:
                self._bound_cache()
        return Ragged.concat(parts) if parts else Ragged.from_rows([], self._dtype)

    def _encode_pieces(self, pieces: list[_Piece], jobs: int) -> Iterable[Ragged]:
        while pieces:
            ...

    def _bound_cache(self) -> None: ...
