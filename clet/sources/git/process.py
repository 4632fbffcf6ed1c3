"""The git program as a child process: watched, bounded in memory and words, ended with its process group.

Output streams; the longest thing held is one path. A child is looked at every POLL_S seconds, so that a fetch of an
hour ends when the intake does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from clet.sources.adapter import SourceFailed
from clet.sources.git.environment import Repository, Settings
from clet.sources.interruption import Interrupted, Interruption
from clet.sources.text.decode import one_line

POLL_S = 0.2  # how soon a child is ended when the intake is
GRACE_S = 2.0  # for a child to remove its lock files
READ_BYTES = 1 << 16
MAX_FIELD_BYTES = 1 << 20  # of one path in a tree
MAX_ANSWER_BYTES = 1 << 20  # of a short call
MAX_CHILD_BYTES = 4 << 30  # of memory: a small object may be a delta of one that is not
ERROR_BYTES = 4096
ERROR_CHARS = 300
MIN_VERSION = (2, 31)  # GIT_CONFIG_COUNT, --path-format

_children: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


@functools.cache
def program() -> str:
    """Path of the git program. Raises SourceFailed where it is missing or too old."""
    found = shutil.which("git")
    if found is None:
        raise SourceFailed("no git program; install git")
    try:
        shown = subprocess.run([found, "--version"], capture_output=True, timeout=60).stdout.decode("ascii", "replace")
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    match = re.search(r"(\d+)\.(\d+)", shown)
    if match is None or (int(match[1]), int(match[2])) < MIN_VERSION:
        raise SourceFailed(f"{one_line(shown) or found}: git 2.31 or later is needed")
    return found


def start(
    repository: Repository,
    arguments: Sequence[str],
    *,
    transport: str = "none",
    settings: Settings = (),
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A git child in a process group of its own; end it with `end`. Raises SourceFailed."""
    try:
        child = subprocess.Popen(
            [program(), "--no-pager", *arguments],
            cwd=repository.path,
            env=repository.environment(transport, settings) | (environment or {}),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise SourceFailed(f"git: {error.strerror}") from None
    with _lock:
        _children.add(child)
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(child.pid, resource.RLIMIT_DATA, (MAX_CHILD_BYTES, MAX_CHILD_BYTES))
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    """Stop a child and what it started, whatever state it is in, and close its pipes."""
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)
            child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    with _lock:
        _children.discard(child)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


@atexit.register
def _end_children() -> None:
    """A clone in progress does not outlive the command: it is in no terminal's process group."""
    with _lock:
        for child in _children:
            if child.poll() is None:
                _signal(child, signal.SIGTERM)


def chunks(
    repository: Repository,
    *arguments: str,
    interruption: Interruption,
    transport: str = "none",
    settings: Settings = (),
    environment: dict[str, str] | None = None,
    deadline: float = float("inf"),
    watch: Callable[[], None] | None = None,
) -> Iterator[bytes]:
    """What a git call writes, as it comes. `deadline` is of the monotonic clock; `watch` is called now and then.

    Raises SourceFailed with git's last word where it fails, Interrupted when the intake is to end.
    """
    child = start(
        repository,
        arguments,
        transport=transport,
        settings=settings,
        stderr=subprocess.PIPE,
        environment=environment,
    )
    errors = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            selector.register(child.stderr, selectors.EVENT_READ)
            # What a child leaves running (an ssh master) may hold stderr open.
            while child.stdout in _files(selector) or (_files(selector) and child.poll() is None):
                for key, _ in selector.select(POLL_S):
                    piece = os.read(key.fd, READ_BYTES)
                    if not piece:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is child.stderr:
                        errors = (errors + piece)[-ERROR_BYTES:]
                    else:
                        yield piece
                _check(arguments, interruption, deadline, watch)
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(POLL_S)
            _check(arguments, interruption, deadline, watch)
    finally:
        end(child)
    if child.returncode:
        raise SourceFailed(f"git {arguments[0]}: {_last_word(errors, child.returncode)}", unreachable=True)


def _files(selector: selectors.BaseSelector) -> list[IO[bytes]]:
    return [key.fileobj for key in selector.get_map().values()]


def _check(
    arguments: Sequence[str], interruption: Interruption, deadline: float, watch: Callable[[], None] | None
) -> None:
    if interruption.stop.is_set():
        raise Interrupted
    if time.monotonic() > deadline:
        raise SourceFailed(f"git {arguments[0]} took too long", unreachable=True)
    if watch is not None:
        watch()


def _last_word(errors: bytes, status: int) -> str:
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return one_line((fatal or lines or [f"ended with status {status}"])[0], ERROR_CHARS) or f"status {status}"


def run(
    repository: Repository,
    *arguments: str,
    interruption: Interruption,
    transport: str = "none",
    settings: Settings = (),
    environment: dict[str, str] | None = None,
    timeout_s: float = 60.0,
    watch: Callable[[], None] | None = None,
) -> str:
    """What a short call writes, as text without white space at the ends. Raises as `chunks` does."""
    answer = b""
    flow = chunks(
        repository,
        *arguments,
        interruption=interruption,
        transport=transport,
        settings=settings,
        environment=environment,
        deadline=time.monotonic() + timeout_s,
        watch=watch,
    )
    with contextlib.closing(flow):
        for piece in flow:
            answer += piece
            if len(answer) > MAX_ANSWER_BYTES:
                raise SourceFailed(f"git {arguments[0]} answers at too great length")
    return answer.decode("utf-8", "backslashreplace").strip()


def answer_or_none(repository: Repository, *arguments: str, interruption: Interruption) -> str | None:
    """The same, None where git says no."""
    try:
        return run(repository, *arguments, interruption=interruption)
    except SourceFailed:
        return None


def fields(repository: Repository, *arguments: str, interruption: Interruption) -> Iterator[bytes]:
    """The NUL-terminated fields that a git call writes, as they come. Raises as `chunks` does."""
    rest = b""
    flow = chunks(repository, *arguments, interruption=interruption)
    with contextlib.closing(flow):
        for piece in flow:
            *whole, rest = (rest + piece).split(b"\0")
            yield from whole
            if len(rest) > MAX_FIELD_BYTES:
                raise SourceFailed(f"a path of over {MAX_FIELD_BYTES} bytes; this is no honest repository")
    if rest:
        yield rest
