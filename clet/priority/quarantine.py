"""The quarantine: records that a person should look at before anything is learned from them.

One file of records as JSONL (compressed unless its name says `.jsonl`), each with `"quarantine": {"reason", "since"}`.
`clet prioritize --quarantine FILE` adds to it what is suspicious or what a rule of the policy holds back, and takes out
what a person has decided about (`clet judge review`, kept in the state): approved records enter the run first and are
not held back again, rejected ones go to the rejects. An approved record that does not pass, for want of budget, say,
stays in the file and enters the next run again.

Exactly once, over kill -9: the file is replaced whole, before the state is committed. A decided record leaves the file
only in the run after the one in which it departed, when the state says that this happened; until then a run that was
killed finds it still there, and one that was committed knows it by its id. The state remembers what departed as long as
the verdict, so that a decided record that comes again is neither held back again nor learned twice: `screen` takes it
out. A verdict is about the record in the file; one that was given before a record was held does not release it.

Memory: the ids in the file and of the verdicts, and the approved records. At most MAX_RECORDS are held; further ones
are rejected.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from clet.batch import Batch, Ragged
from clet.exits import UsageError
from clet.heads import Heads
from clet.state import State
from clet.streams import RecordWriter, read_batches, same_file

MAX_RECORDS = 100_000
FULL, REPEATED, REFUSED = "quarantine-full", "repeated", "rejected-by-review"
HELD = "held:"  # before the reason of what is held back
_DEPARTED = "departed"  # in the state: what was done with records that were decided, by id


def check_place(path: str, others: Iterable[str | None], state: str) -> None:
    """Refuse a file that cannot be a quarantine, before anything is written. Raises UsageError.

    `others` are the files that the run reads or writes, `state` is its directory.
    """
    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        raise UsageError(f"--quarantine {path}: is no file; name one of its own, which need not exist")
    if same_file(path, [name for name in others if name]):
        raise UsageError(f"--quarantine {path}: is also read or written by this run; name a file of its own")
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(state)):
        raise UsageError(f"--quarantine {path}: lies in the state; name a file outside of {state}")


class Quarantine:
    """The open file of one run: `refused` and `released` give what was decided, `screen` looks at the input, `add`
    holds records back, `note_passed` is told what left; then the state's commit.

    It stands in for the state as what a stage commits: the file appears first, then the state is committed.
    """

    def __init__(self, path: str, state: State, since: str | None):
        self._path, self._state, self._since = path, state, since
        self._verdicts: dict[str, str] = state.values.get("verdicts", {})
        self._departed: dict[str, str] = dict(state.values.get(_DEPARTED, {}))
        self._waiting = 0
        self._known: set[str] = set()  # what the file holds
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
        approved = set()
        for batch in read_batches([self._path]):
            keep = []
            for row in range(len(batch)):
                fields = batch.fields(row)
                ident = fields["id"]
                if not isinstance(fields.get("quarantine"), dict):
                    raise UsageError(f"{self._path}: record {ident} is not held in quarantine; name another file")
                verdict = self._verdicts.get(ident)
                done = self._departed.get(ident)
                if done == "good" or (done is not None and done == verdict):
                    continue  # the run in which it departed was committed
                keep.append(row)
                if ident in self._known:
                    continue
                self._known.add(ident)
                if verdict == "good":
                    approved.add(ident)
                    self._approved.append(_without_note(batch.take([row])))
                elif verdict == "bad":
                    self._rejected.append(batch.take([row]))
            self._waiting += len(keep)
            self._writer.write(batch.take(keep))
        self.approved = frozenset(approved)

    def released(self) -> Iterator[Batch]:
        """Records that a person approved."""
        yield from self._approved

    def refused(self) -> Iterator[Batch]:
        """Records that a person found bad; they depart."""
        for batch in self._rejected:
            self._departed[batch.fields(0)["id"]] = "bad"
            yield batch

    def screen(self, batch: Batch) -> list[str | None]:
        """Of records of the input that were decided: why each must not go on, None where it may.

        What was found bad is refused; what is good, and passes in this run or did before, is repeated.
        """
        out: list[str | None] = [None] * len(batch)
        for row, ident in _rows_with(batch, self._verdicts):
            if self._verdicts[ident] == "bad":
                self._departed[ident] = "bad"
                out[row] = REFUSED
            elif ident in self.approved or self._departed.get(ident) == "good":
                out[row] = REPEATED
        return out

    def add(self, batch: Batch, reasons: Sequence[str]) -> list[str]:
        """Hold records back; what became of each: HELD and its reason, or why it is not held.

        What is held already is not held twice. An approved record that could not pass stays where it is.
        """
        keep, out = [], []
        for row, ident in enumerate(_idents(batch)):
            if ident in self.approved:
                out.append(HELD + reasons[row])
            elif ident in self._known:
                out.append(REPEATED)
            elif self._waiting >= MAX_RECORDS:
                out.append(FULL)
            else:
                self._known.add(ident)
                self._verdicts.pop(ident, None)
                self._departed.pop(ident, None)
                self._waiting += 1
                keep.append(row)
                out.append(HELD + reasons[row])
        notes: list[dict[str, Any]] = [{"reason": reasons[row], "since": self._since} for row in keep]
        self._writer.write(batch.take(keep).annotate("quarantine", notes))
        return out

    def note_passed(self, batch: Batch) -> None:
        """Records that left for the shards: what of them the file holds departs."""
        for _, ident in _rows_with(batch, self._known):
            self._departed[ident] = "good"

    def commit(self) -> None:
        """Let the file appear, then commit the state."""
        self._writer.close()
        waiting = self._known | self._verdicts.keys()
        self._state.values[_DEPARTED] = {ident: done for ident, done in self._departed.items() if ident in waiting}
        self._state.commit()

    def abort(self) -> None:
        """Leave the file as it was."""
        with contextlib.suppress(Exception):
            self._writer.abort()


def _idents(batch: Batch) -> list[str]:
    ids = Heads.of(batch.head, ("id",)).ids.tobytes().hex()
    return [ids[at : at + 32] for at in range(0, len(ids), 32)]


def _rows_with(batch: Batch, known: Collection[str]) -> Iterator[tuple[int, str]]:
    """(row, id) of those records of a batch that are among the known ids."""
    if not known:
        return
    for row, ident in enumerate(_idents(batch)):
        if ident in known:
            yield row, ident


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
