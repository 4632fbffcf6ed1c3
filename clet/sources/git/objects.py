"""A repository's objects: the paths of a commit, what differs between two, and the bytes behind them.

Everything streams: a tree costs one path of memory, a blob its own bytes. Sizes are asked first (`cat-file
--batch-check`), so that a blob over the limit, which may inflate a thousandfold, is never unpacked.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from clet.sources.adapter import SourceFailed
from clet.sources.git.environment import Repository
from clet.sources.git.process import answer_or_none, end, fields, start
from clet.sources.interruption import Interruption

WINDOW = 128  # objects asked for at once: their names and headers fit into a pipe, so nobody waits for the other

_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """One path of a tree, or what became of it between two trees. Objects are hex names; a missing side is None."""

    path: bytes
    mode: bytes  # after: "100644", "100755", "120000" a link, "160000" a submodule, "000000" gone
    blob: str | None
    old_mode: bytes = b"000000"
    old_blob: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether there is a file after the change."""
        return self.mode.startswith(b"100")

    @property
    def was_file(self) -> bool:
        """Whether there was a file before it."""
        return self.old_mode.startswith(b"100")


def commit_of(repository: Repository, name: str | None, interruption: Interruption) -> str | None:
    """The commit that a name stands for, if the repository has it."""
    if not name:
        return None
    return answer_or_none(
        repository,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{name}^{{commit}}",
        interruption=interruption,
    )


def tree(repository: Repository, commit: str, interruption: Interruption) -> Iterator[Change]:
    """Every path of a commit, submodules included, in git's order, which is the same at every call."""
    for entry in fields(repository, "ls-tree", "-r", "-z", "--full-tree", commit, interruption=interruption):
        head, _, path = entry.partition(b"\t")
        mode, _kind, name = head.split(b" ")
        yield Change(path, mode, name.decode())


def top_level(repository: Repository, tree_name: str, interruption: Interruption) -> Iterator[Change]:
    """The entries of one folder, without what lies in its folders."""
    for entry in fields(repository, "ls-tree", "-z", "--full-tree", tree_name, interruption=interruption):
        head, _, path = entry.partition(b"\t")
        mode, _kind, name = head.split(b" ")
        yield Change(path, mode, name.decode())


def difference(repository: Repository, old: str, new: str, interruption: Interruption) -> Iterator[Change]:
    """Every path that differs between two commits, in git's order; a rename is a deletion and an addition."""
    flow = fields(
        repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--full-index", old, new,
        interruption=interruption,
    )  # fmt: skip
    for head in flow:
        path = next(flow)
        old_mode, mode, old_blob, blob, _status = head.lstrip(b":").split(b" ")
        yield Change(path, mode, _or_none(blob), old_mode, _or_none(old_blob))


def _or_none(name: bytes) -> str | None:
    return name.decode() if name.strip(b"0") else None


class Blobs:
    """Reads objects of a repository. Use as a context manager."""

    def __init__(self, repository: Repository):
        self._repository = repository
        self._check = self._start("--batch-check")
        self._batch = self._start("--batch")

    def _start(self, mode: str) -> subprocess.Popen[bytes]:
        return start(self._repository, ["cat-file", mode], stdin=subprocess.PIPE)

    def read(self, names: Sequence[str], limit: int) -> Iterator[bytes | str]:
        """For each object, at most WINDOW, its bytes or why there are none.

        That is `large` (more than `limit` bytes), `absent` (a partial clone) or `damaged`. Raises SourceFailed.
        """
        assert len(names) <= WINDOW and all(_NAME.match(name) for name in names)
        found = self._sizes(names)
        wanted = [name for name, size in zip(names, found, strict=True) if isinstance(size, int) and size <= limit]
        self._ask(self._batch, wanted)
        for size in found:
            if isinstance(size, str) or size > limit:
                yield size if isinstance(size, str) else "large"
                continue
            wanted.pop(0)
            body = self._body(size)
            if body is None:  # the child ended, and with it what else it was asked for
                end(self._batch)
                self._batch = self._start("--batch")
                self._ask(self._batch, wanted)
            yield "damaged" if body is None else body

    def read_one(self, name: str, limit: int) -> bytes | None:
        """The bytes of one object, None where there are none to be had."""
        (body,) = self.read([name], limit)
        return body if isinstance(body, bytes) else None

    def _ask(self, child: subprocess.Popen[bytes], names: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # a child that ended is noticed when it is to answer
            child.stdin.write("".join(f"{name}\n" for name in names).encode())
            child.stdin.flush()

    def _sizes(self, names: Sequence[str]) -> list[int | str]:
        self._ask(self._check, names)
        sizes: list[int | str] = []
        for _ in names:
            words = self._check.stdout.readline(1000).split()
            if len(words) == 3:
                sizes.append(int(words[2]) if words[1] == b"blob" else "damaged")
            elif len(words) == 2 and words[1] == b"missing":
                sizes.append("absent")
            else:
                raise SourceFailed("git cat-file ended early; is the repository whole? git fsck tells")
        return sizes

    def _body(self, size: int) -> bytes | None:
        out = self._batch.stdout
        if len(out.readline(1000).split()) != 3:
            return None
        body = out.read(size + 1)
        return body[:-1] if len(body) == size + 1 else None

    def __enter__(self) -> Blobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in (self._check, self._batch):
            with contextlib.suppress(OSError):
                child.stdin.close()
            end(child)
