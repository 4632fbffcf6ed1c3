"""Documents into batches, in order, with the ids of one tokenizer.

A document is tokenised once, here; every later stage works on the ids. Batches are cut by count and bytes of text
alone, so they do not depend on the number of threads. Cost: that of the tokenizer; memory: one batch, and what the
tokenizer holds for some of its texts.
"""

from __future__ import annotations

from clet.batch import Batch
from clet.sources.adapter import Document
from clet.streams import BATCH_BYTES, BATCH_RECORDS
from clet.tokens import Tokenizer


class Tokeniser:
    """Collects documents and turns them into a batch; without a tokenizer the batch carries no tokens."""

    def __init__(self, tokenizer: Tokenizer | None):
        self._tokenizer = tokenizer
        self._waiting: list[Document] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, document: Document, size: int) -> bool:
        """Take a document whose text has `size` bytes; True when `take` is due."""
        self._waiting.append(document)
        self._bytes += size
        return len(self._waiting) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    def take(self) -> Batch:
        """What was collected, as one batch; the collection starts again."""
        documents, self._waiting, self._bytes = self._waiting, [], 0
        batch = Batch.from_records(documents)
        if self._tokenizer is None:
            return batch
        return batch.with_tokens(self._tokenizer.encode_ragged(batch.text, trusted=True), self._tokenizer.fingerprint)
