"""Progress for people: a line that moves on a terminal, a plain line a minute in a log.

Shown on stderr only, never with -q, `CLET_NO_PROGRESS`, or `TERM=dumb`. rich is imported here, for tables and for the
trainer's view, and only when there is a terminal.
"""

from __future__ import annotations

import os
import sys
import time

from clet.log import Counts, log

TERMINAL_EVERY_S = 0.2
LOG_EVERY_S = 60.0


class Progress:
    """Shows records, tokens and their rate while `tick` is called."""

    def __init__(self, counts: Counts):
        self._counts = counts
        self._started = self._shown = time.monotonic()
        terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._on = not log.quiet and not os.environ.get("CLET_NO_PROGRESS")
        self._live = terminal and self._on and not log.json
        self._every = TERMINAL_EVERY_S if self._live else LOG_EVERY_S
        self._status = None

    def tick(self) -> None:
        """Show what is counted by now, if it is time."""
        now = time.monotonic()
        if not self._on or now - self._shown < self._every:
            return
        self._shown = now
        counts, seconds = self._counts, now - self._started
        text = f"{counts.records_in} in, {counts.records_out} out, {sum(counts.rejected.values())} rejected"
        if counts.tokens:
            text += f", {counts.tokens / seconds:,.0f} tokens/s"
        if self._live:
            self._show(text)
        else:
            log.info(text, event="progress")

    def _show(self, text: str) -> None:
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(text)
            self._status.start()
        self._status.update(f"clet {log.command}: {text}")

    def close(self) -> None:
        """Take the moving line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None
