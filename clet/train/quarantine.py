"""Freeing windows from quarantine: what a trip of the breaker left out is handed out after all.

Trips are not always the data's fault: a rate mistyped trips the breaker at whatever comes. The windows of such a trip
become a new segment, behind all that the run knows, and are learned once like those of any other; so nothing that is
handed out before them moves, and a run that was killed still makes the steps again that it had made. Those that had
been learned before the trip (it quarantines what was replayed, too) are only replayed again.

breaker.json says first that they are free, and from which segment on; then that segment is made. Where a kill comes in
between, whoever opens the run next makes it (`finish`), before any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clet.exits import NothingToDo, UsageError
from clet.train.breaker import read_trips, write_trips
from clet.train.feed import Window
from clet.train.history import read_steps
from clet.train.rundir import ROOT_CHARS, RunDirectory
from clet.train.savepoint import check_known


def free(run: RunDirectory, numbers: Sequence[int]) -> int:
    """Free the windows of trips, numbered from 1; how many will be learned: those that no step has learned yet.

    Raises UsageError for a trip that was not, NothingToDo where none of them has windows in quarantine.
    """
    length = check_known(run.path)
    trips = read_trips(run.path)
    for number in numbers:
        if not 1 <= number <= len(trips):
            raise UsageError(f"{run.path}: no trip {number}; see clet release trips {run.path}")
    chosen = [trip for number in numbers if (trip := trips[number - 1])["freed"] is None and trip["windows"]]
    if not chosen:
        raise NothingToDo(f"{run.path}: no windows of these trips are in quarantine")
    for trip in chosen:
        trip["freed"] = len(run.segments)
    write_trips(run.path, trips)
    return finish(run, length)


def finish(run: RunDirectory, length: int) -> int:
    """Make the segment of the windows that were freed, if it is not made yet; how many windows it has.

    `length` bytes of steps.jsonl are of the saved state: what is behind them is made again, or undone.
    """
    trips, segment = read_trips(run.path), len(run.segments)
    wanted = _windows(trip for trip in trips if trip["freed"] == segment)
    wanted -= _windows(trip for trip in trips if trip["freed"] is None)
    if wanted:
        wanted -= _learned(run.path, {root for root, _ in wanted}, length)
    if not wanted:
        return 0
    shards = {shard.root: shard for known in run.segments for shard in known.shards if shard.only is None}
    by_root: dict[str, list[int]] = {}
    for root, index in sorted(wanted):
        by_root.setdefault(root, []).append(index)
    run.add_segment([replace(shards[root], only=tuple(which)) for root, which in by_root.items()], epochs=1)
    return len(wanted)


def _windows(trips: Iterable[Mapping[str, Any]]) -> set[Window]:
    return {(root, index) for trip in trips for root, indices in trip["windows"] for index in indices}


def _learned(run: Path, roots: set[str], length: int) -> set[Window]:
    """The windows of shards that a step in the first `length` bytes of steps.jsonl learned as new ones."""
    whole = {root[:ROOT_CHARS]: root for root in roots}
    return {
        (whole[root], index)
        for _, line in read_steps(run / "steps.jsonl", length)
        for root, indices in line["windows"]
        if root in whole
        for index in indices
    }
