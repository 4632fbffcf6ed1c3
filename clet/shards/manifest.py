"""The manifest: which shards a directory holds, one JSON line each, in the order in which they were added.

A line is written after its shard is durable, all lines of a run together, so a reader that goes by the manifest
never meets half a shard or half a run. Each line carries the xxh3 of the rest of it. A last line without newline is
what a torn write leaves; it does not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from clet.container import seal_line, unsealed
from clet.exits import InputError, UsageError
from clet.shards.format import LANE
from clet.shards.reader import ShardReader, shards_in
from clet.state import write_atomically

MANIFEST_NAME = "manifest.jsonl"
MAX_MANIFEST_BYTES = 1 << 30
_NAME = re.compile(r"[0-9a-f]{32}\Z")
_HEX32 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class ShardEntry:
    """One shard as the manifest lists it.

    `newest` is the latest publication time among its documents, `created` the latest time of fetching unless the run
    that made it was given another (RFC 3339; None where none is known). `offset` is where the shard begins in a file
    of several; None: the file is this shard.
    """

    path: Path
    name: str
    lane: str
    num_windows: int
    num_tokens: int
    num_documents: int
    root: str
    fingerprint: str
    seq_len: int
    created: str | None
    newest: str | None
    offset: int | None = None

    def open(self, *, fingerprint: str | None = None) -> ShardReader:
        """The shard itself. Raises as `ShardReader.open`."""
        return ShardReader.open(self.path, fingerprint=fingerprint, offset=self.offset)


_FIELDS = {  # of a line, in order: name there, name here, type
    "name": ("name", str),
    "lane": ("lane", str),
    "windows": ("num_windows", int),
    "tokens": ("num_tokens", int),
    "documents": ("num_documents", int),
    "root": ("root", str),
    "fp": ("fingerprint", str),
    "seq_len": ("seq_len", int),
    "created": ("created", str | None),
    "newest": ("newest", str | None),
}


def shard_path(directory: str | Path, lane: str, name: str) -> Path:
    """Where a shard of this lane and name lies."""
    return Path(directory, lane, f"{name}.clet")


def read_manifest(directory: str | Path) -> list[ShardEntry]:
    """The shards of a directory in manifest order; none where it has no manifest yet. Raises InputError on damage."""
    path = Path(directory, MANIFEST_NAME)
    return [_parse(line, number, path) for number, line in enumerate(_lines(path), 1)]


def unlisted_shards(paths: Iterable[str | Path]) -> list[Path]:
    """Shards in the lanes of directories that their manifests do not name; paths that are no such directory are passed.

    A run that was killed at its end leaves some, and so do lines that were lost.
    """
    found = []
    for directory in map(Path, paths):
        if os.path.exists(directory / MANIFEST_NAME):
            named = {entry.path.name for entry in read_manifest(directory)}
            found += sorted(path for path in directory.glob("*/*.clet") if path.name not in named)
    return found


def append_entry(directory: str | Path, entry: ShardEntry) -> None:
    """Add one shard to the manifest, durably. The caller holds the directory's lock (see `directory`)."""
    append_entries(directory, [entry])


def append_entries(directory: str | Path, entries: Sequence[ShardEntry], before: Iterable[Path] = ()) -> None:
    """Add shards to the manifest, all or none: the file is replaced by one with the new lines behind the old.

    Before it is, the names inside the folders `before` are made durable.
    """
    path = Path(directory, MANIFEST_NAME)
    body = b"".join(line + b"\n" for line in [*_lines(path), *map(_line, entries)])
    write_atomically(path, body, before=before)


def find_shards(paths: Sequence[str | Path], *, may_be_empty: bool = False) -> list[ShardEntry]:
    """The shards that `paths` name, each once, in the order given, then in manifest order.

    A path is a directory with a manifest, one of its lane folders, or a file of one shard or of several one behind
    the other; if it `may_be_empty`, also a directory without anything in it. Raises UsageError for anything else.
    """
    found: dict[tuple[Path, int], ShardEntry] = {}
    for path in map(Path, paths):
        for entry in _entries_at(path, may_be_empty):
            found.setdefault((entry.path.resolve(), entry.offset or 0), entry)
    return list(found.values())


def _entries_at(path: Path, may_be_empty: bool) -> list[ShardEntry]:
    try:
        path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name what clet shard -o wrote") from None
    if not path.is_dir():
        listed = [entry for entry in read_manifest(path.parent.parent) if entry.path.name == path.name]
        same = [entry for entry in listed if entry.path.exists() and entry.path.samefile(path)]
        return same or _entries_of_file(path)
    if os.path.exists(path / MANIFEST_NAME):  # Path.exists raises where the folder may not be searched
        return read_manifest(path)
    if os.path.exists(path.parent / MANIFEST_NAME):
        return [entry for entry in read_manifest(path.parent) if entry.lane == path.resolve().name]
    if may_be_empty and not any(os.scandir(path)):
        return []
    raise UsageError(f"{path}: has no {MANIFEST_NAME}; name a directory that clet shard -o wrote")


def _entries_of_file(path: Path) -> list[ShardEntry]:
    readers = list(shards_in(path))
    if len(readers) == 1:
        return [replace(entry_of(readers[0], path.stem), offset=None)]
    return [entry_of(reader, f"{path.stem}@{reader.offset}") for reader in readers]


def entry_of(reader: ShardReader, name: str, created: str | None = None) -> ShardEntry:
    """The entry that describes an open shard; `created` instead of the latest time of fetching."""
    return ShardEntry(
        path=reader.path,
        name=name,
        lane=reader.lane,
        num_windows=reader.num_windows,
        num_tokens=reader.num_tokens,
        num_documents=reader.num_documents,
        root=reader.root,
        fingerprint=reader.fingerprint,
        seq_len=reader.seq_len,
        created=created or reader.fetched,
        newest=reader.newest,
        offset=reader.offset,
    )


def _lines(path: Path) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            body = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(body) > MAX_MANIFEST_BYTES:
        raise InputError(f"{path}: over {MAX_MANIFEST_BYTES >> 20} MB, no manifest")
    *lines, rest = body.split(b"\n")
    if rest:  # the file is only ever replaced whole
        raise InputError(f"{path}: ends inside a line: the manifest was damaged; restore it from a copy")
    return lines


def _line(entry: ShardEntry) -> bytes:
    return seal_line(orjson.dumps({key: getattr(entry, name) for key, (name, _) in _FIELDS.items()}))


def _parse(line: bytes, number: int, path: Path) -> ShardEntry:
    body = unsealed(line)
    if body is None:
        raise InputError(f"{path}:{number}: checksum differs: the manifest was damaged; restore it from a copy")
    try:
        fields: dict[str, Any] = orjson.loads(body)
        values = {name: fields[key] for key, (name, _) in _FIELDS.items()}
        for name, kind in _FIELDS.values():
            if not isinstance(values[name], kind) or (kind is int and values[name] < 0):
                raise ValueError(name)
        if not (LANE.match(values["lane"]) and _NAME.match(values["name"]) and _HEX32.match(values["root"])):
            raise ValueError("lane, name or root")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}:{number}: malformed line of a manifest: {error}") from None
    return ShardEntry(path=shard_path(path.parent, values["lane"], values["name"]), **values)
