"""A directory of shards under construction: locked, and all of a run or nothing of it.

    DIR/manifest.jsonl       what counts (see `manifest`)
    DIR/<lane>/<name>.clet   shards, named by their content
    DIR/lock                 flock(2): dies with the process

A run writes its shards as `<lane>/shard-<n>.tmp-<pid>`. `commit` renames the durable files, makes the folders durable
and only then replaces the manifest. kill -9 before that leaves files that nothing refers to: temporaries are removed
by the next run, renamed shards are overwritten by their equals if the same input comes again. A shard whose name the
manifest has already is the same shard: it is not added twice, so a run that is repeated changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from clet.exits import TryLater, UsageError, WriteError
from clet.shards.format import Sealed, ShardParams, ShardWriter
from clet.shards.manifest import MANIFEST_NAME, ShardEntry, append_entries, read_manifest, shard_path
from clet.state import fsync_directory


class ShardDirectory:
    """An open, locked directory. Use as a context manager: what was not committed is removed at its end."""

    def __init__(self, path: Path, created: str):
        self.path, self._created = path, created
        self.entries: list[ShardEntry] = []  # of the manifest
        self.added: list[ShardEntry] = []  # of this run, visible after `commit`
        self.num_known = 0  # shards of this run that the manifest had already
        self._open: list[ShardWriter] = []
        self._sealed: list[Path] = []  # temporary files of `added`
        self._num_writers = 0
        self._lock_fd = -1

    @staticmethod
    def open(path: str | Path, created: str) -> ShardDirectory:
        """Open or create a directory; `created` is the time that new manifest lines will carry.

        Raises TryLater where another process writes to it, WriteError where it cannot be made, InputError where its
        manifest is damaged.
        """
        directory = ShardDirectory(Path(path), created)
        with _write_errors(path):
            directory.path.mkdir(parents=True, exist_ok=True)
            directory._lock_fd = os.open(directory.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(directory._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TryLater(f"{path}: another process writes shards there; run again when it has finished") from None
            if not (directory.path / MANIFEST_NAME).exists():
                append_entries(directory.path, [])  # from now on a directory of shards, if an empty one
            directory.entries = read_manifest(directory.path)
            with _write_errors(path):
                for stale in directory.path.glob("*/shard-*.tmp-*"):
                    stale.unlink()
        except BaseException:
            directory.close()
            raise
        return directory

    def check(self, fingerprint: str, seq_len: int) -> None:
        """Raise UsageError where the directory holds shards of another tokenizer or window length."""
        for entry in self.entries[:1]:
            if (entry.fingerprint, entry.seq_len) != (fingerprint, seq_len):
                raise UsageError(
                    f"{self.path}: holds windows of {entry.seq_len} tokens of tokenizer {entry.fingerprint}, these are "
                    f"of {seq_len} of {fingerprint}; write to another directory"
                )

    def new_shard(self, params: ShardParams) -> ShardWriter:
        """A writer of the next shard of a lane."""
        folder = self.path / params.lane
        with _write_errors(folder):
            folder.mkdir(exist_ok=True)
        writer = ShardWriter(folder / f"shard-{self._num_writers}.tmp-{os.getpid()}", params)
        self._num_writers += 1
        self._open.append(writer)
        return writer

    def add(self, writer: ShardWriter, sealed: Sealed) -> None:
        """Take a sealed shard into the next commit, unless the directory has it already."""
        self._open.remove(writer)
        lane = writer.params.lane
        if any((entry.lane, entry.name) == (lane, sealed.name) for entry in self.entries + self.added):
            self.num_known += 1
            writer.abort()
            return
        target = shard_path(self.path, lane, sealed.name)
        self.added.append(_entry(target, writer.params, sealed, self._created))
        self._sealed.append(writer.path)

    def commit(self) -> None:
        """Make all sealed shards visible together. Raises WriteError, after which the manifest is the old one."""
        if not self.added:
            return
        with _write_errors(self.path):
            for tmp, entry in zip(self._sealed, self.added, strict=True):
                os.replace(tmp, entry.path)
            for folder in {entry.path.parent for entry in self.added}:
                fsync_directory(folder)
            fsync_directory(self.path)
        self._sealed = []
        append_entries(self.path, self.added)

    def close(self) -> None:
        """Remove what was not committed and release the lock; never fails."""
        for writer in self._open:
            writer.abort()
        for tmp in self._sealed:
            with contextlib.suppress(OSError):
                tmp.unlink()
        self._open, self._sealed = [], []
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> ShardDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _entry(path: Path, params: ShardParams, sealed: Sealed, created: str) -> ShardEntry:
    return ShardEntry(
        path=path,
        name=sealed.name,
        lane=params.lane,
        num_windows=sealed.num_windows,
        num_tokens=sealed.num_tokens,
        num_documents=sealed.num_documents,
        root=sealed.root,
        fingerprint=params.fingerprint,
        seq_len=params.seq_len,
        created=created,
        newest=sealed.newest,
    )


@contextlib.contextmanager
def _write_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{error.filename or path}: {error.strerror}") from None
