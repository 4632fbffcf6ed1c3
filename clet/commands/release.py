"""List, show, promote and roll back the releases of a run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from clet.commands.flags import Output
from clet.exits import NothingToDo
from clet.log import log

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)]
Tier = Annotated[str, typer.Argument(metavar="TIER", help="live, static or realtime.", show_default=False)]
COLUMNS = ("number", "created", "step", "tokens", "documents", "watermark", "links")


def list_all(run: Run) -> int:
    """List the releases, oldest first: a table on a terminal, JSON lines elsewhere."""
    from clet.release import TIERS, list_releases, tier_number

    tiers = {tier: tier_number(run, tier) for tier in TIERS}
    rows = []
    for release in list_releases(run):
        links = [tier for tier in TIERS if tiers[tier] == release.number]
        rows.append({name: release.facts.get(name) for name in COLUMNS} | {"links": links, "path": str(release.path)})
    if not rows:
        raise NothingToDo(f"{run}: no release yet; clet train --run {run} makes one")
    if sys.stdout.isatty():
        _table(rows)
    else:
        _write(rows)
    return 0


def show(
    run: Run,
    which: Annotated[
        str, typer.Argument(metavar="NUMBER|TIER", help="Which release; the live one by default.")
    ] = "live",
) -> int:
    """Print the release.json of one release as JSON, with where it is and who points to it."""
    from clet.release import TIERS, find_release, tier_number

    release = find_release(run, which)
    links = [tier for tier in TIERS if tier_number(run, tier) == release.number]
    _write([release.facts | {"links": links, "path": str(release.path)}])
    return 0


def report(run: Run, output: Output = "-") -> int:
    """Write one HTML page that shows the whole run: curves, costs, releases, trips of the breaker."""
    from clet.sinks import Sink
    from clet.train.report.gather import gather
    from clet.train.report.page import page

    sink = Sink(output)
    sink.write(page(gather(run)))
    sink.close()
    return 0


def promote(
    run: Run,
    tier: Tier,
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Which release; the newest by default.", show_default=False)
    ] = None,
) -> int:
    """Point live or static to a release; servers that follow the link change over at once."""
    from clet import release as releases

    if number is None:
        number = releases.find_release(run, "realtime").number
    before = releases.promote(run, tier, number, datetime.now(UTC))
    _moved(run, tier, before, number)
    return 0


def rollback(run: Run, tier: Tier) -> int:
    """Point a link back to where it pointed before; again, and it goes one further back."""
    from clet import release as releases

    before, number = releases.rollback(run, tier, datetime.now(UTC))
    _moved(run, tier, before, number)
    return 0


def _moved(run: str, tier: str, before: int | None, number: int) -> None:
    log.info(f"{run}: {tier} is release {number}, was {before or 'unset'}", event="link")
    _write([{"event": "link", "link": tier, "release": number, "before": before}])


def _write(rows: list[dict[str, Any]]) -> None:
    import orjson

    from clet.sinks import Sink

    sink = Sink("-")
    sink.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    sink.close()


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        cells = row | {"links": " ".join(row["links"])}
        table.add_row(*("" if cells[name] is None else str(cells[name]) for name in COLUMNS))
    Console().print(table)


SUBCOMMANDS = {"list": list_all, "show": show, "report": report, "promote": promote, "rollback": rollback}
