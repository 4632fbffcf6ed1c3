"""What prioritisation knows, in its state directory: values that a person can read, arrays in one journal.

HEAD has the account, the clock, the names of origins with their evidence, the gate, and the verdicts; the journal
`memory-N` the n-gram model, topics, phrases and counts, sparse: places and values of what is not zero. Each commit
writes a journal of a new name and drops the old one, so that a crash leaves one or the other, never half of each.

Size: about 6 bytes for each n-gram known, before compression; 20 MB at most after years of news.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clet.exits import InputError
from clet.priority.credibility import BAD, GOOD, close_period
from clet.priority.mixture import Mixture
from clet.priority.order import Knowledge
from clet.priority.origins import CAPACITY, Origins
from clet.priority.poison_budget import open_gate
from clet.priority.triples import COUNTS, PLACE
from clet.state import State

PARAMS = {"version": 5}
_JOURNAL = "memory"
_GATES = "gates"


def _arrays(known: Knowledge) -> dict[str, np.ndarray]:
    """Every array to keep, by name; the evidence of origins goes into HEAD instead."""
    memory, found = known.memory, {"flow": known.flow}
    for part, values in (
        ("grams", memory.grams),
        ("topics", memory.topics),
        ("bursts", memory.bursts),
        ("ledger", known.ledger),
        ("claims", memory.claims),
    ):
        found |= {f"{part}.{name}": array for name, array in values._asdict().items()}
    # Two halves of one table, each under a name of its own.
    found["grams.three"] = memory.grams.three[:, :COUNTS]
    found["bursts.places"] = found.pop("bursts.blocks")[:, PLACE]
    found |= {f"recent.{name}": known.recent[name] for name in known.recent.dtype.names} | {"passed": known.passed}
    period = {"period": memory.reputation.period}
    return (
        found
        | period
        | {"scale": memory.scale, "excess": known.excess}
        | {"corrected": memory.corrected, "corrected_by": memory.corrected_by}
    )


def save(known: Knowledge, state: State) -> None:
    """Put what is known into a state that is about to be committed."""
    packed: dict[str, np.ndarray] = {}
    for name, array in _arrays(known).items():
        flat = np.ascontiguousarray(array).reshape(-1)
        common = flat.dtype.type(-1) if name in ("topics.topic", "topics.owner", "topics.corrected") else 0
        common = flat.dtype.type(-1) if name == "topics.voice_origin" else common
        places = np.flatnonzero(flat != common)
        packed[f"{name}.at"], packed[f"{name}.is"] = places.astype(np.uint32), _plain(flat[places])
    state.drop(f"{_JOURNAL}-{state.generation}")
    state.append(f"{_JOURNAL}-{state.generation + 1}", packed)
    state.values["origins"] = origins_json(known)
    state.values["mixture"] = known.mixture.to_json()


def _plain(values: np.ndarray) -> np.ndarray:
    """Values in a type that the container carries."""
    same = {"bool": np.uint8, "int16": np.int32}.get(values.dtype.name, values.dtype)
    return values.astype(same, copy=False)


def load(state: State) -> Knowledge:
    """What a state knows; for a new one, nothing. Raises InputError on damage."""
    origins = _by_number(state)
    known = Knowledge(Origins(list(origins)), mixture=Mixture(state.values.get("mixture")))
    for frame in state.journal(f"{_JOURNAL}-{state.generation}"):
        for name, array in _arrays(known).items():
            try:
                places, values = frame[f"{name}.at"], frame[f"{name}.is"]
                array[np.unravel_index(places, array.shape)] = values
            except (KeyError, IndexError, ValueError):
                raise InputError(f"{state.directory}: {name} is damaged; restore the state, or name another") from None
    r = known.memory.reputation
    for number, (name, entry) in enumerate(origins.items()):
        try:
            good, bad, day = entry["for"], entry["against"], entry["day"]
            r.evidence[number, GOOD], r.evidence[number, BAD] = max(0.0, float(good)), max(0.0, float(bad))
            r.day[number] = int(day)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{state.directory}: the evidence of origin {name!r} is damaged") from None
    return known


def _by_number(state: State) -> dict[str, Any]:
    """The entries of origins in the order of their numbers; HEAD has them by name. Raises InputError on damage."""
    entries = state.values.get("origins", {})
    try:
        ordered = dict(sorted(entries.items(), key=lambda item: int(item[1]["number"])))
        if [int(entry["number"]) for entry in ordered.values()] == list(range(len(ordered))):
            return ordered
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise InputError(f"{state.directory}: the numbers of origins are damaged; restore the state, or name another")


def origins_json(known: Knowledge) -> dict[str, Any]:
    """Number and evidence by origin. The number is where it stands in the arrays of the journal."""
    r = known.memory.reputation
    return {
        name: {
            "number": number,
            "for": float(r.evidence[number, GOOD]),
            "against": float(r.evidence[number, BAD]),
            "day": int(r.day[number]),
        }
        for number, name in enumerate(known.origins.names)
    }


def pass_gate(known: Knowledge, state: State, series: str, gate: int, day: int) -> bool:
    """Whether a model gate was passed since the last run; then budgets begin anew and the period becomes evidence.

    `gate` is the number of the gate that was passed last in a series of them, 0 for none. Only a number above the
    highest ever seen is a gate that was passed: going back to an earlier release renews nothing. The first number of a
    series says where it is, not that anything was passed.
    """
    gates = state.values.setdefault(_GATES, {})
    before = gates.get(series)
    gates[series] = max(gate, before or 0)
    if before is None or gate <= before:
        return False
    turn(known, day)
    return True


def gates_of(state: State) -> dict[str, int]:
    """The highest gate that was seen of each series; 0 where none was passed yet."""
    return state.values.get(_GATES, {})


def recent_origin(known: Knowledge, ident: str) -> str | None:
    """The origin of a record that passed lately, by its id."""
    low, high = np.frombuffer(bytes.fromhex(ident), "<u8")
    hits = np.flatnonzero((known.recent["low"] == low) & (known.recent["high"] == high))
    return known.origins.name(int(known.recent["origin"][hits[0]])) if len(hits) else None


def forget_after(known: Knowledge, day: int) -> None:
    """Let evidence that is said to be of a day to come be of `day`, from which on it fades again."""
    days = known.memory.reputation.day
    np.minimum(days, day, out=days)


def turn(known: Knowledge, day: int) -> None:
    """A gate was passed."""
    close_period(known.memory.reputation, min(CAPACITY, len(known.origins) + 1), day)
    open_gate(known.ledger)
