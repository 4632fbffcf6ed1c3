import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.exits import InputError, UsageError
from clet.shards import loader as loader_module
from clet.shards.loader import Loader
from clet.shards.place import Place
from clet.shards.reader import ShardReader, shards_in

MASKED = {"dedup": {"spans": [[0, 2]]}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory, shard_tools):
    """Readers of three kinds of shards: stored, compressed, and stored behind another at an odd byte."""
    path = tmp_path_factory.mktemp("shards")
    masked = shard_tools.batch([row for row in shard_tools.rows(9) if len(row) > 2], start=99, **MASKED)
    plain = shard_tools.batch(shard_tools.rows(40, name="a"))
    _, stored = shard_tools.write(path / "stored", [plain, masked], shard_tokens=300)
    _, compressed = shard_tools.write(path / "zstd", [shard_tools.batch(shard_tools.rows(20))], level=1)
    for count in range(1, 50):
        _, (odd,) = shard_tools.write(path / f"odd{count}", [shard_tools.batch(shard_tools.rows(count, name="odd"))])
        if odd.path.stat().st_size % 4:
            break
    both = path / "both.clet"
    both.write_bytes(odd.path.read_bytes() + stored[0].path.read_bytes())
    readers = [entry.open() for entry in [*stored, *compressed]] + list(shards_in(both))
    assert not readers[-1]._is_flat and readers[0]._is_flat and len(readers) > 5
    return readers


@pytest.fixture(scope="module")
def every(shards):
    """[(ids, loss mask, rows of the table)] of every window, in the order of the shards."""
    found = []
    for shard in shards:
        windows = shard.windows(range(shard.num_windows))
        found += zip(windows.ids.tolist(), windows.loss_mask.tolist(), map(list, windows.documents), strict=True)
    return found


def read(loader):
    """(numbers, [(ids, loss mask, rows)]) of all that a loader gives."""
    numbers, windows = [], []
    for portion in loader:
        numbers += portion.numbers.tolist()
        part = portion.windows
        windows += zip(part.ids.tolist(), part.loss_mask.tolist(), map(list, part.documents), strict=True)
    return numbers, windows


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("ahead", [1, 100, 1 << 19])
def test_windows_are_those_that_their_numbers_name(shards, every, seed, ahead, monkeypatch):
    monkeypatch.setattr(loader_module, "AHEAD_TOKENS", ahead)
    numbers, windows = read(Loader(shards, batch=7, seed=seed))
    assert sorted(numbers) == list(range(len(every)))
    assert windows == [every[number] for number in numbers]
    assert (numbers == sorted(numbers)) == (seed is None)


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("most", [1024, 1], ids=["mapped", "more than may be mapped"])
def test_batches_of_mapped_shards_are_those_of_shards_that_are_read_one_by_one(shards, seed, most, monkeypatch):
    monkeypatch.setattr(loader_module, "most_open", lambda: most)
    monkeypatch.setattr(loader_module, "AHEAD_TOKENS", 300)
    stored = [ShardReader.open(shard.path) for shard in shards if shard.frame_windows and shard.offset is None]
    assert len(stored) > 3
    expected = []
    for shard in stored:
        windows = shard.windows(range(shard.num_windows))
        expected += zip(windows.ids.tolist(), windows.loss_mask.tolist(), map(list, windows.documents), strict=True)
    numbers, windows = read(Loader(stored, batch=7, seed=seed))
    assert sorted(numbers) == list(range(len(expected)))
    assert windows == [expected[number] for number in numbers]
    assert any(not all(mask[: len(ids)]) for ids, mask, _ in windows)
    out = np.empty((7, stored[0].seq_len), stored[0].dtype)
    reused = []
    for portion in Loader(stored, batch=7, seed=seed, out=out):
        assert np.shares_memory(portion.windows.ids, out)
        reused += portion.windows.ids.tolist()
    assert reused == [ids for ids, _, _ in windows]


