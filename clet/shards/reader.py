"""The windows of one shard, in order, shuffled or one by one; everything read is checked before it is believed.

The file is mapped. A frame's xxh3 and structure are checked when its first window is read (512 KB at a time); from
then on its windows are gathered straight out of the mapping, however they are shuffled, and in order they are not
copied at all. Compressed frames are decompressed instead, and the last of them kept (`CACHE_BYTES`).

Shards may follow each other in one file (`cat a b`): `shards_in` gives a reader for each. Those that do not begin at
a multiple of four bytes are read as compressed ones are. Calls may come from several threads.

Memory: 40 bytes a frame, and pages of the file, which the system takes back when it needs them.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
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
from clet.shards.windows import NO_SPANS, Segments, Windows, merged, ranges, take_spans

CACHE_BYTES = 32 << 20
TABLE_FIELDS = ("id", "source", "origin", "url", "title", "published", "fetched", "license", "raw")
_U4 = np.dtype("<u4")
_IDS, _ENDS, _LENGTHS, _ROWS = range(4)
_NO_MASK = np.zeros((0, 2), _U4)


class ShardReader(ShardFile):
    """The windows and documents of one shard."""

    def __init__(self, path: Path, fingerprint: str | None, offset: int | None):
        super().__init__(path, fingerprint, offset)
        self._firsts = np.ascontiguousarray(self._seek_windows[:, 1])
        size = int(self._seek_windows[0, 2]) if len(self._firsts) else 0
        # Windows in each frame but the last, as they are written; 0 where frames differ.
        self._frame_windows = size if (self._firsts == size * np.arange(len(self._firsts))).all() else 0
        self._is_flat = not self._is_zstd and self._base % _U4.itemsize == 0
        # Where ids, ends, lengths and rows of each frame begin, in items from the file's start; 0: not checked yet.
        self._places = np.zeros((len(self._seek_windows), 4), np.int64)
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
        frames, inside = self._find(np.asarray(indices, np.int64))
        if not self._is_flat:
            return self._pick(frames, inside)
        starts = self._starts(frames, inside)
        view, width = self._file.view(), self.dtype.itemsize
        shape = (len(view) // width - self.seq_len + 1 if len(starts) else 0, self.seq_len)
        every = np.ndarray(shape, self.dtype, view, 0, (width, width))  # row i: the window that begins at item i
        return Windows(every[starts], lambda: self._segments(frames, inside))

    def read_into(self, out: np.ndarray, rows: np.ndarray, indices: np.ndarray) -> Callable[[], Segments]:
        """Copy the ids of windows `[n]` into `out[rows]`; what gives their segments. Raises as `windows`.

        Of uncompressed shards this is the fastest way.
        """
        from clet.shards.gather import copy_windows  # numba, which takes longer to load than many reads

        if not self._is_flat:
            found = self.windows(indices)
            out[rows] = found.ids
            return lambda: found.layout
        frames, inside = self._find(indices)
        starts, view = self._starts(frames, inside), self._file.view()
        copy_windows(np.frombuffer(view, self.dtype, len(view) // self.dtype.itemsize), starts, rows, out)
        return lambda: self._segments(frames, inside)

    def all_windows(self) -> Iterator[Windows]:
        """All windows in order, one frame at a time; those of an uncompressed shard are not copied."""
        for frame in range(len(self._seek_windows)):
            yield self._decode(frame)

    def _find(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The frame of each window, and its number there. Raises IndexError out of range."""
        if len(indices) and int(indices.view(np.uint64).max()) >= self.num_windows:  # negative ones are large then
            raise IndexError(f"{self.path}: windows 0 to {self.num_windows - 1} exist")
        if self._frame_windows:
            return np.divmod(indices, self._frame_windows)
        frames = np.searchsorted(self._firsts, indices, side="right") - 1
        return frames, indices - self._firsts[frames]

    def _starts(self, frames: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Where windows begin in the file, in items; their frames are checked."""
        places = self._places[frames, _IDS]
        if not places.all():
            for frame in np.unique(frames[places == 0]).tolist():
                self._decode(frame)
            places = self._places[frames, _IDS]
        return places + inside * self.seq_len

    def _segments(self, frames: np.ndarray, inside: np.ndarray) -> Segments:
        """The segments of windows of checked frames."""
        view, places = self._file.view(), self._places[frames]
        numbers = np.frombuffer(view, _U4, len(view) // _U4.itemsize)
        ends = numbers[places[:, _ENDS] + inside].astype(np.int64)
        starts = np.where(inside > 0, numbers[places[:, _ENDS] + np.maximum(inside, 1) - 1], 0).astype(np.int64)
        counts = ends - starts
        picked, total = ranges(starts, counts)
        lengths = numbers[picked + np.repeat(places[:, _LENGTHS], counts)].astype(np.int64)
        rows = numbers[picked + np.repeat(places[:, _ROWS], counts)].astype(np.int64)
        if not self.num_masked:
            return Segments(total, lengths, rows)
        spans = [NO_SPANS]
        for place, (frame, window) in enumerate(zip(frames.tolist(), inside.tolist(), strict=True)):
            there = take_spans(self._masked[frame], np.asarray([window]), self.seq_len)
            spans.append(there + place * self.seq_len)
        return Segments(total, lengths, rows, np.concatenate(spans))

    def _pick(self, frames: np.ndarray, inside: np.ndarray) -> Windows:
        """Windows of frames that have to be decoded, each once."""
        if not len(frames):
            return Windows(np.empty((0, self.seq_len), self.dtype), Segments(*[np.zeros(0, np.int64)] * 3))
        ids = np.empty((len(frames), self.seq_len), self.dtype)
        places = [np.flatnonzero(frames == frame) for frame in np.unique(frames)]
        layouts = []
        for rows in places:
            found = self._cached(int(frames[rows[0]]))
            ids[rows] = found.ids[inside[rows]]
            layouts.append(found.layout.take(inside[rows], self.seq_len))
        return Windows(ids, merged(layouts, places, self.seq_len))

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
            if not ends.dtype == lengths.dtype == rows.dtype == _U4 or ends.shape != (size,):
                raise ValueError("segments of another type")
            self._check(ids, ends, lengths, rows)
            masked = arrays.get("masked", _NO_MASK)
            if not is_placed(masked, size, self.seq_len):
                raise ValueError("masked spans out of order or range")
            if self._is_flat:
                self._masked[frame] = masked.astype(np.int64)
                self._note(frame, (ids, ends, lengths, rows))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path}: malformed windows at byte {self._base + offset}: {error}") from None
        return Windows(ids, lambda: Segments(*(each.astype(np.int64) for each in (ends, lengths, rows, masked))))

    def _check(self, ids: np.ndarray, ends: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> None:
        """Raise ValueError unless the segments fit the windows, the document table and the vocabulary."""
        if lengths.ndim != 1 or rows.shape != lengths.shape:
            raise ValueError("segments of unequal length")
        fit = _fit_windows
        if self._is_flat and "clet.kernels" in sys.modules:  # else they would be loaded for longer than they save
            from clet.shards.gather import fit_windows as fit
        if not fit(ends, lengths, rows, self.seq_len, self.num_documents):
            raise ValueError("segments out of range")
        if int(ids.max()) >= self.vocab_size:
            raise ValueError("an id is out of range")

    def _note(self, frame: int, arrays: Sequence[np.ndarray]) -> None:
        """Remember where in the file the arrays of a checked frame are, in items."""
        view, places = self._file.view(), [array.__array_interface__["data"][0] for array in arrays]
        base = np.frombuffer(view, np.uint8, 1).__array_interface__["data"][0]
        if not (base < min(places) and max(places) < base + len(view)):
            raise ValueError("compressed, in a shard that says it is not")
        items = [(place - base) // array.itemsize for place, array in zip(places, arrays, strict=True)]
        # The place of the ids comes last: it tells other threads that all are there.
        self._places[frame, _ENDS:] = items[_ENDS:]
        self._places[frame, _IDS] = items[_IDS]

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


def _fit_windows(ends: np.ndarray, lengths: np.ndarray, rows: np.ndarray, seq_len: int, num_documents: int) -> bool:
    """The same as the kernel of this name."""
    if ends[-1] != len(lengths) or ends[0] < 1 or (ends[1:] <= ends[:-1]).any():
        return False
    if lengths.min() < 1 or rows.max() >= num_documents:
        return False
    used = np.cumsum(lengths, dtype=np.int64)[ends - 1]
    return bool(used[0] <= seq_len and (np.diff(used) <= seq_len).all())


def shards_in(path: str | Path, *, fingerprint: str | None = None) -> Iterator[ShardReader]:
    """A reader of each shard of a file, which may hold several one behind the other. Raises as `ShardReader.open`."""
    reader = ShardReader.open(path, fingerprint=fingerprint, offset=0)
    yield reader
    while not reader.is_last:
        reader = ShardReader.open(path, fingerprint=fingerprint, offset=reader.end)
        yield reader
