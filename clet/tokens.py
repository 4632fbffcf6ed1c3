"""Text to token ids and back, with the tokenizer's fingerprint.

The reference is Hugging Face `tokenizers`, exact by definition since models are published with its `tokenizer.json`
(about 1 M tokens/s a core). Once there is enough text for it to pay, an exact fast engine (gigatoken, 20 to 120 M
tokens/s) takes its place, if it knows every part of that file and reproduces the reference on a sample when it is
loaded; otherwise the reference silently stays, and `-v` says why. Both give the same ids for every text.

Documents come from strangers, so text that spells a special token (`<|endoftext|>`) is encoded as ordinary text;
only clet itself places special ids.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from clet.batch import Ragged
from clet.exits import InputError, UsageError
from clet.log import log
from clet.tokenizing.reference import Reference

if TYPE_CHECKING:
    from clet.tokenizing.fast import FastEngine

MAX_TOKENIZER_BYTES = 256 << 20
# Characters or bytes of text in a process from which on the fast engine is worth loading: that takes 0.2 to 0.7 s.
FAST_FROM = 1 << 20
# Names under which published tokenizers keep their end-of-document token, most specific first.
_EOS_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_jobs = 1


class Identity(NamedTuple):
    """What tells a tokenizer's ids from others', known without loading an engine (0.2 s instead of 0.7)."""

    fingerprint: str
    vocab_size: int  # one more than the largest id
    eos_id: int | None

    @staticmethod
    def load(path: str | Path) -> Identity:
        """Of a `tokenizer.json` or a model directory, as `Tokenizer` has it. Raises UsageError or InputError."""
        return _identify(*_read(path))[0]


class Vocabulary(NamedTuple):
    """What a tokenizer's ids stand for, known without loading an engine: for who reads tokens and makes none."""

    fingerprint: str
    pieces: Ragged  # see `Tokenizer.token_bytes`

    @staticmethod
    def load(path: str | Path) -> Vocabulary:
        """Of a `tokenizer.json` or a model directory. Raises UsageError or InputError."""
        file, body, eos_name = _read(path)
        identity, spec = _identify(file, body, eos_name)
        return Vocabulary(identity.fingerprint, _pieces(file, spec, identity.vocab_size))

    def token_bytes(self) -> Ragged:
        """As `Tokenizer.token_bytes`."""
        return self.pieces


