"""clet cat: print any clet file or stream as JSONL."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clet.commands.flags import Inputs, Limit
from clet.exits import UsageError
from clet.log import log


def main(
    inputs: Inputs = None,
    *,
    limit: Limit = None,
    headers: Annotated[bool, typer.Option("--headers", help="Print what each frame says of itself only.")] = False,
) -> int:
    """Print records, batches, shards and journals as JSONL, for jq and for eyes.

    A record is its line; a window of a shard is one object with its ids and the documents in it.
    """
    from clet.inspect import lines_of
    from clet.streams import Sink, stdin_is_idle_terminal

    if stdin_is_idle_terminal(inputs or []):
        raise UsageError("no input: name a file, or pipe a stream in; see clet cat --help")
    sink = Sink("-")
    shown = 0
    for line in lines_of(inputs or ["-"], headers=headers):
        if limit is not None and shown >= limit:
            break
        sink.write(line + b"\n")
        shown += 1
    sink.close()
    log.detail(f"{shown} lines")
    sys.stdout.flush()
    return 0