def test_a_damaged_frame_is_refused_before_a_window_of_it_is_given(shards, tmp_path):
    shard = shards[0]
    shard.windows([0])
    body = bytearray(shard.path.read_bytes())
    body[int(shard._places[0, 0]) * shard.dtype.itemsize] ^= 1
    damaged = tmp_path / "damaged.clet"
    damaged.write_bytes(body)
    with pytest.raises(InputError, match="checksum of the frame"):
        next(iter(Loader([ShardReader.open(damaged)], batch=1)))


def test_an_array_for_batches_of_another_shape_is_refused(shards):
    seq_len, dtype = shards[0].seq_len, shards[0].dtype
    for out in (
        np.empty((3, seq_len), dtype),
        np.empty((2, seq_len + 1), dtype),
        np.empty((2, seq_len), np.int64),
        np.empty((2, 2 * seq_len), dtype)[:, ::2],
    ):
        with pytest.raises(ValueError, match="out is not"):
            Loader(shards, batch=2, out=out)


def test_a_seed_and_an_epoch_are_an_order(shards):
    def order(seed, epoch):
        return read(Loader(shards, batch=1, seed=seed, place=Place(epoch)))[0]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.none() | st.integers(0, 9),
    worlds=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(0, 6)), max_size=4),
    last=st.integers(1, 7),
)
def test_an_epoch_resumed_with_other_numbers_of_readers_is_the_same_epoch(shards, every, seed, worlds, last):
    """Each of `worlds`: (readers, windows a batch, batches until all of them are stopped)."""
    seen, place = [], Place(2)
    for world, batch, steps in worlds:
        before = place
        for rank in range(world):
            loader = Loader(shards, batch=batch, seed=seed, rank=rank, world=world, place=before)
            taken = 0
            for step, portion in enumerate(loader):
                if step == steps:
                    break
                seen += portion.numbers.tolist()
                taken = portion.taken
            assert taken <= steps * batch
        body = loader.place_after(steps * batch).to_bytes(loader.owner)
        assert len(body) == 20
        place = Place.from_bytes(body, loader.owner)
        assert place.epoch == 2
    for rank in range(last):
        seen += read(Loader(shards, batch=3, seed=seed, rank=rank, world=last, place=place))[0]
    assert sorted(seen) == list(range(len(every)))


def test_readers_out_of_step_are_resumed_from_what_each_has_taken(shards, every):
    seen, taken = [], [9, 0, 4]
    for rank, count in enumerate(taken):
        loader = Loader(shards, batch=1, rank=rank, world=3)
        seen += [int(portion.numbers[0]) for portion, _ in zip(loader, range(count), strict=False)]
    place = Place().after(len(every), taken)
    seen += read(Loader(shards, batch=4, place=place))[0]
    assert sorted(seen) == list(range(len(every)))


def test_a_place_in_other_shards_is_refused(shards):
    loader = Loader(shards, batch=2)
    body = next(iter(loader)).place.to_bytes(loader.owner)
    for other in (Loader(shards[:-1], batch=2), Loader(shards[::-1], batch=2), Loader(shards, batch=2, seed=9)):
        with pytest.raises(UsageError, match="other shards"):
            Place.from_bytes(body, other.owner)
    assert Place.from_bytes(body, Loader(shards, batch=5, rank=1, world=2).owner) == Place(0, 2)


def test_shards_of_different_windows_do_not_mix(tmp_path, shards, shard_tools):
    _, (other,) = shard_tools.write(tmp_path / "other", [shard_tools.batch([[1]])], seq_len=8)
    with pytest.raises(ValueError, match="different windows"):
        Loader([*shards, ShardReader.open(other.path)], batch=1)
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(IndexError):
            Loader(shards, batch=1, rank=rank, world=world)
    assert list(Loader([], batch=3)) == []


def test_the_last_batch_is_short_and_no_reader_waits_for_it(shards, every):
    sizes = [[len(p.numbers) for p in Loader(shards, batch=5, rank=rank, world=4)] for rank in range(4)]
    assert sum(map(sum, sizes)) == len(every)
    assert all(set(each[:-1]) <= {5} and 0 < each[-1] <= 5 for each in sizes)
