"""Measure clet on this machine and on your own data."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import DEFAULT_SEED, Jobs, Seed
from clet.exits import UsageError
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
    jobs: Jobs = 1,
) -> int:
    """What clet ingest reads, finds and extracts, and how soon, how fast and in how much memory.

    Data sets may be folders or .tar.zst archives. With --json the result, raw samples included, is one JSON object.
    """
    from clet.bench import report
    from clet.bench.ingest import Plan, measure
    from clet.bench.ingest_report import show

    plan = Plan(feeds, captures, tuple(pages or ()), rate, seconds, records, runs, jobs)
    result = {"bench": "ingest", **report.conditions(), **measure(sources or [], tokenizer, plan)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def prioritize(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Records to time; without any only what is asked for below is measured."),
    ] = None,
    *,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="FILE", help="The policy in force, as clet prioritize takes it."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", metavar="DIR|FILE", help="Tokenise the attack streams; words are counted without."),
    ] = None,
    attacks: Annotated[
        int,
        typer.Option("--attacks", min=0, metavar="DAYS", help="Days of news with attacks; 0 leaves it out."),
    ] = 0,
    curve: Annotated[bool, typer.Option("--curve", help="What passes, by the budget of an attacker.")] = False,
    order: Annotated[
        int, typer.Option("--order", min=0, metavar="DAYS", help="Days of news to learn from in several orders.")
    ] = 0,
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="The model that learns them.")] = "pico",
    runs: Runs = 3,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """How fast clet prioritize is, what its defences let through, and what its order teaches.

    Attacks are those of clet-trust(7), in a simulated newsroom. With --json the result is one JSON object.
    """
    from clet.bench import report
    from clet.bench.prioritize import measure, show

    if (attacks or curve) and not policy:
        raise UsageError("--attacks and --curve need --policy: without one there are no limits to measure")
    result = {"bench": "prioritize", **report.conditions()}
    result |= measure(files or [], policy, tokenizer, attacks, curve, order, preset, runs, seed)
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


SUBCOMMANDS = {"pipeline": pipeline, "ingest": ingest, "prioritize": prioritize}
