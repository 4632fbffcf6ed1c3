"""Counts of a text against plain Python."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet.batch import Ragged
from clet.priority import textstats
from clet.priority.textstats import Stat, measure


def stats_of(text: str) -> dict[str, float]:
    row = measure(Ragged.from_bytes([text.encode()]))[0]
    return {stat.name: float(row[stat]) for stat in Stat} | {
        f"TOP{n}": float(row[Stat.TOP_SHARE + n - 2]) for n in (2, 3, 4)
    } | {f"DUP{n}": float(row[Stat.DUP_SHARE + n - 5]) for n in range(5, 11)}  # fmt: skip


def plain_repetition(words: list[str], n: int) -> float:
    """Gopher's measure of n-gram repetition, written down naively."""
    total = sum(map(len, words))
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not total or not grams:
        return 0.0
    if n <= 4:
        return max((c * sum(map(len, g)) for g, c in Counter(grams).items() if c >= 3), default=0) / total
    seen, repeated, at = set(), 0, 0
    while at < len(grams):
        if grams[at] in seen:
            repeated += sum(map(len, grams[at]))
            at += n
        else:
            seen.add(grams[at])
            at += 1
    return repeated / total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "bc", "def", "ghij", "klmno"]), max_size=120))
def test_ngram_repetition_equals_the_plain_definition(words):
    got = stats_of(" ".join(words))
    assert got["WORDS"] == len(words)
    for n in (2, 3, 4):
        assert got[f"TOP{n}"] == pytest.approx(plain_repetition(words, n))
    for n in range(5, 11):
        assert got[f"DUP{n}"] == pytest.approx(plain_repetition(words, n))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_measured(text):
    got = stats_of(text)
    body = text.encode("utf-8", "replace").decode()
    assert got["LINES"] <= body.count("\n") + 1
    assert got["LETTERS"] <= got["CHARS"] <= len(body)
    assert got["LETTER_WORDS"] <= got["WORDS"]
    assert all(0 <= got[f"DUP{n}"] <= 1 for n in range(5, 11))


def test_words_lines_and_marks():
    got = stats_of(
        "\u2022 One, two!\n\n- Three and...\n* four \u2014 five \u2026\n**Six**  (7th) 8\n12:30\nSee https://a.b/c."
    )
    assert got["WORDS"] == 2 + 2 + 2 + 3 + 1 + 1
    assert got["LETTER_WORDS"] == got["WORDS"] - 2
    assert got["MARKS"] == 5  # three bullets, a dash, an ellipsis
    assert got["LINES"] == 6
    assert got["BULLETS"] == 4  # two stars begin like a bullet
    assert got["DOTTED"] == 2
    assert got["ELLIPSES"] == 2
    assert got["ENDED"] == 2  # "two!" and the address' full stop
    assert got["LINKS"] == 1


def test_repeated_lines_count_from_the_second_on():
    line = "A line that is longer than thirty characters."
    got = stats_of(f"{line}\nshort\n{line}\nshort\n  {line}  ")
    assert got["DUP_LINES"] == 2
    assert got["DUP_LINE_CHARS"] == 2 * len(line) + 5
    assert got["LONGEST_LINE"] == len(line)


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        ("The cat and the dog have been to the house of the king", 5),
        ("Der Hund und die Katze sind nicht von hier", 5),
        ("Le chat et la souris dans les bois", 5),
        ("cheap flights best hotels buy now", 0),
    ],
)
def test_function_words_are_counted_by_language(text, distinct):
    assert stats_of(text)["STOP_DISTINCT"] == distinct


def test_scripts_are_told_apart():
    assert stats_of("Gr\u00fc\u00dfe aus K\u00f6ln")["LATIN"] == 12
    chinese = stats_of("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\n\u660e\u5929\u4e5f\u597d\uff01")
    assert (chinese["SPACELESS"], chinese["WORDS"], chinese["ENDED"]) == (10, 10, 2)
    russian = stats_of("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440")
    assert (russian["LETTERS"], russian["LATIN"], russian["SPACELESS"], russian["WORDS"]) == (9, 0, 0, 2)
    assert stats_of("\U0001f600 \U0001f680")["LETTERS"] == 0


def test_a_huge_text_is_judged_by_its_first_part(monkeypatch):
    word = "\u00e9t\u00e9 "
    row = measure(Ragged.from_bytes([(word * 1_200_000).encode()]))[0]
    assert 690_000 < row[Stat.WORDS] < 700_000
    assert textstats.MAX_BYTES == 4 << 20
