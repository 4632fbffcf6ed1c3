"""Ending a long-running intake on SIGTERM without losing what was read.

The signal sets `stop`. Readers look at it wherever they wait (`Context.idle`, `Context.sleep`) and after every
document; there, and nowhere else, `Interrupted` is raised, so that no cursor is ever left half updated.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable

from clet.exits import Terminated

UNREAD_S = 0.5  # after the signal, what nobody has taken by then is not written


class Interrupted(BaseException):
    """The intake is to end. A BaseException, so that no adapter's `except Exception` swallows it."""


class Interruption:
    """`stop` says whether the end was asked for. Without `install` it never is."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._stopped_s = math.inf

    def install(self, wake: Callable[[], None]) -> None:
        """Take over SIGTERM in this process; `wake` is called by the handler and must be safe there."""

        def handle(*_: object) -> None:
            self._stopped_s = min(self._stopped_s, time.monotonic())
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

    def unread(self) -> None:
        """Called while nobody takes the output. Raises Terminated soon after the end was asked for."""
        if time.monotonic() - self._stopped_s > UNREAD_S:
            raise Terminated("terminated while nobody read the output; what was not committed comes again")
