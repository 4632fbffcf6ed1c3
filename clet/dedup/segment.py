"""A segment: an immutable file of the index for a run of documents, looked up where it lies on disk.

Keys and bands are sorted, with a directory of their leading bits that points into them about every eight entries: a
lookup reads one word of the directory and one or two cache lines, in a file that is mapped and checked page by page
(`clet.pages`). Segments are made of the tables in memory (`write_tables`) or of two neighbours (`merge`), which
reads and writes them front to back in bounded memory.

Bytes a document: 64, 20 a key (two keys a document, one a repeat), 256 of bands and 4 a value of the sample; 16 a
repeat; 8 a sampled span (`clet.dedup.spans`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clet.dedup.minhash import BANDS, fill_set, new_set, similarity, similarity_bound
from clet.dedup.table import (
    BUCKET,
    BY_ID,
    BY_TOKENS,
    DOC_WORDS,
    LEVEL,
    SIMILAR,
    TIME,
    VALUES_END,
    Known,
    Rows,
    Tables,
    in_window,
    is_among,
)
from clet.exits import InputError
from clet.kernels import leaf, njit
from clet.pages import Pages, PageWriter, check_words, half, word

PER_BUCKET = 8  # entries between two of a directory
CHUNK = 1 << 18  # entries that a merge holds at once

_U = np.uint64
_S32 = _U(32)
_LOW = _U(0xFFFFFFFF)


class Layout(NamedTuple):
    """Where the sections of a segment begin, in words, and the shifts of its directories."""

    first: int  # number of its first document
    key_dir: int
    key_shift: int
    keys: int
    owners: int
    key_times: int
    band_dir: int
    band_shift: int
    bands: int
    docs: int
    values: int
    span_dir: int
    span_shift: int
    spans: int


class Segment:
    """A segment opened for lookups. `entry` is what the state's HEAD keeps of it."""

    def __init__(self, directory: Path, entry: dict[str, Any]):
        self.entry = entry
        try:
            name, pages, first, docs = entry["file"], entry["pages"], entry["first"], entry["documents"]
            if "/" in name or not all(isinstance(n, int) and n >= 0 for n in (pages, first, docs)):
                raise ValueError("odd entry")
            self.pages = Pages(directory / name, pages)
            if self.pages.info["first"] != first or self.pages.info["documents"] != docs:
                raise ValueError(f"{name} holds other documents")
            self.layout = self._layout(first)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{directory}: the state contradicts itself ({error}); give another --state") from None
        self.first, self.num_docs, self.end = first, docs, first + docs

    def _layout(self, first: int) -> Layout:
        sections = self.pages.sections

        def shift(name: str) -> int:
            return 65 - sections[name][1].bit_length()  # a directory has 2^bits + 1 entries

        names = ("keys", "owners", "key_times", "bands", "docs", "values", "spans")
        begins = {name: sections[name][0] for name in (*names, "key_dir", "band_dir", "span_dir")}
        return Layout(
            first=first,
            key_shift=shift("key_dir"),
            band_shift=shift("band_dir"),
            span_shift=shift("span_dir"),
            **begins,
        )

    @property
    def num_bytes(self) -> int:
        """Of the file."""
        return self.pages.mapped.words.nbytes

    @property
    def newest(self) -> int:
        """When the last of its documents was fetched, in seconds; 0 where no time is known."""
        return self.entry["newest"]

    def document(self, number: int) -> np.ndarray:
        """The words of a document."""
        at = self.layout.docs + DOC_WORDS * (number - self.first)
        check_words(self.pages.mapped, at, at + DOC_WORDS)
        self.pages.check()
        return self.pages.mapped.words[at : at + DOC_WORDS]

    def sample(self, number: int) -> tuple[np.ndarray, int]:
        """(sample, level) of a document."""
        fields = self.document(number)
        begin = int(self.document(number - 1)[VALUES_END]) if number > self.first else 0
        end, at = int(fields[VALUES_END]), self.layout.values
        check_words(self.pages.mapped, at + begin // 2, at + (end + 1) // 2)
        self.pages.check()
        return self.pages.mapped.halves[2 * at + begin : 2 * at + end], int(fields[LEVEL])

    def find_key(self, key: np.uint64, oldest: int) -> int:
        """The document, from `oldest` on, that has a key or that a record with it repeated; -1."""
        found = _find_key(self.pages.mapped, self.layout, key, 0, 0, oldest)[0]
        self.pages.check()
        return int(found)

    def origins_of(self, owner: int) -> np.ndarray:
        """The origins `[k]` of the repeats of a document, which may be one of another segment."""
        begin, count, _ = self.pages.sections["events"]
        bounds = event_range(self.pages.mapped, begin, count // 2, owner)
        self.pages.check()
        return self.pages.mapped.words[begin + 2 * bounds[0] + 1 : begin + 2 * bounds[1] : 2]

    def look_up(
        self,
        rows: Rows,
        begin: int,
        end: int,
        threshold: float,
        window: int,
        oldest: int,
        own: np.ndarray,
        known: Known,
    ) -> None:
        """Add to `known` what this segment knows of records `begin` to `end`; before `oldest` all is forgotten."""
        look_up(self.pages.mapped, self.layout, rows, begin, end, threshold, window, oldest, own, known)
        self.pages.check()

    def find_spans(self, hashes: np.ndarray, found: np.ndarray) -> None:
        """Set `found[i]` where `hashes[i]` is that of a span in this segment."""
        find_sorted(self.pages.mapped, self.layout.span_dir, self.layout.span_shift, self.layout.spans, hashes, found)
        self.pages.check()


# ---- lookups


@leaf
def _bounds(mapped, directory, shift, key):
    bucket = np.int64(key >> _U(shift))
    return np.int64(half(mapped, directory, bucket)), np.int64(half(mapped, directory, bucket + 1))


@leaf
def _find_key(mapped, layout, key, time, window, oldest):
    """(document behind a key, its time): the earliest within the window; (-1, 0)."""
    low, high = _bounds(mapped, layout.key_dir, layout.key_shift, key)
    best, then = -1, 0
    for i in range(low, high):
        if word(mapped, layout.keys + i) == key:
            when = np.int64(half(mapped, layout.key_times, i))
            owner = np.int64(word(mapped, layout.owners + i))
            if owner >= oldest and in_window(when, time, window) and (best < 0 or owner < best):
                best, then = owner, when
    return best, then


@njit
def find_sorted(mapped, directory, shift, begin, hashes, found):
    """Set `found[i]` where `hashes[i]` is in the sorted section at `begin`."""
    for i in range(len(hashes)):
        if not found[i]:
            low, high = _bounds(mapped, directory, shift, hashes[i])
            for at in range(low, high):
                if word(mapped, begin + at) == hashes[i]:
                    found[i] = True
                    break


@njit
def event_range(mapped, begin, count, owner):
    """(first, last + 1) of the pairs whose first word is `owner`, among `count` sorted ones at word `begin`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if word(mapped, begin + 2 * middle) < _U(owner):
            low = middle + 1
        else:
            high = middle
    end = low
    while end < count and word(mapped, begin + 2 * end) == _U(owner):
        end += 1
    check_words(mapped, begin + 2 * low, begin + 2 * end)
    return low, end


@njit
def look_up(mapped, layout, rows, begin, end, threshold, window, oldest, own, known):
    """See Segment.look_up."""
    query, candidates = new_set(), np.empty(BANDS * BUCKET, np.int64)
    for row in range(begin, end):
        time = rows.times[row]
        for which in (BY_ID, BY_TOKENS):
            key = rows.id_keys[row] if which == BY_ID else rows.tokens[row]
            if key and known.docs[row, which] < 0:
                found, then = _find_key(mapped, layout, key, time, window, oldest)
                known.docs[row, which], known.times[row, which] = found, then
        if known.docs[row, BY_ID] >= 0 or known.docs[row, BY_TOKENS] >= 0:
            continue  # similarity will not be asked for
        if rows.starts[row + 1] == rows.starts[row]:
            continue
        sample, level = rows.values[rows.starts[row] : rows.starts[row + 1]], np.int64(rows.levels[row])
        filled, shift = False, _U(0)
        for doc in candidates[: _candidates(mapped, layout, rows.bands[row], candidates)]:
            number = layout.first + doc
            fields = layout.docs + DOC_WORDS * doc
            start = np.int64(word(mapped, fields - DOC_WORDS + VALUES_END)) if doc else 0
            stop = np.int64(word(mapped, fields + VALUES_END))
            its_level = np.int64(word(mapped, fields + LEVEL))
            bound = similarity_bound(len(sample), level, stop - start, its_level)
            if bound < max(threshold, known.similarity[row]) or is_among(number, own):
                continue
            then = np.int64(word(mapped, fields + TIME))
            if not in_window(then, time, window):
                continue
            check_words(mapped, layout.values + start // 2, layout.values + (stop + 1) // 2)
            other = mapped.halves[2 * layout.values + start : 2 * layout.values + stop]
            if not filled:
                filled, shift = True, fill_set(query, sample)
            j = similarity(sample, level, other, its_level, query, shift)
            better = j > known.similarity[row]
            if better or (j == known.similarity[row] and number < known.docs[row, SIMILAR]):
                known.docs[row, SIMILAR], known.times[row, SIMILAR] = number, then
                known.similarity[row] = j


@leaf
def _candidates(mapped, layout, bands, found):
    """How many documents share a band; they are in `found`, by their number in the segment."""
    count = 0
    for i in range(BANDS):
        wanted = _U(bands[i])
        low, high = _bounds(mapped, layout.band_dir, layout.band_shift, wanted << _S32)
        for at in range(low, high):
            entry = word(mapped, layout.bands + at)
            doc = np.int64(entry & _LOW)
            if entry >> _S32 == wanted and count < len(found) and not is_among(doc, found[:count]):
                found[count] = doc
                count += 1
    return count


# ---- writing


def write_tables(path: Path, t: Tables, first: int, spans: np.ndarray) -> dict[str, Any]:
    """The tables as a segment file; `spans` are sorted hashes. Returns its entry. Raises WriteError."""
    num_keys, num_docs, num_values, _, num_events = t.sizes.tolist()
    keys, slots = t.keys[:num_keys], t.band_slots[t.band_slots != 0]
    order = np.lexsort((t.owners[:num_keys], keys))
    bands = np.sort((slots << _S32) | ((slots >> _S32) - _U(1)))
    events = t.events[:num_events]
    writer = PageWriter(path)
    try:
        _add_sorted(writer, "key", iter([keys[order]]), num_keys)
        writer.add("owners", [t.owners[:num_keys][order].view(np.uint64)], np.uint64)
        writer.add("key_times", [_short(t.key_times[:num_keys][order])], np.uint32)
        _add_sorted(writer, "band", iter([bands]), len(bands))
        writer.add("docs", [t.docs[:num_docs].reshape(-1)], np.uint64)
        writer.add("values", [t.values[:num_values]], np.uint32)
        writer.add("events", [_by_owner(events)], np.uint64)
        _add_sorted(writer, "span", iter([spans]), len(spans))
        return _close(writer, first, num_docs, t.docs[:num_docs, TIME], num_events, len(spans))
    except BaseException:
        writer.abort()
        raise


def _by_owner(events: np.ndarray) -> np.ndarray:
    """Repeats by the document that they repeat, those of one document in their order."""
    return events[np.argsort(events[:, 0], kind="stable")].reshape(-1)


def _short(times: np.ndarray) -> np.ndarray:
    return np.clip(times, 0, 2**32 - 1).astype(np.uint32)


def _close(
    writer: PageWriter, first: int, num_docs: int, times: np.ndarray, num_events: int, num_spans: int
) -> dict[str, Any]:
    known = times[times > 0]
    entry = {
        "file": writer.path.name,
        "first": first,
        "documents": num_docs,
        "repeats": num_events,
        "spans": num_spans,
        "oldest": int(known.min()) if len(known) else 0,
        "newest": int(known.max()) if len(known) else 0,
    }
    pages = writer.num_pages
    writer.close(entry)
    return entry | {"pages": pages}


def _add_sorted(writer: PageWriter, name: str, parts: Iterator[np.ndarray], size: int) -> None:
    """A section of sorted words, and the directory of their leading bits; `size` words at most."""
    bits = max(1, (max(1, size // PER_BUCKET) - 1).bit_length())
    counts = np.zeros((1 << bits) + 1, np.int64)

    def counted() -> Iterator[np.ndarray]:
        for part in parts:
            _count(part, 64 - bits, counts)
            yield part

    writer.add(f"{name}s", counted(), np.uint64)
    writer.add(f"{name}_dir", [np.cumsum(counts).astype(np.uint32)], np.uint32)


@njit
def _count(part, shift, counts):
    for value in part:
        counts[np.int64(value >> _U(shift)) + 1] += 1


# ---- merging


def merge(path: Path, old: Segment, new: Segment) -> dict[str, Any]:
    """Two neighbours as one segment file. Returns its entry. Raises InputError for damage, WriteError."""
    a, b = old.pages, new.pages
    shift = old.num_docs
    writer = PageWriter(path)
    try:
        keys_a, keys_b = a.section("keys"), b.section("keys")
        order: list[np.ndarray] = []  # from which of both each key comes: 1 byte a key
        _add_sorted(writer, "key", _merge_keys(keys_a, keys_b, order), len(keys_a) + len(keys_b))
        sides = np.concatenate(order) if order else np.zeros(0, np.uint8)
        for name, dtype in (("owners", np.uint64), ("key_times", np.uint32)):
            writer.add(name, _pick(sides, a.section(name), b.section(name)), dtype)
        bands_a, bands_b = a.section("bands"), b.section("bands")
        _add_sorted(writer, "band", _merge_bands(bands_a, bands_b, shift), len(bands_a) + len(bands_b))
        docs_a, docs_b = a.section("docs"), b.section("docs")
        values_a, values_b = a.section("values"), b.section("values")
        writer.add("docs", [docs_a, *_moved(docs_b, len(values_a))], np.uint64)
        writer.add("values", [values_a, values_b], np.uint32)
        events = np.concatenate([a.section("events"), b.section("events")]).reshape(-1, 2)
        writer.add("events", [_by_owner(events)], np.uint64)
        spans_a, spans_b = a.section("spans"), b.section("spans")
        _add_sorted(writer, "span", _merge_keys(spans_a, spans_b, []), len(spans_a) + len(spans_b))
        times = np.concatenate([docs_a[TIME::DOC_WORDS], docs_b[TIME::DOC_WORDS]])
        return _close(writer, old.first, shift + new.num_docs, times, len(events), len(spans_a) + len(spans_b))
    except BaseException:
        writer.abort()
        raise


def _merge_keys(a: np.ndarray, b: np.ndarray, order: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Chunks of the merged order of two sorted arrays, those of `a` first where equal; `order` gets 0 or 1 for each."""
    at_a = at_b = 0
    while at_a < len(a) or at_b < len(b):
        out, sides = np.empty(CHUNK, np.uint64), np.empty(CHUNK, np.uint8)
        at_a, at_b, size = _merge_step(a, at_a, b, at_b, out, sides)
        order.append(sides[:size])
        yield out[:size]


@njit
def _merge_step(a, at_a, b, at_b, out, sides):
    size = 0
    while size < len(out) and (at_a < len(a) or at_b < len(b)):
        if at_b == len(b) or (at_a < len(a) and a[at_a] <= b[at_b]):
            out[size], sides[size] = a[at_a], 0
            at_a += 1
        else:
            out[size], sides[size] = b[at_b], 1
            at_b += 1
        size += 1
    return at_a, at_b, size


def _pick(sides: np.ndarray, a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """What belongs to keys in merged order, a chunk at a time."""
    at_a = at_b = 0
    for start in range(0, len(sides), CHUNK):
        side = sides[start : start + CHUNK].astype(bool)
        out = np.empty(len(side), a.dtype)
        from_b = int(side.sum())
        from_a = len(side) - from_b
        out[~side], out[side] = a[at_a : at_a + from_a], b[at_b : at_b + from_b]
        at_a, at_b = at_a + from_a, at_b + from_b
        yield out


def _merge_bands(a: np.ndarray, b: np.ndarray, shift: int) -> Iterator[np.ndarray]:
    """Bands merged, those of `b` counted from `shift` on; at most BUCKET documents, the earliest, under one hash."""
    state = np.zeros(4, np.int64)  # places in a and b, the last hash, how many it had
    while state[0] < len(a) or state[1] < len(b):
        out = np.empty(CHUNK, np.uint64)
        yield out[: _merge_bands_step(a, b, shift, state, out)]


@njit
def _merge_bands_step(a, b, shift, state, out):
    at_a, at_b, last, same = state[0], state[1], state[2], state[3]
    size = 0
    while size < len(out) and (at_a < len(a) or at_b < len(b)):
        if at_b == len(b) or (at_a < len(a) and a[at_a] >> _S32 <= b[at_b] >> _S32):
            entry = a[at_a]
            at_a += 1
        else:
            entry = b[at_b] + _U(shift)
            at_b += 1
        hashed = np.int64(entry >> _S32)
        same = same + 1 if hashed == last else 1
        last = hashed
        if same <= BUCKET:
            out[size] = entry
            size += 1
    state[0], state[1], state[2], state[3] = at_a, at_b, last, same
    return size


def _moved(docs: np.ndarray, num_values: int) -> Iterator[np.ndarray]:
    """Documents whose samples come after so many values of others, a chunk at a time."""
    for start in range(0, len(docs), CHUNK):
        part = docs[start : start + CHUNK].copy()
        part[VALUES_END::DOC_WORDS] += _U(num_values)
        yield part
