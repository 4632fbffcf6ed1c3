"""Origins as numbers: the names that documents come under, each with a place in the arrays kept about it.

There are CAPACITY places. When all but one are taken, new names share the last, OTHERS: their budget, reputation and
share are then one, so whoever invents names by the thousand shares a budget with all who do. Names keep their numbers
over runs; a forgotten name cannot make a bad reputation new.
"""

from __future__ import annotations

import numpy as np
import orjson

from clet.heads import Heads

CAPACITY = 1 << 16
OTHERS = CAPACITY - 1
MAX_NAME = 200  # characters of a name that count


class Origins:
    """Names and their numbers, in order of appearance."""

    def __init__(self, names: list[str] | None = None):
        self.names = list(names or [])
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._known: dict[int, int] = {}  # hash of a JSON value: number

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a name, a new one for a new name."""
        name = name[:MAX_NAME]
        found = self._numbers.get(name)
        if found is None:
            if len(self.names) >= OTHERS:
                return OTHERS
            found = self._numbers[name] = len(self.names)
            self.names.append(name)
        return found

    def find(self, name: str) -> int | None:
        """The number of a known name."""
        return self._numbers.get(name[:MAX_NAME])

    def name(self, number: int) -> str:
        """The name of a number."""
        return self.names[number] if number < len(self.names) else "(others)"

    def of(self, heads: Heads, name: str = "origin") -> np.ndarray:
        """The number `[n]` int32 of each record's origin; "" where it has none."""
        hashes = heads.hashes(name)
        distinct, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        numbers = np.empty(len(distinct), np.int32)
        order = np.argsort(first, kind="stable")  # names are numbered in the order of the stream, not of their hashes
        for k in order.tolist():
            key = int(distinct[k])
            found = self._known.get(key)
            if found is None:
                value = heads.value(int(first[k]), name) if key else ""
                found = self.number(value if isinstance(value, str) else orjson.dumps(value).decode())
                if len(self._known) < 4 * CAPACITY:
                    self._known[key] = found
            numbers[k] = found
        return numbers[back]
