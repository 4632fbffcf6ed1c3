import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.shards.documents import documents_of
from clet.shards.mask import is_placed, spans_of
from clet.shards.reader import ShardReader
from clet.shards.verify import verify_shard


@pytest.mark.parametrize(
    ("found", "spans"),
    [
        (None, []),
        ([], []),
        ([[3, 5]], [(3, 5)]),
        ([[6, 9], [0, 2]], [(0, 2), (6, 9)]),
        ([[0, 4], [2, 3], [4, 6]], [(0, 6)]),
        ([[0, 10]], [(0, 10)]),
    ],
)
def test_spans_are_put_in_order_and_joined(found, spans):
    assert spans_of(found, 10) == spans


@pytest.mark.parametrize(
    "found",
    [[[0, 11]], [[-1, 2]], [[2, 2]], [[3, 2]], [[0]], [[0, 1, 2]], [0, 1], {"0": 1}, [["0", 1]], [[0, True]], 7],
)
def test_what_is_no_list_of_spans_is_refused(found):
    with pytest.raises(ValueError):
        spans_of(found, 10)


@st.composite
def masked_documents(draw):
    """[(number of ids, spans)] of a few documents."""
    documents = []
    for size in draw(st.lists(st.integers(1, 60), min_size=1, max_size=12)):
        spans = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 30)), max_size=3))
        documents.append((size, [[start, min(size, start + length)] for start, length in spans]))
    return documents


@settings(max_examples=40, deadline=None)
@given(
    documents=masked_documents(),
    seq_len=st.integers(8, 24),
    eos=st.sampled_from([None, 0]),
    level=st.sampled_from([None, 1]),
    frame=st.sampled_from([20, 1 << 18]),
)
def test_the_loss_mask_is_that_of_the_records(tmp_path_factory, shard_tools, documents, seq_len, eos, level, frame):
    """Whatever the window, the frame and the compression: True on every token but those of a record's spans."""
    path, patch = tmp_path_factory.mktemp("shards"), pytest.MonkeyPatch()
    patch.setattr("clet.shards.format.FRAME_TOKENS", frame)
    patch.setattr("clet.shards.format.ZSTD_FRAME_TOKENS", frame)
    batch = shard_tools.batch([np.arange(size) + 1 for size, _ in documents])
    batch = batch.annotate("dedup", [{"cluster": 1, "spans": spans} for _, spans in documents])
    try:
        _, (entry,) = shard_tools.write(path, [batch], seq_len=seq_len, eos_id=eos, level=level)
    finally:
        patch.undo()
    reader = ShardReader.open(entry.path)
    expected = []
    for size, spans in documents:
        masked = np.zeros(size + (eos is not None), bool)
        for start, end in spans:
            masked[start:end] = True
        expected.append(masked)
    assert reader.num_masked == sum(int(masked.sum()) for masked in expected)
    found = np.zeros(len(documents), int)
    for window in reversed(range(reader.num_windows)):  # each alone, and backwards
        one = reader.windows([window])
        for segment, row in enumerate(one.documents[0]):
            found[row] += int((~one.loss_mask[0] & (one.segments[0] == segment)).sum())
    assert found.tolist() == [int(masked.sum()) for masked in expected]
    together = reader.windows(range(reader.num_windows))
    in_order = np.concatenate([part.loss_mask for part in reader.all_windows()])
    assert np.array_equal(together.loss_mask, in_order)
    assert together.loss_mask.sum() == reader.num_tokens - reader.num_masked
    assert not together.loss_mask[together.segments < 0].any()
    (whole,) = documents_of(reader)
    masked = whole.masked if reader.num_masked else np.zeros(len(whole.ids.values), bool)
    assert masked.tolist() == np.concatenate(expected).tolist()
    verify_shard(entry)


def test_a_record_with_spans_that_are_none_is_rejected(tmp_path, shard_tools):
    rejected = []
    batch = shard_tools.batch([[1, 2, 3]] * 4)
    batch = batch.annotate("dedup", [{"spans": [[0, 4]]}, {"spans": []}, {"spans": "all"}, "spans"])
    _, (entry,) = shard_tools.write(tmp_path, [batch], reject=lambda *args: rejected.append(args[1:]))
    assert rejected == [(0, "bad-spans"), (2, "bad-spans")]
    assert entry.num_documents == 2


@pytest.mark.parametrize(
    ("spans", "whole"),
    [
        ([], True),
        ([[0, 8]], True),
        ([[0, 2], [2, 3], [8, 16]], True),
        ([[7, 9]], False),  # across two windows
        ([[0, 2], [1, 3]], False),
        ([[3, 3]], False),
        ([[8, 17]], False),
        ([[16, 17]], False),
    ],
)
def test_spans_of_a_frame_lie_each_in_one_window(spans, whole):
    assert is_placed(np.asarray(spans, np.uint32).reshape(-1, 2), 2, 8) is whole
