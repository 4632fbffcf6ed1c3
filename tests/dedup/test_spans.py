"""Repeated spans: what is found is repeated, most of what is repeated is found, and the first occurrence stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.batch import Batch, Ragged
from clet.dedup.index import Index
from clet.dedup.repeats import Found, Plan, drop_repeats
from clet.dedup.spans import GUARANTEE, SpanSet, find_repeated, sampled_windows
from clet.exits import UsageError
from clet.record import decode_tok

KEY = 77


def find(rows: list[np.ndarray], span: int) -> list[list[list[int]]]:
    """The spans of each row, in one pass over all."""
    hashes, starts, offsets = sampled_windows(Ragged.from_rows(rows, np.uint16), span, KEY)
    found, counts = find_repeated(hashes, starts, offsets, span, np.zeros(len(hashes), bool), SpanSet())
    ends = np.cumsum(counts)
    return [found[end - count : end].tolist() for end, count in zip(ends, counts, strict=True)]


def repeated(rows: list[np.ndarray], span: int) -> list[np.ndarray]:
    """The definition: which tokens lie in a window that occurred before, and ended before this one began."""
    seen: set[bytes] = set()
    masks = []
    for row in rows:
        mask, waiting = np.zeros(len(row), bool), []
        for at in range(len(row) - span + 1):
            if at >= span:
                seen.add(waiting[at - span])
            window = row[at : at + span].tobytes()
            waiting.append(window)
            if window in seen:
                mask[at : at + span] = True
        seen.update(waiting)
        masks.append(mask)
    return masks


def as_mask(found: list[list[int]], size: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    for start, end in found:
        mask[start:end] = True
    return mask


def newsletters(seed: int = 1, issues: int = 60) -> list[np.ndarray]:
    """Issues with news of their own around boilerplate of 50 to 400 tokens that stands in many of them."""
    rng = seeds.numpy_generator(seed, "newsletters")
    blocks = [rng.integers(0, 60_000, int(size)).astype(np.uint16) for size in rng.integers(50, 400, 8)]
    rows = []
    for _ in range(issues):
        parts = []
        for block in rng.permutation(8)[:4]:
            parts += [rng.integers(0, 60_000, int(rng.integers(30, 300))).astype(np.uint16), blocks[block]]
        rows.append(np.concatenate(parts))
    return rows


def test_what_is_found_is_repeated_and_nearly_all_of_it_is_found():
    rows = newsletters()
    truth, found = repeated(rows, 50), find(rows, 50)
    hits = misses = 0
    for row, mask, mine in zip(rows, truth, found, strict=True):
        got = as_mask(mine, len(row))
        assert not (got & ~mask).any()
        hits, misses = hits + int(got.sum()), misses + int((mask & ~got).sum())
    # Blocks of 225 tokens on average, of which the sampling misses 2 or 3 at either end.
    assert 0.95 < hits / (hits + misses) < 1.0


def test_no_run_of_guaranteed_length_is_missed_and_its_ends_nearly_found():
    rng = seeds.numpy_generator(1, "guarantee")
    span = 50
    for _ in range(200):
        block = rng.integers(0, 60_000, span + GUARANTEE - 1).astype(np.uint16)
        around = [rng.integers(0, 60_000, int(rng.integers(1, 200))).astype(np.uint16) for _ in range(4)]
        rows = [np.concatenate((around[0], block, around[1])), np.concatenate((around[2], block, around[3]))]
        [first, second] = find(rows, span)
        assert not first
        assert as_mask(second, len(rows[1]))[len(around[2]) :][: len(block)].sum() >= span


def test_so_many_windows_are_kept_as_winnowing_promises():
    rng = seeds.numpy_generator(1, "density")
    hashes, starts, _ = sampled_windows(Ragged.from_rows([rng.integers(0, 60_000, 100_000)], np.uint16), 50, KEY)
    assert abs(len(hashes) / 100_000 - 2 / (GUARANTEE + 1)) < 0.01
    gaps = np.diff(starts)
    assert gaps.min() >= 1
    assert gaps.max() <= GUARANTEE


def test_the_first_occurrence_stays_also_in_a_document_that_repeats_itself():
    rng = seeds.numpy_generator(1, "itself")
    block = rng.integers(0, 60_000, 300).astype(np.uint16)
    [found] = find([np.concatenate((block, block, block))], 50)
    mask = as_mask(found, 900)
    assert not mask[:300].any()
    assert mask[300:].mean() > 0.9
    [ones] = find([np.ones(1000, np.uint16)], 50)
    assert not as_mask(ones, 1000)[:50].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
def test_nothing_unrepeated_is_ever_found(seed, span):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 3, int(rng.integers(0, 400))).astype(np.uint16) for _ in range(6)]
    rows += [np.tile(rng.integers(0, 9, int(rng.integers(1, 70))), 5).astype(np.uint16) for _ in range(3)]
    rows.append(rows[0][5:])
    for row, mask, mine in zip(rows, repeated(rows, span), find(rows, span), strict=True):
        assert not (as_mask(mine, len(row)) & ~mask).any()


def stories(make, rows):
    return [make(" ".join(f"w{i}" for i in row), ids=row) for row in rows]


class WordsAsTokens:
    fingerprint = "fp"

    def token_bytes(self) -> Ragged:
        return Ragged.from_bytes([f" w{i}".encode() for i in range(1 << 16)])


def run(records, **plan):
    dropped = []
    found = Found()
    batches = [Batch.from_records(records[i : i + 7]) for i in range(0, len(records), 7)]

    def reject(batch: Batch, reasons: list[str]) -> None:
        dropped.extend((batch.record(row), reason) for row, reason in enumerate(reasons))

    out = drop_repeats(batches, Index(), Plan(**plan), reject, found)
    return [batch.record(i) for batch in out for i in range(len(batch))], dropped, found


def test_masked_spans_are_in_the_note_and_tokens_stay(record):
    rows = newsletters(issues=20)
    kept, dropped, found = run(stories(record, rows), span=50)
    assert len(kept) + len(dropped) == 20
    masked = [r for r in kept if "spans" in r["dedup"]]
    assert len(masked) > 10
    total = sum(end - start for r in [*masked, *(r for r, _ in dropped)] for start, end in r["dedup"]["spans"])
    assert total == found.repeated_tokens
    by_id = {r["id"]: row for r, row in zip(stories(record, rows), rows, strict=True)}
    assert all(np.array_equal(decode_tok(r["tok"])[0], by_id[r["id"]]) for r in kept)


def test_cut_spans_are_gone_from_tokens_and_text(record):
    rows = newsletters(issues=20)
    texts = stories(record, rows)
    spelled = [r | {"text": "".join(f" w{i}" for i in row)} for r, row in zip(texts, rows, strict=True)]
    kept, _dropped, _ = run(spelled, span=50, cut=True, tokenizer=WordsAsTokens())
    by_id = {r["id"]: row for r, row in zip(texts, rows, strict=True)}
    changed = 0
    for each in kept:
        ids, _ = decode_tok(each["tok"])
        row, gone = by_id[each["id"]], each["dedup"].get("cut", [])
        changed += bool(gone)
        left = row[~as_mask(gone, len(row))]
        assert np.array_equal(ids, left)
        assert each["text"] == "".join(f" w{i}" for i in left)
    assert changed > 10


def test_a_text_that_its_tokens_do_not_spell_is_left_out_of_a_cut_record(record):
    rows = newsletters(issues=12)
    texts = stories(record, rows)
    other = [r | {"text": r["text"].replace("w", "v")} for r in texts]
    for records, tokenizer in ((texts, None), (other, WordsAsTokens())):
        kept, _, _ = run(records, span=50, cut=True, tokenizer=tokenizer)
        for each in kept:
            assert ("text" in each) != ("cut" in each["dedup"])


def test_a_record_with_nothing_of_its_own_is_dropped(record):
    rng = seeds.numpy_generator(1, "nothing")
    a, b = (rng.integers(0, 60_000, 600).astype(np.uint16) for _ in range(2))
    kept, dropped, _ = run(stories(record, [a, b, np.concatenate((b, a))]), span=50)
    assert len(kept) == 2
    assert [why for _, why in dropped] == ["spans"]


def test_a_new_version_keeps_what_it_shares_with_the_old_one(record):
    rng = seeds.numpy_generator(1, "new version")
    ids = rng.integers(0, 60_000, 600).astype(np.uint16)
    first = record(" ".join(f"w{i}" for i in ids), ids=ids)
    [second] = stories(record, [np.concatenate((ids[:300], [1, 2, 3], ids[300:]))])
    kept, _, _ = run([first, second | {"meta": {"supersedes": first["id"]}}], span=50)
    assert "spans" not in kept[1]["dedup"]


def test_spans_need_tokens(record):
    with pytest.raises(UsageError, match="needs tokens"):
        run([record("Words.")], span=50)


def test_what_only_a_dropped_record_had_is_not_taken_from_the_next(record):
    rng = seeds.numpy_generator(1, "dropped")
    run_, novel, own = (rng.integers(0, 60_000, size).astype(np.uint16) for size in (400, 37, 500))
    first = np.concatenate((rng.integers(0, 60_000, 300).astype(np.uint16), run_))
    kept, dropped, _ = run(
        stories(record, [first, np.concatenate((novel, run_)), np.concatenate((novel, run_, own))]), span=50
    )
    assert [why for _, why in dropped] == ["spans"]
    mask = as_mask(kept[1]["dedup"]["spans"], len(novel) + len(run_) + len(own))
    assert not mask[: len(novel)].any()
    assert mask[len(novel) : len(novel) + len(run_)].mean() > 0.95


def test_what_a_dropped_row_put_into_the_set_is_taken_out_again():
    rng = seeds.numpy_generator(1, "undo")
    rows = [rng.integers(0, 60_000, 3000).astype(np.uint16) for _ in range(4)]
    hashes, starts, offsets = sampled_windows(Ragged.from_rows([*rows, rows[1]], np.uint16), 50, KEY)
    known, new = np.zeros(len(hashes), bool), SpanSet()
    needed = np.array([10**9, -1, 10**9, 10**9, 10**9])  # the second is dropped, come what may
    _, counts = find_repeated(hashes, starts, offsets, 50, known, new, needed)
    assert counts.tolist() == [0, 0, 0, 0, 0]
    mine = np.concatenate([hashes[offsets[row] : offsets[row + 1]] for row in (0, 2, 3, 4)])
    assert np.array_equal(new.sorted(), np.unique(mine))


def test_a_second_pass_keeps_the_masks_of_the_first(record):
    rows = newsletters(issues=14)
    once, _, _ = run(stories(record, rows), span=50)
    masked = {r["id"]: r["dedup"]["spans"] for r in once if "spans" in r["dedup"]}
    assert len(masked) > 5
    for plan in ({}, {"mark": True}, {"span": 50}):
        twice, _, _ = run(once, **plan)
        assert {r["id"]: r["dedup"]["spans"] for r in twice if "spans" in r["dedup"]} == masked, plan


def test_masks_move_with_what_is_cut(record):
    rng = seeds.numpy_generator(1, "masks move")
    block = rng.integers(0, 60_000, 300).astype(np.uint16)
    first = np.concatenate((rng.integers(0, 60_000, 300).astype(np.uint16), block))
    second = np.concatenate((block, np.arange(500, dtype=np.uint16)))
    made = stories(record, [first, second])
    made[1]["dedup"] = {"spans": [[10, 20], [400, 450]]}
    kept, _, _ = run(made, span=50, cut=True)
    ids, _ = decode_tok(kept[1]["tok"])
    [[start, end]] = [span for span in kept[1]["dedup"]["spans"] if span[1] - span[0] == 50]
    assert ids[start:end].tolist() == list(range(100, 150))


def test_a_space_that_the_tokenizer_put_in_front_is_no_difference(record):
    """Tokens as Llama's: the first word has a space too, which the text has not."""
    rows = newsletters(issues=12)
    kept, _, _ = run(stories(record, rows), span=50, cut=True, tokenizer=WordsAsTokens())
    by_id = {r["id"]: row for r, row in zip(stories(record, rows), rows, strict=True)}
    for each in kept:
        left = by_id[each["id"]][~as_mask(each["dedup"].get("cut", []), len(by_id[each["id"]]))]
        assert each["text"].split() == [f"w{i}" for i in left]


def test_spans_of_another_tokenizer_are_said_not_to_be_known(record, capfd):
    index = Index()
    fingerprints = ("one", "one", "two", "one", "two")
    batches = [
        Batch.from_records([record(f"text {n}", ids=range(n, 80), fp=name)]) for n, name in enumerate(fingerprints)
    ]
    list(drop_repeats(batches, index, Plan(span=50), lambda *_: None))
    assert capfd.readouterr().err.count("spans seen before are of tokenizer") == 1  # however often they change
