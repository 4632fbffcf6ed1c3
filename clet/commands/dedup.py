"""clet dedup: drop what repeats an earlier document."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from clet.commands.flags import (
    DEFAULT_SEED,
    Inputs,
    Jobs,
    Limit,
    MaxErrors,
    Output,
    Plain,
    Rejects,
    Seed,
    StateDir,
)

Near = Annotated[
    float,
    typer.Option("--near", metavar="J", min=0.5, max=1.0, help="Jaccard similarity that makes a record a near repeat."),
]


def main(
    inputs: Inputs = None,
    *,
    output: Output = "-",
    state: StateDir = None,
    near: Near = 0.8,
    rejects: Rejects = None,
    jobs: Jobs = 1,
    limit: Limit = None,
    seed: Seed = DEFAULT_SEED,
    max_errors: MaxErrors = None,
    plain: Plain = False,
) -> int:
    """Drop records that repeat an earlier one, exactly or nearly; the first one wins.

    Similarity is that of the sets of 5-token sequences. With --state, earlier runs count too.
    """
    from clet.dedup.index import PARAMS, Index
    from clet.dedup.repeats import drop_repeats
    from clet.stage import Stage
    from clet.state import State

    with State.open(state, "dedup", PARAMS) if state else nullcontext() as opened:
        index = Index(seed, opened)
        with Stage(
            inputs, output, rejects=rejects, state=index, plain=plain, limit=limit, max_errors=max_errors
        ) as stage:
            for batch in drop_repeats(stage.batches(), index, threshold=near, reject=stage.reject, jobs=jobs):
                stage.write(batch)
            stage.counts.extra["indexed"] = len(index)
        return stage.status
