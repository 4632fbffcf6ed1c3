"""What the rules ask of lines and paragraphs, from the words of a text and where its lines begin and end.

Lines are compared by a hash of their bytes. Gopher and FineWeb compare them as they stand; for clet's own rules white
space at both ends does not count, since an indented copy is a copy.

C4's line filter (Raffel et al. 2020) is counted here without changing the text: which lines it would keep and how many
sentences they have.

Cost: 20 to 40 ns a line and 0.3 ns a byte; 16 bytes a line.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf
from clet.priority import characters as ch
from clet.priority.characters import before, class_of, code_point
from clet.priority.keys import hash_word, mixed
from clet.priority.repetition import find_slot, room_for
from clet.priority.words import ENDS, FIRST, LONG_RUN_BYTES, LONG_RUNS, POINTS

SHORT_LINE_CHARS = 30  # FineWeb

# ---- what is counted, `[NUM_LINE_STATS]`
(
    ALL_LINES,  # blank ones too, as str.splitlines gives them
    LINES,  # not blank
    LINE_CHARS,  # bytes of them, stripped
    LONGEST_LINE,  # bytes
    DASHED,  # begin with a dash or a round bullet: Gopher's
    BULLETS,  # begin with any bullet
    DOTTED,  # end with an ellipsis
    ENDED,  # end like a sentence; quotes and brackets behind the mark are passed over
    TERMINAL,  # end with such a mark, white space at the end not stripped: FineWeb's
    SHORT_LINES,
    DUP_LINES,  # over SHORT_LINE_CHARS that occurred before: shorter ones are structure (fences, tags)
    DUP_LINE_CHARS,  # bytes of lines that occurred before
    RAW_LINES,  # between runs of newlines
    RAW_DUP_LINES,
    RAW_DUP_LINE_CHARS,
    FULL_DUP_CHARS,  # the same without lines of white space alone: FineWeb's
    PARAGRAPHS,
    DUP_PARAGRAPHS,
    DUP_PARAGRAPH_CHARS,
    SENTENCES,  # in the lines that C4 keeps
    PLACEHOLDER,  # 1 where a line that C4 looks at has it
    CURLY,  # 1 where a line that C4 looks at has a curly bracket
    LOOKED_AT,  # of the first CODE_LINES lines those that are not blank
    STATEMENTS,  # of those, how many end like statements, or are comments
) = range(24)
NUM_LINE_STATS = 24
CODE_LINES = 200

# ---- words that phrases of C4 are made of, as bits of `codes`
LOREM, IPSUM, JAVASCRIPT, TERMS, OF, USE, PRIVACY, COOKIE, POLICY, USES, COOKIES = (1 << (8 + i) for i in range(11))
PHRASE_WORDS = {
    "lorem": LOREM, "ipsum": IPSUM, "javascript": JAVASCRIPT, "terms": TERMS, "of": OF, "use": USE,
    "privacy": PRIVACY, "cookie": COOKIE, "policy": POLICY, "uses": USES, "cookies": COOKIES,
}  # fmt: skip

_U = np.uint64
_ONE = _U(1)
_PLACE = _U(0xA0761D6478BD642F)
_DASH, _ROUND_BULLET, _CURLY_BRACKET, _BRACKET = 45, 0x2022, 123, 93


@leaf
def line_stats(data, classes, lines, num_lines, ascii_only, with_c4, flags, codes, word_of, tally, slots, out):
    """Fill `out` `[NUM_LINE_STATS]`; `codes` are bits of each different word (`PHRASE_WORDS`), `slots` scratch."""
    filled = 0
    for line in range(num_lines):
        filled += lines[line, 0] < lines[line, 3]
    size = room_for(2 * filled)
    mask = _U(size - 1)
    for i in range(2 * size):
        slots[i] = 0
    stripped, raw = slots[:size], slots[size : 2 * size]  # two tables: lines as words, lines and paragraphs as they are
    for i in range(NUM_LINE_STATS):
        out[i] = 0
    unit = 0
    paragraph, paragraph_chars = _U(0), np.int64(0)
    for line in range(num_lines):
        begin, first = _U(lines[line, 0]), _U(lines[line, 1])
        last, end = _U(lines[line, 2]), _U(lines[line, 3])
        units, unit_begin = lines[line, 4], unit
        unit = units
        if begin == end:
            if line == 0 or line == num_lines - 1:
                out[RAW_LINES] += num_lines > 1  # what stands before a first, or behind a last newline
                out[RAW_DUP_LINES] += line == num_lines - 1 and num_lines > 1 and lines[0, 0] == lines[0, 3]
            _end_paragraph(paragraph, paragraph_chars, raw, mask, out)
            paragraph, paragraph_chars = _U(0), np.int64(0)
            continue
        out[RAW_LINES] += 1
        chars = np.int64(end - begin) if ascii_only else _chars(data, begin, end)
        key = hash_word(data, first, last) | _ONE
        exact = key if first == begin and last == end else hash_word(data, begin, end) | _ONE
        slot = find_slot(raw, mask, exact)
        if raw[slot] != 0:
            out[RAW_DUP_LINES] += 1
            out[RAW_DUP_LINE_CHARS] += chars
            out[FULL_DUP_CHARS] += chars if first < last else 0
        raw[slot] = exact
        paragraph = (paragraph ^ exact) * _PLACE
        paragraph_chars += chars + (1 if paragraph_chars else 0)
        if first == last:
            continue
        width = np.int64(last - first)
        out[LINES] += 1
        out[LINE_CHARS] += width
        out[LONGEST_LINE] = max(out[LONGEST_LINE], width)
        out[SHORT_LINES] += chars <= SHORT_LINE_CHARS
        slot = find_slot(stripped, mask, key)
        if stripped[slot] != 0:
            out[DUP_LINES] += width > SHORT_LINE_CHARS
            out[DUP_LINE_CHARS] += width
        stripped[slot] = key
        point, _ = code_point(data, first)
        out[DASHED] += point in (_DASH, _ROUND_BULLET)
        out[BULLETS] += class_of(classes, point) & np.uint32(ch.BULLET) != 0
        if line < CODE_LINES:
            out[LOOKED_AT] += 1
            out[STATEMENTS] += _is_statement(data, first, last)
        _line_end(data, classes, first, last, end, out)
        if with_c4:
            _c4_line(data, first, last, flags, codes, word_of, unit_begin, units, tally, out)
    _end_paragraph(paragraph, paragraph_chars, raw, mask, out)
    out[ALL_LINES] = num_lines - (1 if lines[num_lines - 1, 0] == lines[num_lines - 1, 3] else 0)


@leaf(forceinline=True)
def _is_statement(data, first, last):
    """Ends with one of `;{}:,()=\\`, or begins like a comment with # or // or /*."""
    byte, head = data[last - _ONE], data[first]
    if byte == 59 or byte == 123 or byte == 125 or byte == 58 or byte == 44 or byte == 40 or byte == 41:
        return True
    if byte == 61 or byte == 92 or head == 35:
        return True
    return head == 47 and (data[first + _ONE] == 47 or data[first + _ONE] == 42)


