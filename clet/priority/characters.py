"""What a character is to the rules of quality: one table of class bits a code point, and how UTF-8 leads to it.

The bits come from the Unicode database that Python carries. Which signs come apart from a word follows spaCy's
tokenizer (MIT licence), which the published filters of datatrove cut English with; which signs make a word count as
"no word" follows datatrove's list. Characters from U+20000 on are Han: letters of a script without spaces.

Cost: 50 ms to build, once a process; 512 KB, of which a text in Latin script touches 1 KB.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np

from clet.kernels import leaf

SPACE = 1 << 0
LETTER = 1 << 1
DIGIT = 1 << 2  # of any script
UPPER = 1 << 3  # letters without case are both
LOWER = 1 << 4
BEFORE = 1 << 5  # comes apart at the front of a word
BEHIND = 1 << 6  # comes apart at its end
INSIDE = 1 << 7  # comes apart anywhere in it: pictures and symbols
HYPHEN = 1 << 8
QUOTE = 1 << 9
CURRENCY = 1 << 10
JOINT = 1 << 11  # : < > = / come apart between letters
QUIET = 1 << 12  # a word of nothing else is no word (datatrove)
PUNCTUATION = 1 << 13  # Unicode category P
STOP = 1 << 14  # ends a sentence
LATIN = 1 << 15
SPACELESS = 1 << 16  # letters of scripts that write no spaces between words
ASCII_DIGIT = 1 << 17
BULLET = 1 << 18
CLOSING = 1 << 19  # quotes and brackets that may follow the end of a sentence

SIZE = 0x20000

# Unicode's Sentence_Terminal, below U+10000, with three Khmer signs of the same use.
_STOPS = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 "
    "17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 "
    "2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb "
    "fe52 fe56-fe57 ff01 ff0e ff1f ff61"
)
_PUNCT = "2026 2c 3a 3b 21 3f bf 61f a1 28-29 5b 5d 7b 7d 3c 3e 5f 23 2a 26 3002 ff1f ff01 ff0c 3001 ff1b ff1a ff5e "
_PUNCT += "b7 964 60c 6d4 61b 66a"
_QUOTES = "27 22 201d 201c 60 2018 b4 2019 201a 201e bb ab 300c-300f ff08-ff09 3014-3015 3010-3011 300a-300b "
_QUOTES += "3008-3009 27e6-27e7"
_CURRENCY = "24 a3 20ac a5 e3f fdfc 20a0-20bf"
_QUIET = "21-2f 3a-40 5b-60 7b-7e ab b4 bb 2013 2014 2019 201c-201e 2026 2236 2501 25ba 3001 3008-300d 3010-3011 "
_QUIET += "ff05 ff08-ff09 ff0c ff11 ff1a ff1b ff5e"
_BULLETS = "2d 2a 2022 2023 25e6 25aa 25cf 25a0 b7 25b6"
_CLOSING = "22 27 29 5d 2a 5f 201d 2019 bb 300d ff09"
_SPACELESS = "e00-edf 1000-109f 1780-17ff 3040-309f 30a0-9fff f900-faff"  # Thai, Lao, Burmese, Khmer, Kana, Han
_LATIN = "41-5a 61-7a aa b5 ba c0-d6 d8-f6 f8-24f 1e00-1eff"


def _points(text: str) -> list[int]:
    points: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        points += range(int(first, 16), int(last or first, 16) + 1)
    return points


@functools.cache
def classes() -> np.ndarray:
    """Bits of each code point below SIZE, `[SIZE]` uint32, read-only."""
    category = np.array([unicodedata.category(chr(point)) for point in range(SIZE)])
    kind = category.astype("U1")
    bits = np.zeros(SIZE, np.uint32)
    letters = kind == "L"
    bits[letters] |= LETTER
    bits[category == "Nd"] |= DIGIT
    bits[kind == "P"] |= PUNCTUATION
    bits[category == "So"] |= BEFORE | BEHIND | INSIDE
    bits[letters & (category != "Ll")] |= UPPER
    bits[letters & (category != "Lu") & (category != "Lt")] |= LOWER
    for text, bit in (
        (_STOPS, STOP | QUIET),
        (_PUNCT, BEFORE | BEHIND),
        (_QUOTES, BEFORE | BEHIND | QUOTE),
        (_CURRENCY, BEFORE | CURRENCY),
        ("a7 25 3d 2013 2014", BEFORE),
        ("2013 2014 25", BEHIND),  # the percent sign is one of the units that come apart behind a number
        ("2d 2013 2014 7e", HYPHEN),
        ("3a 3c 3e 3d 2f", JOINT),
        (_QUIET, QUIET),
        (_BULLETS, BULLET),
        (_CLOSING, CLOSING),
        ("30-39", ASCII_DIGIT),
    ):
        bits[_points(text)] |= bit
    for text, bit in ((_SPACELESS, SPACELESS), (_LATIN, LATIN)):
        found = np.zeros(SIZE, bool)
        found[_points(text)] = True
        bits[found & letters] |= bit
    bits[_points("9-d 1c-20 85 a0 1680 2000-200a 2028-2029 202f 205f 3000")] = SPACE  # str.isspace
    bits.flags.writeable = False
    return bits


_HAN = np.uint32(LETTER | UPPER | LOWER | SPACELESS)
_SIZE = np.uint32(SIZE)
_U = np.uint64


@leaf(forceinline=True)
def code_point(data, at):
    """(code point, its length in bytes) at a byte of UTF-8 that is followed by at least three more bytes.

    Bytes that are no UTF-8 give some code point, never one beyond the text by more than those three bytes.
    """
    first = np.uint32(data[at])
    if first < 0x80:
        return first, 1
    second = np.uint32(data[at + _U(1)]) & np.uint32(0x3F)
    if first < 0xE0:
        return (first & np.uint32(0x1F)) << np.uint32(6) | second, 2
    third = np.uint32(data[at + _U(2)]) & np.uint32(0x3F)
    if first < 0xF0:
        return (first & np.uint32(0x0F)) << np.uint32(12) | second << np.uint32(6) | third, 3
    fourth = np.uint32(data[at + _U(3)]) & np.uint32(0x3F)
    return (first & np.uint32(7)) << np.uint32(18) | second << np.uint32(12) | third << np.uint32(6) | fourth, 4


@leaf(forceinline=True)
def class_of(classes, point):
    """Bits of a code point."""
    return classes[point] if point < _SIZE else _HAN


@leaf(forceinline=True)
def before(data, at):
    """Where the character begins that ends before byte `at`."""
    at -= _U(1)
    for _ in range(3):
        if data[at] & 0xC0 != 0x80:
            break
        at -= _U(1)
    return at
