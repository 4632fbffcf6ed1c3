"""A run of characters without white space, cut into words and marks as spaCy's English rules do.

First what comes apart in front: punctuation, quotes, currencies, symbols. Then from the end: the same, full stops that
are no part of an abbreviation, `'s`, units behind a number. What is left stays whole if it is an address, gives up
`n't`, `'ll` and their like, or is cut at hyphens, slashes, colons, commas and full stops between letters. Left out are
spaCy's lists of emoticons, clock times and colloquial spellings, and all but the common abbreviations.

Short runs of ASCII are cut by `clet.priority.asciiruns`, to the same pieces.

Cost: 20 to 60 ns a run; `has`, the kinds of bytes in it, says what need not be looked for. Linear in the run's length.
"""

from __future__ import annotations

import functools

import numpy as np

from clet.kernels import leaf
from clet.priority import characters as ch
from clet.priority.characters import before, class_of, classes, code_point
from clet.priority.keys import hash_word, key_of

_ABBREVIATIONS = (
    "Mr Mrs Ms Dr Prof St Jr Sr Gen Rep Sen Gov Lt Col Capt Adm Rev Hon Inc Ltd Co Corp Bros vs v e.g i.e E.g I.e a.m "
    "p.m Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mt Ph.D a b c d e f g h i j k l m n o p q r s t u v w x y z"
)
_UNITS = "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mb MB kb KB gb GB tb TB T G M K am pm a.m p.m"
_U = np.uint64
_KNOWN = 512  # slots for the endings, a fifth of them filled
_UNIT = _U(0xA5A5A5A5A5A5A5A5)  # sets a unit's key apart from that of the same letters as an abbreviation
_ONE = _U(1)
# Kinds of bytes, as bits, so that one number says what a run has in it.
LETTER, DIGIT, BLANK, NEWLINE, HIGH, HASH = (np.uint16(1 << i) for i in range(6))
DOT, TICK, SEPARATOR, OTHER, FRONT, BACK, SLASH, DOTS, RARE_END = (np.uint16(1 << i) for i in range(6, 15))
SPACE = np.uint16(BLANK | NEWLINE)
_SLASH, _APOSTROPHE, _CURLY = 47, 39, 0x2019
_ALNUM = np.uint32(ch.LETTER | ch.DIGIT)
_N, _T, _W, _S, _CAPITAL_S, PLUS = 110, 116, 119, 115, 83, 43


@functools.cache
def byte_kinds() -> np.ndarray:
    """What a byte is to `split`, `[256]` uint16."""
    kinds = np.full(256, OTHER, np.uint16)
    kinds[65:91] = kinds[97:123] = LETTER
    kinds[48:58] = DIGIT
    kinds[[9, 11, 12, 13, 28, 29, 30, 31, 32]] = BLANK
    kinds[10] = NEWLINE
    kinds[128:] = HIGH
    kinds[35], kinds[46], kinds[39] = HASH, DOT, TICK
    kinds[list(b"-~:<>=/,+*^")] = SEPARATOR
    kinds[list(b"/:")] |= SLASH
    bits = classes()[:128]
    kinds[:128] |= np.where(bits & ch.BEFORE, FRONT, 0).astype(np.uint16)
    kinds[:128] |= np.where(bits & ch.BEHIND, BACK, 0).astype(np.uint16)
    kinds[37] &= ~BACK  # the percent sign needs a number before it
    kinds[list(b".+%$")] |= RARE_END  # whether such a one comes apart at the end of a run depends on what is before it
    return kinds


@functools.cache
def known_endings() -> np.ndarray:
    """Keys of abbreviations that keep their full stop, and of units that come apart behind a number, for `is_known`."""
    units = [key_of(unit) ^ int(_UNIT) for unit in _UNITS.split()]
    slots = np.zeros(_KNOWN, np.uint64)
    for key in (*map(key_of, _ABBREVIATIONS.split()), *units):
        at = key % _KNOWN
        while slots[at]:
            at = (at + 1) % _KNOWN
        slots[at] = key
    return slots


@leaf
def is_known(known, key):
    """Whether a key is in a table as `known_endings` makes it."""
    at = key % _U(_KNOWN)
    while known[at] and known[at] != key:
        at = (at + _ONE) % _U(_KNOWN)
    return known[at] == key


