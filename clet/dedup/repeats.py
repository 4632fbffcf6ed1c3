"""The stream of a deduplication: records in, records that repeat nothing earlier out, in order, the first one wins.

A record is decided about before it leaves, against everything that left before it: is it a repeat by its id or its
tokens (`exact`), does it hold text of an evaluation set (`contaminated`, see `clet.dedup.decontaminate`), is it nearly
the same as an earlier one (`near`, see `clet.dedup.minhash`), and what runs of its tokens stood elsewhere before
(`clet.dedup.spans`). A repeat goes to the rejects with `"dedup": {"of": ID, "jaccard": J}`: the id it repeats and, for
near repeats, how similar it is. With `mark` it is passed on instead, with the cluster that it belongs to.

A new version of a story usually differs in a sentence, and the sentence is the news. A record whose `meta.supersedes`
names an older record is therefore not compared with that one, nor with what that one superseded; it is with all
others, so that copies of the new version are still dropped. Such a record is passed with `"updates": ID`. Its repeated
spans are not cut.

Words come from token ids where the tokenizer is given, else from the text: they are the same. A record with neither
is compared exactly only.

Memory: the index, and the sketches of one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from clet.batch import Batch, Ragged
from clet.dedup import exact, minhash, spans, table, words
from clet.dedup.bloom import BloomIndex
from clet.dedup.clusters import Clusters
from clet.dedup.decontaminate import Evaluations, file_label
from clet.dedup.index import Index
from clet.exits import UsageError
from clet.heads import Heads
from clet.log import log
from clet.stage import Reject

REASONS = {table.EXACT: "exact", table.NEAR: "near"}
CONTAMINATED, REPEATED = "contaminated", "spans"


class TokenBytes(Protocol):
    """What is needed of a tokenizer."""

    fingerprint: str

    def token_bytes(self) -> Ragged:
        """The bytes of each id."""


@dataclass(frozen=True)
class Plan:
    """How to deduplicate."""

    threshold: float = 0.8
    span: int = 0  # tokens of a repeated span, at least; 0 leaves spans alone
    cut: bool = False  # repeated spans are cut out, not masked
    mark: bool = False
    jobs: int = 1
    tokenizer: TokenBytes | None = None
    against: Evaluations | None = None


@dataclass
class Found:
    """What was found so far, for the summary."""

    repeated_tokens: int = 0


def drop_repeats(
    batches: Iterable[Batch], index: Index | BloomIndex, plan: Plan, reject: Reject, found: Found | None = None
) -> Iterator[Batch]:
    """Batches without what repeats; what passes has `"dedup": {"seen": documents kept before it, ...}`.

    Raises UsageError for tokens of another tokenizer than the plan's, or for spans of records without tokens.
    """
    worker = _Worker(index, plan, found or Found())
    for batch in batches:
        if len(kept := worker.work(batch, reject)):
            yield kept


class _Worker:
    """One run over batches."""

    def __init__(self, index: Index | BloomIndex, plan: Plan, found: Found):
        self._index, self._plan, self._found = index, plan, found
        key = index.secret
        self._of_bytes = words.byte_table(key)
        self._of_ids = words.word_table(plan.tokenizer.token_bytes(), key) if plan.tokenizer else None
        self._clusters = Clusters(index) if plan.mark else None
        self._warned = self._warned_of_spans = False

    def work(self, batch: Batch, reject: Reject) -> Batch:
        """The records of a batch that pass, annotated."""
        plan, index = self._plan, self._index
        if plan.tokenizer and batch.tok is not None and batch.fingerprint != plan.tokenizer.fingerprint:
            raise UsageError(
                f"records carry tokens of tokenizer {batch.fingerprint[:12]}, --tokenizer is "
                f"{plan.tokenizer.fingerprint[:12]}; give the one they were made with"
            )
        if plan.span and batch.tok is None:
            raise UsageError("--spans needs tokens; tokenise with clet ingest --tokenizer")
        if plan.against:
            batch = self._decontaminate(batch, reject)
            if not len(batch):
                return batch
        first = len(index)
        rows, supersedes = self._rows(batch)
        decisions = index.admit(rows, supersedes, plan.threshold, plan.jobs)
        clusters = self._clusters.notes(decisions, rows, first) if self._clusters else None
        notes: list[dict[str, Any]] = []
        kept: list[int] = []
        seen = first
        for row, verdict in enumerate(decisions.verdict.tolist()):
            note = {"seen": seen} if verdict == table.KEPT or plan.mark else {}
            note |= self._note(decisions, row)
            if clusters:
                note |= clusters[row]
            if verdict == table.KEPT:
                seen += 1
            elif not plan.mark:
                reject(batch.take([row]).annotate("dedup", [note]), 0, REASONS[verdict])
                continue
            kept.append(row)
            notes.append(note)
        passed = batch.take(kept)
        before = _earlier_notes(passed)
        for place, earlier in before.items():
            notes[place] |= {name: earlier[name] for name in ("spans", "cut") if name in earlier}
        if plan.span and kept:
            free = np.array([not supersedes[row] and decisions.verdict[row] == table.KEPT for row in kept])
            passed, notes = self._without_spans(passed, notes, free, reject)
        return passed.annotate("dedup", notes) if len(passed) else passed

    # ---- the parts

    def _column(self, batch: Batch) -> tuple[Ragged, words.WordTable]:
        """What words are read from."""
        if self._of_ids is not None and batch.tok is not None:
            return batch.tok, self._of_ids
        if not self._warned and not batch.has_text.all():
            self._warned = True
            log.warn("records without text: exact repeats only are found; give --tokenizer to read their tokens")
        return batch.text, self._of_bytes

    def _rows(self, batch: Batch) -> tuple[table.Rows, list[int]]:
        secret = self._index.secret
        heads = Heads.of(batch.head, ("id", "origin", "fetched", "meta"))
        lanes = exact.id_lanes(heads.ids)
        tokens = np.zeros(len(batch), np.uint64)
        if batch.tok is not None:
            tokens = exact.token_keys(batch.tok, secret, batch.fingerprint)
        sketches = minhash.sketch(*self._column(batch), secret, self._plan.jobs, self._index.shape)
        rows = table.Rows(
            lanes,
            exact.id_keys(lanes, secret),
            tokens,
            exact.origin_keys(heads.raw("origin"), secret),
            heads.times("fetched"),
            *sketches,
        )
        return rows, self._superseded(heads, len(batch))

    def _superseded(self, heads: Heads, size: int) -> list[int]:
        """The key of the id of the older version that each record says it replaces (`meta.supersedes`), or 0."""
        out = [0] * size
        inside = heads.inside("meta", ("supersedes",))
        for row in np.flatnonzero(inside.has("supersedes")).tolist():
            value = inside.value(row, "supersedes")
            if exact.is_id(value):
                out[row] = exact.id_key(value, self._index.secret)
        return out

    def _note(self, decisions: table.Decisions, row: int) -> dict[str, Any]:
        of = int(decisions.of[row])
        if of < 0:
            return {}
        verdict = decisions.verdict[row]
        note: dict[str, Any] = {"updates" if verdict == table.KEPT else "of": self._index.id_of(of)}
        if self._plan.mark and verdict != table.KEPT:
            note["repeat"] = REASONS[verdict]
        if decisions.similarity[row] >= 0:
            note["jaccard"] = round(float(decisions.similarity[row]), 4)
        return note

    def _decontaminate(self, batch: Batch, reject: Reject) -> Batch:
        evaluations = self._plan.against
        files, runs = evaluations.find(*self._column(batch))
        for row in np.flatnonzero(files >= 0).tolist():
            note = {"against": file_label(evaluations.names[files[row]]), "runs": int(runs[row])}
            reject(batch.take([row]).annotate("dedup", [note]), 0, CONTAMINATED)
        return batch.take(files < 0)

    def _without_spans(
        self, batch: Batch, notes: list[dict[str, Any]], free: np.ndarray, reject: Reject
    ) -> tuple[Batch, list[dict[str, Any]]]:
        """The batch with repeated spans masked or cut; records of which too little is left are dropped.

        Spans of records that are not `free` (new versions, marked repeats) are remembered and left alone.
        """
        plan, index = self._plan, self._index
        self._check_span_tokenizer(batch.fingerprint)
        key = exact.stream_key(index.secret, batch.fingerprint)
        lengths = batch.tok.lengths
        most = np.where(
            free, np.maximum(lengths - plan.span, 0), lengths
        )  # that may be repeated in a record that stays
        hashes, starts, offsets = spans.sampled_windows(batch.tok, plan.span, key)
        known = index.find_spans(hashes)
        repeated, counts = spans.find_repeated(hashes, starts, offsets, plan.span, known, index.new_spans, most)
        if not len(repeated):
            return batch, notes
        ends = np.cumsum(counts)
        remove = np.zeros(len(batch.tok.values), np.bool_)
        keep = np.ones(len(batch), np.bool_)
        for row in np.flatnonzero((counts > 0) & free).tolist():
            mine = repeated[ends[row] - counts[row] : ends[row]].tolist()
            covered = sum(end - start for start, end in mine)
            self._found.repeated_tokens += covered
            cut = (
                plan.cut and "cut" not in notes[row]
            )  # where it was cut before, positions would no longer be told apart
            if cut:
                notes[row] = notes[row] | {"cut": mine}
            else:
                notes[row] = notes[row] | {"spans": _joined(notes[row].get("spans", []), mine)}
            if covered > most[row]:
                keep[row] = False
                reject(batch.take([row]).annotate("dedup", [notes[row]]), 0, REPEATED)
            elif cut:
                begin = int(batch.tok.offsets[row])
                for start, end in mine:
                    remove[begin + start : begin + end] = True
                if "spans" in notes[row]:
                    left = np.concatenate(([0], np.cumsum(~remove[begin : begin + int(lengths[row])])))
                    notes[row]["spans"] = _moved(notes[row]["spans"], left)
        if remove.any():
            batch = self._cut(batch, remove)
        return batch.take(keep), [note for row, note in enumerate(notes) if keep[row]]

    def _check_span_tokenizer(self, fingerprint: str) -> None:
        """Say once that spans of another tokenizer will not be found: they are known by their ids."""
        known = self._index.span_tokenizer
        if known is not None and known != fingerprint and not self._warned_of_spans:
            self._warned_of_spans = True
            log.warn(
                f"spans seen before are of tokenizer {known[:12]}, these records of {fingerprint[:12]}: "
                "repeats are found from here on only"
            )
        self._index.span_tokenizer = fingerprint

    def _cut(self, batch: Batch, remove: np.ndarray) -> Batch:
        """The batch without some of its tokens, and without the bytes that they stand for.

        Where the text is not, byte for byte, what the ids spell, it is left out: ids decode back.
        """
        tok, texts = batch.tok, batch.text
        before = np.concatenate(([0], np.cumsum(remove)))
        gone = before[tok.offsets[1:]] - before[tok.offsets[:-1]]
        has_text = batch.has_text.copy()
        if self._of_ids is None:
            has_text[gone > 0] = 0
        values, lengths = spans.cut_text(tok, remove, texts, self._of_ids or words.NO_TABLE, has_text)
        cut = Ragged(values, np.concatenate(([0], np.cumsum(lengths))))
        for row in np.flatnonzero((gone > 0) & (has_text > 0)).tolist():
            has_text[row] = _is_utf8(cut.bytes_at(row))
        if not has_text.all():
            cut = Ragged.from_bytes([cut.bytes_at(row) if has_text[row] else b"" for row in range(len(batch))])
        offsets = np.concatenate(([0], np.cumsum(tok.lengths - gone)))
        return replace(batch, text=cut, has_text=has_text, tok=Ragged(tok.values[~remove], offsets))


def _earlier_notes(batch: Batch) -> dict[int, dict[str, Any]]:
    """What an earlier deduplication said of records, by row: masks are not forgotten."""
    heads = Heads.of(batch.head, ("dedup",))
    found = {row: heads.value(row, "dedup") for row in np.flatnonzero(heads.has("dedup")).tolist()}
    return {row: {name: value for name, value in note.items() if _is_spans(value)}
            for row, note in found.items() if isinstance(note, dict)}  # fmt: skip


def _is_spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, list) and len(each) == 2 and all(type(n) is int and n >= 0 for n in each) for each in value
    )


def _joined(one: list[list[int]], other: list[list[int]]) -> list[list[int]]:
    """The union of two lists of [start, end)."""
    out: list[list[int]] = []
    for start, end in sorted(one + other):
        if out and start <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([start, end])
    return out


def _moved(found: list[list[int]], left: np.ndarray) -> list[list[int]]:
    """Spans after a cut, where `left[i]` of the first i tokens are left."""
    size = len(left) - 1
    moved = [[int(left[min(start, size)]), int(left[min(end, size)])] for start, end in found]
    return [span for span in moved if span[0] < span[1]]


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
