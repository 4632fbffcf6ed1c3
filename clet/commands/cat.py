"""clet cat: print any clet file or stream as JSONL."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import Limit
from clet.exits import ExitCode, UsageError
from clet.log import Counts, log

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
    from clet.sinks import Sink
    from clet.streams import stdin_is_idle_terminal

    if stdin_is_idle_terminal(inputs or []):
        raise UsageError("no input: name a file, or pipe a stream in; see clet cat --help")
    counts = log.counts = Counts()

    def report(place: str, reason: str, line: bytes) -> None:
        counts.bad += 1
        log.error(f"{place}: {reason}")

    sink = Sink("-")
    lines = lines_of(inputs or ["-"], headers, report)
    while (limit is None or counts.records_out < limit) and (line := next(lines, None)) is not None:
        sink.write(line + b"\n")
        counts.records_out += 1
    counts.records_in = counts.records_out + counts.bad
    sink.close()
    log.detail(f"{counts.records_out} lines, {counts.bad} bad")
    return ExitCode.SOME_BAD if counts.bad else ExitCode.OK
