"""Masking: the lines in which a rule's pattern is found are read by the model and not learned from.

The record gets `"policy": {"spans": [[start, end), ...]}` in its own tokens, which `clet shard` turns into the loss
mask: the text stays whole, so that what stands around a masked line is learned in its context. A line is masked whole,
since a pattern may end in the middle of what it is about.

Where tokens stand in the text follows from the bytes that each stands for. A record whose tokens do not spell its text
byte for byte (another tokenizer, a normalising one) cannot be masked: all of its tokens are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson

from clet.batch import Batch, Ragged
from clet.exits import InputError
from clet.priority.policy import Rule
from clet.tokens import Tokenizer

NAME = "policy"


class Masker:
    """Turns found patterns into spans of tokens."""

    def __init__(self, tokenizer: Tokenizer):
        self._fingerprint = tokenizer.fingerprint
        self._lengths = tokenizer.token_bytes().lengths

    def apply(self, batch: Batch, text: Ragged, masked: Sequence[tuple[int, Rule]]) -> Batch:
        """The batch, whose texts were read as `text`, in which the records named have spans of what is masked."""
        if batch.tok is None or batch.fingerprint != self._fingerprint:
            raise InputError("records without tokens of --tokenizer cannot be masked; ingest them with it")
        lines = [batch.head.bytes_at(row) for row in range(len(batch))]
        rules: dict[int, list[Rule]] = {}
        for row, rule in masked:
            rules.setdefault(row, []).append(rule)
        for row, found in rules.items():
            fields = orjson.loads(lines[row])
            names = [rule.name for rule in found]
            fields[NAME] = {"rules": names, "spans": self._spans(batch.tok[row], text.bytes_at(row), found)}
            lines[row] = orjson.dumps(fields)
        return replace(batch, head=Ragged.from_bytes(lines))

    def _spans(self, ids: np.ndarray, text: bytes, rules: Sequence[Rule]) -> list[list[int]]:
        if len(ids) and int(ids.max()) >= len(self._lengths):
            raise InputError("an id is outside the tokenizer's vocabulary; the records are damaged")
        ends = np.cumsum(self._lengths[ids])
        if not len(ids) or ends[-1] != len(text):
            return [[0, len(ids)]]
        spans: list[list[int]] = []
        for begin, end in sorted({place for rule in rules for place in _lines_with(rule, text)}):
            first = int(np.searchsorted(ends, begin, side="right"))  # the token that holds the line's first byte
            last = int(np.searchsorted(ends, end, side="left")) + 1
            if spans and first <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], last)
            else:
                spans.append([first, min(last, len(ids))])
        return spans


def _lines_with(rule: Rule, text: bytes) -> list[tuple[int, int]]:
    """Where the lines begin and end in which a rule's pattern is found to end."""
    out: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        [found] = rule.pattern.find(Ragged.from_bytes([text[start:]])).tolist()
        if found < 0:
            break
        begin = text.rfind(b"\n", 0, start + found - 1) + 1
        end = text.find(b"\n", start + found - 1)
        end = len(text) if end < 0 else end
        out.append((begin, end))
        start = end + 1
    return out
