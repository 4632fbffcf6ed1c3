"""Which characters two Unicode tables may see differently, and where they are in UTF-8 text.

A tokenizer's regular expressions ask whether a character is a letter, a digit or a space, and its normalizer whether it
composes. Both answers come from the Unicode version an engine was built with: Oniguruma in `tokenizers` 0.21 knows
14.0, in 0.23 16.0, its normalizer an older one still; gigatoken knows 17.0. What a version assigns keeps its normal
form in all later ones (Unicode's stability policy), and no character of 14.0 changed between letter, digit, mark and
the rest up to 17.0 (every code point was compared). So engines agree on text of characters assigned in 14.0, and a
fast engine is only trusted with such text.

`suspects` finds the others at memory speed: 0.1 ns a byte of English, 0.5 of Chinese. The tables are run lengths in
base 36, alternately outside and inside the set, from the Unicode 14.0 character database; a megabyte unpacked.
"""

from __future__ import annotations

import functools
from itertools import accumulate

import numpy as np

from clet.kernels import njit
from clet.vetting import code_point

UNKNOWN, ACTIVE = 1, 2  # bits of `table`

FEW = 256  # suspects that there is room for at first
_U = np.uint64
_HIGH_BITS = _U(0x8080808080808080)

# Assigned in Unicode 14.0, private use included, surrogates not.
_KNOWN = (
    "0 oo 2 6 4 7 1 1 1 k 1 b1 1 12 2 1e 2 3 1 1j 8 r 4 6 b 7i 1 1o 2 2t e 1n 2 1d 2 f 1 s 2 1 1 b 5 v 1 2 6 6k "
    "1 8 2 2 2 m 1 7 1 1 3 4 2 9 2 2 2 4 8 1 4 2 1 5 2 p 2 3 1 6 4 2 2 m 1 7 1 2 1 2 1 2 2 1 1 5 4 2 2 3 3 1 7 4 "
    "1 1 7 h a 3 1 9 1 3 1 m 1 7 1 2 1 5 2 a 1 3 1 3 2 1 f 4 2 c 7 7 1 3 1 8 2 2 2 m 1 7 1 2 1 5 2 9 2 2 2 3 7 3 "
    "4 2 1 5 2 i a 2 1 6 3 3 1 4 3 2 1 1 1 2 3 2 3 3 3 c 4 5 3 3 1 4 2 1 6 1 e l 5 d 1 3 1 n 1 g 2 9 1 3 1 4 7 2 "
    "1 3 2 1 2 4 2 a 7 m 1 3 1 n 1 a 1 5 2 9 1 3 1 4 7 2 6 2 1 4 2 a 1 2 d d 1 3 1 1f 1 3 1 6 4 g 2 q 1 3 1 i 3 "
    "o 1 9 1 1 2 7 3 1 4 6 1 1 1 8 6 a 2 3 c 1m 4 t 11 2 1 1 1 5 1 o 1 1 1 n 2 5 1 1 1 6 2 a 2 4 w 20 1 10 4 13 "
    "1 10 1 f 1 d 11 5i 1 1 5 1 2 ah 1 4 2 7 1 1 1 4 2 15 1 4 2 x 1 4 2 7 1 1 1 4 2 f 1 1l 1 4 2 1v 2 w 3 q 6 2e "
    "2 6 2 il 3 2h 7 m 9 o 9 k c d 1 3 1 2 c 2m 2 a 6 a 6 q 6 2h 7 17 5 1y a v 1 c 4 c 4 1 3 16 2 5 b 18 4 q 6 b "
    "3 1q 2 1t 1 t 2 b 6 a 6 e 2 v 1d 25 3 1b 1 38 8 1o 3 f 3 1o 7 17 2 b 8 17 5 eu 2 6 2 12 2 6 2 8 1 1 1 1 1 1 "
    "1 v 2 1h 1 f 1 e 2 6 1 j 2 3 1 9 1 2t 1 c 2 r 1 d 3 x f x f 3w 4 if p b l 1ec 2 w 1 9p 5 19 1 1 5 1 2 1k 7 "
    "2 e o 9 7 1 7 1 7 1 7 1 7 1 7 1 7 1 7 1 3i y q 1 2h c 5y q c 4 1s 1 2e 2 2v 5 17 1 2m 1 2c c 1b 1 mlp 3 1j "
    "9 9o k 54 8 5n 5 2 1 1 1 5 o 1n 3 a 6 1k 8 1y 8 c 6 38 b u 3 26 1 b 4 x 1 1j 9 e 2 a 2 2v o s a 6 2 6 2 6 9 "
    "7 1 7 1 1o 4 3i 2 a 6 8mc c n 4 1d 1l0 57y 2 2y 12 7 c 5 5 q 1 5 1 1 1 2 1 2 1 3h g cd 2 1i 7 1 w 16 6 1f 1 "
    "j 1 4 4 5 1 3r 2 1 1 5a 3 6 2 6 2 6 2 3 3 7 1 7 a 5 2 c 1 q 1 j 1 2 1 f 2 e y 3f 5 3 4 19 3 2g 1 d 3 1 1b "
    "1a 3m t 3 1d f s 4 10 9 u 5 17 5 u 1 11 4 e 16 4e 2 a 6 10 4 10 4 14 8 1g b c 1 f 1 7 1 2 1 b 1 f 1 7 1 2 "
    "1v 8n 9 m a 8 o 6 1 16 1 9 1x 6 2 1 1 18 1 2 3 1 2 n 1 20 8 9 1c j 1 2 5 x 3 r 5 1 1s 1k 4 k 2 1e 1 2 5 8 1 "
    "3 1 t 2 3 4 a 7 9 7 1s w 13 4 c 9 1i 3 t 2 r 5 q 7 4 c 7 28 21 1j 1f d 1f 7 1a 8 a 86 v 1 16 1 3 2 2 26 14 "
    "8 16 m q 12 s k n 9 26 4 10 9 1w a 1 2 p 7 a 6 1h 1 i 8 13 9 2o 1 k b i 1 18 1t 7 1 1 1 4 1 f 1 b 6 1n 5 a "
    "6 4 1 8 2 2 2 m 1 7 1 2 1 5 1 a 2 2 2 3 2 1 6 1 5 7 2 7 3 5 3v 2k 1 5 u 20 8 a 4m 1i 2 12 y 1x b a 6 d j 1m "
    "6 a 1i r 2 f 4 n 55 1o 2s 2b c 8 2 1 2 8 1 2 1 u 1 2 2 c 9 a 1y 8 2 1a 2 b r 20 8 2b d 21 7b 9 1 19 1 e a t "
    "3 w 2 m 1 e 21 7 1 2 1 18 3 1 1 2 1 9 8 a 6 6 1 2 1 11 1 2 1 6 7 a 8m p 53 1 f 1e d pn 2u 33 1 5 b 5g 218 "
    "2r d tr 1 9 347 g7 6nt ft 7 v 1 a 4 29 1 a 6 u 2 6 a 1y a a 1 7 1 l 5 j j4 2j 2t 23 4 1l 7 h 1s 5 b 2 e 4qg "
    "8 ye 16 9 6w7 4 1 7 1 2 1 83 19 3 h 4 8 b0 1s4 2z 5 d 3 9 7 a 2 8 3mk 1a 2 n 9 38 1o 6u a 13 2 5e l 1y 4a k "
    "c 2f 9 p 3r 2d 1 1z 1 2 2 1 2 2 2 4 1 c 1 1 1 7 1 1t 1 4 2 8 1 7 1 s 1 4 1 5 1 1 3 7 1 9g 2 84 2 ji f 5 1 f "
    "uo v 69 7 1 h 2 7 1 2 1 5 5x 19 3 e 2 a 4 2 8w v h 1m 5 1 yo 7 1 4 1 2 1 f 1 5h 2 g 15 24 4 a 4 2 lt 1w 24 "
    "1p 5e 4 1 r 1 2 1 1 2 1 1 a 1 4 1 1 1 1 6 1 4 1 1 1 1 1 1 3 1 2 1 1 2 1 1 1 1 1 1 1 1 1 1 2 1 1 2 4 1 7 1 4 "
    "1 4 1 1 1 a 1 h 5 3 1 5 1 h 1g 2 7i 18 4 2s c f 2 f 1 f 1 11 a 4u 1k t d 18 4 9 7 2 e 6 4a rc 5 g 3 d 3 38 "
    "c 2h 7 c 4 1 f c 4 1k 8 a 6 14 8 u 2 2 26 9g c e 2 5 3 5 3 7 9 t 3 b 5 6 a a 6 8 8 7 9 43 1 1j 11 a sm wyo "
    "w 37d 7 66 2 4g2 e 5rl 2e7 f2 15u 3t7 fcfq 1 u 2o 3k 6o 1e6o 1eke 2 1eke"
)

