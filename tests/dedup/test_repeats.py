"""Dropping repeats: what counts as one, who wins, and that nothing but the sequence of records matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.batch import Batch, Ragged
from clet.dedup.index import Index
from clet.dedup.minhash import SAMPLE, SHINGLE
from clet.dedup.repeats import Plan, drop_repeats
from clet.exits import UsageError
from clet.record import Record, decode_tok, encode_tok, make_record

Dropped = list[tuple[str, str, dict[str, Any]]]


def run(
    batches: Iterable[Batch], index: Index | None = None, *, near: float = 0.8, **plan: Any
) -> tuple[list[Record], Dropped]:
    """(records kept, (id, reason, note) of those dropped)."""
    dropped: Dropped = []

    def reject(batch: Batch, reasons: Sequence[str]) -> None:
        for row, reason in enumerate(reasons):
            dropped.append((batch.fields(row)["id"], reason, batch.fields(row)["dedup"]))

    out = drop_repeats(batches, Index() if index is None else index, Plan(near, **plan), reject)
    return [batch.record(i) for batch in out for i in range(len(batch))], dropped


def story(make: Callable[..., Record], ids: Iterable[int], **fields: Any) -> Record:
    """A record with a word for each id, and these ids for tokens."""
    return make(" ".join(f"w{i}" for i in ids), ids=ids, **fields)


def variant(ids: np.ndarray, changes: int, rng: np.random.Generator) -> np.ndarray:
    """The ids with `changes` of them replaced, far apart: each takes SHINGLE shingles away and adds as many."""
    out = ids.copy()
    out[np.linspace(SHINGLE, len(ids) - SHINGLE - 1, changes).astype(int)] = rng.integers(40_000, 50_000, changes)
    return out


def documents(make: Callable[..., Record], seed: int = 1, size: int = 200) -> list[Record]:
    """Random documents of 10 to 4000 tokens, a third of them variants of earlier ones at any similarity."""
    rng = seeds.numpy_generator(seed, "documents")
    sequences: list[np.ndarray] = []
    for _ in range(size):
        if sequences and rng.random() < 0.35:
            old = sequences[rng.integers(len(sequences))]
            if len(old) > 4 * SHINGLE:
                sequences.append(variant(old, int(rng.integers(1, max(2, len(old) // 30))), rng))
                continue
        sequences.append(rng.integers(0, 30_000, int(rng.integers(10, rng.choice([1500, 4000])))).astype(np.uint16))
    return [story(make, ids) for ids in sequences]


def shingles(record: Record) -> set[bytes]:
    ids, _ = decode_tok(record["tok"])
    return {ids[i : i + SHINGLE].tobytes() for i in range(len(ids) - SHINGLE + 1)}


def true_similarities(records: list[Record], kept: set[str]) -> dict[str, float]:
    """Similarity of each record to the most similar one kept before it: by comparing all pairs of sets."""
    before: list[set[bytes]] = []
    similarities = {}
    for record in records:
        own = shingles(record)
        similarities[record["id"]] = max((len(own & other) / len(own | other) for other in before), default=0.0)
        if record["id"] in kept:
            before.append(own)
    return similarities


@pytest.mark.parametrize("near", [0.7, 0.8, 0.9])
def test_drops_what_an_exact_join_drops(record, near: float):
    records = documents(record)
    kept, dropped = run([Batch.from_records(records)], near=near)
    found = {ident for ident, _, _ in dropped}
    true = true_similarities(records, {r["id"] for r in kept})
    expected = {ident for ident, similarity in true.items() if similarity >= near}
    assert len(expected) > 10
    # Above SAMPLE shingles similarity is estimated: pairs within 4 standard errors of the threshold may go either way.
    band = 4 * np.sqrt(near * (1 - near) / (SAMPLE / 2))
    clear = {ident for ident, similarity in true.items() if abs(similarity - near) > band}
    assert found & clear == expected & clear
    assert len(found & expected) >= 0.95 * max(len(found), len(expected))  # recall and precision, the rest included


def test_reported_similarity_is_the_true_one_for_short_documents(record):
    rng = seeds.numpy_generator(1, "reported")
    ids = rng.integers(0, 30_000, 400).astype(np.uint16)
    first, second = story(record, ids=ids), story(record, ids=variant(ids, 5, rng))
    a, b = shingles(first), shingles(second)
    _, [(ident, reason, note)] = run([Batch.from_records([first, second])])
    assert (ident, reason, note["of"]) == (second["id"], "near", first["id"])
    assert note["jaccard"] == round(len(a & b) / len(a | b), 4)


def test_first_wins_also_within_a_batch(record):
    rng = seeds.numpy_generator(1, "first")
    ids = rng.integers(0, 30_000, 300).astype(np.uint16)
    one, two, three = story(record, ids=ids), story(record, ids=variant(ids, 2, rng)), story(record, ids=ids)
    kept, dropped = run([Batch.from_records([one, two, three])])
    assert [r["id"] for r in kept] == [one["id"]]
    assert [(i, reason) for i, reason, _ in dropped] == [(two["id"], "near"), (three["id"], "exact")]
    kept, _ = run([Batch.from_records([two, three])])
    assert [r["id"] for r in kept] == [two["id"]]


def test_same_text_and_same_tokens_are_exact_repeats(record):
    text = record("Same.", ids=[1, 2])
    tokens = record("Other text, same tokens.", ids=[1, 2])
    kept, dropped = run([Batch.from_records([text]), Batch.from_records([text, tokens])])
    assert len(kept) == 1
    assert [(reason, note) for _, reason, note in dropped] == [("exact", {"of": text["id"]})] * 2


def test_documents_shorter_than_a_shingle_are_compared_exactly_only(record):
    records = [record(str(i), ids=[1, 2, 3, i]) for i in range(5)] + [record("a", ids=[]), record("b", ids=[])]
    kept, dropped = run([Batch.from_records(records)])
    assert len(kept) == 6  # two documents without any token are the same document
    assert [reason for _, reason, _ in dropped] == ["exact"]


def test_records_without_tokens_are_compared_by_their_text(record):
    rng = seeds.numpy_generator(1, "text")
    ids = rng.integers(0, 30_000, 300)
    texts = [" ".join(f"w{i}" for i in row) for row in (ids, variant(ids, 2, rng))]
    _, dropped = run([Batch.from_records([record(text) for text in [*texts, texts[0]]])])
    assert [reason for _, reason, _ in dropped] == ["near", "exact"]


def test_records_without_text_and_tokenizer_are_compared_exactly_with_one_warning(record, capfd):
    batch = Batch.from_records([story(record, range(50)), story(record, range(1, 51))]).without_text()
    kept, dropped = run([batch, batch])
    assert len(kept) == 2
    assert [reason for _, reason, _ in dropped] == ["exact"] * 2
    assert capfd.readouterr().err.count("--tokenizer") == 1


def test_kept_records_are_passed_untouched_with_their_number(record):
    records = [story(record, ids=np.arange(i, 40 + i), meta={"a": i}, title="x") for i in range(3)]
    kept, _ = run([Batch.from_records(records)], near=1.0)
    assert [r.pop("dedup") for r in kept] == [{"seen": 0}, {"seen": 1}, {"seen": 2}]
    assert kept == records


def test_a_new_version_passes_but_its_copies_do_not(record):
    rng = seeds.numpy_generator(1, "versions")
    ids = rng.integers(0, 30_000, 300).astype(np.uint16)
    first = story(record, ids=ids)
    second = story(record, ids=variant(ids, 1, rng), meta={"supersedes": first["id"]})
    copy = story(record, ids=variant(ids, 2, rng))
    third = story(record, ids=variant(ids, 3, rng), meta={"supersedes": second["id"]})
    kept, dropped = run([Batch.from_records([first, second]), Batch.from_records([copy, third])])
    assert [r["id"] for r in kept] == [first["id"], second["id"], third["id"]]
    assert kept[1]["dedup"]["updates"] == first["id"]
    assert kept[1]["dedup"]["jaccard"] > 0.9
    assert [i for i, _, _ in dropped] == [copy["id"]]


def test_a_correction_of_a_story_that_was_dropped_as_a_copy_passes(record):
    rng = seeds.numpy_generator(1, "corrections")
    ids = rng.integers(0, 30_000, 300).astype(np.uint16)
    agency, syndicated = story(record, ids=ids), story(record, ids=variant(ids, 1, rng))
    corrected = story(record, ids=variant(ids, 2, rng), meta={"supersedes": syndicated["id"]})
    kept, dropped = run([Batch.from_records([agency, syndicated, corrected])])
    assert [r["id"] for r in kept] == [agency["id"], corrected["id"]]
    assert [i for i, _, _ in dropped] == [syndicated["id"]]


@pytest.mark.parametrize("claim", ["0" * 32, "not an id", 7, None, ["x"]])
def test_a_claim_to_supersede_something_unknown_exempts_from_nothing(record, claim):
    ids = np.arange(300, dtype=np.uint16)
    near = variant(ids, 1, seeds.numpy_generator(1, "claims"))
    _, dropped = run(
        [Batch.from_records([story(record, ids=ids), story(record, ids=near, meta={"supersedes": claim})])]
    )
    assert [reason for _, reason, _ in dropped] == ["near"]


def test_tokens_of_another_tokenizer_than_the_given_one_are_refused(record, words_as_tokens):
    with pytest.raises(UsageError, match="--tokenizer is"):
        run([Batch.from_records([story(record, [1], fp="two")])], tokenizer=words_as_tokens)


def test_documents_of_two_tokenizers_are_compared_by_their_words(record):
    rng = seeds.numpy_generator(1, "tokenizers")
    ids = rng.integers(0, 30_000, 300)
    one = record(" ".join(f"w{i}" for i in ids), ids=ids, fp="one")
    two = record(" ".join(f"w{i}" for i in variant(ids, 1, rng)), ids=rng.integers(0, 99, 700), fp="two")
    _, dropped = run([Batch.from_records([one]), Batch.from_records([two])])
    assert [(reason, note["of"]) for _, reason, note in dropped] == [("near", one["id"])]


class WordsAsTokens:
    """A tokenizer with a token for each word that `story` writes."""

    fingerprint = "fp"

    def token_bytes(self) -> Ragged:
        return Ragged.from_bytes([f" w{i}".encode() for i in range(1 << 16)])


@pytest.fixture(scope="module")
def words_as_tokens() -> WordsAsTokens:
    return WordsAsTokens()


def test_tokens_and_text_give_the_same_decisions(record, words_as_tokens):
    batch = Batch.from_records(documents(record, seed=5, size=80))
    by_text = run([batch])
    by_ids = run([batch.without_text()], tokenizer=words_as_tokens)
    assert [r["id"] for r in by_ids[0]] == [r["id"] for r in by_text[0]]
    assert by_ids[1] == by_text[1]
    assert len(by_ids[1]) > 10


def test_mark_passes_everything_with_its_cluster(record):
    rng = seeds.numpy_generator(1, "mark")
    ids = rng.integers(0, 30_000, 300).astype(np.uint16)
    one = story(record, ids=ids, origin="a")
    other = story(record, ids=rng.integers(0, 30_000, 300), origin="b")
    copies = [story(record, ids=variant(ids, n, rng), origin=origin) for n, origin in ((1, "a"), (2, "b"), (3, "b"))]
    kept, dropped = run([Batch.from_records([one, other, copies[0]]), Batch.from_records(copies[1:])], mark=True)
    assert not dropped
    assert [r["id"] for r in kept] == [r["id"] for r in [one, other, *copies]]
    notes = [r["dedup"] for r in kept]
    assert [note["cluster"] for note in notes] == [one["id"], other["id"], *[one["id"]] * 3]
    assert [note["size"] for note in notes] == [1, 1, 2, 3, 4]
    assert [note["origins"] for note in notes] == [1, 1, 1, 2, 2]
    assert [note.get("repeat") for note in notes] == [None, None, "near", "near", "near"]
    assert [note["seen"] for note in notes] == [0, 1, 2, 2, 2]


def test_marking_counts_what_dropping_counted(record):
    rng = seeds.numpy_generator(1, "mark then drop")
    ids = rng.integers(0, 30_000, 1000).astype(np.uint16)
    rows = [story(record, ids=variant(ids, n, rng), origin=str(n % 3)) for n in range(1, 9)]
    index = Index()
    run([Batch.from_records(rows[:6])], index)
    [last, *_], _ = run([Batch.from_records(rows[6:])], index, mark=True)
    assert (last["dedup"]["size"], last["dedup"]["origins"]) == (7, 3)


def test_the_time_window_lets_an_old_story_pass_again(record):
    day = timedelta(days=1)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    rng = seeds.numpy_generator(1, "window")
    ids = rng.integers(0, 30_000, 200).astype(np.uint16)
    near = [story(record, ids=variant(ids, 1, rng), fetched=start + n * day) for n in (0, 29, 31, 62)]
    kept, _ = run([Batch.from_records(near)], Index(window=30 * 86_400))
    assert [r["id"] for r in kept] == [near[0]["id"], near[2]["id"], near[3]["id"]]
    kept, _ = run([Batch.from_records(near)], Index())
    assert len(kept) == 1


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=8), jobs=st.integers(1, 3))
def test_batch_boundaries_and_jobs_change_nothing(record_maker, cuts, jobs):
    records = documents(record_maker, seed=2, size=60)
    bounds = [0, *sorted(cuts), 60]
    batches = [Batch.from_records(records[a:b]) for a, b in pairwise(bounds) if b > a]
    assert run(batches, jobs=jobs) == run([Batch.from_records(records)])


@pytest.fixture(scope="module")
def record_maker():
    """`record` for a property test, which wants no fixture made anew a test."""

    def make(text: str, *, ids: np.ndarray) -> Record:
        made = make_record(source="test", origin="tests", fetched=datetime(2026, 3, 1, tzinfo=UTC), text=text)
        return made | {"tok": encode_tok(ids, "fp")}

    return make


def test_the_secret_does_not_show_at_the_default_threshold(record):
    batch = Batch.from_records([r for r in documents(record, seed=3, size=150) if r["tok"]["n"] < 1000])
    first = run([batch], Index(1))
    assert all(run([batch], Index(seed)) == first for seed in range(2, 8))


def test_a_flood_of_documents_of_one_template_is_told_apart(record):
    rng = seeds.numpy_generator(1, "template")
    template = rng.integers(0, 30_000, 200).astype(np.uint16)
    own = [rng.integers(0, 30_000, 100).astype(np.uint16) for _ in range(60)]
    records = [story(record, ids=np.concatenate((template, ids))) for i, ids in enumerate(own)]
    copies = [story(record, ids=np.concatenate((template, variant(ids, 2, rng)))) for i, ids in enumerate(own)]
    kept, dropped = run([Batch.from_records(records + copies)])
    assert len(kept) == 60  # J of two of them is 0.5
    assert [note["of"] for _, _, note in dropped] == [r["id"] for r in records]
