"""The priority window: best first, in bounded memory, within budgets and shares, and nobody waits for ever.

Records wait in a window of at most `max_records` records and `max_bytes` bytes. When it is full, half of it leaves:
all that wait are sorted once and the best go, so that a record costs a share of a sort and of a copy, and no object of
its own. The key of a record is fixed when it enters,

    key = score - AGING * (windowfuls that arrived before it),

so that time spent waiting counts as a higher score for all at the same rate: after 1 / AGING further windowfuls even a
score of 0 is ahead of any newcomer's 1. A windowful is max_records records or max_bytes bytes. Ties go to the earlier
record. What becomes known while a record waits still counts: a correction of what it says, a burst it belongs to.

Shares (`clet.priority.share`): a record whose origin has used up its allowance steps aside until the allowance grows;
those that never got their turn come last, if the budget has room. Where nobody else can use the rest, or nobody else
waits, nobody steps aside. Without a budget, a share therefore orders and drops nothing. With a budget and a full
window, something has to go for good: the worst records of origins that hold more than their allowance (`share`), then,
where more waits than the budget can take, the worst of all (`budget`); only then the best leave. So where the window is
large enough to hold the budget, what leaves is the best of the whole stream, not the first of it; when the day of a
daily budget ends, it is spent on what waits, as at the end of a run. A record that does not fit the rest of a budget is
dropped (`budget`). The share of a topic (`clet.priority.flood`) is a limit: what is above it is dropped (`flood`) when
the window needs the room or ends. The poison budget (`clet.priority.poison_budget`) is asked last, when a record is
about to leave, and what it refuses goes at once.

Memory: the records held, 200 bytes each, and once more what leaves together. Time: O(log n) a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from clet.batch import Batch
from clet.priority.assess import Memory
from clet.priority.choice import EMIT, REASONS, STAY, Rules, choose, rescore
from clet.priority.correction import Corrections
from clet.priority.gather import gather
from clet.priority.lookalike import KEYS
from clet.priority.poison_budget import Ledger
from clet.priority.share import Account

AGING = 0.25  # a score of 0 waits for at most 4 windowfuls behind scores of 1
MAX_RECORDS = 10_000
MAX_BYTES = 256 << 20
_OVERHEAD_BYTES = 256  # of the columns around one record

HELD = np.dtype(
    [
        ("score", "f8"),
        ("key", "f8"),
        ("rank", "f8"),
        ("arrival", "i8"),
        ("tokens", "i8"),
        ("size", "i8"),
        ("topic", "i8"),
        ("phrase", "i8"),
        ("family", "u8"),
        ("url", "u8"),
        ("title", "u8"),
        ("number", "i8"),
        ("keys", "u8", (KEYS,)),
        ("origin", "i4"),
        ("tag", "u4"),
        ("chunk", "i4"),
        ("row", "i4"),
        ("quality", "f4"),
        ("credibility", "f4"),
        ("novelty", "f4"),
        ("recency", "f4"),
        ("bits", "f4"),
        ("factor", "f4"),
        ("correction", "u1"),
        ("corrected", "u1"),
        ("claimed", "u1"),
        ("approved", "u1"),
        ("aside", "u1"),
        ("undated", "u1"),
        ("signs", "u1"),
        ("aged", "f4"),
        ("classifier", "f4"),
        ("synthetic", "f4"),
        ("mixture", "f4"),
        ("ease", "f4"),
    ]
)


def sizes_of(batch: Batch) -> np.ndarray:
    """Bytes that each record of a batch takes while it waits `[n]`."""
    sizes = _OVERHEAD_BYTES + batch.head.lengths + batch.text.lengths
    return sizes if batch.tok is None else sizes + batch.tok.lengths * batch.tok.values.itemsize


Choice = tuple[np.ndarray, np.ndarray, np.ndarray]
Leave = Callable[[Batch, np.ndarray, str], None]  # (records, their rows of HELD, reason): dropped
Unseen = Callable[[str, np.ndarray], bool]  # (reason, rows of HELD): whether it is enough that they are counted


@dataclass
class Departure:
    """Records that leave together, in order of rank: a batch and its rows of HELD."""

    batch: Batch
    held: np.ndarray


@dataclass
class Window:
    """A window that is fed by `push`, which yields what leaves meanwhile, and emptied by `drain`."""

    account: Account
    drop: Leave
    counted: Unseen
    memory: Memory
    ledger: Ledger
    rules: Rules
    flow: np.ndarray
    corrections: Corrections
    max_records: int = MAX_RECORDS
    max_bytes: int = MAX_BYTES
    _chunks: list[Batch] = field(default_factory=list)
    _held: list[np.ndarray] = field(default_factory=list)
    _count: int = 0
    _bytes: int = 0
    _arrived: int = 0
    _arrived_bytes: int = 0

    def __len__(self) -> int:
        return self._count

    def room(self, sizes: np.ndarray) -> int:
        """How many of the records to come, of these sizes `[n]`, it takes until some have to leave; at least one.

        The one too many counts: it is taken in before half of all leave, so that the best of them can be the newest.
        """
        fit = int(np.searchsorted(np.cumsum(sizes), self.max_bytes - self._bytes, side="right")) + 1
        return max(1, min(self.max_records + 1 - self._count, fit))

    def push(self, batch: Batch, held: np.ndarray) -> Iterator[Departure]:
        """Take records in, not more than there is room for; yields what had to leave for them."""
        sizes = held["size"]
        held["arrival"] = self._arrived + np.arange(len(held))
        before = self._arrived_bytes + np.concatenate(([0], np.cumsum(sizes)[:-1]))
        held["rank"] = AGING * np.maximum(held["arrival"] / self.max_records, before / self.max_bytes)
        self._arrived += len(held)
        self._arrived_bytes += int(sizes.sum())
        self._add(batch, held)
        if self._count > self.max_records or (self._bytes > self.max_bytes and self._count > 1):
            yield from self._relieve()

    def _add(self, batch: Batch, part: np.ndarray) -> None:
        part["chunk"], part["row"] = len(self._chunks), np.arange(len(part))
        self._chunks.append(batch)
        self._held.append(part)
        self._count += len(part)
        self._bytes += int(part["size"].sum())

    def settle(self) -> Iterator[Departure]:
        """Yields, best first, what fits the rest of a budget that is about to lapse, and all that was within shares
        before the others; what does not fit goes on waiting."""
        if self._count and self.account.budget is not None:
            yield from self._leave(*self._choose(self._count, self._bytes, lapses=True))

    def drain(self) -> Iterator[Departure]:
        """Yields all that is left, best first, then those above their share; drops what may not leave."""
        if self._count:
            yield from self._leave(*self._choose(self._count, self._bytes, final=True))

    def _relieve(self) -> Iterator[Departure]:
        records = self._count - self.max_records // 2
        size = self._bytes - self.max_bytes // 2 if self._bytes > self.max_bytes else 0
        yield from self._leave(*self._choose(records, size))

    def _choose(self, records: int, size: int, *, final: bool = False, lapses: bool = False) -> Choice:
        """What becomes of each held record, sorted best first: (rows, code of each, place of those that leave)."""
        held = np.concatenate(self._held)
        self.corrections.apply(held, self._chunks)
        rescore(self.memory, held)
        arrived = max(self._arrived / self.max_records, self._arrived_bytes / self.max_bytes)
        held["aged"] = AGING * arrived - held["rank"]
        held = held[np.lexsort((held["arrival"], -held["key"]))]
        account = self.account
        totals = np.array([account.total], np.int64)
        codes, places = choose(
            held,
            self.memory,
            self.ledger,
            self.flow,
            self.rules,
            account.taken,
            totals,
            account.limit,
            account.share,
            records,
            size,
            final,
            lapses,
        )
        account.spend(int(totals[0]))
        return held, codes, places

    def _leave(self, held: np.ndarray, codes: np.ndarray, places: np.ndarray) -> Iterator[Departure]:
        chunks = self._chunks
        stay = held[codes == STAY]
        for code in np.unique(codes[(codes != STAY) & (codes != EMIT)]).tolist():
            gone = held[codes == code]
            if not self.counted(REASONS[code], gone):
                for part in gather(chunks, gone):
                    self.drop(part.batch, part.held, REASONS[code])
        emitted = np.flatnonzero(codes == EMIT)
        leaving = held[emitted[np.argsort(places[emitted])]]
        # What stays is copied together, so that no batch is kept for the sake of one record.
        stay = np.sort(stay, order="arrival")
        self._chunks, self._held, self._count, self._bytes = [], [], 0, 0
        for part in gather(chunks, stay):
            self._add(part.batch, part.held)
        for part in gather(chunks, leaving):
            yield Departure(part.batch, part.held)
