"""`full_text`: the page behind an entry where it says more, else the entry's own text, and nothing lost between."""

import json

import pytest

from clet.record import raw_hash
from clet.sources.adapter import Options, SourceFailed
from clet.sources.feed import adapter as feeds
from clet.sources.feed.pages import MAX_TRIES, MAX_WAITING, is_about

SUMMARY = "The harbour council approved the northern ferry terminal on Monday evening."
ARTICLE = (
    f"<p>{SUMMARY} Construction begins in spring, and the first vessels are expected within two years.</p>"
    "<p>Opponents had argued that the estuary would suffer; the council ordered a study of the marshes and of the "
    "birds that rest there in autumn, and promised to publish its findings before any pile is driven.</p>"
)
CONSENT = "<p>We value your privacy. We and our partners store and access information on a device.</p>" * 9


def page(content=ARTICLE):
    body = f"<body><nav>Home</nav><article>{content}</article></body>"
    return f"<!doctype html><html lang=en><title>Page</title>{body}</html>".encode()


def feed(*names, title="Ferry", text=SUMMARY, updated=""):
    item = "<entry><id>{0}</id><title>{1}{0}</title><link href='/{0}'/>{3}<summary>{2}</summary></entry>"
    entries = "".join(item.format(name, title, text, updated) for name in names)
    return f'<feed xmlns="http://www.w3.org/2005/Atom">{entries}</feed>'.encode()


@pytest.fixture
def poll(web, fetcher, context):
    state = {"cursor": "{}"}

    def once(body=None, **options):
        if body is not None:
            web.routes["/f"] = 200, {}, body
        given = context(
            "feed",
            json.loads(state["cursor"]),
            web=fetcher(tries=1),
            options=Options(**({"full_text": True} | options)),
        )
        once.counts, once.cursor = given.outlet.counts, given.cursor
        documents = []
        try:
            for document in feeds.read(f"{web.url}/f", given):
                documents.append(document)
        except SourceFailed as failure:
            once.failure = failure
        state["cursor"] = json.dumps(given.cursor)
        return documents

    return once


def asked(web, path):
    return sum(each == path for each, _ in web.requests)


def html(web, path, body=None, status=200, **headers):
    web.routes[path] = status, {"Content-Type": "text/html; charset=utf-8"} | headers, page() if body is None else body


def test_the_pages_main_text_replaces_a_shorter_one(poll, web):
    html(web, "/1")
    (document,) = poll(feed("1"))
    assert document["text"].startswith(f"Ferry1\n\n{SUMMARY} Construction begins")
    assert "Home" not in document["text"]
    assert document["raw"] == raw_hash(page())
    assert document["meta"]["feed_raw"] == raw_hash(feed("1"))
    assert "page" not in document["meta"]
    assert (document["title"], document["url"], document["lang"]) == ("Ferry1", f"{web.url}/1", "en")
    assert poll.counts["full-text"] == 1
    assert poll() == []
    assert asked(web, "/1") == 1


def test_where_a_link_leads_is_told(poll, web):
    web.routes["/1"] = 302, {"Location": "/elsewhere"}, b""
    html(web, "/elsewhere")
    (document,) = poll(feed("1"))
    assert document["url"] == f"{web.url}/1"
    assert document["meta"]["page"] == f"{web.url}/elsewhere"


def test_pages_are_not_asked_for_unless_wanted(poll, web):
    html(web, "/1")
    (document,) = poll(feed("1"), full_text=False)
    assert document["text"] == f"Ferry1\n\n{SUMMARY}"
    assert asked(web, "/1") == 0


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", page(CONSENT)),
        (200, "text/html", page("<p>Short.</p>")),
        (200, "text/html", b""),
        (200, "application/pdf", b"%PDF-1.7"),
        (200, "text/html", b"\0\1\2\3" * 500),
        (404, "text/html", page()),
        (403, "text/html", page()),
        (410, "text/html", page()),
    ],
)
def test_what_is_not_the_entrys_page_leaves_its_own_text(poll, web, status, kind, body):
    web.routes["/1"] = status, {"Content-Type": kind}, body
    (document,) = poll(feed("1"))
    assert document["text"] == f"Ferry1\n\n{SUMMARY}"
    assert "feed_raw" not in document["meta"]
    assert poll.counts["full-text-failed"] == 1
    assert poll() == []


def test_robots_are_obeyed_at_once(poll, web):
    web.routes["/robots.txt"] = 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /1\n"
    html(web, "/1")
    (document,) = poll(feed("1"))
    assert document["text"] == f"Ferry1\n\n{SUMMARY}"
    assert asked(web, "/1") == 0


