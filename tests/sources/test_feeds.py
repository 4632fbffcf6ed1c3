"""The feed adapter: each entry once, edits as versions, unchanged polls for nothing, lists as sources of their own."""

import gzip
import io
import json

import pytest

from clet.record import record_id
from clet.sources import paths
from clet.sources.adapter import Options, SourceFailed
from clet.sources.feed import adapter as feeds
from clet.sources.feed import memory as feed_memory

ITEM = (
    "<item><title>{title}</title><link>/{name}</link><guid isPermaLink='false'>{name}</guid>{rest}"
    "<description>{text}</description></item>"
)


def rss(*items, head=""):
    body = "".join(ITEM.format(**{"title": "T", "rest": "", "text": "Words."} | item) for item in items)
    return f'{head}<rss version="2.0"><channel><title>News</title>{body}</channel></rss>'.encode()


def texts(documents):
    return [document["text"] for document in documents]


@pytest.fixture
def poll(web, fetcher, context):
    """`poll(body)` serves a feed and reads it, with a cursor that goes through JSON in between."""
    state = {"cursor": "{}", "web": fetcher()}

    def once(body=None, headers={}, **fields):
        if body is not None:
            web.routes["/f"] = 200, headers, body
        given = context("feed", json.loads(state["cursor"]), web=state["web"], **fields)
        once.said, once.cursor = given.outlet, given.cursor
        documents = feeds.read(f"{web.url}/f", given)
        try:
            return list(documents)
        finally:
            state["cursor"] = json.dumps(given.cursor)

    return once


# ---- over time


def test_each_entry_comes_once_and_an_edit_supersedes(poll, web):
    first = poll(rss({"name": "1"}, {"name": "2", "title": "U"}))
    assert texts(first) == ["T\n\nWords.", "U\n\nWords."]
    assert first[0]["url"] == f"{web.url}/1"
    assert first[0]["meta"] == {"feed": "News", "guid": "1"}
    assert (first[0]["source"], first[0]["origin"]) == ("feed", "127.0.0.1")
    second = poll(rss({"name": "3", "title": "V"}, {"name": "1", "text": "Corrected."}, {"name": "2", "title": "U"}))
    assert texts(second) == ["V\n\nWords.", "T\n\nCorrected."]
    assert "supersedes" not in second[0]["meta"]
    assert second[1]["meta"]["supersedes"] == first[0]["id"] == record_id("T\n\nWords.")
    assert poll.said.counts["seen"] == 1
    third = poll(rss({"name": "1", "text": "Again."}))
    assert third[0]["meta"]["supersedes"] == second[1]["id"]


def test_an_unchanged_feed_is_not_parsed(poll, web, monkeypatch):
    body = rss({"name": "1"})
    assert len(poll(body, {"ETag": '"1"'})) == 1
    web.routes["/f"] = lambda handler: (
        (304, {}, b"") if handler.headers.get("If-None-Match") == '"1"' else (500, {}, b"")
    )
    monkeypatch.setattr(feeds, "parse_feed", None)
    assert poll() == []
    assert poll.said.counts["unchanged"] == 1
    before = poll.cursor
    assert poll(body, {"ETag": '"2"'}) == []  # the server says that it is new, but the bytes are the same
    assert poll.said.counts["unchanged"] == 1
    assert {**before, "http": None} == {**poll.cursor, "http": None}


def test_a_feed_left_half_way_is_asked_for_again(web, fetcher, context):
    body = rss({"name": "1"}, {"name": "2", "title": "U"})
    web.routes["/f"] = lambda handler: (
        (304, {}, b"") if handler.headers.get("If-None-Match") else (200, {"ETag": '"1"'}, body)
    )
    cursor = {}
    documents = feeds.read(f"{web.url}/f", context("feed", cursor, web=fetcher()))
    assert next(documents)["text"] == "T\n\nWords."
    killed = json.loads(json.dumps(cursor))
    documents.close()
    assert texts(feeds.read(f"{web.url}/f", context("feed", killed, web=fetcher()))) == ["U\n\nWords."]


def test_a_kill_at_any_moment_loses_nothing(web, fetcher, context):
    """The cursor as it stood at each document, whatever was then lost: the next run brings all the rest."""
    web.routes["/f"] = 200, {}, rss(*({"name": str(n), "title": str(n)} for n in range(6)))
    whole = texts(feeds.read(f"{web.url}/f", context("feed", web=fetcher())))
    cursor, out = {}, []
    for document in feeds.read(f"{web.url}/f", context("feed", cursor, web=fetcher())):
        out.append(document["text"])
        rest = feeds.read(f"{web.url}/f", context("feed", json.loads(json.dumps(cursor)), web=fetcher()))
        assert out + texts(rest) == whole


def test_a_feed_that_wavers_between_two_texts_repeats_neither(poll):
    one, two = rss({"name": "1", "text": "One."}), rss({"name": "1", "text": "Two."})
    assert [len(poll(body)) for body in (one, two, one, two, one)] == [1, 1, 0, 0, 0]
    (third,) = poll(rss({"name": "1", "text": "Three."}))
    assert third["meta"]["supersedes"] == record_id("T\n\nTwo.")


