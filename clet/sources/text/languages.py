"""The languages of many texts at once: what `language.py` says of each, with its words counted by a kernel.

Texts whose beginning is ASCII, nine of ten in English, have their letters and the commonest words of seventeen
languages counted here, in 2 us instead of 12. Where these speak for themselves nothing else is asked; where not, and
where a text begins with other characters, `language.py` goes on. That both ways agree on every text is tested.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from clet.batch import Ragged
from clet.kernels import njit
from clet.sources.text.language import (
    BEYOND,
    CODES,
    MIN_CHARS,
    MIN_LETTERS,
    MORE_DIFFERENT,
    MORE_SHARE,
    NUM_KINDS,
    SAMPLE_CHARS,
    SURE_DIFFERENT,
    SURE_RATIO,
    SURE_SHARE,
    SURE_WORDS,
    WORDS,
    WORDS_CHARS,
    detect_language,
    language_by_letters,
    latin_language,
    letter_kinds,
)
from clet.vetting import code_point

_NONE, _COUNTED, _LETTERS, _OTHER = -1, -2, -3, -4  # verdicts beside the number of a language
_U = np.uint64
_PRIME, _BASIS = _U(0x100000001B3), _U(0xCBF29CE484222325)  # FNV-1a
_TABLE_BITS = 10
_MAX_WORD_BYTES = 16
_COUNTS = max(len(CODES), NUM_KINDS)


def detect_languages(text: Ragged, rows: np.ndarray) -> list[str | None]:
    """ISO 639 codes of some rows `[k]` of a column of UTF-8, None where that would be a guess."""
    begins, ends = text.offsets[rows], text.offsets[rows + 1]
    verdicts, counts, numbers = _count(text.values, begins, ends, *_table(), letter_kinds())
    found: list[str | None] = [CODES[verdict] if verdict >= 0 else None for verdict in verdicts.tolist()]
    body = memoryview(text.values)
    rest = np.flatnonzero(verdicts <= _COUNTED)
    for row, verdict, begin, end, count, number in zip(
        *(each.tolist() for each in (rest, verdicts[rest], begins[rest], ends[rest], counts[rest], numbers[rest])),
        strict=True,
    ):
        if verdict == _COUNTED:
            sample = str(body[begin : min(end, begin + SAMPLE_CHARS)], "ascii")
            found[row] = latin_language(sample, count[: len(CODES)], number)
            continue
        sample = str(body[begin : min(end, begin + 4 * SAMPLE_CHARS)], "utf-8", "ignore")[:SAMPLE_CHARS]
        found[row] = language_by_letters(sample, count[:NUM_KINDS]) if verdict == _LETTERS else detect_language(sample)
    return found


@cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words in ASCII by hash: (hashes, the words themselves, a bit for each language), an empty slot's word ''."""
    size = 1 << _TABLE_BITS
    hashes, languages = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    words = np.zeros((size, _MAX_WORD_BYTES), np.uint8)
    for word in sorted({word for known in WORDS.values() for word in known.split() if word.isascii()}):
        body = word.encode()
        code = int(_BASIS)
        for byte in body:
            code = (code ^ byte) * int(_PRIME) % (1 << 64)
        slot = code % size
        while languages[slot]:
            slot = (slot + 1) % size
        hashes[slot] = code
        words[slot, : len(body)] = np.frombuffer(body, np.uint8)
        languages[slot] = sum(1 << place for place, known in enumerate(WORDS.values()) if word in known.split())
    return hashes, words, languages


@njit
def _count(values, begins, ends, hashes, words, languages, kinds):
    """(a verdict, how often each language's words occur or letters of each kind, how many words) of each text."""
    size = len(begins)
    verdicts = np.full(size, _NONE, np.int8)
    counts, numbers = np.zeros((size, _COUNTS), np.int64), np.zeros(size, np.int64)
    met = np.full(len(hashes), -1, np.int64)  # the last count in which there was the word
    more = np.zeros(_COUNTS, np.int64)
    for row in range(size):
        begin, end = _U(begins[row]), _U(min(ends[row], begins[row] + SAMPLE_CHARS))
        high, letters = np.uint8(0), 0
        for at in range(begin, end):
            byte = values[at]
            high |= byte
            letters += np.uint8((byte | np.uint8(32)) - np.uint8(97)) < np.uint8(26)
        if high >= 128:
            known = _count_letters(values, begin, _U(ends[row]), kinds, counts[row])
            verdicts[row] = _LETTERS if known else _OTHER
            continue
        if end - begin < _U(MIN_CHARS) or letters < MIN_LETTERS:
            continue
        numbers[row] = _count_words(
            values, begin, min(end, begin + _U(WORDS_CHARS)), hashes, words, languages, counts[row], met, 2 * row
        )
        verdicts[row] = _by_words(counts[row], numbers[row], languages, met, 2 * row, SURE_SHARE, SURE_DIFFERENT)
        if verdicts[row] < 0 and end - begin > _U(WORDS_CHARS):
            more[:] = 0
            number = _count_words(values, begin, end, hashes, words, languages, more, met, 2 * row + 1)
            verdicts[row] = _by_words(more, number, languages, met, 2 * row + 1, MORE_SHARE, MORE_DIFFERENT)
    return verdicts, counts, numbers


@njit
def _by_words(hits, number, languages, met, stamp, share, different):
    """The language that words speak for, if they suffice; else that they were counted."""
    best, second = 0, 1
    for place in range(1, len(CODES)):
        if hits[place] > hits[best]:
            best, second = place, best
        elif place == 1 or hits[place] > hits[second]:
            second = place
    if number < SURE_WORDS or hits[best] < max(share * number, float(SURE_RATIO * hits[second])):
        return _COUNTED
    for slot in range(len(met)):
        different -= met[slot] == stamp and (languages[slot] >> _U(best)) & _U(1) != 0
    return best if different <= 0 else _COUNTED


@njit
def _count_letters(values, at, end, kinds, counts):
    """Count the kinds of the first characters; False where one is beyond the basic plane."""
    size = 0
    while at < end and size < SAMPLE_CHARS:
        code = _U(values[at])
        if code < _U(0x80):
            at += _U(1)
        else:
            at, code = code_point(values, at)
            if code >= _U(BEYOND):
                return False
        counts[kinds[code]] += 1
        size += 1
    return True


@njit
def _count_words(values, at, end, hashes, words, languages, hits, met, stamp):
    """Count words in lower case into `hits` of each language; how many there are."""
    number = 0
    mask = _U(len(hashes) - 1)
    while at < end:
        begin, code = at, _BASIS
        while at < end:
            byte = values[at] | np.uint8(32)
            if np.uint8(byte - np.uint8(97)) >= np.uint8(26):
                break
            code = (code ^ _U(byte)) * _PRIME
            at += _U(1)
        length = at - begin
        if length == 0:
            at += _U(1)
            continue
        number += 1
        if length >= _U(_MAX_WORD_BYTES):
            continue
        slot = code & mask
        while languages[slot]:
            if hashes[slot] == code:
                same = words[slot, length] == 0
                for i in range(length):
                    same &= words[slot, i] == values[begin + _U(i)] | np.uint8(32)
                if same:
                    met[slot] = stamp
                    left, place = languages[slot], 0
                    while left:
                        hits[place] += np.int64(left & _U(1))
                        left >>= _U(1)
                        place += 1
                    break
            slot = (slot + _U(1)) & mask
    return number
