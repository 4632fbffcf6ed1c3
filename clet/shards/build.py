"""Records in, shards out: each document to its lane, packed, its metadata kept in the shard's table.

The lane is the record's `priority.lane` (a word that can name a folder), `main` without one. A lane's shard is sealed
once it holds `shard_tokens` tokens, at the end of a document and with nothing left waiting, so that every document
lies whole in one shard. Shards are those of the sequence of records alone, however these arrived.

Memory: for each lane that occurs one frame, the packer's buffer and the heads of one shard's documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from clet.batch import Batch, Ragged
from clet.exits import InputError
from clet.record import format_time, parse_time
from clet.shards.directory import ShardDirectory
from clet.shards.format import ShardParams, ShardWriter
from clet.shards.manifest import LANE
from clet.shards.pack import PackCounts, Packer

DEFAULT_LANE = "main"
MAX_LANES = 64  # each holds buffers, and records from outside name them

NO_TOKENS, EMPTY, BAD_LANE = "no-tokens", "empty", "bad-lane"  # why a record is rejected

Reject = Callable[[Batch, int, str], None]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """How to shard. `fingerprint`, `eos_id` and `vocab_size` are the tokenizer's; None where it is not known, and
    then the first record with tokens decides the fingerprint, no end-of-document token is added and ids are unchecked.
    """

    seq_len: int = 512
    shard_tokens: int = 16 << 20
    fingerprint: str | None = None
    eos_id: int | None = None
    vocab_size: int | None = None
    level: int | None = None


def build_shards(batches: Iterable[Batch], directory: ShardDirectory, plan: ShardPlan, reject: Reject) -> PackCounts:
    """Write all documents of `batches` as sealed shards of `directory`, to be committed by the caller.

    Raises InputError for tokens of another tokenizer or ids outside its vocabulary, UsageError where the directory
    holds other shards, WriteError.
    """
    builder = _Builder(directory, plan, reject)
    for batch in batches:
        builder.add(batch)
    return builder.finish()


@dataclass
class _OpenShard:
    """A shard of one lane while documents join it."""

    writer: ShardWriter
    packer: Packer
    heads: list[bytes] = field(default_factory=list)
    newest: str | None = None


class _Builder:
    def __init__(self, directory: ShardDirectory, plan: ShardPlan, reject: Reject):
        self._directory, self._plan, self._reject = directory, plan, reject
        self._fingerprint = plan.fingerprint
        self._dtype: np.dtype | None = None
        self._shards: dict[str, _OpenShard] = {}
        self._lanes: set[str] = set()
        self._counts = PackCounts()

    def add(self, batch: Batch) -> None:
        if batch.tok is None:
            for row in range(len(batch)):
                self._reject(batch, row, NO_TOKENS)
            return
        self._check(batch)
        extra = self._plan.eos_id is not None
        sizes = batch.tok.lengths + extra
        heads = batch.annotate("shard", [{"tokens": int(size)} for size in sizes]).head
        for row in range(len(batch)):
            fields = batch.fields(row)
            lane = _lane(fields)
            if sizes[row] == extra:
                self._reject(batch, row, EMPTY)
            elif lane is None or (lane not in self._lanes and len(self._lanes) >= MAX_LANES):
                self._reject(batch, row, BAD_LANE)
            else:
                ids = batch.tok[row]
                if extra:
                    ids = np.append(ids, ids.dtype.type(self._plan.eos_id))
                self._add(lane, ids, heads.bytes_at(row), fields.get("published"))

    def _check(self, batch: Batch) -> None:
        if self._dtype is None:
            self._fingerprint = self._fingerprint or batch.fingerprint
            self._dtype = batch.tok.values.dtype
            self._directory.check(self._fingerprint, self._plan.seq_len)
        if batch.fingerprint != self._fingerprint:
            whose = "--tokenizer is" if self._plan.fingerprint else "those before are of"
            raise InputError(
                f"record {batch.fields(0)['id']}: tokens of tokenizer {batch.fingerprint}, {whose} "
                f"{self._fingerprint}; tokenise all records with one tokenizer"
            )
        if batch.tok.values.dtype != self._dtype:
            raise InputError(f"record {batch.fields(0)['id']}: ids of {batch.tok.values.dtype} after {self._dtype}")
        if self._plan.eos_id is not None and self._plan.eos_id > np.iinfo(self._dtype).max:
            raise InputError(f"record {batch.fields(0)['id']}: ids of {self._dtype} are not those of --tokenizer")
        limit = self._plan.vocab_size
        if limit is not None and batch.num_tokens and int(batch.tok.values.max()) >= limit:
            at = int(np.argmax(batch.tok.values >= limit))
            row = int(np.searchsorted(batch.tok.offsets, at, side="right")) - 1
            raise InputError(
                f"record {batch.fields(row)['id']}: id {batch.tok.values[at]} is outside the vocabulary of {limit}; "
                "its tokens are not this tokenizer's"
            )

    def _add(self, lane: str, ids: np.ndarray, head: bytes, published: str | None) -> None:
        shard = self._shards.get(lane)
        if shard is None:
            plan = self._plan
            params = ShardParams(
                plan.seq_len, self._dtype, self._fingerprint, lane, plan.eos_id, plan.vocab_size, plan.level
            )
            shard = _OpenShard(self._directory.new_shard(params), Packer(plan.seq_len))
            self._shards[lane] = shard
            self._lanes.add(lane)
        shard.heads.append(head)
        shard.newest = max(filter(None, (shard.newest, _moment(published))), default=None)
        for window in shard.packer.add(len(shard.heads) - 1, ids):
            shard.writer.add(window)
        if shard.packer.counts.tokens >= self._plan.shard_tokens:
            self._seal(lane)

    def _seal(self, lane: str) -> None:
        shard = self._shards.pop(lane)
        for window in shard.packer.drain():
            shard.writer.add(window)
        self._directory.add(shard.writer, shard.writer.seal(_table(shard.heads), shard.newest))
        self._counts += shard.packer.counts

    def finish(self) -> PackCounts:
        for lane in list(self._shards):
            self._seal(lane)
        return self._counts


def _lane(fields: dict) -> str | None:
    """The lane a record asks for; None where it cannot be a folder's name."""
    priority = fields.get("priority")
    lane = priority.get("lane") if isinstance(priority, dict) else None
    if lane is None:
        return DEFAULT_LANE
    return lane if isinstance(lane, str) and LANE.match(lane) else None


def _moment(published: str | None) -> str | None:
    """A publication time in the one form whose texts sort as times do; None for what is no time."""
    try:
        return format_time(parse_time(published)) if published else None
    except ValueError:
        return None


def _table(heads: list[bytes]) -> Batch:
    none = Ragged(np.zeros(0, np.uint8), np.zeros(len(heads) + 1, np.int64))
    return Batch(Ragged.from_bytes(heads), none, np.zeros(len(heads), np.uint8))
