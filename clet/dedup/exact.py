"""Exact repeats: keyed 64-bit hashes of a record's id and of its token sequence, as columns.

A record repeats another one if their ids agree (the id is a hash of the canonical text, collision-resistant), or if
their token ids do: two texts that differ only in what the tokenizer normalises away teach a model the same thing.
Both are hashed again with the secret of the index: writers of documents do not know it and cannot search for two that
collide, and by accident two of n documents do with probability n^2 / 2^65, 3e-4 among a hundred million.

Cost: one pass over the ids at memory speed, and 0.5 us a record. Nothing is kept here; see `clet.dedup.index`.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import xxhash

from clet.batch import Ragged
from clet.heads import Heads
from clet.kernels import njit

_U = np.uint64
_ID = re.compile(r"[0-9a-f]{32}\Z")


def id_lanes(ids: np.ndarray) -> np.ndarray:
    """Ids of 16 bytes `[n, 16]` as `[n, 2]` uint64."""
    return np.ascontiguousarray(ids).view(np.dtype("<u8")).astype(np.uint64, copy=False)


def id_keys(lanes: np.ndarray, secret: int) -> np.ndarray:
    """Keys `[n]` of ids `[n, 2]`, none of them 0."""
    out = np.empty(len(lanes), np.uint64)
    _mix_lanes(lanes, _U(secret), out)
    return out


def id_key(ident: str, secret: int) -> int:
    """The key of one id of 32 hex digits."""
    lanes = np.frombuffer(bytes.fromhex(ident), np.dtype("<u8")).reshape(1, 2)
    return int(id_keys(lanes.astype(np.uint64), secret)[0])


def token_keys(tok: Ragged, secret: int, fingerprint: str) -> np.ndarray:
    """Keys `[n]` of the token sequences of a batch, none of them 0; they say nothing across tokenizers."""
    values, width = memoryview(np.ascontiguousarray(tok.values).view(np.uint8)), tok.values.dtype.itemsize
    seed = stream_key(secret, fingerprint)
    bounds = (tok.offsets * width).tolist()
    digest = xxhash.xxh3_64_intdigest
    keys = [digest(values[begin:end], seed) for begin, end in pairwise(bounds)]
    return np.maximum(np.fromiter(keys, np.uint64, len(keys)), _U(1))


def stream_key(secret: int, fingerprint: str) -> int:
    """The secret for hashes of ids of one tokenizer."""
    return xxhash.xxh3_64_intdigest(fingerprint.encode(), secret)


def is_id(value: object) -> bool:
    """Whether a value from outside is an id: 32 hex digits."""
    return isinstance(value, str) and _ID.match(value) is not None


def origin_keys(heads: Heads, secret: int) -> np.ndarray:
    """Keys `[n]` of the origins of records."""
    starts, ends = heads.span("origin")
    distinct, which = np.unique(heads.first_alike("origin"), return_inverse=True)
    keys = [xxhash.xxh3_64_intdigest(heads.values[starts[row] : ends[row]], secret) for row in distinct.tolist()]
    return np.array(keys, np.uint64)[which]


@njit
def _mix_lanes(lanes, secret, out):
    for row in range(len(lanes)):
        total = secret
        for i in range(2):
            x = total ^ lanes[row, i]
            x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
            total = x ^ (x >> _U(31))
        out[row] = max(_U(1), total)
