"""The exact fast engine: gigatoken, given only what it encodes as the reference does.

Texts are joined by a token of our own and encoded in one call, so that a batch costs no object a document and no
list of ints: the ids come back in one buffer, which is cut where that token stands (0.4 ns a token). Text that the
two engines may see differently is kept from it (`characters`): documents with characters younger than Unicode 14.0 go
to the reference, and where a tokenizer normalises to NFC, the reference's normalizer does it.

With one job the engine runs in the calling thread and holds the interpreter for one piece (1 to 5 ms); with more,
byte-level tokenizers are encoded by that many threads of the engine, the interpreter released. Ids depend on neither.
Memory: the vocabulary (30 to 100 MB, and a part of it again for each thread), and a cache of the words seen, which
the engine never empties: it is loaded anew when the process has grown by CACHE_BYTES since.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.kernels import leaf
from clet.tokenizing.characters import ACTIVE, UNKNOWN, suspects
from clet.tokenizing.reference import Reference
from clet.tokenizing.shapes import Unsupported, fast_spec, plain_tokens

# Its first character is nowhere else in it, so no text before it can make it be found too early. A text that spells
# all of it is noticed by the number of cuts, and given to the reference.
SEPARATOR = "\0CletNextText\1"
PIECE_BYTES = 1 << 19  # given to the engine at once
PARALLEL_PIECE_BYTES = 1 << 20  # where several are encoded at once; the engine gives no thread less
MAX_PARALLEL_BYTES = 2 << 20  # what is longer the engine would cut by itself; it is encoded by one thread
CACHE_BYTES = 64 << 20  # to load it again takes 0.1 s, and all words are met anew
CHECK_BYTES = 8 << 20  # of text between two looks at the process; text made for it takes 17 times its size there

Row = bytes | memoryview


class EngineFailed(Exception):
    """The engine raised or panicked; it must not be used again."""


@dataclass
class _Piece:
    """Texts encoded in one call: what the engine is given, and the ids of texts that it is not given."""

    rows: list[Row]
    joined: bytes
    elsewhere: dict[int, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def of(rows: list[Row]) -> _Piece:
        return _Piece(rows, SEPARATOR.encode().join(rows))

    def join_again(self) -> None:
        """After a change of the rows."""
        self.joined = SEPARATOR.encode().join(self.rows)


class FastEngine:
    """gigatoken for the `tokenizer.json` that `spec` is; `vocab_size` is one more than its largest id.

    Raises Unsupported where it cannot be exact or is not installed.
    """

    name = "gigatoken"

    def __init__(self, spec: dict[str, Any], reference: Reference, vocab_size: int, dtype: np.dtype):
        self._reference, self._dtype, self._separator_id = reference, dtype, vocab_size
        try:
            self._body, needs_nfc = fast_spec(spec, separator=SEPARATOR, separator_id=vocab_size)
            plain = plain_tokens(spec)
            self._by_bytes = not spec["model"].get("byte_fallback")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Unsupported(f"a tokenizer.json of another form ({type(error).__name__}: {error})") from None
        for token in plain:
            if reference.id_of(token["content"]) != token["id"]:
                raise Unsupported(f"an added token {token['content']!r} that has another id in the vocabulary")
        self._finds_tokens = bool(plain)
        # Nothing asks of which kind a character is where text is not split by a regular expression.
        self._suspect = (UNKNOWN if self._by_bytes else 0) | (ACTIVE if needs_nfc else 0)
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        try:
            import gigatoken
        except ImportError as error:
            raise Unsupported(f"gigatoken cannot be imported: {error}") from None
        self._engine: Any = None  # what it holds is given back before it is loaded again
        try:
            self._engine = gigatoken.Tokenizer.from_json(self._body)
        except BaseException as error:
            raise Unsupported(f"gigatoken refuses it: {_expected(error)}") from None
        self._source = gigatoken.BytesSource
        self._text_bytes, self._resident = 0, resident_bytes()

    def encode(self, rows: Sequence[Row], *, trusted: bool, jobs: int = 1) -> Ragged:
        """Ids of each text, given as UTF-8 bytes, without special tokens.

        Unless the rows are `trusted` to be UTF-8, they are checked: raises UnicodeDecodeError. Raises EngineFailed.
        """
        jobs = jobs if self._by_bytes else 1  # the other kind loses its cache with each call of several threads
        parts: list[Ragged] = []
        with self._lock:
            waiting: list[_Piece] = []
            for group in _groups(rows, PIECE_BYTES if jobs == 1 else PARALLEL_PIECE_BYTES):
                waiting.append(self._prepare(group, trusted))
                if len(waiting) >= (1 if jobs == 1 else 4 * jobs):
                    parts += self._encode(waiting, jobs)
                    waiting = []
            parts += self._encode(waiting, jobs)
            self._bound_cache(sum(map(len, rows)))
        return parts[0] if len(parts) == 1 else Ragged.concat(parts) if parts else Ragged.from_rows([], self._dtype)

    def _prepare(self, rows: list[Row], trusted: bool) -> _Piece:
        """The texts, checked and, where the reference has to, normalised or encoded."""
        piece = _Piece.of(rows)
        if trusted and not self._suspect:
            return piece
        starts, bits = suspects(np.frombuffer(piece.joined, np.uint8), self._suspect, trusted=trusted)
        if not len(starts):
            return piece
        ends = np.cumsum([len(row) + len(SEPARATOR) for row in rows])
        found = np.searchsorted(ends, starts, side="right")
        unknown = set(found[bits & UNKNOWN > 0].tolist())
        for row in np.unique(found).tolist():
            text = str(rows[row], "utf-8")
            normal = text if row in unknown else self._reference.normalise(text)
            # Added tokens are looked for before the text is normalised.
            if row in unknown or (normal != text and self._finds_tokens):
                self._encode_elsewhere(piece, row, text)
            else:
                rows[row] = normal.encode()
        piece.join_again()
        return piece

    def _encode_elsewhere(self, piece: _Piece, row: int, text: str) -> None:
        piece.elsewhere[row] = self._reference.encode([text], self._dtype).values
        piece.rows[row] = b""

    def _encode(self, pieces: list[_Piece], jobs: int) -> Iterator[Ragged]:
        buffers = self._ids([piece.joined for piece in pieces], jobs)
        for piece, ids in zip(pieces, buffers, strict=True):
            part = self._cut(ids, len(piece.rows))
            if part is None:
                for row, text in enumerate(piece.rows):
                    if SEPARATOR.encode() in bytes(text):
                        self._encode_elsewhere(piece, row, str(text, "utf-8"))
                piece.join_again()
                part = self._cut(self._ids([piece.joined], 1)[0], len(piece.rows))
                if part is None:
                    raise EngineFailed("the texts that were joined do not come apart")
            if piece.elsewhere:
                rows = [piece.elsewhere.get(row, part[row]) for row in range(len(part))]
                part = Ragged.from_rows(rows, self._dtype)
            yield part

    def _ids(self, texts: list[bytes], jobs: int) -> list[np.ndarray]:
        together = [i for i, text in enumerate(texts) if len(text) <= MAX_PARALLEL_BYTES] if jobs > 1 else []
        ids: dict[int, np.ndarray] = {}
        try:
            if len(together) > 1:
                padded, lengths = self._engine.encode_batch_padded(self._source([texts[i] for i in together]), pad_id=0)
                ids = {i: row[:length] for i, row, length in zip(together, padded, lengths, strict=True)}
            return [ids[i] if i in ids else self._engine.encode(text) for i, text in enumerate(texts)]
        except BaseException as error:
            raise EngineFailed(_expected(error)) from None

    def _cut(self, ids: np.ndarray, rows: int) -> Ragged | None:
        """The ids of `rows` texts, or None if there are not as many."""
        values, offsets = np.empty(len(ids), self._dtype), np.zeros(rows + 1, np.int64)
        size = _without(ids, self._separator_id, values, offsets)
        return None if size < 0 else Ragged(values[:size], offsets)

    def _bound_cache(self, text_bytes: int) -> None:
        self._text_bytes += text_bytes
        if self._text_bytes < CHECK_BYTES:
            return
        self._text_bytes = 0
        if resident_bytes() - self._resident > CACHE_BYTES:
            try:
                self._load()
            except Unsupported as error:
                raise EngineFailed(f"it cannot be loaded again: {error}") from None


@leaf
def _without(ids, separator, values, offsets):
    """Copy ids but the separators, where rows end; how many, or -1 if there are not as many rows as in `offsets`."""
    size, row, last = 0, 1, len(offsets) - 1
    for i in range(len(ids)):
        if ids[i] != separator:
            values[size] = ids[i]
            size += 1
        elif row >= last:
            return -1
        else:
            offsets[row] = size
            row += 1
    offsets[last] = size
    return size if row == last else -1


def _expected(error: BaseException) -> str:
    """What an engine in Rust raised, for a message; what does not come from it is raised again."""
    panicked = type(error).__name__ == "PanicException"  # derives from BaseException, and has no name to import
    if isinstance(error, MemoryError) or not (panicked or isinstance(error, Exception)):
        raise error
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _groups(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """The rows in order, at least one and at least `size` bytes a group but for the last."""
    group: list[Row] = []
    length = 0
    for row in rows:
        group.append(row)
        length += len(row)
        if length >= size:
            yield group
            group, length = [], 0
    if group:
        yield group


def resident_bytes() -> int:
    """Memory of this process; where the kernel does not tell, the most that it ever had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
