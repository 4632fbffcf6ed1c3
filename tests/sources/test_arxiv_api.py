"""Queries of arXiv's Atom API on the loopback: paging, polling, versions, and the server's known faults."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.arxiv import adapter as arxiv
from clet.sources.arxiv import atom_api
from clet.sources.web.fetch import HttpFailed
from clet.sources.web.page import Page

START = datetime(2026, 2, 1, tzinfo=UTC)
QUERY = "search_query=cat:cs.LG+AND+all:x"


class Direct:
    """A web without manners of its own, that notes those of its caller."""

    def __init__(self):
        self.manners = []

    def get(self, url, validators, manners):
        self.manners.append(manners)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return Page(answer.url, answer.read(), "application/atom+xml", "utf-8", {})
        except urllib.error.HTTPError as error:
            raise HttpFailed(error.code, f"HTTP {error.code}") from None


class Api:
    """The API: `papers[number]` is (version, hours after START, text). It serves at most `cap` entries a page."""

    def __init__(self, cap=4):
        self.papers, self.asked, self.cap = {}, [], cap
        self.fault = lambda arguments: None

    def get(self, path, _):
        """What the loopback server asks for a path."""
        arguments = dict(parse_qsl(urlsplit(path).query))
        self.asked.append(arguments)
        return self.fault(arguments) or (200, {}, self.answer(arguments).encode())

    def answer(self, arguments, empty=False):
        listed = sorted(self.papers.items(), key=lambda item: (-item[1][1], item[0]))
        if "id_list" in arguments:
            names = [name.partition("v")[0] for name in arguments["id_list"].split(",")]
            listed = [(name, self.papers[name]) for name in names if name in self.papers]
        start, size = int(arguments["start"]), min(int(arguments["max_results"]), self.cap)
        page = [] if empty else listed[start : start + size]
        return self.feed("".join(self.entry(name, *paper) for name, paper in page), len(listed))

    def entry(self, name, version, hours, text):
        return (
            f"<entry><id>http://arxiv.org/abs/{name}v{version}</id><title>Paper\n {name}</title>"
            f"<summary>{text}</summary><published>2026-01-01T00:00:00Z</published>"
            f"<updated>{START + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}</updated>"
            "<author><name>Ann Ng</name></author><arxiv:primary_category term='cs.LG'/>"
            "<category term='cs.LG'/><category term='stat.ML'/></entry>"
        )

    def feed(self, entries, total):
        return f"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:arxiv="http://arxiv.org/schemas/atom"
            xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/"><id>http://arxiv.org/api/x</id>
            <opensearch:totalResults>{total}</opensearch:totalResults>{entries}</feed>"""


@pytest.fixture
def api(web):
    web.routes = Api()
    for i in range(10):
        web.routes.papers[f"2601.0000{i}"] = (1, i, f"Finding {i}.")
    return web.routes


@pytest.fixture
def poll(web, context):
    """One poll: (texts that came out, context)."""

    def run(cursor=None, query=QUERY, **fields):
        made = context("arxiv", cursor, **({"web": Direct()} | fields))
        documents = list(arxiv.read(f"{web.url}/api/query?{query}", made))
        return documents, made

    return run


def texts(documents):
    return [document["text"].partition("\n\n")[2] for document in documents]


def findings(*numbers):
    return [f"Finding {number}." for number in numbers]


def test_all_pages_are_read_newest_first(api, poll):
    documents, made = poll()
    assert texts(documents) == findings(*range(9, -1, -1))
    assert [arguments["start"] for arguments in api.asked] == ["0", "4", "8"]
    newest_first = {"sortBy": "lastUpdatedDate", "sortOrder": "descending"}
    assert api.asked[0] == {"search_query": "cat:cs.LG AND all:x", "start": "0", "max_results": "200"} | newest_first
    assert made.outlet.complaints == []


def test_a_document_says_what_the_entry_says(api, poll):
    document = poll()[0][0]
    assert document["title"] == "Paper 2601.00009"
    assert document["url"] == "https://arxiv.org/abs/2601.00009"
    assert document["published"] == "2026-01-01T00:00:00Z"
    assert document["origin"] == "127.0.0.1"
    assert document["meta"] == {
        "arxiv": "2601.00009",
        "version": 1,
        "authors": ["Ann Ng"],
        "categories": ["cs.LG", "stat.ML"],
        "updated": "2026-02-01T09:00:00Z",
    }


