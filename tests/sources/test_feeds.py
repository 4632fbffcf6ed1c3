"""Feeds: every dialect into the same entries, each entry once, edits as new versions, nothing expanded or fetched."""

import json

import pytest

from clet.record import record_id
from clet.sources import feeds
from clet.sources.adapter import SourceFailed
from clet.sources.feed_parse import parse_feed

ITEM = (
    "<item><title>{title}</title><link>/{name}</link><guid isPermaLink='false'>{name}</guid>{rest}"
    "<description>{text}</description></item>"
)


def rss(*items, head=""):
    body = "".join(ITEM.format(**{"title": "T", "rest": "", "text": "Words."} | item) for item in items)
    return f'{head}<rss version="2.0"><channel><title>News</title><link>https://n.example/</link>{body}</channel></rss>'.encode()


RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="https://n.example/"><title>News</title></channel>
 <item rdf:about="https://n.example/1"><title>One</title><link>https://n.example/1</link>
 <description>Words.</description><dc:date>2026-01-02T03:04:05+01:00</dc:date><dc:creator>Ann</dc:creator></item></rdf:RDF>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://n.example/"><title>News</title>
 <entry><id>tag:1</id><title type="html">&lt;b>One&lt;/b></title><link href="1"/><updated>2026-01-02T02:04:05Z</updated>
 <author><name>Ann</name></author><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Words.</p></div></content>
 </entry></feed>"""
OLD = b'<rss version="0.91"><channel><title>News</title><item><title>One</title><link>https://n.example/1</link></item></channel></rss>'
JSON = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "News",
        "home_page_url": "https://n.example/",
        "items": [
            {
                "id": 1,
                "url": "/1",
                "title": "One",
                "content_html": "<p>Words.</p>",
                "date_published": "2026-01-02T03:04:05+01:00",
                "authors": [{"name": "Ann"}],
                "tags": ["a", "a", 3],
            }
        ],
    }
).encode()


@pytest.mark.parametrize("body", [RDF, ATOM, JSON], ids=["rdf", "atom", "json"])
def test_dialects_give_the_same_entry(body):
    feed = parse_feed(body, "https://n.example/feed")
    (entry,) = feed.entries
    assert feed.title == "News"
    assert (entry.title, entry.link, entry.body, entry.author) == ("One", "https://n.example/1", "Words.", "Ann")
    assert entry.published.isoformat() == "2026-01-02T02:04:05+00:00"


def test_what_an_entry_lacks_is_null():
    (entry,) = parse_feed(OLD, None).entries
    assert (entry.published, entry.updated, entry.guid, entry.author, entry.tags) == (None, None, None, None, [])


def test_content_is_preferred_to_a_shorter_summary_and_markup_becomes_text():
    full = "<p>First &amp;amp; best.</p><ul><li>one<li>two</ul><script>x()</script><p hidden>no</p>"
    rest = f'<content:encoded xmlns:content="http://purl.org/rss/1.0/modules/content/"><![CDATA[{full}]]></content:encoded>'
    (entry,) = parse_feed(rss({"name": "1", "rest": rest, "text": "Short."}), None).entries
    assert entry.body.split() == ["First", "&amp;", "best.", "\u2022", "one", "\u2022", "two"]


def test_links_are_resolved_and_only_web_links_kept():
    links = [
        entry.link for entry in parse_feed(rss({"name": "a b"}, {"name": "../x"}), "https://m.example/d/feed").entries
    ]
    assert links == ["https://m.example/a b", "https://m.example/x"]
    body = b'<rss version="2.0"><channel><item><title>t</title><link>javascript:alert(1)</link></item></channel></rss>'
    assert parse_feed(body, "https://m.example/").entries[0].link is None


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("Fri, 02 Jan 2026 03:04:05 +0100", "2026-01-02T02:04:05"),
        ("2026-01-02", "2026-01-02T00:00:00"),
        ("2 Jan 2026 02:04 GMT", "2026-01-02T02:04:00"),
        ("2026-01-02 02:04:05 UTC", "2026-01-02T02:04:05"),
        ("yesterday", None),
        ("", None),
        ("9999999999999999", None),
    ],
)
def test_every_form_of_date_and_null_for_none(text, iso):
    (entry,) = parse_feed(rss({"name": "1", "rest": f"<pubDate>{text}</pubDate>"}), None).entries
    assert (entry.published and entry.published.isoformat()) == (iso and f"{iso}+00:00")


def test_no_entity_is_expanded_or_fetched():
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    head = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "lol">{laughs}<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    (entry,) = parse_feed(rss({"name": "1", "title": "&l11;", "text": "a &x; b"}, head=head), None).entries
    assert len(entry.title) < 10
    assert "root:" not in entry.body


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf16_with_and_without_a_mark(encoding):
    body = (
        rss({"name": "1", "title": "F\u00fc\u00dfe"}, head='<?xml version="1.0" encoding="utf-16"?>')
        .decode()
        .encode(encoding)
    )
    assert parse_feed(body, None).entries[0].title == "F\u00fc\u00dfe"


def test_a_declared_encoding_is_obeyed():
    body = (
        rss({"name": "1", "title": "\u65b0\u95fb"}, head='<?xml version="1.0" encoding="gb2312"?>')
        .decode()
        .encode("gb2312")
    )
    assert parse_feed(body, None).entries[0].title == "\u65b0\u95fb"
    plain = rss({"name": "1", "title": "\u65b0\u95fb"}).decode().encode("gb2312")
    assert parse_feed(plain, None, "text/xml", "gb2312").entries[0].title == "\u65b0\u95fb"


def test_malformed_xml_still_gives_what_is_there():
    body = rss({"name": "1"}, {"name": "2", "title": "A & B <br> C"}).replace(b"</channel></rss>", b"")
    assert len(parse_feed(body, None).entries) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<!doctype html><html><p>hi</p>",
        b"just text",
        b"{}",
        b"[1]",
        b'{"items": 3}',
        b"{",
        b"\0\1\2" * 99,
        b"<!DOCTYPE a [" + b'"' * 999 + b"<rss/>",
        b"<a>" * 20_000,
    ],
)
def test_what_is_no_feed_is_a_failure(body):
    with pytest.raises(SourceFailed):
        parse_feed(body, None)


def test_opml_lists_its_feeds_once_and_resolved():
    body = b'<opml version="1.0"><body><outline text="x"><outline xmlUrl="https://a.example/f"/>'
    body += b'<outline xmlURL="/g"/></outline>'
    body += b'<outline xmlUrl="https://a.example/f"/></body></opml>'
    assert parse_feed(body, "https://m.example/list").lists == ["https://a.example/f", "https://m.example/g"]


# ---- the adapter


def texts(documents):
    return [document["text"] for document in documents]


def test_each_entry_comes_once_and_an_edit_supersedes(web, fetcher, context):
    cursor = {}
    poll = lambda: list(feeds.read(f"{web.url}/f", context(cursor, fetch=fetcher().get)))  # noqa: E731
    web.routes["/f"] = 200, {}, rss({"name": "1"}, {"name": "2", "title": "U"})
    first = poll()
    assert texts(first) == ["T\n\nWords.", "U\n\nWords."]
    assert first[0]["url"] == f"{web.url}/1"
    assert first[0]["meta"] == {"feed": "News", "guid": "1"}
    assert (first[0]["source"], first[0]["origin"]) == ("feed", "127.0.0.1")
    web.routes["/f"] = (
        200,
        {},
        rss({"name": "3", "title": "V"}, {"name": "1", "text": "Corrected."}, {"name": "2", "title": "U"}),
    )
    second = poll()
    assert texts(second) == ["V\n\nWords.", "T\n\nCorrected."]
    assert "supersedes" not in second[0]["meta"]
    assert second[1]["meta"]["supersedes"] == first[0]["id"] == record_id("T\n\nWords.")
    assert poll() == []
    json.dumps(cursor)  # what is kept must be JSON


def test_an_unchanged_feed_is_not_parsed(web, fetcher, context, monkeypatch):
    web.routes["/f"] = lambda handler: (
        (304, {}, b"") if handler.headers.get("If-None-Match") else (200, {"ETag": '"1"'}, rss({"name": "1"}))
    )
    cursor = {}
    assert len(list(feeds.read(f"{web.url}/f", context(cursor, fetch=fetcher().get)))) == 1
    monkeypatch.setattr(feeds, "parse_feed", None)
    assert list(feeds.read(f"{web.url}/f", context(cursor, fetch=fetcher().get))) == []


def test_a_feed_left_half_way_is_asked_for_again(web, fetcher, context):
    web.routes["/f"] = lambda handler: (
        (304, {}, b"")
        if handler.headers.get("If-None-Match")
        else (200, {"ETag": '"1"'}, rss({"name": "1"}, {"name": "2", "title": "U"}))
    )
    cursor = {}
    documents = feeds.read(f"{web.url}/f", context(cursor, fetch=fetcher().get))
    assert next(documents)["text"] == "T\n\nWords."
    documents.close()
    assert texts(feeds.read(f"{web.url}/f", context(cursor, fetch=fetcher().get))) == ["U\n\nWords."]


def test_entries_that_share_a_link_are_not_each_others_edits(tmp_path, context):
    item = "<item><title>{}</title><link>https://n.example/</link><description>{}</description></item>"
    body = "".join(item.format(f"Title {n}", f"Text {n}.") for n in range(3))
    (tmp_path / "f.xml").write_text(f'<rss version="2.0"><channel>{body}</channel></rss>')
    documents = list(feeds.read(str(tmp_path / "f.xml"), context()))
    assert len(documents) == 3
    assert all("supersedes" not in document["meta"] for document in documents)


def test_memory_of_a_feed_is_bounded(tmp_path, context, monkeypatch):
    monkeypatch.setattr(feeds, "KEEP_ENTRIES", 10)
    cursor = {}
    for week in range(10):
        (tmp_path / "f.xml").write_bytes(rss(*({"name": f"{week}-{n}", "title": f"{week} {n}"} for n in range(4))))
        assert len(list(feeds.read(str(tmp_path / "f.xml"), context(cursor)))) == 4
    (kept,) = cursor.values()
    assert len(kept["seen"]) == 10
    assert list(feeds.read(str(tmp_path / "f.xml"), context(cursor))) == []


def test_a_failing_feed_of_a_list_does_not_stop_the_others(web, fetcher, context):
    web.routes["/list"] = 200, {}, b'<opml><body><outline xmlUrl="/gone"/><outline xmlUrl="/f"/></body></opml>'
    web.routes["/f"] = 200, {}, rss({"name": "1"})
    given = context(fetch=fetcher().get)
    assert len(list(feeds.read(f"{web.url}/list", given))) == 1
    assert given.report.failures == given.report.unreachable == 1
    assert given.report.sources[f"feed:{web.url}/gone"] == {"failed": 1}


def test_folders_and_globs_of_captures(tmp_path, context):
    (tmp_path / "d").mkdir()
    for name in ("b.xml", "a.xml"):
        (tmp_path / "d" / name).write_bytes(rss({"name": name, "title": name}))
    assert texts(feeds.read(str(tmp_path / "d"), context())) == ["a.xml\n\nWords.", "b.xml\n\nWords."]
    assert texts(feeds.read(str(tmp_path / "d" / "b*"), context())) == ["b.xml\n\nWords."]
    with pytest.raises(SourceFailed, match="matches no file"):
        list(feeds.read(str(tmp_path / "x*"), context()))
