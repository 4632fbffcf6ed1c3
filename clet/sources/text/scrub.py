"""Masking of what identifies people and of what opens doors, before a text gets its id."""

from __future__ import annotations


def scrub(text: str, kinds: frozenset[str]) -> tuple[str, dict[str, int]]:
    """(the text with every find replaced by its kind in angle brackets, how many of each kind)."""
    return text, {}
