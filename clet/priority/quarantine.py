"""The quarantine: records that a person should look at before anything is learned from them.

One file of records as JSONL (compressed unless its name says `.jsonl`), each with `"quarantine": {"reason", "since"}`.
`clet prioritize --quarantine FILE` adds to it what is suspicious or what a rule of the policy holds back, and takes out
what a person has decided about (`clet judge review`, kept in the state): approved records enter the run first and are
not held back again, rejected ones go to the rejects.

Exactly once, over kill -9: the file is replaced whole, before the state is committed. A decided record leaves the file
only in the run after the one that acted on it, when the state says that this happened; until then a run that was
killed finds it still there, and one that was committed knows it by its id.

Memory: the ids in the file, and the approved records. At most MAX_RECORDS are held; further ones are rejected.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from clet.batch import Batch, Ragged
from clet.exits import UsageError
from clet.state import State
from clet.streams import RecordWriter, read_batches

MAX_RECORDS = 100_000
FULL = "quarantine-full"


class Quarantine:
    """The open file of one run. `release` gives what was decided; then `add`; then the state's commit calls `finish`.

    It stands in for the state as what a stage commits: the file appears first, then the state is committed.
    """

    def __init__(self, path: str, state: State, since: str | None):
        self._path, self._state, self._since = path, state, since
        self.verdicts: dict[str, str] = dict(state.values.get("verdicts", {}))
        self._acted: set[str] = set(state.values.get("acted", []))
        self._waiting = 0
        self._known: set[str] = set()
        self._writer = RecordWriter(path, plain=path.endswith((".jsonl", ".json")))
        self.approved: frozenset[str] = frozenset()
        self._approved: list[Batch] = []
        self._rejected: list[Batch] = []
        try:
            self._read()
        except BaseException:
            self._writer.abort()
            raise

    def _read(self) -> None:
        if not os.path.exists(self._path):
            return
        approved, acted = set(), set()
        for batch in read_batches([self._path]):
            keep = []
            for row in range(len(batch)):
                ident = batch.fields(row)["id"]
                verdict = self.verdicts.get(ident)
                if ident in self._acted:
                    continue  # the run that acted on it was committed
                keep.append(row)
                self._known.add(ident)
                if verdict is None:
                    continue
                acted.add(ident)
                if verdict == "good":
                    approved.add(ident)
                    self._approved.append(_without_note(batch.take([row])))
                else:
                    self._rejected.append(batch.take([row]))
            self._waiting += len(keep)
            self._writer.write(batch.take(keep))
        self.approved = frozenset(approved)
        self._acted = acted

    def released(self) -> Iterator[Batch]:
        """Records that a person approved."""
        yield from self._approved

    def refused(self) -> Iterator[Batch]:
        """Records that a person found bad."""
        yield from self._rejected

    def add(self, batch: Batch, reasons: Sequence[str]) -> list[int]:
        """Hold records back; the rows for which there is no room. What is held already is not held twice."""
        keep, full = [], []
        for row in range(len(batch)):
            ident = batch.fields(row)["id"]
            if ident in self._known:
                continue
            if self._waiting >= MAX_RECORDS:
                full.append(row)
                continue
            self._known.add(ident)
            self._waiting += 1
            keep.append(row)
        notes: list[dict[str, Any]] = [{"reason": reasons[row], "since": self._since} for row in keep]
        self._writer.write(batch.take(keep).annotate("quarantine", notes))
        return full

    def commit(self) -> None:
        """Let the file appear, then commit the state."""
        self._writer.close()
        self._state.values["acted"] = sorted(self._acted)
        self._state.commit()

    def abort(self) -> None:
        """Leave the file as it was."""
        with contextlib.suppress(Exception):
            self._writer.abort()


def _without_note(single: Batch) -> Batch:
    fields = single.fields(0)
    for name in ("quarantine", "priority"):
        fields.pop(name, None)
    return replace(single, head=Ragged.from_bytes([orjson.dumps(fields)]))


def read_quarantine(path: str) -> Iterator[dict[str, Any]]:
    """The records in a quarantine file. Raises UsageError where it cannot be opened."""
    for batch in read_batches([path]):
        for row in range(len(batch)):
            record = batch.record(row)
            if not isinstance(record.get("quarantine"), dict):
                raise UsageError(f"{path}: record {record['id']} is not held in quarantine; name a quarantine file")
            yield record
