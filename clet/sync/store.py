"""What the sync server has promised, on disk: a snapshot and a journal of everything acknowledged since.

    lock, HEAD              clet.state.State: the model's identity, which snapshot counts, tables of that moment
    snapshot-N.safetensors  weights, momentum and buffer of one version, as flat vectors
    journal-N               entries since then, each made durable before its answer was sent
    model/                  the newest snapshot as a Hugging Face directory, for people; never read back

State's own journals only grow, and commit by rewriting HEAD; here an entry must cost one fsync and a journal must end
with its snapshot, so only HEAD and the lock are State's. An entry is one container frame with its facts, and then the
message as it was received. A new snapshot begins with a new journal, at once; the snapshot is written beside the work,
and HEAD names it when it is durable. Until then the old snapshot and both journals, read one after the other, give the
same version. What HEAD does not need is deleted at opening.

A crash leaves at most one cut entry at the end of the last journal: it was never acknowledged and is cut off. Damage
anywhere else is refused. A failed write or fsync ends the server (fsync is not retried: what it reported lost is lost).
Cost of an entry: its bytes and one fsync.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clet.container import HEADER_BYTES, Kind, pack_frame, read_exactly, read_frame
from clet.exits import InputError, WriteError
from clet.state import State, fsync_directory
from clet.sync.protocol import Identity

MODEL_DIRECTORY = "model"
MAX_FACTS_BYTES = 4096  # an entry's facts are a few hundred bytes
_OURS = re.compile(r"(?:snapshot-(\d+)\.safetensors|journal-(\d+))(\.tmp-\d+)?")


class Store:
    """The open state directory of a sync server. Use as a context manager."""

    def __init__(self, state: State) -> None:
        self.directory = state.directory
        self._state = state
        self._journal: BinaryIO | None = None
        self._last = -1  # number of the journal in use

    @staticmethod
    def open(directory: str | Path, identity: Identity) -> Store:
        """Lock and read the directory. TryLater: in use; UsageError: of another model; InputError: damaged."""
        return Store(State.open(directory, "sync-server", {"model": asdict(identity)}))

    @property
    def is_new(self) -> bool:
        """True before the first snapshot."""
        return not self._state.values

    def load(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Vectors [size] by name and the tables of the snapshot that counts. Raises InputError."""
        values = self._state.values
        path = self._snapshot_path(values["snapshot"])
        try:
            vectors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: {error}; the state is damaged: restore it or give another --state") from None
        fits = all(vector.shape == (size,) and vector.dtype == np.float32 for vector in vectors.values())
        if not fits or _hash(vectors) != values["xxh3"]:
            raise InputError(f"{path}: checksum differs: the state is damaged: restore it or give another --state")
        return vectors, copy.deepcopy(values["tables"])

    def replay(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """(facts, message) of each entry since the snapshot, oldest first; then the store is ready for `append`.

        Raises InputError where a journal is damaged.
        """
        self._sweep()
        paths = self._journals()
        for path in paths:
            good = 0
            with open(path, "rb") as file:
                while (entry := _read_entry(file, path, good, last=path == paths[-1])) is not None:
                    good = file.tell()
                    yield entry
        if not paths:
            raise InputError(f"{self._journal_path(self._counted)}: missing; the state is damaged")
        self._last = self._counted + len(paths) - 1
        self._open_journal(paths[-1], good)

    def append(self, facts: Mapping[str, Any], message: bytes = b"") -> None:
        """Make one entry durable. Raises WriteError, after which the process must end."""
        assert self._journal is not None, "append before replay or begin"
        frame = pack_frame(Kind.JOURNAL, {**facts, "bytes": len(message)}, level=None)
        try:
            rest = memoryview(frame + message)
            while rest:
                rest = rest[self._journal.write(rest) :]
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise WriteError(f"{self._journal.name}: {error.strerror}; free space and start the server again") from None

    def begin(self) -> int:
        """Start the next journal, where entries go from now on; the number of the snapshot that has to precede it."""
        self._last += 1
        path = self._journal_path(self._last)
        try:
            with open(path, "wb") as file:
                os.fsync(file.fileno())
            fsync_directory(self.directory)
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}; free space and start the server again") from None
        self._open_journal(path, 0)
        return self._last

    def keep(self, number: int, vectors: Mapping[str, np.ndarray], tables: Mapping[str, Any]) -> None:
        """Make snapshot `number`, as things were at its `begin`, the one that counts. On WriteError the old stands."""
        path = self._snapshot_path(number)
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        try:
            save_file(dict(vectors), temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_directory(self.directory)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise WriteError(f"{path}: {error}; free space and start the server again") from None
        self._state.values = {"snapshot": number, "xxh3": _hash(vectors), "tables": dict(tables)}
        self._state.commit()
        self._sweep()

    def close(self) -> None:
        """Release the lock."""
        if self._journal is not None:
            self._journal.close()
        self._state.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_journal(self, path: Path, length: int) -> None:
        if self._journal is not None:
            self._journal.close()
        try:
            # Unbuffered: a failed write must not be written again by a later flush.
            self._journal = open(path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the store
            self._journal.truncate(length)
            self._journal.seek(length)
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None

    @property
    def _counted(self) -> int:
        return self._state.values.get("snapshot", -1)

    def _journals(self) -> list[Path]:
        """The journals since the snapshot, in order; they are numbered without a gap."""
        found = sorted(int(match[2]) for _, match in self._files() if match[2])
        wanted = list(range(self._counted, self._counted + len(found)))
        if found != wanted:
            raise InputError(f"{self.directory}: journals {found} where {wanted} were kept; the state is damaged")
        return [self._journal_path(number) for number in found]

    def _sweep(self) -> None:
        """Delete snapshots and journals that HEAD no longer needs, and temporary files of dead processes."""
        for path, match in self._files():
            number = int(match[1] or match[2])
            needed = number == self._counted if match[1] else number >= self._counted
            if not needed or match[3]:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> list[tuple[Path, re.Match[str]]]:
        return [(path, match) for path in self.directory.iterdir() if (match := _OURS.fullmatch(path.name))]

    def _snapshot_path(self, number: int) -> Path:
        return self.directory / f"snapshot-{number}.safetensors"

    def _journal_path(self, number: int) -> Path:
        return self.directory / f"journal-{number}"


def _read_entry(file: BinaryIO, path: Path, offset: int, *, last: bool) -> tuple[dict[str, Any], bytes] | None:
    """The entry at `offset`, or None at the end of the journal, which in the `last` one may be a write that was cut."""
    try:
        got = read_frame(file, str(path), offset)
    except InputError:
        if last and _was_cut(file, offset):
            return None
        raise
    if got is None:
        return None
    facts = got[0].info
    message = read_exactly(file, facts["bytes"])
    if len(message) == facts["bytes"]:
        return facts, message
    if last:
        return None
    raise InputError(f"{path}: truncated inside the message at byte {offset}; the state is damaged")


def _was_cut(file: BinaryIO, offset: int) -> bool:
    """True when the unreadable rest is the beginning of an entry's facts, or zeros as a power cut may leave them."""
    file.seek(offset)
    rest = file.read(MAX_FACTS_BYTES)
    if len(rest) < HEADER_BYTES:
        return True
    if not rest.strip(b"\0"):
        return not any(piece.strip(b"\0") for piece in iter(lambda: file.read(1 << 20), b""))
    announced = HEADER_BYTES + int.from_bytes(rest[8:16], "little")
    return len(rest) < MAX_FACTS_BYTES and announced > len(rest)


def _hash(vectors: Mapping[str, np.ndarray]) -> str:
    digest = xxhash.xxh3_128()
    for name in sorted(vectors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(vectors[name]))
    return digest.hexdigest()
