"""Records in, shards out: each document to its lane, packed, its metadata kept in the shard's table.

The lane is the record's `priority.lane` (a word that can name a folder), `main` without one. A lane's shard is sealed
once it holds `shard_tokens` tokens or `MAX_TABLE_BYTES` of metadata, at the end of a document and with nothing left
waiting, so that every document lies whole in one shard; the largest table is sealed where all together have
`MAX_TABLES_BYTES`. Shards are those of the sequence of records alone, however these arrived.

Memory: for each lane that occurs one frame, the packer's buffer and the heads of one shard's documents, in all at most
`MAX_TABLES_BYTES` and `MAX_LANES` times 20 MB. Time: about 3 us a record, in which parsing its head is most, and 1 ns
a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from clet.batch import Batch
from clet.exits import InputError
from clet.record import format_time, parse_time
from clet.shards.directory import ShardDirectory
from clet.shards.format import ShardParams, ShardWriter, Table
from clet.shards.manifest import LANE
from clet.shards.mask import Spans, spans_of
from clet.shards.pack import PackCounts, Packer

DEFAULT_LANE = "main"
MAX_LANES = 64  # each holds buffers, and records from outside name them
MAX_TABLE_BYTES = 64 << 20  # of heads in one shard: a million documents of ten tokens, say
MAX_TABLES_BYTES = 256 << 20

NO_TOKENS, EMPTY, BAD_LANE, BAD_SPANS = "no-tokens", "empty", "bad-lane", "bad-spans"  # why a record is rejected

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
    builder = ShardBuilder(directory, plan, reject)
    for batch in batches:
        builder.add(batch)
    builder.seal_all()
    return builder.counts


@dataclass
class _OpenShard:
    """A shard of one lane while documents join it."""

    writer: ShardWriter
    packer: Packer
    tokens: int = 0
    heads: list[bytes] = field(default_factory=list)
    head_bytes: int = 0
    ids: list[bytes] = field(default_factory=list)
    newest: str | None = None
    fetched: str | None = None
    rows: list[int] = field(default_factory=list)  # of the present batch, not yet packed


class ShardBuilder:
    """Shards what it is given; `seal_all` ends the shards that are open. See `build_shards` for what is raised."""

    def __init__(self, directory: ShardDirectory, plan: ShardPlan, reject: Reject):
        self._directory, self._plan, self._reject = directory, plan, reject
        self._fingerprint = plan.fingerprint
        self._dtype: np.dtype | None = None
        self._shards: dict[str, _OpenShard] = {}
        self._lanes: set[str] = set()
        self._head_bytes = 0
        self.counts = PackCounts()  # of what is sealed

    @property
    def has_open(self) -> bool:
        """Whether documents wait in shards that are not sealed."""
        return bool(self._shards)

    def add(self, batch: Batch) -> None:
        """Take in all records of a batch."""
        if batch.tok is None:
            for row in range(len(batch)):
                self._reject(batch, row, NO_TOKENS)
            return
        self._check(batch)
        extra = self._plan.eos_id is not None
        sizes = batch.tok.lengths.tolist()
        heads, ends = batch.head.values.tobytes(), batch.head.offsets.tolist()
        for row, size in enumerate(sizes):
            head = heads[ends[row] : ends[row + 1]]
            fields = orjson.loads(head)
            if (shard := self._accept(batch, row, fields, size, size + extra)) is None:
                continue
            if "shard" in fields:  # of an earlier life of this record
                del fields["shard"]
                head = orjson.dumps(fields)
            head = b'%b,"shard":{"tokens":%d}}' % (head[:-1], size + extra)
            shard.heads.append(head)
            shard.ids.append(bytes.fromhex(fields["id"]))
            shard.newest = _later(shard.newest, fields.get("published"))
            shard.fetched = _later(shard.fetched, fields.get("fetched"))
            shard.rows.append(row)
            shard.tokens += size + extra
            shard.head_bytes += len(head)
            self._head_bytes += len(head)
            if shard.tokens >= self._plan.shard_tokens or shard.head_bytes >= MAX_TABLE_BYTES:
                self._pack(shard, batch)
                self._seal(shard.writer.params.lane)
            elif self._head_bytes >= MAX_TABLES_BYTES:
                lane = max(self._shards, key=lambda name: (self._shards[name].head_bytes, name))
                self._pack(self._shards[lane], batch)
                self._seal(lane)
        for shard in self._shards.values():
            self._pack(shard, batch)

    def seal_all(self) -> None:
        """Seal what is open."""
        for lane in list(self._shards):
            self._seal(lane)

    def _accept(self, batch: Batch, row: int, fields: dict[str, Any], size: int, length: int) -> _OpenShard | None:
        """The shard that a record joins, or None where it is rejected. Its masked spans are noted there."""
        lane = _lane(fields)
        if not size:
            self._reject(batch, row, EMPTY)
        elif lane is None or (lane not in self._lanes and len(self._lanes) >= MAX_LANES):
            self._reject(batch, row, BAD_LANE)
        elif (spans := _spans(fields, size)) is None:
            self._reject(batch, row, BAD_SPANS)
        else:
            shard = self._shards.get(lane) or self._open(lane)
            if spans:
                shard.writer.mask(len(shard.heads), spans)
            return shard
        return None

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

    def _open(self, lane: str) -> _OpenShard:
        plan = self._plan
        params = ShardParams(
            plan.seq_len, self._dtype, self._fingerprint, lane, plan.eos_id, plan.vocab_size, plan.level
        )
        writer = self._directory.new_shard(params)
        shard = self._shards[lane] = _OpenShard(writer, Packer(writer.room, writer.flush, plan.eos_id))
        self._lanes.add(lane)
        return shard

    def _pack(self, shard: _OpenShard, batch: Batch) -> None:
        """Pack the rows of the batch that were accepted: the batch is gone after it."""
        if shard.rows:
            rows = np.asarray(shard.rows, np.int64)
            starts = batch.tok.offsets[rows]
            shard.packer.add(batch.tok.values, starts, batch.tok.offsets[rows + 1] - starts)
            shard.rows.clear()

    def _seal(self, lane: str) -> None:
        shard = self._shards.pop(lane)
        self._head_bytes -= shard.head_bytes
        shard.packer.drain()
        counts = shard.packer.counts
        self._directory.seal(shard.writer, Table(shard.heads, shard.ids, shard.newest, shard.fetched))
        self.counts += counts


def _lane(fields: dict[str, Any]) -> str | None:
    """The lane a record asks for; None where it cannot be a folder's name."""
    priority = fields.get("priority")
    lane = priority.get("lane") if isinstance(priority, dict) else None
    if lane is None:
        return DEFAULT_LANE
    return lane if isinstance(lane, str) and LANE.match(lane) else None


def _spans(fields: dict[str, Any], size: int) -> Spans | None:
    try:
        return spans_of(fields, size)
    except ValueError:
        return None


def _later(newest: str | None, text: str | None) -> str | None:
    """The later of two times, in the one form whose texts sort as times do; what is no time does not count."""
    if not text or (newest is not None and len(text) == 20 and text[10] + text[-1] == "TZ" and text <= newest):
        return newest  # most are in that form already, and parsing takes longer than all else
    try:
        moment = format_time(parse_time(text))
    except ValueError:
        return newest
    return moment if newest is None or moment > newest else newest