def test_requests_keep_to_the_terms_of_use(api, poll):
    web = Direct()
    poll(web=web)
    assert {(manners.rate, manners.burst, manners.robots) for manners in web.manners} == {(1 / 3, 1, False)}


def test_a_later_poll_stops_at_what_was_seen(api, poll):
    _, made = poll()
    api.asked.clear()
    api.papers["2601.00010"] = (1, 20, "Finding 10.")
    documents, made = poll(made.cursor)
    assert texts(documents) == findings(10)
    assert len(api.asked) == 1
    assert poll(made.cursor)[0] == []


def test_a_new_version_supersedes_the_former_one(api, poll):
    documents, made = poll()
    before = next(document["id"] for document in documents if document["meta"]["arxiv"] == "2601.00003")
    api.papers["2601.00003"] = (2, 30, "Finding 3, corrected.")
    documents, _ = poll(made.cursor)
    assert [(document["meta"]["version"], document["meta"]["supersedes"]) for document in documents] == [(2, before)]


def test_a_paper_that_was_held_back_is_found_later(api, poll):
    _, made = poll()
    made.cursor["deep"] = "2026-01-01T00:00:00Z"
    api.papers["2601.00011"] = (1, -30, "Held back.")
    documents, made = poll(made.cursor)
    assert texts(documents) == ["Held back."]
    api.asked.clear()
    poll(made.cursor)
    assert len(api.asked) == 1  # not every poll looks so far back


def test_a_date_in_the_future_hides_nothing(api, poll):
    api.papers["2601.00013"] = (1, 24 * 365, "From the future.")
    _, made = poll()
    api.papers["2601.00014"] = (1, 24 * 40, "After the clock of the test.")
    assert texts(poll(made.cursor)[0]) == ["After the clock of the test."]
    assert made.cursor["newest"] == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize("number", range(11))
def test_an_interrupted_walk_goes_on_where_it_was(api, poll, web, context, number):
    made = context("arxiv", web=Direct())
    documents = arxiv.read(f"{web.url}/api/query?{QUERY}", made)
    first = [next(documents) for _ in range(min(number, 10))]
    cursor = json.loads(json.dumps(made.cursor))
    documents.close()
    api.papers["2601.00012"] = (1, 40, "Came meanwhile.")  # it moves all others down by one
    rest, made = poll(cursor)
    rest += poll(made.cursor)[0]
    assert sorted(texts(first + rest)) == sorted([*findings(*range(10)), "Came meanwhile."])


def test_a_cursor_of_the_last_wait_repeats_at_most_the_page(api, poll, web, context):
    made = context("arxiv", web=Direct())
    waits = []
    made.outlet.idle = lambda: waits.append(json.dumps(made.cursor))
    documents = arxiv.read(f"{web.url}/api/query?{QUERY}", made)
    first = [next(documents) for _ in range(7)]
    documents.close()
    rest, _ = poll(json.loads(waits[-1]))
    everything = texts(first + rest)
    assert sorted(set(everything)) == findings(*range(10))
    assert len(everything) <= 10 + 4


# ---- what the server does wrong


def test_an_error_entry_is_a_failure_in_its_words(api, poll):
    entry = "<id>https://arxiv.org/api/errors#x</id><title>Error</title><summary>incorrect id\n abc</summary>"
    api.fault = lambda arguments: (200, {}, api.feed(f"<entry>{entry}</entry>", 1).encode())
    with pytest.raises(SourceFailed, match="the API says: incorrect id abc"):
        poll()


def test_an_empty_page_in_the_middle_is_asked_for_again_with_another_size(api, poll, patience):
    def fault(arguments):
        if arguments["start"] == "4" and arguments["max_results"] in ("200", "100"):
            return 200, {}, api.answer(arguments, empty=True).encode()

    api.fault = fault
    documents, made = poll()
    assert texts(documents) == findings(*range(9, -1, -1))
    assert patience.slept == [3.0, 6.0]
    assert made.outlet.complaints == []


