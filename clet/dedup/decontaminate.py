"""Decontamination: documents that hold text of an evaluation set, found by runs of words.

A document is contaminated if it shares a run of GRAM words with an item of an evaluation file (Brown et al. 2020,
2005.14165, appendix C: 13 words, lower-cased, without punctuation; words as in `clet.dedup.words`, so that neither
tokenizer nor typography matters). An item of fewer words counts as one run, if it has at least SHORTEST; what is
shorter stands in many texts by chance, and is left out and counted.

Evaluation files are JSON lines (every string in an object, however deep, is an item), records, or plain text (a file
is an item). Memory: 12 bytes a word of them. Cost: a rolling hash and one lookup a word and length of run, 3 ns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from clet import codecs
from clet.batch import Ragged
from clet.dedup.words import ASCII, WIDE, WordTable, byte_table, find_words, hash_runs, new_state, word_base, words_of
from clet.exits import InputError, UsageError
from clet.kernels import njit
from clet.record import canonical_text
from clet.streams import open_input, split_lines

GRAM = 13
SHORTEST = 8
MAX_FILES = 1 << 16
MAX_DEPTH = 64
MAX_TEXT_BYTES = 256 << 20  # of a file of plain text

_U = np.uint64


class Evaluations:
    """Runs of words of evaluation files. `names`, and per file how many records shared a run: `num_records`.

    `items` and `short` count what was read and what was left out as too short. Raises UsageError for a file that
    cannot be opened, InputError for one that holds no text.
    """

    def __init__(self, files: Sequence[str], key: int):
        if "-" in files:
            raise UsageError("--against -: standard input is where records come from; name a file")
        if len(files) > MAX_FILES:
            raise UsageError(f"--against: more than {MAX_FILES} files")
        self.names = list(files)
        self._key = key
        self._used: set[int] = set()  # lengths of runs
        self.items = self.short = 0
        bytes_as_ids = byte_table(key)
        found: dict[int, int] = {}
        for number, name in enumerate(files):
            before = self.items
            for text in _texts(name):
                self._add(words_of(np.frombuffer(text.encode(), np.uint8), bytes_as_ids, key), number, found)
            if self.items == before:
                raise InputError(f"{name}: no text of {SHORTEST} words or more to compare with")
        self._slots, self._owners = _table(found)
        self._lengths = np.array([n for n in range(SHORTEST, GRAM + 1) if n in self._used], np.int64)
        self.num_records = [0] * len(files)

    def _add(self, words: np.ndarray, number: int, found: dict[int, int]) -> None:
        if len(words) < SHORTEST:
            self.short += 1
            return
        self.items += 1
        length = min(GRAM, len(words))
        self._used.add(length)
        out = np.empty(len(words) - length + 1, np.uint64)
        hash_runs(words, len(words), length, _U(self._key), out)
        for value in out.tolist():
            found.setdefault(value, number)

    def find(self, column: Ragged, table: WordTable) -> tuple[np.ndarray, np.ndarray]:
        """(file, runs) of each row `[n]`: the file that most of its runs are of (-1: none), and how many it shares."""
        ids = column.values.view()
        ids.flags.writeable = False
        files, runs = np.full(len(column), -1, np.int64), np.zeros(len(column), np.int64)
        _find_rows(
            ids,
            np.array(column.offsets),
            table,
            ASCII,
            WIDE,
            word_base(self._key),
            _U(self._key),
            self._lengths,
            self._slots,
            self._owners,
            len(self.names),
            files,
            runs,
        )
        for number in files[files >= 0].tolist():
            self.num_records[number] += 1
        return files, runs


def _texts(name: str) -> Iterator[str]:
    """The texts of an evaluation file."""
    with open_input(name) as stream:
        plain = codecs.Peekable(codecs.ChunkReader(codecs.plain_chunks(codecs.Peekable(stream), name)))
        if plain.peek(1).lstrip()[:1] not in (b"{", b"["):
            yield canonical_text(_whole(plain, name).decode("utf-8", "replace"))
            return
        number = 0
        for lines in split_lines(plain, name):
            for line in lines:
                number += 1
                if not line or line.isspace():
                    continue
                try:
                    yield from _strings(orjson.loads(line))
                except orjson.JSONDecodeError:
                    raise InputError(f"{name}:{number}: not JSON; give JSON lines or plain text") from None


def _whole(stream: codecs.Peekable, name: str) -> bytes:
    parts, size = [], 0
    while chunk := stream.read1(codecs.CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_TEXT_BYTES:
            raise InputError(f"{name}: over {MAX_TEXT_BYTES >> 20} MB of plain text; split it, or give JSON lines")
    return b"".join(parts)


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield canonical_text(value)
    elif isinstance(value, dict | list) and depth < MAX_DEPTH:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each, depth + 1)


def _table(found: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    size = 1 << max(4, (4 * len(found)).bit_length())
    slots, owners = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    hashes = np.fromiter(found.keys(), np.uint64, len(found))
    _fill(slots, owners, hashes, np.fromiter(found.values(), np.int32, len(found)))
    return slots, owners


def file_label(name: str) -> str:
    """How a file is named in records and reports."""
    return Path(name).name


@njit
def _fill(slots, owners, hashes, files):
    mask = len(slots) - 1
    for i in range(len(hashes)):
        at = np.int64(hashes[i]) & mask
        while slots[at]:
            at = (at + 1) & mask
        slots[at], owners[at] = hashes[i], files[i]


@njit
def _find_rows(ids, offsets, table, ascii_classes, wide, base, key, lengths, slots, owners, num_files, files, runs):
    state, words, hashes = new_state(), np.empty(1 << 12, np.uint64), np.empty(1 << 12, np.uint64)
    hits = np.zeros(num_files, np.int64)
    mask = len(slots) - 1
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, state, words)
        while count < 0:
            words = np.empty(2 * max(len(words), end - begin), np.uint64)
            count = find_words(ids, begin, end, table, ascii_classes, wide, base, key, state, words)
        if len(hashes) < len(words):
            hashes = np.empty(len(words), np.uint64)
        any_hit = False
        for length in lengths:
            for i in range(hash_runs(words, count, length, key, hashes)):
                at = np.int64(hashes[i]) & mask
                while slots[at] and slots[at] != hashes[i]:
                    at = (at + 1) & mask
                if slots[at]:
                    hits[owners[at]] += 1
                    any_hit = True
        if any_hit:
            files[row] = np.argmax(hits)
            runs[row] = hits.sum()
            hits[:] = 0