# What canonical composition (NFC) may change or move: combining class not 0, or a decomposition, or second of a pair.
_ACTIVE = (
    "lc 27 1 w 4 1 9 1 8 1 6z 5 7d 19 1 1 1 2 1 2 1 1 20 b 1c l g 1 2t 7 2 6 2 2 1 4 z 1 u r 4g 9 9 1 o 4 1 9 1 "
    "3 1 5 17 3 1o 8 16 o 1 t 1o 1 g 1 3 4 3 8 2k 1 1 1 e 1 9 1 4 2 1 1 u 1 1g 1 2 1 5 1 g 1 b 3 2 1 2l 1 g 1 32 "
    "1 1 1 e 1 8 2 4 2 2o 1 e 1 9 1 2s 1 g 1 7 2 2t 1 5 1 a 1 7 2 2s 2 1 1 e 1 9 1 36 1 4 1 f 1 2g 3 d 4 30 3 d "
    "4 24 2 r 1 1 1 1 1 9 1 9 1 4 1 4 1 4 1 c 1 7 6 1 1 1 4 2 5 1 2 b 1 9 1 4 1 4 1 4 1 8 1 1 1 1 1 c 1 2v 1 8 1 "
    "1 2 2a 1 5v l 1e r be 3 qc 2 u 1 4d 1 a 1 5n 1 3z 3 63 2 1z 1 k 8 2 1 1c e 1 g 2t 2 e 1 12 9 1i 2 1m 1 b 2 "
    "1v 1 48 3 1 d 1 7 4 1 6 1 3 2 5i 1s a9 1 1 1 1 1 1 1 1 1 1 1 1 1 1p 1 2 1 a 1 1 1 7 1 7 1 7 1 7 1 2 2 9 1 1 "
    "1 1 1 2 2 5q d 4 1 3 c 1h 1 3 2 e5 2 1ip 1 eq 3 3x 1 2o w fe 6 2x 2 n9w 1 4 a w 2 28 2 7o 1 11 1 47 1 r i "
    "1l 3 11 1 2n 1 c 1 6n 1 1 3 2 2 5 2 1 1 1g 1 6u 1 f82 7i 2 1 1 1 2 a 1 1 1 1 2 2 3 1w 2 2y 1v 3 a d 1 5 1 1 "
    "1 2 1 2 1 9 k1 g r1 1 6a 1 45 5 1aq 1 1 1 14 3 4 1 4l 2 fx 4 ar 2 49 b 1d 4 5c 1 15 1 e 1 1l 2 1x 3 10 1 b "
    "2 1q 1 24 1 9 1 2y 2 4y 2 28 2 1 1 e 1 9 1 e 7 3 5 5p 1 3 1 n 1 29 1 9 1 2 1 4 2 6j 1 f 2 3i 1 3a 2 37 1 7h "
    "2 6t 1 c 2 4 1 4c 1 2b 1 i 1 29 1 bp 1 76 1 1 2 29 1 fa0 5 1n 7 xl 2 f58 1 43j c 3 6 8 8 2 7 u 4 d 6 3l 3 "
    "2pn 7 1 h 2 7 1 2 1 5 79 7 af 1 1p 4 15s 7 31 7 1hh1 f2"
)


