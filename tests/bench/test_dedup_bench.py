"""The bench of deduplication: its truth is the definition, and it counts what the sides drop."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from clet import seeds
from clet.batch import Ragged
from clet.bench import exact_join


def texts(size: int = 60) -> list[str]:
    rng = seeds.numpy_generator(1, "join")
    out: list[str] = []
    for n in range(size):
        words = out[-1].split() if n % 3 == 2 else [f"w{i}" for i in rng.integers(0, 400, int(rng.integers(3, 200)))]
        if n % 3 == 2 and n % 2 and len(words) > 30:
            words[5 : 5 + n // 6] = ["changed"]
        out.append(" ".join(words))
    return out


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_the_join_is_the_greedy_one_over_all_pairs(threshold):
    rows = texts()
    kept: list[set[str]] = []
    seen: set[str] = set()
    expected = []
    for text in rows:
        own = set(exact_join.shingles_of(text))
        near = any(own and len(own & other) >= threshold * len(own | other) for other in kept)
        expected.append(1 if text in seen else 2 if near else 0)
        seen.add(text)
        if expected[-1] == 0:
            kept.append(own)
    assert exact_join.join(rows, threshold).tolist() == expected
    assert {1, 2} <= set(expected) or threshold == 1.0


def test_repeated_tokens_are_those_of_the_definition():
    rng = seeds.numpy_generator(1, "repeated")
    rows = [rng.integers(0, 3, int(rng.integers(0, 90))).astype(np.uint16) for _ in range(20)]
    rows += [np.ones(40, np.uint16), rows[3]]
    span, seen, expected = 6, set(), []
    for row in rows:
        mask = np.zeros(len(row), bool)
        windows = [row[at : at + span].tobytes() for at in range(len(row) - span + 1)]
        for at, window in enumerate(windows):
            if window in seen or window in windows[: max(0, at - span + 1)]:
                mask[at : at + span] = True
        seen.update(windows)
        expected.append(mask)
    assert np.array_equal(exact_join.repeated_tokens(Ragged.from_rows(rows, np.uint16), span), np.concatenate(expected))


def test_the_command_measures_every_part(clet, workshop, tmp_path):
    done = clet("bench", "dedup", workshop / "docs.clet", workshop / "news.clet", "--tokenizer", workshop / "model",
                "--runs", "1", "--documents", "2000", "--no-peers", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    result = orjson.loads(done.stdout)
    assert set(result["near"]["sides"]) == {"clet, ids", "clet, text", "clet, 16 bytes"}
    for name in ("clet, ids", "clet, text"):
        side = result["near"]["sides"][name]
        assert side["recall"] == 1.0 or result["near"]["exact"] + result["near"]["near"] == 0, name
        assert side["mb_per_s"] > 0
    assert [row["documents"] for row in result["index"]["bloom"]] == [2000, 2000]
    assert result["index"]["exact"]["documents"] > 0
    table = clet("bench", "dedup", workshop / "docs.clet", "--tokenizer", workshop / "model", "--runs", "1",
                 "--documents", "1000", "--no-peers")  # fmt: skip
    assert b"clet, ids" in table.stdout
    no_text = clet("bench", "dedup", workshop / "feed.xml", "--tokenizer", workshop / "model")
    assert no_text.returncode == 65
