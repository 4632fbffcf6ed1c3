import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clet.exits import InputError, UsageError
from clet.shards import reader as reader_module
from clet.shards.check import fit
from clet.shards.reader import ShardReader
from clet.shards.verify import verify_shard

PER_TEST = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def documents_of(reader):
    """Ids of each document, joined from its segments."""
    found = [[] for _ in range(reader.num_documents)]
    windows = reader.windows(range(reader.num_windows))
    for ids, segments, rows in zip(windows.ids, windows.segments, windows.documents, strict=True):
        for number, row in enumerate(rows):
            found[row] += ids[segments == number].tolist()
    return found


@PER_TEST
@given(
    rows=st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=50), min_size=1, max_size=25),
    seq_len=st.integers(8, 40),
    eos=st.sampled_from([None, 999]),
    dtype=st.sampled_from([np.uint16, np.uint32]),
    level=st.sampled_from([None, 1]),
)
def test_packed_tokens_equal_input_tokens(tmp_path_factory, shard_tools, rows, seq_len, eos, dtype, level):
    path = tmp_path_factory.mktemp("shards")
    _, (entry,) = shard_tools.write(
        path, [shard_tools.batch(rows, dtype=dtype)], seq_len=seq_len, eos_id=eos, level=level
    )
    reader = ShardReader.open(entry.path, fingerprint=shard_tools.fingerprint)
    end = [] if eos is None else [eos]
    assert documents_of(reader) == [[*row, *end] for row in rows]
    assert [document["tokens"] for document in reader.documents()] == [len(row) + len(end) for row in rows]
    windows = reader.windows(range(reader.num_windows))
    assert windows.ids.shape == windows.segments.shape == (reader.num_windows, seq_len)
    assert windows.ids.dtype == dtype
    assert np.array_equal(windows.loss_mask, windows.segments >= 0)
    assert windows.loss_mask.sum() == reader.num_tokens == entry.num_tokens
    assert not windows.ids[~windows.loss_mask].any()
    for segments, documents in zip(windows.segments, windows.documents, strict=True):
        real = segments[segments >= 0]
        assert np.array_equal(segments[: len(real)], real)  # padding at the end only
        assert set(np.diff(real)) <= {0, 1}
        assert np.array_equal(np.unique(real), np.arange(len(documents)))
    verify_shard(entry)


def test_windows_come_in_the_order_asked_for_from_few_frames(small_shard):
    reader = ShardReader.open(small_shard.path)
    assert len(reader._seek_windows) > 1
    everything = reader.windows(range(reader.num_windows))
    wanted = [reader.num_windows - 1, 0, 3, 3, 1]
    some = reader.windows(np.asarray(wanted))
    assert np.array_equal(some.ids, everything.ids[wanted])
    assert np.array_equal(some.segments, everything.segments[wanted])
    assert all(np.array_equal(some.documents[i], everything.documents[w]) for i, w in enumerate(wanted))
    assert reader.windows([]).ids.shape == (0, reader.seq_len)
    for beyond in ([reader.num_windows], [-1]):
        with pytest.raises(IndexError):
            reader.windows(beyond)


def test_only_the_frames_needed_are_read(small_shard, monkeypatch):
    reader = ShardReader.open(small_shard.path)
    read, check = [], reader._check_flat
    monkeypatch.setattr(reader, "_check_flat", lambda frames: (read.extend(frames.tolist()), check(frames)))
    reader.windows([0, 1])
    reader.windows([1])
    assert read == [0]


@pytest.fixture
def zstd_shard(tmp_path, shard_tools, monkeypatch):
    """A manifest entry of one compressed shard of a few frames."""
    monkeypatch.setattr("clet.shards.format.ZSTD_FRAME_TOKENS", 64)
    _, (entry,) = shard_tools.write(tmp_path / "zstd", [shard_tools.batch(shard_tools.rows(20))], level=1)
    monkeypatch.undo()
    return entry


