"""The persistent index of what was seen: tables in memory for what is new, immutable segments on disk for the rest.

What is kept of a document: its id, keys of its id and tokens, its origin, when it was fetched, the hashes of its bands
and its sample of shingles; of a repeat only the key of its id, its origin and which document it repeats, so that it is
recognised when it arrives again or when a correction of it does. Nothing is kept of the text.

The index is a log-structured merge (O'Neil et al. 1996): when the tables hold SPILL_DOCS documents, and at each
commit, they become a segment, and a segment is merged with its older neighbour while that one has less than RATIO
times as many documents. A commit writes new files, makes them durable, and then replaces HEAD, which names those that
count: kill -9 anywhere leaves the old state or the new one, and files of neither are removed at the next opening.
Opening maps the segments and reads nothing else.

`capacity` bounds how many documents are remembered: beyond it the oldest segments are forgotten, whole; none has more
than an eighth of the capacity, so at least seven eighths of it stay. `window` bounds how long: a document counts for a
record that was fetched at most that much later, exactly; segments that are wholly older are deleted at a commit.

The secret. All hashes are keyed by 64 secret bits: somebody who knew them could write documents that evade the bands
or pile up in one slot. A new state directory draws them from the system and keeps them; without `--state` they come
from `--seed`. The directory is thereby part of the input: the same input, flags and state give the same bytes. Two
fresh directories differ in their secrets, which shows only where a candidate is missed in one of them (6e-5 a pair at
J = 0.8) or where J of documents above SAMPLE shingles is estimated on either side of the threshold.

Memory: the tables, at most SPILL_DOCS documents of about 1 KB and 4 bytes a shingle, and what the kernel keeps of the
segments in its page cache. On disk 0.4 KB a document and 4 bytes a shingle up to 8 KB.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from clet import seeds
from clet.dedup import minhash, segment, table
from clet.dedup.segment import Segment
from clet.dedup.spans import SpanSet
from clet.dedup.table import KEPT, Decisions, Known, Rows
from clet.exits import InputError
from clet.log import log
from clet.pages import remove, remove_unnamed
from clet.state import State

PARAMS = {
    "method": "one-permutation minhash of words",
    "version": 2,
    "shingle": minhash.SHINGLE,
    "k": minhash.K,
    "rows": minhash.ROWS,
    "bands": minhash.BANDS,
    "sample": minhash.SAMPLE,
}
DEFAULT_CAPACITY = 10_000_000
SPILL_DOCS = 1 << 16
SPILL_KEYS = 1 << 19  # repeats have keys too
SPILL_SPANS = 1 << 23
RATIO = 4
PARTS = 8  # of the capacity, or of the window, that one segment may take, and be forgotten with
CHAIN = 64  # versions of one story that a new version is compared to as its own past
DAY_S = 86_400


class Index:
    """What was seen so far. `state` makes it persistent: `commit` then saves what is new, together with the state.

    `capacity` is in documents, `window` in seconds (0: for ever). Raises InputError where the state is damaged.
    """

    shape = minhash.EXACT

    def __init__(
        self,
        seed: int = seeds.DEFAULT_SEED,
        state: State | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        window: int = 0,
    ):
        self._state = state
        self._window = window
        self._most = max(1, capacity // PARTS)  # documents of one segment
        self._capacity = capacity
        self._spill_docs = min(SPILL_DOCS, self._most)
        self._tables = table.new_tables()
        self._spans = SpanSet()
        self._segments: list[Segment] = []
        self._folder: Path | None = state.directory if state else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._hours: dict[int, int] = {}  # records by the hour in which they were fetched
        self.first = self._next_file = self._clock = 0
        self.forgotten = 0
        self.span_tokenizer: str | None = None  # of the ids that spans were read from last
        if state is None:
            self.secret = seeds.integer(seed, "dedup/index")
            return
        self.secret = int(state.values.setdefault("secret", os.urandom(8).hex()), 16)
        self._load(state)

    def _load(self, state: State) -> None:
        entries = state.values.get("segments", [])
        self._next_file, self._clock = state.values.get("next_file", 0), state.values.get("clock", 0)
        self.span_tokenizer = state.values.get("span_tokenizer")
        removed = remove_unnamed(state.directory, "segment-", (entry["file"] for entry in entries))
        if removed and not state.generation:
            log.warn(f"{state.directory}: has no HEAD, and begins anew; {removed} files of no commit are removed")
        self._segments = [Segment(state.directory, entry) for entry in entries]
        for older, newer in pairwise(self._segments):
            if newer.first < older.end:
                raise InputError(f"{state.directory}: the state contradicts itself; give another --state")
        self.first = self._segments[-1].end if self._segments else state.values.get("documents", 0)

    def __len__(self) -> int:
        """Documents kept so far, those that were forgotten included: the number of the next one."""
        return self.first + int(self._tables.sizes[table.NUM_DOCS])

    @property
    def num_remembered(self) -> int:
        """Documents that still count."""
        return sum(each.num_docs for each in self._segments) + int(self._tables.sizes[table.NUM_DOCS])

    @property
    def _oldest(self) -> int:
        return self._segments[0].first if self._segments else self.first

    @property
    def num_bytes(self) -> int:
        """Of the segments on disk."""
        return sum(each.num_bytes for each in self._segments)

    def ids_of(self, docs: np.ndarray) -> list[str]:
        """The ids of documents `[n]`, 32 hex digits each; of forgotten ones zeros."""
        lanes = np.zeros((len(docs), 2), np.dtype("<u8"))
        is_new = docs >= self.first
        lanes[is_new] = self._tables.docs[docs[is_new] - self.first][:, [table.ID_LOW, table.ID_HIGH]]
        for place in np.flatnonzero(~is_new).tolist():
            if (fields := self._document(int(docs[place]))) is not None:
                lanes[place] = fields[[table.ID_LOW, table.ID_HIGH]]
        digits = lanes.tobytes().hex()
        return [digits[at : at + 32] for at in range(0, len(digits), 32)]

    def origins_of(self, doc: int) -> list[int]:
        """Keyed hashes of the origins of a document and of all its repeats so far, one for each."""
        fields = self._document(doc)
        own = [] if fields is None else [int(fields[table.ORIGIN])]
        events = self._tables.events[: self._tables.sizes[table.NUM_EVENTS]]
        parts = [each.origins_of(doc) for each in self._segments if each.end > doc]
        parts.append(events[events[:, 0] == doc, 1])
        return own + [int(origin) for part in parts for origin in part]

    def _document(self, doc: int) -> np.ndarray | None:
        if doc >= self.first:
            return self._tables.docs[doc - self.first]
        return next((each.document(doc) for each in self._segments if each.first <= doc < each.end), None)

    def similarity(self, doc: int, sample: np.ndarray, level: int) -> float:
        """Jaccard similarity of a document with a sample."""
        if doc >= self.first:
            other, its_level = table.sample_in(self._tables, doc - self.first)
        else:
            holder = next((each for each in self._segments if each.first <= doc < each.end), None)
            if holder is None:
                return 0.0
            other, its_level = holder.sample(doc)
        slots = minhash.new_set()
        return minhash.similarity(sample, level, other, its_level, slots, minhash.fill_set(slots, sample))

    def admit(self, rows: Rows, supersedes: np.ndarray, threshold: float, jobs: int = 1) -> Decisions:
        """Decide about records in order, an earlier one counting for a later one, and remember them.

        `supersedes` [n] has the key of the id that each replaces, or 0. The result does not depend on `jobs`.
        """
        size = len(rows.ids)
        out = Decisions(np.zeros(size, np.int8), np.full(size, -1, np.int64), np.full(size, -1.0))
        known = Known(np.full((size, 3), -1, np.int64), np.zeros((size, 3), np.int64), np.full(size, -1.0))
        self._count_hours(rows.times)
        replacing = np.append(np.flatnonzero(supersedes), size)
        begin = 0
        while begin < size:
            # Where the tables are full depends on the records alone, not on how they arrived.
            room = min(self._spill_docs - int(self._tables.sizes[table.NUM_DOCS]), self._room_for_keys())
            following = int(replacing[np.searchsorted(replacing, begin)])  # this record or the next that replaces one
            end = begin + 1 if following == begin else min(following, begin + room)
            own = self._versions(int(supersedes[begin]))
            if self._segments:
                self._look_up(rows, begin, end, threshold, own, known, jobs)
            values = int(rows.starts[end] - rows.starts[begin])
            self._tables = table.reserve(self._tables, end - begin, values)
            table.admit(
                self._tables, rows, begin, end, self.first, self._oldest, threshold, self._window, own, known, out
            )
            if len(own) and out.verdict[begin] == KEPT:
                sample = rows.values[rows.starts[begin] : rows.starts[begin + 1]]
                out.similarity[begin] = self.similarity(int(own[0]), sample, int(rows.levels[begin]))
            begin = end
            if int(self._tables.sizes[table.NUM_DOCS]) >= self._spill_docs or self._room_for_keys() < 1:
                self._spill()
        return out

    def _room_for_keys(self) -> int:
        return (SPILL_KEYS - int(self._tables.sizes[table.NUM_KEYS])) // 2

    def _look_up(
        self, rows: Rows, begin: int, end: int, threshold: float, own: np.ndarray, known: Known, jobs: int
    ) -> None:
        def work(bounds: tuple[int, int]) -> None:
            for each in self._segments:
                each.look_up(rows, *bounds, threshold, self._window, self._oldest, own, known)

        if jobs == 1 or end - begin < 2 * jobs:
            work((begin, end))
            return
        cuts = np.linspace(begin, end, jobs + 1).astype(int).tolist()
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, pairwise(cuts)))

    def _versions(self, key: int) -> np.ndarray:
        """The document behind the key of a superseded id, and what that one superseded, newest first."""
        if not key:
            return np.zeros(0, np.int64)
        doc = self._find(np.uint64(key))
        chain: list[int] = []
        while doc >= 0 and len(chain) < CHAIN:
            chain.append(doc)
            fields = self._document(doc)
            doc = -1 if fields is None else int(fields[table.PRIOR]) - 1
        return np.asarray(chain, np.int64)

    def _find(self, key: np.uint64) -> int:
        """The newest document that has the key, or that a record with it repeated; -1. The window does not matter."""
        found = table.find_key(self._tables, key, 0, 0, self._oldest)[0]
        for each in reversed(self._segments):
            if found >= 0:
                break
            found = each.find_key(key, self._oldest)
        return int(found)

    # ---- spans: hashes that come with documents (see `clet.dedup.spans`)

    def find_spans(self, hashes: np.ndarray) -> np.ndarray:
        """Which of the hashes `[n]` are in segments."""
        found = np.zeros(len(hashes), np.bool_)
        for each in self._segments:
            each.find_spans(hashes, found)
        return found

    @property
    def new_spans(self) -> SpanSet:
        """The set of those that are not in a segment yet."""
        return self._spans

    # ---- segments

    def commit(self) -> None:
        """Save what is new and commit the state; nothing to do without a state."""
        if self._state is None:
            return
        self._spill()
        self._forget()
        folder, values = self._state.directory, self._state.values
        old = {entry["file"] for entry in values.get("segments", [])}
        values |= {
            "segments": [each.entry for each in self._segments],
            "next_file": self._next_file,
            "clock": self._clock,
            "documents": self.first,
            "span_tokenizer": self.span_tokenizer,
        }
        self._state.commit()  # which makes names durable before HEAD says them
        for name in old - {each.entry["file"] for each in self._segments}:
            remove(folder / name)

    def flush(self) -> None:
        """Make a segment of what is in memory, as a commit does."""
        self._spill()

    def _spill(self) -> None:
        """Make the tables a segment, and merge."""
        if self._tables.sizes[table.NUM_KEYS] or len(self._spans):
            entry = segment.write_tables(self._new_path(), self._tables, self.first, self._spans.sorted())
            self._segments.append(self._open(entry))
            self.first += int(self._tables.sizes[table.NUM_DOCS])
            self._tables, self._spans = table.new_tables(), SpanSet()
        while len(self._segments) > 1 and self._may_merge(*self._segments[-2:]):
            old, new = self._segments[-2:]
            entry = segment.merge(self._new_path(), old, new)
            self._segments[-2:] = [self._open(entry)]
            for each in (old, new):
                self._discard(each)
        while self.num_remembered > self._capacity and len(self._segments) > 1:
            self._drop_oldest()

    def _open(self, entry: dict[str, Any]) -> Segment:
        made = Segment(self._place(), entry)
        if self._state is None:
            remove(made.pages.path)  # it stays mapped, and nothing is left behind however this process ends
        return made

    def _may_merge(self, old: Segment, new: Segment) -> bool:
        if old.num_docs + new.num_docs > self._most:
            return False
        times = [each.entry[name] for each in (old, new) for name in ("oldest", "newest") if each.entry[name]]
        if self._window and times and max(times) - min(times) > self._window // PARTS:
            return False
        return old.num_docs < RATIO * max(1, new.num_docs)

    def _drop_oldest(self) -> None:
        oldest = self._segments.pop(0)
        self.forgotten += oldest.num_docs
        self._discard(oldest)

    def _discard(self, gone: Segment) -> None:
        """Delete a file that HEAD does not name; one that it names stays until the next commit."""
        if self._state is not None and gone.entry not in self._state.values.get("segments", []):
            remove(gone.pages.path)

    def _forget(self) -> None:
        """Let go of segments that are older than the window by the clock of the records.

        The clock is the median time of a run's records, and moves on by at most an eighth of the window a commit: a
        machine whose clock is wrong by a year forgets little before someone sets it right.
        """
        if not self._window or not self._hours:
            return
        seen, middle = 0, sum(self._hours.values()) / 2
        for hour, count in sorted(self._hours.items()):
            seen += count
            if seen >= middle:
                now = hour * 3600
                break
        self._clock = max(self._clock, min(now, self._clock + self._window // PARTS) if self._clock else now)
        while self._segments and 0 < self._segments[0].newest < self._clock - self._window:
            self._drop_oldest()

    def _count_hours(self, times: np.ndarray) -> None:
        if self._window:
            for hour, count in zip(*np.unique(times[times > 0] // 3600, return_counts=True), strict=True):
                self._hours[int(hour)] = self._hours.get(int(hour), 0) + int(count)

    def _place(self) -> Path:
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="clet-dedup-")
            self._folder = Path(self._temporary.name)
        return self._folder

    def _new_path(self) -> Path:
        self._next_file += 1
        return self._place() / f"segment-{self._next_file:08d}"

    def header(self) -> dict[str, Any]:
        """What the index says of itself, for reports."""
        return {
            "documents": self.num_remembered,
            "segments": len(self._segments),
            "bytes": self.num_bytes,
            "bytes_a_document": round(self.num_bytes / max(1, self.num_remembered), 1),
        }
