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

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(
    inputs: Inputs = None,
    *,
    output: Output = "-",
    state: StateDir = None,
    budget: Budget = None,
    share: Share = 0.5,
    window: WindowSize = "10000",
    now: Now = None,
    half_life: HalfLife = 7.0,
    explain: Explain = False,
    rejects: Rejects = None,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    plain: Plain = False,
) -> int:
    """Drop records that are not worth learning, and pass the others best first within a budget.

    Best is good text that is fresh. Each dropped record has a reason: the rule it broke, share or budget.
    """
    from clet.priority.order import prioritize
    from clet.priority.recency import Clock
    from clet.priority.share import Account
    from clet.priority.window import MAX_BYTES, MAX_RECORDS
    from clet.record import format_time
    from clet.stage import Stage
    from clet.state import State

    max_records, max_bytes = _window(window, MAX_RECORDS, MAX_BYTES)
    account = Account(_budget(budget), share)
    with State.open(state, "prioritize") if state else nullcontext() as opened:
        newest = None
        if opened is not None:
            account.load(opened.values.get("days", {}))
            newest = _time(opened.values.get("clock"), "the state's clock")
        clock = Clock(_time(now, "--now"), newest)
        with Stage(
            inputs, output, rejects=rejects, state=opened, plain=plain, limit=limit, max_errors=max_errors
        ) as stage:
            for batch in prioritize(
                stage.batches(),
                account=account,
                clock=clock,
                half_life_days=half_life,
                reject=stage.reject,
                explain=_explain if explain else lambda *_: None,
                daily=opened is not None,
                max_records=max_records,
                max_bytes=max_bytes,
            ):
                stage.write(batch)
            if opened is not None:
                opened.values |= {"days": account.to_json(), "clock": clock.text}
            stage.counts.extra["now"] = format_time(clock.now)
        return stage.status


def _explain(ident: str, reason: str | None, note: dict[str, object]) -> None:
    facts = " ".join(f"{name}={value}" for name, value in note.items())
    log.info(f"{ident} {reason or 'kept'} {facts}", event="explain", id=ident, reason=reason, **note)


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
