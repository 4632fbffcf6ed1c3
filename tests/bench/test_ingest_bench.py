"""`clet bench ingest`: what it measures, it shows; its figures are those of what was served."""

import json

import pytest

from clet.bench import ingest, ingest_report, many
from clet.exits import UsageError


@pytest.fixture
def pages(tmp_path):
    page = tmp_path / "pages" / "one"
    page.mkdir(parents=True)
    words = "<p>The council met on Tuesday and decided that the old bridge would be repaired before winter.</p>" * 9
    (page / "source.html").write_text(f"<html><body><nav>Menu</nav><article>{words}</article></body></html>")
    (page / "expected.html").write_text(words)
    return str(tmp_path / "pages")


def test_every_part_that_was_measured_is_shown(pages, workshop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(many, "INTERVAL_S", 0.3)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"A line of text, {n}."}) + "\n" for n in range(50)))
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    (feeds / "a.xml").write_text('<rss version="2.0"><channel><item><title>x</title></item></channel></rss>')
    plan = ingest.Plan(feeds=str(feeds), pages=[pages], seconds=0, records=60_000, runs=1, many=3)
    parts = ingest.measure([f"jsonl:{tmp_path}/a.jsonl"], str(workshop / "model"), plan)
    assert set(parts) == {"read", "feeds", "pages", "speed", "memory", "many"}
    assert parts["read"][0]["documents"] == 50
    assert parts["memory"]["records"] == 60_000
    assert parts["pages"]["pages"]["extractors"]["clet"]["f1"] > 0.9
    ingest_report.show({"cores": 1, "cpu": "test", **parts})
    shown = capsys.readouterr().out
    for title in (
        "read by clet ingest",
        "entries of feeds",
        "main text of pages",
        "alone",
        "memory of",
        "3 feeds followed",
    ):
        assert title in shown


def test_all_entries_of_many_feeds_come_once(monkeypatch):
    monkeypatch.setattr(many, "INTERVAL_S", 0.3)
    found = many.measure(7)
    assert found["polled"] == 7
    assert found["polls"] >= 7 * many.ROUNDS
    assert found["documents"] == found["entries_shown"] >= 7
    assert found["repeated"] == 0


def test_nothing_to_measure_is_told():
    with pytest.raises(UsageError, match="nothing to measure"):
        ingest.measure([], None, ingest.Plan())
