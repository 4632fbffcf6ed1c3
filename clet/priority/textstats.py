"""Counts of a text that the rules of quality are made of, from its token ids or from its UTF-8.

Ids are put back into bytes through a table of the tokenizer (`Tokenizer.token_bytes`), inside the kernel and one
document at a time, so that the counts do not depend on how the tokenizer split: a word of three tokens and a token of
three words are counted like anybody's. Then both ways are the same: `clet.priority.words` cuts, `repetition` numbers
the words and counts n-grams, `lines` looks at lines and paragraphs, and the models of `clet.priority.classifier` are
summed over the words while they are in the cache.

Cost: 15 to 25 ns a token of GPT-2; memory up to 140 bytes a byte of the longest text, of which the first MAX_BYTES are
read, so that one document can take neither all memory nor all time.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from clet.batch import Batch, Ragged
from clet.kernels import leaf
from clet.priority import lines as ln
from clet.priority import words as wd
from clet.priority.characters import classes
from clet.priority.classifier import sum_weights
from clet.priority.keys import PAD, key_of
from clet.priority.lines import line_stats
from clet.priority.repetition import count_pairs, duplicate_ngrams, find_slot, intern, is_lost, top_ngrams
from clet.priority.runs import byte_kinds, known_endings
from clet.priority.words import split
from clet.tokens import Tokenizer

MAX_BYTES = 4 << 20  # longer texts are judged by their first 4 MB
_FIRST_ROOM = 1 << 16
MANY_SPACELESS = 0.3  # of the letters, above which a text has no words whose length means anything


class Stat(IntEnum):
    """Columns of the table of counts; those from LINE on are `clet.priority.lines`'."""

    CHARS = 0  # code points
    NEWLINES = 1
    UNITS = 2  # words and marks
    LOUD_UNITS = 3  # with a character that is no punctuation: datatrove's words
    LOUD_CHARS = 4
    LETTER_UNITS = 5
    WORDS = 6  # units with a letter or a digit, addresses left out: clet's words
    WORD_CHARS = 7
    LETTER_WORDS = 8
    LETTERS = 9
    LATIN = 10
    SPACELESS = 11  # letters of scripts without spaces between words
    HASHES = 12  # number signs
    HASH_RUNS = 13
    ELLIPSES = 14
    LINKS = 15
    MARKS = 16  # runs of punctuation that stand alone: table rules, bullets, art
    STOP_WORDS = 17  # words that are common in some language of STOP_WORDS
    STOP_DISTINCT = 18  # most different ones of one language
    GOPHER_STOPS = 19  # different ones of Gopher's eight, in lower case
    TOP_WORD = 20  # occurrences of the most frequent word of at least 4 characters that is no stop word
    TOP_CHARS = 21  # and the two columns after it: n = 2, 3, 4
    TOP_COUNT = 24  # and the two columns after it: how often the most frequent n-gram occurs
    DUP_CHARS = 27  # and the five columns after it: n = 5..10
    PLACEHOLDER = 33  # 1 where "lorem ipsum" occurs
    LINE = 34


NUM_STATS = Stat.LINE + ln.NUM_LINE_STATS
_TOPS, _DUPS = int(Stat.TOP_CHARS), int(Stat.DUP_CHARS)

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

_U = np.uint64
_ONE = _U(1)


