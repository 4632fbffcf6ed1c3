"""Lines of JSON into the columns of a batch, many in one call: what most lines are, at memory speed.

One line read by itself (`line.py`) costs a hundred steps of the interpreter, most of which find nothing to do: a text
that is in canonical form, a title of one plain line, a few fields that are kept as they are. The kernel here reads a
block of lines once. It unescapes each text into the column, copies what becomes part of the head in the form in which
orjson writes it, and says of each line whether it was sure of all that. Where it was not (a number of many digits, a
combining accent, two equal names, anything malformed) the line is read by itself, so a kernel that knows too little
costs time and never changes a document; that both ways agree is tested on every kind of line and on mutations of them.

Time: 1.7 ns a byte of text with many escapes, 1 of prose. Memory: as much as the block, twice.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from clet.kernels import njit
from clet.sources.adapter import MAX_TEXT_BYTES
from clet.sources.fields import DATES, LANGUAGES, ORIGINS, TEXT
from clet.sources.jsonl.strings import CONTROL, SPACE, after_string, again, canonical, line_end, one_line
from clet.tokenizing.characters import table
from clet.vetting import after_number, after_word, is_utf8

BLANK, DOUBTFUL, SURE = range(3)  # what a line is
MAX_DEPTH = 16  # of values inside each other
MAX_NAMES = 128  # of the objects that are open
MAX_META_BYTES = 16 << 10

SLACK = 64  # bytes that are copied in blocks may run over the end of a column

# Fields that become one line each, with the most characters of it, then dates, then what is none of these.
ONE_LINE = (*ORIGINS, *LANGUAGES, "url", "title", "license")
NAMES = (*ONE_LINE, *DATES, *TEXT, "meta", "tok", "id")
_LIMITS = np.array([200, 200, 200, 16, 16, 2048, 500, 200], np.uint64)
_FIRST_DATE, _FIRST_TEXT = len(ONE_LINE), len(ONE_LINE) + len(DATES)
_META, _ID = NAMES.index("meta"), NAMES.index("id")
_LANG, _SOURCE = (NAMES.index("lang"), NAMES.index("language")), NAMES.index("source")
_NAME_BYTES = np.frombuffer("".join(NAMES).encode(), np.uint8)
_NAME_ENDS = np.cumsum([len(name) for name in NAMES])

_U = np.uint64  # unsigned indices: for signed ones numba would allow for counting from the end
_0, _1, _2, _BLOCK = _U(0), _U(1), _U(2), _U(16)
_QUOTE, _ESCAPE, _COMMA, _COLON = np.frombuffer(b'"\\,:', np.uint8)
_OBJECT, _OBJECT_END, _LIST, _LIST_END = np.frombuffer(b"{}[]", np.uint8)
_ZERO, _NINE, _MINUS, _QUESTION = np.frombuffer(b"09-?", np.uint8)
_LETTER_N = np.uint8(ord("n"))
_BLANK, _TAB, _NEWLINE, _RETURN, _DELETE = np.frombuffer(b" \t\n\r\x7f", np.uint8)
_PRIME, _BASIS = _U(0x100000001B3), _U(0xCBF29CE484222325)  # FNV-1a, to tell names from each other
_IS_LOWER_HEX = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdef", np.uint8))


class Lines(NamedTuple):
    """What a block of `n` lines holds. Rows of lines that are not SURE are empty."""

    state: np.ndarray  # [n] uint8
    begins: np.ndarray  # [n] int64, where the line begins in the block
    stops: np.ndarray  # [n] int64, its newline
    text: np.ndarray  # [total] uint8, canonical UTF-8
    text_offsets: np.ndarray  # [n + 1] int64
    extra: np.ndarray  # uint8: what `spans` of all but dates and ids point into, and room for more
    extra_size: int
    spans: np.ndarray  # [n, len(NAMES), 2] int64; both 0 where it is missing, as `text` and `tok` always are
    is_record: np.ndarray  # [n] bool: may be a record that comes again, if its id is that of its text


def scan(block: bytes, room: int, room_per_line: int) -> Lines:
    """Read a block of lines, without its last newline. So many bytes are left free at the end of `extra`."""
    values = np.frombuffer(block, np.uint8)
    words = values[: len(values) & ~7].view(np.uint64)
    size = np.count_nonzero(values == _NEWLINE) + 1
    bounds = np.zeros((2, size), np.int64)
    state = np.full(size, DOUBTFUL, np.uint8)
    text, text_offsets = np.empty(len(values) + SLACK, np.uint8), np.zeros(size + 1, np.int64)
    extra = np.empty(len(values) + room + (room_per_line + SLACK) * size, np.uint8)
    spans, is_record = np.zeros((size, len(NAMES), 2), np.int64), np.zeros(size, np.bool_)
    readable = is_utf8(values)
    end = _scan(values, words, _kinds(), text, extra, state, bounds, text_offsets, spans, is_record, readable)
    return Lines(state, *bounds, text[: text_offsets[-1]], text_offsets, extra, end, spans, is_record)


@cache
def _kinds() -> np.ndarray:
    """For each code point `[0x110000]` uint8: 0 if it stays as it is wherever it stands, and is no white space."""
    kinds = table().copy()
    spaces = [0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
    kinds[spaces] |= SPACE
    kinds[[*range(9), *range(11, 32), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF]] |= CONTROL
    kinds[0xD800:0xE000] |= CONTROL
    kinds.flags.writeable = False
    return kinds


@njit
def _scan(values, words, kinds, text, extra, state, bounds, text_offsets, spans, is_record, readable):
    names = np.empty(MAX_NAMES, np.uint64)
    first_name = np.empty(MAX_DEPTH + 1, np.int64)
    is_object = np.empty(MAX_DEPTH + 1, np.bool_)
    members = np.empty((MAX_NAMES, 3), np.uint64)
    at, stop, text_at, extra_end = _0, _0, _0, _0
    for line in range(len(state)):
        stop = line_end(values, words, at)
        bounds[0, line], bounds[1, line] = at, stop
        begin = _after_space(values, at, stop)
        if begin == stop:
            state[line] = BLANK
        elif readable:
            text_end, more, record = _document(
                values, begin, stop, kinds, text, text_at, extra, extra_end, spans[line],
                names, first_name, is_object, members,
            )  # fmt: skip
            if text_end != _0:
                state[line] = SURE
                text_at, extra_end, is_record[line] = text_end, more, record
            else:
                spans[line] = 0
        text_offsets[line + 1] = text_at
        at = stop + _1
    return np.int64(extra_end)


@njit
def _document(
    values, at, end, kinds, text, text_at, extra, extra_at, spans, names, first_name, is_object, members
):  # fmt: skip
    """(end of the text, end of what is kept beside it, whether it may be a record); the first is 0 where in doubt."""
    doubtful = (_0, _0, False)
    if values[at] != _OBJECT:
        return doubtful
    at = _after_space(values, at + _1, end)
    num_names, num_members, text_end, meta_at, is_record = 0, 0, _0, _0, False
    while True:
        if at >= end or num_names == MAX_NAMES:
            return doubtful
        name_at = at
        at, code = _name(values, at, end)
        if at == _0:
            return doubtful
        for i in range(num_names):
            if names[i] == code:
                return doubtful
        names[num_names] = code
        num_names += 1
        slot = _slot(values, name_at + _1, at - _1)
        at = _after_space(values, at, end)
        if at >= end or values[at] != _COLON:
            return doubtful
        at = _after_space(values, at + _1, end)
        if at >= end:
            return doubtful
        value_at, byte = at, values[at]
        is_text = byte == _QUOTE
        if slot >= _FIRST_TEXT and slot < _META and is_text:
            if text_end != _0:
                return doubtful
            at, text_end = canonical(values, at + _1, end, kinds, text, text_at)
        elif slot >= 0 and slot < _FIRST_DATE and is_text:
            at, stop = one_line(values, at + _1, end, kinds, _LIMITS[slot], extra, extra_at)
            if stop > extra_at + _2:  # not empty
                if slot in _LANG and stop == extra_at + _U(3) and extra[extra_at + _1] == _QUESTION:
                    return doubtful
                spans[slot, 0], spans[slot, 1] = extra_at, stop
                extra_at = stop
        else:
            at = _after_value(values, at, end, names, num_names, first_name, is_object)
        if at == _0:
            return doubtful
        if slot < 0 or slot == _ID:
            members[num_members, 0], members[num_members, 1], members[num_members, 2] = name_at, at, code
            num_members += 1
        if slot == _ID and is_text and _is_id(values, value_at, at):
            spans[_ID, 0], spans[_ID, 1] = value_at + _1, at - _1
        elif slot == _SOURCE and is_text:
            is_record = True
        elif slot >= _FIRST_DATE and slot < _FIRST_TEXT and (is_text or byte == _MINUS or byte <= _NINE):
            spans[slot, 0], spans[slot, 1] = value_at, at
        elif slot >= _FIRST_TEXT and slot < _META and not is_text and byte != _LETTER_N:
            return doubtful
        elif slot == _META and byte == _OBJECT:
            meta_at = value_at
        at = _after_space(values, at, end)
        if at >= end:
            return doubtful
        if values[at] == _OBJECT_END:
            break
        if values[at] != _COMMA:
            return doubtful
        at = _after_space(values, at + _1, end)
    if _after_space(values, at + _1, end) != end or text_end == _0 or text_end - text_at > _U(MAX_TEXT_BYTES):
        return doubtful
    stop = _meta(values, end, meta_at, extra, extra_at, members, num_members, names, first_name, is_object)
    if stop == _0 or stop - extra_at > _U(MAX_META_BYTES):
        return doubtful
    spans[_META, 0], spans[_META, 1] = extra_at, stop
    return text_end, stop, is_record and spans[_ID, 1] != 0


@njit
def _meta(values, end, meta_at, extra, at, members, num_members, names, first_name, is_object):
    """The end of an object of what `meta` holds and the members beside it; 0 where one name is in both."""
    extra[at] = _OBJECT
    at += _1
    start = at
    if meta_at != _0:
        place = _after_space(values, meta_at + _1, end)
        while values[place] != _OBJECT_END:
            name_at = place
            place, code = _name(values, place, end)
            for i in range(num_members):
                if members[i, 2] == code:
                    return _0
            place = _after_space(values, _after_space(values, place, end) + _1, end)
            place = _after_value(values, place, end, names, 0, first_name, is_object)
            at = again(values, name_at, place, extra, at)
            extra[at] = _COMMA
            at += _1
            place = _after_space(values, place, end)
            if values[place] == _COMMA:
                place = _after_space(values, place + _1, end)
    for i in range(num_members):
        at = again(values, members[i, 0], members[i, 1], extra, at)
        extra[at] = _COMMA
        at += _1
    at -= _1 if at > start else _0
    extra[at] = _OBJECT_END
    return at + _1


@njit
def _after_space(values, at, end):
    while at < end and (values[at] == _BLANK or values[at] == _TAB or values[at] == _RETURN):
        at += _1
    return at


@njit
def _name(values, at, end):
    """(the byte behind a name that begins with its quote at `at`, its hash); 0 where it is not plain ASCII."""
    if at >= end or values[at] != _QUOTE:
        return _0, _0
    at += _1
    code = _BASIS
    while at < end and values[at] != _QUOTE:
        byte = values[at]
        if byte == _ESCAPE or byte < _BLANK or byte >= _DELETE:
            return _0, _0
        code = (code ^ _U(byte)) * _PRIME
        at += _1
    return (at + _1 if at < end else _0), code


@njit
def _slot(values, at, end):
    """Which of NAMES stands there, -1 for none."""
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
                return i
        begin = stop
    return -1


@njit
def _is_id(values, at, end):
    if end - at != _U(34):
        return False
    same = True
    for i in range(_U(1), _U(33)):
        same &= _IS_LOWER_HEX[values[at + i]]
    return same


@njit
def _after_value(values, at, end, names, base, first_name, is_object):
    """The byte behind a value, 0 where it is not one that is written again as it is but for white space and escapes.

    `names` from `base` on is room for the names of objects inside.
    """
    depth, num_names = 0, base
    while True:
        if at >= end:
            return _0
        byte, opened = values[at], False
        if byte == _QUOTE:
            at = after_string(values, at + _1, end)
        elif byte in (_OBJECT, _LIST):
            if depth == MAX_DEPTH:
                return _0
            is_object[depth], first_name[depth] = byte == _OBJECT, num_names
            depth += 1
            at += _1
            opened = True
        elif byte == _MINUS or (byte >= _ZERO and byte <= _NINE):
            at = after_number(values, at, end)
        else:
            at = after_word(values, at, end)
        if at == _0:
            return _0
        while True:  # behind a value, or behind what opens one
            if depth == 0:
                return at
            at = _after_space(values, at, end)
            if at >= end:
                return _0
            if values[at] == (_OBJECT_END if is_object[depth - 1] else _LIST_END):
                depth -= 1
                num_names = first_name[depth]
                at += _1
                opened = False
                continue
            if not opened:
                if values[at] != _COMMA:
                    return _0
                at = _after_space(values, at + _1, end)
            if is_object[depth - 1]:
                at, code = _name(values, at, end)
                if at == _0 or num_names == MAX_NAMES:
                    return _0
                for i in range(first_name[depth - 1], num_names):
                    if names[i] == code:
                        return _0
                names[num_names] = code
                num_names += 1
                at = _after_space(values, at, end)
                if at >= end or values[at] != _COLON:
                    return _0
                at = _after_space(values, at + _1, end)
            break
