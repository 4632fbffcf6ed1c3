"""What a perfect deduplication would do: an exact similarity join, and the definition of a repeated span.

Nothing here is shared with `clet.dedup`: words are read by a regular expression, shingles are strings, and similarity
is that of sorted sets. The join is greedy as a stream is: a document is a repeat if its Jaccard similarity with one
that was kept before it reaches the threshold. Candidates come from prefixes in the order of rarity (Chaudhuri, Ganti
and Kaushik, ICDE 2006): two sets of similarity t share one of the size - ceil(t * size) + 1 rarest elements of each.

Memory: 16 bytes a word. Time: 1 us a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import xxhash

from clet.batch import Ragged

SHINGLE = 5
# Characters that are a word by themselves, in scripts that write no spaces.
_SOLO = (
    "\u0e00-\u0eff\u1000-\u10bf\u1780-\u17ff\u2e80-\u2fff\u3040-\ua4bf\uf900-\ufaff\uff00-\uffbf\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_SOLO}]|[^\W{_SOLO}]+")


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def shingles_of(text: str) -> list[str]:
    """All runs of SHINGLE words; none for a text of fewer."""
    words = words_of(text)
    return [" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)]


def join(texts: Sequence[str], threshold: float) -> np.ndarray:
    """`[n]` int8: 0 for what is kept, 1 for an exact repeat of a text, 2 for a near one."""
    sets = _ranked([_hashes(text) for text in texts])
    verdict = np.zeros(len(texts), np.int8)
    seen: dict[str, int] = {}
    by_element: dict[int, list[int]] = {}
    for row, (text, own) in enumerate(zip(texts, sets, strict=True)):
        if text in seen:
            verdict[row] = 1
            continue
        seen[text] = row
        prefix = own[: len(own) - math.ceil(threshold * len(own)) + 1].tolist() if len(own) else []
        tried: set[int] = set()
        for element in prefix:
            for other in by_element.get(element, ()):
                if other not in tried:
                    tried.add(other)
                    if _reaches(own, sets[other], threshold):
                        verdict[row] = 2
                        break
            if verdict[row]:
                break
        if not verdict[row]:
            for element in prefix:
                by_element.setdefault(element, []).append(row)
    return verdict


def _hashes(text: str) -> np.ndarray:
    digest = xxhash.xxh3_64_intdigest
    return np.unique(np.fromiter((digest(each.encode()) for each in shingles_of(text)), np.uint64))


def _ranked(sets: list[np.ndarray]) -> list[np.ndarray]:
    """The sets with elements numbered by rarity, ascending: the rarest first."""
    lengths = [len(each) for each in sets]
    _, inverse, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    bounds = np.cumsum([0, *lengths])
    numbers = rank[inverse]
    return [np.sort(numbers[bounds[i] : bounds[i + 1]]) for i in range(len(sets))]


def _reaches(a: np.ndarray, b: np.ndarray, threshold: float) -> bool:
    if min(len(a), len(b)) < threshold * max(len(a), len(b)):
        return False
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both >= threshold * (len(a) + len(b) - both)


def repeated_tokens(tok: Ragged, span: int) -> np.ndarray:
    """`[tokens]` bool: which lie in a window of `span` tokens that occurred before and ended before this one began.

    By hashing every window to 64 bits (two passes of 32 would be the same) and sorting: 24 bytes a token.
    """
    ids = tok.values.astype(np.uint64)
    powers = np.uint64(0x9E3779B97F4A7C15)
    total = np.zeros(len(ids), np.uint64)
    for i in range(span):  # the hash of the window from each token on; those over the end of a row are left out below
        total[: len(ids) - i] = total[: len(ids) - i] * powers + ids[i:] + np.uint64(1)
    starts = np.concatenate(
        [np.arange(a, b - span + 1) for a, b in zip(tok.offsets[:-1], tok.offsets[1:], strict=True) if b - a >= span]
        or [np.zeros(0, np.int64)]
    )
    hashes = total[starts]
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(order)]
    earliest = starts[order][first][np.cumsum(first) - 1]
    again = np.zeros(len(starts), np.bool_)
    again[order] = starts[order] >= earliest + span
    edges = np.zeros(len(ids) + 1, np.int64)
    np.add.at(edges, starts[again], 1)
    np.add.at(edges, starts[again] + span, -1)
    return np.cumsum(edges)[:-1] > 0
