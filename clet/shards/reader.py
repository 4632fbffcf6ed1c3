"""Random access to the windows of one shard; everything read is checked before it is believed.

Opening reads header, footer and end frame: a file of another length, format or tokenizer is refused there. Windows
are read frame by frame through the footer's seek table, each frame's xxh3 and structure checked when it is decoded;
the last decoded frames are kept (`CACHE_BYTES`), so that reading in order decodes each once. A read of one random
window costs its frame: 64 KB of uint16 ids at any window length up to 32,768.

No file stays open between calls, and calls may come from several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet.batch import Batch
from clet.container import Frame, Kind, read_frame
from clet.exits import InputError, UsageError
from clet.record import RecordError, check_record
from clet.shards.format import COUNTS, DTYPES, FORMAT, MAX_SEQ_LEN, TABLE_RECORDS, windows_per_frame

CACHE_BYTES = 32 << 20
TABLE_FIELDS = ("id", "source", "origin", "url", "title", "published", "fetched", "license", "raw")


@dataclass
class Windows:
    """`n` windows of `seq_len` positions.

    `ids` [n, seq_len] of the shard's dtype, `loss_mask` [n, seq_len] bool (False on padding), `segments`
    [n, seq_len] int32: the number of the document inside its window, from 0, -1 on padding. `documents[i]` holds
    the rows of the shard's document table that window i's segments 0, 1, ... come from.
    """

    ids: np.ndarray
    loss_mask: np.ndarray
    segments: np.ndarray
    documents: list[np.ndarray]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A checked WINDOWS frame: window i has the segments `starts[i]` to `ends[i]` of `lengths` and `rows`."""

    ids: np.ndarray  # [w, seq_len]
    starts: np.ndarray  # [w] int64
    ends: np.ndarray  # [w] int64
    lengths: np.ndarray  # [total] int64
    rows: np.ndarray  # [total] int64


