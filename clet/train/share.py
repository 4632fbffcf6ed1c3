"""Which windows are this trainer's: lanes it learns, and its share where several trainers divide the same shards.

Trainers that synchronise by a server read the same folders and must not learn the same window twice. Nobody hands
windows out; each works out its own. Of a shard divided by N trainer I has every N-th window, counted from a place that
the shard's root gives: interleaved, so that all see the same mixture, and so that no trainer has the first window of
every shard. How a shard was divided is written beside it in segments.jsonl, and holds for ever.

The number of trainers changes at a shard, the same for all: `1/2,1/3@NAME` is the first of two up to the shard NAME in
the manifest, and the first of three behind it; `3/3@NAME` joins behind it, `2/2,0/1@NAME` leaves. A manifest only
grows, so all trainers agree which shards those are, whenever they look. A trainer that has begun a shard under another
division is refused: it came too late for this one, and a later NAME must be found.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from clet.exits import UsageError
from clet.shards.format import LANE
from clet.shards.manifest import ShardEntry

MAX_PARTS = 4096
WHOLE = "1/1"
EVERY_LANE = "*"
_ITEM = re.compile(r"([0-9]{1,4})/([0-9]{1,4})(?:@([0-9a-f]{6,32}))?\Z")


@dataclass(frozen=True, slots=True)
class Share:
    """Part `part` of `parts` (1 is the first, 0 none) of the shards behind the one whose name begins with `behind`."""

    part: int
    parts: int
    behind: str | None


def parse_share(text: str) -> list[Share]:
    """The shares of `--share`. Raises UsageError."""
    found = []
    for at, item in enumerate(text.split(",")):
        match = _ITEM.match(item.strip())
        if match is None:
            raise UsageError(f"--share {item}: want I/N, or I/N@NAME for the shards behind NAME in the manifest")
        part, parts, behind = int(match[1]), int(match[2]), match[3]
        if not 1 <= parts <= MAX_PARTS or part > parts:
            raise UsageError(
                f"--share {item}: part {part} of {parts}; N is 1 to {MAX_PARTS}, I is 1 to N, or 0 for none"
            )
        if at and behind is None:
            raise UsageError(f"--share {text}: after the first share each needs @NAME, the last shard before it")
        found.append(Share(part, parts, behind))
    return found


def check_lanes(text: str) -> None:
    """Raise UsageError unless `text` names lanes, divided by commas, or is `*` for all."""
    if text != EVERY_LANE and not all(LANE.match(lane) for lane in text.split(",")):
        raise UsageError(f"--lane {text}: no name of a lane; clet shard makes them, * is all of them")


def check_present(entries: Sequence[ShardEntry], lanes: str) -> None:
    """Raise UsageError where shards are there and one of the lanes named has none of them."""
    present = {entry.lane for entry in entries}
    if lanes != EVERY_LANE and present and (absent := sorted(set(lanes.split(",")) - present)):
        raise UsageError(f"--lane {absent[0]}: none of these shards is in it; they are in {', '.join(sorted(present))}")


def first_window(root: str, part: int, parts: int) -> int:
    """The first window of part `part` of a shard; the others are every `parts`-th behind it."""
    return (part - 1 + _turn(root)) % parts


def part_of(root: str, first: int, parts: int) -> int:
    """The part whose first window that is."""
    return (first - _turn(root)) % parts + 1


def _turn(root: str) -> int:
    return zlib.crc32(root.encode())


def divide(entries: Sequence[ShardEntry], lanes: str, share: str) -> dict[str, tuple[int, int]]:
    """{root: (part, parts)} of the shards that are this trainer's. Raises UsageError where one named is not there."""
    shares = parse_share(share)
    starts = [0 if each.behind is None else _place(entries, each.behind) + 1 for each in shares]
    if starts != sorted(starts):
        raise UsageError(f"--share {share}: the shards named are not in the order of the manifest")
    wanted = None if lanes == EVERY_LANE else set(lanes.split(","))
    mine: dict[str, tuple[int, int]] = {}
    for at, entry in enumerate(entries):
        now = next((each for each, start in reversed(list(zip(shares, starts, strict=True))) if start <= at), None)
        if now is not None and now.part and (wanted is None or entry.lane in wanted):
            mine.setdefault(entry.root, (now.part, now.parts))
    return mine


def _place(entries: Sequence[ShardEntry], name: str) -> int:
    if len({entry.path.parent.parent for entry in entries}) > 1:
        raise UsageError(f"--share @{name}: a place in one manifest; name one folder of shards")
    found = [at for at, entry in enumerate(entries) if entry.name.startswith(name)]
    if len(found) != 1:
        raise UsageError(
            f"--share @{name}: {'no shard' if not found else 'several shards'} of that name; see manifest.jsonl"
        )
    return found[0]
