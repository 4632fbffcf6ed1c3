"""Streams to learn from in several orders, and the text that says what was learned: real records, or the newsroom.

From files, each run takes a random sample of the documents, whole ones until it has the tokens asked for, and lets them
arrive in the order of `fetched`, those of one moment in an order that the seed decides; what is held out is given and
never in the stream. From the simulated newsroom, each run has a world of its own, spam in it, and what is held out is
one publisher. Runs differ in their stream and in their model, so that an interval over them covers both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clet import seeds
from clet.batch import Batch
from clet.bench.attacks import Stream
from clet.exits import InputError
from clet.heads import NO_TIME, Heads
from clet.model.vocabulary import train_vocabulary
from clet.streams import read_batches
from clet.tokens import Tokenizer

HELD_OUT = "evening-post"
MAX_DAYS = 40
VOCABULARY_DOCUMENTS = 2000


@dataclass(frozen=True)
class Lesson:
    """A stream in the order of its arrival, and what its learners are measured by; both have tokens."""

    stream: Batch
    held_out: Batch


class RealStream:
    """Samples of the records in files. Raises InputError where they are too few for the tokens asked for."""

    def __init__(self, learn: Sequence[str], held_out: Sequence[str], vocab: int, work: Path):
        self._pool, kept = _whole(learn), _whole(held_out)
        ids, others = _ids(self._pool), _ids(kept)
        self._pool = self._pool.take(~np.isin(ids, others))
        self.tokenizer = _vocabulary(self._pool, vocab, work)
        self._pool, self._held_out = _tokenised(self._pool, self.tokenizer), _tokenised(kept, self.tokenizer)

    def lesson(self, tokens: int, seed: int) -> Lesson:
        """The stream of one run."""
        pool = self._pool
        if pool.num_tokens < tokens:
            raise InputError(f"{pool.num_tokens:,} tokens to learn from, where a stream of {tokens:,} is asked for")
        order = seeds.numpy_generator(seed, "learning/sample").permutation(len(pool))
        chosen = order[: int(np.searchsorted(np.cumsum(pool.tok.lengths[order]), tokens)) + 1]
        fetched = Heads.of(pool.head, ("fetched",)).seconds("fetched")[chosen]
        arrival = np.argsort(np.where(fetched == NO_TIME, 0, fetched), kind="stable")
        return Lesson(pool.take(chosen[arrival]), self._held_out)


class NewsroomStream:
    """A simulated world for each run."""

    def __init__(self, vocab: int, work: Path, seed: int):
        first = [r for day in Stream(seed, 2) for r in day if r["origin"] != HELD_OUT]
        self.tokenizer = _vocabulary(Batch.from_records(first), vocab, work)

    def lesson(self, tokens: int, seed: int) -> Lesson:
        """The stream of one run."""
        learned: list[Batch] = []
        held_out: list[Batch] = []
        for day in Stream(seed, MAX_DAYS):
            batch = _tokenised(Batch.from_records(day), self.tokenizer)
            ours = np.array([record["origin"] == HELD_OUT for record in day])
            learned.append(batch.take(~ours))
            held_out.append(batch.take(ours))
            if sum(part.num_tokens for part in learned) >= tokens:
                break
        return Lesson(Batch.concat(learned), Batch.concat(held_out))


def _whole(files: Sequence[str]) -> Batch:
    batches = [batch.take(batch.has_text.astype(bool)) for batch in read_batches(files)]
    if not sum(map(len, batches)):
        raise InputError(f"no records with text in {', '.join(files)}")
    # Tokens that records carry are of another vocabulary.
    return Batch.concat([Batch(batch.head, batch.text, batch.has_text, None, None) for batch in batches])


def _ids(batch: Batch) -> np.ndarray:
    return Heads.of(batch.head, ("id",)).ids.view("V16")[:, 0]


def _vocabulary(batch: Batch, size: int, work: Path) -> Tokenizer:
    step = max(1, len(batch) // VOCABULARY_DOCUMENTS)
    texts = (batch.text_at(row) or "" for row in range(0, len(batch), step))
    (work / "tokenizer.json").write_text(train_vocabulary(texts, size))
    return Tokenizer.load(work)


def _tokenised(batch: Batch, tokenizer: Tokenizer) -> Batch:
    texts = [batch.text_at(row) or "" for row in range(len(batch))]
    return batch.with_tokens(tokenizer.encode(texts), tokenizer.fingerprint)
