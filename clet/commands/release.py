"""List, show, report, promote, roll back, sign and export the releases of a run; trip its breaker and what follows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clet.commands.flags import Output
from clet.exits import ExitCode, NothingToDo, UsageError
from clet.log import log

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)]
Tier = Annotated[str, typer.Argument(metavar="TIER", help="live, static or realtime.", show_default=False)]
DTYPES = ("float32", "bfloat16", "float16", "q8_0")
TOLD = ("number", "created", "weights", "lineage_root", "watermark", "base")  # of release.json, in what is exported
TRIP_FACTS = ("time", "step", "why", "back_to", "undone", "recalled", "freed")
COLUMNS = ("number", "created", "step", "tokens", "documents", "watermark", "verdict", "why", "links")
Trust = Annotated[
    str | None,
    typer.Option("--trust", metavar="KEY", help="The public key it has to be signed with.", show_default=False),
]


def list_all(run: Run) -> int:
    """List the releases, oldest first: a table on a terminal, JSON lines elsewhere."""
    from clet.release import TIERS, list_releases, recalled, tier_number, verdict_of

    tiers, taken_back = {tier: tier_number(run, tier) for tier in TIERS}, recalled(run)
    rows = []
    releases, damaged = list_releases(run)
    for release in releases:
        links = [tier for tier in TIERS if tiers[tier] == release.number]
        verdict, why = verdict_of(release, taken_back)
        facts = {name: release.facts.get(name) for name in COLUMNS}
        rows.append(facts | {"verdict": verdict, "why": why, "links": links, "path": str(release.path)})
    if not rows and not damaged:
        raise NothingToDo(f"{run}: no release yet; clet train --run {run} makes one")
    if sys.stdout.isatty():
        _table(COLUMNS, [row | {"links": " ".join(row["links"])} for row in rows])
    else:
        _write(rows)
    for why in damaged:
        log.error(why, event="damaged")
    return ExitCode.BAD_INPUT if damaged else ExitCode.OK


def show(
    run: Run,
    which: Annotated[
        str, typer.Argument(metavar="NUMBER|TIER", help="Which release; the live one by default.")
    ] = "live",
    *,
    trust: Trust = None,
) -> int:
    """Print the release.json of one release as JSON, with where it is and who points to it; check its signature."""
    from clet import signing
    from clet.release import FACTS, TIERS, find_release, tier_number

    trusted = signing.read_public(trust) if trust else None
    release = find_release(run, which)
    signing.check(release.facts, release.path / FACTS, trusted)
    links = [tier for tier in TIERS if tier_number(run, tier) == release.number]
    _write([release.facts | {"links": links, "path": str(release.path)}])
    return 0


def report(run: Run, output: Output = "-") -> int:
    """Write one HTML page that shows the whole run: curves, costs, releases, trips of the breaker."""
    from clet.sinks import Sink
    from clet.train.report.gather import gather
    from clet.train.report.page import page

    sink = Sink(output)
    sink.write(page(gather(run)))
    sink.close()
    return 0


def promote(
    run: Run,
    tier: Tier,
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="Which release; the newest by default.", show_default=False)
    ] = None,
) -> int:
    """Point live or static to a release; servers that follow the link change over at once."""
    from clet import release as releases

    if number is None:
        number = releases.find_release(run, "realtime").number
    before = releases.promote(run, tier, number, datetime.now(UTC))
    _moved(run, tier, before, number)
    return 0


def rollback(run: Run, tier: Tier) -> int:
    """Point a link back to where it pointed before; again, and it goes one further back."""
    from clet import release as releases

    before, number = releases.rollback(run, tier, datetime.now(UTC))
    _moved(run, tier, before, number)
    return 0


def trip(
    run: Run,
    *,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="What is wrong; kept in breaker.json.", show_default=False)
    ] = "by hand",
) -> int:
    """Trip the breaker: the trainer goes back to its last good state at its next step, or when it starts next."""
    from clet.train.requests import request_trip

    request = request_trip(Path(run), why, datetime.now(UTC))
    log.info(f"{run}: the breaker will be tripped at the trainer's next step", event="trip")
    _write([{"event": "trip", "run": run, **request}])
    return 0


def trips(run: Run) -> int:
    """List the trips of the breaker, oldest first: a table on a terminal, JSON lines elsewhere."""
    from clet.release import check_run
    from clet.train.breaker import read_trips

    check_run(run)
    if not (found := read_trips(Path(run))):
        raise NothingToDo(f"{run}: the breaker has not tripped")
    rows = [
        {"number": number, **{name: trip.get(name) for name in TRIP_FACTS}}
        | {"windows": sum(len(which) for _, which in trip["windows"]), "documents": trip.get("documents", [])}
        for number, trip in enumerate(found, 1)
    ]
    if not sys.stdout.isatty():
        _write(rows)
        return 0
    for row in rows:
        row["documents"] = len(row["documents"])
        for name in ("undone", "recalled"):
            row[name] = " ".join(map(str, row[name]))
    _table(list(rows[0]), rows)
    return 0


def free(
    run: Run,
    numbers: Annotated[
        list[int], typer.Argument(metavar="TRIP ...", help="Numbers of trips, of clet release trips.", min=1)
    ],
) -> int:
    """Take windows out of quarantine that a trip put there: the trainer learns them when it starts next."""
    from clet.release import check_run
    from clet.train.quarantine import free as free_windows
    from clet.train.rundir import RunDirectory

    check_run(run)
    with RunDirectory.open(run) as directory:
        num_windows = free_windows(directory, list(dict.fromkeys(numbers)))
    what = f"{num_windows} windows will be learned when the trainer starts next"
    log.info(f"{run}: {what if num_windows else 'free to be replayed; all were learned before the trip'}", event="free")
    _write([{"event": "free", "run": run, "trips": numbers, "windows": num_windows}])
    return 0


def resume(run: Run) -> int:
    """End a pause after a trip; a trainer that follows goes on by itself."""
    from clet.train import requests

    why = requests.resume(Path(run))
    log.info(f"{run}: goes on; it was paused because of: {why}", event="resume")
    _write([{"event": "resume", "run": run, "why": why}])
    return 0


def keygen(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where the private key goes.", show_default=False)],
) -> int:
    """Make a key to sign releases with: FILE, which others must not read, and its public key in FILE.pub."""
    from clet.signing import make_key

    public = make_key(Path(file))
    log.info(f"{file}: a new key; give {public} to those who shall trust it", event="key")
    _write([{"event": "key", "file": file, "public": public}])
    return 0


def export(
    run: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, or a model directory.", show_default=False)],
    which: Annotated[
        str | None,
        typer.Argument(metavar="NUMBER|TIER", help="Which release; the live one by default.", show_default=False),
    ] = None,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="The directory to make; absent or empty.")
    ] = None,
    hf: Annotated[
        bool, typer.Option("--hf/--adapter", help="The whole model in Hugging Face layout, or its adapters in PEFT's.")
    ] = True,
    gguf: Annotated[
        str | None, typer.Option("--gguf", metavar="FILE", help="Write one file for llama.cpp instead.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="TYPE", help="float32, bfloat16, float16, or of a GGUF q8_0 (as it is)."),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME", help="Name the adapters' base so (the run's --model).")
    ] = None,
) -> int:
    """Write a release for other programs: transformers, vLLM, PEFT or llama.cpp.

    The source is checked as it is read, and stays. What the other program would compute otherwise is refused.
    """
    if (output is None) == (gguf is None):
        raise UsageError("say where to: -o DIR, or --gguf FILE")
    if gguf is not None and not hf:
        raise UsageError("--gguf holds a whole model; leave out --adapter")
    from clet.sinks import file_to_replace

    target = file_to_replace(gguf, "--gguf") if gguf is not None else None
    if base is not None and hf:
        raise UsageError("--base goes with --adapter")
    choices = DTYPES if target is not None else DTYPES[:3]
    if dtype is not None and dtype not in choices:
        raise UsageError(f"--dtype {dtype}: choose one of {', '.join(choices)}")

    from clet.release import find_model, is_run

    if which is not None and not is_run(run):
        raise UsageError(f"{run}: a model directory has no release {which}; leave it out")
    directory = find_model(run, which or "live").resolve()
    facts = _facts(directory)
    if target is not None:
        from clet.model.gguf import export_gguf

        name = f"{Path(run).resolve().name}-{facts['number']}" if facts else directory.name
        told = {"name": name} | {key: str(value) for key, value in facts.items()}
        dtype = export_gguf(directory, target, dtype, told)
    elif hf:
        from clet.model.export import export_whole

        dtype = export_whole(directory, output, dtype, facts)
    else:
        dtype = _export_adapter(run, directory, output, dtype, base)
    log.info(f"{gguf or output}: {directory} in {dtype}", event="export")
    form = "gguf" if gguf is not None else "hf" if hf else "adapter"
    _write([{"event": "export", "format": form, "path": gguf or output, "dtype": dtype} | facts])
    return 0


def _export_adapter(run: str, directory: Path, output: str, dtype: str | None, base: str | None) -> str:
    from clet.model.adapter import export_adapter
    from clet.model.export import TYPES
    from clet.model.initialise import appearing
    from clet.release import ADAPTER

    if not (directory / ADAPTER).is_dir():
        raise UsageError(
            f"{run}: {directory.name} has no adapters: it was not trained with --lora; leave out --adapter"
        )
    with appearing(output) as staging:
        export_adapter(directory / ADAPTER, staging, TYPES[dtype or "float32"], base)
    return dtype or "float32"


def _facts(directory: Path) -> dict[str, Any]:
    """What release.json says of where the weights come from; {} for a model that is no release."""
    from clet.release import FACTS, read_facts

    facts = read_facts(directory) if (directory / FACTS).exists() else {}
    return {name: facts[name] for name in TOLD if facts.get(name) is not None}


def _moved(run: str, tier: str, before: int | None, number: int) -> None:
    log.info(f"{run}: {tier} is release {number}, was {before or 'unset'}", event="link")
    _write([{"event": "link", "link": tier, "release": number, "before": before}])


def _write(rows: list[dict[str, Any]]) -> None:
    import orjson

    from clet.sinks import Sink

    sink = Sink("-")
    sink.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    sink.close()


def _table(columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
    from clet.tables import show_table

    show_table(columns, [[row[name] for name in columns] for row in rows], boxed=False)


SUBCOMMANDS = {
    "list": list_all,
    "show": show,
    "report": report,
    "promote": promote,
    "rollback": rollback,
    "export": export,
    "trip": trip,
    "trips": trips,
    "free": free,
    "resume": resume,
    "keygen": keygen,
}
