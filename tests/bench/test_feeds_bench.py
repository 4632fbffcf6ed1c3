"""The judges of feeds: what agrees is said to agree, and what is missing, repeated or wrong is seen."""

import pytest

from clet.bench import feeds as bench
from clet.bench.feeds import measure, replay
from clet.sources.feed import memory as feed_memory
from clet.sources.feed.parse import parse_feed

ITEM = "<item><guid>http://n.example/{0}</guid><title>{1}</title><description>{2}</description></item>"


def rss(*items):
    return f"<rss><channel><title>N</title>{''.join(ITEM.format(*item) for item in items)}</channel></rss>".encode()


@pytest.fixture
def captures(tmp_path):
    """Three weeks: an entry, the same bytes again, then an edit, a new entry and one that came back."""
    weeks = {
        "2026-01-02": rss((1, "One", "a"), (2, "Two", "b")),
        "2026-01-09": rss((1, "One", "a"), (2, "Two", "b")),
        "2026-01-16": rss((3, "Three", "c"), (1, "One", "A &lt;b>corrected&lt;/b> text")),
        "2026-01-23": rss((2, "Two", "b"), (3, "Three", "c")),
    }
    for week, body in weeks.items():
        (tmp_path / week).mkdir()
        (tmp_path / week / "f.xml").write_bytes(body)
    return tmp_path


def test_entries_titles_and_links_are_compared_with_the_judges(tmp_path):
    (tmp_path / "a.xml").write_bytes(rss((1, "One", "a"), (2, "Two &amp;amp; more", "b")))
    (tmp_path / "b.xml").write_bytes(b"<rss><channel><item><title>A & B</title></item>")
    (tmp_path / "c.json").write_text('{"title": "t", "items": [{"title": "One", "url": "/1"}]}')
    (tmp_path / "d.opml").write_text('<opml><body><outline xmlUrl="http://n.example/"/></body></opml>')
    result = measure(str(tmp_path))
    assert [(file["judge"], file["expected"], file["found"]) for file in result["files"]] == [
        ("strict", 2, 2),
        ("feedparser", 1, 1),
        ("json", 1, 1),
        ("opml", 1, 1),
    ]
    assert (result["num_agreeing"], result["num_titles_differing"], result["num_links_differing"]) == (4, 0, 0)


def test_a_reader_that_errs_is_seen(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_bytes(rss((1, "One", "a"), (2, "Two", "b")))

    def wrong(body, address):
        feed = parse_feed(body, address)
        feed.entries[0].title, feed.entries[1].link = "Other", None
        return feed

    monkeypatch.setattr(bench, "parse_feed", wrong)
    result = measure(str(tmp_path))
    assert (result["num_titles_differing"], result["num_links_differing"]) == (1, 1)


@pytest.mark.parametrize("etags", [True, False])
def test_captures_replayed_come_out_once_each_and_edits_as_versions(captures, etags):
    result = replay(str(captures), etags=etags)
    assert (result["polls"], result["identical_polls"], result["unchanged"]) == (4, 1, 1)
    assert result["answers"].get(304, 0) == etags
    assert result["documents"] == result["expected_documents"] == 4
    assert result["versions"] == result["expected_versions"] == 1
    assert (result["missing"], result["repeated_ids"], result["dangling_supersedes"]) == (0, 0, 0)


def test_a_memory_that_fails_is_seen(captures, monkeypatch):
    monkeypatch.setattr(feed_memory.Memory, "knows", lambda *_: False)
    monkeypatch.setattr(feed_memory.Memory, "knows_record", lambda *_: False)
    result = replay(str(captures))
    assert result["repeated_ids"] > 0
    assert result["documents"] > result["expected_documents"]
