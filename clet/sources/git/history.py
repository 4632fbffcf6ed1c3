"""When each path of a commit was last changed, from one pass over the history.

`git log --name-only` names the changed paths of one commit after the other, newest first; the first commit that names
a path is the one wanted. Paths are held as 64-bit xxh3 (a collision costs a wrong date, once in 10^7 trees of a
million paths), so memory is 16 bytes a path whatever the history, 40 while they are sorted; time is that of git and
1 us a name.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from datetime import UTC, datetime

import numpy as np
import xxhash

from clet.sources.git.environment import Repository
from clet.sources.git.process import fields, run
from clet.sources.interruption import Interruption

MAX_COMMITS = 100_000
MAX_NAMES = 20_000_000  # a small pack can hold a tree with more paths than anybody can count
_BATCH = 1 << 14
_UNKNOWN = np.iinfo(np.int64).min
_LAST_SECOND = 253_402_300_799  # of the year 9999


def path_key(path: bytes) -> int:
    """What stands for a path here."""
    return xxhash.xxh3_64_intdigest(path)


def _seconds(digits: str | bytes) -> int:
    """A commit's time; a commit may also hold nonsense there."""
    return int(digits) if 0 < len(digits) <= 12 and digits.isdigit() else _UNKNOWN


class ChangeTimes:
    """The time of the last change of each path of interest."""

    def __init__(self, keys: array[int]):
        self._keys = np.unique(np.frombuffer(keys, np.uint64))
        self._times = np.full(len(self._keys), _UNKNOWN)
        self._head = _UNKNOWN
        self._num_missing = len(self._keys)

    def of(self, path: bytes) -> datetime | None:
        """When a path was last changed; where history does not tell, the time of the commit itself."""
        key = np.uint64(path_key(path))
        place = int(np.searchsorted(self._keys, key))
        known = place < len(self._keys) and self._keys[place] == key
        seconds = int(self._times[place]) if known else _UNKNOWN
        seconds = self._head if seconds == _UNKNOWN else seconds
        return datetime.fromtimestamp(seconds, UTC) if 0 <= seconds <= _LAST_SECOND else None

    def read(self, repository: Repository, base: str | None, commit: str, interruption: Interruption) -> None:
        """Learn from the commits that `commit` has and `base` has not, MAX_COMMITS of them at most."""
        self._head = _seconds(run(repository, "log", "-1", "--format=%ct", commit, interruption=interruption))
        # No file name can forge this mark: names are part of what the commit's hash is made of.
        mark = f"commit {commit} "
        head = re.compile(re.escape(mark.encode()) + rb"(\d*)\Z")
        flow = fields(
            repository, "log", "-z", f"--format=tformat:{mark}%ct", "--name-only", "--no-renames", "--no-ext-diff",
            "--diff-filter=d", "-O/dev/null", f"--max-count={MAX_COMMITS}", commit, *([f"^{base}"] if base else []),
            interruption=interruption,
        )  # fmt: skip
        keys, times, num_names, moment = array("Q"), array("q"), 0, _UNKNOWN
        with contextlib.closing(flow):
            for word in flow:
                word = word.removeprefix(b"\n")  # stands between a commit and its first name
                if match := head.match(word):
                    moment = _seconds(match[1])
                    continue
                keys.append(path_key(word))
                times.append(moment)
                if len(keys) == _BATCH:
                    self._learn(keys, times)
                    num_names += _BATCH
                    keys, times = array("Q"), array("q")
                    if not self._num_missing or num_names > MAX_NAMES:
                        break
            self._learn(keys, times)

    def _learn(self, keys: array[int], times: array[int]) -> None:
        """Take over the times of names, newest first, for paths that have none yet."""
        if not keys or not self._num_missing:
            return
        named = np.frombuffer(keys, np.uint64)
        places = np.minimum(np.searchsorted(self._keys, named), len(self._keys) - 1)
        fresh = (self._keys[places] == named) & (self._times[places] == _UNKNOWN)
        # unique gives the first occurrence of each, which is the newest
        places, first = np.unique(places[fresh], return_index=True)
        self._times[places] = np.frombuffer(times, np.int64)[fresh][first]
        self._num_missing -= len(places)
