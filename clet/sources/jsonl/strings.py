"""Strings of JSON into the form in which they are kept, for `scan.py`.

Two forms: the canonical text (`clet.record.canonical_text`), and JSON as orjson writes it again. Escapes are undone,
and what would take more than that is refused: a character that normalisation (NFC) may change or move, one younger
than the table, a control character, white space beyond ASCII at an end of a text. What is given must be UTF-8. A place
is an unsigned index; 0, at which no string of an object can end, says no.

A text is copied byte by byte: where one byte in twenty is an escape, as in code and manuals, blocks of eight or sixteen
took 1.6 times as long, for the branches that were guessed wrong at their ends.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit
from clet.vetting import code_point

SPACE, CONTROL = 4, 8  # bits of `kinds`, beside those of `clet.tokenizing.characters.table`

_U = np.uint64  # unsigned indices: for signed ones numba would allow for counting from the end
_0, _1, _2, _6, _BLOCK = _U(0), _U(1), _U(2), _U(6), _U(16)
_QUOTE, _ESCAPE, _SLASH, _ZERO = np.frombuffer(b'"\\/0', np.uint8)
_LETTER_N, _LETTER_R, _LETTER_T, _LETTER_U = np.frombuffer(b"nrtu", np.uint8)
_BLANK, _TAB, _NEWLINE, _RETURN, _DELETE = np.frombuffer(b" \t\n\r\x7f", np.uint8)
_IS_SPECIAL = np.isin(np.arange(256), [*range(32), _QUOTE, _ESCAPE, *range(127, 256)])
_USUAL = np.zeros(256, np.uint8)  # of the letter of an escape that a text may have, what it stands for
_USUAL[np.frombuffer(b'nt"\\/', np.uint8)] = np.frombuffer(b'\n\t"\\/', np.uint8)
_ONES, _HIGH_BITS = _U(0x0101010101010101), _U(0x8080808080808080)
_NEWLINES = _ONES * _U(_NEWLINE)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_HEX = np.full(256, 255, np.uint8)
_HEX[_DIGITS] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_SHORT = np.zeros(32, np.uint8)  # of a control character, the letter of its escape
_SHORT[[8, 9, 10, 12, 13]] = np.frombuffer(b"btnfr", np.uint8)


@njit
def after_string(values, at, end):
    """The byte behind a string of which `at` is the first, 0 where it is malformed."""
    while True:
        while at + _BLOCK <= end:
            special = np.uint8(0)
            for i in range(_BLOCK):
                byte = values[at + _U(i)]
                special |= np.uint8(byte == _QUOTE) | np.uint8(byte == _ESCAPE) | np.uint8(byte < _BLANK)
            if special:
                break
            at += _BLOCK
        while at < end and values[at] != _QUOTE and values[at] != _ESCAPE and values[at] >= _BLANK:
            at += _1
        if at >= end or values[at] < _BLANK:
            return _0
        if values[at] == _QUOTE:
            return at + _1
        at, _ = _escaped(values, at, end)
        if at == _0:
            return _0


@njit
def _escaped(values, at, end):
    """(the byte behind an escape, the code point it stands for); the first is 0 where it is none."""
    if at + _1 >= end:
        return _0, _0
    byte = values[at + _1]
    if byte in (_QUOTE, _ESCAPE, _SLASH):
        return at + _2, _U(byte)
    for code in range(8, 14):
        if _SHORT[code] == byte:
            return at + _2, _U(code)
    if byte != _LETTER_U:
        return _0, _0
    stop, code = _four_digits(values, at + _2, end)
    if stop != _0 and code >= _U(0xD800) and code < _U(0xE000):
        if code >= _U(0xDC00) or stop + _2 > end or values[stop] != _ESCAPE or values[stop + _1] != _LETTER_U:
            return _0, _0
        stop, low = _four_digits(values, stop + _2, end)
        if stop == _0 or low < _U(0xDC00) or low >= _U(0xE000):
            return _0, _0
        code = _U(0x10000) + ((code - _U(0xD800)) << _U(10)) + (low - _U(0xDC00))
    return stop, code


@njit
def _four_digits(values, at, end):
    if at + _U(4) > end:
        return _0, _0
    code = _0
    for i in range(4):
        digit = _HEX[values[at + _U(i)]]
        if digit == np.uint8(255):
            return _0, _0
        code = code << _U(4) | _U(digit)
    return at + _U(4), code


@njit
def _put(out, at, code):
    """Write a character; the end of it."""
    if code < _U(0x80):
        out[at] = code
        return at + _1
    size = _1 if code < _U(0x800) else _2 if code < _U(0x10000) else _U(3)
    lead = _U(0xC0) if size == _1 else _U(0xE0) if size == _2 else _U(0xF0)
    out[at] = lead | code >> (_6 * size)
    for i in range(_1, size + _1):
        out[at + i] = _U(0x80) | (code >> (_6 * (size - i)) & _U(0x3F))
    return at + size + _1


@njit
def _put_escaped(out, at, code):
    """Write a character as orjson does inside a string; the end of it."""
    if code == _U(_QUOTE) or code == _U(_ESCAPE):
        out[at], out[at + _1] = _ESCAPE, code
        return at + _2
    if code >= _U(32):
        return _put(out, at, code)
    out[at], out[at + _1] = _ESCAPE, _SHORT[code]
    if _SHORT[code]:
        return at + _2
    out[at + _1], out[at + _2], out[at + _U(3)] = _LETTER_U, _ZERO, _ZERO
    out[at + _U(4)], out[at + _U(5)] = _DIGITS[code >> _U(4)], _DIGITS[code & _U(15)]
    return at + _6


@njit
def again(values, at, stop, out, place):
    """Write valid JSON as orjson does; the end of it."""
    inside = False
    while at < stop:
        byte = values[at]
        if byte == _QUOTE:
            inside = not inside
        if inside and byte == _ESCAPE:
            at, code = _escaped(values, at, stop)
            place = _put_escaped(out, place, code)
            continue
        if inside or byte not in (_BLANK, _TAB, _RETURN):
            out[place] = byte
            place += _1
        at += _1
    return place


@njit
def one_line(values, at, end, kinds, limit, out, place):
    """(the byte behind a string of which `at` is the first, the end of it as orjson writes it).

    The first is 0 unless it is one line of at most `limit` characters already, without a blank too many.
    """
    out[place] = _QUOTE
    place += _1
    size, blank = _0, True
    while True:
        if at >= end:
            return _0, place
        byte = values[at]
        if byte == _QUOTE:
            break
        if byte == _ESCAPE:
            at, code = _escaped(values, at, end)
            if at == _0:
                return _0, place
        elif byte < _U(0x80):
            at, code = at + _1, _U(byte)
        else:
            at, code = code_point(values, at)
        if code == _U(32):
            if blank:
                return _0, place
            blank = True
        elif code < _U(32) or kinds[code] != 0:
            return _0, place
        else:
            blank = False
        size += _1
        if size > limit:
            return _0, place
        place = _put_escaped(out, place, code)
    if blank and size:
        return _0, place
    out[place] = _QUOTE
    return at + _1, place + _1


@njit
def line_end(values, words, at):
    """The first newline from `at` on, or the end; `words` are the bytes by eight.

    A byte that is zero makes a high bit when one is taken from it (Mycroft, comp.lang.c 1987).
    """
    end = _U(len(values))
    while at < end and at & _U(7):
        if values[at] == _NEWLINE:
            return at
        at += _1
    word = at >> _U(3)
    while word < _U(len(words)):
        eight = words[word] ^ _NEWLINES
        if (eight - _ONES) & ~eight & _HIGH_BITS:
            break
        word += _1
    at = max(at, word << _U(3))
    while at < end and values[at] != _NEWLINE:
        at += _1
    return at


@njit
def canonical(values, at, end, kinds, out, place):
    """(the byte behind a string of which `at` is the first, the end of its canonical form).

    The first is 0 where that takes more than newlines and blanks, or is empty.
    """
    start = place
    while at < end:  # blanks at the beginning are not written
        if values[at] == _BLANK:
            at += _1
        elif values[at] == _ESCAPE and at + _1 < end and values[at + _1] in (_LETTER_N, _LETTER_R, _LETTER_T):
            at += _2
        else:
            break
    while True:
        while at < end and not _IS_SPECIAL[values[at]]:
            out[place] = values[at]
            at += _1
            place += _1
        if at >= end or values[at] < _BLANK or values[at] == _DELETE:
            return _0, place
        if values[at] == _QUOTE:
            break
        while at < end and values[at] > _DELETE:
            stop, code = code_point(values, at)
            if kinds[code] & ~SPACE:
                return _0, place
            while at < stop:
                out[place] = values[at]
                at += _1
                place += _1
        while at + _1 < end and values[at] == _ESCAPE and _USUAL[values[at + _1]]:
            out[place] = _USUAL[values[at + _1]]
            at += _2
            place += _1
        if at < end and values[at] == _ESCAPE:
            at, code = _escaped(values, at, end)
            if at == _0:
                return _0, place
            if code == _U(_RETURN):
                code = _U(_NEWLINE)
                if at + _1 < end and values[at] == _ESCAPE:
                    if values[at + _1] == _LETTER_N:
                        at += _2
                    elif values[at + _1] == _LETTER_U:
                        return _0, place
            if code != _U(_NEWLINE) and code != _U(_TAB) and kinds[code] & ~SPACE:
                return _0, place
            place = _put(out, place, code)
    while place > start and out[place - _1] in (_BLANK, _TAB, _NEWLINE):
        place -= _1
    if place == start or _is_space(out, start, kinds):
        return _0, place
    last = place - _1
    while out[last] & np.uint8(0xC0) == np.uint8(0x80):
        last -= _1
    return (_0 if _is_space(out, last, kinds) else at + _1), place


@njit
def _is_space(values, at, kinds):
    """Whether a character is white space; of ASCII, also newline and tab."""
    if values[at] < np.uint8(0x80):
        return values[at] in (_BLANK, _TAB, _NEWLINE)
    return kinds[code_point(values, at)[1]] & SPACE != 0
