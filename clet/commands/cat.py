"""clet cat: print any clet file or stream as JSONL."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import Limit
from clet.exits import ExitCode, UsageError
from clet.log import log

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE",
        help="Records, batches, shards, states or directories of shards, in order; none or - is stdin.",
        show_default=False,
    ),
]
Headers = Annotated[bool, typer.Option("--headers", help="Print only what each frame says of itself.")]


def main(inputs: Inputs = None, *, limit: Limit = None, headers: Headers = False) -> int:
    """Print records, batches, shards and states as JSONL, for jq and for eyes.

    A record is its line; a window of a shard is one object with its ids and the documents in it. Lines that are no
    records are reported and passed over.
    """
    from clet.inspect import lines_of
    from clet.streams import Sink, stdin_is_idle_terminal

    if stdin_is_idle_terminal(inputs or []):
        raise UsageError("no input: name a file, or pipe a stream in; see clet cat --help")
    bad = 0

    def report(place: str, reason: str, line: bytes) -> None:
        nonlocal bad
        bad += 1
        log.error(f"{place}: {reason}")

    sink = Sink("-")
    shown = 0
    lines = lines_of(inputs or ["-"], headers, report)
    while (limit is None or shown < limit) and (line := next(lines, None)) is not None:
        sink.write(line + b"\n")
        shown += 1
    sink.close()
    log.detail(f"{shown} lines, {bad} bad")
    return ExitCode.SOME_BAD if bad else ExitCode.OK
