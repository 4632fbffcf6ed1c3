"""What a trip of the breaker finds out before anything is undone: how far to go back, whom to put in quarantine.

The lines of steps.jsonl since the good state name every window learned since; they are kept in RUN/undone/ when they
are cut off, so that a release made of them can still be traced (`history`). Of these releases only those are recalled
that may have the harm: one made before its onset is as good as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import xxhash

from clet.exits import CletError, WriteError
from clet.model.decoder import Decoder
from clet.model.lora import load_learned
from clet.release import read_release, release_numbers
from clet.state import write_atomically
from clet.train.breaker import Breaker
from clet.train.feed import Batch, Window
from clet.train.levels import Side
from clet.train.order import Unigram
from clet.train.rundir import ROOT_CHARS, UNDONE, RunDirectory, read_documents
from clet.train.savepoint import Savepoint
from clet.train.shelf import Shelf
from clet.train.suspects import not_finite, see, stand_out

QUIET = 3  # steps between a state and the onset of harm: what is seen in a loss may have been done a step or two before
KNOWN = 4  # windows learned before a segment that say whether the model knows still what it knew
REFERENCE = 256  # windows before the good state whose losses say what is usual; more would be of a weaker model
REFERENCE_BYTES = 1 << 18  # of steps.jsonl, in which they are looked for


@dataclass(frozen=True, slots=True)
class Cause:
    """Why the breaker trips. `onset` is the first step with harm, None where only a check or a person saw it.

    `batch` is the step that was not applied, with the losses of its windows; `side` where the loss went, if known.
    `may_be_new`: its data are of a kind so new that they stand out whatever they are.
    """

    step: int
    why: str
    onset: int | None = None
    side: Side | None = None
    batch: Batch | None = None
    losses: Sequence[float] = ()
    request: str | None = None
    by_hand: bool = False
    may_be_new: bool = False

    @property
    def harmed_from(self) -> int | None:
        """The first step whose weights may have the harm; None where that is not known."""
        return None if self.onset is None else self.onset + 1 - QUIET


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be undone: the step gone back to, the first step suspected, from which step on releases are recalled,
    and who is put in quarantine."""

    back_to: int
    onset: int
    recall_from: int
    windows: list[Window]
    documents: list[str] = field(default_factory=list)


def examine(
    cause: Cause,
    saved: Savepoint,
    run: RunDirectory,
    model: Decoder,
    shelf: Shelf,
    breaker: Breaker,
    *,
    autocast: bool,
) -> Finding:
    """Who is suspect since the good state `saved`; leaves that state's weights in the model."""
    back_to, start = saved.values["position"]["step"], saved.values["steps_bytes"]
    onset = max(back_to + 1, cause.onset or 0)
    roots = {root[:ROOT_CHARS]: root for root in run.known_roots}
    fresh: list[Window] = []
    replayed: list[Window] = []
    lines = _lines(run.steps_bytes(start, run.steps_length()))
    for line in lines:
        if line["step"] >= onset:
            for into, kind in ((fresh, "windows"), (replayed, "replay")):
                into += [(roots[root], index) for root, indices in line[kind] for index in indices]
    if cause.batch is not None:
        fresh += cause.batch.draw.fresh
        replayed += cause.batch.draw.replayed
    told_apart = not_finite(cause.batch.windows, cause.losses) if cause.batch and cause.losses else []
    load_learned(model, saved.tensors["weights"])
    if told_apart:
        windows = told_apart
    elif cause.by_hand or breaker.came_again(cause.step, back_to):
        windows = list(dict.fromkeys(fresh or replayed))
    elif cause.may_be_new:
        windows = []
    else:
        since = [*fresh, *replayed]
        windows = _suspects(saved, since, cause.side, run, model, shelf, breaker, autocast=autocast)
    return Finding(back_to, onset, _recall_from(cause, lines), windows, _documents(run.path, shelf, windows))


def _recall_from(cause: Cause, lines: Sequence[dict[str, Any]]) -> int:
    """The first step whose release may have the harm.

    Harm that begins with a segment is in its data, or in what a trainer that was started for it was told: what was
    released of the segments before has nothing of it.
    """
    if cause.harmed_from is None or cause.batch is None:
        return 0
    present = cause.batch.draw.after.segment
    segment = next((line["segment"] for line in lines if line["step"] == cause.onset), present)
    before = max((line["step"] for line in lines if line["segment"] < segment), default=0)
    return max(cause.harmed_from, before + 1)


