"""Ending a long-running intake on SIGTERM without losing what was read.

The signal only sets a flag, except while the process waits (for a peer, a child process, the next round): there,
and nowhere else, it raises `Interrupted`, so that no cursor is ever left half updated.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Interrupted(BaseException):
    """SIGTERM arrived while waiting."""


class Interruption:
    """`requested` says whether the signal arrived. Without `install` nothing is ever requested."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False
        self._pipe: tuple[int, int] | None = None

    def install(self) -> None:
        """Take over SIGTERM in this process."""
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self.requested = True
        with suppress(BlockingIOError):  # the pipe is full of earlier signals
            os.write(self._pipe[1], b"!")
        if self._waiting:
            self._waiting = False
            raise Interrupted

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a call that may block on the world; it must not touch anything that is kept."""
        self._waiting = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._waiting = False

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted when the signal arrives."""
        with self.waiting():
            select.select([self._pipe[0]] if self._pipe else [], [], [], max(0.0, seconds))
