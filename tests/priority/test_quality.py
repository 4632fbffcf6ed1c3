"""The rules of quality: what each catches, and that honest texts of many kinds pass."""

from __future__ import annotations

import inspect
import json
import random
from typing import NamedTuple

import pytest

from clet import seeds
from clet.batch import Batch
from clet.exits import UsageError
from clet.priority.quality import NEUTRAL, QualityTables
from clet.priority.rules import LIMITS, REASONS, SETS
from clet.record import make_record

TABLES = QualityTables.of()

# ruff: noqa: E501 - escapes of other scripts are wide
PROSE = (
    "The council of the town met on Monday evening to decide about the bridge, which has been closed since the flood. "
    "Its members were told that repairs would take until autumn and cost more than had been planned. Several people "
    "who live near the river asked for a ferry, and the mayor promised to answer them within a week."
)
GERMAN = (
    "Der Rat der Stadt hat am Montag beschlossen, die alte Br\u00fccke nicht abzurei\u00dfen. Die Arbeiten sollen im Herbst "
    "beginnen und werden von dem Land bezahlt, wie die B\u00fcrgermeisterin mitteilte. Viele sind mit der L\u00f6sung zufrieden."
)
CHINESE = (
    "\u5e02\u8bae\u4f1a\u661f\u671f\u4e00\u665a\u4e0a\u5f00\u4f1a\uff0c\u51b3\u5b9a\u4fee\u590d\u88ab\u6d2a\u6c34\u51b2\u6bc1\u7684\u65e7\u6865\u3002\u5de5\u7a0b\u5c06\u5728\u79cb\u5929"
    "\u5f00\u59cb\uff0c\u8d39\u7528\u6bd4\u539f\u6765\u8ba1\u5212\u9ad8\u3002\u6cb3\u8fb9\u7684\u5c45\u6c11\u8981\u6c42\u5f00\u901a\u6e21\u8239\uff0c\u5e02\u957f\u7b54\u5e94\u4e00\u5468\u5185\u56de\u590d\u4ed6\u4eec\u3002"
)
ARABIC = (
    "\u0627\u062c\u062a\u0645\u0639 \u0645\u062c\u0644\u0633 \u0627\u0644\u0645\u062f\u064a\u0646\u0629 \u0645\u0633\u0627\u0621 \u0627\u0644\u0627\u062b\u0646\u064a\u0646 "
    "\u0644\u0644\u0628\u062a \u0641\u064a \u0623\u0645\u0631 \u0627\u0644\u062c\u0633\u0631 \u0627\u0644\u0630\u064a \u0623\u063a\u0644\u0642 \u0645\u0646\u0630 "
    "\u0627\u0644\u0641\u064a\u0636\u0627\u0646 \u0648\u0642\u0627\u0644 \u0631\u0626\u064a\u0633 \u0627\u0644\u0628\u0644\u062f\u064a\u0629 \u0625\u0646 "
    "\u0627\u0644\u0623\u0639\u0645\u0627\u0644 \u0633\u062a\u0628\u062f\u0623 \u0641\u064a \u0627\u0644\u062e\u0631\u064a\u0641."
)


class Found(NamedTuple):
    score: float
    rule: str | None


def verdict(text: str, **fields) -> Found:
    record = make_record(**{"source": "feed", "origin": "o", "text": text, "fetched": None} | fields)
    found = TABLES.judge(Batch.from_records([record]))
    return Found(float(found.score[0]), found.reason(0))


@pytest.mark.parametrize("text", [PROSE, GERMAN, CHINESE, ARABIC], ids=["english", "german", "chinese", "arabic"])
def test_prose_of_any_script_passes(text):
    found = verdict(text)
    assert found.rule is None
    assert found.score > 0.2


def shuffled_words(count: int, seed: int = 1) -> str:
    words = [f"{a}{b}" for a in ("hotel", "flight", "casino", "shoes", "loan") for b in "abcdefghijklmnopqrst"]
    return " ".join(seeds.python_random(seed, "words").choices(words, k=count))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("short", "Click here now."),
        ("placeholder", "Lorem ipsum dolor sit amet, " + PROSE),
        ("few-letters", "The price of it: " + " ".join(f"{i}.50" for i in range(100, 180))),
        ("word-length", " ".join(f"a{'x' * 14}{i}" for i in range(60))),
        ("word-length", " ".join(seeds.python_random(1, "letters").choices("abcdefghijklmnopqrstuvwxyz", k=400))),
        ("symbols", PROSE + " #a #b #c #d #e #f #g #h #i #j"),
        ("symbols", "\n".join(f"| {w} | | {w[::-1]} | |" for w in shuffled_words(20).split())),
        ("links", "\n".join(f"https://example.org/{i} page{i}" for i in range(60))),
        ("repetition", " ".join([PROSE] * 3)),
        ("repetition", "\n".join([PROSE, "Subscribe to our newsletter and share this page."] * 8)),
        ("stuffing", " ".join(f"{w} bargain" for w in shuffled_words(60).split())),
        ("bullets", "\n".join(f"- the {w} and {w[::-1]} of it" for w in shuffled_words(12).split())),
        ("ellipses", "\n".join(f"The {shuffled_words(11, seed)} of the..." for seed in range(12))),
        ("list", "\n".join(dict.fromkeys(shuffled_words(80).split()))),
        ("stop-words", shuffled_words(90)),
    ],
)
def test_each_rule_names_what_it_drops(rule, text):
    assert verdict(text).rule == rule


