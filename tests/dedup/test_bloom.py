"""The Bloom index: its bytes, its curve and its mistakes are those that it promises."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clet import seeds
from clet.batch import Batch
from clet.dedup import bloom
from clet.dedup.bloom import GENERATIONS, GROUPS, BloomIndex, false_rate, hit_rate, plan, tail
from clet.dedup.repeats import Plan, drop_repeats
from clet.dedup.table import KEPT, Rows
from clet.exits import InputError, UsageError
from clet.state import State


def rows_of(bands: np.ndarray, first: int = 0, times: int = 0) -> Rows:
    """Records with these band hashes `[n, GROUPS]`."""
    size = len(bands)
    keys = np.arange(first + 1, first + size + 1, dtype=np.uint64)
    zeros = np.zeros(size, np.uint64)
    return Rows(
        np.stack([keys, keys], 1), keys, zeros, zeros, np.full(size, times, np.int64), bands,
        np.zeros(size, np.uint32), np.arange(size + 1), np.zeros(size, np.uint8),
    )  # fmt: skip


def random_bands(size: int, name: str) -> np.ndarray:
    return seeds.numpy_generator(1, name).integers(0, 1 << 32, (size, GROUPS), dtype=np.uint32)


def dropped(index: BloomIndex, rows: Rows) -> np.ndarray:
    return index.admit(rows, np.zeros(len(rows.ids), np.uint64), 0.8).verdict != KEPT


@pytest.mark.parametrize("num_bytes", [8, 16, 32])
def test_bytes_a_document_and_mistakes_are_as_promised(num_bytes):
    index = BloomIndex(0.8, num_bytes, 40_000)
    wrong = [int(dropped(index, rows_of(random_bands(10_000, f"{n}"), n * 10_000)).sum()) for n in range(4)]
    header = index.header()
    assert header["bytes_a_document"] == pytest.approx(num_bytes, rel=0.05)  # whole pages
    # Those dropped by mistake were not remembered, so filters are not quite full; the promise is for full ones.
    fresh = rows_of(random_bands(20_000, "fresh"), 50_000)
    known = np.zeros(20_000, bool)
    for each in index._generations:
        whole = np.zeros(20_000, bool)
        votes = index.votes
        bloom._look_up(each.mapped, each.blocks, votes.bits, fresh, 0, 20_000, whole, votes.needed, 0, 0, known)
    promised = header["wrong"]
    assert promised < 1e-3
    assert known.mean() < 3 * promised + 5 / 20_000
    assert sum(wrong) < 40_000 * 1e-3


def test_filters_are_wrong_as_often_as_the_formula_says():
    bits_each, bits = 8.0, 5
    index = BloomIndex(0.8, 16, 4 * 20_000)
    index.votes = index.votes._replace(bits=bits)
    dropped(index, rows_of(random_bands(20_000, "fill")))
    fresh, generation = rows_of(random_bands(20_000, "ask"), 50_000), index._generations[0]
    votes = [
        bloom._votes(generation.mapped, generation.blocks, bits, fresh, row, False, False) for row in range(20_000)
    ]
    rate = np.sum(votes) / (20_000 * GROUPS)
    expected = false_rate(bits_each, bits)
    assert abs(rate - expected) < 0.1 * expected


@pytest.mark.parametrize("j", [0.6, 0.7, 0.8, 0.9])
def test_votes_follow_the_curve(j):
    """Pairs whose bands agree as those of documents of that similarity do: each with probability j^rows."""
    index = BloomIndex(0.8, 16, 400_000)
    rng = seeds.numpy_generator(1, f"curve/{j}")
    size = 4000
    first = random_bands(size, "first")
    dropped(index, rows_of(first))
    agree = rng.random((size, GROUPS)) < j**index.votes.rows
    second = np.where(agree, first, rng.integers(0, 1 << 32, (size, GROUPS), dtype=np.uint32))
    found = dropped(index, rows_of(second.astype(np.uint32), size)).mean()
    expected = hit_rate(j, index.votes.rows, index.votes.needed, 0.0)  # nearly empty filters
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / size) + 0.005


@pytest.mark.parametrize(("near", "num_bytes"), [(0.8, 8), (0.8, 16), (0.8, 32), (0.6, 16), (0.95, 16), (1.0, 16)])
def test_plans_keep_what_they_promise(near, num_bytes):
    votes = plan(near, num_bytes)
    chance = false_rate(8 * num_bytes / GROUPS, votes.bits)
    assert hit_rate(min(1.0, near + 0.05), votes.rows, votes.needed, chance) >= 0.9
    assert GENERATIONS * tail(GROUPS, votes.needed, chance) <= 1e-3


def test_too_few_bytes_are_refused():
    with pytest.raises(UsageError, match="give more"):
        plan(0.8, 4)


def test_tails_are_those_of_the_binomial():
    rng = seeds.numpy_generator(1, "tail")
    draws = rng.binomial(GROUPS, 0.3, 200_000)
    for least in range(GROUPS + 1):
        assert abs(tail(GROUPS, least, 0.3) - (draws >= least).mean()) < 0.005


def documents(make, size: int = 60, seed: int = 1):
    """Documents of 300 words, each fifth nearly the one before."""
    rng = seeds.numpy_generator(seed, "bloom")
    out, last = [], np.zeros(0)
    for n in range(size):
        words = last.copy() if n % 5 == 4 else rng.integers(0, 30_000, 300)
        words[10] = 40_000 + n
        last = words
        out.append(make(" ".join(f"w{i}" for i in words), ids=words))
    return out


def run(records, index):
    reasons = []
    batches = [Batch.from_records(records)] if records else []

    def reject(batch: Batch, whys: list[str]) -> None:
        reasons.extend((batch.fields(row)["id"], why) for row, why in enumerate(whys))

    out = drop_repeats(batches, index, Plan(), reject)
    return [batch.fields(i)["id"] for batch in out for i in range(len(batch))], reasons


def pass_through(directory: Path, records, **options):
    with State.open(directory, "dedup", {"bloom": True}) as state:
        index = BloomIndex(0.8, 16, 1000, state=state, **options)
        result = run(records, index)
        index.commit()
    return result


def test_repeats_are_found_over_runs(record, tmp_path):
    records = documents(record)
    kept, repeats = pass_through(tmp_path, records[:32])
    more, others = pass_through(tmp_path, records[30:])
    assert kept + more == [r["id"] for n, r in enumerate(records) if n % 5 != 4]
    assert {why for _, why in repeats + others} == {"near"}
    short = [record("only four words here", ids=[1, 2, 3, 4]), record("another few words here", ids=[1, 2, 3, 5])]
    assert len(pass_through(tmp_path, short)[0]) == 2
    assert not pass_through(tmp_path, short)[0]


def test_a_new_version_passes(record, tmp_path):
    [first] = documents(record, 1)
    changed = record(first["text"] + " more", ids=[1, 2], meta={"supersedes": first["id"]})
    kept, _ = pass_through(tmp_path, [first, changed])
    assert kept == [first["id"], changed["id"]]
    assert not pass_through(tmp_path, [changed])[0]  # once


def test_the_oldest_generation_is_forgotten(record):
    index = BloomIndex(0.8, 16, 80)
    records = [r for n, r in enumerate(documents(record, 200)) if n % 5 != 4]
    run(records, index)
    assert 60 <= index.num_remembered <= 80
    assert not run(records[-60:], index)[0]
    assert len(run(records[:40], index)[0]) == 40


def test_the_time_window_is_kept():
    day = 86_400
    index = BloomIndex(0.8, 16, 10_000, window=30 * day)
    bands = random_bands(50, "window")
    assert not dropped(index, rows_of(bands, times=100 * day)).any()
    assert dropped(index, rows_of(bands, 50, times=125 * day)).all()
    assert not dropped(index, rows_of(bands, 100, times=131 * day)).any()


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_batches_change_nothing(batch):
    bands = np.concatenate([random_bands(90, "batches"), random_bands(90, "batches")[40:]])
    whole, parts = BloomIndex(0.8, 16, 200), BloomIndex(0.8, 16, 200)
    expected = dropped(whole, rows_of(bands))
    found = [dropped(parts, rows_of(bands[i : i + batch], i)) for i in range(0, len(bands), batch)]
    assert np.array_equal(np.concatenate(found), expected)
    assert all(
        np.array_equal(a.mapped.words, b.mapped.words)
        for a, b in zip(whole._generations, parts._generations, strict=True)
    )


def test_a_flipped_bit_anywhere_is_found(record, tmp_path):
    pass_through(tmp_path / "good", documents(record, 20))
    [path] = (tmp_path / "good").glob("filter-*")
    body = path.read_bytes()
    rng = seeds.numpy_generator(1, "flips")
    for place in [0, len(body) - 1, *rng.integers(0, len(body), 40).tolist()]:
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        damaged = bytearray(body)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "bad" / path.name).write_bytes(damaged)
        with pytest.raises(InputError, match=path.name):
            pass_through(tmp_path / "bad", [])
        shutil.rmtree(tmp_path / "bad")


def test_without_a_commit_the_old_state_stands(record, tmp_path):
    records = documents(record, 40)
    pass_through(tmp_path, records[:20])
    with State.open(tmp_path, "dedup", {"bloom": True}) as state:
        run(records[20:], BloomIndex(0.8, 16, 1000, state=state))
    assert len(pass_through(tmp_path, records[20:])[0]) == 16
