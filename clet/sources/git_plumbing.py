"""The git program as a reader of objects: plumbing only, streamed, with nothing that a repository can make it run.

A repository's own configuration is a stranger's: hooks, the fsmonitor, signature programs and external transports are
switched off on every call, prompts are refused, and no variable of a surrounding git process is inherited. Objects
come from one `cat-file --batch` child; memory is one blob.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interruption

READ_BYTES = 1 << 16
FETCH_TIMEOUT_S = 3600
ERROR_CHARS = 300

_SAFE = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "log.showSignature=false",
    "diff.external=",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
]
_OBJECT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


def git_environment(directory: Path, transport: str = "none") -> dict[str, str]:
    """The environment of every git child: it finds the repository in `directory` only, and speaks one transport.

    GIT_ALLOW_PROTOCOL outranks every `protocol.*` setting, so a partial clone cannot make a read run `ext::` either;
    GIT_SSH_COMMAND likewise outranks `core.sshCommand`.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name == "GIT_SSH_COMMAND"
    }
    kept.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15")
    return kept | {
        "GIT_ALLOW_PROTOCOL": transport,
        "GIT_CEILING_DIRECTORIES": str(directory.parent),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }


def command(directory: Path, arguments: Sequence[str], settings: Sequence[str] = ()) -> list[str]:
    """The command line of a git call in a repository."""
    program = shutil.which("git")
    if program is None:
        raise SourceFailed("no git program; install git")
    options = [word for setting in [*_SAFE, *settings] for word in ("-c", setting)]
    return [program, "--no-pager", *options, "-C", str(directory), *arguments]


def run(
    directory: Path,
    *arguments: str,
    settings: Sequence[str] = (),
    transport: str = "none",
    timeout_s: float = 60,
    interruption: Interruption | None = None,
    check: bool = True,
) -> str | None:
    """Standard output of a short call as text; None where it failed and `check` is false. Raises SourceFailed."""
    waiting = interruption.waiting() if interruption else contextlib.nullcontext()
    line = command(directory, arguments, settings)
    try:
        with waiting:
            done = subprocess.run(
                line,
                env=git_environment(directory, transport),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
            )
    except subprocess.TimeoutExpired:
        raise SourceFailed(f"git {arguments[0]} took over {timeout_s:g} s", unreachable=True) from None
    except OSError as error:
        raise SourceFailed(f"git: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "backslashreplace").strip()
    if not check:
        return None
    raise SourceFailed(f"git {arguments[0]}: {_last_line(done.stderr)}", unreachable=True)


def _last_line(errors: bytes) -> str:
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (fatal or lines or ["failed without a word"])[0][:ERROR_CHARS]


def fields(directory: Path, *arguments: str) -> Iterator[bytes]:
    """The NUL-terminated fields that a git call writes, as they come. Raises SourceFailed where it fails at the end."""
    child = subprocess.Popen(
        command(directory, arguments),
        env=git_environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        rest = b""
        while chunk := child.stdout.read1(READ_BYTES):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from whole
        if rest:
            yield rest
        if child.wait() != 0:
            raise SourceFailed(f"git {arguments[0]} ended with status {child.returncode}; is the repository whole?")
    finally:
        _end(child)


@dataclass(frozen=True)
class Change:
    """One path of a tree, or what became of it between two trees. Objects are hex names; a missing side is None."""

    path: bytes
    mode: bytes  # after; "100644", "100755", "120000" a link, "160000" a submodule
    blob: str | None
    old_blob: str | None
    old_mode: bytes = b"000000"


def tree(directory: Path, commit: str) -> Iterator[Change]:
    """Every path of a commit, in git's order."""
    for entry in fields(directory, "ls-tree", "-r", "-z", "--full-tree", commit):
        head, _, path = entry.partition(b"\t")
        mode, kind, name = head.split(b" ")
        if kind == b"blob":
            yield Change(path, mode, name.decode(), None)


def difference(directory: Path, old: str, new: str) -> Iterator[Change]:
    """Every path that differs between two commits; a rename is a deletion and an addition of one blob."""
    flow = fields(
        directory, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--full-index", old, new
    )
    for head in flow:
        path = next(flow)
        old_mode, mode, old_blob, blob, _status = head.lstrip(b":").split(b" ")
        yield Change(path, mode, _name(blob), _name(old_blob), old_mode)


def _name(blob: bytes) -> str | None:
    return None if not blob.strip(b"0") else blob.decode()


class Blobs:
    """A `cat-file --batch` child. Use as a context manager."""

    def __init__(self, directory: Path):
        self._child = subprocess.Popen(
            command(directory, ["cat-file", "--batch"]),
            env=git_environment(directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of an object; None where it is missing or has more than `limit`. Raises SourceFailed."""
        assert _OBJECT.match(name.encode())
        out: BinaryIO = self._child.stdout
        try:
            self._child.stdin.write(name.encode() + b"\n")
            self._child.stdin.flush()
            head = out.readline(200).split()
        except OSError:
            raise SourceFailed("git cat-file ended early; is the repository whole?") from None
        if len(head) == 2 and head[1] in (b"missing", b"ambiguous"):
            return None
        if len(head) != 3:
            raise SourceFailed("git cat-file ended early; is the repository whole?")
        size = int(head[2])
        body = out.read(size) if size <= limit else None
        left = 0 if body is not None else size
        while left and (piece := out.read(min(left, READ_BYTES))):
            left -= len(piece)
        if left or out.read(1) != b"\n" or (body is not None and len(body) != size):
            raise SourceFailed("git cat-file ended early; is the repository whole?")
        return body

    def __enter__(self) -> Blobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        _end(self._child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop a child that has served, whatever state it is in."""
    if child.poll() is None:
        child.kill()
    child.wait()
    child.stdout.close()


def change_times(directory: Path, commit: str, wanted: set[bytes], max_commits: int) -> dict[bytes, int]:
    """Commit time (seconds since 1970) of the last change of each wanted path, from one pass over the history.

    Ends once every path was met or `max_commits` were read; a path not met by then is missing from the answer.
    """
    times: dict[bytes, int] = {}
    moment = None
    # No file name can forge this mark: names are part of what the commit's hash is made of.
    mark = f"commit {commit} "
    head = re.compile(re.escape(mark.encode()) + rb"(\d{1,12})\Z")
    flow = fields(
        directory, "log", "-z", f"--format=tformat:{mark}%ct", "--name-only", "--no-renames", "--no-ext-diff",
        "--diff-filter=d", f"--max-count={max_commits}", commit,
    )  # fmt: skip
    with contextlib.closing(flow):
        for word in flow:
            word = word.removeprefix(b"\n")  # stands between a commit and its first name
            if match := head.match(word):
                moment = int(match[1])
            elif moment is not None and word in wanted and word not in times:
                times[word] = moment
                if len(times) == len(wanted):
                    break
    return times
