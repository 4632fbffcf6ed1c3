"""Shards in the formats of others: one set of files a lane, each of which appears whole.

DIR/LANE.bin, DIR/LANE.idx     megatron
DIR/LANE.parquet               parquet
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from clet.exits import UsageError, WriteError
from clet.shards.export_megatron import export_megatron
from clet.shards.export_parquet import export_parquet
from clet.shards.manifest import ShardEntry
from clet.shards.reader import ShardReader

FORMATS: dict[str, Callable[[Iterable[ShardReader], Path], tuple[int, int]]] = {
    "megatron": export_megatron,
    "parquet": lambda shards, path: export_parquet(shards, path.with_name(f"{path.name}.parquet")),
}


def export_shards(entries: Sequence[ShardEntry], output: str | Path, form: str) -> dict[str, tuple[int, int]]:
    """Write the documents of shards, in the order given, to the directory `output`; (documents, tokens) by lane.

    Raises UsageError where shards are of several tokenizers, InputError on damage, WriteError.
    """
    prints = sorted({entry.fingerprint for entry in entries})
    if len(prints) > 1:
        raise UsageError(f"shards of {len(prints)} tokenizers ({', '.join(prints)}); export them apart")
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{output}: {error.strerror}") from None
    lanes = dict.fromkeys(entry.lane for entry in entries)
    return {
        lane: FORMATS[form]((entry.open() for entry in entries if entry.lane == lane), Path(output, lane))
        for lane in lanes
    }
