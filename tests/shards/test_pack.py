import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.shards import fit
from clet.shards.pack import MAX_AGE, Packer, buffer_windows, new_room

LENGTHS = st.lists(st.integers(1, 50), max_size=60)
SIZES = {"seq_len": st.integers(1, 24), "waiting": st.integers(1, 5), "frame": st.integers(1, 4)}


def pack(documents, seq_len, waiting, frame=3, end_id=None, cuts=()):
    """(windows as lists of (row, ids), counts) of documents taken in as the calls that `cuts` make of them."""
    windows, room = [], new_room(frame, seq_len, np.dtype(np.uint16))

    def flush():
        begin = 0
        for window in range(room.fill[fit.WINDOWS]):
            end, at, pieces = int(room.ends[window]), 0, []
            for segment in range(begin, end):
                length = int(room.lengths[segment])
                pieces.append((int(room.rows[segment]), room.ids[window, at : at + length].tolist()))
                at += length
            assert not room.ids[window, at:].any()
            windows.append(pieces)
            begin = end
        assert begin == room.fill[fit.SEGMENTS]
        room.fill[: fit.PASSED] = 0

    packer = Packer(room, flush, end_id, waiting)
    for part in np.split(np.arange(len(documents)), sorted(cuts)):
        rows = [documents[i] for i in part]
        sizes = np.asarray([len(row) for row in rows], np.int64)
        values = np.concatenate([np.zeros(3, np.uint16), *rows]).astype(np.uint16)  # not from its first id on
        packer.add(values, 3 + np.cumsum(sizes) - sizes, sizes)
    packer.drain()
    flush()
    return windows, packer.counts


def documents_of(lengths):
    return [np.arange(1, n + 1, dtype=np.uint16) + 1000 * (i % 50) for i, n in enumerate(lengths)]


@settings(max_examples=150, deadline=None)
@given(lengths=LENGTHS, end_id=st.sampled_from([None, 0, 7]), **SIZES)
def test_pieces_of_each_document_join_to_its_ids_in_order(lengths, seq_len, waiting, frame, end_id):
    documents = documents_of(lengths)
    windows, counts = pack(documents, seq_len, waiting, frame, end_id)
    found = [[] for _ in documents]
    for window in windows:
        assert 0 < sum(len(ids) for _, ids in window) <= seq_len
        for row, ids in window:
            found[row] += ids
    end = [] if end_id is None else [end_id]
    assert found == [[*document.tolist(), *end] for document in documents]
    assert counts.tokens == sum(map(len, found))
    assert counts.windows == len(windows)
    assert counts.positions == len(windows) * seq_len
    assert counts.documents == len(documents)


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, cuts=st.lists(st.integers(0, 60), max_size=8), **SIZES)
def test_windows_do_not_depend_on_how_documents_arrived_or_on_the_frames(lengths, cuts, seq_len, waiting, frame):
    documents = documents_of(lengths)
    whole = pack(documents, seq_len, waiting)
    assert pack(documents, seq_len, waiting, frame, cuts=[cut for cut in cuts if cut <= len(documents)]) == whole


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, **SIZES)
def test_only_documents_longer_than_a_window_are_cut(lengths, seq_len, waiting, frame):
    windows, counts = pack(documents_of(lengths), seq_len, waiting, frame)
    pieces = np.bincount([row for window in windows for row, _ in window], minlength=len(lengths))
    assert pieces.tolist() == [-(-n // seq_len) for n in lengths]
    assert counts.truncated == sum(n > seq_len for n in lengths)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 24))
def test_the_baseline_counts_documents_across_a_cut(lengths, seq_len):
    _, counts = pack(documents_of(lengths), seq_len, 2)
    stream = np.repeat(np.arange(len(lengths)), lengths)
    cut = {int(stream[at]) for at in range(seq_len, len(stream), seq_len) if stream[at] == stream[at - 1]}
    assert counts.truncated_concatenated == len(cut)
    assert counts.windows_concatenated == -(-sum(lengths) // seq_len)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 130), max_size=80))
def test_best_fit_decreasing_puts_each_length_where_least_room_is_left(lengths):
    window_of, rooms = fit.best_fit(np.asarray(lengths, np.int64), 130)
    expected: list[int] = []  # the definition, by exhaustive search
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in expected if room >= length]
        if fitting:
            expected[expected.index(min(fitting))] -= length
        else:
            expected.append(130 - length)
    assert sorted(rooms.tolist()) == sorted(expected)
    used = np.bincount(window_of, np.asarray(lengths, np.int64), minlength=len(rooms)).astype(int)
    assert (130 - used).tolist() == rooms.tolist()


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), max_size=150), **SIZES)
def test_nothing_is_overtaken_by_what_arrives_more_than_four_buffers_later(lengths, seq_len, waiting, frame):
    windows, _ = pack(documents_of(lengths), seq_len, waiting, frame)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    horizon = 2 * (MAX_AGE + 1) * waiting * seq_len + 2 * seq_len
    passed = 0  # the latest token that left
    for window in windows:
        oldest = min(row for row, _ in window)
        assert passed - ends[oldest] <= horizon
        latest = max(row for row, _ in window)
        passed = max(passed, int(starts[latest]))


def test_windows_that_leave_together_keep_the_order_of_their_first_documents():
    windows, _ = pack(documents_of([5, 3, 9, 2, 4, 1, 7, 6]), 10, 100)
    first = [window[0][0] for window in windows]
    assert first == sorted(first)
    assert all([row for row, _ in window] == sorted(row for row, _ in window) for window in windows)


def test_text_like_lengths_are_padded_below_a_tenth_of_a_percent():
    lengths = np.ceil(seeds.numpy_generator(5, "tests/lengths").lognormal(5.5, 1.2, 6000)).astype(int)
    _, counts = pack([np.ones(n, np.uint16) for n in lengths], 512, None, 256)
    assert counts.padding < 0.001
    assert counts.truncated < 0.75 * counts.truncated_concatenated
    assert counts.windows <= 1.002 * counts.windows_concatenated


@pytest.mark.parametrize("seq_len", [8, 512, 8192, 1 << 16, 1 << 20])
def test_what_waits_is_bounded_whatever_the_window(seq_len):
    assert buffer_windows(seq_len) * seq_len <= 1 << 24
    assert 16 <= buffer_windows(seq_len) <= 512


def test_what_waits_is_bounded_by_the_buffer():
    room = new_room(4, 64, np.dtype(np.uint16))
    packer = Packer(room, lambda: room.fill[: fit.PASSED].fill(0), None, 4)
    for _ in range(500):
        packer.add(np.zeros(40, np.uint16), np.zeros(1, np.int64), np.full(1, 40))  # no two fit: the worst case
        assert packer._state[fit.HELD_TOKENS] <= 4 * 64
    for _ in range(500):
        packer.add(np.zeros(1, np.uint16), np.zeros(1, np.int64), np.ones(1, np.int64))
        assert packer._state[fit.HELD_TOKENS] <= 4 * 64
