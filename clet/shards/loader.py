"""Batches of windows from many shards, in order or shuffled, for one of any number of readers.

    for portion in Loader(shards, batch=64, seed=1, rank=rank, world=world, place=place):
        learn(portion.windows)
        save(portion.place.to_bytes(loader.owner))

One loader is one epoch, from a place on; the order is computed from (sizes of the shards, seed, epoch) and what a
reader takes of it from (rank, world), see `shuffle` and `place`. Within a batch windows stand in the order of the
shards, which is also that of the disk.

Uncompressed shards stay mapped, and each batch is copied together by one call, into an array of its own or into one
that is used again and again (`out`, which saves the cache). Where that cannot be (compressed shards, or more than
the process may map) windows are read shard by shard, `AHEAD_TOKENS` at a time.

Memory: 8 bytes a frame and a batch, or `AHEAD_TOKENS` tokens. Time: one copy, 0.03 us a window for the order, and 5 us
a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import xxhash

from clet.seeds import DEFAULT_SEED
from clet.shards.gather import copy_from, locate
from clet.shards.mapping import most_open
from clet.shards.place import Place, share
from clet.shards.reader import ShardReader
from clet.shards.shuffle import Shuffle
from clet.shards.windows import Segments, Windows, merged

AHEAD_TOKENS = 1 << 19  # whose order is computed at once, in whole batches; at first a batch, so that it comes soon


class Portion(NamedTuple):
    """One batch. `numbers` [n], ascending, are its windows counted through the shards; `taken` is how many windows
    this reader has had by now."""

    windows: Windows
    numbers: np.ndarray
    taken: int
    loader: Loader

    @property
    def place(self) -> Place:
        """Where the epoch stands once all readers have had as many windows."""
        return self.loader.place_after(self.taken)


class Loader:
    """The rest of an epoch from `place` on, as batches; `seed` None is the order of the shards.

    Ids go to the first rows of `out` [batch, seq_len], where a portion's are until the next one is asked for; without
    `out` they are the portion's own. All shards must have one window length and one width of ids. Raises ValueError
    where they do not or `out` is of another shape or dtype, IndexError for a rank that there is not.
    """

    def __init__(
        self,
        shards: Sequence[ShardReader],
        *,
        batch: int,
        seed: int | None = DEFAULT_SEED,
        rank: int = 0,
        world: int = 1,
        place: Place | None = None,
        out: np.ndarray | None = None,
    ):
        if len({(shard.seq_len, shard.dtype) for shard in shards}) > 1:
            raise ValueError("shards of different windows")
        if not 0 <= rank < world or batch < 1:
            raise IndexError(f"reader {rank} of {world}")
        self._shards, self._batch, self._rank, self._world = shards, batch, rank, world
        self._seq_len, self._dtype = (shards[0].seq_len, shards[0].dtype) if shards else (1, np.dtype("<u2"))
        if out is not None and not (
            out.shape == (batch, self._seq_len) and out.dtype == self._dtype and out.flags.c_contiguous
        ):
            raise ValueError(f"out is not a contiguous array of {batch} windows of {self._seq_len} {self._dtype}")
        self._out = out
        self._ahead = max(1, AHEAD_TOKENS // (batch * self._seq_len)) * batch
        self._start = place = place or Place()
        self._bounds = np.cumsum([0] + [shard.num_windows for shard in shards])
        self.total = int(self._bounds[-1])
        roots = "".join(shard.root for shard in shards)
        self.owner = xxhash.xxh3_64_intdigest(f"{roots}/{self._bounds.tolist()}/{seed}".encode())
        self._shuffle = None if seed is None else Shuffle(self.total, seed, f"epoch/{place.epoch}")

    def __iter__(self) -> Iterator[Portion]:
        mine = share(self._start.remaining(self.total), self._rank, self._world)
        begin, batch = 0, self._batch
        ahead, atlas = batch, None
        if len(self._shards) <= most_open() and all(shard.frame_windows for shard in self._shards):
            atlas = Atlas(self._shards, self._bounds)
        while begin < mine:
            order = self._order(np.arange(begin, min(begin + ahead, mine)))
            whole = len(order) // batch * batch
            order[:whole].reshape(-1, batch).sort(axis=1)
            order[whole:].sort()
            block = self._read(order) if atlas is None else None
            addresses = atlas.addresses(order) if atlas else None
            for at in range(0, len(order), batch):
                numbers = order[at : at + batch]
                begin += len(numbers)
                windows = self._part(block, at, len(numbers)) if block else self._copied(numbers, addresses, at)
                yield Portion(windows, numbers, begin, self)
            ahead = min(2 * ahead, self._ahead)

    def place_after(self, taken: int) -> Place:
        """Where the epoch stands once every reader has taken `taken` windows, or all of its share."""
        size = self._start.remaining(self.total)
        each = [min(taken, share(size, rank, self._world)) for rank in range(self._world)]
        return self._start.after(self.total, each)

    def _order(self, places: np.ndarray) -> np.ndarray:
        """The windows of this reader's share `places` [n], counted through the shards."""
        positions = self._start.positions(self._rank + self._world * places)
        return positions if self._shuffle is None else self._shuffle.at(positions)

    def _copied(self, numbers: np.ndarray, addresses: np.ndarray, at: int) -> Windows:
        """Windows copied together from `addresses[at]` and behind."""
        ids = self._out
        if ids is None:
            ids = np.empty((len(numbers), self._seq_len), self._dtype)
        elif len(numbers) < self._batch:
            ids = ids[: len(numbers)]
        copy_from(addresses, at, ids)
        return Windows(ids, partial(self._layout, numbers))

    def _read(self, order: np.ndarray) -> Windows:
        """Windows read shard by shard."""
        ids = np.empty((len(order), self._seq_len), self._dtype)
        present, places = self._by_shard(order)
        read = []
        for shard, rows in zip(present, places, strict=True):
            found = self._shards[shard].windows(order[rows] - self._bounds[shard])
            ids[rows] = found.ids
            read.append(found)
        return Windows(ids, lambda: merged([found.layout for found in read], places, self._seq_len))

    def _part(self, block: Windows, at: int, size: int) -> Windows:
        """Windows of those that were read together."""
        part = block.part(at, at + size)
        if self._out is not None:
            self._out[:size] = part.ids
            part.ids = self._out[:size]
        return part

    def _layout(self, numbers: np.ndarray) -> Segments:
        """The segments of windows."""
        present, places = self._by_shard(numbers)
        layouts = [
            self._shards[shard].layout(numbers[rows] - self._bounds[shard])
            for shard, rows in zip(present, places, strict=True)
        ]
        return merged(layouts, places, self._seq_len)

    def _by_shard(self, numbers: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
        """The shards that windows are in, and the places in `numbers` of those in each."""
        shards = np.searchsorted(self._bounds, numbers, side="right") - 1
        present = np.flatnonzero(np.bincount(shards, minlength=len(self._shards))).tolist()
        return present, [np.flatnonzero(shards == shard) for shard in present]


class Atlas:
    """Where in memory the windows of many mapped shards are, each frame checked before the first of its windows is
    named. Addresses hold until more are asked for: so long their mappings are kept."""

    def __init__(self, shards: Sequence[ShardReader], bounds: np.ndarray):
        self._shards, self._bounds = shards, bounds
        self._frame_windows = np.asarray([shard.frame_windows for shard in shards], np.int64)
        self._first_frame = np.cumsum([0] + [shard.num_frames for shard in shards])
        self._frames = np.zeros(int(self._first_frame[-1]), np.uint64)  # addresses; 0: not checked yet
        self._window_bytes = shards[0].seq_len * shards[0].dtype.itemsize if shards else 0
        self._views: dict[int, memoryview] = {}

    def addresses(self, numbers: np.ndarray) -> np.ndarray:
        """The address of each window `[n]`, uint64. Raises InputError on damage, or where a shard was cut meanwhile."""
        for shard in self._views:
            self._shards[shard].check_size()
        found = np.empty(len(numbers), np.uint64)
        tables = self._bounds, self._frame_windows, self._first_frame, self._frames, self._window_bytes
        if not locate(numbers, *tables, found):
            self._check(numbers[found == 0])
            locate(numbers, *tables, found)
        return found

    def _check(self, numbers: np.ndarray) -> None:
        """Check the frames that windows are in."""
        shards = np.searchsorted(self._bounds, numbers, side="right") - 1
        for shard in np.unique(shards).tolist():
            inside = numbers[shards == shard] - self._bounds[shard]
            view, places = self._shards[shard].mapped(np.unique(inside // self._frame_windows[shard]))
            self._views[shard] = view
            base = np.uint64(np.frombuffer(view, np.uint8).ctypes.data)
            first = self._first_frame[shard]
            self._frames[first : first + len(places)] = np.where(places > 0, places.astype(np.uint64) + base, 0)