def test_a_small_cache_changes_nothing_but_time(zstd_shard, monkeypatch):
    expected = ShardReader.open(zstd_shard.path).windows(range(zstd_shard.num_windows))
    monkeypatch.setattr(reader_module, "CACHE_BYTES", 1)
    reader = ShardReader.open(zstd_shard.path)
    assert len(reader._seek_windows) > 3
    for window in reversed(range(zstd_shard.num_windows)):
        assert np.array_equal(reader.windows([window]).ids[0], expected.ids[window])
    assert len(reader._cache) == 1


@pytest.mark.parametrize("kind", ["small_shard", "zstd_shard"])
def test_threads_may_share_a_reader(kind, request, monkeypatch):
    entry = request.getfixturevalue(kind)
    monkeypatch.setattr(reader_module, "CACHE_BYTES", 1)
    reader = ShardReader.open(entry.path)
    expected = reader.windows(range(reader.num_windows)).ids
    wrong = []

    def read():
        for window in [*range(reader.num_windows)] * 20:
            if not np.array_equal(reader.windows([window]).ids[0], expected[window]):
                wrong.append(window)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_documents_keep_the_fields_that_say_where_they_are_from(tmp_path, shard_tools):
    batch = shard_tools.batch([[1, 2], [3]], published="2026-01-01T00:00:00Z", license="MIT", url="https://a/b")
    _, (entry,) = shard_tools.write(tmp_path / "out", [batch.annotate("dedup", [{"cluster": 1}, None])])
    first, _ = (reader := ShardReader.open(entry.path)).documents()
    assert list(first) == [
        *("id", "source", "origin", "url", "title", "published", "fetched", "license", "raw", "tokens")
    ]
    assert first["id"] == batch.fields(0)["id"]
    assert (first["url"], first["license"], first["tokens"]) == ("https://a/b", "MIT", 2)
    assert reader.heads()[0]["dedup"] == {"cluster": 1}
    assert reader.newest == entry.newest == "2026-01-01T00:00:00Z"


def test_another_tokenizer_is_refused(small_shard):
    with pytest.raises(InputError, match="made with tokenizer " + "ab" * 16):
        ShardReader.open(small_shard.path, fingerprint="cd" * 16)


def test_a_file_that_is_no_shard_is_refused(tmp_path, shard_tools):
    text, batch = tmp_path / "a.clet", tmp_path / "b.clet"
    text.write_text("not a shard at all, but long enough to be a header of one")
    batch.write_bytes(shard_tools.batch([[1]]).to_frame())
    with pytest.raises(InputError, match="no clet frame"):
        ShardReader.open(text)
    with pytest.raises(InputError, match="a documents frame at byte 0, not a shard header"):
        ShardReader.open(batch)
    with pytest.raises(UsageError, match="No such file"):
        ShardReader.open(tmp_path / "missing.clet")
    with pytest.raises(UsageError, match="Is a directory"):
        ShardReader.open(tmp_path)


def test_both_checks_of_segments_agree_on_damaged_ones():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(3000):
        counts = rng.integers(1, 4, 6)
        lengths = rng.integers(1, 4, counts.sum()).astype(np.uint32)
        ends, rows = np.cumsum(counts).astype(np.uint32), rng.integers(0, 9, len(lengths)).astype(np.uint32)
        if rng.random() < 0.7:
            column = (ends, lengths, rows)[rng.integers(3)]
            column[rng.integers(len(column))] = rng.choice([0, 1, 5, 9, 2**31, 2**32 - 1])
        verdicts.append(plain := reader_module._fit(ends, lengths, rows, 10, 9))
        numbers = np.concatenate((ends, lengths, rows))  # as they lie in a file
        places = np.cumsum([0, len(ends), len(lengths)]).tolist()
        assert fit(numbers, *places, 6, len(lengths), 10, 9) == plain, (ends, lengths, rows)
    assert 300 < sum(verdicts) < 2700
