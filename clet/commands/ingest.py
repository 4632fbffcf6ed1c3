"""clet ingest: fetch documents, extract their text, tokenise."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clet import __version__
from clet.commands.flags import Follow, Jobs, Limit, MaxErrors, Output, Plain, Rejects, StateDir, TokenizerPath
from clet.exits import ExitCode, UsageError

if TYPE_CHECKING:
    from clet.sources.adapter import Options
    from clet.sources.report import Report
    from clet.sources.table import Source
    from clet.stage import Stage

Operands = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="feed:, arxiv:, edgar:, git:, warc: with a URL or a path; file:, jsonl:, parquet: with a path; or - for "
        "JSONL on stdin. A path may be a folder or a glob, and - after the colon is stdin.",
        show_default=False,
    ),
]
SourcesFile = Annotated[
    str | None,
    typer.Option("--sources", metavar="FILE.toml", help="Read the sources that FILE lists; see clet-sources(7)."),
]
Status = Annotated[bool, typer.Option("--status", help="Show how each source of --state stands; read nothing.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help="Leave out what was published before T (a date or RFC 3339 time)."),
]
Interval = Annotated[
    float,
    typer.Option("--interval", min=0.1, metavar="S", help="With --follow: seconds between two readings of a source."),
]
FullText = Annotated[bool, typer.Option("--full-text", help="feed: take the text of the page behind each entry.")]
Extract = Annotated[
    str,
    typer.Option("--extract", metavar="HOW", help="Main text of a page: fast, or precise (trafilatura, an extra)."),
]
Scrub = Annotated[
    str | None,
    typer.Option("--scrub", metavar="KINDS", help="Mask what is found of pii, secrets, or pii,secrets; counted."),
]
Forms = Annotated[
    str | None,
    typer.Option("--forms", metavar="TYPES", help="edgar: the form types wanted, as 10-K,8-K; * for all."),
]
Archive = Annotated[
    str | None, typer.Option("--archive", metavar="DIR", help="Keep what was fetched in DIR, as WARC with an index.")
]
Connections = Annotated[
    int, typer.Option("--connections", min=1, max=256, metavar="N", help="Sources read at once; one a host.")
]
Delay = Annotated[
    float | None,
    typer.Option("--delay", min=0.0, metavar="S", help="Seconds between two requests to a host. [default: its due]"),
]
IgnoreRobots = Annotated[bool, typer.Option("--ignore-robots", help="Fetch what robots.txt disallows, too.")]
AllowPrivate = Annotated[bool, typer.Option("--allow-private", help="Fetch from loopback and private addresses, too.")]
UserAgent = Annotated[
    str | None,
    typer.Option("--user-agent", metavar="TEXT", help="Who is asking; name a contact. [default: clet/VERSION]"),
]
Now = Annotated[
    str | None, typer.Option("--now", metavar="T", help="The time to write as fetched; the clock's if not given.")
]


def main(
    operands: Operands = None,
    *,
    sources: SourcesFile = None,
    output: Output = "-",
    tokenizer: TokenizerPath = None,
    state: StateDir = None,
    status: Status = False,
    since: Since = None,
    follow: Follow = False,
    interval: Interval = 300.0,
    full_text: FullText = False,
    extract: Extract = "fast",
    scrub: Scrub = None,
    forms: Forms = None,
    archive: Archive = None,
    rejects: Rejects = None,
    jobs: Jobs = 1,
    connections: Connections = 16,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    plain: Plain = False,
    delay: Delay = None,
    ignore_robots: IgnoreRobots = False,
    allow_private: AllowPrivate = False,
    user_agent: UserAgent = None,
    now: Now = None,
) -> int:
    """Read documents from feeds, preprint servers, filings, repositories, web archives and files; write records.

    Tokenised if --tokenizer is given. With --state each source is remembered: only what is new or edited comes out.
    """
    from clet.sources.intake import Intake
    from clet.sources.ledger import Ledger
    from clet.sources.surroundings import Surroundings
    from clet.sources.tokenise import Tokeniser
    from clet.stage import Stage
    from clet.state import State
    from clet.tokens import Tokenizer, set_jobs

    fixed, start = _time(now, "--now"), _time(since, "--since")
    if status:
        return _show_status(state, plain, fixed or datetime.now(UTC))
    named = _sources(operands, sources, _options(full_text, extract, scrub, forms, delay, ignore_robots))
    if follow and output != "-":
        raise UsageError("--follow never ends, so -o FILE would never appear; pipe it on, or run it from a timer")
    set_jobs(jobs)
    engine = Tokenizer.load(tokenizer) if tokenizer else None
    surroundings = Surroundings(
        clock=lambda: fixed or datetime.now(UTC),
        cache=_cache_folder(state),
        user_agent=user_agent or f"clet/{__version__}",
        connections=connections,
        allow_private=allow_private,
        follow=follow,
        archive_folder=Path(archive) if archive else None,
    )
    params = {"tokenizer": engine.fingerprint if engine else None}
    with State.open(state, "ingest", params) if state else contextlib.nullcontext() as kept:
        ledger = Ledger(kept, surroundings.sync)
        with Stage(
            [],
            output,
            rejects=rejects,
            state=ledger,
            plain=plain,
            max_errors=max_errors,
            endless=follow,
            unread=surroundings.interruption.unread if follow else None,
        ) as stage:
            intake = Intake(
                stage, Tokeniser(engine), ledger, surroundings, since=start, limit=limit, interval_s=interval
            )
            intake.follow(named) if follow else intake.round(named)
            _summarise(stage, intake.report)
        surroundings.close()
    return _status(stage, intake.report)


def _sources(operands: list[str] | None, catalog: str | None, options: Options) -> list[Source]:
    from clet.sources.catalog import read_catalog
    from clet.sources.table import parse_sources
    from clet.streams import stdin_is_idle_terminal

    if not catalog and stdin_is_idle_terminal(operands or []):
        raise UsageError("no source: name one, or pipe JSONL in; see clet ingest --help")
    listed = read_catalog(catalog, options) if catalog else []
    known = {source.key for source in listed}
    named = parse_sources(operands or ([] if catalog else ["-"]), options)
    return listed + [source for source in named if source.key not in known]


def _options(
    full_text: bool, extract: str, scrub: str | None, forms: str | None, delay: float | None, ignore_robots: bool
) -> Options:
    from clet.sources.adapter import Options
    from clet.sources.catalog import extractor, scrubs

    try:
        how = extractor(extract)
    except ValueError as error:
        raise UsageError(f"--extract {extract}: {error}") from None
    try:
        masked = scrubs(scrub or "")
    except ValueError as error:
        raise UsageError(f"--scrub {scrub}: {error}") from None
    return Options(
        full_text=full_text,
        extract=how,
        scrub=masked,
        forms=tuple(form.strip() for form in (forms or "").split(",") if form.strip()),
        delay_s=delay,
        robots=not ignore_robots,
    )


def _cache_folder(state: str | None) -> Path:
    """Where clones and downloads live: with the state, else with the user's cache."""
    if state:
        return Path(os.path.abspath(state)) / "cache"  # git works in folders of its own
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.path.abspath(folder)) / "clet" / "ingest"


