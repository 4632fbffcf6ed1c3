"""What a rule of the scrubber found, and the boundaries that all rules share."""

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


_MASK = r"<(?:email|phone|ip|card|iban|ssn|passport|secret:[a-z-]{1,20})>"
_MASK_BEFORE = re.compile(_MASK + r"\Z")
_MASK_AFTER = re.compile(_MASK)
_MASK_CHARS = 30  # none is longer
_SERIES = re.compile(r"01234567|12345678|23456789|98765432|abcdefgh|qwertyui", re.IGNORECASE)


def stands_free(text: str, start: int, end: int) -> bool:
    """Whether a find is no part of a longer word, and touches no mask.

    That a find beside a mask is none makes masking idempotent: what a mask took away cannot have been the boundary
    that kept its neighbour from being found.
    """
    before, after = text[start - 1 : start], text[end : end + 1]
    if _is_word(before) or _is_word(after):
        return False
    if before == ">" and _MASK_BEFORE.search(text[max(0, start - _MASK_CHARS) : start]):
        return False
    return not (after == "<" and _MASK_AFTER.match(text, end))


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters of a value, bits a character."""
    total = len(value)
    return -sum(number / total * math.log2(number / total) for number in Counter(value).values())


def looks_random(value: str, min_bits: float = 3.0) -> bool:
    """Whether somebody drew the value, rather than wrote `xxxxxxxx` or `0123456789` for a reader."""
    return entropy_bits(value) >= min_bits and not _SERIES.search(value)