@leaf(forceinline=True)
def _end_paragraph(paragraph, chars, raw, mask, out):
    if chars:
        out[PARAGRAPHS] += 1
        key = mixed(paragraph + _PLACE) | _ONE  # another one than that of its only line
        slot = find_slot(raw, mask, key)
        if raw[slot] != 0:
            out[DUP_PARAGRAPHS] += 1
            out[DUP_PARAGRAPH_CHARS] += chars
        raw[slot] = key


@leaf
def _chars(data, at, end):
    count = np.int64(0)
    while at < end:
        count += data[at] & 0xC0 != 0x80
        at += _ONE
    return count


@leaf
def _line_end(data, classes, first, last, end, out):
    at = max(before(data, last), first)
    point, _ = code_point(data, at)
    bits = class_of(classes, point)
    out[TERMINAL] += bits & np.uint32(ch.STOP) != 0 and last == end
    dots = point == 46 and at >= first + _U(2) and data[at - _ONE] == 46 and data[at - _U(2)] == 46
    if point == 0x2026 or dots:
        out[DOTTED] += 1
        return
    while bits & np.uint32(ch.CLOSING) and at > first:
        at = max(before(data, at), first)
        bits = class_of(classes, code_point(data, at)[0])
    out[ENDED] += bits & np.uint32(ch.STOP) != 0


