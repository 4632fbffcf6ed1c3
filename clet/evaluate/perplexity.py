"""Perplexity on held-out text: how surprised a model is, a token (perplexity) and a byte (bits per byte).

Every document is scored alone: many are packed into one window, but none attends to another. One longer than the
window is cut into pieces that overlap by one token, so that every token but the document's first is predicted once,
from up to `seq_len - 1` tokens before it. Shards are scored in the windows that they have. Perplexities compare only
between models with one tokenizer; bits per byte compare between any (bytes of the tokens predicted).

Cost: a forward pass over the text; memory one batch of about `BATCH_TOKENS` tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clet.batch import Batch
from clet.container import HEADER_BYTES, MAGIC, Kind
from clet.exits import InputError, UsageError
from clet.model.decoder import Decoder, token_losses
from clet.shards.manifest import find_shards
from clet.shards.reader import ShardReader
from clet.streams import read_batches
from clet.tokens import Tokenizer

BATCH_TOKENS = 8192
DEFAULT_SEQ_LEN = 512


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that stand together: `ids` [n], the source they are counted under, the bytes of all but the first."""

    ids: np.ndarray
    source: str
    num_bytes: int
    starts_document: bool = True


@dataclass(slots=True)
class Score:
    """Sums over predicted tokens; `nll` in nats."""

    tokens: int = 0
    nll: float = 0.0
    num_bytes: int = 0
    documents: int = 0

    def add(self, other: Score) -> None:
        """Add the sums of another."""
        self.tokens += other.tokens
        self.nll += other.nll
        self.num_bytes += other.num_bytes
        self.documents += other.documents

    def to_json(self) -> dict[str, Any]:
        """Counts and means; a mean over nothing is None."""
        mean = self.nll / self.tokens if self.tokens else None
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "nll": mean,
            "perplexity": None if mean is None else math.exp(min(mean, 700.0)),
            "bits_per_byte": self.nll / math.log(2) / self.num_bytes if self.num_bytes else None,
        }


@dataclass(slots=True)
class Scores:
    """The score of everything, and by source."""

    total: Score = field(default_factory=Score)
    by_source: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))

    def to_json(self) -> dict[str, Any]:
        """The total's fields and `by_source`."""
        return self.total.to_json() | {"by_source": {n: s.to_json() for n, s in sorted(self.by_source.items())}}


def evaluate_files(
    model: Decoder, files: Sequence[str], tokenizer: Tokenizer, *, seq_len: int | None = None, limit: int | None = None
) -> Scores:
    """Score files of records, or shards (files or directories); at most `limit` documents in all.

    Records are scored by the tokens that they carry if those are of `tokenizer`, else their text is tokenised.
    Raises UsageError for a window that the model does not have or files that cannot be opened, InputError for shards
    or records of another tokenizer without text.
    """
    longest = model.config.max_positions
    seq_len = seq_len or min(DEFAULT_SEQ_LEN, longest)
    if not 2 <= seq_len <= longest:
        raise UsageError(f"--seq-len {seq_len}: the model has {longest} positions; choose 2 to {longest}")
    if tokenizer.vocab_size > model.config.vocab_size:
        raise InputError(
            f"{tokenizer.path}: {tokenizer.vocab_size} tokens; not the tokenizer of a model with "
            f"{model.config.vocab_size}"
        )
    pieces = _limited((piece for name in files or ["-"] for piece in pieces_of(name, tokenizer, seq_len)), limit)
    return score(model, pieces, seq_len)


def score(model: Decoder, pieces: Iterable[Piece], seq_len: int) -> Scores:
    """Score pieces of at most `seq_len` tokens each. The model is used as it is; put it into evaluation mode."""
    scores = Scores()
    device = model.head_weight.device
    for ids, segments, members in _packed(pieces, seq_len):
        with torch.inference_mode():
            nll, _ = token_losses(model, torch.from_numpy(ids).to(device), torch.from_numpy(segments).to(device))
        losses = nll.double().cpu().numpy()
        for row, start, piece in members:
            found = Score(
                tokens=len(piece.ids) - 1,
                nll=float(losses[row, start : start + len(piece.ids) - 1].sum()),
                num_bytes=piece.num_bytes,
                documents=int(piece.starts_document),
            )
            scores.total.add(found)
            scores.by_source[piece.source].add(found)
    return scores


