"""A text cut into words and marks, each a 64-bit key, in one pass over its UTF-8.

White space separates runs; what a run is cut into is that of spaCy's English tokenizer, which the published filters of
datatrove count with (`clet.priority.runs`). In scripts that write no spaces each character is a word of its own, unless
`whole` asks for spaCy's way, a line being one word.

Cost: 3 to 6 ns a byte of English; 29 bytes a word or mark. Runs of ASCII letters, with one mark
behind them or without, take the short way in `split`.
Small helpers are inlined by force: most of the time goes into branches that real text makes unpredictable.
"""

from __future__ import annotations

import functools

import numpy as np

from clet.kernels import leaf
from clet.priority import characters as ch
from clet.priority.asciiruns import cut_ascii
from clet.priority.characters import class_of, classes, code_point
from clet.priority.keys import hash_word
from clet.priority.runs import (
    BACK,
    BLANK,
    DIGIT,
    DOT,
    DOTS,
    HASH,
    HIGH,
    LETTER,
    NEWLINE,
    SLASH,
    SPACE,
    TICK,
    cut_run,
    is_known,
    is_link,
)
from clet.vectors import WIDTH, WORD_WIDTH, count_bits, letters_from, look_at

# ---- flags of a unit
WORD = 1  # has a character that is no punctuation by datatrove's list
LETTERS = 2
DIGITS = 4
ENDS = 8  # is the mark that ends a sentence
POINTS = 16  # of punctuation alone
FIRST = 32  # the first one after white space
LINK = 64  # of a run with :// in it or www. before it

# ---- what is counted on the way
HASHES, HASH_RUNS, ELLIPSES, LINKS, MARKS, ALL_LETTERS, LATIN, SPACELESS, LONG_RUNS = range(9)
NUM_TALLIES = 9
LONG_RUN_BYTES = 1000

