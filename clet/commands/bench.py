"""Measure clet on this machine and on your own data."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import Jobs
from clet.log import log

Sources = Annotated[list[str], typer.Argument(metavar="SOURCE...", help="What to take in, as for clet ingest.")]
Runs = Annotated[int, typer.Option("--runs", min=1, max=100, metavar="N", help="Counted runs; the median is shown.")]


def pipeline(
    sources: Sources,
    *,
    tokenizer: Annotated[str, typer.Option("--tokenizer", metavar="DIR|FILE", help="Tokenizer to use.")],
    runs: Runs = 3,
    jobs: Jobs = 1,
    seq_len: Annotated[int, typer.Option("--seq-len", min=2, metavar="N", help="Window length of the shards.")] = 512,
) -> int:
    """Tokens/s and MB/s of ingest, dedup, prioritize and shard, each alone and all as one pipe.

    With --json the result, raw samples included, is one JSON object on standard output.
    """
    from clet.bench import report
    from clet.bench.pipeline import measure

    result = {
        "bench": "pipeline",
        **report.conditions(),
        **measure(sources, tokenizer, runs=runs, jobs=jobs, seq_len=seq_len),
    }
    if log.json:
        report.show_json(result)
        return 0
    rows = [
        [s["stage"], s["in"], s["out"], sorted(s["wall_s"])[len(s["wall_s"]) // 2], s["tokens_per_s"], s["mb_per_s"]]
        for s in result["stages"]
    ]
    volume = f"{result['tokens']:,} tokens, {result['text_bytes'] / 1e6:,.1f} MB of text"
    report.show(
        f"{volume}, {result['cores']} x {result['cpu']}",
        ["stage", "in", "out", "wall s", "tokens/s", "MB/s"],
        rows,
        [
            f"medians of {runs} runs after one warm-up; whole processes (start-up alone {result['start_s']:.2f} s);",
            "tokens and MB are those that ingest emitted, in every row",
        ],
    )
    return 0


def ingest(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="What to read, as for clet ingest; its texts are used below."),
    ] = None,
    *,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="DIR|FILE", help="Tokenizer to use; without one nothing is timed."),
    ] = None,
    feeds: Annotated[
        str | None, typer.Option("--feeds", metavar="DIR", help="Feed captures: are all entries found?")
    ] = None,
    captures: Annotated[
        str | None,
        typer.Option("--captures", metavar="DIR", help="Captures DATE/NAME.xml: polled in order, does all come once?"),
    ] = None,
    pages: Annotated[
        list[str] | None,
        typer.Option("--pages", metavar="DIR", help="Pages with reference texts, for main text; may be repeated."),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=1.0, metavar="N", help="Documents a second that arrive.")
    ] = 200.0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, metavar="S", help="How long they arrive; 0 leaves it out.")
    ] = 30.0,
    records: Annotated[
        int, typer.Option("--records", min=0, metavar="N", help="Records that pass for memory; 0 leaves it out.")
    ] = 1_000_000,
    runs: Annotated[
        int, typer.Option("--runs", min=0, max=100, metavar="N", help="Runs for speed; 0 leaves it out.")
    ] = 3,
    many: Annotated[
        int, typer.Option("--many", min=0, max=50_000, metavar="N", help="Feeds that one process follows for a minute.")
    ] = 0,
    jobs: Jobs = 1,
) -> int:
    """What clet ingest reads, finds and extracts, and how soon, how fast and in how much memory.

    Data sets may be folders or .tar.zst archives. With --json the result, raw samples included, is one JSON object.
    """
    from clet.bench import report
    from clet.bench.ingest import Plan, measure
    from clet.bench.ingest_report import show

    plan = Plan(feeds, captures, tuple(pages or ()), rate, seconds, records, runs, many, jobs)
    result = {"bench": "ingest", **report.conditions(), **measure(sources or [], tokenizer, plan)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


SUBCOMMANDS = {"pipeline": pipeline, "ingest": ingest}
