"""Clusters of repeats: how many copies of a document there were, and from how many origins.

A cluster is a document that was kept and everything that repeats it, exactly or nearly. Its counts are those at the
moment a record passes: for the first one `{"cluster": its own id, "size": 1, "origins": 1}`. What was counted in
earlier runs is read from the index when a cluster is first touched. Memory: about 200 bytes a cluster touched in this
run, and 8 an origin of it, at most MAX_CLUSTERS at once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from clet.dedup import table
from clet.dedup.index import Index

MAX_CLUSTERS = 1 << 18
MAX_ORIGINS = 1 << 12  # of one cluster; from there on only its size grows


class _Cluster:
    __slots__ = ("ident", "origins", "size")

    def __init__(self, ident: str, origins: list[int]):
        self.ident, self.size = ident, len(origins)
        self.origins = set(origins[:MAX_ORIGINS])


class Clusters:
    """Counts of the clusters in an index."""

    def __init__(self, index: Index):
        self._index = index
        self._open: dict[int, _Cluster] = {}

    def notes(self, decisions: table.Decisions, rows: table.Rows, first: int) -> list[dict[str, Any]]:
        """What to say of each record of a batch that was just admitted; `first` is the number of its first document."""
        repeated = decisions.verdict != table.KEPT
        coming = Counter(decisions.of[repeated].tolist())  # repeats of this batch, which the index counts already
        out = []
        for row, (repeat, of) in enumerate(zip(repeated.tolist(), decisions.of.tolist(), strict=True)):
            if not repeat:
                out.append({"cluster": rows.ids[row].astype("<u8").tobytes().hex(), "size": 1, "origins": 1})
                continue
            cluster = self._open.get(of) or self._load(of, coming[of])
            coming[of] -= 1
            cluster.size += 1
            if len(cluster.origins) < MAX_ORIGINS:
                cluster.origins.add(int(rows.origins[row]))
            out.append({"cluster": cluster.ident, "size": cluster.size, "origins": len(cluster.origins)})
        return out

    def _load(self, doc: int, coming: int) -> _Cluster:
        if len(self._open) >= MAX_CLUSTERS:
            self._open.clear()
        origins = self._index.origins_of(doc)
        cluster = self._open[doc] = _Cluster(self._index.ids_of(np.array([doc]))[0], origins[: len(origins) - coming])
        return cluster
