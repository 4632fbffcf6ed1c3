"""clet ingest: fetch documents, extract their text, tokenise."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clet import __version__
from clet.commands.flags import Follow, Jobs, Limit, MaxErrors, Output, Plain, Rejects, StateDir, TokenizerPath
from clet.exits import ExitCode, UsageError

if TYPE_CHECKING:
    from clet.sources.adapter import Report
    from clet.stage import Stage

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="feed:URL|FILE, git:URL|PATH, file:PATH, jsonl:PATH, or - for JSONL on stdin; a PATH may be a folder or a "
        "glob, and - after the colon is stdin.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help="Leave out what was published before T (a date or RFC 3339 time)."),
]
Interval = Annotated[
    float, typer.Option("--interval", min=0.1, metavar="S", help="With --follow: seconds between two rounds.")
]
AllowPrivate = Annotated[bool, typer.Option("--allow-private", help="Fetch from loopback and private addresses, too.")]
UserAgent = Annotated[
    str | None,
    typer.Option("--user-agent", metavar="TEXT", help="Who is asking; name a contact. [default: clet/VERSION]"),
]
Now = Annotated[
    str | None, typer.Option("--now", metavar="T", help="The time to write as fetched; the clock's if not given.")
]


def main(
    sources: Sources = None,
    *,
    output: Output = "-",
    tokenizer: TokenizerPath = None,
    state: StateDir = None,
    since: Since = None,
    follow: Follow = False,
    interval: Interval = 300.0,
    rejects: Rejects = None,
    jobs: Jobs = 1,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    plain: Plain = False,
    allow_private: AllowPrivate = False,
    user_agent: UserAgent = None,
    now: Now = None,
) -> int:
    """Read documents from feeds, repositories, files and JSONL; write records, tokenised if --tokenizer is given.

    With --state each source is remembered: only what is new or edited since the last run comes out.
    """
    from clet.sources.intake import Intake
    from clet.sources.surroundings import Surroundings
    from clet.sources.table import parse_sources
    from clet.sources.tokenise import Tokeniser
    from clet.stage import Stage
    from clet.state import State
    from clet.streams import stdin_is_idle_terminal
    from clet.tokens import Tokenizer, set_jobs

    if stdin_is_idle_terminal(sources or []):
        raise UsageError("no source: name one, or pipe JSONL in; see clet ingest --help")
    named = parse_sources(sources or [])
    if follow and output != "-":
        raise UsageError("--follow never ends, so -o FILE would never appear; pipe it on, or run it from a timer")
    if follow and len(named) > 1 and any(source.is_stdin for source in named):
        raise UsageError("--follow waits for stdin alone; give the other sources a process of their own")
    start, fixed = _time(since, "--since"), _time(now, "--now")
    set_jobs(jobs)
    engine = Tokenizer.load(tokenizer) if tokenizer else None
    surroundings = Surroundings(
        clock=lambda: fixed or datetime.now(UTC),
        cache=_cache_folder(state),
        user_agent=user_agent or f"clet/{__version__}",
        allow_private=allow_private,
        follow=follow,
    )
    params = {"tokenizer": engine.fingerprint if engine else None}
    with State.open(state, "ingest", params) if state else contextlib.nullcontext() as kept:
        with Stage([], output, rejects=rejects, state=kept, plain=plain, max_errors=max_errors) as stage:
            cursors = kept.values.setdefault("sources", {}) if kept else {}
            intake = Intake(stage, Tokeniser(engine), cursors, surroundings, since=start, limit=limit)
            if follow:
                intake.follow(named, interval, kept.commit if kept else lambda: None)
            else:
                intake.round(named)
            _summarise(stage, intake.report)
    return _status(stage, intake.report)


def _cache_folder(state: str | None) -> Path:
    """Where clones live: with the state, else with the user's cache."""
    if state:
        return Path(state) / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "clet" / "ingest"


def _time(text: str | None, flag: str) -> datetime | None:
    from clet.record import parse_time

    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: not a date; write 2026-01-31 or 2026-01-31T08:00:00Z") from None


def _summarise(stage: Stage, report: Report) -> None:
    if report.failures:
        stage.counts.extra["failed"] = report.failures
    stage.counts.extra["sources"] = {name: dict(counts) for name, counts in report.sources.items()}


def _status(stage: Stage, report: Report) -> ExitCode:
    if report.unreachable and not stage.counts.records_in:
        return ExitCode.UNAVAILABLE
    if report.failures or stage.counts.bad:
        return ExitCode.SOME_BAD
    return ExitCode.OK if stage.counts.records_in else ExitCode.NOTHING_TO_DO
