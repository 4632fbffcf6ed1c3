"""What a batch's heads say, as columns: who, when, of which cluster, and word hashes where a record has no tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.batch import Batch, Ragged
from clet.heads import NO_TIME, Heads
from clet.kernels import njit
from clet.priority.origins import Origins
from clet.priority.recency import DAY_S, Clock, recency, times_of
from clet.priority.share import CHARS_PER_TOKEN

FIELDS = ("id", "source", "origin", "url", "title", "lang", "license", "published", "fetched", "meta", "dedup")
FIELDS += ("priority",)
MAX_WORDS_BYTES = 1 << 20  # of a text without tokens that are read

_U = np.uint64
_BETWEEN = np.zeros(256, np.bool_)  # bytes between words: a name is the same before a full stop
_BETWEEN[:33] = True
_BETWEEN[np.frombuffer(b'.,;:!?()[]{}"', np.uint8)] = True


class Facts(NamedTuple):
    """Columns `[n]` of a batch."""

    origins: np.ndarray  # int32: see clet.priority.origins
    nows: np.ndarray  # int64: the clock at each record, or NO_TIME
    days: np.ndarray  # int32: that day, counted from 1970; 0 without a clock
    recency: np.ndarray  # float64
    undated: np.ndarray  # bool: no time of publication that can be read, or believed
    families: np.ndarray  # uint64: the near-duplicate cluster, by hash; a record of its own without one
    old: np.ndarray  # uint64: the cluster that the record says it updates, or 0
    tokens: np.ndarray  # int64: for budgets
    ids: Ragged  # token ids, uint16 or uint32, or hashes of words; read-only


def facts_of(
    batch: Batch, heads: Heads, origins: Origins, clock: Clock, half_life_days: float, moves: np.ndarray | None = None
) -> Facts:
    """The columns of a batch; the clock moves on with those of its records that `moves` `[n]` says, or with all."""
    said = heads.seconds("fetched")
    fetched = clock.believed(said)
    clock.unbelieved += int((fetched != said).sum())
    nows = clock.see(fetched if moves is None else np.where(moves, fetched, NO_TIME))
    published = heads.seconds("published")
    published = np.where(fetched == NO_TIME, clock.believed(published), published)
    dedup = heads.inside("dedup", ("cluster", "updates"))
    own, cluster = heads.hashes("id"), dedup.hashes("cluster")
    days = np.where(nows == NO_TIME, 0, nows // DAY_S).astype(np.int32)
    if batch.tok is None:
        tokens = -(-batch.text.lengths // CHARS_PER_TOKEN)
        ids = word_ids(batch.text)
    else:
        tokens = batch.tok.lengths
        values = batch.tok.values.view()
        values.flags.writeable = False  # as they come from a frame: kernels are compiled for one kind of array
        ids = Ragged(values, np.array(batch.tok.offsets))
    times, dated = times_of(published, fetched)
    return Facts(
        origins.of(heads),
        nows,
        days,
        recency(times, dated, nows, half_life_days),
        ~dated,
        np.where(cluster == 0, own, cluster),
        dedup.hashes("updates"),
        tokens,
        ids,
    )


def word_ids(text: Ragged) -> Ragged:
    """Hashes of the words of texts, which stand in for token ids: the same science, on words."""
    values = text.values.view()
    values.flags.writeable = False
    out, ends = _words(values, np.array(text.offsets))
    out.flags.writeable = False
    return Ragged(out, ends)


@njit
def _words(values, offsets):
    out = np.empty((len(values) + 1) // 2 + len(offsets), np.uint32)
    ends = np.zeros(len(offsets), np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        total, inside = _U(0), False
        for at in range(offsets[row], min(offsets[row + 1], offsets[row] + MAX_WORDS_BYTES)):
            byte = values[at]
            if _BETWEEN[byte]:
                if inside:
                    out[count] = total >> _U(32)
                    count += 1
                total, inside = _U(0), False
            else:
                total = (total ^ _U(byte)) * _U(0x9E3779B97F4A7C15)
                inside = True
        if inside:
            out[count] = total >> _U(32)
            count += 1
        ends[row + 1] = count
    return out[:count].copy(), ends
