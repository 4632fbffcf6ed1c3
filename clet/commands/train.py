"""clet train: learn from token shards, release checkpoints."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clet.commands.flags import Cores, Follow
from clet.cores import share_cores
from clet.exits import ExitCode, UsageError
from clet.log import Counts, log
from clet.progress import LOG_EVERY_S

if TYPE_CHECKING:
    from clet.train.loop import Surroundings, Tally
    from clet.train.onlookers import Onlookers


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, show_default=False, **more)


def main(
    shards: Annotated[
        list[str], typer.Argument(metavar="SHARDS", help="Shard directories or files, learned in order.")
    ],
    *,
    run: Annotated[str, typer.Option("--run", metavar="DIR", help="The run: its state, steps and releases.")],
    model: Annotated[
        str | None, _option("--model", metavar="DIR", help="Model to start from; needed for a new run.")
    ] = None,
    follow: Follow = False,
    lane: Annotated[
        list[str] | None, _option("--lane", metavar="NAME", help="Learn this lane only; repeatable, * is all of them.")
    ] = None,
    share: Annotated[
        str | None,
        _option("--share", metavar="I/N[@NAME],...", help="Learn part I of N of the windows [behind shard NAME]."),
    ] = None,
    tokens: Annotated[
        int | None,
        _option("--tokens", min=1, metavar="N", help="Stop after N tokens, fresh and replayed ones counted."),
    ] = None,
    epochs: Annotated[
        int | None, _option("--epochs", min=1, metavar="N", help="Hand out each window of new shards N times (1).")
    ] = None,
    replay: Annotated[
        float | None, _option("--replay", metavar="F", help="Share of each batch from earlier segments (0.05).")
    ] = None,
    batch_size: Annotated[
        int | None, _option("--batch-size", min=1, metavar="N", help="Windows in a step (8).")
    ] = None,
    accumulate: Annotated[
        int | None, _option("--accumulate", min=1, metavar="N", help="Compute a step in N parts: less memory (1).")
    ] = None,
    lr: Annotated[
        float | None, _option("--lr", metavar="F", help="Peak learning rate (0.256 / width of the model).")
    ] = None,
    warmup: Annotated[int | None, _option("--warmup", min=0, metavar="N", help="Steps of warm-up (50).")] = None,
    schedule: Annotated[
        str | None, _option("--schedule", metavar="NAME", help="infinite or constant (infinite).")
    ] = None,
    release_every: Annotated[
        int | None, _option("--release-every", min=1, metavar="TOKENS", help="Also release every so many tokens.")
    ] = None,
    release_minutes: Annotated[
        float | None, _option("--release-minutes", metavar="T", help="Also release every T minutes.")
    ] = None,
    cooldown: Annotated[
        int | None,
        _option("--cooldown", min=0, metavar="STEPS", help="Release the end of a branch of so many steps (20)."),
    ] = None,
    sign_key: Annotated[
        str | None, _option("--sign-key", metavar="FILE", help="Sign releases with this key of clet release keygen.")
    ] = None,
    save_every: Annotated[
        int | None, _option("--save-every", min=1, metavar="STEPS", help="Save the state every so many steps (100).")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        _option("--held-out", metavar="FILE", help="Records or shards to measure before, at checks and releases."),
    ] = None,
    canaries: Annotated[
        str | None, _option("--canaries", metavar="FILE", help="Prompts whose answers must be kept, as JSONL.")
    ] = None,
    require: Annotated[
        list[str] | None,
        _option("--require", metavar="RULE", help="Gate of a release to go live: MEASURE[:FILE]=LIMIT; all must pass."),
    ] = None,
    check_every: Annotated[
        int | None,
        _option("--check-every", min=1, metavar="STEPS", help="Check held-out text and canaries so often (100)."),
    ] = None,
    drift: Annotated[
        float | None, _option("--drift", metavar="NATS", help="Trip where held-out text is so much worse (0.5).")
    ] = None,
    on_trip: Annotated[
        str | None,
        _option("--on-trip", metavar="WHAT", help="After a trip of the breaker continue or pause (continue)."),
    ] = None,
    max_trips: Annotated[
        int | None, _option("--max-trips", min=0, metavar="N", help="Stop after more breaker trips than N (3).")
    ] = None,
    seed: Annotated[
        int | None,
        _option("--seed", min=0, max=2**63 - 1, metavar="N", help="Seed of every random choice of a new run (1)."),
    ] = None,
    jobs: Cores = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str | None, _option("--dtype", metavar="NAME", help="auto, float32, or bfloat16 matrix products (auto).")
    ] = None,
    compile: Annotated[
        bool | None, _option("--compile/--no-compile", help="Compile the layers with torch.compile (no).")
    ] = None,
    recompute: Annotated[
        bool | None,
        _option("--recompute/--no-recompute", help="Compute layers twice forward: less memory, slower (no)."),
    ] = None,
    optimizer: Annotated[str | None, _option("--optimizer", metavar="NAME", help="adamw or muon (adamw).")] = None,
    clip: Annotated[
        str | None, _option("--clip", metavar="NAME", help="zclip, or norm: how gradients are shortened (zclip).")
    ] = None,
    gate: Annotated[str | None, _option("--gate", metavar="NAME", help="Which updates are made: always.")] = None,
    memory: Annotated[str | None, _option("--memory", metavar="NAME", help="Term that keeps the past: none.")] = None,
    lora: Annotated[
        int | None, _option("--lora", min=1, metavar="R", help="Train adapters of rank R beside frozen weights.")
    ] = None,
    lora_alpha: Annotated[
        float | None, _option("--lora-alpha", metavar="A", help="Their products are multiplied by A / R (32).")
    ] = None,
    lora_targets: Annotated[
        str | None, _option("--lora-targets", metavar="NAMES", help="all, attention, or names of projections (all).")
    ] = None,
    lora_rs: Annotated[
        bool | None, _option("--lora-rs/--no-lora-rs", help="Divide A, 8 then, by the root of R instead (no).")
    ] = None,
    lora_base: Annotated[
        str | None, _option("--lora-base", metavar="TYPE", help="Frozen weights in float32, or as stored (float32).")
    ] = None,
    watts: Annotated[
        float | None,
        _option("--watts", metavar="W", help="Estimate joules by W where no counter measures them."),
    ] = None,
    metrics: Annotated[
        str | None,
        _option("--metrics", metavar="HOST:PORT|FILE.prom", help="Tell Prometheus, at an address or in a file."),
    ] = None,
    report: Annotated[
        str | None, _option("--report", metavar="FILE.html", help="At the end write the run's report to FILE.")
    ] = None,
    sync: Annotated[
        str | None, _option("--sync", metavar="URL", help="Exchange weights with this sync-server.")
    ] = None,
    worker: Annotated[
        str | None, _option("--worker", metavar="NAME", help="This worker's name at the sync-server.")
    ] = None,
    sync_every: Annotated[
        int | None, _option("--sync-every", min=1, metavar="STEPS", help="Steps between exchanges.")
    ] = None,
    token_file: Annotated[
        str | None, _option("--token-file", metavar="FILE", help="Show the sync-server the first token in FILE.")
    ] = None,
    ca_file: Annotated[
        str | None, _option("--ca-file", metavar="FILE", help="Trust the sync-server's certificate by FILE.")
    ] = None,
) -> int:
    """Learn from token shards and release checkpoints; resume exactly where the last invocation was stopped.

    Settings stay with the run: what is not given is as it was. Shards that the run has learned are passed over, new
    ones are its next segment. Metrics and events go to stdout as JSON lines, one a step.
    """
    stop, trip = _on_signal(signal.SIGTERM), _on_signal(signal.SIGUSR1)  # before torch is loaded, which takes a while
    interrupted = _on_interrupt(stop)
    share_cores()

    from clet.sinks import Sink
    from clet.train.onlookers import Onlookers
    from clet.train.session import Order, learn

    given = {
        "batch_size": batch_size, "accumulate": accumulate, "epochs": epochs, "replay": replay, "lr": lr,
        "warmup": warmup, "schedule": schedule, "release_every": release_every, "release_minutes": release_minutes,
        "cooldown": cooldown, "save_every": save_every, "check_every": check_every, "drift": drift,
        "on_trip": on_trip, "max_trips": max_trips, "dtype": dtype, "compile": compile, "threads": jobs,
        "recompute": recompute, "optimizer": optimizer, "clip": clip, "gate": gate, "memory": memory,
        "lora": lora, "lora_alpha": lora_alpha, "lora_targets": lora_targets, "lora_rs": lora_rs,
        "lora_base": lora_base,
        "lanes": ",".join(lane) if lane else None, "share": share,
    }  # fmt: skip
    order = Order(shards, run, model, given, seed, tokens, follow, device)
    if (worker or sync_every or token_file or ca_file) and not sync:
        raise UsageError("--worker, --sync-every, --token-file and --ca-file need --sync URL")
    if lora and sync:
        raise UsageError("--lora --sync: a sync-server exchanges whole weights; leave out one of the two")
    gates = _gates(require, held_out, canaries)  # refused before anything is begun, as is a bad key
    key = _key(sign_key)
    sink, onlookers = Sink("-"), Onlookers(metrics, report)

    def surround(source: Path) -> Surroundings:
        from clet.commands import watching
        from clet.notify import notify
        from clet.train.loop import Surroundings

        notify("READY=1")
        onlookers.begin(Path(run))
        judges = watching.Judges(source, held_out or [], canaries, gates, Path(run))
        outer = None
        if sync:
            outer = _sync_worker(sync, run, source, worker, sync_every, token_file, ca_file, stop.is_set)
        measures = (judges.evaluate, outer, judges.check, judges.gates)
        emit = _emitter(sink, onlookers)
        return Surroundings(emit, lambda: datetime.now(UTC), stop, *measures, key, trip, watts)

    try:
        tally = learn(order, surround)
    finally:
        onlookers.close()
    sink.close()
    _report(tally, onlookers.wait_share)
    if interrupted.is_set():
        raise KeyboardInterrupt
    masked = tally.steps > 0 and tally.last_loss is None
    if masked:
        log.warn("every window was masked as a whole: nothing was learned", event="masked")
    if onlookers.failed:
        return ExitCode.WRITE_FAILED
    return ExitCode.SOME_BAD if tally.quarantined or tally.stuck or masked else ExitCode.OK


def _on_signal(number: int) -> threading.Event:
    """Set by a signal: the step in hand is finished first."""
    event = threading.Event()
    signal.signal(number, lambda *_: event.set())
    return event


def _on_interrupt(stop: threading.Event) -> threading.Event:
    """Set by Ctrl-C, which sets `stop`, too; the second one ends the process where it is."""
    event = threading.Event()

    def interrupt(*_: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        stop.set()

    signal.signal(signal.SIGINT, interrupt)
    return event


def _key(path: str | None) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """What signs a release.json."""
    if path is None:
        return None
    from clet import signing

    key = signing.load_key(path)
    return lambda facts: signing.sign(facts, key)


def _gates(rules: list[str] | None, held_out: list[str] | None, canaries: str | None) -> list[Any]:
    from clet.evaluate.gates import parse_gate

    return [parse_gate(rule, held_out or [], canaries=canaries is not None) for rule in rules or ()]


def _emitter(sink: Any, onlookers: Onlookers) -> Callable[[dict[str, Any]], None]:
    import orjson

    shown = time.monotonic()
    to_terminal = sys.stdout is not None and sys.stdout.isatty()
    writes = not (to_terminal and onlookers.is_viewed)  # the view would be torn by the lines that it stands for

    def emit(fields: dict[str, Any]) -> None:
        nonlocal shown
        if writes:
            sink.write(orjson.dumps(fields) + b"\n")
        onlookers.see(fields)
        is_seen = to_terminal or onlookers.is_viewed
        if "event" not in fields and not is_seen and time.monotonic() - shown >= LOG_EVERY_S:
            shown = time.monotonic()
            rate = fields["tokens"] / fields["seconds"]
            log.info(f"step {fields['step']}, loss {fields['loss']:.4f}, {rate:,.0f} tokens/s", event="progress")
        if (event := fields.get("event")) == "release":
            why = f"; {why}" if (why := fields["verdict"]["why"]) else ""
            log.info(f"release {fields['number']} at step {fields['step']}: {fields['path']}{why}", event="release")
        elif event == "breaker":
            log.warn(
                f"breaker at step {fields['step']}: {fields['why']}; back to step {fields['back_to']}, "
                f"{sum(len(which) for _, which in fields['windows'])} windows in quarantine",
                event="breaker",
            )

    return emit


def _sync_worker(
    url: str,
    run: str,
    source: Path,
    worker: str | None,
    every: int | None,
    token_file: str | None,
    ca_file: str | None,
    should_stop: Callable[[], bool],
) -> Any:
    from clet.sync.credentials import read_token
    from clet.sync.worker import DEFAULT_EVERY, SyncWorker, default_worker_name
    from clet.train.start import tokenizer_fingerprint

    return SyncWorker(
        url,
        worker=worker or default_worker_name(run),
        tokenizer=tokenizer_fingerprint(source),
        every=every or DEFAULT_EVERY,
        token=read_token(token_file),
        ca_file=ca_file,
        should_stop=should_stop,
    )


def _report(tally: Tally, wait_share: float) -> None:
    extra: dict[str, Any] = {"steps": tally.steps, "wait_s": round(tally.wait_s, 3), "wait_share": wait_share}
    if tally.stalled_s >= 0.001:
        extra["stalled_s"] = round(tally.stalled_s, 3)  # for the disk and for releases
    if tally.last_loss is not None:
        extra["loss"] = round(tally.last_loss, 4)
    if tally.releases:
        extra["release"] = tally.releases[-1]
    rejected = tally.quarantined
    log.summary(
        Counts(
            records_in=tally.windows + sum(rejected.values()),
            records_out=tally.windows,
            tokens=tally.tokens,
            rejected=rejected,
            extra=extra,
        )
    )
