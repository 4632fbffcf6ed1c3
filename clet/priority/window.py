"""The priority window: best first, in bounded memory, within a budget and shares, and nobody waits for ever.

Records wait in a window of at most `max_records` records and `max_bytes` bytes; while it is full the best one leaves.
The key of a record is fixed when it enters,

    key = score - AGING * (windowfuls that arrived before it),

so that time spent waiting counts as a higher score for all at the same rate: after 1 / AGING further windowfuls even a
score of 0 is ahead of any newcomer's 1. A windowful is max_records records or max_bytes bytes. Ties go to the earlier
record, then to the lesser id.

Shares: a record whose origin has used up its allowance (`clet.priority.share`) steps aside until the allowance grows;
those that never got their turn come last, if the budget has room. Without a budget, a share therefore orders and
drops nothing. With a budget and a full window, something has to go for good: the worst record of the origin that
holds most above its allowance (`share`), else, where more waits than the budget can take, the worst record of all
(`budget`); only then the best one leaves. So where the window is large enough to hold the budget, what leaves is the
best of the whole stream, not the first of it; when the day of a daily budget ends, it is spent on what waits. A record
that does not fit the rest of a budget is dropped (`budget`).

Memory: the records held, and about 1 KB each. Time: O(log n) a record, and O(1 / share) for those that step aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clet.batch import Batch
from clet.priority.heap import LazyHeap
from clet.priority.share import Account

AGING = 0.25  # a score of 0 waits for at most 4 windowfuls behind scores of 1
MAX_RECORDS = 10_000
MAX_BYTES = 256 << 20
_OVERHEAD_BYTES = 1024  # of the arrays and objects around one record

Drop = Callable[["Held", str], None]


@dataclass(eq=False, slots=True)
class Held:
    """A record in the window. `batch` has it as its only row; it is None once the record has left."""

    batch: Batch | None
    ident: str
    origin: str
    tokens: int
    score: float
    note: dict[str, Any]
    size: int = 0
    alive: bool = True


class Window:
    """A window that is fed by `push`, which yields what leaves meanwhile, and emptied by `drain`.

    `drop(held, reason)` is called for what leaves without being emitted.
    """

    def __init__(self, account: Account, drop: Drop, *, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES):
        self.account = account
        self._drop = drop
        self._max_records, self._max_bytes = max_records, max_bytes
        self._arrived = self._arrived_bytes = 0
        self._count = self._bytes = 0
        self._tokens: Counter[str] = Counter()  # held, by origin
        self._waiting = 0  # held tokens
        self._best = LazyHeap()
        self._aside: dict[str, LazyHeap] = {}  # origins above their allowance
        self._worst = LazyHeap()  # the last two are kept only under a budget
        self._worst_of: dict[str, LazyHeap] = {}

    def __len__(self) -> int:
        return self._count

    def push(self, held: Held) -> Iterator[Held]:
        """Take a record in; yields those that had to leave for it, best first."""
        self._add(held)
        while self._count > self._max_records or (self._bytes > self._max_bytes and self._count > 1):
            if self.account.budget is None or not self._evict():
                yield from self._emit_best()

    def settle(self) -> Iterator[Held]:
        """Yields, best first, what fits the rest of a budget that is about to lapse; the others go on waiting."""
        while self._count and self.account.budget is not None:
            held, within = self._next()
            if not within or not self.account.fits(held.tokens):
                return
            yield from self._emit_best()

    def drain(self) -> Iterator[Held]:
        """Yields all that is left, best first, then those above their share; drops what the budget cannot take."""
        while self._count:
            yield from self._emit_best()

    def _add(self, held: Held) -> None:
        body = held.batch
        held.size = _OVERHEAD_BYTES + len(body.head.values) + body.num_bytes
        held.size += body.tok.values.nbytes if body.tok is not None else 0
        windowfuls = max(self._arrived / self._max_records, self._arrived_bytes / self._max_bytes)
        rank = AGING * windowfuls - held.score
        key = (rank, self._arrived, held.ident)
        self._arrived += 1
        self._arrived_bytes += held.size
        self._count += 1
        self._bytes += held.size
        self._tokens[held.origin] += held.tokens
        self._waiting += held.tokens
        aside = self._aside.get(held.origin)
        (self._best if aside is None else aside).push(key, held)
        if self.account.budget is not None:
            reverse = (-rank, -self._arrived, held.ident)
            self._worst.push(reverse, held)
            self._worst_of.setdefault(held.origin, LazyHeap()).push(reverse, held)

    def _remove(self, held: Held) -> Held:
        held.alive = False
        self._count -= 1
        self._bytes -= held.size
        self._waiting -= held.tokens
        self._tokens[held.origin] -= held.tokens
        if not self._tokens[held.origin]:
            del self._tokens[held.origin]
            if self._worst_of.get(held.origin) and self._worst_of[held.origin].peek() is None:
                del self._worst_of[held.origin]
        return held

    # ---- under a budget

    def _evict(self) -> bool:
        """Drop one record that the budget or its origin's share cannot take, if there is one."""
        excess = {origin: held - self.account.allowance(origin, 0) for origin, held in self._tokens.items()}
        loudest = max(excess, key=lambda origin: (excess[origin], origin), default="")
        if excess.get(loudest, 0) > 0:
            self._drop(self._remove(self._worst_of[loudest].pop()), "share")
        elif self._waiting > self.account.remaining:
            self._drop(self._remove(self._worst.pop()), "budget")
        else:
            return False
        return True

    # ---- best first

    def _emit_best(self) -> Iterator[Held]:
        """Yields the record whose turn it is; nothing where it did not fit the budget."""
        held, within = self._next()
        self._remove(held)
        if not self.account.fits(held.tokens):
            self._drop(held, "budget" if within else "share")
            return
        self.account.emit(held.origin, held.tokens)
        yield held

    def _next(self) -> tuple[Held, bool]:
        """The best record whose origin is within its share, and True; else the best of all, and False."""
        self._aside = {origin: heap for origin, heap in self._aside.items() if heap.peek() is not None}
        tops = {origin: heap.peek() for origin, heap in self._aside.items()}
        ready = min(((key, origin) for origin, (key, held) in tops.items() if self._allowed(held)), default=None)
        while (found := self._best.peek()) is not None:
            key, held = found
            if ready is not None and ready[0] < key:
                break
            if held.origin not in self._aside and self._allowed(held):
                return held, True
            self._best.pop()
            self._aside.setdefault(held.origin, LazyHeap()).push(key, held)
        if ready is not None:
            return tops[ready[1]][1], True
        return min((heap.peek() for heap in self._aside.values()), key=lambda item: item[0])[1], False

    def _allowed(self, held: Held) -> bool:
        return held.tokens <= self.account.allowance(held.origin, self._waiting)