def test_short_news_may_repeat_its_subject():
    name = "the captain of the research ship Frodette"
    text = f"Who is {name}? It is Ilse Estani. {PROSE} Since 1999, {name} has been Estani. In a letter, {name} thanked them."
    assert verdict(text).rule is None


def test_a_teaser_that_ends_in_an_ellipsis_passes_with_a_lower_score():
    teaser = verdict(PROSE.rstrip(".") + "...")
    assert teaser.rule is None
    assert teaser.score < verdict(PROSE).score


def test_markdown_with_links_and_headings_passes():
    text = "# Bridge\n\n" + PROSE.replace("bridge", "[bridge](https://example.org/a/very/long/address/of/a/bridge)")
    assert verdict(text + "\n\n* one [thing](https://example.org)\n* and the other\n").rule is None


def test_source_code_is_not_thrown_away():
    for module in (json.decoder, random, inspect):
        found = verdict(inspect.getsource(module), source="git", url="https://example.org/repo#lib/module.py")
        assert found.rule is None
        assert found.score > 0.8


def test_code_is_known_by_its_looks_where_the_name_says_nothing():
    source = inspect.getsource(json.decoder)
    assert verdict(source, source="feed", meta={"path": "bin/tool"}).score < 0.8
    assert verdict(source, source="git", meta={"path": "bin/tool"}).score > 0.8
    assert verdict(PROSE, source="git", meta={"path": "bin/notice"}) == verdict(PROSE)
    assert verdict(source, source="git", meta={"path": "docs/tool.md"}) == verdict(source)


def test_minified_code_data_and_stubs_are_dropped():
    minified = "var a=function(b){return b*2};" * 100
    assert verdict(minified, source="git", meta={"path": "app.js"}).rule == "long-lines"
    assert verdict("x = 1", source="git", meta={"path": "a.py"}).rule == "short"
    table = "\n".join(["    0x00, 0x00, 0x00, 0x00,"] * 300 + [f"    {i}," for i in range(50)])
    assert verdict(table, source="git", meta={"path": "t.c"}).rule == "repetition"


def test_a_page_of_the_web_cannot_pass_as_code():
    stuffed = " ".join(f"{w} bargain" for w in shuffled_words(60).split())
    assert verdict(stuffed, source="feed", url="https://spam.example/page.py").rule == "stuffing"


@pytest.mark.parametrize("name", ["lib/Module.PY", "a/.hidden.py", "x.tar.c", "file.v#part.md"])
def test_a_suffix_is_found_in_any_case_and_before_a_fragment(name):
    stuffed = "\n".join(f"{w} bargain" for w in shuffled_words(60).split())
    assert verdict(stuffed, source="git", url=f"https://example.org/{name}").rule is None


@pytest.mark.parametrize(
    "name", [".py", "dir.py/README.md", "notes.pyc", "a.averyveryveryverylongsuffix", "dir.c/plain"]
)
def test_what_only_resembles_a_suffix_of_code_is_none(name):
    stuffed = "\n".join(f"{w} bargain" for w in shuffled_words(60).split())
    assert verdict(stuffed, source="git", url=f"https://example.org/{name}").rule == "repetition"


def test_records_without_text_are_neutral(record):
    batch = Batch.from_records([record(PROSE, ids=[1, 2, 3])]).without_text()
    found = TABLES.judge(batch)
    assert (float(found.score[0]), found.reason(0), bool(found.judged[0])) == (NEUTRAL, None, False)


def test_published_limits_stand_beside_our_own_and_every_wider_one_says_why():
    for name, limit in LIMITS.items():
        if limit.published is None or limit.own != limit.published:
            assert limit.why or limit.published is None, name
    assert len(set(REASONS)) == len(REASONS)


def test_published_sets_can_be_chosen_and_are_stricter_on_short_news():
    batch = Batch.from_records([make_record(source="feed", origin="o", text=PROSE[:210], fetched=None)])
    assert TABLES.judge(batch).reason(0) is None
    for name, reason in (("gopher", "gopher-short"), ("c4", "c4-few-sentences"), ("fineweb", "fineweb-ended")):
        assert QualityTables.of(rules=[name]).judge(batch).reason(0) == reason
    assert set(SETS) >= {"gopher", "c4", "fineweb"}


@pytest.mark.parametrize("rules", [["nonsense"], ["clet", "gopher"], []])
def test_a_set_of_rules_that_cannot_be_is_refused(rules):
    with pytest.raises(UsageError):
        QualityTables.of(rules=rules)
