"""A repository at a path, to be read where it lies: a folder with .git, a worktree, a bare repository.

Its configuration belongs to whoever made it. Two calls read it: they ask where the objects are, what HEAD is and
what the remote is called. All else is done in a *view*: an empty git directory in the cache, of the same object
format, under which git is shown the objects and the shallow boundary.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path

from clet.sources.adapter import Context, SourceFailed
from clet.sources.git.environment import Repository
from clet.sources.git.process import answer_or_none, run
from clet.sources.table import without_credentials
from clet.sources.text.decode import one_line

OBJECT_FORMATS = ("sha1", "sha256")


def open_path(path: str, context: Context) -> tuple[Repository, str, str]:
    """(the repository, the commit that HEAD names, what to call its origin). Raises SourceFailed."""
    directory = Path(os.path.realpath(path))
    if not directory.is_dir():
        raise SourceFailed("no such folder", unreachable=True)
    found, interruption = Repository(directory, search=True), context.interruption
    try:
        answer = run(
            found, "rev-parse", "--path-format=absolute", "--git-path", "objects", "--git-path", "shallow",
            "--show-object-format", interruption=interruption,
        ).split("\n")  # fmt: skip
    except SourceFailed as error:
        if "not a git repository" in str(error):
            raise SourceFailed("not a git repository; name its top folder", unreachable=True) from None
        raise
    if len(answer) != 3 or answer[2] not in OBJECT_FORMATS:
        raise SourceFailed("git says where the objects are in a way that clet does not understand")
    objects, shallow, object_format = answer
    head = answer_or_none(found, "rev-parse", "--verify", "--quiet", "HEAD", interruption=interruption)
    if head is None:
        raise SourceFailed("HEAD has no commit yet")
    remote = answer_or_none(found, "config", "--get", "remote.origin.url", interruption=interruption)
    view = context.cache / "git" / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:24]}-{object_format}.view"
    make(view, object_format, context)
    boundary = Path(shallow) if os.path.isfile(shallow) else None
    name = one_line(without_credentials(remote)) if remote else one_line(directory.name)
    return Repository(view, Path(objects), boundary), head, name or "/"


def make(directory: Path, object_format: str, context: Context) -> None:
    """Make a bare repository of clet's own, if it is not there; killed in between, nothing is there."""
    if (directory / "HEAD").exists():
        return
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix="new-", ignore_cleanup_errors=True) as folder:
            new = Path(folder) / "git"
            new.mkdir()
            run(
                Repository(new), "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}",
                interruption=context.interruption,
            )  # fmt: skip
            new.rename(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was quicker
            raise SourceFailed(f"{directory}: {error.strerror}") from None
