"""Exact repeats: 128-bit keys of records and of their token sequences, as columns of two 64-bit lanes.

A record repeats another one if their ids agree (the id is a hash of the canonical text, collision-resistant), or if
their token ids do: two texts that differ only in what the tokenizer normalises away teach a model the same thing.
The key of a token sequence is xxh3-128 seeded by the secret of the index: writers of documents do not know it and
cannot search for two documents that collide, and by accident two of n documents do with probability n^2 / 2^129.

Cost: one pass over the ids at memory speed, 16 bytes a record and key. Nothing is kept here; see `clet.dedup.index`.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import orjson
import xxhash

from clet.batch import Batch, Ragged

_ID_FIRST = b'{"id":"'
_ID_HEX = 32
_ID = re.compile(r"[0-9a-f]{32}\Z")


def id_of(batch: Batch, row: int) -> str:
    """The id of a record; records made by clet begin with it, others are parsed."""
    head = batch.head.bytes_at(row)
    if head.startswith(_ID_FIRST):
        return head[len(_ID_FIRST) : len(_ID_FIRST) + _ID_HEX].decode()
    return orjson.loads(head)["id"]


def id_lanes(idents: list[str]) -> np.ndarray:
    """Ids of 32 hex digits as `[n, 2]` uint64."""
    return np.frombuffer(bytes.fromhex("".join(idents)), np.dtype("<u8")).reshape(len(idents), 2).copy()


def lanes_to_id(lanes: np.ndarray) -> str:
    """The id that the lanes `[2]` were made of."""
    return lanes.astype("<u8").tobytes().hex()


def token_lanes(tok: Ragged, secret: int) -> np.ndarray:
    """Keys `[n, 2]` uint64 of the token sequences of a batch, seeded by a 64-bit `secret`.

    The width of the ids enters the key; it is a property of the tokenizer, of which an index has one.
    """
    values, width = tok.values.view(np.uint8), tok.values.dtype.itemsize
    bounds = (tok.offsets * width).tolist()
    keys = [xxhash.xxh3_128_digest(values[begin:end], secret) for begin, end in pairwise(bounds)]
    return np.frombuffer(b"".join(keys), np.dtype("<u8")).reshape(len(tok), 2).copy()


def superseded_id(batch: Batch, row: int) -> str | None:
    """The id of the older version that a record says it replaces (`meta.supersedes`), or None."""
    head = batch.head.bytes_at(row)
    if b'"supersedes"' not in head:
        return None
    value = (orjson.loads(head).get("meta") or {}).get("supersedes")
    return value if isinstance(value, str) and _ID.match(value) else None
