"""Writing one shard: frames of windows as they come, then the table, the footer, and at last the header.

The name is 128 bits of SHA-256 over the shard's bytes, its header last; windows enter it by their frames' headers,
which hold their xxh3: over all ids it would cost as much as all else. Memory: one frame of windows, those that are
being compressed, and the table (see `table`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

from clet.container import Kind, end_frame, frame_parts
from clet.exits import WriteError
from clet.shards.fit import SEGMENTS, WINDOWS
from clet.shards.format import COUNTS, FORMAT, ShardParams, windows_per_frame
from clet.shards.mask import MaskWriter, Spans
from clet.shards.pack import new_room
from clet.shards.table import TableWriter
from clet.sinks import write_all

WRITE_BACK_BYTES = 4 << 20  # so that the disk works while windows are packed, in pieces that suit it

Parts = Sequence[bytes | memoryview]


class ShardWriter:
    """Writes one shard file: add to `table`, fill `room` and `flush`, again and again, then `seal` and `sync`.

    `compressors` compress frames side by side, which changes no byte. `write_back` is called with (descriptor, offset,
    size) for each `WRITE_BACK_BYTES` written. Raises WriteError; `abort` leaves no file.
    """

    def __init__(
        self,
        path: Path,
        params: ShardParams,
        compressors: Executor | None = None,
        ahead: int = 4,
        write_back: Callable[[int, int, int], None] | None = None,
    ):
        self.path, self.params = path, params
        self.room = new_room(windows_per_frame(params.seq_len, params.level is not None), params.seq_len, params.dtype)
        self._compressors = compressors if params.level is not None else None
        self._ahead = ahead
        self._write_back, self._written_back = write_back, 0  # up to that byte
        self.table = TableWriter(compressors)
        self._mask = MaskWriter()
        self._digest = hashlib.sha256()
        self._counts = dict.fromkeys(COUNTS, 0)
        self._num_frames = 0
        self._seek: list[tuple[int, int, int]] = []  # offset, first window, windows of each frame
        self._pending: deque[tuple[int, int, Future[list[bytes | memoryview]]]] = deque()
        self._fd = -1
        header = self._header()
        self._at = sum(map(len, header))
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            write_all(self._fd, header)
        except OSError as error:
            self.abort()
            raise WriteError(f"{path}: {error.strerror}") from None

    def mask(self, row: int, spans: Spans) -> None:
        """Say, before it is packed, that tokens of a document are not to be learned."""
        self._mask.add(row, spans)

    def flush(self) -> None:
        """Write the windows in `room`, and empty it."""
        room = self.room
        size, segments, _ = room.fill.tolist()
        if not size:
            return
        arrays = {
            "ids": room.ids[:size],
            "segment_ends": room.ends[:size],
            "segment_lengths": room.lengths[:segments],
            "segment_rows": room.rows[:segments],
        }
        masked = self._mask.place(room)
        if len(masked):
            arrays["masked"] = masked
        counts = self._counts
        first = counts["windows"]
        counts["windows"] += size
        counts["tokens"] += int(room.lengths[:segments].sum())
        counts["masked"] += int(masked[:, 1].sum()) - int(masked[:, 0].sum())
        if not self.params.vocab_size:
            counts["vocab_size"] = max(counts["vocab_size"], int(room.ids[:size].max()) + 1)
        self._add_frame(size, {"first": first}, arrays)
        room.fill[WINDOWS] = room.fill[SEGMENTS] = 0

    def seal(self) -> str:
        """Write the document table and the footer and fill in the header; the shard's name, 32 hex digits."""
        self.flush()
        self._settle(0)
        table, counts, seek = self.table, self._counts, []
        for size, frame in table.frames():
            seek.append((self._at, counts["documents"], size))
            counts["documents"] += size
            self._write([frame])
        counts["footer"] = self._at
        counts["vocab_size"] = self.params.vocab_size or counts["vocab_size"]
        info = {"root": table.root().hex(), "newest": table.newest, "fetched": table.fetched}
        tables = {
            "windows": np.asarray(self._seek, np.int64).reshape(-1, 3),
            "documents": np.asarray(seek, np.int64).reshape(-1, 3),
        }
        self._write(frame_parts(Kind.SHARD_FOOTER, info | {name: counts[name] for name in COUNTS[:4]}, tables))
        self._write([end_frame(self._num_frames + 1)])  # with the header
        counts["bytes"] = self._at
        header = b"".join(self._header())
        self._digest.update(header)
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            write_all(self._fd, [header])
        except OSError as error:
            raise WriteError(f"{self.path}: {error.strerror}") from None
        return self._digest.hexdigest()[:32]

    def sync(self) -> None:
        """Make the sealed file durable."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise WriteError(f"{self.path}: {error.strerror}") from None
        finally:
            self._close()

    def abort(self) -> None:
        """Forget the file; never fails."""
        for _, _, job in self._pending:
            job.cancel()
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _header(self) -> Parts:
        params = self.params
        info = {
            "format": FORMAT,
            "dtype": "u16" if params.dtype.itemsize == 2 else "u32",
            "seq_len": params.seq_len,
            "fp": params.fingerprint,
            "lane": params.lane,
            "eos": params.eos_id,
            "zstd": params.level is not None,
        }
        counts = np.asarray([self._counts[name] for name in COUNTS], np.uint64)
        return frame_parts(Kind.SHARD_HEADER, info, {"counts": counts})

    def _add_frame(self, size: int, info: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Write a frame of `size` windows, or have it compressed, to be written after those before it."""
        level = self.params.level
        if self._compressors is None:
            self._seek.append((self._at, info["first"], size))
            self._write(frame_parts(Kind.WINDOWS, info, arrays, level), hashed=1)
            return
        own = {name: array.copy() for name, array in arrays.items()}  # the room is filled again meanwhile
        job = self._compressors.submit(frame_parts, Kind.WINDOWS, info, own, level)
        self._pending.append((info["first"], size, job))
        self._settle(self._ahead)

    def _settle(self, allowed: int) -> None:
        """Write compressed frames, in their order, until at most `allowed` are under way."""
        while len(self._pending) > allowed:
            first, size, job = self._pending.popleft()
            self._seek.append((self._at, first, size))
            self._write(job.result(), hashed=1)

    def _write(self, frame: Parts, hashed: int | None = None) -> None:
        """Write a frame, of which the first `hashed` parts (all of them if None) enter the name."""
        try:
            write_all(self._fd, frame)
        except OSError as error:
            raise WriteError(f"{self.path}: {error.strerror}") from None
        for part in frame[:hashed]:
            self._digest.update(part)
        self._at += sum(map(len, frame))
        self._num_frames += 1
        if self._write_back and self._at - self._written_back >= WRITE_BACK_BYTES:
            self._write_back(self._fd, self._written_back, self._at - self._written_back)
            self._written_back = self._at
