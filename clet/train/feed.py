"""Which windows each step learns from: a pure function of the run's segments, the seed and a position of two numbers.

A *segment* is the set of shards that were new at one look. Its windows are handed out exactly once per epoch, in an
order computed from (sizes, seed, segment number, epoch); then comes the next segment. Some windows of a batch may be
replayed from earlier segments (see `replay`). No batch mixes fresh windows of two segments: the last of a segment may
be short. Windows in quarantine are stepped over without moving any other window; those that are freed from it become a
segment of their own, so nothing that is handed out before it moves either.

Nothing is stored but the position after each step, so a run that was killed goes on where its saved state ends, with
the very windows that it would have had. Memory: the order of one epoch, 16 bytes a window.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clet.shards.order import shuffled
from clet.train import replay


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the run knows it: identified by its `root`, found at `path` when it was last seen.

    Where several trainers divide it (see `share`) this one's windows are every `parts`-th, from `first` on; in a
    segment of windows freed from quarantine `only` some of these.
    """

    path: str
    name: str
    root: str
    lane: str
    windows: int
    tokens: int
    documents: int
    newest: str | None
    first: int = 0
    parts: int = 1
    only: tuple[int, ...] | None = None

    @property
    def indices(self) -> Sequence[int]:
        """Which of its windows are this trainer's, in this segment."""
        return range(self.first, self.windows, self.parts) if self.only is None else self.only

    @property
    def own(self) -> int:
        """How many these are."""
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class Segment:
    """The shards that were new at one look, and how many times their windows are handed out."""

    number: int
    shards: tuple[Shard, ...]
    epochs: int = 1

    @property
    def num_windows(self) -> int:
        """Windows of one epoch."""
        return sum(shard.own for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run came: windows of `segment` passed (all epochs counted through), and the steps made."""

    segment: int = 0
    offset: int = 0
    step: int = 0


Window = tuple[str, int]  # (root of its shard, index)
Skip = Callable[[int], Collection[Window]]  # the windows that are in quarantine as far as this segment is concerned


def nothing(_segment: int) -> Collection[Window]:
    """No window is in quarantine."""
    return ()


@dataclass(frozen=True, slots=True)
class Draw:
    """The windows of one step, and the position after it (whose `step` is this step's number)."""

    fresh: tuple[Window, ...]
    replayed: tuple[Window, ...]
    after: Position


def draws(
    segments: Sequence[Segment],
    start: Position,
    *,
    batch: int,
    share: float,
    seed: int,
    skip: Skip = nothing,
    gone: Collection[str] = frozenset(),
    worth: Callable[[str, int], float] = lambda _root, _window: 1.0,
) -> Iterator[Draw]:
    """Every draw from `start` to the end of the segments: `batch` windows each, `share` of them replayed.

    `skip(segment)` are the windows in quarantine; `gone` are roots of earlier shards that cannot be read any more;
    `worth(root, window)` says in proportion to what windows are replayed.
    """
    at = start
    while at.segment < len(segments):
        segment = segments[at.segment]
        length = segment.num_windows * segment.epochs
        earlier = whole_shards(segments[: at.segment], gone)
        passed, not_replayed = skip(at.segment), skip(at.segment - 1)  # what is freed here was not learned before
        while at.offset < length:
            step = at.step + 1
            wanted = replay.count(step, batch, share) if earlier else 0
            replayed = replayed_windows(earlier, wanted, seed, f"replay/{step}", not_replayed, worth)
            fresh, offset = _fresh(segment, at.offset, batch - len(replayed), seed, passed)
            if not fresh and offset >= length:
                break  # all that was left is in quarantine
            at = Position(at.segment, offset, step)
            yield Draw(fresh, replayed, at)
        at = Position(at.segment + 1, 0, at.step)


def at_end(segments: Sequence[Segment], position: Position) -> bool:
    """Whether every window of every segment has been handed out (or would be passed over)."""
    rest = segments[position.segment :]
    done = position.offset
    for segment in rest:
        if done < segment.num_windows * segment.epochs:
            return False
        done = 0
    return True


def whole_shards(segments: Sequence[Segment], gone: Collection[str]) -> list[Shard]:
    """The shards of segments that can be read, each once: windows that were freed are of a shard that is there."""
    return [shard for segment in segments for shard in segment.shards if shard.only is None and shard.root not in gone]


def replayed_windows(
    earlier: Sequence[Shard],
    wanted: int,
    seed: int,
    stream: str,
    skip: Collection[Window],
    worth: Callable[[str, int], float],
) -> tuple[Window, ...]:
    """`wanted` windows of earlier shards, drawn in proportion to their worth by the random stream named."""

    def of(shard: int, window: int) -> float:
        key = (earlier[shard].root, earlier[shard].indices[window])
        return 0.0 if key in skip else worth(*key)

    chosen = replay.pick([shard.own for shard in earlier], wanted, seed, stream, of)
    return tuple((earlier[shard].root, earlier[shard].indices[window]) for shard, window in chosen)


def _fresh(
    segment: Segment, offset: int, wanted: int, seed: int, skip: Collection[Window]
) -> tuple[tuple[Window, ...], int]:
    """Up to `wanted` windows from `offset` on, and the offset behind the last one (or behind those passed over)."""
    size = segment.num_windows
    taken: list[Window] = []
    while offset < size * segment.epochs:
        epoch = offset // size
        order = _order(segment, seed, epoch)
        for shard, window in order[offset - epoch * size :]:
            key = (segment.shards[shard].root, segment.shards[shard].indices[int(window)])
            if key not in skip:
                if len(taken) == wanted:
                    return tuple(taken), offset
                taken.append(key)
            offset += 1  # past what is in quarantine too, so that the end is seen where nothing else follows
    return tuple(taken), offset


@lru_cache(maxsize=2)
def _order(segment: Segment, seed: int, epoch: int) -> np.ndarray:
    return shuffled([shard.own for shard in segment.shards], seed, f"feed/{segment.number}/{epoch}")


# ---- from windows to arrays


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from. Arrays are `[B, L]`, fresh windows first, each group in the order of the draw.

    `rows[i]` are the rows of the document table of window i's shard. `counted` is how many predictions enter the loss,
    `tokens` how many positions hold a token.
    """

    draw: Draw
    windows: tuple[Window, ...]
    ids: np.ndarray  # int64
    loss_mask: np.ndarray  # bool
    segments: np.ndarray  # int32, -1 on padding
    rows: tuple[np.ndarray, ...]
    tokens: int
    counted: int

    def pairs(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The ids that are predicted and count, each behind the one before it: (before, predicted), flat.

        `rows`: of these windows only, `[B]` bool.
        """
        which = counts_of(self.loss_mask, self.segments)
        if rows is not None:
            which &= rows[:, None]
        return self.ids[:, :-1][which], self.ids[:, 1:][which]

    def mean_piece(self) -> float:
        """Tokens of a piece of a document in its windows, on average."""
        starts = np.diff(self.segments, axis=1, prepend=-1) != 0
        return self.tokens / max(1, int((starts & (self.segments >= 0)).sum()))


def counts_of(loss_mask: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Which predictions of windows `[B, L]` enter the loss, `[B, L - 1]`: masked tokens and other documents do not."""
    return loss_mask[:, 1:] & (segments[:, 1:] == segments[:, :-1])


# (root, window indices) -> (ids, loss_mask, segments, rows), or None where a replayed window cannot be read
Read = Callable[[str, list[int], bool], tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]] | None]


def load(draw: Draw, read: Read) -> Batch:
    """The arrays of a draw: `read(root, indices, replayed)` gives windows of one shard.

    Replayed windows that cannot be read are left out of the batch.
    """
    parts, order = [], []
    for windows, replayed in ((draw.fresh, False), (draw.replayed, True)):
        by_root: dict[str, list[int]] = {}
        for root, index in windows:
            by_root.setdefault(root, []).append(index)
        for root, indices in by_root.items():
            if (got := read(root, indices, replayed)) is not None:
                parts.append(got)
                order += [(root, index) for index in indices]
    if not parts:  # a step of replay alone, and none of it can be read
        parts.append((np.zeros((0, 1)), np.zeros((0, 1), bool), np.zeros((0, 1), np.int32), []))
    place = {window: at for at, window in enumerate(order)}
    kept = tuple(window for window in (*draw.fresh, *draw.replayed) if window in place)
    take = np.asarray([place[window] for window in kept], np.int64)
    ids, loss_mask, segments = (np.concatenate([part[i] for part in parts])[take] for i in range(3))
    rows = [row for part in parts for row in part[3]]
    counts = counts_of(loss_mask, segments)
    if len(kept) < len(draw.fresh) + len(draw.replayed):
        draw = Draw(draw.fresh, tuple(w for w in draw.replayed if w in place), draw.after)
    return Batch(
        draw,
        kept,
        ids.astype(np.int64),
        loss_mask,
        segments,
        tuple(rows[at] for at in take),
        int((segments >= 0).sum()),
        int(counts.sum()),
    )
