"""Ending a long-running intake on SIGTERM without losing what was read.

The signal sets `stop`. Readers look at it wherever they wait (`Context.idle`, `Context.sleep`) and after every
document; there, and nowhere else, `Interrupted` is raised, so that no cursor is ever left half updated.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class Interrupted(BaseException):
    """The intake is to end. A BaseException, so that no adapter's `except Exception` swallows it."""


class Interruption:
    """`stop` says whether the end was asked for. Without `install` it never is."""

    def __init__(self) -> None:
        self.stop = threading.Event()

    def install(self, wake: Callable[[], None]) -> None:
        """Take over SIGTERM in this process; `wake` is called by the handler and must be safe there."""

        def handle(*_: object) -> None:
            self.stop.set()
            wake()

        signal.signal(signal.SIGTERM, handle)

    def check(self) -> None:
        """Raise Interrupted once the end was asked for."""
        if self.stop.is_set():
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted when the end is asked for."""
        if self.stop.wait(max(0.0, seconds)):
            raise Interrupted