class ShardReader:
    """One shard file. `root` and `fingerprint` are hex, `vocab_size` is above every id; counts are the footer's."""

    path: Path
    root: str
    fingerprint: str
    lane: str
    seq_len: int
    dtype: np.dtype
    vocab_size: int
    eos_id: int | None
    num_windows: int
    num_tokens: int
    num_documents: int
    num_bytes: int
    newest: str | None

    def __init__(self, path: Path):
        self.path = path
        self._cache: OrderedDict[int, _Decoded] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    @staticmethod
    def open(path: str | Path, *, fingerprint: str | None = None) -> ShardReader:
        """The shard at `path`, which must have been made with the tokenizer `fingerprint` if one is given.

        Raises UsageError for a file that cannot be opened, InputError for one that is no shard, is damaged or
        truncated, or was made with another tokenizer.
        """
        reader = ShardReader(Path(path))
        counts = reader._read_header()
        if fingerprint is not None and reader.fingerprint != fingerprint:
            raise InputError(
                f"{path}: made with tokenizer {reader.fingerprint}, not {fingerprint}; shard its records anew"
            )
        reader._read_footer(counts)
        return reader

    # ---- opening

    def _read_header(self) -> dict[str, int]:
        frame, self._header_end = self._frame_at(0, Kind.SHARD_HEADER)
        info = frame.info
        if info.get("format") != FORMAT:
            raise InputError(f"{self.path}: shard format {info.get('format')}; this clet reads format {FORMAT}")
        try:
            self.dtype, self.seq_len = DTYPES[info["dtype"]], info["seq_len"]
            self.fingerprint, self.lane, self.eos_id = info["fp"], info["lane"], info["eos"]
            counts = dict(zip(COUNTS, map(int, frame.arrays["counts"]), strict=True))
            if not (isinstance(self.seq_len, int) and 0 < self.seq_len <= MAX_SEQ_LEN):
                raise ValueError("seq_len is out of range")
            if not (isinstance(self.fingerprint, str) and isinstance(self.lane, str)):
                raise ValueError("fp or lane is no text")
            if counts["footer"] >= counts["bytes"]:
                raise ValueError("its footer is outside the file")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed shard header: {error}") from None
        size = self.path.stat().st_size
        if size != counts["bytes"]:
            word = "truncated" if size < counts["bytes"] else "more than one shard, or something else behind it"
            raise InputError(f"{self.path}: {size} bytes where its header says {counts['bytes']}: {word}")
        self.num_windows, self.num_tokens, self.num_documents = (counts[name] for name in COUNTS[:3])
        self.vocab_size, self.num_bytes = counts["vocab_size"], counts["bytes"]
        return counts

    def _read_footer(self, counts: dict[str, int]) -> None:
        self._footer_offset = counts["footer"]
        footer, at = self._frame_at(self._footer_offset, Kind.SHARD_FOOTER)
        closing, at = self._frame_at(at, Kind.END)
        try:
            self.root, self.newest = footer.info["root"], footer.info["newest"]
            self._seek_windows, self._seek_documents = footer.arrays["windows"], footer.arrays["documents"]
            agree = all(footer.info[name] == counts[name] for name in COUNTS[:3]) and at == counts["bytes"]
            agree &= closing.info["frames"] == len(self._seek_windows) + len(self._seek_documents) + 2
            most, end = windows_per_frame(self.seq_len), footer.offset
            agree &= _is_seek_table(self._seek_windows, self.num_windows, most, end)
            agree &= _is_seek_table(self._seek_documents, self.num_documents, TABLE_RECORDS, end)
            if not agree or len(bytes.fromhex(self.root)) != 32:
                raise ValueError("it contradicts the header")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed footer at byte {footer.offset}: {error}") from None

    def _frame_at(self, offset: int, kind: Kind) -> tuple[Frame, int]:
        """The frame at a byte offset, which must be of `kind`, and where the next one begins."""
        try:
            file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed below, read errors are the caller's
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        with file:
            file.seek(offset)
            try:
                got = read_frame(file, str(self.path), offset)
            except IsADirectoryError as error:
                raise UsageError(f"{self.path}: {error.strerror}") from None
        if got is None:
            raise InputError(f"{self.path}: truncated: nothing at byte {offset}")
        frame, size = got
        if frame.kind is not kind:
            expected = kind.name.lower().replace("_", " ")
            raise InputError(f"{self.path}: a {frame.kind.name.lower()} frame at byte {offset}, not a {expected}")
        return frame, offset + size

    def check_layout(self) -> None:
        """Raise InputError unless the frames that the footer names fill the file without gap or overlap."""
        at = self._header_end
        for kind, table in ((Kind.WINDOWS, self._seek_windows), (Kind.DOCUMENTS, self._seek_documents)):
            for offset in table[:, 0]:
                if offset != at:
                    raise InputError(f"{self.path}: bytes {at} to {offset} belong to no frame of its footer")
                at = self._frame_at(at, kind)[1]
        if at != self._footer_offset:
            raise InputError(f"{self.path}: bytes {at} to {self._footer_offset} belong to no frame of its footer")

    # ---- windows

    def windows(self, indices: Sequence[int] | np.ndarray) -> Windows:
        """The windows `[n]` named, in that order. Raises IndexError out of range, InputError on damage."""
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < self.num_windows):
            raise IndexError(f"{self.path}: windows 0 to {self.num_windows - 1} exist")
        ids = np.empty((len(indices), self.seq_len), self.dtype)
        segments = np.full((len(indices), self.seq_len), -1, np.int32)
        documents: list[np.ndarray] = [np.zeros(0, np.int64)] * len(indices)
        frames = np.searchsorted(self._seek_windows[:, 1], indices, side="right") - 1
        for frame in np.unique(frames):
            decoded = self._decoded(int(frame))
            places = np.flatnonzero(frames == frame)
            inside = indices[places] - self._seek_windows[frame, 1]
            ids[places] = decoded.ids[inside]
            for place, start, end in zip(places, decoded.starts[inside], decoded.ends[inside], strict=True):
                numbers = np.repeat(np.arange(end - start, dtype=np.int32), decoded.lengths[start:end])
                segments[place, : len(numbers)] = numbers
                documents[place] = decoded.rows[start:end]
        return Windows(ids, segments >= 0, segments, documents)

    def all_windows(self) -> Iterator[Windows]:
        """All windows in order, one frame at a time."""
        for _, first, count in self._seek_windows:
            yield self.windows(np.arange(first, first + count))

    def _decoded(self, frame: int) -> _Decoded:
        with self._lock:
            if (found := self._cache.get(frame)) is not None:
                self._cache.move_to_end(frame)
                return found
        decoded = self._decode(frame)
        with self._lock:
            if frame not in self._cache:
                self._cache[frame] = decoded
                self._cached_bytes += decoded.ids.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].ids.nbytes
        return decoded

    def _decode(self, frame: int) -> _Decoded:
        offset, first, size = (int(n) for n in self._seek_windows[frame])
        got, _ = self._frame_at(offset, Kind.WINDOWS)
        try:
            ids, ends = got.arrays["ids"], got.arrays["segment_ends"].astype(np.int64)
            lengths, rows = got.arrays["segment_lengths"].astype(np.int64), got.arrays["segment_rows"]
            if got.info["first"] != first or ids.shape != (size, self.seq_len) or ids.dtype != self.dtype:
                raise ValueError("not the windows that the footer names")
            if ends.shape != (size,) or not len(ends) or ends[-1] != len(lengths) or lengths.shape != rows.shape:
                raise ValueError("segments of unequal length")
            starts = np.concatenate(([0], ends[:-1]))
            if (ends <= starts).any() or lengths.min() < 1 or rows.max() >= self.num_documents:
                raise ValueError("segments out of range")
            padding = self.seq_len - np.add.reduceat(lengths, starts)
            if padding.min() < 0 or int(ids.max()) >= self.vocab_size:
                raise ValueError("a window or an id is out of range")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed windows at byte {offset}: {error}") from None
        return _Decoded(ids, starts, ends, lengths, rows.astype(np.int64))

    # ---- documents

    def documents(self) -> list[dict[str, Any]]:
        """The document table in its order: id, source, origin, url, title, published, fetched, license, raw, tokens.

        `tokens` counts what the document occupies in the windows, its end-of-document token included.
        """
        return [{f: head.get(f) for f in TABLE_FIELDS} | {"tokens": head["shard"]["tokens"]} for head in self._heads]

    def heads(self) -> list[dict[str, Any]]:
        """The same rows with every field that the records carried but text and tokens."""
        return [dict(head) for head in self._heads]

    @cached_property
    def _heads(self) -> list[dict[str, Any]]:
        heads: list[dict[str, Any]] = []
        for offset, first, count in self._seek_documents:
            frame, _ = self._frame_at(int(offset), Kind.DOCUMENTS)
            batch = Batch.from_frame(frame, str(self.path))
            try:
                if first != len(heads) or count != len(batch):
                    raise ValueError("not the documents that the footer names")
                for row in range(len(batch)):
                    heads.append(_check_head(orjson.loads(batch.head.bytes_at(row))))
            except ValueError as error:
                raise InputError(f"{self.path}: malformed documents at byte {offset}: {error}") from None
        return heads


def _check_head(head: Any) -> dict[str, Any]:
    check_record(head)
    shard = head.get("shard")
    if not isinstance(shard, dict) or not isinstance(shard.get("tokens"), int):
        raise RecordError("a document without its count of tokens")
    return head


def _is_seek_table(table: np.ndarray, total: int, most: int, end: int) -> bool:
    """Whether [offset, first, count] rows cover 0 to `total` without gap, at most `most` a frame, all before `end`."""
    if table.ndim != 2 or table.shape[1] != 3 or table.dtype != np.int64:
        return False
    offsets, firsts, counts = table.T
    if (offsets < 0).any() or (offsets >= end).any() or (counts < 1).any() or (counts > most).any():
        return False
    ends = np.cumsum(counts)
    return bool((firsts == ends - counts).all()) and int(counts.sum()) == total