@leaf(forceinline=True)
def cut_run(data, begin, end, classes, kinds, known, whole, has, cuts, count):
    """Units of a run without white space; returns the number of units, and the one that is letters alone, or -1."""
    low, letters = begin, np.int64(-1)
    while low < end:  # what comes apart in front
        kind = kinds[data[low]]
        if kind & (LETTER | DIGIT):
            break
        if kind & FRONT:
            stop = low + _ONE
        else:
            stop = min(front_end(data, low, end, classes), end)
            if stop == low:
                break
        cuts[count, 0], cuts[count, 1] = low, stop
        count += 1
        low = stop
    high = tail(data, low, end, classes, kinds, known, has)
    if low < high:
        inner, at = np.uint16(0), low
        while at < high:
            inner |= kinds[data[at]]
            at += _ONE
        if inner & (SEPARATOR | DOT | TICK | HIGH):
            count = _cut_core(data, low, high, classes, kinds, whole, inner, cuts, count)
        else:
            if inner == LETTER:
                letters = count
            cuts[count, 0], cuts[count, 1] = low, high
            count += 1
    while high < end:  # what came apart behind, in its order
        stop = high + _ONE
        if not kinds[data[high]] & BACK or data[high] == _APOSTROPHE:
            stop = piece_end(data, high, end, classes)
        cuts[count, 0], cuts[count, 1] = high, stop
        count += 1
        high = stop
    return count, letters


@leaf
def front_end(data, low, end, classes):
    """The end of what comes apart in front: of two or more full stops, a plus sign, or a sign beyond ASCII."""
    point, size = code_point(data, low)
    stop = low + _U(size)
    if point == 46 and data[stop] == 46:
        while data[stop] == 46 and stop < end:
            stop += _ONE
        return stop
    if point == PLUS:
        return low if 48 <= data[stop] <= 57 else stop
    return stop if class_of(classes, point) & np.uint32(ch.BEFORE) else low


@leaf(forceinline=True)
def is_link(data, begin, end):
    """Whether a run of bytes begins with `www.` or has `://` in it."""
    if data[begin] == _W and data[begin + _ONE] == _W and data[begin + _U(2)] == _W and data[begin + _U(3)] == 46:
        return end - begin > _U(4)
    at = begin + _ONE
    while at + _U(2) < end:
        if data[at] == _SLASH and data[at + _ONE] == _SLASH and data[at - _ONE] == 58:
            return True
        at += _ONE
    return False


@leaf(forceinline=True)
def tail(data, low, end, classes, kinds, known, has):
    """Where the pieces begin that come apart at the end of a run."""
    high = end
    while high > low:
        kind = kinds[data[high - _ONE]]
        if kind & BACK:
            high -= _ONE
            continue
        if kind & DIGIT or (kind & LETTER and not has & (DIGIT | TICK | HIGH)):
            break
        at = max(before(data, high), low)
        point, _ = code_point(data, at)
        bits = class_of(classes, point)
        earlier = np.uint32(0)
        previous = at
        if at > low:
            previous = max(before(data, at), low)
            earlier = class_of(classes, code_point(data, previous)[0])
        if point == 46:
            if at > low and data[previous] == 46:
                while previous > low and data[previous - _ONE] == 46:
                    previous -= _ONE
                high = previous
                continue
            if at == low or is_known(known, hash_word(data, low, at)):
                break
            if not earlier & np.uint32(ch.ASCII_DIGIT | ch.LOWER | ch.QUOTE | ch.BEHIND | ch.HYPHEN):
                if not earlier & np.uint32(ch.UPPER) or previous == low:
                    break
                third = class_of(classes, code_point(data, max(before(data, previous), low))[0])
                if not third & np.uint32(ch.UPPER):
                    break
            high = at
        elif point == PLUS or point == 37 or bits & np.uint32(ch.CURRENCY):
            if not earlier & np.uint32(ch.ASCII_DIGIT):
                break
            high = at
        elif bits & np.uint32(ch.BEHIND):
            high = at
        elif point in (_S, _CAPITAL_S) and at > low and _is_apostrophe(data, previous):
            high = previous
        elif bits & np.uint32(ch.LETTER):
            start = _unit_start(data, low, high, known)
            if start == high:
                break
            high = start
        else:
            break
    return high


@leaf(forceinline=True)
def _is_apostrophe(data, at):
    return data[at] == _APOSTROPHE or code_point(data, at)[0] == _CURLY


@leaf
def _unit_start(data, low, high, known):
    """Where up to three ASCII letters of a unit of measure begin behind a digit; `high` if there are none."""
    at = high
    for _ in range(3):
        if at == low or not (65 <= data[at - _ONE] <= 90 or 97 <= data[at - _ONE] <= 122):
            break
        at -= _ONE
    if at < high and at > low and 48 <= data[at - _ONE] <= 57 and is_known(known, hash_word(data, at, high) ^ _UNIT):
        return at
    return high


@leaf
def piece_end(data, at, end, classes):
    """The end of the piece that begins at `at`, among those that came apart at the end of a run."""
    point, size = code_point(data, at)
    stop = at + _U(size)
    if point == 46:
        while stop < end and data[stop] == 46:
            stop += _ONE
    elif point in (_APOSTROPHE, _CURLY) and (data[stop] == _S or data[stop] == _CAPITAL_S):
        stop += _ONE
    elif class_of(classes, point) & np.uint32(ch.LETTER):
        while stop < end and (65 <= data[stop] <= 90 or 97 <= data[stop] <= 122):
            stop += _ONE
    return min(stop, end)


