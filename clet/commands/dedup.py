"""clet dedup: drop what repeats an earlier document."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

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
    TokenizerPath,
)
from clet.exits import UsageError
from clet.log import log

if TYPE_CHECKING:
    from clet.dedup.bloom import BloomIndex
    from clet.dedup.index import Index
    from clet.state import State

Near = Annotated[
    float,
    typer.Option("--near", metavar="J", min=0.5, max=1.0, help="Jaccard similarity that makes a record a near repeat."),
]
SpanLength = Annotated[
    int | None,
    typer.Option(
        "--spans",
        metavar="N",
        min=20,
        max=10_000,
        help="Mask runs of N or more tokens that stood in an earlier document (50 is usual).",
        show_default=False,
    ),
]
Cut = Annotated[bool, typer.Option("--cut", help="With --spans: take repeated runs out instead of masking them.")]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="Drop records that share 13 words in a row with an evaluation file; may be repeated.",
        show_default=False,
    ),
]
Mark = Annotated[bool, typer.Option("--mark", help="Pass repeats on, saying which cluster they belong to.")]
Capacity = Annotated[
    int, typer.Option("--capacity", metavar="N", min=1000, help="Documents to remember; then the oldest are forgotten.")
]
WindowTime = Annotated[
    str | None,
    typer.Option(
        "--window", metavar="TIME", help="How long a document counts: 30d, 12h; for ever.", show_default=False
    ),
]
Bloom = Annotated[
    int | None,
    typer.Option(
        "--bloom",
        metavar="BYTES",
        min=4,
        max=64,
        help="Remember that many bytes a document (16 is usual), without confirming candidates.",
        show_default=False,
    ),
]
_UNITS = {"d": 86_400, "h": 3_600, "m": 60}


def main(
    inputs: Inputs = None,
    *,
    output: Output = "-",
    state: StateDir = None,
    near: Near = 0.8,
    spans: SpanLength = None,
    cut: Cut = False,
    against: Against = None,
    mark: Mark = False,
    tokenizer: TokenizerPath = None,
    capacity: Capacity = 10_000_000,
    window: WindowTime = None,
    bloom: Bloom = None,
    rejects: Rejects = None,
    jobs: Jobs = 1,
    limit: Limit = None,
    seed: Seed = DEFAULT_SEED,
    max_errors: MaxErrors = None,
    plain: Plain = False,
) -> int:
    """Drop records that repeat an earlier one, exactly or nearly; the first one wins.

    Similarity is that of the sets of 5-word sequences, read from the text or, with --tokenizer, from the token ids.
    With --state, earlier runs count too.
    """
    from clet.dedup.decontaminate import Evaluations, file_label
    from clet.dedup.repeats import Found, Plan, drop_repeats
    from clet.stage import Stage
    from clet.state import State

    if bloom and (mark or spans):
        raise UsageError("--bloom keeps no clusters and no spans; leave out --mark and --spans")
    if cut and not spans:
        raise UsageError("--cut needs --spans")
    if mark and cut:
        raise UsageError("--mark passes records on as they are; leave out --cut")
    window_s = _window(window)
    with State.open(state, "dedup", _params(near, spans, bloom, capacity)) if state else nullcontext() as opened:
        index = _index(seed, opened, near, bloom, capacity, window_s)
        evaluations = Evaluations(against, index.secret) if against else None
        plan = Plan(near, spans or 0, cut, mark, jobs, _tokenizer(tokenizer), evaluations)
        found = Found()
        with Stage(
            inputs, output, rejects=rejects, state=index, plain=plain, limit=limit, max_errors=max_errors
        ) as stage:
            for batch in drop_repeats(stage.batches(), index, plan, stage.reject_all, found):
                stage.write(batch)
            extra = stage.counts.extra
            extra["indexed"] = index.num_remembered
            if spans:
                extra["cut_tokens" if cut else "masked_tokens"] = found.repeated_tokens
            if index.forgotten:
                extra["forgotten"] = index.forgotten
            for name, records in zip(evaluations.names, evaluations.num_records, strict=True) if evaluations else ():
                text = f"{file_label(name)}: {records} records share text with it"
                log.info(text, event="against", file=name, records=records)
        if log.verbose:
            log.detail("index: " + ", ".join(f"{name} {value}" for name, value in index.header().items()))
        return stage.status


def _params(near: float, spans: int | None, bloom: int | None, capacity: int) -> dict[str, Any]:
    """What an index is made for, kept in its state."""
    from clet.dedup.index import PARAMS
    from clet.dedup.spans import GUARANTEE

    if bloom:
        from clet.dedup.bloom import GENERATIONS, GROUPS

        filters = {"groups": GROUPS, "generations": GENERATIONS, "bytes": bloom, "capacity": capacity, "near": near}
        return PARAMS | {"method": "bloom filters of words' minhash"} | filters
    return PARAMS | {"span": spans or 0, "guarantee": GUARANTEE}


def _index(
    seed: int, state: State | None, near: float, bloom: int | None, capacity: int, window: int
) -> Index | BloomIndex:
    if bloom:
        from clet.dedup.bloom import BloomIndex

        return BloomIndex(near, bloom, capacity, seed, state, window=window)
    from clet.dedup.index import Index

    return Index(seed, state, capacity=capacity, window=window)


def _tokenizer(path: str | None) -> Any:
    from clet.tokens import Vocabulary

    return Vocabulary.load(path) if path else None


def _window(text: str | None) -> int:
    if text is None:
        return 0
    found = re.fullmatch(r"(\d{1,6})([dhm])", text)
    if not found or int(found[1]) == 0:
        raise UsageError(f"--window {text}: write a number of days, hours or minutes, such as 30d or 12h")
    return int(found[1]) * _UNITS[found[2]]
