"""Whether columns that came from outside are what they should be, at memory speed.

A batch's heads have to be records in compact JSON, each name once, exactly as orjson writes them (see `clet.batch`):
only then can a stage splice its object into the bytes. Parsing each and writing it again takes 2 us. `plain_heads`
walks over the bytes once (0.3 us a head of 400 bytes) and says yes only where it is sure; the rest (escapes by number,
floats of 16 digits, deep nesting) the caller parses. So a kernel that knows too little costs time, never safety; that
it never says yes to what the parser refuses is tested on mutations of records.

Numbers: a decimal of at most 15 digits is the shortest that stands for its double, hence what orjson writes, if it has
neither an exponent nor needless zeros (Steele and White, How to print floating-point numbers accurately, 1990).
UTF-8: runs of ASCII are passed 32 bytes at a time, the rest as the Unicode Standard's table 3-7 says.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit

MAX_DEPTH = 32  # objects and lists inside each other
MAX_NAMES = 128  # of the objects that are open
MAX_DIGITS = 15

_U = np.uint64  # unsigned indices: for signed ones numba would allow for counting from the end
_ONE, _BLOCK = _U(1), _U(16)
_QUOTE, _ESCAPE, _COMMA, _COLON, _MINUS, _POINT = np.frombuffer(b'"\\,:-.', np.uint8)
_OBJECT, _OBJECT_END, _LIST, _LIST_END = np.frombuffer(b"{}[]", np.uint8)
_ZERO, _NINE, _A, _F, _N = np.frombuffer(b"09afn", np.uint8)
_HIGH_BITS = _U(0x8080808080808080)
_SPACE = np.uint8(32)
_SHORT_ESCAPES = np.isin(np.arange(256), np.frombuffer(b'"\\bfnrt', np.uint8))
_PRIME, _BASIS = _U(0x100000001B3), _U(0xCBF29CE484222325)  # FNV-1a, to tell names from each other

ID, STRING, OBJECT, FORBIDDEN = range(4)  # what the value of a name at the top must be
_NAMES = {"id": ID, "meta": OBJECT, "text": FORBIDDEN, "tok": FORBIDDEN} | dict.fromkeys(
    ("source", "origin", "url", "title", "lang", "published", "fetched", "raw", "license"), STRING
)
_NAME_BYTES = np.frombuffer("".join(_NAMES).encode(), np.uint8)
_NAME_ENDS = np.cumsum([len(name) for name in _NAMES])
_NAME_KINDS = np.asarray(list(_NAMES.values()))
_WORDS = np.frombuffer(b"true|false|null|", np.uint8)


def plain_heads(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """`[n]` bool: which rows of a byte column certainly are heads of records; nothing is sure in what is no UTF-8."""
    if not is_utf8(values):
        return np.zeros(len(offsets) - 1, np.bool_)
    return _plain_heads(_frozen(values), _frozen(offsets))


def is_utf8(values: np.ndarray) -> bool:
    """Whether bytes `[n]` are UTF-8."""
    values = _frozen(values)
    return bool(_is_utf8(values, values[: len(values) & ~7].view(np.uint64)))


def _frozen(array: np.ndarray) -> np.ndarray:
    """The array, read-only: one type for the kernels, wherever it comes from."""
    view = array.view()
    view.flags.writeable = False
    return view


@njit
def _is_utf8(values, words):
    at, end = _U(0), _U(len(values))
    while at < end:
        word = (at + _U(7)) >> _U(3)
        while at < min(word << _U(3), end) and values[at] < 0x80:
            at += _ONE
        if at == word << _U(3):
            while word + _U(4) <= _U(len(words)):
                some = words[word] | words[word + _ONE] | words[word + _U(2)] | words[word + _U(3)]
                if some & _HIGH_BITS != 0:
                    break
                word += _U(4)
            at = word << _U(3)
        while at < end and values[at] < 0x80:
            at += _ONE
        if at < end:
            size = _character(values, at, end)
            if size == 0:
                return False
            at += size
    return True


@njit
def _character(values, at, end):
    """Bytes of the character beyond ASCII that begins at `at`; 0 where none does."""
    lead = values[at]
    if lead < 0xC2 or lead > 0xF4:
        return _U(0)
    size = _U(2) if lead < 0xE0 else _U(3) if lead < 0xF0 else _U(4)
    if at + size > end:
        return _U(0)
    low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
    high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
    second = values[at + _ONE]
    if second < low or second > high:
        return _U(0)
    for i in range(_U(2), size):
        if values[at + _U(i)] & 0xC0 != 0x80:
            return _U(0)
    return size


@njit
def code_point(values, at):
    """(the byte behind a character beyond ASCII in valid UTF-8, its code point)."""
    lead = _U(values[at])
    second = _U(values[at + _ONE]) & _U(0x3F)
    if lead < _U(0xE0):
        return at + _U(2), (lead & _U(0x1F)) << _U(6) | second
    third = _U(values[at + _U(2)]) & _U(0x3F)
    if lead < _U(0xF0):
        return at + _U(3), (lead & _U(0x0F)) << _U(12) | second << _U(6) | third
    fourth = _U(values[at + _U(3)]) & _U(0x3F)
    return at + _U(4), (lead & _U(0x07)) << _U(18) | second << _U(12) | third << _U(6) | fourth


@njit
def _plain_heads(values, offsets):
    out = np.zeros(len(offsets) - 1, np.bool_)
    names = np.empty(MAX_NAMES, np.uint64)
    first_name = np.empty(MAX_DEPTH + 1, np.int64)  # of each open object in `names`
    is_object = np.empty(MAX_DEPTH + 1, np.bool_)
    for row in range(len(out)):
        out[row] = _is_head(values, _U(offsets[row]), _U(offsets[row + 1]), names, first_name, is_object)
    return out


@njit
def _is_head(values, at, end, names, first_name, is_object):
    if end - at < _U(2) or values[at] != _OBJECT or at >= end:
        return False
    depth, num_names, has_id = 0, 0, False
    first_name[0], is_object[0] = 0, True
    at += _ONE
    opened = True  # nothing was read of the innermost object or list
    while True:
        if at >= end:
            return False
        byte = values[at]
        if byte == (_OBJECT_END if is_object[depth] else _LIST_END):
            num_names = first_name[depth]
            at += _ONE
            if depth == 0:
                return has_id and at == end
            depth -= 1
            opened = False
            continue
        if not opened:
            if byte != _COMMA:
                return False
            at += _ONE
            if at >= end:
                return False
        opened = False
        kind = -1
        if is_object[depth]:
            stop, name = _name(values, at, end)
            if stop == _U(0) or stop >= end or values[stop] != _COLON or num_names == MAX_NAMES:
                return False
            for i in range(first_name[depth], num_names):
                if names[i] == name:
                    return False
            names[num_names] = name
            num_names += 1
            if depth == 0:
                kind = _kind_of(values, at + _ONE, stop - _ONE)
            at = stop + _ONE
            if at >= end:
                return False
        byte = values[at]
        if kind == FORBIDDEN:
            return False
        if kind == ID:
            if not _is_id(values, at, end):
                return False
            has_id = True
        elif (kind == STRING and byte != _QUOTE and byte != _N) or (kind == OBJECT and byte != _OBJECT):
            return False
        if byte == _QUOTE:
            at = _after_string(values, at + _ONE, end)
        elif byte in (_OBJECT, _LIST):
            if depth == MAX_DEPTH:
                return False
            depth += 1
            first_name[depth], is_object[depth] = num_names, byte == _OBJECT
            at += _ONE
            opened = True
        elif byte == _MINUS or (byte >= _ZERO and byte <= _NINE):
            at = after_number(values, at, end)
        else:
            at = after_word(values, at, end)
        if at == _U(0):
            return False


@njit
def _name(values, at, end):
    """(the byte behind a name that begins with its quote at `at`, its hash); 0 where it is none or has an escape."""
    if values[at] != _QUOTE:
        return _U(0), _U(0)
    at += _ONE
    code = _BASIS
    while at < end and values[at] != _QUOTE:
        if values[at] == _ESCAPE or values[at] < _SPACE:
            return _U(0), _U(0)
        code = (code ^ _U(values[at])) * _PRIME
        at += _ONE
    return (at + _ONE if at < end else _U(0)), code


@njit
def _kind_of(values, at, end):
    """What the value of a name at the top must be, -1 for anything."""
    begin = 0
    for i in range(len(_NAME_ENDS)):
        stop = _NAME_ENDS[i]
        if end - at == _U(stop - begin):
            same = True
            for k in range(stop - begin):
                if values[at + _U(k)] != _NAME_BYTES[begin + k]:
                    same = False
                    break
            if same:
                return _NAME_KINDS[i]
        begin = stop
    return -1


@njit
def _is_id(values, at, end):
    if at + _U(34) > end or values[at] != _QUOTE or values[at + _U(33)] != _QUOTE:
        return False
    for i in range(_U(1), _U(33)):
        byte = values[at + i]
        if not ((byte >= _ZERO and byte <= _NINE) or (byte >= _A and byte <= _F)):
            return False
    return True


@njit
def _after_string(values, at, end):
    """The byte behind a string of which `at` is the first, 0 where it does not end or is not written so by orjson."""
    while True:
        while at + _BLOCK <= end:
            special = np.uint8(0)
            for i in range(_BLOCK):
                byte = values[at + _U(i)]
                special |= np.uint8(byte == _QUOTE) | np.uint8(byte == _ESCAPE) | np.uint8(byte < _SPACE)
            if special:
                break
            at += _BLOCK
        while at < end and values[at] != _QUOTE and values[at] != _ESCAPE and values[at] >= _SPACE:
            at += _ONE
        if at >= end or values[at] < _SPACE:
            return _U(0)
        if values[at] == _QUOTE:
            return at + _ONE
        if at + _ONE >= end or not _SHORT_ESCAPES[values[at + _ONE]]:
            return _U(0)
        at += _U(2)


@njit
def after_number(values, at, end):
    """The byte behind a number of few digits in its shortest form, 0 for any other."""
    negative = values[at] == _MINUS
    if negative:
        at += _ONE
    start = at
    while at < end and values[at] >= _ZERO and values[at] <= _NINE:
        at += _ONE
    whole = at - start
    if whole == 0 or whole > _U(MAX_DIGITS) or (values[start] == _ZERO and whole > _ONE):
        return _U(0)
    is_zero = values[start] == _ZERO
    if at < end and values[at] == _POINT:
        at += _ONE
        start = at
        while at < end and values[at] >= _ZERO and values[at] <= _NINE:
            at += _ONE
        part = at - start
        if part == 0 or whole + part > _U(MAX_DIGITS):
            return _U(0)
        if values[at - _ONE] == _ZERO and part > _ONE:
            return _U(0)
        if is_zero and part > _ONE and values[start] == _ZERO and values[start + _ONE] == _ZERO:
            return _U(0)  # small ones get an exponent
    elif negative and is_zero:
        return _U(0)
    if at < end and (values[at] == np.uint8(101) or values[at] == np.uint8(69)):  # e or E
        return _U(0)
    return at


@njit
def after_word(values, at, end):
    """The byte behind true, false or null, 0 for anything else."""
    begin = 0
    for stop in range(len(_WORDS)):
        if _WORDS[stop] != np.uint8(124):  # a bar
            continue
        size = stop - begin
        if at + _U(size) <= end:
            same = True
            for i in range(size):
                if values[at + _U(i)] != _WORDS[begin + i]:
                    same = False
                    break
            if same:
                return at + _U(size)
        begin = stop + 1
    return _U(0)
