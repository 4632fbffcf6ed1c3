"""Regular expressions that cannot be made slow: compiled to a deterministic automaton over bytes, read once.

A backtracking engine can be kept busy for years by a text that its author chose for the expression ("catastrophic
backtracking"), and here strangers write the texts. So patterns of a policy are parsed by Python's own parser, turned
into a nondeterministic automaton (Thompson 1968) and by subsets into a deterministic one, which looks at each byte
once, whatever the text. Patterns whose automaton would need over MAX_STATES states are refused when they are read.

Known are literals, `.`, classes, groups, `|`, `?`, `*`, `+`, `{m,n}`, `^` and `$` as first and last element (of the
text), `\\d \\s \\w` and their opposites, and `(?i)` at the front. Classes speak of ASCII; any other character is
matched, as one, by a negated class, by `\\W`, `\\S`, `\\D`, and by `.`. Not known are back references, looking around
and word boundaries: no automaton has them.

A pattern also says what every match of it must hold (`literals`, see `clet.priority.required`), so that hardly a text
has to be read for it.

Time: 2 ns a byte of a text that is read; memory 512 bytes a state, at most 8 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as c  # type: ignore[attr-defined] - the parser of the standard library, since Python 3.11
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit
from clet.priority.literals import MAX_BYTES, Literals
from clet.priority.required import required

MAX_STATES = 16_000
MAX_NODES = 4000  # of the nondeterministic automaton: repeats are written out
_NEWLINE = 10

_DIGITS = frozenset(b"0123456789")
_SPACES = frozenset(b" \t\n\r\f\v")
_WORDS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ALL = frozenset(range(256))
_BEYOND = frozenset(range(128, 256))  # stands in a set of bytes for all characters beyond ASCII
_FOLLOW = frozenset(range(0x80, 0xC0))  # bytes of a character behind its first, in UTF-8
_LEADS = (frozenset(range(0xC2, 0xE0)), frozenset(range(0xE0, 0xF0)), frozenset(range(0xF0, 0xF5)))  # 1, 2, 3 follow
_CATEGORIES = {
    c.CATEGORY_DIGIT: _DIGITS,
    c.CATEGORY_NOT_DIGIT: _ALL - _DIGITS,
    c.CATEGORY_SPACE: _SPACES,
    c.CATEGORY_NOT_SPACE: _ALL - _SPACES,
    c.CATEGORY_WORD: _WORDS,
    c.CATEGORY_NOT_WORD: _ALL - _WORDS,
}


class PatternError(ValueError):
    """Why a pattern is refused, in a few words."""


class Pattern:
    """One compiled pattern. `find` says where each text first has it."""

    def __init__(self, text: str):
        self.text = text
        try:
            tree = parser.parse(text, re.ASCII if "(?a)" in text else 0)
        except re.error as error:
            raise PatternError(str(error)) from None
        except (RecursionError, OverflowError):
            raise PatternError("nested too deeply") from None
        if tree.state.flags & ~(re.IGNORECASE | re.UNICODE | re.ASCII | re.DOTALL):
            raise PatternError("flags other than (?i) and (?s)")
        builder = _Builder(bool(tree.state.flags & re.IGNORECASE), bool(tree.state.flags & re.DOTALL))
        items = list(tree)
        self._from_start = bool(items) and items[0] == (c.AT, c.AT_BEGINNING)
        self._to_end = bool(items) and items[-1] == (c.AT, c.AT_END)
        items = items[self._from_start : len(items) - self._to_end]
        self.literals = required(items)  # one of which every match holds, in either case; none where nobody knows
        self._filter = Literals(self.literals) if self.literals else None
        start = builder.node()
        end = builder.sequence(items, start)
        self._table, self._accepts = _determine(builder, start, end, self._from_start)
        if self._accepts[0]:
            raise PatternError("matches the empty text")

    def find(self, text: Ragged, rows: np.ndarray | None = None) -> np.ndarray:
        """`[n]` int64: the byte of each text at which a match first ends, or -1; of `rows` [n] bool, where given."""
        values = text.values.view()
        values.flags.writeable = False
        rows = np.ones(len(text), np.bool_) if rows is None else rows
        if self._filter is not None:
            rows = rows & self._filter.among(text, rows)
        return _find(values, np.array(text.offsets), rows, self._table, self._accepts, self._to_end)


class _Builder:
    """A nondeterministic automaton: edges by sets of bytes, and empty edges."""

    def __init__(self, fold: bool, dot_all: bool):
        self.edges: list[list[tuple[frozenset[int], int]]] = []
        self.empty: list[list[int]] = []
        self._fold = fold
        self._dot = _ALL if dot_all else _ALL - {_NEWLINE}

    def node(self) -> int:
        if len(self.edges) >= MAX_NODES:
            raise PatternError(f"too large: over {MAX_NODES} places once its repeats are written out")
        self.edges.append([])
        self.empty.append([])
        return len(self.edges) - 1

    def sequence(self, items: Any, at: int) -> int:
        """Add `items` one behind the other from a node on; the node behind them."""
        for item in items:
            at = self._add(item, at)
        return at

    def _step(self, bytes_: frozenset[int], at: int) -> int:
        if self._fold:
            letters = {b for b in bytes_ if chr(b).isalpha() and b < 128}
            bytes_ = bytes_ | {b ^ 32 for b in letters}
        node = self.node()
        self.edges[at].append((bytes_, node))
        return node

    def _one_of(self, characters: frozenset[int], at: int) -> int:
        """One character: of these bytes of ASCII, or any beyond it where `_BEYOND` is among them."""
        end = behind = self._step(characters - _BEYOND, at)
        if characters >= _BEYOND:
            for leads in _LEADS:
                node = self.node()
                self.edges[node].append((_FOLLOW, behind))
                self.edges[at].append((leads, node))
                behind = node
        return end

    def _literal(self, code: int, at: int) -> int:
        for byte in chr(code).encode("utf-8", "surrogatepass"):
            at = self._step(frozenset((byte,)), at)
        return at

    def _add(self, item: tuple[Any, Any], at: int) -> int:
        op, value = item
        if op is c.LITERAL:
            return self._literal(value, at)
        if op is c.NOT_LITERAL:
            if value > 127:
                raise PatternError("a class with a character that is not ASCII")
            return self._one_of(_ALL - {value, *({value ^ 32} if self._fold and chr(value).isalpha() else ())}, at)
        if op is c.ANY:
            return self._one_of(self._dot, at)
        if op is c.IN:
            return self._one_of(_class(value, self._fold), at)
        if op is c.SUBPATTERN:
            if value[1] or value[2]:
                raise PatternError("flags inside a group")
            return self.sequence(value[3], at)
        if op is c.BRANCH:
            end = self.node()
            for branch in value[1]:
                start = self.node()
                self.empty[at].append(start)
                self.empty[self.sequence(branch, start)].append(end)
            return end
        if op in (c.MAX_REPEAT, c.MIN_REPEAT):
            return self._repeat(*value, at)
        if op is c.AT:
            raise PatternError("^, $ or a word boundary inside the pattern")
        raise PatternError(f"no automaton has {str(op).lower().replace('_', ' ')}")

    def _repeat(self, least: int, most: int, items: Any, at: int) -> int:
        for _ in range(least):
            at = self.sequence(items, at)
        if most == c.MAXREPEAT:
            start = self.node()
            self.empty[at].append(start)
            self.empty[self.sequence(items, start)].append(start)
            return start
        ends = [at]
        for _ in range(most - least):
            at = self.sequence(items, at)
            ends.append(at)
        end = self.node()
        for each in ends:
            self.empty[each].append(end)
        return end


def _class(items: Any, fold: bool) -> frozenset[int]:
    members: set[int] = set()
    negated = False
    for op, value in items:
        if op is c.NEGATE:
            negated = True
        elif op is c.CATEGORY:
            members |= _CATEGORIES[value]
        else:
            low, high = value if op is c.RANGE else (value, value)
            if high > 127:
                raise PatternError("a class with a character that is not ASCII")
            members |= set(range(low, high + 1))
    if fold:
        members |= {b ^ 32 for b in members if b < 128 and chr(b).isalpha()}
    return _ALL - members if negated else frozenset(members)


def _determine(nfa: _Builder, start: int, end: int, from_start: bool) -> tuple[np.ndarray, np.ndarray]:
    """Transitions `[states, 256]` uint16 and which states have matched; a match is sought anywhere, or at the start."""

    def closure(node: int) -> int:
        todo, found = [node], 1 << node
        while todo:
            for after in nfa.empty[todo.pop()]:
                if not found >> after & 1:
                    found |= 1 << after
                    todo.append(after)
        return found

    # Sets of nodes are bits of a whole number; an edge leads to all nodes that are reached through it at once.
    closures = [closure(node) for node in range(len(nfa.edges))]
    classes, edges = _byte_classes(nfa)
    again = 0 if from_start else closures[start]  # a match may begin at any byte
    numbers: dict[int, int] = {closures[start]: 0}
    order = [closures[start]]
    rows: list[list[int]] = []
    while len(rows) < len(order):
        reached = [again] * (int(classes.max()) + 1)
        for node in _bits(order[len(rows)]):
            for kinds, target in edges[node]:
                for kind in kinds:
                    reached[kind] |= closures[target]
        row = []
        for members in reached:
            number = numbers.get(members)
            if number is None:
                if len(order) >= MAX_STATES:
                    raise PatternError(f"too complex: over {MAX_STATES} states; use fewer or shorter repeats")
                number = numbers[members] = len(order)
                order.append(members)
            row.append(number)
        rows.append(row)
    table = np.array(rows, np.uint16).take(classes, axis=1)
    return table, np.array([bool(members >> end & 1) for members in order])


def _bits(mask: int) -> Iterator[int]:
    """The places of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _byte_classes(nfa: _Builder) -> tuple[np.ndarray, list[list[tuple[list[int], int]]]]:
    """The class of each byte `[256]`, and the edges by class: bytes that stand on the same edges are of one class."""
    sets = list({bytes_ for edges in nfa.edges for bytes_, _ in edges})
    known: dict[tuple[int, ...], int] = {}
    members = [tuple(k for k, bytes_ in enumerate(sets) if byte in bytes_) for byte in range(256)]
    classes = np.array([known.setdefault(kind, len(known)) for kind in members])
    kinds = {bytes_: sorted({int(classes[byte]) for byte in bytes_}) for bytes_ in sets}
    return classes, [[(kinds[bytes_], target) for bytes_, target in edges] for edges in nfa.edges]


@njit
def _find(values, offsets, rows, table, accepts, to_end):
    out = np.full(len(offsets) - 1, -1, np.int64)
    for row in range(len(offsets) - 1):
        if not rows[row]:
            continue
        state = np.uint16(0)
        stop = min(offsets[row + 1], offsets[row] + MAX_BYTES)
        for at in range(offsets[row], stop):
            state = table[state, values[np.uint64(at)]]
            if accepts[state] and (not to_end or at + 1 == offsets[row + 1]):
                out[row] = at + 1 - offsets[row]
                break
    return out
