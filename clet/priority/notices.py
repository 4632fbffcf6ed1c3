"""Notices of correction: where in a text they stand, and which stories they name by address or by title.

A notice is the paragraph with one of the phrases of `clet.priority.injection.CORRECTIONS`, at the beginning or at the
end of a text. It names a story by a link, by its title in quotation marks, or by the title of its own record behind
"Correction:". Titles are compared by their letters and digits alone, in lower case, so that quotation marks, dashes and
capitals do not matter; one of fewer than MIN_TITLE of them names nothing ("Weather").

Cost: 50 ns a title; only texts that were found to correct something are read, and 2 x CORRECTION_BYTES of them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import orjson

from clet.batch import Ragged
from clet.heads import Heads
from clet.kernels import njit
from clet.priority.injection import CORRECTION_BYTES, CORRECTIONS

MIN_TITLE = 12
MAX_NAMED = 8  # links, and as many titles, of one notice
_LINK = re.compile(rb"https?://[^\s<>\"')\]]{1,2000}")
_QUOTED = re.compile(rb"[\"\xe2](?:\x80[\x9c\x9e])?([^\"\n]{12,300}?)(?:\"|\xe2\x80[\x9d\x9c])")
_PREFIX = re.compile(r"\A\W*(?:correction|corrected|corrections|retraction|retracted)\b\W*", re.IGNORECASE)
_U = np.uint64


class Notice(NamedTuple):
    """Where a notice stands in its text, in bytes, and what it names: keys of links and of titles."""

    begin: int
    end: int
    links: tuple[int, ...]
    titles: tuple[int, ...]


def notice_in(text: bytes, title: str) -> Notice | None:
    """The notice of a text that corrects something; `title` is its own."""
    lower = text[:CORRECTION_BYTES].lower()
    base, found = 0, _first(lower)
    if found < 0:
        base = max(0, len(text) - CORRECTION_BYTES)
        found = _first(text[base:].lower())
        if found < 0:
            return None
    at = base + found
    begin = max(text.rfind(b"\n", 0, at) + 1, base)
    end = text.find(b"\n", at)
    end = min(len(text) if end < 0 else end, at + CORRECTION_BYTES)
    body = text[begin:end]
    links = tuple(link_key(link.rstrip(b".,;:!?")) for link in _LINK.findall(body)[:MAX_NAMED])
    titles = [title_key(part) for part in _QUOTED.findall(body)[:MAX_NAMED]]
    stripped = _PREFIX.sub("", title)
    if stripped != title:
        titles.append(title_key(stripped.encode()))
    return Notice(begin, end, links, tuple(key for key in titles if key))


def _first(lower: bytes) -> int:
    places = [at for phrase in CORRECTIONS if (at := lower.find(phrase)) >= 0]
    return min(places, default=-1)


def link_key(link: bytes) -> int:
    """What a record's `url` is known by: as `Heads.hashes` has it."""
    column = np.frombuffer(orjson.dumps({"url": link.decode(errors="replace")}), np.uint8)
    return int(Heads.of(Ragged(column, np.array([0, len(column)])), ("url",)).hashes("url")[0])


def title_key(title: bytes) -> int:
    """What a title is known by; 0 for one that names nothing."""
    column = np.frombuffer(title + b" ", np.uint8)
    return int(_title_keys(column, np.zeros(1, np.int64), np.array([len(title)]))[0])


def title_keys(heads: Heads) -> np.ndarray:
    """The key `[n]` uint64 of each record's title."""
    return _title_keys(heads.values, *heads.span("title"))


@njit
def _title_keys(values, starts, ends):
    out = np.zeros(len(starts), np.uint64)
    for row in range(len(starts)):
        total, count = _U(0xCBF29CE484222325), 0
        for at in range(starts[row], ends[row]):
            byte = values[at]
            if 65 <= byte <= 90:
                byte += 32
            if byte >= 0x80 or 97 <= byte <= 122 or 48 <= byte <= 57:
                # Dashes and quotation marks of typography, three bytes that begin with E2 80, are no letters.
                since = at - starts[row]
                if byte == 0xE2 or (since > 0 and values[at - 1] == 0xE2) or (since > 1 and values[at - 2] == 0xE2):
                    continue
                total = (total ^ _U(byte)) * _U(0x100000001B3)
                count += 1
        if count >= MIN_TITLE:
            out[row] = (total ^ (total >> _U(32))) * _U(0x9E3779B97F4A7C15) | _U(1)
    return out
