"""Which paths of a commit are read: what `selection.py` says by name, and what the repository itself says.

The attributes `linguist-generated` and `linguist-vendored` of the root's .gitattributes outrank the name, both ways;
git evaluates their patterns (`check-attr` on an index that holds that one file). Attributes of lower folders are not
looked at. Paths that no honest tree has, such as `../x`, `/x` or `.git/x`, are passed over.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from clet.sources.adapter import SourceFailed
from clet.sources.git.environment import Repository
from clet.sources.git.objects import WINDOW, Blobs, Change, top_level
from clet.sources.git.process import READ_BYTES, end, run, start
from clet.sources.interruption import Interruption
from clet.sources.selection import skip_name

MAX_PATH_BYTES = 4096  # PATH_MAX of Linux
MAX_ATTRIBUTES_BYTES = 1 << 20
_ASKED = ("linguist-generated", "linguist-vendored")
_QUESTION_BYTES = 12_000  # its answer is below 64 KB, so that it fits into the pipe while we still write
_ODD = re.compile(rb"(?:^|/)(?:\.{0,2}|\.git)(?:/|\Z)", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def path_text(path: bytes) -> str:
    """A path as text for a record: what is no UTF-8 and what acts on a terminal is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _words_of(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := child.stdout.read1(READ_BYTES):
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole


class Selection:
    """Judges the paths of one commit. Use as a context manager."""

    def __init__(self, repository: Repository, commit: str, blobs: Blobs, interruption: Interruption):
        self._folder = tempfile.TemporaryDirectory(prefix="clet-git-")
        self._child: subprocess.Popen[bytes] | None = None
        self._words: Iterator[bytes] = iter(())
        try:
            for entry in top_level(repository, commit, interruption):
                if entry.path == b".gitattributes" and entry.is_file:
                    body = blobs.read_one(entry.blob, MAX_ATTRIBUTES_BYTES)
                    if body and b"linguist-" in body:
                        self._ask(repository, entry.blob, interruption)
        except BaseException:
            self._folder.cleanup()
            raise

    def _ask(self, repository: Repository, blob: str, interruption: Interruption) -> None:
        """Have git answer by a .gitattributes."""
        index = {"GIT_INDEX_FILE": os.path.join(self._folder.name, "index")}
        entry = f"100644,{blob},.gitattributes"
        run(repository, "update-index", "--add", "--cacheinfo", entry, interruption=interruption, environment=index)
        arguments = ["check-attr", "--cached", "--stdin", "-z", *_ASKED]
        self._child = start(repository, arguments, stdin=subprocess.PIPE, environment=index)
        self._words = _words_of(self._child)

    def judged(self, changes: Iterable[Change]) -> Iterator[tuple[Change, str | None]]:
        """Each change with the reason why its path is passed over, or None."""
        window: list[Change] = []
        for change in changes:
            window.append(change)
            if len(window) == WINDOW:
                yield from zip(window, self.reasons([each.path for each in window]), strict=True)
                window = []
        yield from zip(window, self.reasons([each.path for each in window]), strict=True)

    def reasons(self, paths: Sequence[bytes]) -> list[str | None]:
        """Why each path is passed over, or None for those that are read."""
        odd = [len(path) > MAX_PATH_BYTES or _ODD.search(path) is not None for path in paths]
        said = self._attributes([path for path, is_odd in zip(paths, odd, strict=True) if not is_odd])
        reasons: list[str | None] = []
        for path, is_odd in zip(paths, odd, strict=True):
            if is_odd:
                reasons.append("odd-path")
                continue
            reason = skip_name(path_text(path))
            marks = next(said)
            for name, mark in zip(("generated", "vendored"), marks, strict=True):
                if mark in (b"unset", b"false") and reason == name:
                    reason = None
                elif mark in (b"set", b"true"):
                    reason = name
            reasons.append(reason)
        return reasons

    def _attributes(self, paths: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The two attributes of each path."""
        if self._child is None:
            for _ in paths:
                yield b"", b""
            return
        rest = list(paths)
        while rest:
            part, size = [], 0
            while rest and (not part or size + len(rest[0]) < _QUESTION_BYTES):
                size += len(rest[0]) + 60
                part.append(rest.pop(0))
            with contextlib.suppress(OSError):
                self._child.stdin.write(b"".join(path + b"\0" for path in part))
                self._child.stdin.flush()
            for _ in part:
                yield self._answer(), self._answer()

    def _answer(self) -> bytes:
        """The value in the next of git's answers, which are a path, an attribute and its value."""
        try:
            return [next(self._words) for _ in range(3)][2]
        except (StopIteration, RuntimeError):
            raise SourceFailed("git check-attr ended early") from None

    def __enter__(self) -> Selection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            end(self._child)
        self._folder.cleanup()
