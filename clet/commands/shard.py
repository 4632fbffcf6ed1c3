"""clet shard: pack documents into sealed token shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clet.commands.flags import Follow, Inputs, Jobs, Limit, MaxErrors, Rejects, TokenizerPath
from clet.exits import ExitCode, InputError, UsageError
from clet.log import Counts, log

if TYPE_CHECKING:
    from clet.shards.build import ShardBuilder, ShardPlan
    from clet.shards.directory import ShardDirectory
    from clet.stage import Stage

DEFAULT_SEQ_LEN = 512
DEFAULT_SHARD_TOKENS = 16 << 20  # 32 MB of uint16 ids
DEFAULT_INTERVAL_S = 60.0
MUCH_PADDING = 0.1  # worth a word: a tenth of the training is spent on nothing

OutputDir = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="DIR", help="Add the shards to DIR, all or none.", show_default=False),
]
SeqLen = Annotated[int, typer.Option("--seq-len", min=8, max=1 << 20, metavar="N", help="Tokens a window.")]
ShardTokens = Annotated[
    int, typer.Option("--shard-tokens", min=8, metavar="N", help="Seal a shard once it holds N tokens.")
]
Level = Annotated[
    int, typer.Option("--level", min=0, max=19, metavar="N", help="Compress windows with zstd level N; 0 stores them.")
]
Interval = Annotated[
    float,
    typer.Option("--interval", min=0.1, metavar="S", help="With --follow: seal what has waited for S seconds."),
]
Now = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="T",
        help="The time to list as created; the newest fetch time if not given.",
        show_default=False,
    ),
]
Export = Annotated[
    str | None,
    typer.Option(
        "--export",
        metavar="FORMAT",
        help="Write the documents of shards to -o DIR as megatron or parquet.",
        show_default=False,
    ),
]
Verify = Annotated[bool, typer.Option("--verify", help="Read shards (directories or files) again and check them.")]


def main(
    inputs: Inputs = None,
    *,
    output: OutputDir = None,
    tokenizer: TokenizerPath = None,
    seq_len: SeqLen = DEFAULT_SEQ_LEN,
    shard_tokens: ShardTokens = DEFAULT_SHARD_TOKENS,
    level: Level = 0,
    follow: Follow = False,
    interval: Interval = DEFAULT_INTERVAL_S,
    export: Export = None,
    verify: Verify = False,
    rejects: Rejects = None,
    jobs: Jobs = 1,
    limit: Limit = None,
    max_errors: MaxErrors = None,
    now: Now = None,
) -> int:
    """Pack tokenised records into windows of equal length, sealed in shards that clet train reads.

    With --tokenizer each document ends with the tokenizer's end-of-document token, and tokens of another tokenizer
    are refused. --verify and --export read shards that exist instead of writing any.
    """
    if verify:
        if output is not None or export is not None:
            raise UsageError("--verify takes shards as operands and writes nothing; leave -o and --export out")
        return _verify(inputs or [])
    if output is None:
        raise UsageError("no directory to write to; give -o DIR")
    if output == "-":
        raise UsageError("shards go to a directory, not to stdout; give -o DIR")
    if export is not None:
        return _export(inputs or [], output, export)

    from clet.shards.build import ShardBuilder, ShardPlan
    from clet.shards.directory import ShardDirectory
    from clet.stage import Stage

    plan = ShardPlan(seq_len, shard_tokens, level=level or None)
    if tokenizer is not None:
        plan = _with_tokenizer(plan, tokenizer)
    with ShardDirectory.open(output, _time(now), jobs=jobs) as directory:
        with Stage(
            inputs, None, rejects=rejects, state=directory, limit=limit, max_errors=max_errors, endless=follow
        ) as stage:
            builder = ShardBuilder(directory, plan, stage.reject)
            try:
                _shard(builder, stage, directory, interval if follow else None)
            finally:
                _count(stage.counts, builder, directory)
            _report(stage.counts, builder, directory)
        if not directory.added and stage.status is ExitCode.OK:
            return ExitCode.NOTHING_TO_DO
    return stage.status


def _shard(builder: ShardBuilder, stage: Stage, directory: ShardDirectory, interval_s: float | None) -> None:
    """Shard all that comes; with an interval, make it visible as it goes and end well when the end is asked for."""
    if interval_s is None:
        for batch in stage.batches():
            builder.add(batch)
        builder.seal_all()
        return
    import signal

    from clet.shards.follow import Follower

    follower = Follower(builder, lambda: stage.checkpoint() if directory.has_pending else None, interval_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: follower.stop())
    follower.run(stage.batches)


def _count(counts: Counts, builder: ShardBuilder, directory: ShardDirectory) -> None:
    packed = builder.counts
    counts.records_out, counts.tokens = packed.documents, packed.tokens
    counts.extra |= {
        "shards": len(directory.added),
        "windows": packed.windows,
        "padding": round(packed.padding, 4),
        "truncated": packed.truncated,
        "windows_concatenated": packed.windows_concatenated,
        "truncated_concatenated": packed.truncated_concatenated,
    }


def _report(counts: Counts, builder: ShardBuilder, directory: ShardDirectory) -> None:
    from clet.shards.build import NO_TOKENS
    from clet.shards.pack import BUFFER_WINDOWS

    if counts.rejected[NO_TOKENS]:
        log.warn(f"{counts.rejected[NO_TOKENS]} records carry no tokens; make them with clet ingest --tokenizer DIR")
    if builder.counts.padding > MUCH_PADDING and builder.counts.windows >= BUFFER_WINDOWS:
        log.warn(
            f"{builder.counts.padding:.0%} of all positions are padding: most documents are a little longer than half "
            "a window, or no two fit together; choose another --seq-len"
        )
    if directory.num_known:
        log.info(f"{directory.path}: holds {directory.num_known} of these shards already; they are not added again")
    for entry in directory.added:
        log.detail(f"{entry.path}: {entry.num_windows} windows, {entry.num_documents} documents, root {entry.root}")


def _with_tokenizer(plan: ShardPlan, path: str) -> ShardPlan:
    from dataclasses import replace

    from clet.tokens import Identity

    loaded = Identity.load(path)
    if loaded.eos_id is None:
        log.warn(f"{path}: names no end-of-document token; documents will follow each other without one")
    return replace(plan, fingerprint=loaded.fingerprint, eos_id=loaded.eos_id, vocab_size=loaded.vocab_size)


def _time(text: str | None) -> str | None:
    from clet.record import format_time, parse_time

    try:
        return None if text is None else format_time(parse_time(text))
    except ValueError:
        raise UsageError(f"--now {text}: not a time; write 2026-01-31T08:00:00Z") from None


# ---- shards that exist


def _verify(paths: list[str]) -> int:
    from clet.shards.manifest import find_shards, unlisted_shards
    from clet.shards.verify import verify_shard

    if not paths or "-" in paths:
        raise UsageError("--verify reads shards in directories or files; name them")
    counts, damaged, windows = Counts(), 0, 0
    entries = find_shards(paths)
    for entry in entries:
        try:
            reader = verify_shard(entry)
        except InputError as error:
            damaged += 1
            log.error(str(error))
            continue
        counts.records_in += reader.num_documents
        counts.records_out += reader.num_documents
        counts.tokens += reader.num_tokens
        windows += reader.num_windows
        log.detail(f"{entry.path}: {reader.num_windows} windows, {reader.num_documents} documents, {reader.root} whole")
    for lost in unlisted_shards(paths):
        log.warn(f"{lost}: not in the manifest, and not learned: lines were lost, or a run was killed at its end")
    if damaged:
        raise InputError(f"{damaged} of {len(entries)} shards are damaged; restore them or shard their records anew")
    counts.extra |= {"shards": len(entries), "windows": windows}
    log.summary(counts)
    return ExitCode.OK if entries else ExitCode.NOTHING_TO_DO


def _export(paths: list[str], output: str, form: str) -> int:
    from clet.shards.export import FORMATS, export_shards
    from clet.shards.manifest import find_shards

    if form not in FORMATS:
        raise UsageError(f"--export {form}: no such format; choose {' or '.join(FORMATS)}")
    if not paths or "-" in paths:
        raise UsageError("--export reads shards in directories or files; name them")
    entries = find_shards(paths)
    masked = form == "megatron" and sum(entry.open().num_masked for entry in entries)
    if masked:
        log.warn(f"{masked} masked tokens will be learned as all others: megatron has no loss mask")
    counts = Counts(records_in=sum(entry.num_documents for entry in entries))
    for lane, (documents, tokens) in export_shards(entries, output, form).items():
        counts.records_out += documents
        counts.tokens += tokens
        log.detail(f"{output}/{lane}: {documents} documents, {tokens} tokens")
    counts.extra |= {"shards": len(entries)}
    log.summary(counts)
    return ExitCode.OK if entries else ExitCode.NOTHING_TO_DO
