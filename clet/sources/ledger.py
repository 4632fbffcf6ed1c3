"""What the state remembers of each source: its cursor and how it stands (`schedule.py`).

One journal of JSON entries, the last one of a source counting; what changed is appended, so that a commit costs what
was read and not what is known. When the journal is four times what it has to say, it is written anew under the next
name. Memory: the JSON of every cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson

from clet.exits import InputError
from clet.sources.schedule import Standing
from clet.state import State

SLACK_BYTES = 4 << 20  # a journal below this is never worth writing anew
_FRAME_BYTES = 8 << 20


class Ledger:
    """Cursors and standings by source key; a Stage commits it. Without a state it remembers while the process lives."""

    def __init__(self, state: State | None, before_commit: Callable[[], None] = lambda: None):
        self._state = state
        self._before_commit = before_commit
        self._cursors: dict[str, bytes] = {}
        self._standings: dict[str, Standing] = {}
        self._changed: dict[str, set[str]] = {}
        self._written = 0  # bytes in the journal
        if state:
            self._load(state)

    def _load(self, state: State) -> None:
        for arrays in state.journal(self._journal):
            body = arrays["entries"].tobytes()
            self._written += len(body)
            for line in body.split(b"\n"):
                if line:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = orjson.loads(line)
            key = entry["key"]
            if "cursor" in entry:
                self._cursors[key] = orjson.dumps(entry["cursor"])
            if "standing" in entry:
                self._standings[key] = Standing.from_json(entry["standing"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InputError("the ledger of sources is damaged; restore the state or give another --state") from None

    @property
    def _journal(self) -> str:
        return f"sources-{self._state.values.get('journal', 0)}" if self._state else ""

    def __iter__(self) -> Iterator[str]:
        """The keys of all sources that are known, sorted."""
        return iter(sorted(self._cursors.keys() | self._standings.keys()))

    def cursor(self, key: str) -> dict[str, Any]:
        """A copy of a source's cursor."""
        body = self._cursors.get(key)
        return orjson.loads(body) if body else {}

    def standing(self, key: str) -> Standing:
        """How a source stands; change it through `touch`."""
        return self._standings.get(key) or Standing()

    def put_cursor(self, key: str, body: bytes) -> None:
        """Keep a cursor, as JSON, from the next `commit`."""
        if self._cursors.get(key) != body:
            self._cursors[key] = body
            self._changed.setdefault(key, set()).add("cursor")

    def put_standing(self, key: str, standing: Standing) -> None:
        """Keep a standing from the next `commit`."""
        self._standings[key] = standing
        self._changed.setdefault(key, set()).add("standing")

    def commit(self) -> None:
        """Make everything durable, after what `before_commit` makes so. Raises WriteError."""
        self._before_commit()
        if self._state is None:
            self._changed.clear()
            return
        live = sum(map(len, self._cursors.values())) + 300 * len(self._standings)
        if self._written > 4 * live + SLACK_BYTES:
            self._state.drop(self._journal)
            self._state.values["journal"] = self._state.values.get("journal", 0) + 1
            self._written = 0
            self._changed = {key: {"cursor", "standing"} for key in self}
        lines, size = [], 0
        for key, parts in self._changed.items():
            line = self._line(key, parts)
            lines.append(line)
            size += len(line)
            if size > _FRAME_BYTES:
                self._append(lines)
                lines, size = [], 0
        self._append(lines)
        self._changed.clear()
        self._state.commit()

    def _line(self, key: str, parts: set[str]) -> bytes:
        entry: dict[str, Any] = {"key": key}
        if "cursor" in parts and key in self._cursors:
            entry["cursor"] = orjson.Fragment(self._cursors[key])
        if "standing" in parts and key in self._standings:
            entry["standing"] = self._standings[key].to_json()
        return orjson.dumps(entry)

    def _append(self, lines: list[bytes]) -> None:
        if lines:
            body = b"\n".join(lines)
            self._state.append(self._journal, {"entries": np.frombuffer(body, np.uint8)})
            self._written += len(body)
