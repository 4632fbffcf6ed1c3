"""A short run of ASCII without apostrophes, cut as `clet.priority.runs` cuts any run, by masks of its bytes.

Most runs that are no plain word are of this kind: names and calls in code, paths, quoted words, list marks. Where their
letters, full stops and separators are is known as bits of words already (`clet.vectors`), so that the cuts are
found from one separator to the next instead of from one character to the next. What is rare at the end of a run (a full
stop, a unit of measure) is left to `runs`. Cost: 10 to 30 ns a run.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf
from clet.priority import characters as ch
from clet.priority.runs import (
    BACK,
    DIGIT,
    DOT,
    FRONT,
    LETTER,
    PLUS,
    RARE_END,
    front_end,
    is_address,
    piece_end,
    tail,
)
from clet.vectors import first_bit

_U, _U32 = np.uint64, np.uint32
_ONE = _U(1)
_ALNUM = _U32(ch.LETTER | ch.DIGIT)
_DASHES = _U32(ch.HYPHEN)
_JOINTS = _U32(ch.HYPHEN | ch.JOINT)
_LETTERS = _U32(ch.LETTER)
_BEFORE_DOT, _BEHIND_DOT = _U32(ch.LOWER | ch.QUOTE), _U32(ch.UPPER | ch.QUOTE)
_DIGITS = _U32(ch.ASCII_DIGIT)
_NONE = _U32(0)
_STAR, _COMMA, _HYPHEN, _STOP, _CARET = 42, 44, 45, 46, 94


@leaf(forceinline=True)
def cut_ascii(data, begin, end, classes, kinds, known, has, inside, dots, slashes, cuts, count):
    """Units of the run `data[begin:end]`; returns their number with the `count` before.

    `inside` are the marks that it may be cut at, `dots` full stops, `slashes` slashes and colons: bits from `begin` on.
    """
    low, high = begin, end
    while low < end:  # what comes apart in front
        stop = low + _ONE
        if not kinds[data[low]] & FRONT:
            if not (kinds[data[low]] & DOT or data[low] == PLUS):
                break
            stop = min(front_end(data, low, end, classes), end)
            if stop == low:
                break
        cuts[count, 0], cuts[count, 1] = low, stop
        count += 1
        low = stop
    while high > low and kinds[data[high - _ONE]] & BACK:
        high -= _ONE
    if high > low:
        last = kinds[data[high - _ONE]]
        if last & RARE_END or (last & LETTER and has & DIGIT):
            high = tail(data, low, high, classes, kinds, known, has)
    if low < high:
        part = ((_ONE << (high - low)) - _ONE) << (low - begin)
        start = low
        if inside & part and not (slashes & part and _is_address(data, low, high, dots & part)):
            start, count = _cut_core(data, begin, low, high, inside & part, classes, cuts, count)
        if start < high:
            cuts[count, 0], cuts[count, 1] = start, high
            count += 1
    while high < end:  # what came apart behind, in its order
        stop = high + _ONE if kinds[data[high]] & BACK else piece_end(data, high, end, classes)
        cuts[count, 0], cuts[count, 1] = high, stop
        count += 1
        high = stop
    return count


@leaf(forceinline=True)
def _is_address(data, low, high, dots):
    """Whether what is between the pieces at both ends stays whole; without a full stop only a scheme makes it so."""
    if dots:
        return is_address(data, low, high)
    at = low
    while 97 <= data[at] | 32 <= 122:
        at += _ONE
    if at == low or at + _U(3) >= high:
        return False
    return data[at] == 58 and data[at + _ONE] == 47 and data[at + _U(2)] == 47


@leaf(forceinline=True)
def _cut_core(data, begin, low, high, marks, classes, cuts, count):
    """Cut at those of `marks` that stand between what they part; (where the last unit begins, number of units)."""
    start, done = low, low
    while marks:
        at = begin + first_bit(marks)
        marks &= marks - _ONE
        if at < done:  # of several dashes or full stops, which are one
            continue
        mark, stop, apart = data[at], at + _ONE, False
        if mark == _STOP and data[stop] == _STOP and stop < high:
            while stop < high and data[stop] == _STOP:
                stop += _ONE
            apart = True
        elif at > low and stop < high:
            kind = classes[mark]
            while kind & _DASHES and data[stop] == _HYPHEN and stop < high:
                stop += _ONE
            earlier, after = classes[data[at - _ONE]], classes[data[stop]] if stop < high else _NONE
            before, behind = (_ALNUM, _LETTERS) if kind & _JOINTS else (_NONE, _NONE)
            before, behind = (_LETTERS, _LETTERS) if mark == _COMMA else (before, behind)
            before, behind = (_BEFORE_DOT, _BEHIND_DOT) if mark == _STOP else (before, behind)
            apart = (earlier & before != 0) & (after & behind != 0)
            if mark in (PLUS, _HYPHEN, _STAR, _CARET):
                number = 48 <= data[stop] <= 57 or data[stop] == _HYPHEN
                apart |= number and earlier & _DIGITS != 0
        done = stop
        if apart:
            if start < at:
                cuts[count, 0], cuts[count, 1] = start, at
                count += 1
            cuts[count, 0], cuts[count, 1] = at, stop
            count += 1
            start = stop
    return start, count