class Tokenizer:
    """A loaded `tokenizer.json`. Attributes: `fingerprint`, `vocab_size`, `eos_id` (None if unknown), `dtype`.

    It may be used by several threads. Without `fast` the reference encodes everything: for a server, which must not
    stand still while another engine is loaded.
    """

    def __init__(self, path: Path, body: bytes, eos_name: str | None, *, fast: bool = True):
        try:
            spec = orjson.loads(body)
            self._reference = Reference(body)
            self.vocab_size = _vocab_size(spec, self._reference)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a tokenizer.json: {error}") from None
        self.path = path
        self.fingerprint = fingerprint(spec)
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        ids = map(self._reference.id_of, [eos_name] if eos_name else _EOS_NAMES)
        self.eos_id: int | None = next((index for index in ids if index is not None), None)
        self._body = body  # parsed again where it is needed: as objects it takes ten times the memory
        self._spec = spec if fast else None  # until it is decided
        self._fast: FastEngine | None = None
        self._decided = not fast
        self._deciding = threading.Lock()
        self._seen = 0

    @staticmethod
    def load(path: str | Path, *, fast: bool = True) -> Tokenizer:
        """The tokenizer in a `tokenizer.json` or in a model directory. Raises UsageError or InputError."""
        file, body, eos_name = _read(path)
        return Tokenizer(file, body, eos_name, fast=fast)

    @property
    def engine(self) -> str:
        """The name of the engine that encodes at present."""
        return (self._fast or self._reference).name

    def choose_engine(self) -> str:
        """Load the fast engine now, if it may be used, and not only when there is text for it; the engine's name."""
        with self._deciding:
            if not self._decided:
                self._fast = self._load_fast()
                self._decided = True
        return self.engine

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Ids of each text, without special tokens. Raises UnicodeEncodeError for a lone surrogate."""
        fast = self._engine_for(sum(map(len, texts)))
        if fast is not None:
            ids = self._try(fast, [text.encode() for text in texts], trusted=True)
            if ids is not None:
                return ids
        return self._reference.encode(texts, self.dtype)

    def encode_ragged(self, text: Ragged, *, trusted: bool = False) -> Ragged:
        """Ids of each row of UTF-8 `text`, as a batch holds it. Raises UnicodeDecodeError for a row of other bytes.

        Rows that are `trusted` to be UTF-8 are not checked.
        """
        view = memoryview(np.ascontiguousarray(text.values))
        rows = [view[start:end] for start, end in pairwise(text.offsets.tolist())]
        fast = self._engine_for(len(text.values))
        if fast is not None:
            ids = self._try(fast, rows, trusted=trusted)
            if ids is not None:
                return ids
        return self._reference.encode([str(row, "utf-8") for row in rows], self.dtype)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of the ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return self._reference.decode(ids)

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name, special or not."""
        return self._reference.id_of(token)

    def token_bytes(self) -> Ragged:
        """The bytes that each id `[vocab_size]` stands for, those of special tokens empty (0.05 s; keep it).

        Joined over the ids of a text they are the UTF-8 of the text as it was normalised. Raises InputError for a
        vocabulary of words and parts of words, which have no bytes of their own.
        """
        return _pieces(self.path, orjson.loads(self._body), self.vocab_size)

    def _engine_for(self, size: int) -> FastEngine | None:
        """The fast engine, if it may be used and there was enough text for it."""
        if not self._decided:
            self._seen += size
            if self._seen >= FAST_FROM:
                self.choose_engine()
        return self._fast

    def _load_fast(self) -> FastEngine | None:
        from clet.tokenizing.fast import FastEngine
        from clet.tokenizing.selfcheck import check
        from clet.tokenizing.shapes import Unsupported

        started = time.monotonic()
        spec, self._spec = self._spec, None
        try:
            fast = FastEngine(spec, self._reference, self.vocab_size, self.dtype)
            check(fast, self._reference, spec, self.vocab_size)
        except Unsupported as reason:
            log.detail(f"{self.path}: encoded by {self._reference.name}; not by {FastEngine.name}: {reason}")
            return None
        seconds = time.monotonic() - started
        log.detail(f"{self.path}: encoded by {fast.name}, which was loaded and checked in {seconds:.2f} s")
        return fast

    def _try(self, fast: FastEngine, rows: Sequence[bytes | memoryview], *, trusted: bool) -> Ragged | None:
        """What the fast engine makes of the rows; None if it failed, after which it is not used again."""
        from clet.tokenizing.fast import EngineFailed

        try:
            return fast.encode(rows, trusted=trusted, jobs=_jobs)
        except EngineFailed as error:
            self._fast = None
            log.warn(f"{fast.name} failed and is no longer used, {self._reference.name} goes on: {error}")
            return None


def _read(path: str | Path) -> tuple[Path, bytes, str | None]:
    """(file, its content, the name of its end-of-document token if that is said) of a tokenizer."""
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
    return file, body, _eos_name(directory / "tokenizer_config.json")


def _identify(file: Path, body: bytes, eos_name: str | None) -> tuple[Identity, dict[str, Any]]:
    """The identity of a tokenizer that was read, and the file's content."""
    try:
        spec = orjson.loads(body)
        ids = _ids_of(spec)
        if ids is not None:
            found = map(ids.get, [eos_name] if eos_name else _EOS_NAMES)
            eos_id = next((index for index in found if index is not None), None)
            return Identity(fingerprint(spec), max(ids.values(), default=-1) + 1, eos_id), spec
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a tokenizer.json: {error}") from None
    loaded = Tokenizer(file, body, eos_name)
    return Identity(loaded.fingerprint, loaded.vocab_size, loaded.eos_id), spec


def _pieces(file: Path, spec: dict[str, Any], vocab_size: int) -> Ragged:
    from clet.tokenizing.token_bytes import token_bytes

    try:
        return token_bytes(spec, vocab_size)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None


def _ids_of(spec: dict[str, Any]) -> dict[str, int] | None:
    """Ids by token as the reference has them; None where only it can say."""
    vocab = spec["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {token: index for index, (token, _) in enumerate(vocab)}
    size, last = len(ids), -1
    for token in spec.get("added_tokens") or []:
        content = token["content"]
        if content not in ids:  # the next free one, whatever the file says
            ids[content] = max(size, last + 1)
        last = max(last, ids[content])
        if ids[content] != token["id"]:
            return None
    return ids


def _vocab_size(spec: dict[str, Any], reference: Reference) -> int:
    """One more than the largest id."""
    vocab = spec["model"]["vocab"]
    last = max(vocab.values(), default=-1) if isinstance(vocab, dict) else len(vocab) - 1
    added = (reference.id_of(token["content"]) for token in spec.get("added_tokens") or [])
    return max([last, *(index for index in added if index is not None)]) + 1


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
    """Threads for encoding; counts for what is loaded in this process afterwards."""
    global _jobs
    _jobs = jobs
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if jobs > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(jobs)  # both engines are written in Rust and take their threads from rayon
