"""Counts of a text that quality rules are made of, from its UTF-8 bytes.

A *word* is a run of characters between white space; in scripts that write none between words (Chinese, Japanese, Thai)
each character is one. Addresses, and punctuation that stands alone, are counted apart and are no words. For comparing,
a word is lower-cased (ASCII) and stripped of outer punctuation. A *line* is what stands between newlines, stripped;
blank ones are left out. Repetition of word n-grams: see `clet.priority.repetition`.

Characters are told apart by Unicode ranges, not by the full database: Latin letters, other letters, letters of
scripts without spaces, digits, anything else. Cost: about 0.5 microseconds a word, most of it for repetition; memory
up to 8 bytes a byte of the longest text, of which the first MAX_BYTES are read.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit
from clet.priority.repetition import find_slot, hash_bytes, repeated_ngrams, room_for

SHORT_LINE_CHARS = 30  # FineWeb
MAX_BYTES = 4 << 20  # longer texts are judged by their first 4 MB, so that one document cannot take all memory


class Stat(IntEnum):
    """Columns of the table of counts. Shares are of 0..1."""

    CHARS = 0  # code points without white space
    WORDS = 1
    WORD_CHARS = 2  # in words, outer punctuation stripped
    LETTER_WORDS = 3  # words with at least one letter
    LATIN = 4  # Latin letters
    LETTERS = 5  # letters of any script
    SPACELESS = 6  # letters of scripts without spaces between words
    HASHES = 7  # runs of '#'
    ELLIPSES = 8  # '...' and the character
    LINKS = 9  # runs with '://' in them, or that begin with 'www.'
    STOP_WORDS = 10  # words that are common in some language of STOP_WORDS
    STOP_DISTINCT = 11  # most different ones of one language
    TOP_WORD = 12  # occurrences of the most frequent word of at least 4 letters that is not a stop word
    LINES = 13
    LINE_CHARS = 14  # bytes in lines
    LONGEST_LINE = 15  # bytes
    BULLETS = 16  # lines that begin with a bullet
    DOTTED = 17  # lines that end with an ellipsis
    ENDED = 18  # lines that end like a sentence
    SHORT_LINES = 19
    DUP_LINES = 20  # lines over SHORT_LINE_CHARS that occurred before: shorter ones are structure (fences, tags)
    DUP_LINE_CHARS = 21
    TOP_SHARE = 22  # and the two columns after it: n = 2, 3, 4
    DUP_SHARE = 25  # and the five columns after it: n = 5..10
    MARKS = 31  # runs of punctuation that stand alone: table rules, bullets, art


NUM_STATS = Stat.MARKS + 1

# The most frequent function words by language, eight each. English: Gopher's list.
STOP_WORDS = {
    "en": "the be to of and that have with",
    "de": "der die das und ist nicht von mit",
    "fr": "le la les et des est dans que",
    "es": "el la los que y en por una",
    "it": "il che di la non per una sono",
    "pt": "o que de os uma para com em",
    "nl": "de het een van en dat niet is",
    "pl": "i w na nie si\u0119 jest z do",
}
_LATIN, _LETTER, _SPACELESS, _DIGIT, _OTHER = 1, 2, 3, 4, 5

_U = np.uint64


@njit
def _code_point(data, at, end):
    """(code point, its length in bytes); the bytes are valid UTF-8."""
    first = np.int64(data[at])
    size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if size == 1 or at + size > end:
        return first, 1
    point = first & (0xFF >> (size + 1))
    for i in range(1, size):
        point = (point << 6) | (np.int64(data[at + i]) & 0x3F)
    return point, size


@njit
def _kind(point):
    if point < 0x80:
        if 97 <= point <= 122 or 65 <= point <= 90:
            return _LATIN
        return _DIGIT if 48 <= point <= 57 else _OTHER
    if point < 0xC0 or point == 0xD7 or point == 0xF7:
        return _LATIN if point == 0xAA or point == 0xB5 or point == 0xBA else _OTHER
    if point < 0x250 or 0x1E00 <= point < 0x1F00:
        return _LATIN
    if 0x0E00 <= point < 0x0EE0 or 0x1000 <= point < 0x10A0 or 0x1780 <= point < 0x1800:  # Thai, Lao, Burmese, Khmer
        return _SPACELESS
    if 0x3040 <= point < 0xA000 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x33480:  # Kana, Han
        return _SPACELESS
    if point < 0x2000 or 0x2C00 <= point < 0x2E00 or 0xA000 <= point < 0xD800 or 0xFB1D <= point < 0xFE00:
        return _LETTER
    return _LETTER if 0xFE70 <= point < 0xFF00 or 0x10000 <= point < 0x1D000 else _OTHER


@njit
def _is_space(point):
    return point == 32 or 9 <= point <= 13 or point == 0xA0 or point == 0x3000 or 0x2000 <= point <= 0x200B


@njit
def _scan_words(data, begin, end, stats, words, sizes, stop_keys, stop_masks):
    """Fill `words` (hashes) and `sizes` (characters) `[room]`; returns how many."""
    count, at = 0, begin
    seen = _U(0)
    while at < end:
        point, step = _code_point(data, at, end)
        if _is_space(point):
            at += step
            continue
        word_begin, first, last, length, tail, letters = at, -1, at, 0, 0, 0
        kind = _kind(point)
        while True:
            stats[Stat.CHARS] += 1
            if kind == _OTHER:
                tail += 1
                if point == 35:
                    stats[Stat.HASHES] += at == word_begin or data[at - 1] != 35
                elif point == 0x2026 or (point == 46 and at + 2 < end and data[at + 1] == 46 and data[at + 2] == 46):
                    stats[Stat.ELLIPSES] += point == 0x2026 or at == word_begin or data[at - 1] != 46
            else:
                if first < 0:
                    first, tail = at, 0
                length += 1 + tail
                tail, last = 0, at + step
                if kind != _DIGIT:
                    letters += 1
                    stats[Stat.LETTERS] += 1
                    stats[Stat.LATIN] += kind == _LATIN
                    stats[Stat.SPACELESS] += kind == _SPACELESS
            at += step
            if at >= end or kind == _SPACELESS:
                break
            point, step = _code_point(data, at, end)
            kind = _kind(point)
            if kind == _SPACELESS or _is_space(point):
                break
        key = hash_bytes(data, max(first, begin), last) | _U(1)
        if _is_link(data, word_begin, at):
            stats[Stat.LINKS] += 1
            continue
        if not length:
            stats[Stat.MARKS] += 1
            continue
        words[count], sizes[count] = key, length
        count += 1
        stats[Stat.WORD_CHARS] += length
        stats[Stat.LETTER_WORDS] += letters > 0
        slot = find_slot(stop_keys, key)
        if stop_keys[slot]:
            stats[Stat.STOP_WORDS] += 1
            seen |= stop_masks[slot]
            sizes[count - 1] = -length  # marked, for the most frequent word
    for language in range(8):
        distinct = 0
        for bit in range(8):
            distinct += (seen >> _U(8 * language + bit)) & _U(1) != 0
        stats[Stat.STOP_DISTINCT] = max(stats[Stat.STOP_DISTINCT], distinct)
    stats[Stat.WORDS] = count
    return count


@njit
def _is_link(data, begin, end):
    if end - begin > 4 and data[begin + 3] == 46 and data[begin] == data[begin + 1] == data[begin + 2] == 119:  # www.
        return True
    for i in range(begin, end - 2):  # noqa: SIM110 - compiled, generators are slower: ://
        if data[i] == 58 and data[i + 1] == 47 and data[i + 2] == 47:
            return True
    return False


@njit
def _count_words(words, sizes, count, stats):
    """The most frequent word; takes the marks of stop words off `sizes`."""
    slots, counts = np.zeros(room_for(count), np.uint64), np.zeros(room_for(count), np.int32)
    for i in range(count):
        if sizes[i] < 0:
            sizes[i] = -sizes[i]
        elif sizes[i] >= 4:
            slot = find_slot(slots, words[i])
            slots[slot] = words[i]
            counts[slot] += 1
            stats[Stat.TOP_WORD] = max(stats[Stat.TOP_WORD], counts[slot])


@njit
def _scan_lines(data, begin, end, stats, bullets):
    at, num = begin, 1
    for i in range(begin, end):
        num += data[i] == 10
    slots = np.zeros(room_for(num), np.uint64)
    while at < end:
        stop = at
        while stop < end and data[stop] != 10:
            stop += 1
        first, last = at, stop
        at = stop + 1
        while first < last and data[first] <= 32:
            first += 1
        while first < last and data[last - 1] <= 32:
            last -= 1
        size = last - first
        if not size:
            continue
        stats[Stat.LINES] += 1
        stats[Stat.LINE_CHARS] += size
        stats[Stat.LONGEST_LINE] = max(stats[Stat.LONGEST_LINE], size)
        stats[Stat.SHORT_LINES] += size <= SHORT_LINE_CHARS
        point, _ = _code_point(data, first, last)
        for bullet in bullets:
            stats[Stat.BULLETS] += point == bullet
        _line_end(data, first, last, stats)
        key = hash_bytes(data, first, last) | _U(1)
        slot = find_slot(slots, key)
        if slots[slot]:
            stats[Stat.DUP_LINES] += size > SHORT_LINE_CHARS
            stats[Stat.DUP_LINE_CHARS] += size
        slots[slot] = key


@njit
def _line_end(data, first, last, stats):
    """How a line ends: with an ellipsis, or like a sentence (quotes and brackets after the mark are passed over)."""
    while last > first:
        start = last - 1
        while start > first and data[start] & 0xC0 == 0x80:
            start -= 1
        point, _ = _code_point(data, start, last)
        if point == 0x2026 or (point == 46 and start - first >= 2 and data[start - 1] == 46 and data[start - 2] == 46):
            stats[Stat.DOTTED] += 1
            return
        if point in (33, 46, 63, 0x3002, 0xFF01, 0xFF1F, 0x61F, 0x6D4, 0x964):
            stats[Stat.ENDED] += 1
            return
        if point not in (34, 39, 41, 93, 42, 95, 0x201D, 0x2019, 0xBB, 0x300D, 0xFF09):
            return
        last = start


@njit
def _measure(data, offsets, stop_keys, stop_masks, bullets, out):
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        if end - begin > MAX_BYTES:
            end = begin + MAX_BYTES
            while data[end] & 0xC0 == 0x80:
                end -= 1
        stats = out[row]
        _scan_lines(data, begin, end, stats, bullets)
        room = (end - begin) // 2 + 1  # a word is a byte and a space, or a character of three bytes
        words, sizes = np.empty(room, np.uint64), np.empty(room, np.int64)
        count = _scan_words(data, begin, end, stats, words, sizes, stop_keys, stop_masks)
        _count_words(words, sizes, count, stats)
        if stats[Stat.WORD_CHARS]:
            repeated_ngrams(words[:count], sizes, stats[Stat.TOP_SHARE : Stat.TOP_SHARE + 9])


def _stop_table() -> tuple[np.ndarray, np.ndarray]:
    """Stop words as (keys, masks): bit 8 * language + word of every language that has the word."""
    size = 256
    keys, masks = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    for i, text in enumerate(STOP_WORDS.values()):
        for j, word in enumerate(text.split()):
            body = np.frombuffer(word.encode(), np.uint8)
            key = np.uint64(hash_bytes(body, 0, len(body))) | np.uint64(1)
            slot = find_slot(keys, key)
            keys[slot] = key
            masks[slot] |= np.uint64(1) << np.uint64(8 * i + j)
    return keys, masks


BULLETS = np.array([ord(c) for c in "-*\u2022\u2023\u25e6\u25aa\u25cf\u25a0\u00b7\u25b6"], np.int64)
_table: tuple[np.ndarray, np.ndarray] | None = None


def measure(text: Ragged) -> np.ndarray:
    """Counts `[n, NUM_STATS]` float64 of each row of UTF-8 text; columns as in `Stat`."""
    global _table
    if _table is None:
        _table = _stop_table()
    out = np.zeros((len(text), NUM_STATS))
    data = text.values.view()
    data.flags.writeable = False  # as it comes from a frame: kernels are compiled for one kind of array
    _measure(data, np.array(text.offsets), *_table, BULLETS, out)
    return out
