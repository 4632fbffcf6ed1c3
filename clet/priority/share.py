"""The account of tokens: what the budget still allows, and which share of it each origin has taken.

No origin shall have more than a share of the tokens, so that one loud publisher cannot fill a day's training. The
share is taken of the budget; without a budget, of everything that was emitted or is waiting, which is what the output
would be if it ended now. All counts are exact, in tokens (bytes of text / CHARS_PER_TOKEN for records without any).

With a state, budget and shares are those of a day (UTC), and the account carries over runs; a new day starts empty, and
one that comes back (with `--now`) where it was left, so that no day is spent twice.
Memory: a number an origin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from clet.priority.origins import CAPACITY, Origins

SHARE = 0.5  # a half: one source may lead, not fill; with fewer than two origins nothing is lost (see window)
CHARS_PER_TOKEN = 4  # for budgets over records that carry no tokens
MAX_DAYS = 7  # days kept in the state
MAX_ORIGINS = 10_000  # a day keeps the origins that took most; the others' tokens stay in its total


class Account:
    """Tokens emitted by origin. `budget` in tokens or None, `share` in (0, 1]."""

    def __init__(self, budget: int | None = None, share: float = SHARE, origins: Origins | None = None):
        self.budget = budget
        self.share = share
        self.origins = origins or Origins()
        self.room: float = math.inf  # tokens that may still pass whatever the day, as learning them takes time
        self.total = 0
        self.taken = np.zeros(CAPACITY, np.int64)  # by number of the origin
        self.day: str | None = None
        self._others: dict[str, dict[str, Any]] = {}  # days that are not `day`

    @property
    def remaining(self) -> float:
        """Tokens that the budget still allows."""
        return math.inf if self.budget is None else max(0, self.budget - self.total)

    @property
    def limit(self) -> int:
        """What `total` may come to; -1 where nothing limits it."""
        if self.budget is None:
            return -1
        return self.budget if self.room >= self.budget - self.total else self.total + int(self.room)

    def spend(self, total: int) -> None:
        """Let `total` be what has passed."""
        self.room -= total - self.total
        self.total = total

    def ends_before(self, day: str | None) -> bool:
        """Whether `day` is a later one than the account's."""
        return day is not None and self.day is not None and day > self.day

    def turn(self, day: str | None) -> None:
        """Let the day be `day`: at a new one the account starts empty, at one that it knows where it was left."""
        if day is None or day == self.day:
            return
        if self.day is not None:
            self._others[self.day] = self._summary()
            self.total = 0
            self.taken[:] = 0
        self.day = day
        entry = self._others.pop(day, None)
        if entry:
            self.total += int(entry["total"])
            for name, tokens in entry["origins"].items():
                self.taken[self.origins.number(name)] += int(tokens)

    def _summary(self) -> dict[str, Any]:
        taken = sorted(((int(self.taken[i]), i) for i in np.flatnonzero(self.taken).tolist()), reverse=True)
        names = self.origins.names
        return {"total": self.total, "origins": {names[i]: tokens for tokens, i in taken[:MAX_ORIGINS]}}

    def to_json(self) -> dict[str, Any]:
        """The account by day, for the state."""
        days = self._others | ({self.day: self._summary()} if self.day else {})
        kept = sorted(days, key=lambda day: (day == self.day, day))[-MAX_DAYS:]
        return {day: days[day] for day in sorted(kept)}

    def load(self, days: Mapping[str, Mapping[str, Any]], last: str | None = None) -> None:
        """Take up the account of earlier runs; what lies after the day `last` cannot have happened. Then `turn`."""
        self._others = {day: dict(entry) for day, entry in days.items() if last is None or day <= last}