@functools.cache
def table() -> np.ndarray:
    """For each code point `[0x110000]` uint8: UNKNOWN if it is not in Unicode 14.0, ACTIVE if NFC may change it."""
    bits = np.full(0x110000, UNKNOWN, np.uint8)
    for start, end in _runs(_KNOWN):
        bits[start:end] = 0
    for start, end in _runs(_ACTIVE):
        bits[start:end] |= ACTIVE
    return bits


def _runs(packed: str) -> list[tuple[int, int]]:
    bounds = list(accumulate(int(word, 36) for word in packed.split()))
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def suspects(data: np.ndarray, bits: int, *, trusted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where in UTF-8 `data` `[n]` uint8 characters with one of these `bits` start, and their bits.

    Unless `trusted`, all of it is checked to be UTF-8: raises UnicodeDecodeError.
    """
    if not trusted:
        str(data.data, "utf-8")
    words = data[: len(data) & ~7].view(np.uint64)
    room = FEW
    while True:
        starts, found = np.empty(room, np.int64), np.empty(room, np.uint8)
        number = _suspects(data, words, table(), bits, starts, found)
        if number <= room:
            return starts[:number], found[:number]
        room = number


@njit
def _suspects(data, words, kinds, bits, starts, found):
    """How many suspects there are; the first of them into `starts` and `found`. ASCII is passed by eight bytes."""
    at, end, number = _U(0), _U(len(data)), 0
    while at < end:
        if data[at] < 0x80:
            at += _U(1)
            if at & _U(7) == 0:
                word = at >> _U(3)
                while word < _U(len(words)) and words[word] & _HIGH_BITS == 0:
                    word += _U(1)
                at = word << _U(3)
            continue
        start = at
        at, code = code_point(data, at)
        kind = kinds[code] & bits
        if kind:
            if number < len(starts):
                starts[number], found[number] = start, kind
            number += 1
    return number