@pytest.mark.parametrize("answer", ["empty", "HTTP 500"])
def test_a_place_that_stays_dead_is_given_up_after_some_polls_and_said(api, poll, answer):
    def fault(arguments):
        if int(arguments["start"]) >= 4:
            return (500, {}, b"") if answer != "empty" else (200, {}, api.answer(arguments, empty=True).encode())

    api.fault = fault
    cursor = {}
    for _ in range(atom_api.GIVE_UP - 1):
        with pytest.raises(SourceFailed):
            poll(cursor)
        assert "newest" not in cursor  # nothing is taken for read
    _, made = poll(cursor)
    assert len(made.outlet.complaints) == 1 and "older results are missing" in made.outlet.complaints[0]
    api.fault = lambda arguments: None
    api.papers["2601.00010"] = (1, 20, "Finding 10.")
    came, _ = poll(cursor)
    assert texts(came) == findings(10)


def test_an_empty_first_page_fails_whenever_it_is_empty(api, poll):
    api.fault = lambda arguments: (200, {}, api.answer(arguments, empty=True).encode())
    for _ in range(atom_api.GIVE_UP + 1):
        with pytest.raises(SourceFailed, match="the API gives nothing from 0 on"):
            poll({})


def test_a_query_without_results_is_nothing_new(api, poll):
    api.papers.clear()
    documents, made = poll()
    assert documents == [] and made.outlet.complaints == []
    api.papers["2601.00010"] = (1, 20, "Finding 10.")
    assert texts(poll(made.cursor)[0]) == findings(10)


def test_pages_that_are_shorter_than_asked_lose_nothing(api, poll):
    api.cap = 1
    assert texts(poll()[0]) == findings(*range(9, -1, -1))


def test_what_lies_beyond_the_window_is_counted(api, poll, monkeypatch):
    monkeypatch.setattr(atom_api, "WINDOW", 6)
    documents, made = poll()
    assert texts(documents) == findings(9, 8, 7, 6, 5, 4)
    assert made.outlet.counts["beyond-window"] == 4
    assert max(int(each["start"]) + int(each["max_results"]) for each in api.asked) <= 6


def test_an_entry_of_something_else_is_told_and_passed_over(api, poll):
    entries = "<entry><id>urn:x</id><title>T</title></entry>" + api.entry("2601.00001", 1, 1, "Finding 1.")
    api.fault = lambda arguments: (200, {}, api.feed(entries, 2).encode())
    documents, made = poll()
    assert texts(documents) == findings(1)
    assert made.outlet.complaints == ["an entry without an arXiv identifier: urn:x"]


# ---- queries


def test_as_many_results_are_read_as_the_url_wants(api, poll):
    assert texts(poll(query=f"{QUERY}&start=2&max_results=3")[0]) == findings(7, 6, 5)


def test_a_query_by_relevance_is_read_whole_each_time(api, poll):
    _, made = poll(query=f"{QUERY}&sortBy=relevance")
    number = len(api.asked)
    api.papers["2601.00010"] = (1, -99, "Finding 10.")
    documents, _ = poll(made.cursor, query=f"{QUERY}&sortBy=relevance")
    assert texts(documents) == findings(10)
    assert len(api.asked) == 2 * number


def test_versions_that_were_asked_for_by_name_do_not_supersede_each_other(api, poll):
    entries = "".join(api.entry("2601.00001", version, 1, f"Version {version}.") for version in (2, 1))
    api.fault = lambda arguments: (200, {}, api.feed(entries, 2).encode())
    documents, _ = poll(query="id_list=2601.00001v2,2601.00001v1")
    assert texts(documents) == ["Version 2.", "Version 1."]
    assert not any("supersedes" in document["meta"] for document in documents)


def test_a_list_of_identifiers_is_not_sorted(api, poll):
    assert texts(poll(query="id_list=2601.00003,2601.00001,2601.99999")[0]) == findings(3, 1)
    assert "sortBy" not in api.asked[0]


@pytest.mark.parametrize(
    "query", ["", "search_query=", f"{QUERY}&start=-1", f"{QUERY}&start=10000", f"{QUERY}&max_results=many"]
)
def test_a_url_that_asks_nothing_is_refused(api, poll, query):
    with pytest.raises(SourceFailed):
        poll(query=query)
    assert api.asked == []


def test_the_fetcher_keeps_three_seconds_between_pages(api, poll, fetcher, patience):
    documents, _ = poll(web=fetcher())
    assert texts(documents) == findings(*range(9, -1, -1))
    assert len([seconds for seconds in patience.slept if seconds > 2]) == len(api.asked) - 1
