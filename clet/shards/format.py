"""The token shard on disk (clet-shard(5)): windows of exactly `seq_len` ids, their documents, one root over them.

A shard is a sequence of the container's frames:

    SHARD_HEADER    parameters in its info; `counts` u64[6] of fixed size, so that it is filled in when all is known
    WINDOWS ...     ids [n, seq_len], and which document lies where (below); stored or zstd
    DOCUMENTS ...   the document table: one JSON head a document, in the order in which they were packed
    SHARD_FOOTER    seek table of the frames above, Merkle root over the document ids, newest publication
    END             number of frames

A window is filled from its first position by segments, each a piece of one document; padding follows. Segments are
kept as lengths and rows of the document table, from which the loss mask and the segment numbers are rebuilt. Pieces
of one document stand in its order, and all in the same shard.

Nothing in the file depends on the clock or on the machine; its name is derived from its bytes. Memory of the writer:
one frame of windows and the document table.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clet.batch import Batch
from clet.container import Kind, end_frame, pack_frame
from clet.exits import WriteError
from clet.shards.lineage import merkle_root

FORMAT = 1
COUNTS = ("windows", "tokens", "documents", "vocab_size", "footer", "bytes")  # of the header's `counts`
FRAME_TOKENS = 1 << 15  # a shuffled read decodes a whole frame for one window, a sequential one pays a header a frame
TABLE_RECORDS = 4096
TABLE_BYTES = 8 << 20
MIN_SEQ_LEN, MAX_SEQ_LEN = 8, 1 << 20
DTYPES = {"u16": np.dtype("<u2"), "u32": np.dtype("<u4")}

Window = Sequence[tuple[int, np.ndarray]]  # (row of the document table, ids of the piece), from position 0 on


def windows_per_frame(seq_len: int) -> int:
    """Windows in each WINDOWS frame but the last."""
    return max(1, FRAME_TOKENS // seq_len)


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


@dataclass(frozen=True, slots=True)
class Sealed:
    """A finished shard file: its name is 128 bits of SHA-256 over its bytes, so equal content has an equal name."""

    name: str
    root: str
    num_windows: int
    num_tokens: int
    num_documents: int
    newest: str | None


class ShardWriter:
    """Writes one shard file: `add` windows, then `seal`. Raises WriteError; `abort` leaves no file."""

    def __init__(self, path: Path, params: ShardParams):
        self.path, self.params = path, params
        self._digest = hashlib.sha256()
        self._counts = dict.fromkeys(COUNTS, 0)
        self._num_frames = 0
        self._seek: dict[Kind, list[tuple[int, int, int]]] = {Kind.WINDOWS: [], Kind.DOCUMENTS: []}
        self._ids = np.zeros((windows_per_frame(params.seq_len), params.seq_len), params.dtype)
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._ends = [0]
        header = self._header()
        self._at = len(header)
        try:
            self._file: BinaryIO = open(path, "xb", buffering=0)  # noqa: SIM115 - lives until seal or abort
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None
        try:
            self._write(header)
        except WriteError:
            self.abort()
            raise

    def add(self, window: Window) -> None:
        """Append one window; its pieces' lengths are at least 1 and sum to at most `seq_len`."""
        row, at = len(self._ends) - 1, 0
        for document, ids in window:
            self._ids[row, at : at + len(ids)] = ids
            at += len(ids)
            self._rows.append(document)
            self._lengths.append(len(ids))
        assert 0 < at <= self.params.seq_len, "a window holds 1 to seq_len tokens"
        self._ends.append(len(self._rows))
        self._counts["tokens"] += at
        if row + 1 == len(self._ids):
            self._flush_windows()

    def seal(self, table: Batch, newest: str | None) -> Sealed:
        """Write the document table (heads only) and the footer, fill in the header, make the file durable."""
        self._flush_windows()
        self._write_table(table)
        ids = [bytes.fromhex(table.fields(row)["id"]) for row in range(len(table))]
        root = merkle_root(ids).hex()
        counts = self._counts
        counts |= {"documents": len(table), "footer": self._at}
        counts["vocab_size"] = self.params.vocab_size or counts["vocab_size"]
        info = {"root": root, "newest": newest, **{name: counts[name] for name in COUNTS[:3]}}
        seek = {
            "windows": np.asarray(self._seek[Kind.WINDOWS], np.int64).reshape(-1, 3),
            "documents": np.asarray(self._seek[Kind.DOCUMENTS], np.int64).reshape(-1, 3),
        }
        self._write_frame(pack_frame(Kind.SHARD_FOOTER, info, seek, None))
        self._write_frame(end_frame(self._num_frames + 1))  # with the header
        counts["bytes"] = self._at
        header = self._header()
        self._digest.update(header)
        try:
            os.lseek(self._file.fileno(), 0, os.SEEK_SET)
            self._write(header)
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise WriteError(f"{self.path}: {error.strerror}") from None
        name = self._digest.hexdigest()[:32]
        return Sealed(name, root, counts["windows"], counts["tokens"], counts["documents"], newest)

    def abort(self) -> None:
        """Forget the file; never fails."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _header(self) -> bytes:
        params = self.params
        info = {
            "format": FORMAT,
            "dtype": "u16" if params.dtype.itemsize == 2 else "u32",
            "seq_len": params.seq_len,
            "fp": params.fingerprint,
            "lane": params.lane,
            "eos": params.eos_id,
        }
        counts = np.asarray([self._counts[name] for name in COUNTS], np.uint64)
        return pack_frame(Kind.SHARD_HEADER, info, {"counts": counts}, None)

    def _flush_windows(self) -> None:
        size = len(self._ends) - 1
        if not size:
            return
        ids = self._ids[:size]
        arrays = {
            "ids": ids,
            "segment_ends": np.asarray(self._ends[1:], np.uint32),
            "segment_lengths": np.asarray(self._lengths, np.uint32),
            "segment_rows": np.asarray(self._rows, np.uint32),
        }
        first = self._counts["windows"]
        self._seek[Kind.WINDOWS].append((self._at, first, size))
        self._write_frame(pack_frame(Kind.WINDOWS, {"first": first}, arrays, self.params.level))
        self._counts["windows"] += size
        self._counts["vocab_size"] = max(self._counts["vocab_size"], int(ids.max()) + 1)
        self._ids[:] = 0
        self._rows, self._lengths, self._ends = [], [], [0]

    def _write_table(self, table: Batch) -> None:
        ends, start = table.head.offsets, 0
        while start < len(table):
            fit = int(np.searchsorted(ends, ends[start] + TABLE_BYTES, side="right")) - 1
            stop = min(max(fit, start + 1), start + TABLE_RECORDS, len(table))
            self._seek[Kind.DOCUMENTS].append((self._at, start, stop - start))
            self._write_frame(table.take(range(start, stop)).to_frame())
            start = stop

    def _write_frame(self, frame: bytes) -> None:
        self._write(frame)
        self._digest.update(frame)
        self._at += len(frame)
        self._num_frames += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise WriteError(f"{self.path}: {error.strerror}") from None
