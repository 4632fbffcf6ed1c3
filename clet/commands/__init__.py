"""One thin file a command: flags, files, report; no algorithm. `TABLE` is what `clet --help` shows.

Nothing here imports a command: `clet.cli` loads the one that was asked for.
"""

from __future__ import annotations

TABLE: dict[str, tuple[str, str]] = {
    # name: (module, summary)
    "init": ("clet.commands.init", "make or adopt a model directory"),
    "ingest": ("clet.commands.ingest", "fetch documents, extract their text, tokenise"),
    "dedup": ("clet.commands.dedup", "drop what repeats an earlier document"),
    "prioritize": ("clet.commands.prioritize", "judge, order and budget documents"),
    "judge": ("clet.commands.judge", "teach prioritize: review, verdicts, trust"),
    "shard": ("clet.commands.shard", "pack documents into sealed token shards"),
    "train": ("clet.commands.train", "learn from shards, release checkpoints"),
    "sync-server": ("clet.commands.sync_server", "merge the work of workers without a barrier"),
    "release": ("clet.commands.release", "list, show, promote, roll back releases"),
    "eval": ("clet.commands.eval", "measure what a model knows"),
    "audit": ("clet.commands.audit", "show what a checkpoint learned from"),
    "serve": ("clet.commands.serve", "answer over the OpenAI API, swap releases live"),
    "cat": ("clet.commands.cat", "print any clet file or stream as JSONL"),
    "bench": ("clet.commands.bench", "measure clet on your machine and your data"),
}
