"""Which origins a step learned from, and what their loss was: what `clet prioritize --run` mixes sources by.

A window's mean loss is credited to the origins of the documents in it, to each by its share of them. The document
tables of the shards in use are kept as origins only, those of the last MAX_SHARDS shards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MAX_SHARDS = 64
MAX_ORIGINS = 64  # of a step; the others are left out: a line stays a line


class Credit:
    """Looks up origins; `documents(root)` gives the document table of a shard."""

    def __init__(self, documents: Callable[[str], list[dict[str, Any]]]):
        self._documents = documents
        self._origins: OrderedDict[str, list[str]] = OrderedDict()

    def _of(self, root: str) -> list[str]:
        found = self._origins.get(root)
        if found is None:
            found = self._origins[root] = [str(row.get("origin") or "") for row in self._documents(root)]
            if len(self._origins) > MAX_SHARDS:
                self._origins.popitem(last=False)
        self._origins.move_to_end(root)
        return found

    def by_origin(
        self, windows: Sequence[tuple[str, int]], rows: Sequence[np.ndarray], losses: Sequence[float]
    ) -> dict[str, list[float]]:
        """{origin: [windows, sum of their mean losses]} of a step, the largest first."""
        found: dict[str, list[float]] = {}
        for (root, _), documents, loss in zip(windows, rows, losses, strict=True):
            if not len(documents) or not np.isfinite(loss):
                continue
            origins = self._of(root)
            share = 1 / len(documents)
            for row in documents:
                entry = found.setdefault(origins[row], [0.0, 0.0])
                entry[0] += share
                entry[1] += share * loss
        largest = sorted(found, key=lambda name: (-found[name][0], name))[:MAX_ORIGINS]
        return {name: [round(value, 6) for value in found[name]] for name in largest}
