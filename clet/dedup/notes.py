"""The `dedup` object of many records at once: most have nothing but `{"seen": N}`, the others what orjson writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from clet import notes
from clet.batch import Batch, Ragged
from clet.heads import Heads

NAME = "dedup"
UNSEEN = -1  # no `seen`

Note = dict[str, Any]


def annotated(batch: Batch, heads: Heads, rows: np.ndarray, seen: np.ndarray, more: dict[int, Note]) -> Batch:
    """The records `rows` [k] of a batch with their objects: `seen` [n], and what else `more` says of some.

    `heads` has the field; what was in it is replaced. Without `seen` there is more.
    """
    bodies = [_body(int(seen[row]), more[row]) if row in more else b"" for row in rows.tolist()] if more else []
    own = Ragged.from_bytes(bodies) if bodies else None
    return notes.noted(notes.without(batch, heads, NAME).take(rows), NAME, [notes.whole("seen", seen[rows])], own)


def _body(seen: int, note: Note) -> bytes:
    return orjson.dumps(note if seen == UNSEEN else {"seen": seen} | note)
