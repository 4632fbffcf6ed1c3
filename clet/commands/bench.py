"""Measure clet on this machine and on your own data."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from clet.commands.flags import DEFAULT_SEED, Cores, Jobs, Seed
from clet.exits import UsageError
from clet.log import log

Sources = Annotated[list[str], typer.Argument(metavar="SOURCE...", help="What to take in, as for clet ingest.")]
BenchTokenizer = Annotated[str, typer.Option("--tokenizer", metavar="DIR|FILE", help="Tokenizer to use.")]
SeqLen = Annotated[int, typer.Option("--seq-len", min=8, metavar="N", help="Window length of the shards.")]
Runs = Annotated[int, typer.Option("--runs", min=1, max=100, metavar="N", help="Counted runs; the median is shown.")]


def pipeline(
    sources: Sources,
    *,
    tokenizer: BenchTokenizer,
    runs: Runs = 3,
    jobs: Jobs = 1,
    seq_len: SeqLen = 512,
    pin: Annotated[
        int | None, typer.Option("--pin", min=0, metavar="CORE", help="Run everything on this core alone.")
    ] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", metavar="NAME", help="Measure datatrove beside clet, in the same run.")
    ] = None,
    peer_python: Annotated[
        str | None,
        typer.Option("--peer-python", metavar="FILE", help="The interpreter that has the peer. [default: this one]"),
    ] = None,
    peer_mb: Annotated[
        float, typer.Option("--peer-mb", min=0.01, metavar="MB", help="Text for both sides; the peer takes its time.")
    ] = 6.0,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, metavar="N", help="With --peer: documents a second that arrive.")
    ] = 50.0,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, metavar="S", help="With --peer: for how long; 0 leaves it out.")
    ] = 30.0,
) -> int:
    """Tokens/s and MB/s of ingest, dedup, prioritize and shard, each alone and all as one pipe.

    With --peer datatrove also both sides over the same documents, and how soon a document that arrives is ready.
    With --json the result, raw samples included, is one JSON object on standard output.
    """
    from clet.bench import report
    from clet.bench.peer import PEERS, Peer
    from clet.bench.pipeline import measure, show
    from clet.bench.processes import pinned

    if peer is not None and peer not in PEERS:
        raise UsageError(f"--peer {peer}: no such peer; choose {' or '.join(PEERS)}")
    against = None
    if peer is not None:
        against = Peer(peer, peer_python or sys.executable, peer_mb, rate, seconds)
    try:
        with pinned(pin):
            figures = measure(sources, tokenizer, runs=runs, jobs=jobs, seq_len=seq_len, against=against)
            result = {"bench": "pipeline", **report.conditions(), **figures}
    except OSError as error:
        if pin is None or error.errno != errno.EINVAL:
            raise
        raise UsageError(f"--pin {pin}: no core of this machine, or none that this process may use") from None
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def tokenize(
    sources: Sources,
    *,
    tokenizer: BenchTokenizer,
    runs: Runs = 3,
    jobs: Jobs = 1,
    megabytes: Annotated[float, typer.Option("--mb", min=0.01, metavar="MB", help="Take so much text.")] = 64.0,
) -> int:
    """Tokens/s of the tokenizer that clet uses, beside tokenizers, tiktoken and gigatoken, cold and warm.

    Each is a process of its own; ids are compared with those of tokenizers. With --json one JSON object.
    """
    from clet.bench import report
    from clet.bench.texts import texts_of
    from clet.bench.tokenize import measure, show

    texts = texts_of(sources, int(megabytes * 1e6))
    result = {"bench": "tokenize", **report.conditions(), **measure(texts, tokenizer, runs=runs, jobs=jobs)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def shards(
    *,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1000, metavar="N", help="Tokens to write and read.")
    ] = 20_000_000,
    runs: Runs = 3,
    seq_len: SeqLen = 512,
    folder: Annotated[
        str | None, typer.Option("--dir", metavar="DIR", help="Where files go. [default: a temporary folder]")
    ] = None,
) -> int:
    """Shards written, read in order and shuffled, beside a numpy memmap of the same ids.

    Documents are synthetic. With --json one JSON object.
    """
    from clet.bench import report
    from clet.bench.shards import measure, show

    if folder is not None and not os.access(folder, os.W_OK):
        raise UsageError(f"--dir {folder}: no folder that can be written to")
    result = {**report.conditions(), **measure(tokens, seq_len, runs, folder=folder)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
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


def dedup(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Records with text and tokens.")],
    *,
    tokenizer: BenchTokenizer,
    runs: Runs = 3,
    documents: Annotated[
        int, typer.Option("--documents", min=1000, metavar="N", help="Documents to fill Bloom filters with.")
    ] = 1_000_000,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Measure rensa and datasketch beside, where installed.")
    ] = True,
) -> int:
    """Recall, precision and speed of clet dedup against an exact join, of its spans, and the bytes of its indexes.

    With --json the result, raw samples included, is one JSON object on standard output.
    """
    from clet.bench import report
    from clet.bench.dedup import measure, show

    figures = measure(files, tokenizer, runs=runs, documents=documents, peers=peers)
    result = {"bench": "dedup", **report.conditions(), **figures}
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
        typer.Option(
            "--attacks", min=0, metavar="DAYS", help="Days of news with attacks, 147 at least; 0 leaves it out."
        ),
    ] = 0,
    curve: Annotated[bool, typer.Option("--curve", help="What passes, by the budget of an attacker.")] = False,
    corrections: Annotated[
        int,
        typer.Option(
            "--corrections", min=0, metavar="N", help="Rumours corrected in each way, seven a round; 0 leaves it out."
        ),
    ] = 0,
    order: Annotated[
        int,
        typer.Option("--order", min=0, metavar="TOKENS", help="Tokens of a stream to learn from in several orders."),
    ] = 0,
    learn: Annotated[
        list[str] | None,
        typer.Option("--learn", metavar="FILE", help="Records of that stream; the newsroom without. May be repeated."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar="FILE", help="Records to measure by what was learned from --learn."),
    ] = None,
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="The model that learns them.")] = "nano",
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="FILE", help="Records to judge beside datatrove's filters; may be repeated."),
    ] = None,
    good: Annotated[
        list[str] | None,
        typer.Option("--good", metavar="FILE", help="Good texts, to compare classifiers with fastText's."),
    ] = None,
    bad: Annotated[list[str] | None, typer.Option("--bad", metavar="FILE", help="Bad texts, for the same.")] = None,
    people: Annotated[
        list[str] | None,
        typer.Option("--people", metavar="FILE", help="Texts by people, to find those by machines among."),
    ] = None,
    machines: Annotated[
        list[str] | None, typer.Option("--machines", metavar="FILE", help="Texts by machines, for the same.")
    ] = None,
    peer_python: Annotated[
        str | None,
        typer.Option("--peer-python", metavar="FILE", help="A Python that has datatrove and fastText."),
    ] = None,
    runs: Runs = 3,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """How fast clet prioritize is, what its defences let through, and what its order teaches.

    Attacks are those of clet-trust(7), in a simulated newsroom. With --json the result is one JSON object.
    """
    from clet.bench import report
    from clet.bench.defence import MAIN_DAYS
    from clet.bench.prioritize import MIN_TOKENS, Lessons, measure, show

    if (attacks or curve) and not policy:
        raise UsageError("--attacks and --curve need --policy: without one there are no limits to measure")
    if 0 < attacks < MAIN_DAYS:
        raise UsageError(f"--attacks {attacks}: the last attack ends after {MAIN_DAYS} days; give at least as many")
    if order and bool(learn) != bool(held_out):
        raise UsageError("--learn and --held-out go together: what is learned, and what it is measured by")
    if 0 < order < MIN_TOKENS:
        raise UsageError(f"--order {order}: at least {MIN_TOKENS:,} tokens, or a share of them teaches nothing")
    result = {"bench": "prioritize", **report.conditions()}
    stream = Lessons(order, tuple(learn or ()), tuple(held_out or ()), preset)
    result |= measure(files or [], policy, tokenizer, attacks, curve, corrections, stream, runs, seed)
    groups = {"compare": compare, "good": good, "bad": bad, "people": people, "machines": machines}
    if any(groups.values()):
        import sys

        from clet.bench.quality import measure_quality

        given = {name: files or () for name, files in groups.items()}
        python = peer_python or sys.executable
        result["quality"] = measure_quality((), **given, peer_python=python, runs=runs, seed=seed)
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def breaker(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Texts to learn, as for clet ingest; a simulated newsroom without any."),
    ] = None,
    *,
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="The model that learns.")] = "pico",
    steps: Annotated[int, typer.Option("--steps", min=60, metavar="N", help="Steps of the first segment.")] = 200,
    clean: Annotated[int, typer.Option("--clean", min=1, max=1000, metavar="N", help="Runs without harm.")] = 10,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """How soon the breaker of clet train notices harm, how often it trips for nothing, and whether harm leaves a trace.

    Harm is a weight that is not a number, a learning rate a hundred times too large, a block of documents with a
    trigger, a block of permuted tokens. With --json the result is one JSON object on standard output.
    """
    from clet.bench import report
    from clet.bench.breaker import Plan, measure, show
    from clet.bench.texts import texts_of

    plan = Plan(preset=preset, steps=steps, clean=clean, seed=seed)
    texts = texts_of(sources, 8 * plan.steps * plan.batch * plan.seq_len + 500_000) if sources else None
    result = {"bench": "breaker", **report.conditions(), **measure(plan, texts)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def train(
    *,
    presets: Annotated[
        list[str] | None,
        typer.Option("--preset", metavar="NAME", help="Shape to train; may be repeated. [default: pico nano micro]"),
    ] = None,
    seq_len: SeqLen = 512,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=4096, metavar="N", help="Windows a step.")] = 8,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, metavar="N", help="Parts of a step.")] = 1,
    steps: Annotated[int, typer.Option("--steps", min=1, max=10_000, metavar="N", help="Steps of a turn.")] = 4,
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=1000, metavar="N", help="Counted turns of each side; medians are shown.")
    ] = 5,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, metavar="N", help="Threads of each side.")] = 2,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32 or bfloat16.")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile clet's layers.")] = False,
    compile_plain: Annotated[bool, typer.Option("--compile-plain", help="Compile the plain loop's model.")] = False,
    document: Annotated[
        int | None,
        typer.Option("--document", min=8, metavar="N", help="Tokens of a document. [default: the window's]"),
    ] = None,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """Tokens/s, memory and loss of clet train beside transformers in a plain PyTorch loop, in the same run.

    Sides take turns on the same windows, each in a process of its own. With --json one JSON object.
    """
    from clet.bench import report
    from clet.bench.train import Plan, measure, show
    from clet.train.start import choose_device

    if dtype not in ("float32", "bfloat16"):
        raise UsageError(f"--dtype {dtype}: choose float32 or bfloat16")
    plan = Plan(
        tuple(presets or ("pico", "nano", "micro")), seq_len, batch_size, accumulate, steps, runs, threads,
        choose_device(device).type, dtype, compile, compile_plain, document, seed,
    )  # fmt: skip
    result = {**report.conditions(), **measure(plan)}
    if log.json:
        report.show_json(result)
    else:
        show(result)
    return 0


def accounts(
    shards: Annotated[list[str], typer.Argument(metavar="SHARDS", help="Shard directories or files to learn from.")],
    *,
    model: Annotated[str, typer.Option("--model", metavar="DIR", help="Model to train; it is not changed.")],
    steps: Annotated[int, typer.Option("--steps", min=1, max=100_000, metavar="N", help="Steps to count.")] = 50,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=4096, metavar="N", help="Windows a step.")] = 8,
    jobs: Cores = None,
) -> int:
    """What accounts, lines, metrics and live view cost clet train a step, and how long it waits for data.

    With --json one JSON object.
    """
    from clet.bench import report
    from clet.bench.accounts import measure, show_accounts

    figures = measure(shards, model, steps=steps, batch_size=batch_size, jobs=jobs)
    if not figures["steps"]:
        raise UsageError("too few windows in these shards to count a step")
    if log.json:
        report.show_json({"bench": "accounts", **report.conditions(), **figures})
    else:
        show_accounts(figures)
    return 0


SUBCOMMANDS = {
    "breaker": breaker,
    "pipeline": pipeline,
    "ingest": ingest,
    "tokenize": tokenize,
    "dedup": dedup,
    "prioritize": prioritize,
    "shards": shards,
    "train": train,
    "accounts": accounts,
}