def _time(text: str | None, flag: str) -> datetime | None:
    from clet.record import parse_time

    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: not a date; write 2026-01-31 or 2026-01-31T08:00:00Z") from None


def _show_status(state: str | None, plain: bool, now: datetime) -> ExitCode:
    """A table on a terminal, JSON lines elsewhere."""
    import orjson

    from clet.sinks import Sink
    from clet.sources.status import COLUMNS, read_status
    from clet.sources.text.decode import one_line

    if state is None:
        raise UsageError("--status needs --state DIR")
    rows = read_status(state, now)
    if sys.stdout.isatty() and not plain:
        from clet.tables import show_table

        cells = [[None if row[name] is None else one_line(str(row[name])) for name in COLUMNS] for row in rows]
        show_table(COLUMNS, cells, boxed=False)
    else:
        sink = Sink("-")
        for row in rows:
            sink.write(orjson.dumps(row) + b"\n")
        sink.close()
    return ExitCode.OK if rows else ExitCode.NOTHING_TO_DO


def _summarise(stage: Stage, report: Report) -> None:
    stage.counts.extra |= {what: number for what, number in sorted(report.totals.items()) if what != "documents"}
    if report.failures:
        stage.counts.extra["failed"] = report.failures
    stage.counts.extra["sources"] = {name: dict(counts) for name, counts in report.sources.items()}


def _status(stage: Stage, report: Report) -> ExitCode:
    if report.unreachable and not stage.counts.records_in:
        return ExitCode.UNAVAILABLE
    if report.failures or stage.counts.bad:
        return ExitCode.SOME_BAD
    return ExitCode.OK if stage.counts.records_in else ExitCode.NOTHING_TO_DO
