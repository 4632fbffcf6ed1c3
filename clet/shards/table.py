"""The document table of a shard: one head a document and how many tokens it has there, in the order of packing.

Heads are compressed as soon as there are enough for a frame, so that what waits for the end of a shard is small, and
beside the packing where there is a thread for it.
Memory: `AHEAD` frames of heads, about 100 bytes a document compressed, and 16 for its id.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future

import numpy as np

from clet.batch import Ragged
from clet.container import Kind, pack_frame
from clet.shards.lineage import merkle_root_of

TABLE_RECORDS = 4096
TABLE_BYTES = 8 << 20
AHEAD = 2  # frames that are being compressed


class TableWriter:
    """Takes documents in, gives the frames of the table. `newest` and `fetched` are times for the footer.

    `compressors` compress frames, which changes no byte; without them it is done at once.
    """

    def __init__(self, compressors: Executor | None = None) -> None:
        self._compressors = compressors
        self.num_documents = 0
        self.newest: str | None = None
        self.fetched: str | None = None
        self._ids: list[np.ndarray] = []
        self._heads: list[Ragged] = []
        self._tokens: list[np.ndarray] = []
        self._waiting = self._waiting_bytes = 0
        self._frames: list[tuple[int, Future[bytes]]] = []  # documents, frame

    def add(self, heads: Ragged, tokens: np.ndarray, ids: np.ndarray) -> None:
        """Append documents: heads, `tokens` [n], `ids` [n, 16] uint8."""
        self.num_documents += len(heads)
        self._ids.append(ids)
        self._heads.append(heads)
        self._tokens.append(tokens)
        self._waiting += len(heads)
        self._waiting_bytes += len(heads.values)
        if self._waiting > TABLE_RECORDS or self._waiting_bytes > TABLE_BYTES:
            self._cut(last=False)

    def frames(self) -> list[tuple[int, bytes]]:
        """All frames, each with the number of its documents. Nothing can be added after it."""
        self._cut(last=True)
        return [(size, frame.result()) for size, frame in self._frames]

    def root(self) -> bytes:
        """Merkle root over the ids, 32 bytes."""
        return merkle_root_of(np.concatenate([np.zeros((0, 16), np.uint8), *self._ids]))

    def _cut(self, *, last: bool) -> None:
        """Make frames of what waits; unless it is the last call, a frame that could take more documents waits on."""
        if not self._waiting:
            return
        heads, tokens = Ragged.concat(self._heads), np.concatenate(self._tokens).astype(np.uint32)
        start, size = 0, len(heads)
        while start < size:
            fit = int(np.searchsorted(heads.offsets, heads.offsets[start] + TABLE_BYTES, side="right")) - 1
            stop = min(max(fit, start + 1), start + TABLE_RECORDS, size)
            if stop == size and not last:
                break
            self._frames.append((stop - start, self._compressed(heads.part(start, stop), tokens[start:stop])))
            start = stop
        self._heads, self._tokens = [heads.part(start, size)], [tokens[start:]]
        self._waiting, self._waiting_bytes = size - start, len(self._heads[0].values)

    def _compressed(self, heads: Ragged, tokens: np.ndarray) -> Future[bytes]:
        """The frame of these documents; waits until fewer than AHEAD others are under way."""
        if self._compressors is not None:
            if len(self._frames) >= AHEAD:
                self._frames[-AHEAD][1].result()
            return self._compressors.submit(_frame, heads, tokens)
        done: Future[bytes] = Future()
        done.set_result(_frame(heads, tokens))
        return done


def _frame(heads: Ragged, tokens: np.ndarray) -> bytes:
    """A batch without texts and ids (clet-batch(5)), and the documents' `tokens`."""
    arrays = {
        "head": heads.values,
        "head_offsets": heads.offsets,
        "text": np.zeros(0, np.uint8),
        "text_offsets": np.zeros(len(heads) + 1, np.int64),
        "has_text": np.zeros(len(heads), np.uint8),
        "tokens": tokens,
    }
    return pack_frame(Kind.DOCUMENTS, {"records": len(heads)}, arrays)
