"""clet shard: pack documents into sealed token shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clet.commands.flags import Inputs, Limit, MaxErrors, Rejects, TokenizerPath
from clet.exits import ExitCode, InputError, UsageError
from clet.log import Counts, log

if TYPE_CHECKING:
    from clet.shards.build import ShardPlan
    from clet.shards.directory import ShardDirectory
    from clet.shards.pack import PackCounts

DEFAULT_SEQ_LEN = 512
DEFAULT_SHARD_TOKENS = 16 << 20  # 32 MB of uint16 ids

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
Verify = Annotated[bool, typer.Option("--verify", help="Read shards (directories or files) again and check them.")]


def main(
    inputs: Inputs = None,
    *,
    output: OutputDir = None,
    tokenizer: TokenizerPath = None,
    seq_len: SeqLen = DEFAULT_SEQ_LEN,
    shard_tokens: ShardTokens = DEFAULT_SHARD_TOKENS,
    level: Level = 0,
    verify: Verify = False,
    rejects: Rejects = None,
    limit: Limit = None,
    max_errors: MaxErrors = None,
) -> int:
    """Pack tokenised records into windows of equal length, sealed in shards that clet train reads.

    With --tokenizer each document ends with the tokenizer's end-of-document token, and tokens of another tokenizer
    are refused. --verify checks shards that exist instead of writing any.
    """
    if verify:
        if output is not None:
            raise UsageError("--verify takes shards as operands and writes nothing; leave -o out")
        return _verify(inputs or [])
    if output is None:
        raise UsageError("no directory to write to; give -o DIR")
    if output == "-":
        raise UsageError("shards go to a directory, not to stdout; give -o DIR")

    from datetime import UTC, datetime

    from clet.record import format_time
    from clet.shards.build import ShardPlan, build_shards
    from clet.shards.directory import ShardDirectory
    from clet.stage import Stage

    plan = ShardPlan(seq_len, shard_tokens, level=level or None)
    if tokenizer is not None:
        plan = _with_tokenizer(plan, tokenizer)
    with ShardDirectory.open(output, created=format_time(datetime.now(UTC))) as directory:
        with Stage(inputs, None, rejects=rejects, state=directory, limit=limit, max_errors=max_errors) as stage:
            packed = build_shards(stage.batches(), directory, plan, stage.reject)
            _report(stage.counts, packed, directory)
        if not directory.added and stage.status is ExitCode.OK:
            return ExitCode.NOTHING_TO_DO
    return stage.status


def _report(counts: Counts, packed: PackCounts, directory: ShardDirectory) -> None:
    from clet.shards.build import NO_TOKENS

    counts.records_out, counts.tokens = packed.documents, packed.tokens
    counts.extra |= {
        "shards": len(directory.added),
        "windows": packed.windows,
        "padding": round(packed.padding, 4),
        "truncated": packed.truncated,
        "truncated_concatenated": packed.truncated_concatenated,
    }
    if counts.rejected[NO_TOKENS]:
        log.warn(f"{counts.rejected[NO_TOKENS]} records carry no tokens; make them with clet ingest --tokenizer DIR")
    if directory.num_known:
        log.info(f"{directory.path}: holds {directory.num_known} of these shards already; they are not added again")
    for entry in directory.added:
        log.detail(f"{entry.path}: {entry.num_windows} windows, {entry.num_documents} documents, root {entry.root}")


def _with_tokenizer(plan: ShardPlan, path: str) -> ShardPlan:
    from dataclasses import replace

    from clet.tokens import Tokenizer

    loaded = Tokenizer.load(path)
    if loaded.eos_id is None:
        log.warn(f"{path}: names no end-of-document token; documents will follow each other without one")
    return replace(plan, fingerprint=loaded.fingerprint, eos_id=loaded.eos_id, vocab_size=loaded.vocab_size)


def _verify(paths: list[str]) -> int:
    from clet.shards.manifest import find_shards
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
    if damaged:
        raise InputError(f"{damaged} of {len(entries)} shards are damaged; restore them or shard their records anew")
    counts.extra |= {"shards": len(entries), "windows": windows}
    log.summary(counts)
    return ExitCode.OK if entries else ExitCode.NOTHING_TO_DO