@functools.cache
def _marked_words() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(keys, masks, codes) of an open-addressing table.

    Mask: bit 8 * language + word of each language that has the stop word, in any case. Code: the low eight bits are
    Gopher's words in lower case, the others what phrases are made of.
    """
    size = 1024
    keys, masks, codes = np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.uint32)

    def slot_of(word: str) -> int:
        key = np.uint64(key_of(word) | 1)
        slot = int(find_slot(keys, np.uint64(size - 1), key))
        keys[slot] = key
        return slot

    for i, text in enumerate(STOP_WORDS.values()):
        for j, word in enumerate(text.split()):
            for form in {word, word.capitalize(), word.upper()}:
                masks[slot_of(form)] |= np.uint64(1 << (8 * i + j))
            if i == 0:
                codes[slot_of(word)] |= np.uint32(1 << j)
    for word, code in ln.PHRASE_WORDS.items():
        for form in {word, word.capitalize(), word.upper(), word.replace("javas", "JavaS")}:
            codes[slot_of(form)] |= np.uint32(code)
    for table in (keys, masks, codes):
        table.flags.writeable = False
    return keys, masks, codes


class Least(NamedTuple):
    """What repetition is not worth counting.

    Shares of a text up to `top` and `duplicate`, plus half of `allowed` words as a share, are reported as 0; with
    `stop`, so is what comes behind a measure that breaks its limit, to which all of `allowed` is added. So is all of it
    where fewer than `letters` of the words have a letter, or their mean length is not from `shortest` to `longest`.
    """

    top: float = 0.0
    duplicate: float = 0.0
    allowed: float = 0.0
    stop: bool = False
    letters: float = 0.0
    shortest: float = 0.0
    longest: float = np.inf


ALL = Least()


class TokenTable:
    """The bytes of each id of a tokenizer, for `measure`."""

    def __init__(self, tokenizer: Tokenizer):
        table = tokenizer.token_bytes()
        self.fingerprint = tokenizer.fingerprint
        self.values = np.concatenate((table.values, np.zeros(8, np.uint8)))
        self.offsets = table.offsets
        # Tokenizers in the manner of SentencePiece put a space before a text; it is none of the text's.
        first = tokenizer.encode(["a"])[0]
        self.adds_space = bool(len(first)) and table.bytes_at(int(first[0])).startswith(b" ")


_NO_TABLE = (np.zeros(0, np.uint8), np.zeros(1, np.int64))


class Scratch:
    """What the kernel writes to while it looks at one text; grows with the longest one."""

    def __init__(self) -> None:
        self.room = 0
        self.grow(_FIRST_ROOM)

    def grow(self, room: int) -> None:
        """Make room for texts of so many bytes."""
        self.room = room = min(max(room, 2 * self.room), MAX_BYTES)
        self.arrays = (
            np.full(room + 2 * PAD + 8, 10, np.uint8),  # the text
            np.empty((room + 1, 2), np.uint64),  # cuts
            np.empty(room + 1, np.uint64),  # keys
            np.empty(room + 1, np.int32),  # sizes
            np.empty(room + 1, np.uint8),  # flags
            np.empty((room + 1, 5), np.int64),  # lines
            np.empty(8 * room + 64, np.uint64),  # slots
            np.empty(4 * room + 64, np.int64),  # values
            np.empty(room + 1, np.int32),  # word_of
            np.empty(room + 1, np.int32),  # counts
            np.empty(room + 1, np.int32),  # first
            np.empty(room + 1, np.uint32),  # codes
            np.empty(room + 2, np.uint64),  # sums
            np.empty(room + 1, np.int32),  # runs
            np.empty(4 * room + 64, np.uint8),  # sketch
            np.empty(room + 1, np.int32),  # often
        )


@leaf
def _expand(ids, begin, end, table, offsets, buffer, room):
    """Write the bytes of the ids behind the padding; returns how many, or where there is no room for all -1 - how many.

    An id that the tokenizer does not have stands for nothing.
    """
    at, limit = _U(PAD), _U(PAD + room)
    known = len(offsets) - 1
    for i in range(begin, end):
        index = np.int64(ids[i])
        if index >= known:
            continue
        source, size = _U(offsets[index]), _U(offsets[index + 1] - offsets[index])
        if at + size > limit:
            return np.int64(-1) - np.int64(at - _U(PAD))
        for k in range(8):  # eight at once: what is too much is overwritten by the next token
            buffer[at + _U(k)] = table[source + _U(k)]
        for k in range(8, size):
            buffer[at + _U(k)] = table[source + _U(k)]
        at += size
    return np.int64(at - _U(PAD))


@leaf
def _fill(values, begin, end, from_ids, skip_space, table, table_offsets, buffer):
    """Put one text into the buffer; (where it begins, where it ends), or (0, 0) where the buffer is too small."""
    room = len(buffer) - 2 * PAD - 8
    text = PAD
    if from_ids:
        size = _expand(values, begin, end, table, table_offsets, buffer, room)
        complete = size >= 0
        size = size if complete else -1 - size
        text += 1 if skip_space and size and buffer[PAD] == 32 else 0
    else:
        size = end - begin
        complete = size <= room
        size = min(size, room)
        first = _U(begin)
        for i in range(_U(size)):
            buffer[_U(PAD) + i] = values[first + i]
    if not complete and room < MAX_BYTES:
        return 0, 0
    stop = PAD + size
    if not complete:  # not in the middle of a character
        while stop > text and buffer[stop - 1] & 0xC0 == 0x80:
            stop -= 1
        if stop > text and buffer[stop - 1] >= 0xC0:
            stop -= 1
    for i in range(stop, stop + PAD + 8):
        buffer[i] = 10
    return text, stop


@leaf
def _measure(
    values, offsets, from_ids, skip_space, table, table_offsets, row,
    whole, with_c4, top_least, dup_least, allowed, stop, letters, shortest, longest,
    kinds, singles, bits, known, marked, masks, marked_codes, weights,
    buffer, cuts, keys, sizes, flags, lines, slots, places, word_of, counts, first, codes, sums, runs, sketch, often,
    tally, out, scores,
):  # fmt: skip
    """Measure rows from `row` on; returns the row for which the buffers are too small, or how many there are."""
    while row < len(offsets) - 1:
        begin, end = _fill(values, offsets[row], offsets[row + 1], from_ids, skip_space, table, table_offsets, buffer)
        if end == 0:
            return row
        _measure_one(
            buffer, begin, end, whole, with_c4, top_least, dup_least, allowed, stop, letters, shortest, longest,
            kinds, singles, bits, known, marked, masks, marked_codes, weights,
            cuts, keys, sizes, flags, lines, slots, places, word_of, counts, first, codes, sums, runs, sketch, often,
            tally, out[row], scores[row],
        )  # fmt: skip
        row += 1
    return row


@leaf
def _measure_one(
    data, begin, end, whole, with_c4, top_least, dup_least, allowed, stop, letters, shortest, longest,
    kinds, singles, bits, known, marked, masks, marked_codes, weights,
    cuts, keys, sizes, flags, lines, slots, places, word_of, counts, first, codes, sums, runs, sketch, often,
    tally, stats, scores,
):  # fmt: skip
    chars = _count_characters(data, _U(begin), _U(end))
    for i in range(wd.NUM_TALLIES):
        tally[i] = 0
    count, num_lines = split(
        data, begin, end, bits, kinds, singles, known, whole, cuts, keys, sizes, flags, lines, tally
    )
    distinct = intern(keys, count, slots, word_of, counts, first)
    stats[Stat.CHARS], stats[Stat.NEWLINES] = chars, num_lines - 1
    _count_units(count, sizes, flags, tally, stats)
    found = _count_words(distinct, keys, sizes, flags, counts, first, marked, masks, marked_codes, codes, stats)
    if found & np.uint32(ln.LOREM) and found & np.uint32(ln.IPSUM):
        stats[Stat.PLACEHOLDER] = ln.follow(codes, word_of, 0, count, ln.LOREM, ln.IPSUM)
    if not _is_hopeless(stats, letters, shortest, longest):
        extra = allowed / max(stats[Stat.WORDS], allowed, 1.0)
        tops, dups = stats[_TOPS : _TOPS + 6], stats[_DUPS : _DUPS + 6]
        count_pairs(keys, word_of, counts, count, sketch, runs, often)
        least = top_least + extra / 2
        top_ngrams(often, sizes, keys, count, chars, least, slots, places, sums, tops)
        if not (stop and is_lost(tops, chars, extra)):
            least = dup_least + extra / 2
            duplicate_ngrams(often, sizes, keys, count, chars, least, extra, stop, slots, places, sums, runs, dups)
    ascii_only = chars == end - begin
    line_stats(
        data, bits, lines, num_lines, ascii_only, with_c4, flags, codes, word_of, tally, slots, stats[Stat.LINE :]
    )
    sum_weights(keys, count, weights, scores)


@leaf(forceinline=True)
def _is_hopeless(stats, letters, shortest, longest):
    """Whether a text fails for its words, so that nobody asks for its repetition."""
    words = max(stats[Stat.WORDS], 1.0)
    if stats[Stat.LETTER_WORDS] < letters * words:
        return True
    mean, spaceless = stats[Stat.WORD_CHARS] / words, stats[Stat.SPACELESS]
    return (mean < shortest or mean > longest) and spaceless <= MANY_SPACELESS * max(stats[Stat.LETTERS], 1.0)


@leaf
def _count_characters(data, begin, end):
    """Bytes that begin a character. Summed up in bytes, so that the loop becomes vectors of them."""
    total, at = np.int64(0), begin
    while at < end:
        stop = min(at + _U(128), end)
        part = np.uint8(0)
        for i in range(at, stop):
            part = np.uint8(part + np.uint8(data[i] & 0xC0 != 0x80))
        total += np.int64(part)
        at = stop
    return total


@leaf
def _count_units(count, sizes, flags, tally, stats):
    loud = loud_chars = letter_units = words = word_chars = letter_words = 0
    for i in range(count):
        flag, size = flags[i], np.int64(sizes[i])
        is_loud = flag & np.uint8(wd.WORD) != 0
        has_letter = flag & np.uint8(wd.LETTERS) != 0
        is_word = (flag & np.uint8(wd.LETTERS | wd.DIGITS) != 0) & (flag & np.uint8(wd.LINK) == 0)
        loud += is_loud
        loud_chars += size * is_loud
        letter_units += has_letter
        words += is_word
        word_chars += size * is_word
        letter_words += is_word & has_letter
    stats[Stat.UNITS], stats[Stat.LOUD_UNITS], stats[Stat.LOUD_CHARS] = count, loud, loud_chars
    stats[Stat.LETTER_UNITS], stats[Stat.WORDS], stats[Stat.WORD_CHARS] = letter_units, words, word_chars
    stats[Stat.LETTER_WORDS], stats[Stat.LETTERS] = letter_words, tally[wd.ALL_LETTERS]
    stats[Stat.LATIN], stats[Stat.SPACELESS] = tally[wd.LATIN], tally[wd.SPACELESS]
    stats[Stat.HASHES], stats[Stat.HASH_RUNS] = tally[wd.HASHES], tally[wd.HASH_RUNS]
    stats[Stat.ELLIPSES], stats[Stat.LINKS], stats[Stat.MARKS] = tally[wd.ELLIPSES], tally[wd.LINKS], tally[wd.MARKS]


@leaf
def _count_words(distinct, keys, sizes, flags, counts, first, marked, masks, marked_codes, codes, stats):
    """What is said of each different word once; returns all bits of their codes."""
    mask = _U(len(marked) - 1)
    seen, gopher, found = _U(0), np.uint32(0), np.uint32(0)
    stops = top = 0
    for word in range(distinct):
        place = first[word]
        slot = find_slot(marked, mask, keys[place] | _ONE)
        codes[word] = marked_codes[slot]
        found |= codes[word]
        if masks[slot]:
            stops += counts[word]
            seen |= masks[slot]
            gopher |= marked_codes[slot]
        elif sizes[place] >= 4 and flags[place] & np.uint8(wd.LETTERS | wd.DIGITS):
            top = max(top, counts[word])
    best = 0
    for language in range(8):
        bits = 0
        for bit in range(8):
            bits += (seen >> _U(8 * language + bit)) & _ONE != 0
        best = max(best, bits)
    gopher_bits = 0
    for bit in range(8):
        gopher_bits += (gopher >> np.uint32(bit)) & np.uint32(1) != 0
    stats[Stat.STOP_WORDS], stats[Stat.STOP_DISTINCT], stats[Stat.GOPHER_STOPS] = stops, best, gopher_bits
    stats[Stat.TOP_WORD] = top
    return found


@leaf
def _keys(
    values, offsets, from_ids, skip_space, table, table_offsets, row, kinds, singles, bits, known,
    buffer, cuts, keys, sizes, flags, lines, tally, out, filled, most,
):  # fmt: skip
    """Write the keys of the first `most` units of each row from `row` on to `out`, and how many to `filled`."""
    at = 0
    for i in range(row):
        at += filled[i]
    while row < len(offsets) - 1:
        begin, end = _fill(values, offsets[row], offsets[row + 1], from_ids, skip_space, table, table_offsets, buffer)
        if end == 0:
            return row
        count, _ = split(buffer, begin, end, bits, kinds, singles, known, False, cuts, keys, sizes, flags, lines, tally)
        count = min(count, most)
        for i in range(count):
            out[at + i] = keys[i]
        filled[row] = count
        at += count
        row += 1
    return row


class _Source(NamedTuple):
    """What a kernel reads the texts of a batch from."""

    values: np.ndarray
    offsets: np.ndarray
    from_ids: bool
    skip_space: bool
    table: np.ndarray
    table_offsets: np.ndarray

    @staticmethod
    def of(batch: Batch, table: TokenTable | None) -> _Source:
        """Ids where `table` is of their tokenizer, since they are what a model will be trained on, else the text."""
        from_ids = table is not None and batch.tok is not None and batch.fingerprint == table.fingerprint
        column = batch.tok if from_ids else batch.text
        values = column.values.view()
        values.flags.writeable = False  # as it comes from a frame: kernels are compiled for one kind of array
        parts = (table.values, table.offsets) if from_ids else _NO_TABLE
        return _Source(values, np.array(column.offsets), from_ids, from_ids and table.adds_space, *parts)

    def size(self, row: int) -> int:
        return int(self.offsets[row + 1] - self.offsets[row])


def measure(
    batch: Batch,
    scratch: Scratch,
    table: TokenTable | None = None,
    *,
    weights: np.ndarray | None = None,
    whole: bool = False,
    with_c4: bool = True,
    least: Least = ALL,
) -> tuple[np.ndarray, np.ndarray]:
    """(counts `[n, NUM_STATS]` float64 as in `Stat`, sums `[n, models]` float64) of the records of a batch.

    `weights` `[models, slots]` int16 are those of fitted models. Without `with_c4` what only C4's rules need stays 0;
    `least` says which repetition is not worth counting.
    """
    source = _Source.of(batch, table)
    weights = np.zeros((0, 1), np.int16) if weights is None else weights
    out, sums = np.zeros((len(batch), NUM_STATS)), np.zeros((len(batch), len(weights)))
    tally = np.zeros(wd.NUM_TALLIES, np.int64)
    row = 0
    while True:
        row = _measure(
            *source, row, whole, with_c4, *least,
            byte_kinds(), wd.byte_flags(), classes(), known_endings(), *_marked_words(), weights,
            *scratch.arrays, tally, out, sums,
        )  # fmt: skip
        if row == len(batch):
            return out, sums
        scratch.grow(source.size(row))


def word_keys(batch: Batch, scratch: Scratch, table: TokenTable | None = None, *, most: int) -> Ragged:
    """The keys `[units]` uint64 of the first `most` words and marks of each record."""
    source = _Source.of(batch, table)
    filled = np.zeros(len(batch), np.int64)
    tally = np.zeros(wd.NUM_TALLIES, np.int64)
    lengths = np.diff(source.offsets) * (int(np.diff(table.offsets).max()) if source.from_ids else 1)
    keys = np.empty(int(np.minimum(lengths, most).sum()), np.uint64)
    row = 0
    while True:
        row = _keys(
            *source, row, byte_kinds(), wd.byte_flags(), classes(), known_endings(),
            *scratch.arrays[:6], tally, keys, filled, most,
        )  # fmt: skip
        if row == len(batch):
            return Ragged(keys[: filled.sum()], np.concatenate(([0], np.cumsum(filled))))
        scratch.grow(source.size(row))
