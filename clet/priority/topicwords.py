"""Topics that a policy names: a text is about one where it uses enough of its words.

A word of the list counts once a text, wherever it stands inside words (`dose` is in `doses`), in either case. A text
is about the topic where it has a third of the list's words, and at least two where the list has more than one. Time:
see `clet.priority.phrases`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clet.batch import Ragged
from clet.priority.phrases import ANCHOR, MAX_GROUPS, Phrases

SHARE = 3


class Keywords:
    """The words of one topic. Raises ValueError for words that cannot be looked for."""

    def __init__(self, words: Sequence[str]):
        if len(words) > MAX_GROUPS:
            raise ValueError(f"over {MAX_GROUPS} words")
        short = [word for word in words if len(word.encode()) < ANCHOR]
        if short:
            raise ValueError(f"{short[0]!r} is shorter than {ANCHOR} letters; give a longer phrase")
        self._phrases = Phrases([[word.encode()] for word in words])
        self._least = max(min(2, len(words)), -(-len(words) // SHARE))

    def on(self, text: Ragged) -> np.ndarray:
        """`[n]` bool: which texts are about the topic."""
        found = self._phrases.find(text)
        return np.bitwise_count(found) >= self._least
