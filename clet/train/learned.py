"""What a run has learned from so far: one bit a window and one bit a document, kept with the training state.

From these follow the lineage of a release (the Merkle root over the ids of all documents of which at least one window
was learned), its knowledge watermark (their newest publication), and the list of shards. They are rolled back with
the weights, so they are true of exactly the weights beside them.

Memory: a byte a window and a document of the shards that were touched; at a release 36 bytes a document more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clet.shards.lineage import merkle_root
from clet.train.feed import Batch, Segment

Table = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What stands in release.json about the data: see the fields' names there."""

    root: str
    num_documents: int
    watermark: str | None
    shards: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The fields of release.json."""
        return {
            "lineage_root": self.root,
            "documents": self.num_documents,
            "watermark": self.watermark,
            "shards": self.shards,
        }


class Learned:
    """The windows and documents learned of each shard, by root."""

    def __init__(self) -> None:
        self.windows: dict[str, np.ndarray] = {}  # root -> [windows] uint8
        self.documents: dict[str, np.ndarray] = {}  # root -> [documents] uint8

    def expect(self, segments: Iterable[Segment]) -> None:
        """Make room for the shards of `segments`."""
        for segment in segments:
            for shard in segment.shards:
                self.windows.setdefault(shard.root, np.zeros(shard.windows, np.uint8))
                self.documents.setdefault(shard.root, np.zeros(shard.documents, np.uint8))

    def add(self, batch: Batch) -> None:
        """Note that a batch was learned."""
        for (root, window), rows in zip(batch.windows, batch.rows, strict=True):
            self.windows[root][window] = 1
            self.documents[root][rows] = 1

    def arrays(self) -> dict[str, np.ndarray]:
        """To be saved: `windows/<root>` and `documents/<root>`; shares memory."""
        kinds = (("windows", self.windows), ("documents", self.documents))
        return {f"{kind}/{root}": bits for kind, by_root in kinds for root, bits in by_root.items()}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Learned:
        """What `arrays` gave."""
        learned = Learned()
        for name, bits in arrays.items():
            kind, _, root = name.partition("/")
            (learned.windows if kind == "windows" else learned.documents)[root] = bits
        return learned

    def lineage(self, segments: Iterable[Segment], table: Callable[[str], Table]) -> Lineage:
        """The lineage of all that was learned; `table(root)` is the document table of a shard."""
        ids: list[bytes] = []
        newest: str | None = None
        shards = []
        for segment in segments:
            for shard in segment.shards:
                bits = self.documents.get(shard.root)
                if bits is None or not bits.any() or shard.only is not None:  # which is of a shard named before
                    continue
                rows = table(shard.root)
                for row in np.flatnonzero(bits):
                    ids.append(bytes.fromhex(rows[row]["id"]))
                    newest = max(filter(None, (newest, rows[row]["published"])), default=None)
                learned = int(self.windows[shard.root].sum())
                entry = {"name": shard.name, "root": shard.root, "lane": shard.lane, "segment": segment.number}
                shards.append(entry | {"windows": shard.windows, "learned": learned})
        unique = set(ids)
        return Lineage(merkle_root(unique).hex(), len(unique), newest, shards)
