"""What every match of a regular expression holds: a few strings, one of which must be there.

So texts can be searched for strings, which is far faster than reading them through an automaton (the "factors" of
Navarro and Raffinot 2002; code search engines and RE2's prefilter do the same). The parts of a sequence are put
together as long as they stand for few strings; where one does not, what was put together so far is one candidate, and
a new one begins. Of all candidates the one whose shortest string is longest is taken.

Strings are in lower case: who looks for them has to ignore it (`clet.priority.literals`).
"""

from __future__ import annotations

from re import _constants as c  # type: ignore[attr-defined] - see clet.priority.pattern
from typing import Any

from clet.priority.literals import LEAST, MAX_BLANKS

MAX_STRINGS = 64
MAX_LENGTH = 64

Strings = frozenset[bytes]
_NOTHING: Strings = frozenset((b"",))
_BLANKS = (b" ", b"\t", b"\n", b"\r", b"\v", b"\f")


def required(items: Any) -> Strings:
    """Strings of at least LEAST bytes, one of which is in every match of a parsed pattern; empty where none is known.

    Neither are strings with many blanks, which `clet.priority.literals` could miss.
    """
    exact, inside = _sequence(items)
    best = _better(inside, exact)
    if not best or min(map(len, best)) < LEAST or any(sum(map(string.count, _BLANKS)) > MAX_BLANKS for string in best):
        return frozenset()
    return best


def _better(one: Strings | None, other: Strings | None) -> Strings | None:
    """Of two sets, one of each of which must be there, the one that says more."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda strings: (min(map(len, strings)), -len(strings)))


def _joined(one: Strings, other: Strings) -> Strings | None:
    """Each of one before each of the other; None where that is too many, or too long."""
    if len(one) * len(other) > MAX_STRINGS:
        return None
    found = frozenset(a + b for a in one for b in other)
    return found if max(map(len, found)) <= MAX_LENGTH else None


def _sequence(items: Any) -> tuple[Strings | None, Strings | None]:
    """(all strings that a sequence can be, or None; the best candidate inside it, or None)."""
    whole, best, so_far = True, None, _NOTHING
    for item in items:
        exact, inside = _item(*item)
        joined = _joined(so_far, exact) if exact is not None else None
        if joined is None:
            whole, best = False, _better(_better(best, so_far), inside)
            so_far = exact if exact is not None else _NOTHING
        else:
            so_far = joined
    return so_far if whole else None, None if whole else _better(best, so_far)


def _item(op: Any, value: Any) -> tuple[Strings | None, Strings | None]:
    """The same of one part of a pattern."""
    if op is c.LITERAL:
        return frozenset((chr(value).lower().encode("utf-8", "surrogatepass"),)) if value < 128 else None, None
    if op is c.IN and all(kind is c.LITERAL and member < 128 for kind, member in value):
        return frozenset(chr(member).lower().encode() for _, member in value), None
    if op is c.SUBPATTERN:
        return _sequence(value[3])
    if op is c.BRANCH:
        return _branch([_sequence(branch) for branch in value[1]])
    if op in (c.MAX_REPEAT, c.MIN_REPEAT):
        least, most, part = value
        exact, inside = _sequence(part)
        if (least, most) == (0, 1) and exact is not None:
            return exact | _NOTHING, None
        return None, _better(inside, exact) if least else None
    return None, None


def _branch(found: list[tuple[Strings | None, Strings | None]]) -> tuple[Strings | None, Strings | None]:
    """Of branches: all their strings, or where not all are known a candidate from each."""
    exacts = [exact for exact, _ in found]
    if all(exact is not None for exact in exacts):
        together = frozenset().union(*exacts)
        return (together, None) if len(together) <= MAX_STRINGS else (None, None)
    parts = [_better(exact, inside) for exact, inside in found]
    if any(part is None or not min(map(len, part)) for part in parts):
        return None, None
    together = frozenset().union(*parts)
    return None, together if len(together) <= MAX_STRINGS else None
