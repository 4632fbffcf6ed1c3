"""A directory of shards under construction: locked, and all of a commit or nothing of it.

    DIR/manifest.jsonl       what counts (see `manifest`)
    DIR/<lane>/<name>.clet   shards, named by their content
    DIR/lock                 flock(2): dies with the process

A run writes its shards as `<lane>/shard-<n>.tmp-<pid>`; a thread has the disk begin with what was written and makes
sealed ones durable while the next ones are packed. `commit` renames the durable files, makes the folders durable and
only then replaces the manifest. kill -9
before that leaves files that nothing refers to: temporaries are removed by the next run, renamed shards are
overwritten by their equals if the same input comes again. A shard whose name the manifest has already is the same
shard: it is not added twice, so a run that is repeated changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from clet.exits import CletError, TryLater, UsageError, WriteError
from clet.shards.format import ShardParams
from clet.shards.manifest import MANIFEST_NAME, ShardEntry, append_entries, entry_of, read_manifest, shard_path
from clet.shards.reader import ShardReader
from clet.shards.writer import ShardWriter
from clet.sinks import start_writeback

MAX_UNSYNCED = 4  # shards; a disk slower than packing holds it up


class ShardDirectory:
    """An open, locked directory. Use as a context manager: what was not committed is removed at its end."""

    def __init__(self, path: Path, created: str | None, jobs: int):
        self.path, self._created = path, created
        self.entries: list[ShardEntry] = []  # of the manifest
        self.added: list[ShardEntry] = []  # of this run, visible after the next `commit`
        self._pending: list[ShardEntry] = []  # those of them that are not committed
        self._known: set[tuple[str, str]] = set()  # (lane, name) of all
        self.num_known = 0  # shards of this run that the manifest had already
        self._open: list[ShardWriter] = []
        self._sealed: list[ShardWriter] = []  # of `_pending`
        self._syncs: list[Future[None]] = []
        self._syncer = ThreadPoolExecutor(1, "sync")
        self._compressors = ThreadPoolExecutor(jobs, "compress")
        self._ahead = 2 * jobs
        self._num_writers = 0
        self._lock_fd = -1

    @staticmethod
    def open(path: str | Path, created: str | None = None, *, jobs: int = 1) -> ShardDirectory:
        """Open or create a directory.

        `created` is the time that new manifest lines carry instead of their shard's latest time of fetching. `jobs`
        threads compress. Raises TryLater where another process writes to it, WriteError where it cannot be made,
        InputError where its manifest is damaged.
        """
        directory = ShardDirectory(Path(path), created, jobs)
        with _write_errors(path):
            directory.path.mkdir(parents=True, exist_ok=True)
            directory._lock_fd = os.open(directory.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(directory._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TryLater(f"{path}: another process writes shards there; run again when it has finished") from None
            except OSError as error:
                raise WriteError(f"{path}: cannot be locked: {error.strerror}") from None
            with _write_errors(path):  # from now on a directory of shards, if an empty one
                (directory.path / MANIFEST_NAME).touch()
            directory.entries = read_manifest(directory.path)
            directory._known = {(entry.lane, entry.name) for entry in directory.entries}
            with _write_errors(path):
                for pattern in ("*/shard-*.tmp-*", f"{MANIFEST_NAME}.tmp-*"):
                    for stale in directory.path.glob(pattern):
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
        path = folder / f"shard-{self._num_writers}.tmp-{os.getpid()}"
        writer = ShardWriter(path, params, self._compressors, self._ahead, self._write_back)
        self._num_writers += 1
        self._open.append(writer)
        return writer

    def _write_back(self, fd: int, offset: int, size: int) -> None:
        self._syncer.submit(start_writeback, fd, offset, size)

    def seal(self, writer: ShardWriter) -> None:
        """Seal a shard and take it into the next commit, unless the directory has it already."""
        name = writer.seal()
        self._open.remove(writer)
        lane = writer.params.lane
        if (lane, name) in self._known:
            self.num_known += 1
            writer.abort()
            return
        self._known.add((lane, name))
        self._sealed.append(writer)
        try:
            entry = entry_of(ShardReader.open(writer.path), name, self._created)  # what is listed is what can be read
        except UsageError as error:
            raise WriteError(str(error)) from None
        entry = replace(entry, path=shard_path(self.path, lane, name))
        self.added.append(entry)
        self._pending.append(entry)
        self._syncs.append(self._syncer.submit(writer.sync))
        if len(self._syncs) > MAX_UNSYNCED:
            self._syncs.pop(0).result()

    @property
    def has_pending(self) -> bool:
        """Whether there are sealed shards to commit."""
        return bool(self._pending)

    def commit(self) -> None:
        """Make all sealed shards visible together. Raises WriteError, after which the manifest is the old one."""
        if not self._pending:
            return
        for sync in self._syncs:
            sync.result()
        self._syncs = []
        with _write_errors(self.path):
            for writer, entry in zip(self._sealed, self._pending, strict=True):
                os.replace(writer.path, entry.path)
        folders = sorted({entry.path.parent for entry in self._pending})
        append_entries(self.path, self._pending, [*folders, self.path])
        self.entries += self._pending
        self._sealed, self._pending = [], []

    def close(self) -> None:
        """Remove what was not committed and release the lock; never fails."""
        for pool in (self._syncer, self._compressors):
            pool.shutdown(cancel_futures=True)
        for writer in self._open + self._sealed:
            writer.abort()
        if self._pending:
            self._take_back()
        self._open, self._sealed, self._pending = [], [], []
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _take_back(self) -> None:
        """Remove shards that a failed commit has renamed. The manifest may be the new one all the same: it decides."""
        with contextlib.suppress(CletError, OSError):
            listed = {entry.path for entry in read_manifest(self.path)}
            for entry in self._pending:
                if entry.path not in listed:
                    with contextlib.suppress(OSError):
                        entry.path.unlink()

    def __enter__(self) -> ShardDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _write_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{error.filename or path}: {error.strerror}") from None
