"""The run directory: what a run is and what it did, on disk; one trainer at a time.

    RUN/lock             flock(2): dies with the process
    RUN/run.json         what holds for the whole run (seed, model, tokenizer), settings, those of the last release
                         (`proven`), the open goal; replaced whole
    RUN/segments.jsonl   the shards of each segment, in the order in which they are learned; only grows;
                         each line carries the xxh3 of the rest of it
    RUN/documents/       the document table of each shard (`<root>.jsonl.zst`): provenance outlives the shards
    RUN/steps.jsonl      one line a step; cut back to the saved state when a run resumes
    RUN/undone/          the lines that a trip of the breaker cut off (`<trip>.jsonl`)
    RUN/state/           the saved training state (see `savepoint`)
    RUN/releases/        see `clet.release`

segments.jsonl is ahead of the state: shards are written there before any of their windows is learned, so a run that
is killed and started again hands out the same windows, whatever else was named in between.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import xxhash
import zstandard

from clet.container import seal_document, seal_line, unsealed, unsealed_document
from clet.exits import InputError, TryLater, UsageError, WriteError
from clet.state import fsync_directory, write_atomically
from clet.train.feed import Segment, Shard, Window

VERSION = 2
ROOT_CHARS = 16  # of a shard's root in steps.jsonl: 64 bits tell the shards of one run apart
MAX_FACTS_BYTES = 16 << 20
READ_BYTES = 1 << 24  # of steps.jsonl, read forwards
BLOCK_BYTES = 1 << 18  # of steps.jsonl, read backwards
MAX_TABLE_BYTES = 4 << 30
NAMES = {  # in a run's directory
    "breaker.json", "documents", "links.jsonl", "live", "lock", "paused.json", "realtime", "releases", "run.json",
    "segments.jsonl", "state", "static", "steps.jsonl", "trip.json", "undone",
}  # fmt: skip
UNDONE = "undone"
SEALED = ("run.json", "segments.jsonl", "breaker.json")  # written by who has the lock; they carry checksums
FACTS = {  # of run.json
    "seed": int,
    "model": str,
    "config": dict,
    "tokenizer": str,
    "base": str,
    "seq_len": int | None,
    "goal": dict | None,
    "settings": dict,
    "proven": dict | None,
}


class RunDirectory:
    """An open, locked run. `facts` is the object of run.json ({} for a new run), `segments` what is known to learn."""

    def __init__(self, path: Path):
        self.path = path
        self.facts: dict[str, Any] = {}
        self._written: dict[str, Any] = {}  # of the facts: see `propose`
        self.segments: list[Segment] = []
        self._lock_fd = -1
        self._steps_fd = -1
        self._steps_digest = xxhash.xxh3_64()

    @staticmethod
    def open(path: str | Path) -> RunDirectory:
        """Open or create a run. Raises TryLater where another trainer has it, InputError where it is damaged.

        UsageError where there is a directory that is something else.
        """
        run = RunDirectory(Path(path))
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            if not (run.path / "run.json").exists() and (other := _not_a_runs(run.path)):
                raise UsageError(f"{path}: not a run, and not empty ({other}); name a new folder")
            run._lock_fd = os.open(run.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{path}: is not a directory") from None
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None
        try:
            try:
                fcntl.flock(run._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TryLater(f"{path}: another trainer is at work there; name another --run or wait for it") from None
            _clear_stale(run.path)
            run.facts = run._written = read_run(run.path)
            run.segments = read_segments(run.path)
            if not run.segments and run.has_steps:
                raise InputError(f"{path}: steps were made, but segments.jsonl is gone; restore it from a copy")
        except BaseException:
            run.close()
            raise
        return run

    def propose(self, facts: dict[str, Any]) -> None:
        """What run.json shall say, written by the next `describe`: a start refused before that changes nothing."""
        self.facts = {"version": VERSION} | facts

    def describe(self, facts: dict[str, Any]) -> None:
        """Replace run.json, durably; nothing happens where it says so already."""
        self.facts = {"version": VERSION} | facts
        if self.facts != self._written:
            write_atomically(self.path / "run.json", seal_document(self.facts))
            self._written = self.facts

    # ---- segments

    @property
    def known_roots(self) -> set[str]:
        """Roots of all shards of all segments."""
        return {shard.root for segment in self.segments for shard in segment.shards}

    def keep_documents(self, root: str, table: Iterable[dict[str, Any]]) -> None:
        """Keep the document table of a shard, durably. Raises WriteError."""
        folder = self.path / "documents"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise WriteError(f"{folder}: {error.strerror}") from None
        body = b"".join(orjson.dumps(row) + b"\n" for row in table)
        packed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(body)
        write_atomically(folder / f"{root}.jsonl.zst", packed)

    def add_segment(self, shards: Sequence[Shard], epochs: int) -> Segment:
        """Make a new segment of `shards`, whose document tables are kept; durable before it is returned."""
        segment = Segment(len(self.segments), tuple(shards), epochs)
        self._write_segments([*self.segments, segment])
        return segment

    def relocate(self, paths: Mapping[str, str]) -> None:
        """Keep where shards lie now, by root; durable when this returns."""
        self._write_segments(
            [
                replace(s, shards=tuple(replace(shard, path=paths.get(shard.root, shard.path)) for shard in s.shards))
                for s in self.segments
            ]
        )

    def _write_segments(self, segments: list[Segment]) -> None:
        lines = [{"segment": s.number, "epochs": s.epochs, "shards": list(map(asdict, s.shards))} for s in segments]
        body = b"".join(seal_line(orjson.dumps(line)) + b"\n" for line in lines)
        write_atomically(self.path / "segments.jsonl", body)
        self.segments = segments

    # ---- steps.jsonl

    @property
    def has_steps(self) -> bool:
        """Whether a line of a step was ever written: then there is a saved state, and a segment."""
        path = self.path / "steps.jsonl"
        return path.is_file() and path.stat().st_size > 0

    def open_steps(self, length: int) -> None:
        """Open steps.jsonl for `write_step`, cut back to `length` bytes. Raises InputError where it is shorter."""
        path = self.path / "steps.jsonl"
        try:
            if self._steps_fd < 0:
                self._steps_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                fsync_directory(self.path)
            if os.fstat(self._steps_fd).st_size < length:
                raise InputError(f"{path}: shorter than when the state was saved; restore it from a copy")
            self._steps_digest = xxhash.xxh3_64()
            for start in range(0, length, READ_BYTES):
                self._steps_digest.update(self.steps_bytes(start, min(length, start + READ_BYTES)))
            os.ftruncate(self._steps_fd, length)
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}") from None

    def write_step(self, line: dict[str, Any]) -> None:
        """Append one line; it is made durable by `sync_steps`."""
        body = memoryview(orjson.dumps(line) + b"\n")
        self._steps_digest.update(body)
        try:
            while body:
                body = body[os.write(self._steps_fd, body) :]
        except OSError as error:
            raise WriteError(f"{self.path / 'steps.jsonl'}: {error.strerror}") from None

    def sync_steps(self) -> None:
        """Make steps.jsonl durable."""
        try:
            os.fsync(self._steps_fd)
        except OSError as error:
            raise WriteError(f"{self.path / 'steps.jsonl'}: {error.strerror}") from None

    def steps_digest(self) -> str:
        """The xxh3 of steps.jsonl, up to where the next line will begin."""
        return self._steps_digest.hexdigest()

    def steps_length(self) -> int:
        """Bytes of steps.jsonl: where the next line will begin."""
        return os.fstat(self._steps_fd).st_size

    def lines_back(self) -> Iterator[dict[str, Any]]:
        """The lines of steps.jsonl, the last one first."""
        end, cut = self.steps_length(), b""  # the beginning of what was read may be within a line
        while end:
            start = max(0, end - BLOCK_BYTES)
            cut, *lines = (self.steps_bytes(start, end) + cut).split(b"\n")
            yield from (orjson.loads(line) for line in reversed(lines) if line)
            end = start
        if cut:
            yield orjson.loads(cut)

    def steps_bytes(self, start: int, end: int) -> bytes:
        """A part of steps.jsonl."""
        return os.pread(self._steps_fd, max(0, end - start), start)

    def close(self) -> None:
        """Release the lock."""
        for fd in (self._steps_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._steps_fd = self._lock_fd = -1

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _not_a_runs(path: Path) -> str | None:
    """The first name in a directory that no run has, or None."""
    return next((name for name in sorted(os.listdir(path)) if name not in NAMES and not name.startswith(".")), None)


def read_run(path: Path) -> dict[str, Any]:
    """The object of run.json, {} where there is none. Raises InputError where it is damaged."""
    file = path / "run.json"
    try:
        with open(file, "rb") as opened:
            facts = unsealed_document(opened.read(MAX_FACTS_BYTES))
    except FileNotFoundError:
        return {}
    if facts is None:
        raise InputError(f"{file}: damaged; restore it from a copy")
    if facts.get("version") != VERSION:
        raise InputError(f"{file}: not a run that this clet understands")
    wrong = [name for name, kind in FACTS.items() if name not in facts or not isinstance(facts[name], kind)]
    if wrong:
        raise InputError(f"{file}: {', '.join(wrong)} missing or damaged; restore it from a copy")
    return facts


def read_segments(path: Path) -> list[Segment]:
    """The segments of a run in order. Raises InputError on damage."""
    segments = []
    try:
        with open(path / "segments.jsonl", "rb") as file:
            for number, line in enumerate(file):
                body = unsealed(line.rstrip(b"\n"))
                entry = orjson.loads(body or b"")
                if entry["segment"] != number or type(entry["epochs"]) is not int or entry["epochs"] < 1:
                    raise ValueError
                segments.append(Segment(number, tuple(map(_shard, entry["shards"])), entry["epochs"]))
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path / 'segments.jsonl'}: damaged; restore it from a copy") from None
    return segments


def _clear_stale(path: Path) -> None:
    """Take away what a killed trainer was writing; the lock says that no other is at work."""
    for pattern in (*(f"{name}.tmp-*" for name in SEALED), "documents/*.tmp-*", "undone/*.tmp-*"):
        for stale in path.glob(pattern):
            stale.unlink(missing_ok=True)


def _shard(values: dict[str, Any]) -> Shard:
    """A shard of segments.jsonl. Raises TypeError or ValueError where it is malformed."""
    only = values["only"]
    shard = Shard(**values | {"only": None if only is None else tuple(only)})
    names = (shard.path, shard.name, shard.root, shard.lane, shard.newest or "")
    counts = (shard.windows, shard.tokens, shard.documents)
    if not all(isinstance(name, str) for name in names) or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError
    if any(type(n) is not int for n in (shard.first, shard.parts)) or not 0 <= shard.first < shard.parts:
        raise ValueError
    own = range(shard.first, shard.windows, shard.parts)
    if only is not None and not all(type(index) is int and index in own for index in only):
        raise ValueError
    return shard


def read_documents(path: Path, root: str) -> list[dict[str, Any]]:
    """The document table that the run kept of a shard. Raises InputError where it is missing or damaged."""
    file = path / "documents" / f"{root}.jsonl.zst"
    try:
        body = zstandard.ZstdDecompressor().decompress(file.read_bytes(), max_output_size=MAX_TABLE_BYTES)
        rows = [orjson.loads(line) for line in body.splitlines()]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; restore it from a copy") from None
    except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
        raise InputError(f"{file}: damaged: {error}") from None
    if not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        raise InputError(f"{file}: damaged: not a table of documents")
    return rows


def by_shard(windows: Iterable[Window]) -> list[list[Any]]:
    """Windows as steps.jsonl has them, [[root prefix, [indices]], ...], in their order: a shard is named again where
    another lay between."""
    grouped = groupby(windows, key=lambda window: window[0])
    return [[root[:ROOT_CHARS], [index for _, index in members]] for root, members in grouped]
