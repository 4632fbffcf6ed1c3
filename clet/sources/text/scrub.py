"""Masking of what identifies people and of what opens doors, before a text gets its id.

`pii`: e-mail addresses, phone numbers, public IP addresses, payment cards, IBANs, US social security and passport
numbers (`personal.py`). `secrets`: keys, tokens and passwords (`tokens.py`, `credentials.py`). Each find is replaced
by its kind in angle brackets. What no pattern tells is not found: names, postal addresses, birth dates, passwords in
prose.

The rules look at the same text, none at what another left, so their order is nothing; finds that overlap are one.
Masking is repeated until nothing is found, so that scrubbing twice is scrubbing once: a mask can take away what kept
its neighbour from being found. A second pass runs only over texts in which something was found, a third hardly ever.
Time is linear: every pattern is bounded, and starts at a literal or at a run of characters that is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clet.sources.text.credentials import find_credentials
from clet.sources.text.finds import Find
from clet.sources.text.personal import find_personal
from clet.sources.text.tokens import find_tokens

MAX_PASSES = 16  # nothing is known that takes four

FINDERS: dict[str, tuple[Callable[[str], Iterator[Find]], ...]] = {
    "pii": (find_personal,),
    "secrets": (find_tokens, find_credentials),
}


def scrub(text: str, kinds: frozenset[str]) -> tuple[str, dict[str, int]]:
    """(the text with every find replaced by its mask, how many of each kind). Raises ValueError for unknown kinds."""
    if unknown := kinds - FINDERS.keys():
        raise ValueError(f"{sorted(unknown)[0]}: cannot be scrubbed; known are {', '.join(FINDERS)}")
    finders = [finder for kind in FINDERS if kind in kinds for finder in FINDERS[kind]]
    counts: dict[str, int] = {}
    for _ in range(MAX_PASSES):
        finds = [find for finder in finders for find in finder(text)]
        if not finds:
            break
        text = _masked(text, finds, counts)
    return text, counts


def _masked(text: str, finds: list[Find], counts: dict[str, int]) -> str:
    """The text with its finds masked; where some overlap, all of them by the mask of the longest."""
    parts, done = [], 0
    finds.sort()
    place = 0
    while place < len(finds):
        start, end = finds[place][:2]
        best = finds[place]
        while place < len(finds) and finds[place].start < end:
            find = finds[place]
            end = max(end, find.end)
            if find.end - find.start > best.end - best.start:
                best = find
            place += 1
        parts += [text[done:start], best.mask]
        counts[best.kind] = counts.get(best.kind, 0) + 1
        done = end
    parts.append(text[done:])
    return "".join(parts)
