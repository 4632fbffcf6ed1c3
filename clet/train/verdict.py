"""The verdict on a candidate: what the breaker says of its weights, and what the gates say of its evaluation.

breaker    why it must not be served at all (a canary that held is lost; weights that are not finite), or null
canaries   how many there are, how many hold
gates      one object each: gate, value, limit, passed, why
passed     whether all gates passed; null where none were given: then a person promotes
why        the first reason against it, or null
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from clet.model.decoder import Decoder
from clet.train.drift import Check, Watch

Gates = Callable[[dict[str, Any], Check | None], list[dict[str, Any]]]


class Judges(Protocol):
    """What of the loop's surroundings judges a candidate."""

    @property
    def evaluate(self) -> Callable[[Decoder], dict[str, Any]] | None: ...

    @property
    def check(self) -> Callable[[Decoder], Check] | None: ...

    @property
    def gates(self) -> Gates | None: ...


def verdict(model: Decoder, judges: Judges, watched: Watch) -> tuple[dict[str, Any], dict[str, Any]]:
    """(evals, verdict) of a candidate's model; `watched` knows which canaries held."""
    evals = judges.evaluate(model) if judges.evaluate else {}
    check = judges.check(model) if judges.check else None
    breaker = _objection(model, check, watched)
    gates = judges.gates(evals, check) if judges.gates else []
    passed = None if judges.gates is None else all(gate["passed"] for gate in gates)
    failed = next((f"gate {gate['gate']}: {gate['why']}" for gate in gates if not gate["passed"]), None)
    canaries = None if check is None or not check.canaries else check.to_json()["canaries"]
    found = {"breaker": breaker, "canaries": canaries, "gates": gates, "passed": passed, "why": breaker or failed}
    return evals, found


def _objection(model: Decoder, check: Check | None, watched: Watch) -> str | None:
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        return "weights that are not finite"
    if check is None:
        return None
    if bad := [name for name, loss in check.held_out.items() if not math.isfinite(loss)]:
        return f"the loss on {bad[0]} is not finite"
    lost = watched.lost(check)
    return f"canary lost: {', '.join(lost[:3])}" if lost else None
