"""Which characters are left to a fast engine, against the character database; and the check of UTF-8."""

import random
import unicodedata

import numpy as np
import pytest

from clet.tokenizing.characters import ACTIVE, UNKNOWN, suspects, table

ALL = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def column(data):
    return np.frombuffer(data, np.uint8)


def test_known_characters_are_those_of_unicode_14():
    known = {character for character in ALL if not table()[ord(character)] & UNKNOWN}
    assigned = {character for character in ALL if unicodedata.category(character) != "Cn"}
    assert known <= assigned
    if unicodedata.unidata_version == "14.0.0":
        assert known == assigned


def test_active_characters_are_those_that_composition_may_change():
    """Of all known ones, in whichever version of the database: it never changes how a character composes."""
    seconds = {chr(point) for point in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    for character in ALL:
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(chr(int(parts[1], 16)))
    for character in ALL:
        bits = table()[ord(character)]
        if not bits & UNKNOWN:
            moves = unicodedata.combining(character) != 0 or character in seconds
            changes = unicodedata.normalize("NFC", character) != character
            assert bool(bits & ACTIVE) == (moves or changes), ascii(character)


@pytest.mark.parametrize("bits", [UNKNOWN, ACTIVE, UNKNOWN | ACTIVE])
def test_suspects_are_found_where_they_are_in_sparse_and_in_dense_text(bits):
    rng = random.Random(bits)
    for filler in ("plain text " * 9, "\u4e2d\u6587", "\u00e9", "\U0001f600"):
        chosen = [rng.choice(ALL) for _ in range(2000)]
        chosen += [chr(rng.randrange(0x3000)) for _ in range(500)]
        text = "".join(character + filler for character in chosen)
        starts, found = suspects(column(text.encode()), bits, trusted=rng.random() < 0.5)
        expected, at = [], 0
        for character in text:
            if kinds := int(table()[ord(character)]) & bits:
                expected.append((at, kinds))
            at += len(character.encode())
        assert list(zip(starts.tolist(), found.tolist(), strict=True)) == expected


def test_what_is_no_utf8_is_refused_as_by_the_decoder():
    rng = random.Random(11)
    parts = [
        b"a" * 40,
        b"\xc3\xa9",
        b"\xe2\x82\xac",
        b"\xf0\x9f\x98\x80",
        b"\xc3",
        b"\xa9",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ]
    parts += [b"\xed\xa0\x80", b"\xc0\x80", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xff", b"\xf5"]
    verdicts = set()
    for _ in range(5000):
        data = b"".join(rng.choices(parts, weights=[30, 4, 4, 4, *([1] * 11)], k=rng.randrange(1, 9)))
        data += b"x" * rng.choice((0, 0, 1, 200))
        try:
            data.decode()
            good = True
        except UnicodeDecodeError:
            good = False
        verdicts.add(good)
        if good:
            suspects(column(data), UNKNOWN, trusted=False)
        else:
            with pytest.raises(UnicodeDecodeError):
                suspects(column(data), UNKNOWN, trusted=False)
    assert verdicts == {True, False}


def test_empty_text_has_no_suspects():
    starts, found = suspects(column(b""), UNKNOWN | ACTIVE, trusted=False)
    assert len(starts) == len(found) == 0