def test_a_page_that_does_not_answer_is_asked_for_at_later_polls(poll, web):
    web.routes["/1"] = 500, {}, b""
    assert poll(feed("1")) == []
    assert poll.counts["full-text-later"] == 1
    assert poll() == []  # the feed is the same; the page is asked for all the same
    html(web, "/1")
    (document,) = poll()
    assert "Construction begins" in document["text"]
    assert "waiting" not in poll.cursor
    assert poll() == []


def test_an_entry_comes_out_with_its_own_text_in_the_end_though_it_left_the_feed(poll, web):
    web.routes["/1"] = 500, {}, b""
    html(web, "/2")
    assert poll(feed("1")) == []
    assert len(poll(feed("2", title="Other"))) == 1
    for _ in range(MAX_TRIES - 3):
        assert poll() == []
    (document,) = poll()
    assert document["text"] == f"Ferry1\n\n{SUMMARY}"
    assert (poll.counts["full-text-failed"], asked(web, "/1")) == (1, MAX_TRIES)
    assert poll() == []
    assert "waiting" not in poll.cursor


@pytest.mark.parametrize(("status", "reason"), [(410, "gone"), (200, "an HTML page")])
def test_what_waits_goes_on_while_the_feed_itself_fails(poll, web, status, reason):
    web.routes["/1"] = 500, {}, b""
    assert poll(feed("1")) == []
    web.routes["/f"] = status, {}, page()
    html(web, "/1")
    assert len(poll()) == 1
    assert reason in str(poll.failure)


def test_an_entry_that_is_edited_while_it_waits_comes_out_once_in_its_last_version(poll, web):
    web.routes["/1"] = 500, {}, b""
    assert poll(feed("1")) == []
    html(web, "/1")
    (document,) = poll(feed("1", title="New ferry"))
    assert document["title"] == "New ferry1"
    assert "supersedes" not in document["meta"]
    assert poll() == []


def test_a_dead_host_costs_two_tries_a_poll(poll, web):
    names = [str(n) for n in range(9)]
    for name in names:
        web.routes[f"/{name}"] = 500, {}, b""
    assert poll(feed(*names)) == []
    assert sum(asked(web, f"/{name}") for name in names) == 2
    assert len(poll.cursor["waiting"]) == 9
    for _ in range(MAX_TRIES - 2):
        assert poll() == []
    assert len(poll()) == 9


def test_what_waits_is_bounded(poll, web):
    names = [str(n) for n in range(MAX_WAITING + 5)]
    for name in names:
        web.routes[f"/{name}"] = 500, {}, b""
    assert len(poll(feed(*names))) == 5
    assert len(poll.cursor["waiting"]) == MAX_WAITING


def test_a_new_date_has_the_page_read_again(poll, web):
    html(web, "/1")
    date = "<updated>2026-01-0{}T00:00:00Z</updated>"
    (first,) = poll(feed("1", updated=date.format(1)))
    html(web, "/1", page(ARTICLE + "<p>Correction: the vessels are expected in three years.</p>"))
    (second,) = poll(feed("1", updated=date.format(2)))
    assert second["meta"]["supersedes"] == first["id"]
    assert poll(feed("1", updated=date.format(3))) == []  # and nothing new stood there


def test_two_links_to_one_page_give_one_document(poll, web):
    html(web, "/1")
    html(web, "/2")
    same = b"<id>2</id><title>Ferry1</title><link href='/2'/><summary>The harbour council approved</summary>"
    body = feed("1").replace(b"</feed>", b"<entry>" + same + b"</entry></feed>")
    assert len(poll(body)) == 1
    assert poll.counts["seen"] == 1


def test_only_the_words_of_the_entry_make_a_page_its_page():
    assert is_about(ARTICLE, "Ferry", SUMMARY)
    assert not is_about(CONSENT, "Ferry", SUMMARY)
    assert is_about("anything", None, "")
    chinese = "\u6e2f\u53e3\u59d4\u5458\u4f1a\u6279\u51c6\u4e86\u65b0\u7684\u6e21\u8f6e\u7801\u5934"
    assert is_about(f"{chinese}\u3002\u5efa\u8bbe\u5c06\u4e8e\u6625\u5929\u5f00\u59cb", None, chinese)
    assert not is_about("\u6211\u4eec\u91cd\u89c6\u60a8\u7684\u9690\u79c1", None, chinese)
