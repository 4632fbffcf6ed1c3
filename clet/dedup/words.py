"""The words of a document as keyed hashes, from its text or from its token ids: the same words either way.

A *word* is a run of letters, digits, underscores and marks, its ASCII letters lower-cased; what stands between words
(white space, punctuation, symbols) is left out. In scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese) each character is a word. Two documents therefore have the same words whatever tokenizer made their ids, and
whether a quotation mark is straight or curly.

A word is hashed as a polynomial in its bytes modulo 2^64 with a secret odd base, which composes: the hash of two parts
together is hash(a) * base^len(b) + hash(b). So a token whose bytes are part of one word, or begin one, costs one
multiplication and no branch, and only tokens with several words in them, or with parts of a character, are walked
through byte by byte. A text is the same with bytes for tokens. The finished sum is keyed and mixed. Letters are told
apart by the first two bytes of a character: the classes are fixed here, not taken from a Unicode database, since
hashes are kept in indexes for years.

Cost: 2 ns a token, 2 ns a byte of text. Choose token n-grams where only one tokenizer will ever be used and
punctuation matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet import seeds
from clet.batch import Ragged
from clet.kernels import leaf, njit

SEPARATOR, LETTER, SOLO = 0, 1, 2  # what a character is: between words, part of one, or a word by itself

_U = np.uint64
_ODD = _U(0xD6E8FEB86659FD93)
_WALK = _U(2)  # no power of an odd base: the token has to be walked through


class WordTable(NamedTuple):
    """What each id does to the word that is being put together: new sum = sum * power + hash.

    A power of 0 ends a word (and begins one, unless the hash is 0 too); _WALK says to look at the bytes.
    """

    steps: np.ndarray  # [v, 2] uint64: power, hash
    most: np.ndarray  # [v] uint32: words that walking through it may complete, at most
    values: np.ndarray  # uint8: the bytes of all ids
    offsets: np.ndarray  # [v + 1] int64


def word_base(key: int) -> np.uint64:
    """The base of the polynomial for a secret: odd, so that no byte is lost."""
    return _U(seeds.integer(key, "dedup/words") | 1)


def word_table(tokens: Ragged, key: int) -> WordTable:
    """The table for the bytes of each id (see `clet.tokens.Tokenizer.token_bytes`). 0.1 s for 150,000 ids."""
    size = len(tokens)
    values, offsets = np.array(tokens.values), np.array(tokens.offsets)
    out = WordTable(np.zeros((size, 2), np.uint64), np.zeros(size, np.uint32), values, offsets)
    _fill_table(out, ASCII, WIDE, word_base(key))
    return out


def byte_table(key: int) -> WordTable:
    """The table for text: its ids are bytes."""
    return word_table(Ragged(np.arange(256, dtype=np.uint8), np.arange(257)), key)


NO_TABLE = WordTable(np.zeros((0, 2), np.uint64), np.zeros(0, np.uint32), np.zeros(0, np.uint8), np.zeros(1, np.int64))


def words_of(ids: np.ndarray, table: WordTable, key: int) -> np.ndarray:
    """Hashes `[w]` uint64 of the words that ids (or, with `byte_table`, the bytes of a text) spell."""
    count, room = -1, len(ids) + 64
    while count < 0:
        out = np.empty(room, np.uint64)
        count = find_words(ids, 0, len(ids), table, ASCII, WIDE, word_base(key), _U(key), new_state(), out)
        room *= 2
    return out[:count]


# ---- classes of characters


def _ascii_classes() -> np.ndarray:
    """For each byte below 0x80 the lower-cased letter, digit or underscore that it is; 0 for a separator."""
    out = np.zeros(256, np.uint8)
    for character in "abcdefghijklmnopqrstuvwxyz0123456789_":
        out[ord(character)] = out[ord(character.upper())] = ord(character)
    return out


def _wide_classes() -> np.ndarray:
    """The class of a character outside ASCII by its first byte and the low six bits of its second `[256 * 64]`.

    For characters of three bytes these decide about 64 neighbours at once, for those of four about 4,096.
    """
    out = np.full((256, 64), SEPARATOR, np.uint8)

    def put(first: int, low: int, high: int, kind: int) -> None:
        out[first, low - 0x80 : high - 0x80 + 1] = kind

    for first in range(0xC3, 0xE0):
        put(first, 0x80, 0xBF, LETTER)
    for second in (0xAA, 0xB2, 0xB3, 0xB5, 0xB9, 0xBA):  # the letters and digits among Latin-1's symbols
        put(0xC2, second, second, LETTER)
    for first, second in ((0xC3, 0x97), (0xC3, 0xB7), (0xD6, 0xBE), (0xD8, 0x8C), (0xD8, 0x9B), (0xD8, 0x9F)):
        put(first, second, second, SEPARATOR)  # times, divided by; maqaf; the Arabic comma, semicolon and question mark
    put(0xE0, 0x80, 0xBF, LETTER)
    put(0xE0, 0xB8, 0xBB, SOLO)  # Thai, Lao
    put(0xE1, 0x80, 0xBF, LETTER)
    put(0xE1, 0x80, 0x82, SOLO)  # Burmese
    put(0xE1, 0x9E, 0x9F, SOLO)  # Khmer
    put(0xE2, 0xB0, 0xB7, LETTER)  # below: punctuation, symbols, arrows, boxes
    put(0xE2, 0xBA, 0xBF, SOLO)
    put(0xE3, 0x81, 0xBF, SOLO)  # kana, ideographs; 0x80 is their punctuation
    for first in range(0xE4, 0xEA):
        put(first, 0x80, 0xBF, SOLO)
    put(0xEA, 0x80, 0x92, SOLO)  # Yi
    put(0xEA, 0x93, 0xBF, LETTER)
    for first in (0xEB, 0xEC, 0xED):
        put(first, 0x80, 0xBF, LETTER)  # Hangul has spaces
    put(0xEF, 0xA4, 0xAB, SOLO)
    put(0xEF, 0xAC, 0xB7, LETTER)
    put(0xEF, 0xBA, 0xBB, LETTER)
    put(0xEF, 0xBC, 0xBE, SOLO)  # full-width forms
    put(0xF0, 0x90, 0x9E, LETTER)  # 0x9F: emoji
    put(0xF0, 0xA0, 0xBF, SOLO)
    return out.reshape(-1)


ASCII = _ascii_classes()
WIDE = _wide_classes()


# ---- kernels


@leaf
def walk(values, begin, end, ascii_classes, wide, base, state, out, count):
    """Go through bytes from `state` (see `new_state`), sums of words into `out` from `count` on; the new count.

    A character may begin in one call and end in the next: tokens of rare characters are parts of them.
    """
    total, kind, first, left = state[0], state[1], state[2], state[3]
    at = begin
    while at < end:
        byte = _U(values[at])
        if left == 0:
            folded = _U(ascii_classes[byte])
            if folded:
                total = total * base + folded
            elif byte < _U(0xC2) or byte > _U(0xF4):
                out[count] = total
                count += total != 0
                total = _U(0)
            else:
                first = byte
                left = _U(1) if byte < _U(0xE0) else (_U(2) if byte < _U(0xF0) else _U(3))
            at += 1
            continue
        if byte >> _U(6) != _U(2):  # no continuation: the character was cut off, and separates
            left = first = _U(0)
            out[count] = total
            count += total != 0
            total = _U(0)
            continue
        if first:  # its second byte
            kind = _U(wide[(first << _U(6)) | (byte & _U(63))])
            if kind != _U(LETTER):
                out[count] = total
                count += total != 0
                total = _U(0)
            if kind != _U(SEPARATOR):
                total = total * base + first
            first = _U(0)
        if kind != _U(SEPARATOR):
            total = total * base + byte
        left -= _U(1)
        if left == 0 and kind == _U(SOLO):
            out[count] = total
            count += 1
            total = _U(0)
        at += 1
    state[0], state[1], state[2], state[3] = total, kind, first, left
    return count


@njit
def new_state():
    """Between words: the sum of the word so far (0 for none), and class, first byte, missing bytes of a character."""
    return np.zeros(4, np.uint64)


@leaf
def find_words(ids, begin, end, table, ascii_classes, wide, base, key, state, out):
    """Word hashes of `ids[begin:end]` into `out`; how many, or -1 where `out` has no room for them.

    Ids outside the table are nothing. `state` is for `walk`, whatever it holds.
    """
    state[:] = _U(0)
    total, count = _U(0), _U(0)
    spare = len(out) - (end - begin) - 2  # each id but those that are walked through ends one word at most
    if spare < 0:
        return -1
    steps, most, values, offsets = table.steps, table.most, table.values, table.offsets
    size = _U(len(steps))
    inside = False  # a character
    for i in range(_U(begin), _U(end)):
        index = _U(ids[i])
        if index >= size:
            continue
        power = steps[index, _U(0)]
        if power == _WALK or inside:
            spare -= most[index]
            if spare < 0:
                return -1
            state[0] = total
            first, stop = offsets[index], offsets[index + _U(1)]
            count = _U(walk(values, first, stop, ascii_classes, wide, base, state, out, np.int64(count)))
            total = state[0]
            inside = state[3] != 0
            continue
        out[count] = total
        count += _U((power == 0) & (total != 0))  # no branch: where words end is what no processor predicts
        total = total * power + steps[index, _U(1)]
    out[count] = total
    count += _U(total != 0)
    for i in range(count):
        out[i] = mix(out[i] ^ key)
    return np.int64(count)


@leaf
def mix(x):
    """splitmix64's finaliser: a bijection of uint64 in which every input bit moves every output bit."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


