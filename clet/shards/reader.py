"""The windows of one shard, in order, shuffled or one by one; everything read is checked before it is believed.

The file is mapped. A frame's xxh3 and structure are checked when its first window is read (256 KB at a time); from
then on its windows are gathered straight out of the mapping, however they are shuffled, and in order they are not
copied at all. Compressed frames are decompressed instead, and the last of them kept (`CACHE_BYTES`).

Shards may follow each other in one file (`cat a b`): `shards_in` gives a reader for each. Those that do not begin at
a multiple of four bytes are read as compressed ones are. Calls may come from several threads.

Memory: 40 bytes a frame, and pages of the file, which the system takes back when it needs them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet.batch import Batch
from clet.container import Kind
from clet.exits import InputError
from clet.shards.layout import ShardFile
from clet.shards.mask import is_placed
from clet.shards.windows import Windows, joined, ranges, take_spans

CACHE_BYTES = 32 << 20
TABLE_FIELDS = ("id", "source", "origin", "url", "title", "published", "fetched", "license", "raw")
_U4 = np.dtype("<u4")


class ShardReader(ShardFile):
    """The windows and documents of one shard."""

    def __init__(self, path: Path, fingerprint: str | None, offset: int | None):
        super().__init__(path, fingerprint, offset)
        self._firsts = np.ascontiguousarray(self._seek_windows[:, 1])
        self._is_flat = not self._is_zstd and self._base % _U4.itemsize == 0
        # Where ids, ends, lengths and rows of each frame begin, in items from the file's start; 0: not checked yet.
        self._places = np.zeros((4, len(self._seek_windows)), np.int64)
        self._masked: dict[int, np.ndarray] = {}  # spans of the checked frames
        self._cache: OrderedDict[int, Windows] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    @staticmethod
    def open(path: str | Path, *, fingerprint: str | None = None, offset: int | None = None) -> ShardReader:
        """The shard that is the file `path`, or begins at byte `offset` of it, whatever follows.

        It must have been made with the tokenizer `fingerprint` if one is given. Raises UsageError for a file that
        cannot be opened, InputError for one that is no shard, is damaged or truncated, or was made with another
        tokenizer.
        """
        return ShardReader(Path(path), fingerprint, offset)

    # ---- windows

    def windows(self, indices: Sequence[int] | np.ndarray) -> Windows:
        """The windows `[n]` named, in that order. Raises IndexError out of range, InputError on damage."""
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < self.num_windows):
            raise IndexError(f"{self.path}: windows 0 to {self.num_windows - 1} exist")
        frames = np.searchsorted(self._firsts, indices, side="right") - 1
        inside = indices - self._firsts[frames]
        return self._gather(frames, inside) if self._is_flat else self._pick(frames, inside)

    def all_windows(self) -> Iterator[Windows]:
        """All windows in order, one frame at a time; those of an uncompressed shard are not copied."""
        for frame in range(len(self._seek_windows)):
            yield self._decode(frame)

    def _gather(self, frames: np.ndarray, inside: np.ndarray) -> Windows:
        """Windows of checked frames, straight out of the mapping."""
        places = self._places[:, frames]
        if not places[0].all():
            for frame in np.unique(frames[places[0] == 0]).tolist():
                self._decode(frame)
            places = self._places[:, frames]
        view = self._file.view()
        width, seq_len = self.dtype.itemsize, self.seq_len
        shape = (max(0, len(view) // width - seq_len + 1), seq_len)
        every = np.ndarray(shape, self.dtype, view, 0, (width, width))  # row i: the window that begins at item i
        numbers = np.frombuffer(view, _U4, len(view) // _U4.itemsize)
        ends = numbers[places[1] + inside].astype(np.int64)
        starts = np.where(inside > 0, numbers[places[1] + np.maximum(inside, 1) - 1], 0).astype(np.int64)
        counts = ends - starts
        picked, total = ranges(starts, counts)
        lengths = numbers[picked + np.repeat(places[2], counts)].astype(np.int64)
        rows = numbers[picked + np.repeat(places[3], counts)].astype(np.int64)
        found = Windows(every[places[0] + inside * seq_len], total, lengths, rows)
        if self.num_masked:
            found.masked = self._masked_of(frames, inside)
        return found

    def _masked_of(self, frames: np.ndarray, inside: np.ndarray) -> np.ndarray:
        parts = [np.zeros((0, 2), np.int64)]
        for place, (frame, window) in enumerate(zip(frames.tolist(), inside.tolist(), strict=True)):
            spans = take_spans(self._masked[frame], np.asarray([window]), self.seq_len)
            parts.append(spans + place * self.seq_len)
        return np.concatenate(parts)

    def _pick(self, frames: np.ndarray, inside: np.ndarray) -> Windows:
        """Windows of frames that have to be decoded, each once."""
        order = np.argsort(frames, kind="stable")
        parts = []
        for frame in np.unique(frames).tolist():
            parts.append(self._cached(frame).take(inside[order[frames[order] == frame]]))
        if not parts:
            none = np.zeros(0, np.int64)
            return Windows(np.empty((0, self.seq_len), self.dtype), none, none, none)
        return joined(parts).take(np.argsort(order, kind="stable"))

    def _cached(self, frame: int) -> Windows:
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

    def _decode(self, frame: int) -> Windows:
        """All windows of a frame, checked; in a flat shard its places are known from then on."""
        offset, first, size = self._seek_windows[frame].tolist()
        got, _ = self._frame_at(offset, Kind.WINDOWS)
        try:
            arrays = got.arrays
            ids, ends, lengths, rows = (arrays[n] for n in ("ids", "segment_ends", "segment_lengths", "segment_rows"))
            if got.info["first"] != first or ids.shape != (size, self.seq_len) or ids.dtype != self.dtype:
                raise ValueError("not the windows that the footer names")
            if not ends.dtype == lengths.dtype == rows.dtype == _U4:
                raise ValueError("segments of another type")
            found = Windows(ids, ends.astype(np.int64), lengths.astype(np.int64), rows.astype(np.int64))
            self._check(found)
            if (masked := arrays.get("masked")) is not None:
                if not is_placed(masked, size, self.seq_len):
                    raise ValueError("masked spans out of order or range")
                found.masked = masked.astype(np.int64)
            if self._is_flat:
                self._masked[frame] = found.masked
                self._note(frame, (ids, ends, lengths, rows))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed windows at byte {self._base + offset}: {error}") from None
        return found

    def _check(self, found: Windows) -> None:
        """Raise ValueError unless the segments fit the windows, the document table and the vocabulary."""
        ends, lengths, rows = found.ends, found.lengths, found.rows
        if ends.shape != (len(found.ids),) or not len(ends) or ends[-1] != len(lengths) or lengths.shape != rows.shape:
            raise ValueError("segments of unequal length")
        starts = np.concatenate(([0], ends[:-1]))
        if (ends <= starts).any() or lengths.min() < 1 or rows.max() >= self.num_documents:
            raise ValueError("segments out of range")
        if np.add.reduceat(lengths, starts).max() > self.seq_len or int(found.ids.max()) >= self.vocab_size:
            raise ValueError("a window or an id is out of range")

    def _note(self, frame: int, arrays: Sequence[np.ndarray]) -> None:
        """Remember where in the file the arrays of a checked frame are, in items."""
        view = self._file.view()
        base = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
        places = [array.__array_interface__["data"][0] - base for array in arrays]
        if not all(0 < place < len(view) for place in places):
            raise ValueError("compressed, in a shard that says it is not")
        widths = [array.itemsize for array in arrays]
        # The first is what tells other threads that all are there.
        for row in (3, 2, 1, 0):
            self._places[row, frame] = places[row] // widths[row]

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
        return [head for part in self.tables() for head in part]

    def tables(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of `heads`, one frame's after the other's, in bounded memory."""
        for offset, _, count in self._seek_documents.tolist():
            frame, _ = self._frame_at(offset, Kind.DOCUMENTS)
            batch = Batch.from_frame(frame, str(self.path))
            try:
                tokens = frame.arrays["tokens"]
                if count != len(batch) or tokens.shape != (count,) or tokens.dtype != _U4:
                    raise ValueError("not the documents that the footer names")
                heads = [orjson.loads(batch.head.bytes_at(row)) for row in range(count)]
            except (KeyError, ValueError) as error:
                raise InputError(f"{self.path}: malformed documents at byte {self._base + offset}: {error}") from None
            part = [head | {"shard": {"tokens": size}} for head, size in zip(heads, tokens.tolist(), strict=True)]
            yield part


def shards_in(path: str | Path, *, fingerprint: str | None = None) -> Iterator[ShardReader]:
    """A reader of each shard of a file, which may hold several one behind the other. Raises as `ShardReader.open`."""
    reader = ShardReader.open(path, fingerprint=fingerprint, offset=0)
    yield reader
    while not reader.is_last:
        reader = ShardReader.open(path, fingerprint=fingerprint, offset=reader.end)
        yield reader