@leaf(forceinline=True)
def _contraction(data, low, high):
    """Where n't, 'm, 'd, 're, 've or 'll begins at the end of a word; `high` if none does."""
    for back in range(2, 6):  # letters behind the apostrophe: one or two; it takes one byte or three
        at = high - _U(back)
        if high - low <= _U(back):
            break
        if data[at] == _APOSTROPHE:
            after = at + _ONE
        elif data[at] == 0xE2 and code_point(data, at)[0] == _CURLY:
            after = at + _U(3)
        else:
            continue
        a, b = data[after] | 32, data[after + _ONE] | 32
        letters = high - after
        if letters == _ONE and a == _T and data[at - _ONE] | 32 == _N:
            return at - _ONE if at - _ONE > low else high
        if letters == _ONE and (a == 109 or a == 100):
            return at
        if letters == _U(2) and ((a == 114 and b == 101) or (a == 118 and b == 101) or (a == 108 and b == 108)):
            return at
    return high


@leaf(forceinline=True)
def _cut_core(data, low, high, classes, kinds, whole, has, cuts, count):
    """Units of what is left between the pieces at both ends; returns the number of units."""
    cut = _contraction(data, low, high) if has & (TICK | HIGH) else high
    if cut < high:
        cuts[count, 0], cuts[count, 1] = low, cut
        cuts[count + 1, 0], cuts[count + 1, 1] = cut, high
        return count + 2
    start, at = low, low
    if has & SLASH and is_address(data, low, high):
        at = high
    earlier = np.uint32(0)
    while at < high:
        if kinds[data[at]] & (LETTER | DIGIT | OTHER):
            earlier = classes[data[at]]
            at += _ONE
            continue
        point, size = code_point(data, at)
        bits = class_of(classes, point)
        stop = min(at + _U(size), high)
        apart = bits & np.uint32(ch.INSIDE) != 0 or point == 0x2026
        if bits & np.uint32(ch.SPACELESS) and not whole:
            apart = True
        elif point == 46 and data[stop] == 46 and stop < high:
            while stop < high and data[stop] == 46:
                stop += _ONE
            apart = True
        elif at > low and stop < high and not bits & _ALNUM:
            if bits & np.uint32(ch.HYPHEN):
                while data[stop] == 45 and stop < high:  # two or three of them are one dash
                    stop += _ONE
            after = class_of(classes, code_point(data, stop)[0]) if stop < high else np.uint32(0)
            if bits & np.uint32(ch.HYPHEN | ch.JOINT):
                apart |= earlier & _ALNUM != 0 and after & np.uint32(ch.LETTER) != 0
            elif point == 44:
                apart |= earlier & after & np.uint32(ch.LETTER) != 0
            elif point == 46:
                apart |= earlier & np.uint32(ch.LOWER | ch.QUOTE) != 0 and after & np.uint32(ch.UPPER | ch.QUOTE) != 0
            if point == PLUS or point == 45 or point == 42 or point == 94:
                apart |= earlier & np.uint32(ch.ASCII_DIGIT) != 0 and (48 <= data[stop] <= 57 or data[stop] == 45)
        if apart:
            if start < at:
                cuts[count, 0], cuts[count, 1] = start, at
                count += 1
            cuts[count, 0], cuts[count, 1] = at, stop
            count += 1
            start = stop
        earlier = bits
        at = stop
    if start < high:
        cuts[count, 0], cuts[count, 1] = start, high
        count += 1
    return count


@leaf
def is_address(data, low, high):
    """Whether all of it looks like scheme://host, www.host/path or host.domain/path, which stay whole."""
    at = low
    while 97 <= data[at] | 32 <= 122 and at < high:
        at += _ONE
    if at > low and at + _U(3) < high and data[at] == 58 and data[at + _ONE] == 47 and data[at + _U(2)] == 47:
        return True
    at = low
    while at + _U(3) < high:
        if at >= low + _U(2) and data[at] == 46 and 97 <= data[at + _ONE] <= 122 and 97 <= data[at + _U(2)] <= 122:
            stop = at + _ONE
            while stop < high and 97 <= data[stop] <= 122:
                stop += _ONE
            if stop < high and (data[stop] == _SLASH or (data[stop] == 58 and 48 <= data[stop + _ONE] <= 57)):
                return True
        if not (48 <= data[at] <= 57 or 97 <= data[at] | 32 <= 122 or data[at] == 45 or data[at] == 46):
            return False
        at += _ONE
    return False
