"""Claims: what corrections say was wrong, and which of the documents that wait say it.

A correction that names no story is told from the words it has. The units (tokens, and runs of two and of three) of its
notice that its own text does not have are what was wrong: a name, a figure; the keywords of its text
(`clet.priority.topics`) are what it is about. A document says what was corrected if it is about the same, by MIN_EVENT
keywords, and has at least MIN_WRONG of the units that are wrong, half as many as the document that has most; or if it
has MANY_WRONG.

Which of those units mean anything is told by the other documents in the window, those about something else: a unit
that more than MAX_ELSEWHERE of them have is wording ("an earlier version of"). Rarity in the past would not do: what
two hundred copies repeat is no longer rare. So with fewer than MIN_OTHERS other documents nothing is told.

Whom a correction counts against: always its own origin; others if it comes from an established origin, and those with
proven standing only if it has that too. So an unknown origin cannot correct away what a paper says.

The last CLAIMS corrections are remembered, for CLAIM_DAYS. Cost, while there are claims: 4 ns a token of what waits, 11
with CLAIMS of them, once or twice; else nothing. Memory: 70 KB, 0.4 MB to look them up, and 1.3 KB a document while it
is compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.priority.credibility import PROVEN, is_established, standing
from clet.priority.novelty import pair_hash, triple_hash
from clet.priority.topics import KEYWORDS
from clet.vectors import count_bits

CLAIMS = 64
CLAIM_DAYS = 14
WORDS = 2
UNITS = 64 * WORDS  # of a notice
KINDS = 3  # of units: runs of one, two and three tokens
MIN_EVENT = 2
MIN_WRONG = 2
# That are enough alone: where the right name is all that the keywords are, what is wrong has none of them.
MANY_WRONG = 8
MIN_OTHERS = 50
MAX_ELSEWHERE = 0.005
MAX_USUAL = 0.3  # of all documents that have a keyword: above, it is none
_TABLE_BITS = 14
_FILTER_BITS = 18
_MET_BITS = 11

_U, _ONE = np.uint64, np.uint64(1)
_SINGLE, _ODD = _U(0xA24BAED4963EE407), _U(0xD6E8FEB86659FD93)
_S29, _S32 = _U(29), _U(32)
_TABLE_SHIFT, _MASK = _U(64 - _TABLE_BITS), _U((1 << _TABLE_BITS) - 1)
_BYTE_SHIFT, _BIT_SHIFT, _SEVEN = _U(64 - _FILTER_BITS + 3), _U(64 - _FILTER_BITS), _U(7)
_MET_SHIFT = _U(64 - _MET_BITS)


class Claims(NamedTuple):
    """A ring of corrections."""

    wrong: np.ndarray  # [CLAIMS, UNITS] uint64: units of the notice alone; 0 for none
    event: np.ndarray  # [CLAIMS, KEYWORDS] uint64: what it is about
    by: np.ndarray  # [CLAIMS] int32: its origin, plus one
    day: np.ndarray  # [CLAIMS] int32
    made: np.ndarray  # [1] int64


def new_claims() -> Claims:
    """None."""
    return Claims(
        np.zeros((CLAIMS, UNITS), np.uint64),
        np.zeros((CLAIMS, KEYWORDS), np.uint64),
        np.zeros(CLAIMS, np.int32),
        np.zeros(CLAIMS, np.int32),
        np.zeros(1, np.int64),
    )


@njit
def believes(r, by, origin):
    """Whether a correction by one origin counts against another."""
    if by == origin:
        return True
    return is_established(r, by) and (standing(r, origin) < PROVEN or standing(r, by) >= PROVEN)


@njit
def fill_units(doc, units):
    """Fill `units` `[KINDS, n]` with the runs of one, two and three tokens that end at each place; 0 for none."""
    size = len(doc)
    one, two, three = units[0], units[1], units[2]
    for at in range(size):
        total = (_U(doc[at]) + _ONE) * _SINGLE
        total = (total ^ (total >> _S29)) * _ODD
        one[at] = (total ^ (total >> _S32)) | _ONE
    for at in range(1, size):
        two[at] = pair_hash(doc[at - 1], doc[at])
    for at in range(2, size):
        three[at] = (triple_hash(doc[at - 2], two[at]) ^ _SINGLE) | _ONE
    for at in range(1, size):
        two[at] |= _ONE
    if size:
        two[0] = three[0] = three[min(1, size - 1)] = _U(0)


@njit
def note_claim(c, ids, begin, end, first, last, keywords, origin, day):
    """Remember a correction: the document `ids[begin:end]`, whose notice is `ids[first:last]`."""
    slot = c.made[0] % CLAIMS
    c.made[0] += 1
    c.wrong[slot, :] = _U(0)
    c.event[slot, :] = keywords
    c.by[slot], c.day[slot] = origin + 1, day
    room = 64
    while room < 2 * KINDS * (end - begin):
        room *= 2
    mask = _U(room - 1)
    own = np.zeros(room, np.uint64)  # units of the rest, by open addressing
    units = np.zeros((KINDS, end - begin), np.uint64)
    fill_units(ids[begin:end], units)
    for at in range(begin, end):
        for kind in range(min(KINDS, at - begin + 1)):
            if not (at >= first and at - kind < last):
                _put(own, mask, units[kind, at - begin])
    count = 0
    for at in range(first, last):
        for kind in range(min(KINDS, at - first + 1)):
            unit = units[kind, at - begin]
            if count < UNITS and _put(own, mask, unit):
                c.wrong[slot, count] = unit
                count += 1


@njit
def _put(table, mask, unit):
    """Add a unit to a set; False where it was there."""
    at = unit >> _U(7) & mask
    while table[at]:
        if table[at] == unit:
            return False
        at = (at + _ONE) & mask
    table[at] = unit
    return True


class Lookup(NamedTuple):
    """The units and keywords of all claims, to be looked up: a table by open addressing, and who asks for each."""

    keys: np.ndarray  # [2^14] uint64
    first: np.ndarray  # [2^14] int16: of those who ask for the key, the first
    claim: np.ndarray  # [n] int16: who asks
    bit: np.ndarray  # [n] int16: which of its units; below 0, keyword -1 - bit
    behind: np.ndarray  # [n] int16: the next who asks for the same, or -1
    filter: np.ndarray  # [2^15] uint8: 2^18 bits, by the first 18 bits of a key


@njit
def lookup_of(c, day):
    """The claims of the last CLAIM_DAYS, and how many there are."""
    size, most = 1 << _TABLE_BITS, CLAIMS * (UNITS + KEYWORDS)
    out = Lookup(
        np.zeros(size, np.uint64),
        np.full(size, -1, np.int16),
        np.zeros(most, np.int16),
        np.zeros(most, np.int16),
        np.zeros(most, np.int16),
        np.zeros(1 << _FILTER_BITS - 3, np.uint8),
    )
    active = number = 0
    for k in range(CLAIMS):
        if c.by[k] == 0 or c.day[k] < day - CLAIM_DAYS:
            continue
        active += 1
        for i in range(UNITS):
            if c.wrong[k, i]:
                number = _add(out, c.wrong[k, i], number, k, i)
        for i in range(KEYWORDS):
            if c.event[k, i]:
                number = _add(out, c.event[k, i] | _ONE, number, k, -1 - i)
    return out, active


@njit
def _add(t, unit, number, claim, bit):
    place = _place(t, unit)
    t.keys[place] = unit
    t.claim[number], t.bit[number], t.behind[number] = claim, bit, t.first[place]
    t.first[place] = number
    t.filter[unit >> _BYTE_SHIFT] |= np.uint8(1 << np.int64(unit >> _BIT_SHIFT & _SEVEN))
    return number + 1


@njit
def _place(t, unit):
    """Where a key stands in the table, or would."""
    place = unit >> _TABLE_SHIFT
    while t.keys[place] and t.keys[place] != unit:
        place = (place + _ONE) & _MASK
    return place


@njit
def _may_have(t, unit):
    return t.filter[unit >> _BYTE_SHIFT] >> (unit >> _BIT_SHIFT & _SEVEN) & _ONE


@njit
def compare(t, ids, begins, ends, rows, wrong, event):
    """Which units of each claim the documents `ids[begins[i]:ends[i]]` have.

    Sets bits of `wrong` `[n, CLAIMS, WORDS]` uint64 and `event` `[n, CLAIMS]` uint32, of each in its row `rows[i]`.
    """
    longest = 0
    for i in range(len(rows)):
        longest = max(longest, ends[i] - begins[i])
    units = np.empty((KINDS, longest), np.uint64)
    met = np.zeros(1 << _MET_BITS, np.uint64)  # what was looked up lately: a text says the same words again and again
    for i in range(len(rows)):
        row, size = rows[i], ends[i] - begins[i]
        fill_units(ids[begins[i] : ends[i]], units)
        document = _U(row + 1) * _ODD
        # One branch for the three: most tokens end none that anybody asks for.
        for at in range(_U(size)):
            if not (_may_have(t, units[0, at]) | _may_have(t, units[1, at]) | _may_have(t, units[2, at])):
                continue
            for kind in range(KINDS):
                unit = units[kind, at]
                if met[unit >> _MET_SHIFT] == unit ^ document or not _may_have(t, unit):
                    continue
                met[unit >> _MET_SHIFT] = unit ^ document
                who = t.first[_place(t, unit)]
                while who >= 0:
                    bit = t.bit[who]
                    if bit >= 0:
                        wrong[row, t.claim[who], bit >> 6] |= _ONE << _U(bit & 63)
                    else:
                        event[row, t.claim[who]] |= np.uint32(1) << np.uint32(-1 - bit)
                    who = t.behind[who]


@njit
def _told(units, telling):
    count = 0
    for word in range(WORDS):
        count += np.int64(count_bits(units[word] & telling[word]))
    return count


@njit
def who_says(c, r, origins, exempt, first, wrong, event):
    """Which documents say what was corrected by whom they have to believe: `[n]` int32, that origin plus one, or 0.

    `first` says which are the first of their cluster: copies are one voice in telling what is usual.
    """
    n = len(origins)
    out = np.zeros(n, np.int32)
    about, told = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    for k in range(CLAIMS):
        if c.by[k] == 0:
            continue
        usual, voices = np.zeros(KEYWORDS, np.int64), 0
        for row in range(n):
            if first[row]:
                voices += 1
                for bit in range(KEYWORDS):
                    usual[bit] += event[row, k] >> np.uint32(bit) & np.uint32(1)
        names = np.uint32(0)
        for bit in range(KEYWORDS):
            if usual[bit] <= MAX_USUAL * voices:
                names |= np.uint32(1) << np.uint32(bit)
        others = 0
        elsewhere = np.zeros(UNITS, np.int64)
        for row in range(n):
            about[row] = count_bits(_U(event[row, k] & names)) >= MIN_EVENT
            if about[row] or not first[row]:
                continue
            others += 1
            for bit in range(UNITS):
                elsewhere[bit] += np.int64(wrong[row, k, bit >> 6] >> _U(bit & 63) & _ONE)
        if others < MIN_OTHERS:
            continue
        telling = np.zeros(WORDS, np.uint64)
        for bit in range(UNITS):
            if elsewhere[bit] <= MAX_ELSEWHERE * others:
                telling[bit >> 6] |= _ONE << _U(bit & 63)
        most = 0
        for row in range(n):
            told[row] = 0 if exempt[row] else _told(wrong[row, k], telling)
            if not about[row] and told[row] < MANY_WRONG:
                told[row] = 0
            most = max(most, told[row])
        if most < MIN_WRONG:
            continue
        for row in range(n):
            if told[row] >= MIN_WRONG and 2 * told[row] >= most and believes(r, c.by[k] - 1, origins[row]):
                out[row] = c.by[k]
    return out