def _suspects(
    saved: Savepoint,
    since: Sequence[Window],
    side: Side | None,
    run: RunDirectory,
    model: Decoder,
    shelf: Shelf,
    breaker: Breaker,
    *,
    autocast: bool,
) -> list[Window]:
    """The windows that stand out of those learned since, and of the rest of their shards."""
    start = saved.values["steps_bytes"]
    usual = _usual(run.steps_bytes(max(0, start - REFERENCE_BYTES), start))
    unigram = Unigram(model.config.vocab_size)
    unigram.counts = saved.tensors["breaker"]["unigram"].numpy()
    gain = saved.values["breaker"]["steps"]["order"]["level"]
    found = stand_out(see(model, shelf, since, unigram, autocast=autocast), usual, gain, side)
    suspected = {root for root, _ in found}
    learned = {name: bits.numpy() for name, bits in saved.tensors["learned"].items()}
    known = breaker.quarantine(len(run.segments)) | set(since)
    ahead = [
        (shard.root, index)
        for segment in run.segments
        for shard in segment.shards
        if shard.root in suspected
        for index in shard.indices
        if (shard.root, index) not in known
        and (f"windows/{shard.root}" not in learned or not learned[f"windows/{shard.root}"][index])
    ]
    return sorted({*found, *stand_out(see(model, shelf, ahead, unigram, autocast=autocast), usual, gain, side)})


def learned_before(
    segment: int, run: RunDirectory, model: Decoder, shelf: Shelf, breaker: Breaker, autocast: bool
) -> tuple[list[float], list[float]]:
    """Losses of the windows learned last before a segment: as they were then, and as the model has them now."""
    then = _learned_before(run, segment)
    seen = see(model, shelf, then, breaker.unigram, autocast=autocast)
    return [loss for window, loss in then.items() if window in seen], [each.loss for each in seen.values()]


def _learned_before(run: RunDirectory, segment: int) -> dict[Window, float]:
    """The last few windows learned before a segment, and the losses that they had then."""
    roots = {root[:ROOT_CHARS]: root for root in run.known_roots}
    found: dict[Window, float] = {}
    for line in run.lines_back():
        if line["segment"] < segment:
            names = [(roots[root], i) for kind in ("windows", "replay") for root, which in line[kind] for i in which]
            found |= zip(names, line["losses"], strict=False)  # a step that taught nothing has no losses
        if len(found) >= KNOWN:
            break
    return dict(list(found.items())[:KNOWN])


def _lines(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in body.splitlines()]


def _usual(body: bytes) -> list[float]:
    """Losses of the last windows in whole lines of a part of steps.jsonl."""
    lines = body.splitlines()
    whole = lines if len(body) < REFERENCE_BYTES else lines[1:]
    return [loss for line in whole for loss in orjson.loads(line)["losses"] if loss is not None][-REFERENCE:]


def _documents(run: Path, shelf: Shelf, windows: Sequence[Window]) -> list[str]:
    """Ids of the documents in windows; of a shard that cannot be read any more none."""
    by_root: dict[str, list[int]] = {}
    for root, index in windows:
        by_root.setdefault(root, []).append(index)
    found: set[str] = set()
    for root, indices in by_root.items():
        if (got := shelf.read(root, indices, True)) is None:
            continue
        table = read_documents(run, root)
        found.update(table[row]["id"] for rows in got[3] for row in rows.tolist())
    return sorted(found)


def keep_undone(run: RunDirectory, number: int, saved: Savepoint) -> str:
    """Keep the lines of steps that trip `number`, 1 the first, will cut off; their xxh3. Raises WriteError."""
    body = run.steps_bytes(saved.values["steps_bytes"], run.steps_length())
    folder = run.path / UNDONE
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: {error.strerror}") from None
    write_atomically(folder / f"{number}.jsonl", body)
    return xxhash.xxh3_64_hexdigest(body)


def releases_after(run: Path, step: int, undone: Collection[int]) -> dict[int, int]:
    """{number: step} of the releases of later steps whose steps were not undone before."""
    found = {}
    for number in release_numbers(run):
        if number not in undone:
            try:
                made = read_release(run, number).count("step")
            except CletError:  # damaged: whoever wants it will be told
                continue
            if made > step:
                found[number] = made
    return found
