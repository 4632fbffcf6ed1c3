"""Many phrases found in many texts: the automaton of Aho and Corasick (1975) behind a filter that skips most bytes.

Folding makes ASCII letters lower case and any run of white space one blank, so that a phrase is found across line
ends. Bytes that no phrase has fall into one class, so that the table stays small.

Hardly a text holds any of the phrases, so the automaton reads only what stands around the rarest ANCHOR bytes of one
(`clet.priority.literals`; a second blank inside hides it there), as far as the longest phrase reaches.
Phrases shorter than an anchor must all begin with one byte above 127; texts that have it are read whole.

Time: 0.5 ns a byte, 2 of what is read, whatever the number of phrases, up to MAX_BYTES of a text; memory: states times
classes times 2 bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit
from clet.priority.literals import BLOCK, MAX_BYTES, MAX_STRIDE, Literals, next_anchor

MAX_GROUPS = 64  # results are bits of a word
ANCHOR = MAX_STRIDE + BLOCK - 1
_BLANK = np.uint8(32)


class Phrases:
    """Phrases in groups; `find` says which groups occur in each text."""

    def __init__(self, groups: Sequence[Sequence[bytes]]):
        assert len(groups) <= MAX_GROUPS
        phrases = [(_fold(phrase), group) for group, members in enumerate(groups) for phrase in members]
        used = sorted(set(b"".join(phrase for phrase, _ in phrases)))
        self._classes = _classes(used)
        self._goto, self._accepts = _automaton(phrases, self._classes)
        self._literals, self._first = _filter([phrase for phrase, _ in phrases])
        self._longest = max(len(phrase) for phrase, _ in phrases)

    def find(self, text: Ragged) -> np.ndarray:
        """`[n]` uint64: bit g where a phrase of group g occurs."""
        return self.find_between(text.values, text.offsets[:-1], text.offsets[1:])

    def find_between(self, values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The same of the texts `values[starts[i]:ends[i]]`."""
        values = values.view()
        values.flags.writeable = False  # one type for the kernel, wherever the bytes come from
        bounds = np.array(starts, np.int64), np.array(ends, np.int64)
        automaton = self._classes, self._goto, self._accepts
        out = np.zeros(len(starts), np.uint64)
        if self._literals is not None:
            _around_anchors(values, *bounds, *self._literals.tables, self._longest, *automaton, out)
        if self._first:
            _with_byte(values, *bounds, self._first, *automaton, out)
        return out


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


def _filter(phrases: list[bytes]) -> tuple[Literals | None, np.uint8]:
    """What finds those with an anchor, and the first byte of the shorter ones, or 0."""
    first = {phrase[0] for phrase in phrases if len(phrase) < ANCHOR}
    assert len(first) <= 1 and min(first, default=255) > 127, "short phrases share one rare first byte"
    long = [phrase for phrase in phrases if len(phrase) >= ANCHOR]
    return Literals(long) if long else None, np.uint8(min(first, default=0))


@njit
def _around_anchors(
    values, starts, ends, blocks, marks, anchors, stride, size, longest, classes, goto, accepts, out
):  # fmt: skip
    """Add to `out` the groups of phrases in each text, read where it has an anchor."""
    blank = classes[_BLANK]
    for row in range(len(starts)):
        begin, end = np.uint64(starts[row]), np.uint64(min(ends[row], starts[row] + MAX_BYTES))
        if end - begin < size:
            continue
        state, last, read = np.uint16(0), np.uint8(255), begin  # of the automaton, which has read so far
        at, start = next_anchor(values, begin, begin, end, blocks, marks, anchors, stride, size)
        while start < end:
            low = _reach(values, start, begin, longest, classes)
            if low > read:
                state, last, read = np.uint16(0), np.uint8(255), low
            left = longest
            while left and read < end:
                kind = classes[values[read]]
                left -= read >= start and not (kind == blank and last == blank)
                if not (kind == blank and last == blank and blank):
                    state = goto[state, kind]
                    out[row] |= accepts[state]
                last = kind
                read += np.uint64(1)
            at, start = next_anchor(
                values, at + np.uint64(stride), begin, end, blocks, marks, anchors, stride, size
            )  # fmt: skip


@njit
def _reach(values, at, begin, longest, classes):
    """The byte from which on `longest` bytes stand before `at`, white space in a row counted as one."""
    blank, left = classes[_BLANK], longest
    while at > begin and left:
        at -= np.uint64(1)
        kind = classes[values[at]]
        left -= not (kind == blank and at > begin and classes[values[at - np.uint64(1)]] == blank)
    return at


@njit
def _with_byte(values, starts, ends, first, classes, goto, accepts, out):
    """Add to `out` the groups of phrases in each text that holds a byte."""
    blank = classes[_BLANK]
    for row in range(len(starts)):
        begin, end = np.uint64(starts[row]), np.uint64(min(ends[row], starts[row] + MAX_BYTES))
        hits = np.uint8(0)
        for at in range(begin, end):  # no way out of the loop: it becomes vectors
            hits = np.uint8(hits | np.uint8(values[at] == first))
        if not hits:
            continue
        state, last = np.uint16(0), np.uint8(255)
        for at in range(begin, end):
            kind = classes[values[at]]
            if kind == blank and last == blank and blank:
                continue
            last = kind
            state = goto[state, kind]
            out[row] |= accepts[state]
