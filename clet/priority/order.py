"""The stream of a prioritisation: records in, those worth learning out, best first, within a budget.

    score = quality * (FLOOR + (1 - FLOOR) * recency)

A record that breaks a rule of quality is dropped with the rule's name as its reason; the others pass the window
(`clet.priority.window`). What passes has `"priority": {"score", "quality", "recency", "rank"}`, where `rank` counts
what left before it; what was dropped has the same without a rank, or `{"rule", "value"}` with the value that broke it.

The result depends on the sequence of records alone: output batches are cut at fixed sizes, whatever arrived together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from clet.batch import Batch
from clet.priority.quality import QualityTables
from clet.priority.recency import Clock, recency
from clet.priority.share import CHARS_PER_TOKEN, Account
from clet.priority.window import MAX_BYTES, MAX_RECORDS, Held, Window
from clet.stage import Reject
from clet.streams import BATCH_BYTES, BATCH_RECORDS

FLOOR = 0.25  # what recency cannot take: an old document of full quality equals a fresh one of a quarter

Explain = Callable[[str, str | None, dict[str, Any]], None]  # (id, reason or None if kept, the note)


def prioritize(
    batches: Iterable[Batch],
    *,
    account: Account,
    clock: Clock,
    half_life_days: float,
    reject: Reject,
    explain: Explain = lambda *_: None,
    daily: bool = False,
    max_records: int = MAX_RECORDS,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Batch]:
    """Batches in order of priority. `daily` makes the account one of the clock's day instead of the run."""

    def drop(held: Held, reason: str) -> None:
        batch, held.batch = held.batch, None
        explain(held.ident, reason, held.note)
        reject(batch.annotate("priority", [held.note]), 0, reason)

    window = Window(account, drop, max_records=max_records, max_bytes=max_bytes)
    out = _Outgoing(explain)
    tables = QualityTables.of()
    for batch in batches:
        verdicts = tables.judge(batch)
        for row in range(len(batch)):
            record = batch.fields(row)
            quality, rule = round(float(verdicts.score[row]), 4), verdicts.reason(row)
            clock.see(record)
            if daily:
                if account.ends_before(clock.day):
                    for leaving in window.settle():
                        yield from out.add(leaving)
                account.turn(clock.day)
            if rule is not None:
                note: dict[str, Any] = {"rule": rule, "value": round(float(verdicts.value[row]), 4)}
                explain(record["id"], rule, note)
                reject(batch.take([row]).annotate("priority", [note]), 0, rule)
                continue
            fresh = recency(record, clock.now, half_life_days)
            score = quality * (FLOOR + (1 - FLOOR) * fresh)
            note = {"score": round(score, 4), "quality": quality, "recency": round(fresh, 4)}
            single = batch.take([row])
            held = Held(single, record["id"], record.get("origin") or "", _tokens(single), note["score"], note)
            for leaving in window.push(held):
                yield from out.add(leaving)
    for leaving in window.drain():
        yield from out.add(leaving)
    yield from out.flush()


def _tokens(single: Batch) -> int:
    return single.num_tokens if single.tok is not None else -(-single.num_bytes // CHARS_PER_TOKEN)


class _Outgoing:
    """Records that leave, gathered into batches of a fixed size."""

    def __init__(self, explain: Explain):
        self._explain = explain
        self._batches: list[Batch] = []
        self._notes: list[dict[str, Any]] = []
        self._bytes = 0
        self._rank = 0

    def add(self, held: Held) -> Iterator[Batch]:
        """Number a record; yields a batch when there is enough for one."""
        batch, held.batch = held.batch, None
        if self._batches and not self._batches[0].joins(batch):
            yield from self.flush()
        self._rank += 1
        note = held.note | {"rank": self._rank}
        self._explain(held.ident, None, note)
        self._batches.append(batch)
        self._notes.append(note)
        self._bytes += held.size
        if len(self._batches) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yields what was gathered."""
        if self._batches:
            batch = Batch.concat(self._batches).annotate("priority", self._notes)
            self._batches, self._notes, self._bytes = [], [], 0
            yield batch
