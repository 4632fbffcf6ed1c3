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
from typing import Protocol

import numpy as np

from clet.batch import Batch, Ragged
from clet.dedup import exact, minhash, notes, spans, table, words
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
FIELDS = ("id", "origin", "fetched", "meta", notes.NAME)  # of heads, that matter here


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
        heads = Heads.of(batch.head, FIELDS)
        rows = self._rows(batch, heads)
        supersedes = self._superseded(heads, len(batch))
        decisions = index.admit(rows, supersedes, plan.threshold, plan.jobs)
        is_kept = decisions.verdict == table.KEPT
        seen = first + np.cumsum(is_kept) - is_kept
        more = self._notes(decisions)
        if self._clusters:
            for row, note in enumerate(self._clusters.notes(decisions, rows, first)):
                more[row] = more.get(row, {}) | note
        passed = np.arange(len(batch))
        if not plan.mark and not is_kept.all():
            dropped, passed = np.flatnonzero(~is_kept), np.flatnonzero(is_kept)
            unseen = np.full(len(batch), notes.UNSEEN)
            why = [REASONS[verdict] for verdict in decisions.verdict[dropped].tolist()]
            reject(notes.annotated(batch, heads, dropped, unseen, more), why)
        for row, earlier in _earlier_notes(heads, passed).items():
            more[row] = more.get(row, {}) | {name: earlier[name] for name in ("spans", "cut") if name in earlier}
        if plan.span and len(passed):
            free = (supersedes == 0) & is_kept
            return self._without_spans(batch, heads, passed, seen, more, free, reject)
        return notes.annotated(batch, heads, passed, seen, more)

    # ---- the parts

    def _column(self, batch: Batch) -> tuple[Ragged, words.WordTable]:
        """What words are read from."""
        if self._of_ids is not None and batch.tok is not None:
            return batch.tok, self._of_ids
        if not self._warned and not batch.has_text.all():
            self._warned = True
            log.warn("records without text: exact repeats only are found; give --tokenizer to read their tokens")
        return batch.text, self._of_bytes

    def _rows(self, batch: Batch, heads: Heads) -> table.Rows:
        secret = self._index.secret
        lanes = exact.id_lanes(heads.ids)
        tokens = np.zeros(len(batch), np.uint64)
        if batch.tok is not None:
            tokens = exact.token_keys(batch.tok, secret, batch.fingerprint)
        sketches = minhash.sketch(*self._column(batch), secret, self._plan.jobs, self._index.shape)
        keys = exact.id_keys(lanes, secret), tokens, exact.origin_keys(heads, secret)
        return table.Rows(lanes, *keys, heads.times("fetched"), *sketches)

    def _superseded(self, heads: Heads, size: int) -> np.ndarray:
        """Keys `[n]` of the ids of older versions that records say they replace (`meta.supersedes`), or 0."""
        out = np.zeros(size, np.uint64)
        inside = heads.inside("meta", ("supersedes",))
        for row in np.flatnonzero(inside.has("supersedes")).tolist():
            value = inside.value(row, "supersedes")
            if exact.is_id(value):
                out[row] = exact.id_key(value, self._index.secret)
        return out

    def _notes(self, decisions: table.Decisions) -> dict[int, notes.Note]:
        """What to say of records that repeat or supersede another, by row; nothing of one that filters knew."""
        verdicts, of = decisions.verdict, decisions.of
        out: dict[int, notes.Note] = {row: {} for row in np.flatnonzero(verdicts != table.KEPT).tolist()}
        related = np.flatnonzero(of >= 0)
        idents = self._index.ids_of(of[related]) if len(related) else []
        for row, ident in zip(related.tolist(), idents, strict=True):
            verdict = int(verdicts[row])
            note: notes.Note = {"updates" if verdict == table.KEPT else "of": ident}
            if self._plan.mark and verdict != table.KEPT:
                note["repeat"] = REASONS[verdict]
            if decisions.similarity[row] >= 0:
                note["jaccard"] = round(float(decisions.similarity[row]), 4)
            out[row] = note
        return out

    def _decontaminate(self, batch: Batch, reject: Reject) -> Batch:
        evaluations = self._plan.against
        files, runs = evaluations.find(*self._column(batch))
        rows = np.flatnonzero(files >= 0)
        if not len(rows):
            return batch
        names = [file_label(name) for name in evaluations.names]
        more = {row: {"against": names[files[row]], "runs": int(runs[row])} for row in rows.tolist()}
        heads = Heads.of(batch.head, (notes.NAME,))
        dropped = notes.annotated(batch, heads, rows, np.full(len(batch), notes.UNSEEN), more)
        reject(dropped, [CONTAMINATED] * len(rows))
        return batch.take(files < 0)

    def _without_spans(
        self,
        batch: Batch,
        heads: Heads,
        passed: np.ndarray,
        seen: np.ndarray,
        more: dict[int, notes.Note],
        free: np.ndarray,
        reject: Reject,
    ) -> Batch:
        """The records `passed` with repeated spans masked or cut, but for those of which too little is left.

        Spans of records that are not `free` (new versions, marked repeats) are remembered and left alone.
        """
        plan, index = self._plan, self._index
        self._check_span_tokenizer(batch.fingerprint)
        key = exact.stream_key(index.secret, batch.fingerprint)
        tok, free = batch.take(passed).tok, free[passed]
        # What may be repeated in a record that stays.
        most = np.where(free, np.maximum(tok.lengths - plan.span, 0), tok.lengths)
        hashes, starts, offsets = spans.sampled_windows(tok, plan.span, key)
        known = index.find_spans(hashes)
        repeated, counts = spans.find_repeated(hashes, starts, offsets, plan.span, known, index.new_spans, most)
        ends = np.cumsum(counts)
        remove = np.zeros(len(batch.tok.values), np.bool_)
        keep = np.ones(len(passed), np.bool_)
        for place in np.flatnonzero((counts > 0) & free).tolist():
            row = int(passed[place])
            mine = repeated[ends[place] - counts[place] : ends[place]].tolist()
            covered = sum(end - start for start, end in mine)
            self._found.repeated_tokens += covered
            note = more.setdefault(row, {})
            cut = plan.cut and "cut" not in note  # cut once more, positions would no longer be told apart
            if cut:
                note["cut"] = mine
            else:
                note["spans"] = _joined(note.get("spans", []), mine)
            if covered > most[place]:
                keep[place] = False
            elif cut:
                begin, end = batch.tok.offsets[row : row + 2].tolist()
                for start, stop in mine:
                    remove[begin + start : begin + stop] = True
                if "spans" in note:
                    note["spans"] = _moved(note["spans"], np.concatenate(([0], np.cumsum(~remove[begin:end]))))
        if not keep.all():
            dropped = notes.annotated(batch, heads, passed[~keep], seen, more)
            reject(dropped, [REPEATED] * len(dropped))
        if remove.any():
            batch = self._cut(batch, remove)
        return notes.annotated(batch, heads, passed[keep], seen, more)

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


def _earlier_notes(heads: Heads, rows: np.ndarray) -> dict[int, notes.Note]:
    """What an earlier deduplication said of records, by row: masks are not forgotten."""
    found = {row: heads.value(row, notes.NAME) for row in rows[heads.has(notes.NAME)[rows]].tolist()}
    return {row: {name: value for name, value in note.items() if _is_spans(value)}
            for row, note in found.items() if isinstance(note, dict)}  # fmt: skip


def _is_spans(value: object) -> bool:
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
