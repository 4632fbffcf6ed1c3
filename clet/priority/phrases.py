"""Many phrases found in many texts: the automaton of Aho and Corasick (1975) behind a filter that skips most bytes.

Folding makes ASCII letters lower case and any run of white space one blank, so that a phrase is found across line
ends. Bytes that no phrase has fall into one class, so that the table stays small.

Hardly a text holds any of the phrases, so each is first looked for by an *anchor*, the ANCHOR bytes in its
middle (a second blank inside hides it there): of every STRIDE neighbouring blocks of four bytes one is
looked up among those that anchors have, as in the q-gram filter of Wu and Manber (1994). Only a text with an anchor is
read by the automaton.
Phrases shorter than an anchor must all begin with one byte above 127; texts without it are passed over.

Time: 1.5 ns a byte, 5 in texts with an anchor, whatever the number of phrases, up to MAX_BYTES of a text; memory:
states times classes times 2 bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit

MAX_BYTES = 1 << 20  # of a text that are read; who hides an instruction behind a megabyte hides it from readers too
MAX_GROUPS = 64  # results are bits of a word
ANCHOR = 7
STRIDE = ANCHOR - 4 + 1
_BLANK = np.uint8(32)
_BLOCK = 4  # bytes
_BITS = 15
_U = np.uint64
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[65:91] += 32
_LOWER[[9, 10, 11, 12, 13]] = 32


class Phrases:
    """Phrases in groups; `find` says which groups occur in each text."""

    def __init__(self, groups: Sequence[Sequence[bytes]]):
        assert len(groups) <= MAX_GROUPS
        phrases = [(_fold(phrase), group) for group, members in enumerate(groups) for phrase in members]
        used = sorted(set(b"".join(phrase for phrase, _ in phrases)))
        self._classes = _classes(used)
        self._goto, self._accepts = _automaton(phrases, self._classes)
        self._blocks, self._anchors, self._first = _filter([phrase for phrase, _ in phrases])

    def find(self, text: Ragged) -> np.ndarray:
        """`[n]` uint64: bit g where a phrase of group g occurs."""
        return self.find_between(text.values, text.offsets[:-1], text.offsets[1:])

    def find_between(self, values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The same of the texts `values[starts[i]:ends[i]]`."""
        values = values.view()
        values.flags.writeable = False  # one type for the kernel, wherever the bytes come from
        bounds = np.array(starts, np.int64), np.array(ends, np.int64)
        likely = _likely(values, *bounds, self._blocks, self._anchors, self._first)
        return _find(values, *bounds, likely, self._classes, self._goto, self._accepts)


def _fold(phrase: bytes) -> bytes:
    return b" ".join(phrase.lower().split()) if phrase.strip() == phrase else phrase.lower()


def _classes(used: list[int]) -> np.ndarray:
    """Class of each byte `[256]`: 0 for those that no phrase has."""
    classes = np.zeros(256, np.uint8)
    for number, byte in enumerate(used):
        classes[byte] = number + 1
    for byte in range(ord("A"), ord("Z") + 1):
        classes[byte] = classes[byte + 32]
    for byte in b"\t\n\r\v\f":
        classes[byte] = classes[32]
    return classes


def _automaton(phrases: list[tuple[bytes, int]], classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transitions `[states, classes]` uint16 and the groups found on entering each state `[states]` uint64."""
    width = int(classes.max()) + 1
    children: list[dict[int, int]] = [{}]
    accepts = [0]
    for phrase, group in phrases:
        state = 0
        for byte in phrase:
            found = children[state].get(int(classes[byte]))
            if found is None:
                found = len(children)
                children[state][int(classes[byte])] = found
                children.append({})
                accepts.append(0)
            state = found
        accepts[state] |= 1 << group
    goto = np.zeros((len(children), width), np.uint16)
    fail = [0] * len(children)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        if state:
            goto[state] = goto[fail[state]]
        for byte, child in children[state].items():
            fail[child] = int(goto[fail[state], byte]) if state else 0
            accepts[child] |= accepts[fail[child]]
            queue.append(child)
        for byte, child in children[state].items():
            goto[state, byte] = child
    return goto, np.asarray(accepts, np.uint64)


def _filter(phrases: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.uint8]:
    """Which blocks some anchor has `[2^15]`, all anchors, ascending, and the first byte of short phrases or 0."""
    anchors = set()
    first = {phrase[0] for phrase in phrases if len(phrase) < ANCHOR}
    assert len(first) <= 1 and min(first, default=255) > 127, "short phrases share one rare first byte"
    for phrase in phrases:
        if len(phrase) >= ANCHOR:
            middle = (len(phrase) - ANCHOR) // 2
            anchors.add(phrase[middle : middle + ANCHOR])
    blocks = np.zeros(1 << _BITS, np.bool_)
    for anchor in anchors:
        for at in range(STRIDE):
            blocks[_block(np.frombuffer(anchor, np.uint8), _U(at))] = True
    hashes = sorted(_anchor(np.frombuffer(anchor, np.uint8), _U(0)) for anchor in anchors)
    return blocks, np.asarray(hashes, np.uint64), np.uint8(min(first, default=0))


@njit
def _block(values, at):
    key = _U(0)
    for i in range(_BLOCK):
        key = key << _U(8) | _U(_LOWER[values[at + _U(i)]])
    return (key * _U(0x9E3779B97F4A7C15)) >> _U(64 - _BITS)


@njit
def _anchor(values, at):
    total = _U(0)
    for i in range(ANCHOR):
        total = total << _U(8) | _U(_LOWER[values[at + _U(i)]])
    return total


@njit
def _likely(values, starts, ends, blocks, anchors, first):
    """Which texts hold an anchor, or the byte `first`."""
    out = np.zeros(len(starts), np.bool_)
    for row in range(len(starts)):
        begin, end = starts[row], min(ends[row], starts[row] + MAX_BYTES)
        hits = np.uint8(0)
        for at in range(_U(begin), _U(end) if first else _U(begin)):  # no way out of the loop: it becomes vectors
            hits |= np.uint8(values[at] == first)
        if hits:
            out[row] = True
            continue
        # One in every STRIDE neighbouring blocks is looked at, so each anchor is met by exactly one of its own.
        for at in range(_U(begin), _U(max(end - _BLOCK + 1, begin)), _U(STRIDE)):
            if not blocks[_block(values, at)]:
                continue
            for back in range(STRIDE):
                start = np.int64(at) - back
                if start >= begin and start + ANCHOR <= end:
                    found = _anchor(values, _U(start))
                    k = np.searchsorted(anchors, found)
                    if k < len(anchors) and anchors[k] == found:
                        out[row] = True
            if out[row]:
                break
    return out


@njit
def _find(values, starts, ends, likely, classes, goto, accepts):
    size = len(starts)
    out = np.zeros(size, np.uint64)
    blank = classes[_BLANK]
    for row in range(size):
        if not likely[row]:
            continue
        state = np.uint16(0)
        found = np.uint64(0)
        last = np.uint8(255)
        for at in range(starts[row], min(ends[row], starts[row] + MAX_BYTES)):
            kind = classes[values[np.uint64(at)]]
            if kind == blank and last == blank and blank:
                continue
            last = kind
            state = goto[state, kind]
            found |= accepts[state]
        out[row] = found
    return out
