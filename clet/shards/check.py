"""Checking frames of windows where they are mapped, many of them in one call: one pass over each.

A frame is right if its header is, its XXH3, the table of its arrays, the segments (as many windows as there should be,
none overfull, none empty, of documents that there are) and every id. The table is JSON, and here compared with the
text that clet writes; whatever differs is left to the reader, who parses it and says what is wrong.

Cost: fetching the frame from memory, which the hash keeps up with, and 1 us; parsing and calls from Python take 15.
"""

from __future__ import annotations

import numpy as np

from clet.container import ALIGN, HEADER_BYTES, MAGIC, VERSION, Kind
from clet.kernels import njit
from clet.shards.xxh3 import MIN_BYTES, STRIPE, hashed, load_word

_U = np.uint64
_STAMP = np.frombuffer(MAGIC + bytes([VERSION, Kind.WINDOWS, 0, 0]), np.uint8)
_SIZE_AT, _RAW_AT, _CHECK_AT = 8, 16, 24  # of a header
_NUMBER = np.uint8(ord("#"))
_TABLE = np.frombuffer(
    b'{"info":{"first":#},"arrays":[["ids","<u#",[#,#],#],["segment_ends","<u4",[#],#],'
    b'["segment_lengths","<u4",[#],#],["segment_rows","<u4",[#],#]]}',
    np.uint8,
)
_FIRST, _WIDTH, _SIZE, _SEQ_LEN, _AT, _NUM_ENDS, _ENDS, _SEGMENTS, _LENGTHS, _NUM_ROWS, _ROWS = range(11)


@njit
def check_frames(data, ids, numbers, base, seek, which, seq_len, num_documents, vocab_size, places):
    """Check frames `which` of a shard from byte `base` of `data` on until one is not as it should be; how many were.

    `ids` and `numbers` are the same bytes as the shard's ids and as u32; `seek` has (byte, first window, windows) of
    each frame. `places` of those checked become where their ids begin, in ids, and their ends, lengths and rows, in
    u32. Frames with masked spans, or that do not begin at a multiple of four bytes, are not as they should be here.
    """
    read = np.empty(11, np.int64)
    first = np.empty(STRIPE, np.uint8)
    for done in range(len(which)):
        frame = which[done]
        at, size = base + seek[frame, 0], seek[frame, 2]
        if at % 4 or at + HEADER_BYTES > len(data):
            return done
        for i in range(len(_STAMP)):
            if data[at + i] != _STAMP[i]:
                return done
        stored = np.int64(load_word(data, _U(at + _SIZE_AT)))
        body = at + HEADER_BYTES
        if stored + _CHECK_AT < MIN_BYTES or stored > len(data) - body:
            return done
        if stored != np.int64(load_word(data, _U(at + _RAW_AT))):
            return done
        length = np.int64(numbers[body // 4])
        if length > stored - 4 or not _matches(data, body + 4, length, read):
            return done
        width, segments = ids.itemsize, read[_SEGMENTS]
        ends = _aligned(size * seq_len * width)
        lengths = ends + _aligned(4 * size)
        rows = lengths + _aligned(4 * segments)
        start = body + _aligned(4 + length)
        if (
            read[_FIRST] != seek[frame, 1]
            or read[_WIDTH] != width
            or read[_SIZE] != size
            or read[_SEQ_LEN] != seq_len
            or read[_AT] != 0
            or read[_NUM_ENDS] != size
            or read[_ENDS] != ends
            or read[_LENGTHS] != lengths
            or read[_NUM_ROWS] != segments
            or read[_ROWS] != rows
            or start + rows + _aligned(4 * segments) != body + stored
        ):
            return done
        for i in range(_CHECK_AT):  # what is hashed is the header but its checksum, and what follows it
            first[i] = data[at + i]
        for i in range(_CHECK_AT, STRIPE):
            first[i] = data[at + i + 8]
        peak = np.zeros(STRIPE // width, ids.dtype)
        ids_end = start + size * seq_len * width
        digest, seen_from, seen_to = hashed(data, at + 8, stored + _CHECK_AT, first, start, ids_end, peak)
        if digest != load_word(data, _U(at + _CHECK_AT)):
            return done
        begin, end = start // width, ids_end // width
        if seen_to > seen_from:
            largest = max(_largest(peak), _largest(ids[begin : seen_from // width]))
            largest = max(largest, _largest(ids[seen_to // width : end]))
        else:
            largest = _largest(ids[begin:end])
        ends, lengths, rows = (start + ends) // 4, (start + lengths) // 4, (start + rows) // 4
        if largest >= vocab_size or not fit(numbers, ends, lengths, rows, size, segments, seq_len, num_documents):
            return done
        places[frame, 1], places[frame, 2], places[frame, 3] = ends, lengths, rows
        places[frame, 0] = begin
    return len(which)


@njit
def fit(numbers, ends, lengths, rows, size, segments, seq_len, num_documents):
    """Whether segments fill `size` windows with tokens of documents that there are.

    `ends`, `lengths` and `rows` are where these begin in `numbers`: segments up to each window's end, and of each
    segment its tokens and its document.
    """
    first = np.int64(0)
    for window in range(size):
        end, used = np.int64(numbers[ends + window]), np.int64(0)
        if end <= first or end > segments:
            return False
        for segment in range(first, end):
            length = numbers[lengths + segment]
            used += np.int64(length)
            if length < 1 or numbers[rows + segment] >= num_documents:
                return False
        if used > seq_len:
            return False
        first = end
    return first == segments


@njit
def _matches(data, at, length, read):
    """Whether `length` bytes from `at` on are the table, with numbers, which are put into `read`."""
    end, found = at + length, 0
    for byte in _TABLE:
        if byte != _NUMBER:
            if at == end or data[at] != byte:
                return False
            at += 1
            continue
        value, begin = np.int64(0), at
        while at < end and at - begin < 18 and 48 <= data[at] <= 57:
            value = 10 * value + np.int64(data[at]) - 48
            at += 1
        if at == begin or (data[begin] == 48 and at - begin > 1):
            return False
        read[found] = value
        found += 1
    return at == end


@njit
def _largest(ids):
    largest = np.int64(0)
    for i in range(len(ids)):
        largest = max(largest, np.int64(ids[i]))
    return largest


@njit
def _aligned(num_bytes):
    return -(-num_bytes // ALIGN) * ALIGN
