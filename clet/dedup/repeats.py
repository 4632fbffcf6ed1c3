"""The stream of a deduplication: records in, records that repeat nothing earlier out, in order, the first one wins.

A record is decided about before it leaves, against everything that left before it. A repeat goes to the rejects with
`"dedup": {"of": ID, "jaccard": J}`: the id it repeats and, for near repeats, how similar it is.

A new version of a story usually differs in a sentence, and the sentence is the news. A record whose `meta.supersedes`
names an older record is therefore not compared with that one, nor with what that one superseded; it is with all
others, so that copies of the new version are still dropped. Such a record is passed with `"updates": ID`.

Records without tokens are compared exactly only.

Memory: the index (`clet.dedup.index`) and the sketches of one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from clet.batch import Batch
from clet.dedup import exact, minhash, table
from clet.dedup.index import Decisions, Index
from clet.log import log
from clet.stage import Reject

REASONS = {table.EXACT: "exact", table.NEAR: "near"}


def drop_repeats(
    batches: Iterable[Batch], index: Index, *, threshold: float, reject: Reject, jobs: int = 1
) -> Iterator[Batch]:
    """Batches without exact and near repeats; `threshold` is the Jaccard similarity that makes a near one.

    What passes has `"dedup": {"seen": documents kept before it}`. Raises UsageError for tokens of a tokenizer that
    the index was not made with.
    """
    warned = False
    for batch in batches:
        if batch.tok is None and not warned:
            warned = True
            log.warn("records without tokens: exact repeats only are found; tokenise with clet ingest --tokenizer")
        first = len(index)
        decisions = _decide(batch, index, threshold, jobs)
        kept, notes = [], []
        for row, verdict in enumerate(decisions.verdict.tolist()):
            if verdict == table.KEPT:
                kept.append(row)
                notes.append({"seen": first + len(notes)} | _past(decisions, index, row))
            else:
                note = [_repeat(decisions, index, row)]
                reject(batch.take([row]).annotate("dedup", note), 0, REASONS[verdict])
        if kept:
            yield batch.take(kept).annotate("dedup", notes)


def _decide(batch: Batch, index: Index, threshold: float, jobs: int) -> Decisions:
    ids = exact.id_lanes([exact.id_of(batch, row) for row in range(len(batch))])
    old = [exact.superseded_id(batch, row) for row in range(len(batch))]
    tokens = sketches = None
    if batch.tok is not None:
        index.check_tokenizer(batch.fingerprint)
        tokens = exact.token_lanes(batch.tok, index.secret)
        sketches = minhash.sketch(batch.tok, index.secret, jobs)
    lanes = [None if ident is None else exact.id_lanes([ident])[0] for ident in old]
    return index.admit(ids, tokens, sketches, lanes, threshold)


def _repeat(decisions: Decisions, index: Index, row: int) -> dict[str, Any]:
    note: dict[str, Any] = {"of": exact.lanes_to_id(index.id_of(decisions.of[row]))}
    if decisions.verdict[row] == table.NEAR:
        note["jaccard"] = round(float(decisions.similarity[row]), 4)
    return note


def _past(decisions: Decisions, index: Index, row: int) -> dict[str, Any]:
    if decisions.of[row] < 0:
        return {}
    similarity = round(float(decisions.similarity[row]), 4)
    return {"updates": exact.lanes_to_id(index.id_of(decisions.of[row])), "jaccard": similarity}
