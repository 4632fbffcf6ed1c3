"""Teach prioritisation: review what it holds back, give verdicts, read whom it trusts."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from clet.commands.flags import Limit
from clet.commands.judge_fit import fit
from clet.exits import NothingToDo, UsageError
from clet.log import log

StateOf = Annotated[
    str, typer.Option("--state", metavar="DIR", help="The state of clet prioritize; nobody may be using it.")
]
StateRead = Annotated[str, typer.Option("--state", metavar="DIR", help="The state of clet prioritize.")]
Held = Annotated[str, typer.Argument(metavar="FILE", help="A file of clet prioritize --quarantine.")]
Ident = Annotated[str, typer.Argument(metavar="ID", help="The record's id.", show_default=False)]
Good = Annotated[str, typer.Argument(metavar="VERDICT", help="good or bad.", show_default=False)]
OriginOf = Annotated[
    str | None,
    typer.Option(
        "--origin", metavar="NAME", help="The record's origin, whose reputation the verdict moves.", show_default=False
    ),
]
Answers = Annotated[
    str | None,
    typer.Option(
        "--all",
        metavar="VERDICT",
        help="Give every record shown the verdict good or bad instead of asking.",
        show_default=False,
    ),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="WORD", help="Only what is held for WORD.", show_default=False)
]
TrustedOnly = Annotated[
    float, typer.Option("--below", metavar="S", min=0.0, max=1.0, help="Only origins with a standing of at most S.")
]
VERDICTS = ("good", "bad")


def review(file: Held, *, state: StateOf, reason: Reason = None, all_: Answers = None, limit: Limit = None) -> int:
    """Decide about the records in quarantine: shown one by one in a terminal, listed as JSON lines elsewhere.

    Approved records enter the next run of clet prioritize; rejected ones teach the reputation of their origin.
    """
    from clet.priority.quarantine import read_quarantine
    from clet.priority.verdicts import Verdicts

    if all_ is not None and all_ not in VERDICTS:
        raise UsageError(f"--all {all_}: a verdict is good or bad")
    asking = all_ is None and sys.stdin.isatty() and sys.stdout.isatty()
    with Verdicts.open(state) as verdicts:
        shown = decided = 0
        for record in read_quarantine(file):
            held = record["quarantine"]
            if (reason and held.get("reason") != reason) or record["id"] in verdicts:
                continue
            if limit is not None and shown >= limit:
                break
            shown += 1
            answer = all_ if all_ else _ask(record) if asking else _list(record)
            if answer == "quit":
                break
            if answer in VERDICTS:
                verdicts.give(record["id"], answer == "good", record.get("origin") or "")
                decided += 1
        verdicts.commit()
    if not shown:
        raise NothingToDo(f"{file}: nothing waits for a verdict")
    log.info(f"{shown} shown, {decided} decided", event="review", shown=shown, decided=decided)
    return 0


def verdict(ident: Ident, good: Good, *, state: StateOf, origin: OriginOf = None) -> int:
    """Say of one record, by its id, whether it deserved trust; the origin's reputation moves at once."""
    from clet.priority.verdicts import Verdicts

    if good not in VERDICTS:
        raise UsageError(f"{good}: a verdict is good or bad")
    if len(ident) != 32 or set(ident) - set("0123456789abcdef"):
        raise UsageError(f"{ident}: an id is 32 hex digits; clet cat shows them")
    with Verdicts.open(state) as verdicts:
        name = origin if origin is not None else verdicts.origin_of(ident)
        if name is None:
            raise UsageError(f"{ident}: is not among the records that passed lately; name its --origin")
        verdicts.give(ident, good == "good", name)
        verdicts.commit()
        log.info(f"{ident} {good}, of origin {name}", event="verdict", id=ident, verdict=good, origin=name)
    return 0


def trust(*, state: StateRead, below: TrustedOnly = 1.0, limit: Limit = None) -> int:
    """Print whom prioritisation trusts, best first: a table on a terminal, JSON lines elsewhere."""
    from clet.priority.verdicts import trust_table

    rows = [row for row in trust_table(state) if row["standing"] <= below][:limit]
    if not rows:
        raise NothingToDo(f"{state}: no origin is known yet, or none that low")
    _show(rows)
    return 0


def set_evidence(
    origin: Annotated[str, typer.Argument(metavar="ORIGIN", help="The origin's name.", show_default=False)],
    *,
    state: StateOf,
    good: Annotated[
        float, typer.Option("--for", metavar="N", min=0.0, help="Evidence for it, beyond the prior.")
    ] = 0.0,
    against: Annotated[float, typer.Option("--against", metavar="N", min=0.0, help="Evidence against it.")] = 0.0,
) -> int:
    """Set the evidence about an origin by hand; without numbers it is forgotten."""
    from clet.priority.verdicts import Verdicts

    with Verdicts.open(state) as verdicts:
        if not verdicts.set_evidence(origin, good, against):
            raise UsageError(f"{state}: knows no origin {origin}; clet judge trust lists them")
        verdicts.commit()
    return 0


def _list(record: dict[str, Any]) -> None:
    import orjson

    fields = {name: value for name, value in record.items() if name != "tok"}
    sys.stdout.buffer.write(orjson.dumps(fields) + b"\n")


def _ask(record: dict[str, Any]) -> str:
    """Show a record on the terminal and ask; good, bad, later or quit."""
    from clet.log import plain_text

    held, text = record["quarantine"], record.get("text") or ""
    head = f"{record['id']}  {held.get('reason')}  {record.get('origin') or ''}  {record.get('published') or ''}"
    lines = [head, record.get("title") or "", *text[:1500].split("\n")]
    print("\n".join(plain_text(line) for line in lines))
    while True:
        try:
            answer = input("good, bad, later, quit? [l] ").strip().lower() or "l"
        except EOFError:
            return "quit"
        for word in ("good", "bad", "later", "quit"):
            if word.startswith(answer):
                print()
                return word


def _show(rows: list[dict[str, Any]]) -> None:
    import orjson

    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
        return
    from clet.tables import show_table

    cells = [[f"{value:.3f}" if isinstance(value, float) else value for value in row.values()] for row in rows]
    show_table(list(rows[0]), cells, right=[name for name in rows[0] if name != "origin"])


SUBCOMMANDS = {"review": review, "verdict": verdict, "trust": trust, "set": set_evidence, "fit": fit}