def _packed(
    pieces: Iterable[Piece], seq_len: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[tuple[int, int, Piece]]]]:
    """(ids [B, L], segments [B, L], [(row, start, piece)]) with each piece a segment; filled in order of arrival."""
    rows = max(1, BATCH_TOKENS // seq_len)
    members: list[tuple[int, int, Piece]] = []
    row = at = 0
    for piece in pieces:
        if at + len(piece.ids) > seq_len:
            row, at = row + 1, 0
        if row == rows:
            yield *_arrays(members, rows, seq_len), members
            members, row = [], 0
        members.append((row, at, piece))
        at += len(piece.ids)
    if members:
        yield *_arrays(members, row + 1, seq_len), members


def _arrays(members: list[tuple[int, int, Piece]], rows: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.zeros((rows, seq_len), np.int64)
    # Padding is a segment of single positions: it predicts nothing.
    segments = -1 - np.broadcast_to(np.arange(seq_len, dtype=np.int32), (rows, seq_len)).copy()
    for number, (row, start, piece) in enumerate(members):
        ids[row, start : start + len(piece.ids)] = piece.ids
        segments[row, start : start + len(piece.ids)] = number
    return ids, segments


# ---- where pieces come from


def pieces_of(name: str, tokenizer: Tokenizer, seq_len: int) -> Iterator[Piece]:
    """The pieces of one input: a shard file, a directory of shards, or a file of records (`-` is stdin)."""
    if name != "-" and (Path(name).is_dir() or _is_shard(name)):
        for entry in find_shards([name]):
            yield from _shard_pieces(
                ShardReader.open(entry.path, fingerprint=tokenizer.fingerprint), tokenizer, seq_len
            )
    else:
        for batch in read_batches([name]):
            yield from _record_pieces(batch, tokenizer, seq_len)


def _is_shard(name: str) -> bool:
    try:
        with open(name, "rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return False  # read_batches says what is wrong
    return head[: len(MAGIC)] == MAGIC and len(head) > 5 and head[5] == Kind.SHARD_HEADER


def _record_pieces(batch: Batch, tokenizer: Tokenizer, seq_len: int) -> Iterator[Piece]:
    tok = batch.tok
    if tok is None or batch.fingerprint != tokenizer.fingerprint:
        if not batch.has_text.all():
            what = "no tokens" if tok is None else f"tokens of tokenizer {batch.fingerprint}"
            raise InputError(f"records with {what} and without text; ingest them with {tokenizer.path}")
        tok = tokenizer.encode([batch.text_at(i) or "" for i in range(len(batch))])
    for i in range(len(batch)):
        yield from _cut(tok[i], str(batch.fields(i).get("source")), tokenizer, seq_len)


def _shard_pieces(reader: ShardReader, tokenizer: Tokenizer, seq_len: int) -> Iterator[Piece]:
    documents = reader.documents()
    seen: set[int] = set()
    for windows in reader.all_windows():
        for ids, segments, rows in zip(windows.ids, windows.segments, windows.documents, strict=True):
            ends = np.searchsorted(segments[segments >= 0], np.arange(len(rows)), side="right")
            for part, row in zip(np.split(ids, ends)[: len(rows)], rows.tolist(), strict=True):
                first = row not in seen
                seen.add(row)
                for piece in _cut(part, str(documents[row]["source"]), tokenizer, seq_len):
                    yield Piece(piece.ids, piece.source, piece.num_bytes, piece.starts_document and first)


def _cut(ids: np.ndarray, source: str, tokenizer: Tokenizer, seq_len: int) -> Iterator[Piece]:
    """Pieces that overlap by one token: each predicts what the one before did not."""
    if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
        raise InputError(f"id {int(ids.max())} is outside the tokenizer's {tokenizer.vocab_size} tokens; damaged input")
    for start in range(0, max(1, len(ids) - 1), seq_len - 1):
        part = ids[start : start + seq_len]
        if len(part) > 1:
            yield Piece(part, source, len(tokenizer.decode(part[1:]).encode()), start == 0)


def _limited(pieces: Iterable[Piece], limit: int | None) -> Iterator[Piece]:
    documents = 0
    for piece in pieces:
        documents += piece.starts_document
        if limit is not None and documents > limit:
            return
        yield piece
