import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.shards.pack import Packer, best_fit_decreasing

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


def pack(lengths, seq_len, buffer_windows):
    packer, windows = Packer(seq_len, buffer_windows), []
    documents = [np.arange(n) + 1000 * i for i, n in enumerate(lengths)]
    for row, ids in enumerate(documents):
        windows += packer.add(row, ids)
    return documents, windows + packer.drain(), packer.counts


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.integers(1, 24), st.integers(1, 5))
def test_pieces_of_each_document_join_to_its_ids_in_order(lengths, seq_len, buffer_windows):
    documents, windows, counts = pack(lengths, seq_len, buffer_windows)
    found = [np.zeros(0, np.int64) for _ in documents]
    for window in windows:
        assert 0 < sum(len(ids) for _, ids in window) <= seq_len
        for row, ids in window:
            found[row] = np.concatenate((found[row], ids))
    assert all(np.array_equal(a, b) for a, b in zip(documents, found, strict=True))
    assert counts.tokens == sum(lengths)
    assert counts.windows == len(windows)
    assert counts.positions == len(windows) * seq_len


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.integers(1, 24), st.integers(1, 5))
def test_only_documents_longer_than_a_window_are_cut(lengths, seq_len, buffer_windows):
    _, windows, counts = pack(lengths, seq_len, buffer_windows)
    pieces = np.bincount([row for window in windows for row, _ in window], minlength=len(lengths))
    assert pieces.tolist() == [-(-n // seq_len) for n in lengths]
    assert counts.truncated == sum(n > seq_len for n in lengths)


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.integers(1, 24))
def test_the_baseline_counts_documents_across_a_cut(lengths, seq_len):
    _, _, counts = pack(lengths, seq_len, 2)
    stream = np.repeat(np.arange(len(lengths)), lengths)
    cut = {int(stream[at]) for at in range(seq_len, len(stream), seq_len) if stream[at] == stream[at - 1]}
    assert counts.truncated_concatenated == len(cut)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=80))
def test_best_fit_decreasing_puts_each_length_where_least_room_is_left(lengths):
    bins = best_fit_decreasing(lengths, 30)
    assert sorted(i for members in bins for i in members) == list(range(len(lengths)))
    rooms: list[int] = []  # the definition, by exhaustive search
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(30 - length)
    assert sorted(30 - sum(lengths[i] for i in members) for members in bins) == sorted(rooms)


def test_text_like_lengths_are_padded_below_one_percent():
    lengths = np.ceil(seeds.numpy_generator(5, "tests/lengths").lognormal(5.5, 1.2, 6000)).astype(int)
    _, _, counts = pack(lengths, 512, 512)
    assert counts.padding < 0.01
    assert counts.truncated < 0.75 * counts.truncated_concatenated


def test_what_waits_is_bounded_by_the_buffer():
    packer = Packer(64, 4)
    for row in range(500):
        packer.add(row, np.zeros(40, np.int64))  # no two fit together: the worst case
        assert packer._waiting_tokens <= 4 * 64
