"""Instructions to a model inside a document, and text that a reader does not see.

Two kinds of sign are looked for: phrases that address a language model ("ignore previous instructions", the control
words of chat templates), and characters that hide text from people while a tokenizer reads it (Unicode tags, runs of
zero-width characters, styles that draw nothing; see Greshake et al. 2023, 2302.12173). A third list tells corrections
and retractions by their opening words, or their last ones.

A document about prompt injection quotes these phrases too, so a hit is a reason for review and for a lower value, never
a proof; and whoever words an instruction anew is not found. The lists hold what is seen in the wild, not all there is.
"""

from __future__ import annotations

import functools

import numpy as np

from clet.batch import Ragged
from clet.priority.phrases import Phrases

INSTRUCTIONS = (
    *(
        f"{verb} {which}{noun}".encode()
        for verb in ("ignore", "disregard", "forget")
        for which in (
            "all previous ",
            "previous ",
            "all prior ",
            "prior ",
            "the above ",
            "all above ",
            "your previous ",
        )
        for noun in ("instructions", "prompts", "directions")
    ),
    b"ignore everything above",
    b"you are now in developer mode",
    b"you are now dan",
    b"do anything now",
    b"enable developer mode",
    b"override your instructions",
    b"override your system prompt",
    b"reveal your system prompt",
    b"print your system prompt",
    b"new system prompt:",
    b"your new instructions are",
    b"as an ai language model, you must",
    b"note to ai:",
    b"attention ai:",
    b"if you are an ai",
    b"if you are a language model",
    b"instructions for language models:",
    b"do not tell the user",
    b"without telling the user",
)
TEMPLATES = (
    b"<|im_start|>",
    b"<|im_end|>",
    b"<|system|>",
    b"<|assistant|>",
    b"<|start_header_id|>",
    b"<|eot_id|>",
    b"<|endoftext|>",
    b"[/inst]",
    b"<<sys>>",
    b"<start_of_turn>",
)
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
HIDDEN = (
    b"\xf3\xa0\x80",  # U+E0000 to U+E003F: tags, an alphabet that is never drawn
    b"\xf3\xa0\x81",
    *("".join((a, b, c)).encode() for a in _ZERO_WIDTH for b in _ZERO_WIDTH for c in _ZERO_WIDTH),
    b"display:none",
    b"display: none",
    b"visibility:hidden",
    b"font-size:0",
)
CORRECTIONS = (
    b"correction:",
    b"correction,",
    b"corrections:",
    b"retraction:",
    b"retracted:",
    b"an earlier version of this article",
    b"an earlier version of this story",
    b"a previous version of this article",
    b"this article has been corrected",
    b"this story has been corrected",
    b"we have retracted",
    b"has been retracted",
    b"we retract",
)
CORRECTION_BYTES = 600  # a correction says so where it begins, or where it ends
SIGNS = ("instruction", "template", "hidden")


@functools.cache
def _signs() -> Phrases:
    return Phrases([INSTRUCTIONS, TEMPLATES, HIDDEN])


@functools.cache
def _corrections() -> Phrases:
    return Phrases([CORRECTIONS])


def injected(text: Ragged) -> np.ndarray:
    """`[n]` uint8: bit k where a text has the sign SIGNS[k]."""
    return _signs().find(text).astype(np.uint8)


def corrects(text: Ragged) -> np.ndarray:
    """`[n]` bool: which texts begin or end as a correction or retraction of something."""
    starts, ends = text.offsets[:-1], text.offsets[1:]
    first = _corrections().find_between(text.values, starts, np.minimum(ends, starts + CORRECTION_BYTES))
    last = _corrections().find_between(text.values, np.maximum(starts, ends - CORRECTION_BYTES), ends)
    return (first > 0) | (last > 0)
