"""The shards of a run, open for reading: found by root, checked against the run, checked again as they are read.

A shard that is to be learned must be there; one that is only replayed may be gone: that is said once, and there is
less replay. Memory: the readers' caches (see `clet.shards.reader`), and 4 bytes a document of shards that were looked
at for replay.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from clet.exits import CletError, InputError
from clet.log import log
from clet.shards.reader import ShardReader
from clet.train.feed import Segment, Shard
from clet.train.replay import UNSCORED, mean_worth


class Shelf:
    """Readers by root. `fingerprint`, `seq_len` and `vocab_size` are what every shard must fit."""

    def __init__(self, fingerprint: str, seq_len: int, vocab_size: int):
        self._fingerprint, self.seq_len, self._vocab_size = fingerprint, seq_len, vocab_size
        self._paths: dict[str, str] = {}
        self._readers: dict[str, ShardReader] = {}
        self._gone: set[str] = set()
        self._scores: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def set_seq_len(self, seq_len: int) -> None:
        """The window length of a run whose first shards have just been seen."""
        self.seq_len = seq_len

    def add(self, shard: Shard) -> None:
        """Say where a shard is; a later call with the same root says that it has moved."""
        with self._lock:
            self._paths[shard.root] = shard.path
            self._readers.pop(shard.root, None)
            self._gone.discard(shard.root)

    def missing(self, segments: Iterable[Segment]) -> set[str]:
        """Roots of shards of `segments` whose file is not there; said once each. They will not be replayed."""
        for segment in segments:
            for shard in segment.shards:
                if not Path(self._paths[shard.root]).is_file():
                    self._lose(shard.root, "no such file")
        return set(self._gone)

    def reader(self, root: str) -> ShardReader:
        """The reader of a shard. Raises InputError where it is gone or does not fit the run."""
        with self._lock:
            if (reader := self._readers.get(root)) is not None:
                return reader
            path = self._paths[root]
        reader = open_listed(path, self._fingerprint)
        if reader.root != root:
            raise InputError(f"{path}: has root {reader.root[:12]}, the run knows it as {root[:12]}; it was replaced")
        if reader.seq_len != self.seq_len:
            raise InputError(
                f"{path}: windows of {reader.seq_len} tokens, this run learns windows of {self.seq_len}; "
                f"shard with --seq-len {self.seq_len} or start another --run"
            )
        if reader.vocab_size > self._vocab_size and reader.num_windows:
            raise InputError(
                f"{path}: ids up to {reader.vocab_size - 1}, the model has {self._vocab_size} embeddings; "
                "its tokenizer is not the model's"
            )
        with self._lock:
            return self._readers.setdefault(root, reader)

    def read(
        self, root: str, indices: list[int], replayed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]] | None:
        """Windows of one shard as (ids, loss_mask, segments, rows of the document table).

        None for a replayed shard that cannot be read; raises UsageError or InputError for one that must be.
        """
        if replayed and root in self._gone:
            return None
        try:
            windows = self.reader(root).windows(indices)
        except CletError as error:
            if not replayed:
                raise
            self._lose(root, str(error))
            return None
        return windows.ids, windows.loss_mask, windows.segments, windows.documents

    def worth(self, root: str, index: int) -> float:
        """What a window of an earlier shard is worth in replay; 0 where it cannot be read."""
        if root in self._gone:
            return 0.0
        try:
            reader = self.reader(root)
            if (scores := self._scores.get(root)) is None:
                scores = self._scores[root] = _scores(reader)
            segments = reader.windows([index]).layout
        except CletError as error:
            self._lose(root, str(error))
            return 0.0
        return mean_worth(scores[segments.rows], segments.lengths)

    def _lose(self, root: str, why: str) -> None:
        if root not in self._gone:
            self._gone.add(root)
            log.warn(f"{self._paths[root]}: {why}; its {root[:12]} will not be replayed")


def open_listed(path: str, fingerprint: str) -> ShardReader:
    """A shard that a manifest or a run names. Raises InputError where it is gone: then what names it is not whole."""
    if not os.path.exists(path):
        raise InputError(f"{path}: missing, though it is listed to be learned; restore it from a copy")
    return ShardReader.open(path, fingerprint=fingerprint)


def _scores(reader: ShardReader) -> np.ndarray:
    """`priority.score` of each row of a document table."""
    found = [head.get("priority") for part in reader.tables() for head in part]
    scores = [note.get("score") if isinstance(note, dict) else None for note in found]
    return np.asarray([score if type(score) in (int, float) else UNSCORED for score in scores], np.float32)
