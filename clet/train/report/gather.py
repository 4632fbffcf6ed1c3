"""What a run's directory tells of it, read once from first to last and held in bounded memory.

steps.jsonl may have millions of lines: curves are kept in buckets (see `series`), the largest origins in a table that
drops the smallest (as Space-Saving does: Metwally et al. 2005, ICDT), releases and trips up to a number. A trainer may
be at work meanwhile: a last line without its end is passed over, and so is a line that is none, which is counted.

Time: 10 to 30 microseconds a step. Memory: some 2 MB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from clet.exits import CletError
from clet.release import TIERS, check_run, read_release, release_numbers, tier_number
from clet.train.breaker import read_trips
from clet.train.series import Series

POINTS = 400  # buckets of a curve
MAX_ORIGINS = 64  # curves kept while reading; the page shows the largest
MAX_HELD_OUT = 12
MAX_NOTES = 200
MAX_LINE_BYTES = 16 << 20
EDGE = 20  # steps that the first and the last loss are a mean of


@dataclass(slots=True)
class Origin:
    """What was learned of one origin: windows, by their documents' share, and the curve of its loss."""

    windows: float = 0.0
    loss: Series = field(default_factory=lambda: Series(POINTS))


@dataclass(slots=True)
class Totals:
    """Sums over all steps."""

    steps: int = 0
    tokens: float = 0.0
    windows: int = 0
    replayed: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    wait_s: float = 0.0
    device_s: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)  # by where they come from


@dataclass(slots=True)
class History:
    """A run as its directory tells it."""

    name: str
    totals: Totals = field(default_factory=Totals)
    first_time: str = ""
    last_time: str = ""
    first_step: int = 0
    last_step: int = 0
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)
    curves: dict[str, Series] = field(default_factory=dict)  # loss, lr, grad_norm, speed, wait, energy
    origins: dict[str, Origin] = field(default_factory=dict)
    rate_notes: list[tuple[int, str]] = field(default_factory=list)  # (step, what the rate follows from there)
    held_out: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # perplexity by step of release
    releases: list[dict[str, Any]] = field(default_factory=list)
    tiers: dict[str, int | None] = field(default_factory=dict)
    trips: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0


def gather(run: str | Path) -> History:
    """The history of a run. Raises UsageError for what is no run, InputError where breaker.json is damaged."""
    path = Path(run)
    check_run(path)
    history = History(path.resolve().name)
    _read_steps(history, path / "steps.jsonl")
    _read_releases(history, path)
    history.trips = [trip for trip in read_trips(path) if isinstance(trip, dict)]
    return history


# ---- steps


def _read_steps(history: History, path: Path) -> None:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError:
        return  # a run that has made no step
    with file:
        while line := file.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                if len(line) == MAX_LINE_BYTES:
                    history.unreadable += 1
                continue
            try:
                fields = orjson.loads(line)
                step = fields["step"]
                if type(step) is not int:
                    raise TypeError
                _add_step(history, step, fields)
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
                history.unreadable += 1


def _add_step(history: History, step: int, fields: dict[str, Any]) -> None:
    totals = history.totals
    tokens, seconds, wait_s = (_number(fields.get(name)) or 0.0 for name in ("tokens", "seconds", "wait_s"))
    totals.steps += 1
    totals.tokens += tokens
    totals.seconds += seconds
    totals.wait_s += wait_s
    totals.flops += _number(fields.get("flops")) or 0.0
    totals.device_s += _number(fields.get("device_s")) or 0.0
    replayed = sum(len(indices) for _, indices in fields.get("replay", ()))
    totals.windows += replayed + sum(len(indices) for _, indices in fields.get("windows", ()))
    totals.replayed += replayed
    history.first_step = history.first_step or step
    history.last_step = step
    history.last_time = str(fields.get("time") or history.last_time)
    history.first_time = history.first_time or history.last_time
    if (loss := _number(fields.get("loss"))) is not None:
        _add(history, "loss", step, loss, tokens)
        if len(history.first_losses) < EDGE:
            history.first_losses.append(loss)
        history.last_losses = [*history.last_losses[1 - EDGE :], loss]
    for name in ("lr", "grad_norm"):
        if (value := _number(fields.get(name))) is not None:
            _add(history, name, step, value, 1.0)
    if seconds > 0:
        _add(history, "speed", step, tokens / seconds, seconds)
        _add(history, "wait", step, 100 * wait_s / seconds, seconds)
    if (joules := _number(fields.get("joules"))) is not None:
        label = str(fields.get("energy"))
        if label in totals.joules or len(totals.joules) < MAX_ORIGINS:
            totals.joules[label] = totals.joules.get(label, 0.0) + joules
        if tokens:
            _add(history, "energy", step, joules / tokens, tokens)
    _note_rate(history, step, fields.get("rate"))
    _add_origins(history, step, fields.get("origins") or {})


def _add(history: History, name: str, step: int, value: float, weight: float) -> None:
    history.curves.setdefault(name, Series(POINTS)).add(step, value, weight)


def _note_rate(history: History, step: int, rate: Any) -> None:
    """Note where the reason for the learning rate changes."""
    if not isinstance(rate, dict):
        return
    peak = _number(rate.get("peak"))
    text = f"{rate.get('schedule')}: {rate.get('phase')}" + ("" if peak is None else f", peak {peak:.3g}")
    notes = history.rate_notes
    if (not notes or notes[-1][1] != text) and len(notes) < MAX_NOTES:
        notes.append((step, text))


def _add_origins(history: History, step: int, origins: dict[str, Any]) -> None:
    table = history.origins
    for name, (windows, losses) in origins.items():
        if not windows > 0:
            continue
        if (entry := table.get(name)) is None:
            entry = table[name] = Origin()
            if len(table) > MAX_ORIGINS:
                # The newcomer takes the place, and the count, of the smallest: who is large will not be lost.
                smallest = min((other for other in table if other != name), key=lambda other: table[other].windows)
                entry.windows = table.pop(smallest).windows
        entry.windows += windows
        entry.loss.add(step, losses / windows, windows)


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


# ---- releases


def _read_releases(history: History, run: Path) -> None:
    history.tiers = {tier: tier_number(run, tier) for tier in TIERS}
    for number in release_numbers(run):
        try:
            facts = read_release(run, number).facts
        except CletError:
            history.releases.append({"number": number, "damaged": True})
            continue
        history.releases.append({name: facts.get(name) for name in RELEASE_FIELDS})
        evals, step = facts.get("evals"), facts.get("step")
        if isinstance(evals, dict) and type(step) is int:
            for name, result in evals.items():
                value = _number(result.get("perplexity")) if isinstance(result, dict) else None
                if value is not None and (name in history.held_out or len(history.held_out) < MAX_HELD_OUT):
                    history.held_out.setdefault(name, []).append((step, value))


RELEASE_FIELDS = ("number", "created", "step", "tokens", "documents", "watermark", "verdict", "evals")