@leaf
def _c4_line(data, first, last, flags, codes, word_of, unit, units, tally, out):
    """Count a line's sentences if C4 would keep it."""
    last = _before_citations(data, first, last)
    if last == first:
        return
    byte = data[last - _ONE]
    if byte != 46 and byte != 63 and byte != 33 and byte != 34 and byte != 39:
        return
    if byte == 46 and last >= first + _U(3) and data[last - _U(2)] == 46 and data[last - _U(3)] == 46:
        return
    runs, found = 0, np.uint32(0)
    for i in range(unit, units):
        runs += flags[i] & np.uint8(FIRST) != 0
        found |= codes[word_of[i]]
    if runs < 3 or (tally[LONG_RUNS] and _has_long_run(data, first, last)):
        return
    if found & np.uint32(IPSUM) and follow(codes, word_of, unit, units, LOREM, IPSUM):
        out[PLACEHOLDER] = 1
        return
    if found & np.uint32(JAVASCRIPT):
        return
    at = first
    while at < last:
        if data[at] == _CURLY_BRACKET:
            out[CURLY] = 1
            return
        at += _ONE
    if found & np.uint32(POLICY | COOKIES | USE) and _names_policy(codes, word_of, unit, units):
        return
    ended, sentences = False, 1
    for i in range(unit, units):
        if flags[i] & np.uint8(ENDS):
            ended = True
        elif ended and not flags[i] & np.uint8(POINTS):
            sentences += 1
            ended = False
    out[SENTENCES] += sentences


@leaf
def _before_citations(data, first, last):
    """The end of a line without references such as [12], [edit] or [citation needed] behind it."""
    while last > first and data[last - _ONE] == _BRACKET:
        at = last - _ONE
        while at > first and 48 <= data[at - _ONE] <= 57:
            at -= _ONE
        if at > first and data[at - _ONE] == 91:
            last = at - _ONE
            continue
        size = last - first
        if size >= _U(6) and data[last - _U(6)] == 91 and data[last - _U(5)] == 101 and data[last - _U(2)] == 116:
            last -= _U(6)  # [edit]
        elif size >= _U(17) and data[last - _U(17)] == 91 and data[last - _U(16)] == 99 and data[last - _U(7)] == 110:
            last -= _U(17)  # [citation needed]
        else:
            break
    return last


@leaf
def _has_long_run(data, at, last):
    run = 0
    while at < last:
        run = 0 if data[at] <= 32 else run + (data[at] & 0xC0 != 0x80)
        if run > LONG_RUN_BYTES:
            return True
        at += _ONE
    return False


@leaf
def follow(codes, word_of, unit, units, one, other):
    """Whether a word of one code stands before one of the other."""
    for i in range(unit, units - 1):
        if codes[word_of[i]] & np.uint32(one) and codes[word_of[i + 1]] & np.uint32(other):
            return True
    return False


@leaf
def _names_policy(codes, word_of, unit, units):
    """Whether a line has one of C4's phrases about terms and cookies."""
    for i in range(unit, units - 1):
        a, b = codes[word_of[i]], codes[word_of[i + 1]]
        if a & np.uint32(PRIVACY | COOKIE) and b & np.uint32(POLICY):
            return True
        if a & np.uint32(USE | USES) and b & np.uint32(COOKIES):
            return True
        if i + 2 < units and b & np.uint32(OF):
            c = codes[word_of[i + 2]]
            if (a & np.uint32(TERMS) and c & np.uint32(USE)) or (a & np.uint32(USE) and c & np.uint32(COOKIES)):
                return True
    return False