def test_entries_with_one_id_are_told_apart_or_are_versions(poll):
    same = "<item><guid isPermaLink='false'>0</guid><title>{}</title><link>/{}</link>{}</item>"
    body = "".join(same.format(f"Title {n}", n, "") for n in range(3))
    documents = poll(f"<rss><channel>{body}</channel></rss>".encode())
    assert len(documents) == 3
    assert all("supersedes" not in document["meta"] for document in documents)
    dated = "<pubDate>0{} Jan 2026</pubDate><description>Version {}</description>"
    body = "".join(same.format("Title", 1, dated.format(n, n)) for n in (2, 3, 1))
    documents = poll(f"<rss><channel>{body}</channel></rss>".encode())
    assert texts(documents) == [f"Title\n\nVersion {n}" for n in (1, 2, 3)]
    assert [document["meta"].get("supersedes") for document in documents] == [None, *(d["id"] for d in documents[:2])]


def test_entries_that_share_a_link_are_not_each_others_edits(poll):
    item = "<item><title>{}</title><link>https://n.example/</link><description>{}</description></item>"
    body = "".join(item.format(f"Title {n}", f"Text {n}.") for n in range(3))
    documents = poll(f"<rss><channel>{body}</channel></rss>".encode())
    assert len(documents) == 3
    assert all("supersedes" not in document["meta"] for document in documents)


def test_new_names_for_old_entries_are_no_news_and_their_edits_are_known(poll):
    (first,) = poll(rss({"name": "http://n/1"}))
    assert poll(rss({"name": "https://n/1"})) == []
    (second,) = poll(rss({"name": "https://n/1", "text": "Corrected."}))
    assert second["meta"]["supersedes"] == first["id"]


def test_two_entries_with_one_text_come_once_and_neither_supersedes_the_other(poll):
    assert len(poll(rss({"name": "1"}, {"name": "2"}))) == 1
    (document,) = poll(rss({"name": "1"}, {"name": "2", "text": "Its own."}))
    assert "supersedes" not in document["meta"]


def test_an_entry_without_any_text_is_handed_on_once(poll):
    body = b"<rss><channel><item><link>/1</link></item><item><link>/2</link></item></channel></rss>"
    assert texts(poll(body)) == ["", ""]
    assert poll(body + b" ") == []


def test_what_is_remembered_is_small_and_bounded(poll, monkeypatch):
    monkeypatch.setattr(feed_memory, "KEEP_GONE", 10)
    monkeypatch.setattr(feed_memory, "KEEP_FORMER", 3)
    for week in range(10):
        items = [{"name": f"{week}-{n}", "title": f"{week} {n}"} for n in range(4)]
        assert len(poll(rss({"name": "edited", "text": str(week)}, *items))) == 5
    assert (len(poll.cursor["seen"]), len(poll.cursor["former"])) == (15, 3)
    assert len(json.dumps(poll.cursor["seen"], separators=(",", ":"))) < 15 * 52 + 2
    assert poll(rss(*items)) == []
    assert len(poll(rss({"name": "7-3", "title": "7 3"}))) == 0  # of the last ten that left
    assert len(poll(rss({"name": "0-0", "title": "0 0"}))) == 1


# ---- documents


def test_dates_in_the_future_are_claims(poll):
    rest = "<pubDate>{}</pubDate>"
    soon, far = "Mon, 02 Mar 2026 11:00:00 GMT", "Wed, 01 Jan 2098 00:00:00 GMT"
    near, future = poll(
        rss({"name": "1", "rest": rest.format(soon)}, {"name": "2", "title": "U", "rest": rest.format(far)})
    )
    assert (near["published"], near["meta"].get("claimed")) == ("2026-03-02T11:00:00Z", None)
    assert (future["published"], future["meta"]["claimed"]) == (None, "2098-01-01T00:00:00Z")


def test_what_a_person_said_of_the_feed_goes_into_the_record(poll):
    (document,) = poll(rss({"name": "1"}), options=Options(label="n", trust=0.5, tags=("a",), license="CC0-1.0"))
    assert document["ingest"] == {"name": "n", "trust": 0.5, "tags": ["a"]}
    assert document["license"] == "CC0-1.0"


def test_the_headline_is_not_said_twice(poll):
    assert texts(poll(rss({"name": "1", "title": "A  title", "text": "A title\n goes on."}))) == ["A title\n goes on."]
    assert texts(poll(rss({"name": "2", "title": "Two", "text": "Twofold."}))) == ["Two\n\nTwofold."]


# ---- transport


def test_gzip_bodies_are_read_however_they_are_declared(poll):
    packed = gzip.compress(rss({"name": "1"}))
    assert len(poll(packed, {"Content-Encoding": "gzip", "Content-Type": "application/rss+xml"})) == 1
    assert len(poll(gzip.compress(rss({"name": "2", "title": "U"})), {"Content-Type": "application/gzip"})) == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8", "latin-1", "gb2312"])
