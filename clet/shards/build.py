"""Records in, shards out: each document to its lane, packed, its metadata kept in the shard's table.

The lane is the record's `priority.lane` (a word that can name a folder), `main` without one. A lane's shard is sealed
once it holds `shard_tokens` tokens or `MAX_TABLE_BYTES` of metadata, at the end of a document and with nothing left
waiting, so that every document lies whole in one shard; the largest table is sealed where all together have
`MAX_TABLES_BYTES`. Shards are those of the sequence of records alone, however these arrived.

Memory: for each lane that occurs a frame and the packer's buffer (4 MB; 70 for the longest windows of wide ids), and
the tables of the open shards, compressed. Time: 2 us a record and 2 ns a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clet.batch import Batch
from clet.exits import InputError
from clet.heads import Heads
from clet.kernels import njit
from clet.shards.directory import ShardDirectory
from clet.shards.format import LANE, ShardParams
from clet.shards.mask import Spans, spans_of
from clet.shards.pack import PackCounts, Packer
from clet.shards.writer import ShardWriter

DEFAULT_LANE = "main"
FIELDS = ("id", "published", "fetched", "priority", "dedup", "policy")  # of heads, that matter here
MASKERS = ("dedup", "policy")  # whose `spans` are tokens that are not learned
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


@dataclass(frozen=True, slots=True)
class _OpenShard:
    """A shard of one lane while documents join it."""

    writer: ShardWriter
    packer: Packer


class ShardBuilder:
    """Shards what it is given; `seal_all` ends the shards that are open. See `build_shards` for what is raised."""

    def __init__(self, directory: ShardDirectory, plan: ShardPlan, reject: Reject):
        self._directory, self._plan, self._reject = directory, plan, reject
        self._fingerprint = plan.fingerprint
        self._dtype: np.dtype | None = None
        self._lanes: dict[str, int] = {}  # numbers, in order of appearance
        self._shards: dict[int, _OpenShard] = {}  # by number of the lane
        self._tokens = np.zeros(MAX_LANES, np.int64)  # of the open shards
        self._head_bytes = np.zeros(MAX_LANES, np.int64)
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
        heads = Heads.of(batch.head, FIELDS)
        lengths = batch.tok.lengths + (self._plan.eos_id is not None)
        lanes, spans = self._assign(batch, heads)
        limits = (self._plan.shard_tokens, MAX_TABLE_BYTES, MAX_TABLES_BYTES)
        begin = 0
        while begin < len(batch):
            end, full = next_full(lanes, lengths, batch.head.lengths, begin, self._tokens, self._head_bytes, *limits)
            rows = np.arange(begin, end)
            for number in np.unique(lanes[begin:end]).tolist():
                if number >= 0:
                    self._pack(number, batch, heads, rows[lanes[begin:end] == number], lengths, spans)
            if full >= 0:
                self._seal(full)
            begin = end

    def seal_all(self) -> None:
        """Seal what is open."""
        for number in sorted(self._shards):
            self._seal(number)

    def _assign(self, batch: Batch, heads: Heads) -> tuple[np.ndarray, dict[int, Spans]]:
        """The number of each record's lane `[n]`, -1 where it was rejected, and the masked spans of those with any."""
        sizes = batch.tok.lengths
        spans: dict[int, Spans] = {}
        why = dict.fromkeys(np.flatnonzero(sizes == 0).tolist(), EMPTY)
        asked = heads.inside("priority", ("lane",))
        names = {row: _lane(asked.value(row, "lane")) for row in np.flatnonzero(asked.has("lane")).tolist()}
        masked = [heads.inside(name, ("spans",)) for name in MASKERS]
        for row in np.flatnonzero(np.any([each.has("spans") for each in masked], axis=0) & (sizes > 0)).tolist():
            try:
                asked_for = [each.value(row, "spans") or [] for each in masked]
                if found := spans_of([span for part in asked_for for span in part], int(sizes[row])):
                    spans[row] = found
            except (ValueError, TypeError):
                why[row] = BAD_SPANS
        if names:
            lanes = np.asarray([self._number(names.get(row, DEFAULT_LANE), row in why) for row in range(len(batch))])
            why |= {row: BAD_LANE for row in np.flatnonzero(lanes < 0).tolist() if row not in why}
        else:
            number = self._number(DEFAULT_LANE, len(why) == len(batch))
            lanes = np.full(len(batch), number)
            why = (dict.fromkeys(range(len(batch)), BAD_LANE) if number < 0 else {}) | why
        for row in sorted(why):
            lanes[row] = -1
            self._reject(batch, row, why[row])
        return lanes, spans

    def _number(self, lane: str | None, unused: bool) -> int:
        """The number of a lane, a new one if it may be; -1 where it may not."""
        if lane is None or unused or (lane not in self._lanes and len(self._lanes) >= MAX_LANES):
            return -1
        return self._lanes.setdefault(lane, len(self._lanes))

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

    def _pack(
        self,
        number: int,
        batch: Batch,
        heads: Heads,
        rows: np.ndarray,
        lengths: np.ndarray,
        spans: dict[int, Spans],
    ) -> None:
        """Put records of a batch into the open shard of their lane; nothing of the batch is kept."""
        shard = self._shards.get(number) or self._open(number)
        table, starts = shard.writer.table, batch.tok.offsets[rows]
        for row in rows.tolist() if spans else []:
            if row in spans:
                shard.writer.mask(table.num_documents + int(np.searchsorted(rows, row)), spans[row])
        table.add(batch.head.take(rows), lengths[rows], heads.ids[rows])
        table.newest = heads.latest(rows, "published", table.newest)
        table.fetched = heads.latest(rows, "fetched", table.fetched)
        shard.packer.add(batch.tok.values, starts, batch.tok.offsets[rows + 1] - starts)

    def _open(self, number: int) -> _OpenShard:
        plan, lane = self._plan, next(name for name, known in self._lanes.items() if known == number)
        params = ShardParams(
            plan.seq_len, self._dtype, self._fingerprint, lane, plan.eos_id, plan.vocab_size, plan.level
        )
        writer = self._directory.new_shard(params)
        shard = self._shards[number] = _OpenShard(writer, Packer(writer.room, writer.flush, plan.eos_id))
        return shard

    def _seal(self, number: int) -> None:
        shard = self._shards.pop(number)
        self._tokens[number] = self._head_bytes[number] = 0
        shard.packer.drain()
        self.counts += shard.packer.counts
        self._directory.seal(shard.writer)


@njit
def next_full(lanes, lengths, head_lengths, begin, tokens, head_bytes, most_tokens, most_bytes, most_bytes_in_all):
    """(row behind the first at which a shard is full, its lane's number), or (all rows, -1); counts up to there."""
    in_all = head_bytes.sum()
    for row in range(begin, len(lanes)):
        lane = lanes[row]
        if lane >= 0:
            tokens[lane] += lengths[row]
            head_bytes[lane] += head_lengths[row]
            in_all += head_lengths[row]
            if tokens[lane] >= most_tokens or head_bytes[lane] >= most_bytes:
                return row + 1, lane
            if in_all >= most_bytes_in_all:
                return row + 1, np.argmax(head_bytes)
    return len(lanes), -1


def _lane(lane: Any) -> str | None:
    """The lane that a record asks for; None where it cannot be a folder's name."""
    if lane is None:
        return DEFAULT_LANE
    return lane if isinstance(lane, str) and LANE.match(lane) else None
