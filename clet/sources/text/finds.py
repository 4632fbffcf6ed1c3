"""What a rule of the scrubber found, and what rules share."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple


class Find(NamedTuple):
    """Characters `start` to `end` of a text are of a kind; `mask` is what goes in their place."""

    start: int
    end: int
    kind: str  # what it is counted as
    mask: str


_ESCAPE = re.compile(r"\\[nrt]")  # in the source of a string
_SERIES = re.compile(r"01234567|12345678|23456789|98765432|abcdefgh|qwertyui", re.IGNORECASE)


def stands_free(text: str, start: int, end: int) -> bool:
    """Whether a find is no part of a longer word; what begins with `+` or `(` cannot be.

    Two finds side by side must not hinder each other: else each pass over a text made of them would find one more.
    """
    if (
        _is_word(text[start])
        and _is_word(text[start - 1 : start])
        and not _ESCAPE.match(text, max(0, start - 2), start)
    ):
        return False
    return not (_is_word(text[end - 1]) and _is_word(text[end : end + 1]))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters of a value, bits a character."""
    total = len(value)
    return -sum(number / total * math.log2(number / total) for number in Counter(value).values())


def looks_random(value: str, min_bits: float = 3.0) -> bool:
    """Whether somebody drew the value, rather than wrote `xxxxxxxx` or `0123456789` for a reader."""
    return entropy_bits(value) >= min_bits and not _SERIES.search(value)
