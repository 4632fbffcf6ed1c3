"""Documents into batches, in order, with the ids of one tokenizer.

A document is tokenised once, here; every later stage works on the ids. Batches are cut by count and bytes of text
alone, so they do not depend on the number of threads. Cost: that of the tokenizer; memory: one batch, and what the
tokenizer holds for some of its texts.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from clet.batch import Batch
from clet.sources.adapter import Document
from clet.streams import BATCH_BYTES, BATCH_RECORDS
from clet.tokens import Tokenizer


class Tokeniser:
    """Collects documents and turns them into a batch; without a tokenizer the batch carries no tokens."""

    def __init__(self, tokenizer: Tokenizer | None):
        self._tokenizer = tokenizer
        self._waiting: list[Document | Batch] = []
        self._records = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._records

    def add(self, document: Document, size: int) -> bool:
        """Take a document whose text has `size` bytes; True when `take` is due."""
        self._waiting.append(document)
        return self._added(1, size)

    def add_columns(self, batch: Batch) -> tuple[int, bool]:
        """Take as many documents as there is room for: (how many, whether `take` is due)."""
        ends = batch.text.offsets[1:]
        enough = int(np.searchsorted(ends, BATCH_BYTES - self._bytes)) + 1
        number = min(enough, BATCH_RECORDS - self._records, len(batch))
        self._waiting.append(batch.part(0, number))
        return number, self._added(number, int(ends[number - 1]))

    def _added(self, records: int, size: int) -> bool:
        self._records += records
        self._bytes += size
        return self._records >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    def take(self) -> Batch:
        """What was collected, as one batch; the collection starts again."""
        waiting, self._waiting, self._records, self._bytes = self._waiting, [], 0, 0
        parts: list[Batch] = []
        for kind, run in groupby(waiting, type):
            group = list(run)
            parts += group if kind is Batch else [Batch.from_records(group)]
        batch = Batch.concat(parts)
        if self._tokenizer is None:
            return batch
        return batch.with_tokens(self._tokenizer.encode_ragged(batch.text, trusted=True), self._tokenizer.fingerprint)
