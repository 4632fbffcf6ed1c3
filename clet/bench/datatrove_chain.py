"""datatrove's way from JSONL to tokens, run by the interpreter that has datatrove (which need not have clet).

    python datatrove_chain.py INPUT_DIR TOKENIZER_JSON WORK_DIR TASKS

The chain is that of datatrove's own examples (`examples/fineweb.py`, `examples/minhash_deduplication.py`): read, Gopher
repetition and quality, C4 and FineWeb filters, MinHash signatures, buckets, clusters, drop duplicates, tokenise, write,
with `TASKS` tasks at once. A step begins when all tasks of the one before have ended, so a document is ready no sooner
than the last step begins. Prints one JSON object: seconds of the steps, when the last one began, documents and tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED = time.time()


def main(source: str, tokenizer: str, work: str, tasks: int) -> dict[str, object]:
    """Run the chain; seconds by step, and what came out."""
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = MinhashConfig()
    filters = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),  # as FineWeb has it
        FineWebQualityFilter(),
    ]
    steps = {
        "filter": ([JsonlReader(source), *filters, JsonlWriter(f"{work}/kept")], tasks),
        "signatures": ([JsonlReader(f"{work}/kept"), MinhashDedupSignature(f"{work}/sig", config=config)], tasks),
        "buckets": ([MinhashDedupBuckets(f"{work}/sig", f"{work}/buckets", config=config)], config.num_buckets),
        "clusters": ([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1),
        "tokenise": (
            [
                JsonlReader(f"{work}/kept"),
                MinhashDedupFilter(f"{work}/remove"),
                DocumentTokenizer(f"{work}/tokens", tokenizer, shuffle_documents=False),
            ],
            tasks,
        ),
    }
    seconds, began = {}, 0.0
    for name, (pipeline, count) in steps.items():
        began = time.time() - STARTED
        LocalPipelineExecutor(pipeline, tasks=count, workers=tasks, logging_dir=f"{work}/logs/{name}").run()
        seconds[name] = time.time() - STARTED - began
    parts = [json.loads(path.read_text()) for path in Path(work, "logs/tokenise/stats").glob("*.json")]
    written = [part[-1]["stats"]["tokens"] for part in parts if "tokens" in part[-1]["stats"]]
    tokens = sum(each["total"] for each in written)
    documents = sum(each.get("n", 1) for each in written)  # of a single one datatrove writes no number
    return {"steps_s": seconds, "last_began_s": began, "wall_s": time.time() - STARTED, "tokens": tokens,
            "documents": documents}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
