"""The text of each record, which a policy is asked of: its own, or where it was left out what its token ids stand for.

Who leaves the text out would otherwise leave the rules out too: a model learns from ids. A text can be had from ids
only with the tokenizer that made them, and is what that made of the text (a normalising one is read as normalised). A
record that has neither a text nor ids that can be read is not readable, and who asks has to decide what that means.

Time: 2 ns a token that is put back into bytes. Memory: MAX_DECODED_BYTES, since a batch is cut where it would take
more; of one record at most MAX_BYTES and one are put back, of which no search reads more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clet.batch import Batch, Ragged
from clet.kernels import njit
from clet.priority.literals import MAX_BYTES
from clet.priority.textstats import TokenTable

MAX_DECODED_BYTES = 16 << 20


class Reader:
    """Reads records with the bytes of a tokenizer's ids, or without one those that have a text."""

    def __init__(self, table: TokenTable | None = None):
        self._table = table

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch in pieces whose texts, put together from ids, are bounded."""
        if not self._decodes(batch):
            yield batch
            return
        ends = np.cumsum(np.maximum(self._sizes(batch), 0))
        begin = 0
        while begin < len(batch):
            room = MAX_DECODED_BYTES + (int(ends[begin - 1]) if begin else 0)
            end = max(begin + 1, int(np.searchsorted(ends, room, side="right")))
            yield batch.part(begin, end) if end - begin < len(batch) else batch
            begin = end

    def text(self, batch: Batch) -> tuple[Ragged, np.ndarray]:
        """The texts of a piece, and `[n]` bool which of them could be read; the others are empty."""
        has_text = batch.has_text.astype(bool)
        if not self._decodes(batch):
            return batch.text, has_text
        sizes = self._sizes(batch)
        lengths = np.where(has_text, batch.text.lengths, np.maximum(sizes, 0))
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        out = np.empty(int(offsets[-1]), np.uint8)
        text = batch.text.values.view()
        text.flags.writeable = False
        table = self._table.values, self._table.offsets
        _read(*_ids(batch), *table, has_text, text, np.array(batch.text.offsets), offsets, out)
        if self._table.adds_space:
            keep = np.ones(len(out), np.bool_)
            starts = offsets[:-1][~has_text & (lengths > 0)]
            keep[starts[out[starts] == ord(" ")]] = False
            offsets = np.concatenate(([0], np.cumsum(keep)))[offsets]
            out = out[keep]
        out.flags.writeable = False
        return Ragged(out, offsets), has_text | (sizes >= 0)

    def _decodes(self, batch: Batch) -> bool:
        """Whether some record of a batch has to be read from its ids, and can be."""
        table = self._table
        known = table is not None and batch.tok is not None and batch.fingerprint == table.fingerprint
        return known and not batch.has_text.all()

    def _sizes(self, batch: Batch) -> np.ndarray:
        """Bytes `[n]` int64 to be put together from ids; 0 where there is a text, -1 where an id is no token's."""
        return _sizes(*_ids(batch), self._table.offsets, batch.has_text.astype(bool))


def _ids(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    values = batch.tok.values.view()
    values.flags.writeable = False  # as it comes from a frame: kernels are compiled for one kind of array
    return values, np.array(batch.tok.offsets)


@njit
def _sizes(ids, offsets, ends, has_text):
    out = np.zeros(len(offsets) - 1, np.int64)
    for row in range(len(out)):
        if has_text[row]:
            continue
        size = 0
        for at in range(offsets[row], offsets[row + 1]):
            index = np.int64(ids[at])
            if index >= len(ends) - 1:
                size = -1
                break
            size = min(size + ends[index + 1] - ends[index], MAX_BYTES + 1)
        out[row] = size if offsets[row] < offsets[row + 1] else -1
    return out


@njit
def _read(ids, offsets, pieces, ends, has_text, text, text_offsets, targets, out):
    for row in range(len(offsets) - 1):
        to, stop = targets[row], targets[row + 1]
        if has_text[row]:
            for at in range(text_offsets[row], text_offsets[row + 1]):
                out[to] = text[at]
                to += 1
            continue
        at = offsets[row]
        while to < stop:
            index = np.int64(ids[at])
            for byte in range(ends[index], min(ends[index + 1], ends[index] + stop - to)):
                out[to] = pieces[byte]
                to += 1
            at += 1