@leaf
def hash_runs(words, count, length, key, out):
    """Hashes of each run of `length` of `words[:count]` into `out`, another array, none of them 0; how many.

    A polynomial in the words, all runs at once a power at a time: rolling it along would save multiplications and
    wait for each, where these are made eight at a time.
    """
    size = count - length + 1
    if size <= 0:
        return 0
    for i in range(_U(size)):
        out[i] = words[i]
    for place in range(_U(1), _U(length)):
        for i in range(_U(size)):
            out[i] = out[i] * _ODD + words[i + place]
    for i in range(_U(size)):
        out[i] = max(_U(1), mix(out[i] ^ (key + _U(length))))
    return size


@njit
def _fill_table(table, ascii_classes, wide, base):
    steps, most, values, offsets = table.steps, table.most, table.values, table.offsets
    for index in range(len(steps)):
        begin, end = offsets[index], offsets[index + 1]
        total, power = _U(0), _U(1)
        separators = inside = behind = 0
        walks = False
        at = begin
        while at < end and not walks:
            kind, size = _character(values, at, end, ascii_classes, wide)
            if kind == LETTER:
                walks |= behind > 0
                for i in range(at, at + size):
                    byte = values[i]
                    total = total * base + (_U(ascii_classes[byte]) if size == 1 else _U(byte))
                    power *= base
                inside += 1
            elif kind == SEPARATOR and inside:
                behind += 1
            elif kind == SEPARATOR:
                separators += 1
            walks |= kind == SOLO or size == 0  # several words, or a character that another token may complete
            at += size
        walks |= behind > 0  # a word and then its end: two steps
        if walks:
            total, power = _U(0), _WALK
        elif separators:
            power = _U(0)
        steps[index, 0], steps[index, 1] = power, total
        most[index] = (end - begin) // 2 + 2


@leaf
def _character(values, at, end, ascii_classes, wide):
    """(class, bytes) of the character that begins at a byte; 0 bytes where it is not whole."""
    first = values[at]
    if first < 0x80:
        return (LETTER if ascii_classes[first] else SEPARATOR), 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + size > end:
        return SEPARATOR, 0
    for i in range(at + 1, at + size):
        if values[i] >> 6 != 2:
            return SEPARATOR, 0
    return np.int64(wide[(np.int64(first) << 6) | np.int64(values[at + 1] & 63)]), size
