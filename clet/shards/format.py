"""The token shard on disk (clet-shard(5)): windows of exactly `seq_len` ids, their documents, one root over them.

A shard is a sequence of the container's frames:

    SHARD_HEADER    parameters in its info; `counts` u64[7] of fixed size, so that it is filled in when all is known
    WINDOWS ...     ids [n, seq_len], and which document lies where (below); all stored or all zstd
    DOCUMENTS ...   the document table: one JSON head a document, in the order in which they were packed
    SHARD_FOOTER    seek table of the frames above, Merkle root over the document ids, newest publication and fetch
    END             number of frames

A window is filled from its first position by segments, each a piece of one document; padding follows. Segments are
kept as lengths and rows of the document table, masked tokens as spans of positions, from which loss mask and segment
numbers are rebuilt. Pieces of one document stand in its order, and all in the same shard.

Nothing in the file depends on the clock or on the machine; its name is derived from its bytes (see `writer`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

FORMAT = 2
COUNTS = ("windows", "tokens", "documents", "masked", "vocab_size", "footer", "bytes")  # of the header's `counts`
FRAME_TOKENS = 1 << 18  # a frame is checked as a whole when its first window is read: 60 us for 512 KB
ZSTD_FRAME_TOKENS = 1 << 15  # ... and decompressed, for one window of a shuffled read
MAX_SEQ_LEN = 1 << 20
LANE = re.compile(r"(?!lock\Z)[a-z0-9][a-z0-9_-]{0,63}\Z")  # a folder's name, chosen by records from outside
DTYPES = {"u16": np.dtype("<u2"), "u32": np.dtype("<u4")}


def windows_per_frame(seq_len: int, compressed: bool) -> int:
    """Windows in each WINDOWS frame but the last."""
    return max(1, (ZSTD_FRAME_TOKENS if compressed else FRAME_TOKENS) // seq_len)


@dataclass(frozen=True, slots=True)
class ShardParams:
    """What all windows of a shard share. `vocab_size` None: one more than the largest id that occurs."""

    seq_len: int
    dtype: np.dtype
    fingerprint: str
    lane: str = "main"
    eos_id: int | None = None
    vocab_size: int | None = None
    level: int | None = None
