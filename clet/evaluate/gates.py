"""Gates: what a release must reach before it goes live by itself. A gate is a name, a number, a limit and a verdict.

    perplexity[:FILE]=N    perplexity on a held-out file (each, if none is named) is at most N
    forgetting[:FILE]=X    loss on it is at most X nats a token above that of the live release
    canaries=SHARE         at least so many of the canaries hold
    freshness=F1           Freshness F1 is at least that, where the evaluation has measured it

What a gate asks for and nobody measured fails: a gate that is not looked at protects nobody. Where nothing is live yet
there is nothing to forget. A further gate is a line in MEASURES.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clet.exits import UsageError


@dataclass(frozen=True, slots=True)
class Gate:
    """A measure, the held-out file it is taken on (None: all, or it needs none), and its limit."""

    measure: str
    file: str | None
    limit: float

    @property
    def name(self) -> str:
        """As it was given."""
        return self.measure + (f":{self.file}" if self.file else "")


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a candidate: `evals` by file, the live release's losses, the share of canaries that hold.

    `live` is None where nothing is live.
    """

    evals: Mapping[str, Any]
    live: Mapping[str, float] | None
    canaries: float | None = None
    freshness: float | None = None


def _perplexity(gate: Gate, measured: Measured) -> float | None:
    return _worst(gate, {name: found.get("perplexity") for name, found in measured.evals.items()})


def _forgetting(gate: Gate, measured: Measured) -> float | None:
    if measured.live is None:
        return -math.inf  # nothing is live, nothing can be forgotten
    rises = {
        name: found["nll"] - measured.live[name] if found.get("nll") is not None and name in measured.live else None
        for name, found in measured.evals.items()
    }
    return _worst(gate, rises)


def _worst(gate: Gate, by_file: Mapping[str, float | None]) -> float | None:
    values = [by_file.get(gate.file)] if gate.file else list(by_file.values())
    return None if not values or None in values else max(values)


@dataclass(frozen=True, slots=True)
class Measure:
    """Its value of what is measured, or None; whether that may be `at_most` the limit, not at least; whether it is
    taken on files; and between which limits a gate can both pass and fail."""

    value: Callable[[Gate, Measured], float | None]
    at_most: bool
    on_files: bool
    bounds: tuple[float, float]


MEASURES = {
    "perplexity": Measure(_perplexity, True, True, (1.0, math.inf)),
    "forgetting": Measure(_forgetting, True, True, (-math.inf, math.inf)),
    "canaries": Measure(lambda _gate, measured: measured.canaries, False, False, (0.0, 1.0)),
    "freshness": Measure(lambda _gate, measured: measured.freshness, False, False, (0.0, 1.0)),
}


def parse_gate(text: str, files: Sequence[str], *, canaries: bool) -> Gate:
    """`MEASURE[:FILE]=LIMIT`. Raises UsageError for what is none, or names a file that is not held out."""
    name, equals, number = text.rpartition("=")
    measure, _, file = name.partition(":")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not equals or measure not in MEASURES or not math.isfinite(limit):
        raise UsageError(f"--require {text}: not MEASURE[:FILE]=NUMBER; measures are {', '.join(MEASURES)}")
    low, high = MEASURES[measure].bounds
    if not low <= limit <= high:
        bounds = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        raise UsageError(f"--require {text}: {measure} is {bounds}")
    takes_files = MEASURES[measure].on_files
    if file and (not takes_files or file not in files):
        raise UsageError(
            f"--require {text}: {file} is not among --held-out" if takes_files else f"--require {text}: no file"
        )
    if takes_files and not files:
        raise UsageError(f"--require {text}: needs --held-out FILE to be measured on")
    if measure == "canaries" and not canaries:
        raise UsageError(f"--require {text}: needs --canaries FILE")
    return Gate(measure, file or None, limit)


def judge(gates: Sequence[Gate], measured: Measured) -> list[dict[str, Any]]:
    """The verdict of each gate: {gate, value, limit, passed, why}."""
    found = []
    for gate in gates:
        measure = MEASURES[gate.measure]
        value = measure.value(gate, measured)
        if value is None:
            passed, why = False, "was not measured"
        elif math.isinf(value):
            value, passed, why = None, True, "nothing is live to compare with"
        else:
            passed = value <= gate.limit if measure.at_most else value >= gate.limit
            why = f"{value:.4g} is {'above' if measure.at_most else 'below'} {gate.limit:g}" if not passed else None
        found.append({"gate": gate.name, "value": value, "limit": gate.limit, "passed": passed, "why": why})
    return found
