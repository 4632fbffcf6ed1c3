"""Whether shard folders changed since the last look, for the price of a few stat calls.

A manifest is replaced by rename whenever shards are added, so its inode, size or time differ afterwards. A trainer that
follows can therefore look five times a second, and reads manifests only when there is something new in them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clet.shards.manifest import MANIFEST_NAME

Signature = tuple[int, int, int] | None


class Watch:
    """Watches what was named to the trainer: folders, lanes in them, and files."""

    def __init__(self, paths: Sequence[str]):
        self._files = [file for path in map(Path, paths) for file in _that_tell(path)]
        self._seen: list[Signature] | None = None

    def changed(self) -> bool:
        """Whether anything differs from the last call; True at the first."""
        now = [_signature(file) for file in self._files]
        before, self._seen = self._seen, now
        return now != before


def _that_tell(path: Path) -> tuple[Path, ...]:
    """A folder's manifest, that of the folder which a lane is in, and the path itself."""
    return path, path / MANIFEST_NAME, path.parent / MANIFEST_NAME


def _signature(path: Path) -> Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