_U = np.uint64
_ONE = _U(1)
_W = 119
_TO_DOTS = np.uint16(DOTS // DOT)


@functools.cache
def byte_flags() -> np.ndarray:
    """Flags of a unit that is one ASCII character, `[128]` uint8."""
    bits = classes()[:128]
    table = np.where(bits & ch.QUIET, 0, WORD) | np.where(bits & ch.LETTER, LETTERS, 0)
    table |= np.where(bits & ch.DIGIT, DIGITS, 0) | np.where(bits & ch.STOP, ENDS, 0)
    return (table | np.where(bits & ch.PUNCTUATION, POINTS, 0)).astype(np.uint8)


@leaf
def split(data, begin, end, classes, kinds, singles, known, whole, cuts, keys, sizes, flags, lines, tally):
    """Cut `data[begin:end]`; returns (number of units, number of lines).

    Fills `keys`, `sizes` (characters) and `flags`, and for each line, which ends at a newline or the end, a row of
    `lines`: its first byte, the first and the last-plus-one byte of what is not white space (equal where it is blank),
    its end, and the number of units before its end. `data` is padded by PAD bytes on both sides;
    `classes`, `kinds`, `singles` and `known` are those of `characters`, `byte_kinds`, `byte_flags` and `known_endings`;
    `cuts` `[units, 2]` uint64 becomes each unit's first and last-plus-one byte.
    """
    count = line = 0
    at, end = _U(begin), _U(end)
    line_begin, first, last = at, end, end
    plain = np.int64(0)  # letters of words that stand alone
    while True:
        while at < end:
            kind = kinds[data[at]]
            if kind & BLANK:
                at += _ONE
            elif kind & NEWLINE:
                _close(lines, line, line_begin, first, last, at, count)
                line += 1
                at += _ONE
                line_begin, first, last = at, end, end
            elif kind & HIGH:
                point, size = code_point(data, at)
                if not class_of(classes, point) & np.uint32(ch.SPACE):
                    break
                at += _U(size)
            else:
                break
        if at >= end:
            break
        start = at
        letters = letters_from(data, at)
        at += letters
        if letters == _U(WORD_WIDTH):
            while kinds[data[at]] & LETTER:
                at += _ONE
        if kinds[data[at]] & SPACE:
            cuts[count, 0], cuts[count, 1] = start, at
            keys[count] = hash_word(data, start, at)
            sizes[count] = np.int32(at - start)
            flags[count] = WORD | LETTERS | FIRST
            plain += np.int64(at - start)
            count += 1
        elif at > start and _is_closed(data, start, at, kinds, known):
            cuts[count, 0], cuts[count, 1], cuts[count + 1, 0], cuts[count + 1, 1] = start, at, at, at + _ONE
            keys[count], keys[count + 1] = hash_word(data, start, at), hash_word(data, at, at + _ONE)
            sizes[count], sizes[count + 1] = np.int32(at - start), 1
            flags[count], flags[count + 1] = WORD | LETTERS | FIRST, singles[data[at]]
            plain += np.int64(at - start)
            count += 2
            at += _ONE
        else:
            size, letters_in, digits, inside, hashes, dots, ticks, slashes = look_at(data, start)
            short = size < _U(WIDTH) and kinds[data[start + size]] & SPACE != 0
            if short:
                at = start + size
                part = (_ONE << size) - _ONE
                letters_in, digits, inside = letters_in & part, digits & part, inside & part
                has = DIGIT if digits else np.uint16(0)
                has |= HASH if hashes & part else np.uint16(0)
                has |= DOTS if dots & (dots >> _ONE) & part else np.uint16(0)
                has |= TICK if ticks & part else np.uint16(0)
                has |= SLASH if slashes & (slashes >> _ONE) & (slashes >> _U(2)) & part else np.uint16(0)  # of ://
            else:
                at, has = _run_end(data, at, end, classes, kinds)
                at = min(at, end)
                letters_in = digits = _U(0)
            if has & (HASH | DOTS | HIGH):
                _count_signs(data, start, at, tally)
            linked = (has & SLASH != 0 or data[start] == _W) and is_link(data, start, at)
            tally[LINKS] += linked
            head = count
            more = np.uint8(LINK if linked else 0)
            alone = np.int64(-1)
            if short and not has & TICK:
                count = cut_ascii(data, start, at, classes, kinds, known, has, inside, dots, slashes, cuts, count)
            else:
                count, alone = cut_run(data, start, at, classes, kinds, known, whole, has, cuts, count)
            if short:
                for i in range(head, count):
                    _describe_short(data, start, letters_in, digits, singles, cuts, i, more, keys, sizes, flags)
                plain += np.int64(count_bits(letters_in))
                tally[MARKS] += (letters_in | digits) == 0
            else:
                alnum = _describe(data, classes, singles, cuts, head, count, alone, more, keys, sizes, flags, tally)
                tally[MARKS] += not alnum
            flags[head] |= np.uint8(FIRST)
        tally[LONG_RUNS] += at - start > _U(LONG_RUN_BYTES)
        first = min(first, start)
        last = at
    tally[LATIN] += plain
    tally[ALL_LETTERS] += plain
    _close(lines, line, line_begin, first, last, end, count)
    return count, line + 1


@leaf(forceinline=True)
def _is_closed(data, start, at, kinds, known):
    """Whether one mark behind the letters `data[start:at]` ends a run, and comes apart for sure."""
    mark = kinds[data[at]]
    if not kinds[data[at + _ONE]] & SPACE or mark & (HASH | TICK):
        return False
    if mark & BACK:
        return True
    return data[at] == 46 and data[at - _ONE] >= 97 and not is_known(known, hash_word(data, start, at))


@leaf(forceinline=True)
def _close(lines, line, begin, first, last, end, count):
    lines[line, 0], lines[line, 3], lines[line, 4] = begin, end, count
    lines[line, 1], lines[line, 2] = (first, last) if first < end else (end, end)


@leaf(forceinline=True)
def _run_end(data, at, end, classes, kinds):
    """(the end of a run without white space, the kinds of bytes from `at` on)."""
    has, dots = np.uint16(0), np.uint16(0)
    while True:
        kind = kinds[data[at]]
        while not kind & (SPACE | HIGH):
            has |= kind | (dots & kind & DOT) * _TO_DOTS
            dots = kind
            at += _ONE
            kind = kinds[data[at]]
        if kind & SPACE or at >= end:
            return at, has
        point, size = code_point(data, at)
        if class_of(classes, point) & np.uint32(ch.SPACE):
            return at, has
        has |= kind
        at += _U(size)


@leaf
def _count_signs(data, at, end, tally):
    """Number signs and ellipses of a run."""
    while at < end:
        begin = at
        if data[at] == 35:
            while data[at] == 35 and at < end:
                at += _ONE
            tally[HASHES] += np.int64(at - begin)
            tally[HASH_RUNS] += 1
        elif data[at] == 46:
            while data[at] == 46 and at < end:
                at += _ONE
            tally[ELLIPSES] += np.int64(at - begin) // 3
        else:
            tally[ELLIPSES] += data[at] == 0xE2 and data[at + _ONE] == 0x80 and data[at + _U(2)] == 0xA6
            at += _ONE


@leaf(forceinline=True)
def _flags_of(bits):
    flag = np.uint8(0) if bits & np.uint32(ch.QUIET) else np.uint8(WORD)
    flag |= np.uint8(LETTERS) if bits & np.uint32(ch.LETTER) else np.uint8(0)
    flag |= np.uint8(DIGITS) if bits & np.uint32(ch.DIGIT) else np.uint8(0)
    flag |= np.uint8(ENDS) if bits & np.uint32(ch.STOP) else np.uint8(0)
    return flag | (np.uint8(POINTS) if bits & np.uint32(ch.PUNCTUATION) else np.uint8(0))


@leaf(forceinline=True)
def _describe_short(data, start, letters, digits, singles, cuts, i, more, keys, sizes, flags):
    """Key, size and flags of a unit of ASCII, by the bits of the letters and the digits of its run."""
    begin, end = cuts[i, 0], cuts[i, 1]
    keys[i] = hash_word(data, begin, end)
    sizes[i] = np.int32(end - begin)
    part = ((_ONE << (end - begin)) - _ONE) << (begin - start)
    flag = np.uint8(LETTERS) if letters & part else np.uint8(0)
    flag |= np.uint8(DIGITS) if digits & part else np.uint8(0)
    # Words and marks take turns, which nobody can foresee; marks of more than one byte are rare.
    flag = flag | np.uint8(WORD) if flag else singles[data[begin]]
    if end - begin > _ONE and not (letters | digits) & part:
        flag = np.uint8(POINTS)
        for at in range(begin, end):
            flag &= singles[data[at]]
    flags[i] = more | flag


@leaf
def _describe(data, classes, singles, cuts, head, count, alone, more, keys, sizes, flags, tally):
    """Keys, sizes and flags of the units from `head` on; whether one of them has a letter or a digit.

    `alone` is the one of ASCII letters alone, or -1; `more` are flags that all of them have.
    """
    alnum = False
    for i in range(head, count):
        begin, end = cuts[i, 0], cuts[i, 1]
        keys[i] = hash_word(data, begin, end)
        if i == alone:
            sizes[i] = np.int32(end - begin)
            flags[i] = more | np.uint8(WORD | LETTERS)
            tally[LATIN] += np.int64(end - begin)
            tally[ALL_LETTERS] += np.int64(end - begin)
            alnum = True
            continue
        if end - begin == _ONE and data[begin] < 0x80:
            flag = singles[data[begin]]
            is_letter = flag & np.uint8(LETTERS) != 0
            tally[LATIN] += is_letter
            tally[ALL_LETTERS] += is_letter
            alnum |= flag & np.uint8(LETTERS | DIGITS) != 0
            sizes[i] = 1
            flags[i] = more | flag
            continue
        flag, every, size = np.uint8(0), np.uint8(POINTS | ENDS), np.int64(0)
        at = begin
        while at < end:
            byte = data[at]
            if byte < 0x80:
                here = singles[byte]
                tally[LATIN] += here & np.uint8(LETTERS) != 0
                tally[ALL_LETTERS] += here & np.uint8(LETTERS) != 0
                at += _ONE
            else:
                point, step = code_point(data, at)
                bits = class_of(classes, point)
                here = np.uint8(_flags_of(bits))
                tally[ALL_LETTERS] += bits & np.uint32(ch.LETTER) != 0
                tally[LATIN] += bits & np.uint32(ch.LATIN) != 0
                tally[SPACELESS] += bits & np.uint32(ch.SPACELESS) != 0
                at += _U(step)
            flag |= here
            every &= here
            size += 1
        every &= np.uint8(POINTS | ENDS) if size == 1 else np.uint8(POINTS)
        flag = flag & np.uint8(WORD | LETTERS | DIGITS) | every
        alnum |= flag & np.uint8(LETTERS | DIGITS) != 0
        sizes[i] = size
        flags[i] = more | np.uint8(flag)
    return alnum