def test_any_encoding_under_any_declaration(poll, encoding):
    title = "\u65b0\u95fb" if encoding == "gb2312" else "F\u00fc\u00dfe"
    body = rss({"name": "1", "title": title}).decode().encode(encoding)
    declared = "gb2312" if encoding == "gb2312" else "iso-8859-1"
    (document,) = poll(body, {"Content-Type": f"text/xml; charset={declared}"})
    assert document["title"] == title


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"<!doctype html><title>Log in</title><p>Please log in", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "not a feed"),
        (b'{"error": 1}', "not a JSON Feed"),
        (gzip.compress(rss({"name": "1"}))[:-9], "cut short|truncated|damaged"),
    ],
)
def test_what_is_no_feed_fails_and_is_asked_for_again(poll, body, reason):
    with pytest.raises(SourceFailed, match=reason):
        poll(body, {"ETag": '"1"'})
    assert "http" not in poll.cursor and "body" not in poll.cursor
    assert len(poll(rss({"name": "1"}))) == 1


def test_a_bomb_and_a_gone_feed_are_told(poll, web):
    with pytest.raises(SourceFailed, match="inflates"):
        poll(gzip.compress(b" " * (80 << 20), 1))
    web.routes["/f"] = 410, {}, b""
    with pytest.raises(SourceFailed, match="gone for good"):
        poll()


def test_nothing_that_a_feed_declares_is_fetched(poll, web):
    head = f'<?xml version="1.0"?><!DOCTYPE r SYSTEM "{web.url}/dtd" [<!ENTITY x SYSTEM "{web.url}/x">]>'
    (document,) = poll(rss({"name": "1", "text": "a &x; b"}, head=head))
    assert "Words" not in document["text"]
    assert {path for path, _ in web.requests} <= {"/f", "/robots.txt"}


def test_a_line_of_ten_megabytes(poll):
    (document,) = poll(rss({"name": "1", "text": "word " * 2_000_000}))
    assert document["text"] == "T\n\n" + " ".join(["word"] * 2_000_000)


# ---- lists, files, stdin

LIST = b'<opml><body><outline xmlUrl="/gone"/><outline xmlUrl="/g"/><outline xmlUrl="ftp://a/b"/></body></opml>'


def test_the_feeds_of_a_list_are_included(poll, web):
    assert poll(LIST) == []
    assert poll.said.included == [f"{web.url}/gone", f"{web.url}/g"]
    assert poll.said.complaints == ["ftp://a/b: not the web address of a feed"]
    assert poll() == []
    assert poll.said.counts["unchanged"] == 1
    assert poll.said.included == [f"{web.url}/gone", f"{web.url}/g"]


def test_a_list_that_cannot_be_read_still_stands(poll, web):
    poll(LIST)
    web.routes["/f"] = 404, {}, b""
    with pytest.raises(SourceFailed):
        poll()
    assert len(poll.said.included) == 2


def test_a_list_of_local_files_names_no_local_files(tmp_path, context):
    (tmp_path / "l.opml").write_bytes(
        b'<opml><body><outline xmlUrl="file:///etc/passwd"/><outline xmlUrl="x.xml"/></body></opml>'
    )
    given = context("feed")
    assert list(feeds.read(str(tmp_path / "l.opml"), given)) == []
    assert (given.outlet.included, len(given.outlet.complaints)) == ([], 2)


def test_files_are_read_once_and_again_when_touched(tmp_path, context):
    path, cursor = tmp_path / "f.xml", {}
    path.write_bytes(gzip.compress(rss({"name": "1"})))
    (document,) = feeds.read(str(path), context("feed", cursor))
    assert (document["origin"], document["url"]) == ("f.xml", None)
    given = context("feed", cursor)
    assert list(feeds.read(str(path), given)) == []
    assert given.outlet.counts["unchanged"] == 1
    path.write_bytes(rss({"name": "1"}, {"name": "2", "title": "U"}))
    assert texts(feeds.read(str(path), context("feed", cursor))) == ["U\n\nWords."]


def test_folders_and_globs_of_captures_are_included_one_by_one(tmp_path, context):
    (tmp_path / "d").mkdir()
    for name in ("b.xml", "a.rss"):
        (tmp_path / "d" / name).write_bytes(rss({"name": name}))
    for locator, names in ((tmp_path / "d", ["a.rss", "b.xml"]), (tmp_path / "d" / "b*", ["b.xml"])):
        given = context("feed")
        assert list(feeds.read(str(locator), given)) == []
        assert given.outlet.included == [str(tmp_path / "d" / name) for name in names]
    with pytest.raises(SourceFailed, match="matches no file"):
        list(feeds.read(str(tmp_path / "x*"), context("feed")))


def test_a_feed_on_stdin(context, monkeypatch):
    monkeypatch.setattr(paths, "InputFile", lambda _: io.BytesIO(rss({"name": "1"})))
    (document,) = feeds.read("-", context("feed"))
    assert (document["text"], document["origin"]) == ("T\n\nWords.", "stdin")
