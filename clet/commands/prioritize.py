"""clet prioritize: judge, order and budget documents."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from clet.commands.flags import Inputs, Limit, MaxErrors, Output, Plain, Rejects, StateDir
from clet.exits import UsageError
from clet.log import log

if TYPE_CHECKING:
    from datetime import datetime

    from clet.batch import Batch

PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy", metavar="FILE", help="What to learn and what not, as clet-policy(5) describes.", show_default=False
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TOKENS",
        help="Let at most TOKENS pass, in a run or, with --state, in a day (UTC).",
        show_default=False,
    ),
]
Share = Annotated[
    float,
    typer.Option(
        "--share", metavar="F", min=0.01, max=1.0, help="Share of the tokens that one origin gets before others."
    ),
]
WindowSize = Annotated[
    str,
    typer.Option(
        "--window", metavar="S", help="How much waits for better: 10000 (records), or 64M (bytes; K, M or G)."
    ),
]
Now = Annotated[
    str | None,
    typer.Option(
        "--now", metavar="T", help="Measure age from T (RFC 3339) instead of the newest fetch time.", show_default=False
    ),
]
HalfLife = Annotated[
    float, typer.Option("--half-life", metavar="DAYS", min=0.001, help="Age at which a document is half as fresh.")
]
Explain = Annotated[bool, typer.Option("--explain", help="Say on stderr what gave each record its place.")]
QuarantineFile = Annotated[
    str | None,
    typer.Option(
        "--quarantine",
        metavar="FILE",
        help="Hold suspicious records back in FILE for clet judge review; needs --state.",
        show_default=False,
    ),
]
Gate = Annotated[
    str | None,
    typer.Option(
        "--gate",
        metavar="WORD",
        help="The model gate passed last: with another word than before, poison budgets begin anew; needs --state.",
        show_default=False,
    ),
]
Run = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="Take the gate from the release that is live in this run; needs --state.",
        show_default=False,
    ),
]

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(
    inputs: Inputs = None,
    *,
    output: Output = "-",
    policy: PolicyFile = None,
    state: StateDir = None,
    budget: Budget = None,
    share: Share = 0.5,
    window: WindowSize = "10000",
    now: Now = None,
    half_life: HalfLife = 7.0,
    run: Run = None,
    gate: Gate = None,
    quarantine: QuarantineFile = None,
    explain: Explain = False,
    rejects: Rejects = None,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    plain: Plain = False,
) -> int:
    """Drop records that are not worth learning, and pass the others best first within budgets.

    Best is what is good, credible, new and fresh. Each dropped record has a reason.
    """
    from clet.priority import remember
    from clet.priority.order import Knowledge, Prioritizer, Settings, Ways
    from clet.priority.policy import Policy, load_policy
    from clet.priority.quarantine import FULL, Quarantine
    from clet.priority.recency import DAY_S, Clock
    from clet.priority.share import Account
    from clet.priority.window import MAX_BYTES, MAX_RECORDS
    from clet.record import format_time
    from clet.stage import Stage
    from clet.state import State

    for name, value in (("--quarantine", quarantine), ("--gate", gate), ("--run", run)):
        if value and not state:
            raise UsageError(f"{name} needs --state, where it is remembered")
    if gate and run:
        raise UsageError("--gate and --run both name the gate; give one of them")
    max_records, max_bytes = _window(window, MAX_RECORDS, MAX_BYTES)
    rules = load_policy(policy) if policy else Policy()
    account = Account(_budget(budget), share)
    with State.open(state, "prioritize", remember.PARAMS) if state else nullcontext() as opened:
        newest = _time(opened.values.get("clock"), "the state's clock") if opened is not None else None
        clock = Clock(_time(now, "--now"), newest)
        known = remember.load(opened) if opened is not None else Knowledge()
        account.origins = known.origins
        held = None
        if opened is not None:
            account.load(opened.values.get("days", {}))
            day = int(clock.now.timestamp()) // DAY_S if clock.now else 0
            passed = remember.pass_gate(known, opened, _gate(gate, run), day)
            if passed:
                log.detail("a model gate was passed: poison budgets begin anew")
            elif rules.limits.documents and "gate" not in opened.values:
                log.warn("no model gate is known: poison budgets never begin anew; give --run or --gate")
            if quarantine:
                held = Quarantine(quarantine, opened, clock.text)
        try:
            with Stage(
                inputs,
                output,
                rejects=rejects,
                state=held or opened,
                plain=plain,
                limit=limit,
                max_errors=max_errors,
            ) as stage:

                def hold(batch: Batch, reasons: list[str]) -> None:
                    full = held.add(batch, reasons)
                    stage.counts.rejected.update(f"held:{reasons[row]}" for row in range(len(batch)) if row not in full)
                    stage.reject_all(batch.take(full), [FULL] * len(full))

                ways = Ways(stage.reject_all, hold if held else None, _explain if explain else None)
                prioritizer = Prioritizer(
                    account,
                    clock,
                    ways,
                    policy=rules,
                    knowledge=known,
                    settings=Settings(half_life, opened is not None, max_records, max_bytes),
                    approved=held.approved if held else frozenset(),
                )
                for batch in prioritizer.run(_input(stage, held)):
                    stage.write(batch)
                if opened is not None:
                    opened.values |= {"days": account.to_json(), "clock": clock.text}
                    remember.save(known, opened)
                stage.counts.extra["now"] = format_time(clock.now)
                if rules.applied:
                    stage.counts.extra["policy"] = dict(rules.applied)
        finally:
            if held:
                held.abort()
        return stage.status


def _input(stage, held):
    """What a person approved, then the input."""
    if held:
        for batch in held.refused():
            stage.counts.records_in += len(batch)
            stage.reject_all(batch, ["rejected-by-review"] * len(batch))
        for batch in held.released():
            stage.counts.records_in += len(batch)
            yield batch
    yield from stage.batches()


def _gate(gate: str | None, run: str | None) -> str | None:
    if run is None:
        return gate
    from clet.release import is_run, tier_number

    number = tier_number(run, "live") if is_run(run) else None
    return f"release {number}" if number else "release none"


def _explain(batch: Batch, reasons: list[str | None]) -> None:
    for row, reason in enumerate(reasons):
        fields = batch.fields(row)
        note = fields["priority"]
        facts = " ".join(f"{name}={value}" for name, value in note.items())
        log.info(f"{fields['id']} {reason or 'kept'} {facts}", event="explain", id=fields["id"], reason=reason, **note)


def _budget(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        tokens = int(text.replace("_", ""))
    except ValueError:
        tokens = -1
    if tokens < 0:
        raise UsageError(f"--budget {text}: give a number of tokens, such as 50_000_000")
    return tokens


def _window(text: str, max_records: int, max_bytes: int) -> tuple[int, int]:
    """(records, bytes); memory stays bounded by bytes also where records are counted, and the other way round."""
    number, unit = text[:-1] if text[-1:] in _UNITS else text, text[-1:]
    if not number.isascii() or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--window {text}: give a number of records, or of bytes with K, M or G")
    if unit in _UNITS:
        return 1 << 30, int(number) * _UNITS[unit]
    return int(number), max_bytes


def _time(text: str | None, name: str) -> datetime | None:
    from clet.record import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError:
        raise UsageError(f"{name} {text}: not a time; write 2026-03-01T12:00:00Z") from None
