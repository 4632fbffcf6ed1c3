"""The state directory: locked, crash-only, refused when it was made for other parameters.

One directory belongs to one command. `HEAD` is one small JSON file naming everything that counts: parameters, values
and, for each journal, how many of its bytes are committed. A commit appends to journals, makes them durable, then
replaces HEAD by an atomic rename; whatever a crash left behind the committed length is cut off at the next opening.
So kill -9 at any instruction leaves the old state or the new one, and no clean-up is ever needed.

The lock is flock(2) on `lock`: it dies with the process. Cost of a commit: the bytes appended and two fsyncs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import xxhash

from clet.container import Kind, pack_frame, read_frame
from clet.exits import InputError, TryLater, UsageError, WriteError

VERSION = 1
HEAD_NAME = "HEAD"
MAX_HEAD_BYTES = 256 << 20


def fsync_directory(path: Path) -> None:
    """Make the names inside a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, body: bytes, mode: int = 0o666, before: Iterable[Path] = ()) -> None:
    """Replace `path` by `body`, whole or not at all, durably: temporary file, fsync, rename, fsync of the folder.

    The names inside the folders `before` are durable before the rename. They are synced behind the temporary file:
    where that made the system commit its journal, as ext4 does, they have no more to wait for.
    """
    tmp = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with open(tmp, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        for folder in before:
            fsync_directory(folder)
        os.replace(tmp, path)
        fsync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            tmp.unlink()
        raise WriteError(f"{path}: {error.strerror}") from None


class State:
    """An open state directory. Use as a context manager; nothing is kept unless `commit` was called.

    `values` is a dict of JSON values, saved whole with HEAD: for things that stay small (cursors, counts). Journals
    hold what grows: each `append` adds a frame of arrays.
    """

    def __init__(self, directory: Path, command: str, params: Mapping[str, Any]):
        self.directory = directory
        self.command = command
        self.params = dict(params)
        self.values: dict[str, Any] = {}
        self.generation = 0
        self._lengths: dict[str, int] = {}
        self._pending: dict[str, list[bytes]] = {}
        self._dropped: set[str] = set()
        self._lock_fd = -1

    @staticmethod
    def peek(directory: str | Path, command: str) -> State:
        """The committed state, to read only, also while another process holds it; what it was made for is not checked.

        A journal may be dropped by that process meanwhile: reading it then raises InputError, and the caller peeks
        again. Raises UsageError where there is no state, InputError where HEAD is damaged.
        """
        state = State(Path(directory), command, {})
        if not (state.directory / HEAD_NAME).exists():
            raise UsageError(f"{directory}: holds no state of clet {command}")
        state._load(any_params=True)
        return state

    @staticmethod
    def open(directory: str | Path, command: str, params: Mapping[str, Any] = {}) -> State:
        """Open or create the state of `command`.

        Raises TryLater where another process holds it, UsageError where it belongs to another command or was made
        with other `params`, InputError where HEAD is damaged.
        """
        state = State(Path(directory), command, params)
        try:
            state.directory.mkdir(parents=True, exist_ok=True)
            state._lock_fd = os.open(state.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise WriteError(f"{directory}: {error.strerror}") from None
        try:
            fcntl.flock(state._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(state._lock_fd)
            raise TryLater(f"{directory}: in use by another process; run again when it has finished") from None
        except OSError as error:
            os.close(state._lock_fd)
            raise WriteError(f"{directory}: cannot be locked: {error.strerror}") from None
        try:
            state._load()
        except BaseException:
            state.close()
            raise
        return state

    def _load(self, *, any_params: bool = False) -> None:
        path = self.directory / HEAD_NAME
        try:
            with open(path, "rb") as file:
                body = file.read(MAX_HEAD_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        head = parse_head(body, path)
        if head["command"] != self.command:
            raise UsageError(f"{self.directory}: belongs to clet {head['command']}; give another --state")
        if not any_params and head["params"] != orjson.loads(orjson.dumps(self.params)):
            raise UsageError(
                f"{self.directory}: made with {_differences(head['params'], self.params)}; "
                "use the same parameters or another --state"
            )
        self.values, self.generation, self._lengths = head["values"], head["generation"], head["journals"]

    def journal(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of each committed `append` to a journal, oldest first. Raises InputError on damage."""
        length = self._lengths.get(name, 0)
        if not length:
            return
        path = self.directory / f"{name}.journal"
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below; a with-block would hide the size check
        except FileNotFoundError:
            raise InputError(f"{path}: missing; the state is damaged") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        with file:
            offset = 0
            while offset < length:
                got = read_frame(file, str(path), offset)
                if got is None:
                    raise InputError(f"{path}: {offset} bytes where {length} were committed; the state is damaged")
                frame, size = got
                offset += size
                yield frame.arrays

    def append(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Add one frame to a journal; it counts from the next `commit`. The arrays are copied.

        A journal that is dropped by the same commit is begun anew under another name: the old one counts until then.
        """
        if name in self._dropped:
            raise ValueError(f"journal {name} is dropped by this commit")
        self._pending.setdefault(name, []).append(pack_frame(Kind.JOURNAL, {}, arrays))

    def drop(self, name: str) -> None:
        """From the next `commit` a journal no longer counts; its file is deleted after that."""
        self._pending.pop(name, None)
        self._dropped.add(name)

    def commit(self) -> None:
        """Make values and appended frames durable together. Raises WriteError, after which the old state stands."""
        lengths = {name: length for name, length in self._lengths.items() if name not in self._dropped}
        try:
            for name, frames in self._pending.items():
                path = self.directory / f"{name}.journal"
                with open(path, "r+b" if path.exists() else "x+b") as file:
                    file.truncate(lengths.get(name, 0))
                    file.seek(0, os.SEEK_END)
                    file.writelines(frames)
                    file.flush()
                    os.fsync(file.fileno())
                    lengths[name] = file.tell()
            fsync_directory(self.directory)  # a HEAD that names a journal must not outlive the journal's name
        except OSError as error:
            for name in self._pending:  # give back the room on a full disk
                with contextlib.suppress(OSError):
                    os.truncate(self.directory / f"{name}.journal", self._lengths.get(name, 0))
            raise WriteError(f"{self.directory}: {error.strerror}; the state before this run stands") from None
        head = {
            "command": self.command,
            "generation": self.generation + 1,
            "journals": lengths,
            "params": self.params,
            "values": self.values,
            "version": VERSION,
        }
        body = orjson.dumps(head, option=orjson.OPT_SORT_KEYS)
        # HEAD may hold secrets (the seed of a hash table that strangers write into): for its owner only.
        checked = body + b"\n" + xxhash.xxh3_64_hexdigest(body).encode() + b"\n"
        write_atomically(self.directory / HEAD_NAME, checked, mode=0o600)
        self.generation += 1
        for name in self._dropped:
            with contextlib.suppress(OSError):  # what stays behind counts for nothing
                (self.directory / f"{name}.journal").unlink()
        self._lengths, self._pending, self._dropped = lengths, {}, set()

    def close(self) -> None:
        """Release the lock; what was not committed is forgotten."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> State:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_head(body: bytes, path: Path) -> dict[str, Any]:
    """HEAD as a dict, its checksum and version checked. Raises InputError."""
    text, _, digest = body.rstrip(b"\n").rpartition(b"\n")
    if xxhash.xxh3_64_hexdigest(text).encode() != digest:
        raise InputError(f"{path}: checksum differs: the state is damaged; restore it or give another --state")
    head = orjson.loads(text)
    if head.get("version") != VERSION:
        raise InputError(f"{path}: state version {head.get('version')}; this clet reads version {VERSION}")
    return head


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(f"{name} {old.get(name)!r} (now {new.get(name)!r})" for name in names)
