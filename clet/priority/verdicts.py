"""What a person says of documents and origins, written into the state of `clet prioritize` while nobody else uses it.

A verdict moves the reputation of the record's origin at once, and is remembered by the record's id, so that the same
record is not counted twice, and so that the next run knows what to do with what it holds in quarantine. The last
MAX_RECENT records that passed are known by id with their origin; of older ones a verdict has to name the origin.
"""

from __future__ import annotations

from typing import Any

from clet.priority import remember
from clet.priority.credibility import (
    BAD,
    DOCS,
    GOOD,
    VERDICT,
    WRONG,
    beta_of,
    decay,
    is_established,
    judge_origin,
    mean,
    standing,
)
from clet.priority.recency import DAY_S
from clet.record import parse_time
from clet.state import State

MAX_VERDICTS = 100_000


class Verdicts:
    """An open state into which verdicts are written; nothing counts before `commit`."""

    def __init__(self, state: State):
        self._state = state
        self._known = remember.load(state)
        self._verdicts: dict[str, str] = state.values.setdefault("verdicts", {})

    @staticmethod
    def open(directory: str) -> Verdicts:
        """Raises UsageError where there is no state of prioritize, TryLater where it is in use."""
        State.peek(directory, "prioritize")
        return Verdicts(State.open(directory, "prioritize", remember.PARAMS))

    def __contains__(self, ident: str) -> bool:
        return ident in self._verdicts

    def origin_of(self, ident: str) -> str | None:
        """The origin of a record that passed lately."""
        return remember.recent_origin(self._known, ident)

    def give(self, ident: str, good: bool, origin: str) -> None:
        """Say that a record of an origin is good or bad; a verdict that is given twice counts once."""
        word, before = ("good" if good else "bad"), self._verdicts.get(ident)
        if before == word:
            return
        reputation, number = self._known.memory.reputation, self._known.origins.number(origin)
        judge_origin(reputation, number, self._day, good)
        if before is not None:
            side = GOOD if before == "good" else BAD
            reputation.evidence[number, side] = max(0.0, reputation.evidence[number, side] - VERDICT)
        self._verdicts[ident] = word
        while len(self._verdicts) > MAX_VERDICTS:
            del self._verdicts[next(iter(self._verdicts))]

    def set_evidence(self, origin: str, good: float, against: float) -> bool:
        """Replace the evidence about an origin; False where it is not known."""
        number = self._known.origins.find(origin)
        if number is None:
            return False
        reputation = self._known.memory.reputation
        decay(reputation, number, self._day)
        reputation.evidence[number] = (good, against)
        reputation.period[number, WRONG] = 0.0
        return True

    @property
    def _day(self) -> int:
        clock = self._state.values.get("clock")
        return int(parse_time(clock).timestamp()) // DAY_S if clock else 0

    def commit(self) -> None:
        """Make the verdicts durable."""
        remember.save(self._known, self._state)
        self._state.commit()

    def __enter__(self) -> Verdicts:
        return self

    def __exit__(self, *_: object) -> None:
        self._state.close()


def trust_table(directory: str) -> list[dict[str, Any]]:
    """What a state says of each origin, best standing first. Raises UsageError where there is none."""
    known = remember.load(State.peek(directory, "prioritize"))
    r, ledger = known.memory.reputation, known.ledger
    rows = []
    for number, name in enumerate(known.origins.names):
        good, bad = beta_of(r, number)
        rows.append(
            {
                "origin": name,
                "standing": round(float(standing(r, number)), 4),
                "mean": round(float(mean(r, number)), 4),
                "for": round(float(good), 3),
                "against": round(float(bad), 3),
                "established": bool(is_established(r, number)),
                "documents": int(r.period[number, DOCS]),
                "wrong": round(float(r.period[number, WRONG]), 2),
                "passed": int(ledger.docs[number]),
            }
        )
    return sorted(rows, key=lambda row: (-row["standing"], row["origin"]))
