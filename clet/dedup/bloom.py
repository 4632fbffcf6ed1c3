"""An index of bounded bytes a document: Bloom filters of bands, without samples to confirm with.

Each document is GROUPS band hashes, each in a Bloom filter of its own (LSHBloom, Khan et al. 2024, 2411.04257). There
one hit is enough, which at few bits lets chance in; here a record repeats something if at least `needed` of its GROUPS
hashes are found in one generation. Counting votes makes the curve over J steeper than one band's, and filters that are
wrong once in fifty do no harm: needed = 5 of 16 at one in fifty is wrong once in 10^5. So 16 bytes a document, 8 bits
a hash, are enough, where the exact index (`clet.dedup.index`) takes some 400 and the samples.

`plan` chooses the rows of a band and the votes for a threshold and a size: of those that find at least nine in ten
pairs 0.05 above the threshold and are wrong about at most one unrelated record in a thousand, the one with the fewest
hits 0.1 below it. At 0.8 and 16 bytes: 5 of 16 bands of 5 rows, which finds 92% at J = 0.85, 69% at 0.8, 17% at 0.7, 2%
at 0.6, and one unrelated record in ten thousand.

Generations: a quarter of the capacity each (or of the window in time); when one is full the next begins and the oldest
of more than four is forgotten. A commit writes the newest generation anew, and replaces HEAD: kill -9 anywhere leaves
the old state or the new one.

Given up are: what a record repeats (only that it does), how similar it is, clusters, spans, and the comparison of a
new version with all but its own past: it is known by its tokens alone, as records of fewer words than a shingle are.

Memory and disk: `num_bytes` times the capacity at most, a quarter of it at first.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clet import seeds
from clet.dedup.minhash import K, Shape
from clet.dedup.table import KEPT, NEAR, Decisions, Rows
from clet.dedup.words import mix
from clet.exits import InputError, UsageError
from clet.kernels import njit
from clet.pages import PAGE_WORDS, Mapped, Pages, PageWriter, check_page, check_words, remove, remove_unnamed
from clet.state import State

GROUPS = 16
GENERATIONS = 4
BLOCK_WORDS = 8  # 512 bits, one cache line: all bits of one hash
MIN_BYTES, MAX_BYTES = 4, 64
MIN_RECALL, MAX_CHANCE, ABOVE, BELOW = 0.9, 1e-3, 0.05, 0.1

_U = np.uint64


class Votes(NamedTuple):
    """How a record is judged."""

    rows: int  # components of the signature in a band
    needed: int  # bands that have to be known
    bits: int  # set in a filter for a band


def plan(near: float, num_bytes: int) -> Votes:
    """The votes for a similarity threshold and bytes a document. Raises UsageError where there are none."""
    bits_each = 8 * num_bytes / GROUPS
    bits = max(1, min(6, round(bits_each * math.log(2))))
    chance = false_rate(bits_each, bits)
    best: tuple[float, Votes] | None = None
    for rows in range(1, K // GROUPS + 1):
        for needed in range(1, GROUPS + 1):
            recall = hit_rate(min(1.0, near + ABOVE), rows, needed, chance)
            if recall < MIN_RECALL or GENERATIONS * tail(GROUPS, needed, chance) > MAX_CHANCE:
                continue
            score = hit_rate(max(0.0, near - BELOW), rows, needed, chance)
            if best is None or score < best[0]:
                best = score, Votes(rows, needed, bits)
    if best is None:
        raise UsageError(f"--bloom {num_bytes}: too few bytes to tell J = {near} from chance; give more")
    return best[1]


def false_rate(bits_each: float, bits: int) -> float:
    """Chance that a full filter with so many bits a hash, of which it sets `bits` in one block, holds an unknown one.

    Blocks get a Poisson number of hashes (Putze, Sanders and Singler 2007).
    """
    mean = 64 * BLOCK_WORDS / bits_each
    total, weight = 0.0, math.exp(-mean)
    for count in range(1, int(mean + 12 * math.sqrt(mean)) + 2):
        weight *= mean / count
        total += weight * (1 - (1 - 1 / (64 * BLOCK_WORDS)) ** (count * bits)) ** bits
    return total


def hit_rate(j: float, rows: int, needed: int, chance: float) -> float:
    """Probability that a pair of similarity `j` gets the votes, in filters that are wrong with `chance` a band."""
    band = j**rows
    return tail(GROUPS, needed, band + (1 - band) * chance)


def tail(size: int, least: int, p: float) -> float:
    """P(X >= least) for X ~ Binomial(size, p)."""
    return sum(math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(least, size + 1))


class _Generation:
    """GROUPS filters in one array of words; `entry` is what HEAD keeps of it."""

    def __init__(self, mapped: Mapped, entry: dict[str, Any], pages: Pages | None = None):
        self.mapped, self.entry, self._pages = mapped, entry, pages
        self.blocks = entry["blocks"]

    @staticmethod
    def new(documents: int, bits_each: float) -> _Generation:
        blocks = max(1, math.ceil(documents * bits_each / (64 * BLOCK_WORDS)))
        num_pages = -(-GROUPS * blocks * BLOCK_WORDS // PAGE_WORDS)
        words = np.zeros(num_pages * PAGE_WORDS, np.uint64)
        none = np.zeros(num_pages, np.uint64)
        mapped = Mapped(words, words.view(np.uint32), none, np.ones(num_pages, np.uint8), np.zeros(1, np.int64))
        entry = {"file": "", "pages": num_pages, "blocks": blocks, "documents": 0, "oldest": 0, "newest": 0}
        return _Generation(mapped, entry)

    @staticmethod
    def open(directory: Path, entry: dict[str, Any], num_blocks: int) -> _Generation:
        try:
            if "/" in entry["file"] or entry["blocks"] != num_blocks:
                raise ValueError("odd entry")
            pages = Pages(directory / entry["file"], entry["pages"], copy=True)
            if len(pages.mapped.words) < GROUPS * entry["blocks"] * BLOCK_WORDS:
                raise ValueError("too few words")
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{directory}: the state contradicts itself ({error}); give another --state") from None
        return _Generation(pages.mapped, dict(entry), pages)

    def write(self, path: Path) -> None:
        check_words(self.mapped, 0, len(self.mapped.words))
        self.check()
        writer = PageWriter(path)
        try:
            writer.add("filters", [self.mapped.words], np.uint64)
            writer.close({name: value for name, value in self.entry.items() if name not in ("file", "pages")})
        except BaseException:
            writer.abort()
            raise
        self.entry["file"] = path.name

    def check(self) -> None:
        if self._pages:
            self._pages.check()

    def fill(self) -> float:
        """Share of bits that are set."""
        return float(np.bitwise_count(self.mapped.words).sum()) / (64 * len(self.mapped.words))


class BloomIndex:
    """What was seen so far, in bounded memory; see the module's head. `window` is in seconds, 0 for ever."""

    def __init__(
        self,
        near: float,
        num_bytes: int,
        capacity: int,
        seed: int = seeds.DEFAULT_SEED,
        state: State | None = None,
        *,
        window: int = 0,
    ):
        self.votes = plan(near, num_bytes)
        self.shape = Shape(GROUPS, self.votes.rows, sample=False)
        self.capacity, self.num_bytes_each = capacity, num_bytes
        self._bits_each = 8 * num_bytes / GROUPS
        self._room = max(1, capacity // GENERATIONS)
        self._window = window
        self._state = state
        self._next_file = self._seen = self.forgotten = 0
        self._generations: list[_Generation] = []
        if state is None:
            self.secret = seeds.integer(seed, "dedup/index")
        else:
            self.secret = int(state.values.setdefault("secret", os.urandom(8).hex()), 16)
            self._load(state)
        if not self._generations:
            self._begin()

    def _load(self, state: State) -> None:
        entries = state.values.get("generations", [])
        self._next_file, self._seen = state.values.get("next_file", 0), state.values.get("documents", 0)
        remove_unnamed(state.directory, "filter-", (entry["file"] for entry in entries))
        blocks = max(1, math.ceil(self._room * self._bits_each / (64 * BLOCK_WORDS)))
        self._generations = [_Generation.open(state.directory, entry, blocks) for entry in entries]

    def _begin(self) -> None:
        self._generations.append(_Generation.new(self._room, self._bits_each))
        if len(self._generations) > GENERATIONS:
            self.forgotten += self._generations.pop(0).entry["documents"]

    def __len__(self) -> int:
        """Documents kept so far, those that were forgotten included."""
        return self._seen

    @property
    def num_remembered(self) -> int:
        """Documents that still count."""
        return sum(each.entry["documents"] for each in self._generations)

    @property
    def num_bytes(self) -> int:
        """Of the filters."""
        return sum(each.mapped.words.nbytes for each in self._generations)

    def admit(self, rows: Rows, supersedes: np.ndarray, threshold: float, jobs: int = 1) -> Decisions:
        """Decide about records in order and remember them. `threshold` was fixed when the index was made."""
        size = len(rows.ids)
        out = Decisions(np.zeros(size, np.int8), np.full(size, -1, np.int64), np.full(size, -1.0))
        whole = (supersedes > 0) | (np.diff(rows.starts) == 0)
        votes = self.votes
        begin = 0
        while begin < size:
            newest = self._generations[-1]
            if newest.entry["documents"] >= self._room or self._is_over(newest, int(rows.times[begin])):
                self._begin()
                newest = self._generations[-1]
            end = min(size, begin + self._room - newest.entry["documents"])
            if self._window:  # where a generation is over depends on each record
                end = begin + 1 if self._is_over(newest, int(rows.times[begin:end].max())) else end
            known = np.zeros(size, np.bool_)
            for each in self._generations[:-1]:
                newest_time = each.entry["newest"] if self._window else 0
                _look_up(
                    each.mapped, each.blocks, votes.bits, rows, begin, end, whole, votes.needed, newest_time,
                    self._window, known,
                )  # fmt: skip
                each.check()
            _admit(newest.mapped, newest.blocks, votes.bits, rows, begin, end, whole, votes.needed, known, out.verdict)
            newest.check()
            self._count(newest, rows.times[begin:end][out.verdict[begin:end] == KEPT])
            begin = end
        return out

    def _is_over(self, generation: _Generation, time: int) -> bool:
        oldest = generation.entry["oldest"]
        return bool(self._window and oldest and time - oldest > self._window // GENERATIONS)

    def _count(self, generation: _Generation, times: np.ndarray) -> None:
        entry, known = generation.entry, times[times > 0]
        entry["documents"] += len(times)
        self._seen += len(times)
        if len(known):
            entry["newest"] = max(entry["newest"], int(known.max()))
            entry["oldest"] = min(entry["oldest"] or int(known.min()), int(known.min()))
        if len(times):
            entry["file"] = ""  # differs from what is on disk

    def commit(self) -> None:
        """Save what is new and commit the state; nothing to do without a state."""
        if self._state is None:
            return
        folder, values = self._state.directory, self._state.values
        old = {entry["file"] for entry in values.get("generations", [])}
        for each in self._generations:
            if not each.entry["file"]:
                self._next_file += 1
                each.write(folder / f"filter-{self._next_file:08d}")
        values |= {
            "generations": [dict(each.entry) for each in self._generations],
            "next_file": self._next_file,
            "documents": self._seen,
        }
        self._state.commit()  # which makes names durable before HEAD says them
        for name in old - {each.entry["file"] for each in self._generations}:
            remove(folder / name)

    def header(self) -> dict[str, Any]:
        """What the index says of itself, for reports; `wrong` is the chance that an unrelated record is dropped."""
        chances = [each.fill() ** self.votes.bits for each in self._generations]
        return {
            "documents": self.num_remembered,
            "generations": len(self._generations),
            "bytes": self.num_bytes,
            "bytes_a_document": round(self.num_bytes / max(1, self.num_remembered), 1),
            "rows": self.votes.rows,
            "needed": self.votes.needed,
            "wrong": sum(tail(GROUPS, self.votes.needed, chance) for chance in chances),
        }


@njit
def _votes(mapped, blocks, bits, rows, row, whole, insert):
    """How many hashes of a record are in the filters; with `insert` they all are, afterwards.

    One that is known only as a whole has hashes of its tokens instead of its bands.
    """
    votes = 0
    key = rows.tokens[row] if rows.tokens[row] else rows.id_keys[row]
    for group in range(GROUPS):
        hashed = mix((key if whole else _U(rows.bands[row, group])) + _U(group + 1) * _U(0x9E3779B97F4A7C15))
        block = np.int64(((hashed >> _U(32)) * _U(blocks)) >> _U(32))
        begin = (group * blocks + block) * BLOCK_WORDS
        page = begin // PAGE_WORDS
        if not mapped.checked[page]:
            check_page(mapped, page)
        places = mix(hashed)
        there = True
        for _ in range(bits):
            at, bit = begin + np.int64((places >> _U(6)) & _U(BLOCK_WORDS - 1)), _U(1) << (places & _U(63))
            there &= (mapped.words[at] & bit) != 0
            if insert:
                mapped.words[at] |= bit
            places >>= _U(9)
        votes += there
    return votes


@njit
def _look_up(mapped, blocks, bits, rows, begin, end, whole, needed, newest, window, known):
    for row in range(begin, end):
        if window and newest and rows.times[row] and rows.times[row] - newest > window:
            continue
        if not known[row] and _votes(mapped, blocks, bits, rows, row, whole[row], False) >= needed:
            known[row] = True


@njit
def _admit(mapped, blocks, bits, rows, begin, end, whole, needed, known, verdict):
    for row in range(begin, end):
        if known[row] or _votes(mapped, blocks, bits, rows, row, whole[row], False) >= needed:
            verdict[row] = NEAR
        else:
            verdict[row] = KEPT
            _votes(mapped, blocks, bits, rows, row, whole[row], True)
