"""What a clet process says on stderr: one line an event, for a person, a log or (with --json) a program.

stdout is data and never written to from here. Lines are lower case without level label; under systemd
(`JOURNAL_STREAM`) they carry the syslog prefix `<3>`, `<4>` or `<6>` instead. Texts from outside cannot forge lines or
drive a terminal: control and bidirectional characters are shown escaped.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

# Control and bidirectional characters, and the lone surrogates that stand for bytes of a file name that is no UTF-8.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LEVELS = {"error": 3, "warn": 4, "info": 6, "detail": 7}


@dataclass
class Counts:
    """What passed through a command: the numbers of the summary line."""

    records_in: int = 0
    records_out: int = 0
    tokens: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def plain_text(text: str) -> str:
    """Text from outside for a terminal: what could drive it or reorder a line is shown escaped."""
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


class Log:
    """Messages of one process. `command` names the speaker; the flags are those of the command line."""

    def __init__(self) -> None:
        self.command = ""
        self.json = False
        self.quiet = False
        self.verbose = False
        self.started = time.monotonic()
        self.counts: Counts | None = None  # what a summary would say if the command ended now
        self.above: Callable[[bytes], None] | None = None  # shows lines above a view that stands on the terminal
        self._summarised = False
        self._journal = bool(os.environ.get("JOURNAL_STREAM"))

    def configure(self, command: str, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        """Set speaker and flags; the clock of the summary starts here."""
        self.command, self.json, self.quiet, self.verbose = command, json, quiet, verbose
        self.started = time.monotonic()
        self.counts, self._summarised = None, False

    def error(self, text: str, **fields: Any) -> None:
        """Something failed; shown even with -q."""
        self._say("error", text, fields)

    def warn(self, text: str, **fields: Any) -> None:
        """Something a person should know, not a failure."""
        if not self.quiet:
            self._say("warn", text, fields)

    def info(self, text: str, **fields: Any) -> None:
        """An event worth a line."""
        if not self.quiet:
            self._say("info", text, fields)

    def detail(self, text: str, **fields: Any) -> None:
        """Shown with -v only."""
        if self.verbose:
            self._say("detail", text, fields)

    def summary(self, counts: Counts) -> None:
        """The last line of a command: records in and out, drops by reason, tokens, seconds."""
        seconds = time.monotonic() - self.started
        self._summarised = True
        if self.json:
            rejected = dict(counts.rejected) | ({"bad": counts.bad} if counts.bad else {})
            self._write(
                "info",
                {
                    "event": "summary",
                    "in": counts.records_in,
                    "out": counts.records_out,
                    "rejected": rejected,
                    "tokens": counts.tokens,
                    "seconds": round(seconds, 3),
                    **counts.extra,
                },
            )
        elif not self.quiet:
            parts = [f"{counts.records_in} in", f"{counts.records_out} out"]
            parts += [f"{number} {reason}" for reason, number in sorted(counts.rejected.items())]
            parts.append(f"{counts.bad} bad")
            if counts.tokens:
                parts.append(f"{counts.tokens} tokens")
            parts += [f"{name} {value}" for name, value in counts.extra.items() if not isinstance(value, dict | list)]
            self._say("info", ", ".join([*parts, f"{seconds:.1f} s"]), {})

    def close(self) -> None:
        """Called once when a command is over: with --json the last line is a summary, however the command ended."""
        if self.json and not self._summarised:
            self.summary(self.counts or Counts())

    def _say(self, level: str, text: str, fields: dict[str, Any]) -> None:
        text = plain_text(text)
        if self.json:
            self._write(level, {"event": fields.pop("event", level), "message": text, **fields})
        else:
            prefix = f"<{_LEVELS[level]}>" if self._journal else ""
            name = f"clet {self.command}" if self.command else "clet"
            self._emit(f"{prefix}{name}: {text}\n".encode("utf-8", "backslashreplace"))

    def _write(self, level: str, fields: dict[str, Any]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        prefix = f"<{_LEVELS[level]}>".encode() if self._journal else b""
        line = {"ts": stamp, "cmd": self.command, **fields}
        for name, value in line.items():
            if isinstance(value, str):
                line[name] = value.encode("utf-8", "backslashreplace").decode()
        self._emit(prefix + orjson.dumps(line, default=str) + b"\n")

    def _emit(self, line: bytes) -> None:
        try:
            if self.above is not None:
                self.above(line)
                return
            sys.stderr.flush()
            os.write(2, line)
        except OSError:
            pass  # nobody is left to tell: the exit status still says it


log = Log()
