"""The lines of steps.jsonl that a release was made from, also where the breaker has undone some of them since.

A trip cuts the lines behind the good state off steps.jsonl and keeps them in RUN/undone/<trip>.jsonl. So what the file
held before trip n is put together again by walking back: its lines up to where the last trip went back to, then what
that trip undid, and so on. A release of whose steps trip n undid some is looked up in the history as it was
before n, recalled or not; what no trip has touched stands in the file as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError
from clet.release import Release
from clet.train.breaker import read_trips
from clet.train.rundir import UNDONE


@dataclass(frozen=True, slots=True)
class _Part:
    """The lines of a file with steps above `after`, up to `upto`."""

    path: Path
    after: int
    upto: int


def step_lines(run: Path, release: Release) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, the line) of each step that a release is made of, in order.

    Raises InputError where a file is missing, a line is no step, or one is left out.
    """
    last = release.count("step")
    step = 0
    for part in _parts(run, release.number, last):
        for where, entry in read_steps(part.path):
            if not part.after < entry["step"] <= part.upto:
                continue
            if entry["step"] != step + 1:
                raise InputError(f"{where}: step {entry['step']} after step {step}; the run's record is damaged")
            step = entry["step"]
            yield where, entry
            if step == part.upto:  # what follows is not this release's, whole or not
                break
    if step < last:
        raise InputError(f"{run / 'steps.jsonl'}: ends at step {step}, the release is of step {last}")


def _parts(run: Path, number: int, last: int) -> list[_Part]:
    trips = read_trips(run)
    undone_by = next((n for n, trip in enumerate(trips) if number in trip["undone"]), len(trips))
    parts = [_Part(run / "steps.jsonl", 0, last)]
    for n in reversed(range(undone_by, len(trips))):
        back_to = trips[n]["back_to"]
        kept = [_Part(p.path, p.after, min(p.upto, back_to)) for p in parts if p.after < back_to]
        parts = [*kept, _Part(run / UNDONE / f"{n + 1}.jsonl", back_to, last)]
    return parts


def read_steps(path: Path, length: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, the line) of each line of a file of steps, or of its first `length` bytes.

    Raises InputError for one that is none.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; a with-block would catch the errors of lines
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; restore it from a copy") from None
    with file:
        read = 0
        for number, line in enumerate(file, 1):
            if length is not None and read >= length:
                return
            read += len(line)
            try:
                entry = orjson.loads(line)
                if type(entry["step"]) is not int:
                    raise TypeError(f"step {entry['step']!r:.40}")
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number}: {error}; the run's record is damaged") from None
            yield f"{path}:{number}", entry
