"""The live view: how training goes, on a terminal that somebody looks at.

A few lines that stand at the bottom of the terminal and are drawn again in place, once a second at most and only as
steps are made: loss with its curve, speed, learning rate and why, wait, the largest origins, breaker and release. Log
lines appear above. It exists only where stderr is a terminal; elsewhere nothing of it is imported. Names of origins
come from strangers: they are shown without what could drive a terminal, and cut.

Cost: a drawing takes some 3 ms, an event between two of them 10 microseconds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clet.log import log, plain_text
from clet.release import read_release, release_numbers
from clet.train.breaker import read_trips
from clet.train.series import Series

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EVERY_S = 1.0
BARS, ASCII_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588", "_.-:=+*#"
CURVE = 64  # points at most
MAX_ORIGINS = 5
ORIGIN_CHARS = 32
FADE = 0.95  # of what an origin had, a step


def is_wanted() -> bool:
    """Whether there is a terminal to look at, and nobody has said no."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return terminal and not (log.quiet or log.json or os.environ.get("CLET_NO_PROGRESS"))


class LiveView:
    """Stands on the terminal from the first step to `close`."""

    def __init__(self, run: Path, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        from rich.console import Console
        from rich.live import Live

        self._run, self._clock = run, clock
        self._console = console or Console(stderr=True)
        self._bars = BARS if (self._console.encoding or "").lower().startswith("utf") else ASCII_BARS
        self._lock = threading.RLock()
        self._loss = Series(CURVE)
        self._origins: dict[str, list[float]] = {}  # windows and losses, faded
        self._last: dict[str, Any] | None = None
        self._recent = dict.fromkeys(("tokens", "seconds", "wait_s"), 0.0)
        self._drawn = -EVERY_S
        self._is_gone = False  # the terminal is
        trips = read_trips(run)
        self._trips, self._trip = len(trips), trips[-1] if trips else None
        numbers = release_numbers(run)
        self._release = read_release(run, numbers[-1]).facts if numbers else None
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            get_renderable=self._render,
            redirect_stdout=False,  # stdout is data
            redirect_stderr=False,  # the log comes by `above`
        )

    def see(self, fields: dict[str, Any]) -> None:
        """Take in what the loop emitted, and draw if it is time."""
        event = fields.get("event")
        with self._lock:
            if event is None:
                self._note(fields)
            elif event == "breaker":
                self._trips, self._trip = self._trips + 1, fields
            elif event == "release":
                self._release = fields
            if self._last is None or self._clock() - self._drawn < EVERY_S:
                return
            self._draw()

    def _note(self, fields: dict[str, Any]) -> None:
        self._last = fields
        for name in self._recent:
            self._recent[name] = FADE * self._recent[name] + fields[name]
        if fields["loss"] is not None:
            self._loss.add(fields["step"], fields["loss"], fields["tokens"])
        for entry in self._origins.values():
            entry[0] *= FADE
            entry[1] *= FADE
        for name, (windows, losses) in fields["origins"].items():
            entry = self._origins.setdefault(name, [0.0, 0.0])
            entry[0] += windows
            entry[1] += losses
        if len(self._origins) > 4 * MAX_ORIGINS:
            self._origins = dict(self._largest()[: 2 * MAX_ORIGINS])

    def _largest(self) -> list[tuple[str, list[float]]]:
        return sorted(self._origins.items(), key=lambda item: -item[1][0])

    def _draw(self) -> None:
        if self._is_gone:
            return
        try:
            if not self._live.is_started:
                self._live.start()
                log.above = self._say
            self._live.refresh()
        except OSError:  # whoever looked has hung up; training goes on
            self._is_gone, log.above = True, None
        self._drawn = self._clock()

    def _say(self, line: bytes) -> None:
        """A line of the log, above."""
        from rich.text import Text

        with self._lock:  # taken before rich's own, as everywhere
            self._console.print(Text(line.decode("utf-8", "replace").rstrip("\n")), soft_wrap=True)

    def close(self) -> None:
        """Draw the last state and let go of the terminal."""
        with self._lock, contextlib.suppress(OSError):
            log.above = None
            if self._live.is_started and not self._is_gone:
                self._live.refresh()
                self._live.stop()

    # ---- what is drawn

    def _render(self) -> RenderableType:
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            for name, text in self._rows():
                grid.add_row(name, text)
        return grid

    def _rows(self) -> list[tuple[str, Any]]:
        from rich.text import Text

        last, recent = self._last, self._recent
        if last is None:
            return []
        rate, wait = last["rate"], recent["wait_s"] / max(recent["seconds"], 1e-9)
        speed = f"{recent['tokens'] / max(recent['seconds'], 1e-9):,.0f} tokens/s, waits {wait:.1%} of the time"
        rows: list[tuple[str, Any]] = [
            ("step", Text(f"{last['step']:,}, {last['total_tokens']:,} tokens, {last['backlog']:,} windows to go")),
            ("speed", Text(speed)),
        ]
        if self._loss.buckets:
            shown = "none" if last["loss"] is None else f"{last['loss']:.4f}"
            rows.append(("loss", Text(f"{shown}  {sparkline([b.mean for b in self._loss.buckets], self._bars)}")))
        norm = "" if last["grad_norm"] is None else f", gradient {last['grad_norm']:.3g}"
        rows.append(("rate", Text(f"{last['lr']:.3g}: {rate['phase']}, {rate['factor']:.3f} of the peak{norm}")))
        for name, (windows, losses) in self._largest()[:MAX_ORIGINS]:
            if windows > 1e-3:
                rows.append(("", Text(f"{losses / windows:7.4f}  {_short(name)}")))
        rows.append(("breaker", self._breaker_text()))
        rows.append(("release", Text(self._release_text())))
        return rows

    def _breaker_text(self) -> Any:
        from rich.text import Text

        if self._trip is None:
            return Text("has not tripped")
        times = "once" if self._trips == 1 else f"{self._trips} times"
        why = plain_text(str(self._trip.get("why", "")))
        return Text(f"tripped {times}, last at step {self._trip.get('step')}: {why}", style="bold")

    def _release_text(self) -> str:
        if self._release is None:
            return "none yet"
        text = f"{self._release['number']}, of step {self._release.get('step')}"
        if watermark := self._release.get("watermark"):
            text += f", knows what was published by {plain_text(str(watermark))}"
        return text


def _short(name: str) -> str:
    name = plain_text(name) or "(no origin)"
    return name if len(name) <= ORIGIN_CHARS else name[: ORIGIN_CHARS - 3] + "..."


def sparkline(values: list[float], bars: str = BARS) -> str:
    """Values as bars between the least and the greatest of them; a flat line where they are one."""
    low, high = min(values), max(values)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((value - low) * scale)] for value in values)
