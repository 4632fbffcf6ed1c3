"""The windows of one shard, in order, shuffled or one by one; everything read is checked before it is believed.

The file is mapped. A frame's xxh3 and structure are checked when its first window is read (512 KB at a time); from
then on its windows are gathered straight out of the mapping, however they are shuffled, and in order they are not
copied at all. Compressed frames are decompressed instead, and the last of them kept (`CACHE_BYTES`). Checking takes
what it takes to fetch the frame and hash it, and 15 us.

Shards may follow each other in one file (`cat a b`): `shards_in` gives a reader for each. Those that do not begin at
a multiple of four bytes are read as compressed ones are. Calls may come from several threads.

Memory: 40 bytes a frame, and pages of the file, which the system takes back when it needs them.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet.batch import Batch
from clet.container import ALIGN, Kind, StoredFrame, stored_frame_at
from clet.exits import InputError
from clet.shards.layout import ShardFile
from clet.shards.mask import is_placed
from clet.shards.windows import NO_SPANS, Segments, Windows, merged, ranges, take_spans

CACHE_BYTES = 32 << 20
FRAMES_AT_ONCE = 2  # that are checked before the first of them is read: they stay in a cache of 2 MB
TABLE_FIELDS = ("id", "source", "origin", "url", "title", "published", "fetched", "license", "raw")
_U4 = np.dtype("<u4")
_NAMES = ("ids", "segment_ends", "segment_lengths", "segment_rows")
_IDS, _ENDS, _LENGTHS, _ROWS, _MASKED = range(5)
_NO_MASK = np.zeros((0, 2), _U4)


class ShardReader(ShardFile):
    """The windows and documents of one shard."""

    def __init__(self, path: Path, fingerprint: str | None, offset: int | None):
        super().__init__(path, fingerprint, offset)
        self._firsts = np.ascontiguousarray(self._seek_windows[:, 1])
        sizes = self._seek_windows[:, 2]
        size = int(sizes[0]) if len(sizes) else 0
        # Windows in each frame but the last, which may be shorter; 0 where frames are not so.
        self._frame_windows = size if (sizes[:-1] == size).all() and (sizes <= size).all() else 0
        self._is_flat = not self._is_zstd and self._base % _U4.itemsize == 0
        # Where ids, ends, lengths and rows of each frame begin, in items from the file's start; 0: not checked yet.
        self._places = np.zeros((len(self._seek_windows), 4), np.int64)
        self._masked: dict[int, np.ndarray] = {}  # spans of the checked frames
        self._cache: OrderedDict[int, Windows] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._name = str(path)

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

    @property
    def frame_windows(self) -> int:
        """Windows in each frame but the last; 0 where windows cannot be read from where they are mapped."""
        return self._frame_windows if self._is_flat else 0

    @property
    def num_frames(self) -> int:
        """Frames of windows."""
        return len(self._seek_windows)

    def layout(self, indices: np.ndarray) -> Segments:
        """The segments of windows `[n]`, whose frames have been checked, of a shard with `frame_windows`."""
        return self._segments(*self._find(indices))

    def check_size(self) -> None:
        """Raise InputError where the file is shorter than when it was opened."""
        self._file.view()

    def mapped(self, frames: np.ndarray) -> tuple[memoryview, np.ndarray]:
        """The mapping, and where in it the ids of each frame begin, in bytes: `[frames]`, 0 where not checked yet.

        `frames`, of a shard with `frame_windows`, are checked. Raises InputError on damage.
        """
        self._check_flat(frames[self._places[frames, _IDS] == 0])
        return self._file.view(), self._places[:, _IDS] * self.dtype.itemsize

    def all_windows(self) -> Iterator[Windows]:
        """All windows in order, one frame at a time; those of an uncompressed shard are not copied."""
        if not self._is_flat:
            yield from map(self._decode, range(self.num_frames))
            return
        for first in range(0, self.num_frames, FRAMES_AT_ONCE):
            frames = np.arange(first, min(first + FRAMES_AT_ONCE, self.num_frames))
            self._check_flat(frames[self._places[frames, _IDS] == 0])
            yield from self._flat(frames)

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
            self._check_flat(np.unique(frames[places == 0]))
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
            there = take_spans(self._masked.get(frame, NO_SPANS), np.asarray([window]), self.seq_len)
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
        """All windows of a frame that is compressed or not aligned, checked."""
        offset, first, size = self._seek_windows[frame].tolist()
        got, _ = self._frame_at(offset, Kind.WINDOWS)
        try:
            ids, ends, lengths, rows = (got.arrays[name] for name in _NAMES)
            if got.info["first"] != first or ids.shape != (size, self.seq_len) or ids.dtype != self.dtype:
                raise ValueError("not the windows that the footer names")
            if not ends.dtype == lengths.dtype == rows.dtype == _U4 or ends.shape != (size,):
                raise ValueError("segments of another type")
            if lengths.ndim != 1 or rows.shape != lengths.shape:
                raise ValueError("segments of unequal length")
            self._judge(ids, ends, lengths, rows)
            masked = self._placed(got.arrays.get("masked", _NO_MASK), size)
        except (KeyError, TypeError, ValueError) as error:
            raise self._malformed(offset, error) from None
        return Windows(ids, lambda: Segments(*(each.astype(np.int64) for each in (ends, lengths, rows)), masked))

    def _flat(self, frames: np.ndarray) -> Iterator[Windows]:
        """All windows of each of some checked frames of a flat shard, as they lie in the mapping."""
        view, width = self._file.view(), self.dtype.itemsize
        sizes, places = self._seek_windows[frames, 2].tolist(), self._places[frames, _IDS].tolist()
        for frame, size, place in zip(frames.tolist(), sizes, places, strict=True):
            ids = np.ndarray((size, self.seq_len), self.dtype, view, place * width)
            yield Windows(ids, partial(self._segments_of, frame, size))

    def _segments_of(self, frame: int, size: int) -> Segments:
        """The segments of all windows of a checked frame."""
        return self._segments(np.full(size, frame), np.arange(size))

    def _check_flat(self, frames: np.ndarray) -> None:
        """Check frames of a flat shard; their places are known from then on."""
        if not len(frames):
            return
        view = self._file.view()
        ids = np.frombuffer(view, self.dtype, len(view) // self.dtype.itemsize)
        numbers = np.frombuffer(view, _U4, len(view) // _U4.itemsize)
        done = 0
        while done < len(frames):
            if "clet.kernels" in sys.modules:  # else they would be loaded for longer than they save
                from clet.shards.check import check_frames

                done += check_frames(
                    np.frombuffer(view, np.uint8),
                    ids,
                    numbers,
                    self._base,
                    self._seek_windows,
                    frames[done:],
                    self.seq_len,
                    self.num_documents,
                    self.vocab_size,
                    self._places,
                )
            if done < len(frames):
                self._check_one(int(frames[done]), view, ids, numbers)
                done += 1

    def _check_one(self, frame: int, view: memoryview, ids: np.ndarray, numbers: np.ndarray) -> None:
        """The same for one frame, whatever its JSON looks like. Raises InputError where it is not right."""
        offset, first, size = self._seek_windows[frame].tolist()
        got = stored_frame_at(view, self._name, self._base + offset)
        try:
            if got.kind is not Kind.WINDOWS or got.info["first"] != first:
                raise ValueError("not the windows that the footer names")
            begin, ends, lengths, rows, segments, masked, num_masked = self._find_arrays(got, size)
            parts = numbers[ends : ends + size], numbers[lengths:][:segments], numbers[rows:][:segments]
            self._judge(ids[begin : begin + size * self.seq_len], *parts)
            if num_masked:
                self._masked[frame] = self._placed(numbers[masked:][: 2 * num_masked].reshape(-1, 2), size)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise self._malformed(offset, error) from None
        # The place of the ids comes last: it tells other threads that all are there.
        self._places[frame, _ENDS:] = ends, lengths, rows
        self._places[frame, _IDS] = begin

    def _find_arrays(self, got: StoredFrame, size: int) -> tuple[int, int, int, int, int, int, int]:
        """Where the ids of a frame begin, in ids of the file; where ends, lengths and rows do, in u32 of the file, and
        how many segments there are; where masked spans do, and how many.

        Raises ValueError, IndexError or TypeError unless the arrays are those of `size` windows, in their order, each
        behind the other.
        """
        told = got.arrays
        segments, num_masked = told[_ROWS][2][0], told[_MASKED][2][0] if len(told) > _MASKED else 0
        if type(segments) is not int or type(num_masked) is not int or min(segments, num_masked) < 0:
            raise ValueError("arrays of no size")
        ends = _aligned(size * self.seq_len * self.dtype.itemsize)
        lengths = ends + _aligned(4 * size)
        rows = lengths + _aligned(4 * segments)
        masked = rows + _aligned(4 * segments)
        expected = [
            ["ids", self.dtype.str, [size, self.seq_len], 0],
            ["segment_ends", "<u4", [size], ends],
            ["segment_lengths", "<u4", [segments], lengths],
            ["segment_rows", "<u4", [segments], rows],
        ]
        if len(told) > _MASKED:
            expected.append(["masked", "<u4", [num_masked, 2], masked])
        start = got.start
        if told != expected or start + masked + _aligned(8 * num_masked) != got.end or start % 4:
            raise ValueError("not the arrays of its windows")
        fours = start // 4
        return (
            start // self.dtype.itemsize,
            fours + ends // 4,
            fours + lengths // 4,
            fours + rows // 4,
            segments,
            fours + masked // 4,
            num_masked,
        )

    def _judge(self, ids: np.ndarray, ends: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> None:
        """Raise ValueError unless the segments fit the windows and the document table, and ids the vocabulary."""
        if not _fit(ends, lengths, rows, self.seq_len, self.num_documents):
            raise ValueError("segments out of range")
        if int(ids.max()) >= self.vocab_size:
            raise ValueError("an id is out of range")

    def _placed(self, masked: np.ndarray, size: int) -> np.ndarray:
        """Masked spans of a frame of `size` windows, as int64. Raises ValueError where they are none."""
        if not is_placed(masked, size, self.seq_len):
            raise ValueError("masked spans out of order or range")
        return masked.astype(np.int64)

    def _malformed(self, offset: int, why: Exception) -> InputError:
        return InputError(f"{self.path}: malformed windows at byte {self._base + offset}: {why}")

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


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // ALIGN) * ALIGN


def _fit(ends: np.ndarray, lengths: np.ndarray, rows: np.ndarray, seq_len: int, num_documents: int) -> bool:
    """The same as the kernel `check.fit`."""
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
