"""Harvests of a small repository on the loopback: pages, tokens, edits, deletions, faults, and kills anywhere."""

import json
import math
import urllib.error
import urllib.request
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

import pytest

from clet.record import record_id
from clet.sources.adapter import SourceFailed
from clet.sources.arxiv import adapter as arxiv
from clet.sources.arxiv import oai_pmh
from clet.sources.web.fetch import HttpFailed
from clet.sources.web.page import Page

PAGE = 5


class Direct:
    """A web without manners of its own, that notes those of its caller."""

    def __init__(self):
        self.manners = []

    def get(self, url, validators, manners):
        self.manners.append(manners)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return Page(answer.url, answer.read(), "text/xml", "utf-8", {})
        except urllib.error.HTTPError as error:
            raise HttpFailed(error.code, f"HTTP {error.code}") from None


class Repository:
    """An OAI-PMH 2.0 server: `records[name]` is [datestamp, text or None where deleted]. Its tokens are odd."""

    def __init__(self, *, seconds, now="2026-02-20T10:00:00Z"):
        self.seconds, self.now = seconds, now
        self.records, self.asked, self.answers = {}, [], []
        self.expired = False
        self.on_page = lambda number: None

    def add(self, name, datestamp, text):
        self.records[name] = [datestamp if self.seconds else datestamp[:10], text]

    def get(self, path, _):
        """What the loopback server asks for a path."""
        self.path, arguments = path, dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
        self.asked.append(arguments)
        if self.answers:
            answer = self.answers.pop(0)
            if answer is not None:
                return answer if isinstance(answer, tuple) else (200, {}, answer.encode())
        return 200, {"Content-Type": "text/xml"}, self.reply(arguments).encode()

    def reply(self, arguments):
        start, since, until = 0, arguments.get("from", ""), arguments.get("until", "9")
        if "resumptionToken" in arguments:
            if set(arguments) - {"repo"} != {"verb", "resumptionToken"}:
                return self.error("badArgument", "resumptionToken is exclusive")
            if self.expired:
                return self.error("badResumptionToken", "expired")
            start, since, until = json.loads(arguments["resumptionToken"].removeprefix("a b+%20&\u00e9"))
        elif "T" in since and not self.seconds:
            return self.error("badArgument", "only days")
        size = len(since) or 20
        listed = [
            (name, record)
            for name, record in sorted(self.records.items(), key=lambda item: (item[1][0], item[0]))
            if record[0][:size] >= since and record[0][: len(until)] <= until
        ]
        if not listed:
            return self.error("noRecordsMatch", "nothing")
        page, more = listed[start : start + PAGE], start + PAGE < len(listed)
        self.on_page(len(self.asked))
        token = escape("a b+%20&\u00e9" + json.dumps([start + PAGE, since, until])) if more else ""
        body = "".join(self.record(name, *record) for name, record in page)
        return self.envelope(
            f"<ListRecords>{body}<resumptionToken completeListSize='3' cursor='-7'>{token}</resumptionToken>"
            "</ListRecords>"
        )

    def record(self, name, datestamp, text):
        status = ' status="deleted"' if text is None else ""
        metadata = (
            ""
            if text is None
            else f"""<metadata><oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/"
              xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Paper {name}</dc:title>
              <dc:description>{escape(text)}</dc:description><dc:date>2020-01-02</dc:date></oai_dc:dc></metadata>"""
        )
        return (
            f"<record><header{status}><identifier>oai:lib:{name}</identifier><datestamp>{datestamp}</datestamp></header>"
            f"{metadata}</record>"
        )

    def error(self, code, words):
        return self.envelope(f'<error code="{code}">{words}</error>')

    def envelope(self, body):
        return f"""<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">
            <responseDate>{self.now}</responseDate><request>http://elsewhere.org/oai</request>{body}</OAI-PMH>"""


def filled(repository, number=23, deleted=(4, 11, 17)):
    for i in range(number):
        day = 1 + i // 3
        text = None if i in deleted else f"What paper {i} finds."
        repository.add(f"{i:02}", f"2026-02-{day:02}T08:{i:02}:00Z", text)
    return repository


@pytest.fixture(params=[True, False], ids=["seconds", "days"])
def repository(request, web):
    web.routes = filled(Repository(seconds=request.param))
    return web.routes


@pytest.fixture
def harvest(web, context):
    """Runs the adapter on the loopback repository: `harvest(cursor)` is (documents, context)."""

    def run(cursor=None, query="", **fields):
        made = context("arxiv", cursor, **({"web": Direct()} | fields))
        return list(arxiv.read(f"{web.url}/oai{query}", made)), made

    return run


def texts(documents):
    return [document["text"].partition("\n\n")[2] for document in documents if document["text"]]


def gone(documents):
    return [document["meta"]["oai"] for document in documents if document["meta"].get("deleted")]


def live(repository):
    return sorted(text for _, text in repository.records.values() if text is not None)


def test_every_record_of_every_page_comes_out_once(repository, harvest):
    documents, made = harvest()
    assert sorted(texts(documents)) == live(repository)
    assert sorted(gone(documents)) == ["oai:lib:04", "oai:lib:11", "oai:lib:17"]
    assert len(repository.asked) == math.ceil(23 / PAGE)
    assert "a%20b%2B%2520%26%C3%A9" in repository.path
    assert repository.asked[0] == {"verb": "ListRecords", "metadataPrefix": "oai_dc"}
    assert made.outlet.complaints == []


def test_a_document_says_what_the_record_says(repository, harvest):
    document = harvest()[0][0]
    assert document["text"] == "Paper 00\n\nWhat paper 0 finds."
    assert document["origin"] == "127.0.0.1"  # by the address that answered, not by what the answer claims
    assert document["published"] == "2020-01-02T00:00:00Z"
    assert document["meta"]["oai"] == "oai:lib:00"
    assert len(document["raw"]) == 64


def test_requests_keep_to_the_terms_of_use(repository, harvest):
    web = Direct()
    harvest(web=web)
    assert {(manners.rate, manners.burst, manners.robots) for manners in web.manners} == {(1 / 3, 1, False)}


def test_the_next_harvest_begins_at_the_date_of_the_first_page(repository, harvest):
    dates = iter(["2026-02-20T10:00:00Z", *["2026-02-20T10:00:09Z"] * 4])
    repository.on_page = lambda _: setattr(repository, "now", next(dates))
    _, made = harvest()
    repository.on_page = lambda _: None
    made.cursor["deep"] = "2026-03-01T00:00:00Z"
    repository.add("00", "2026-02-20T09:00:00Z", "An older change.")
    repository.add("01", "2026-02-20T10:00:00Z", "A change in that second.")
    documents, _ = harvest(made.cursor)
    assert repository.asked[-1]["from"] == ("2026-02-20T10:00:00Z" if repository.seconds else "2026-02-20")
    assert texts(documents)[-1] == "A change in that second."


def test_what_an_overlap_lists_again_does_not_come_out_again(repository, harvest):
    repository.now = "2026-02-05T09:00:00Z"  # in the midst of the records
    _, made = harvest()
    documents, again = harvest(made.cursor)
    assert documents == []
    assert again.outlet.counts["seen"] > 0


def test_an_edited_record_supersedes_the_former_one(repository, harvest):
    documents, made = harvest()
    before = {document["meta"]["oai"]: document["id"] for document in documents}
    repository.add("03", "2026-02-21T08:00:00Z", "Corrected.")
    documents, made = harvest(made.cursor)
    assert texts(documents) == ["Corrected."]
    assert documents[0]["meta"]["supersedes"] == before["oai:lib:03"]
    assert harvest(made.cursor)[0] == []


def test_a_deletion_names_the_record_and_comes_out_once(repository, harvest):
    documents, made = harvest()
    before = {document["meta"]["oai"]: document["id"] for document in documents}
    repository.add("05", "2026-02-21T08:00:00Z", None)
    documents, made = harvest(made.cursor)
    assert [(document["id"], document["meta"]["deleted"]) for document in documents] == [(before["oai:lib:05"], True)]
    assert harvest(made.cursor)[0] == []
    repository.add("05", "2026-02-22T08:00:00Z", "What paper 5 finds.")
    documents, _ = harvest(made.cursor)
    assert texts(documents) == ["What paper 5 finds."]


def test_a_record_that_changes_while_pages_are_read_is_not_lost(repository, harvest):
    def change(number):
        if number == 3:  # its record was passed already, in its former place
            repository.add("00", "2026-02-20T10:00:01Z", "Changed meanwhile.")
            repository.now = "2026-02-20T10:00:02Z"

    repository.on_page = change
    documents, made = harvest()
    later, _ = harvest(made.cursor)
    assert "Changed meanwhile." in texts(documents + later)


def test_a_record_that_the_index_shows_late_is_found(repository, harvest):
    _, made = harvest()
    made.cursor["deep"] = made.cursor["from"] = "2026-02-27T10:00:00Z"  # two days before the clock of the test
    repository.now = "2026-03-01T09:00:00Z"
    repository.add("late", "2026-02-26T23:00:00Z", "Shown late.")
    documents, made = harvest(made.cursor)
    assert texts(documents) == ["Shown late."]
    assert made.cursor["deep"] == "2026-03-01T09:00:00Z"
    harvest(made.cursor)
    assert repository.asked[-1]["from"][:10] == "2026-03-01"  # and not every time


def test_a_clock_of_the_server_in_the_future_loses_nothing(repository, harvest):
    repository.now = "2031-01-01T00:00:00Z"
    _, made = harvest()
    repository.add("new", "2026-03-01T13:00:00Z", "New.")
    assert texts(harvest(made.cursor)[0]) == ["New."]


# ---- killed


@pytest.mark.parametrize("number", range(0, 24, 3))
def test_an_interrupted_harvest_goes_on_where_it_was(repository, web, context, harvest, number):
    made = context("arxiv", web=Direct())
    documents = arxiv.read(f"{web.url}/oai", made)
    first = [next(documents) for _ in range(min(number, 23))]
    cursor = json.loads(json.dumps(made.cursor))
    documents.close()
    rest, _ = harvest(cursor)
    assert sorted(texts(first + rest)) == live(repository)  # nothing lost, nothing twice
    assert len(repository.asked) <= math.ceil(23 / PAGE) + 1


def test_a_cursor_of_the_last_wait_repeats_at_most_the_page(repository, web, context, harvest):
    made = context("arxiv", web=Direct())
    waits = []
    made.outlet.idle = lambda: waits.append(json.dumps(made.cursor))
    documents = arxiv.read(f"{web.url}/oai", made)
    first = [next(documents) for _ in range(13)]
    documents.close()
    rest, _ = harvest(json.loads(waits[-1]))
    everything = texts(first + rest)
    assert sorted(set(everything)) == live(repository)
    assert len(everything) - len(set(everything)) <= PAGE


def test_an_interrupted_harvest_sends_nothing_but_its_token(repository, web, context, harvest):
    made = context("arxiv", web=Direct())
    documents = arxiv.read(f"{web.url}/oai?set=physics%3Ahep&from=2026-01-01", made)
    for _ in range(PAGE + 1):
        next(documents)
    documents.close()
    repository.asked.clear()
    harvest(made.cursor, "?set=physics%3Ahep&from=2026-01-01")
    assert set(repository.asked[0]) == {"verb", "resumptionToken"}


def test_an_expired_token_starts_the_harvest_again(repository, web, context, harvest):
    made = context("arxiv", web=Direct())
    documents = arxiv.read(f"{web.url}/oai", made)
    first = [next(documents) for _ in range(12)]
    documents.close()
    repository.asked.clear()
    repository.expired = True
    repository.on_page = lambda _: setattr(repository, "expired", False)
    rest, again = harvest(made.cursor)
    assert sorted(texts(first + rest)) == live(repository)
    assert again.outlet.counts["restarts"] == 1
    assert "resumptionToken" not in repository.asked[1]


def test_a_token_that_expires_again_and_again_is_a_failure(repository, harvest):
    repository.expired = True
    with pytest.raises(SourceFailed, match="badResumptionToken: expired"):
        harvest()


def test_a_token_that_gets_http_errors_is_given_up_after_some_runs(repository, harvest):
    cursor = {}
    repository.answers = [None, *[(500, {}, b"")] * oai_pmh.TOKEN_FAILURES]
    for _ in range(oai_pmh.TOKEN_FAILURES):
        with pytest.raises(SourceFailed, match="HTTP 500"):
            harvest(cursor)
    documents, _ = harvest(cursor)
    assert "resumptionToken" not in repository.asked[oai_pmh.TOKEN_FAILURES + 1]
    assert len(texts(documents)) == len(live(repository)) - (PAGE - 1)  # the first page came out before


def test_an_unreachable_server_keeps_its_token(repository, harvest):
    cursor = {}
    repository.answers = [None, *[(503, {}, b"")] * 5]
    for _ in range(5):
        with pytest.raises(SourceFailed, match="HTTP 503"):
            harvest(cursor)
    token = cursor["harvest"]["token"]
    harvest(cursor)
    assert repository.asked[-4]["resumptionToken"] == token


# ---- what servers do wrong


@pytest.mark.parametrize(
    "code",
    ["badArgument", "badVerb", "cannotDisseminateFormat", "idDoesNotExist", "noSetHierarchy", "badResumptionToken"],
)
def test_an_error_is_told_in_the_words_of_the_server_on_one_line(repository, harvest, code):
    repository.answers = [repository.error(code, "no\n  such &#x9b;31m thing")]
    with pytest.raises(SourceFailed) as failure:
        harvest()
    assert str(failure.value) == f"{code}: no such 31m thing"


def test_no_records_match_is_nothing_new(repository, harvest):
    repository.answers = [repository.error("noRecordsMatch", "nothing")]
    documents, made = harvest()
    assert documents == []
    assert made.cursor["from"] == repository.now
    repository.add("later", "2026-02-20T11:00:00Z", "Later.")
    assert texts(harvest(made.cursor)[0]) == ["Later."]


def test_a_server_that_refuses_seconds_is_asked_for_days(web, harvest):
    web.routes = repository = filled(Repository(seconds=True))
    _, made = harvest()
    repository.answers = [repository.error("badArgument", "from is not a day")]
    repository.add("later", "2026-02-20T11:00:00Z", "Later.")
    documents, made = harvest(made.cursor)
    assert texts(documents) == ["Later."]
    assert repository.asked[-1]["from"] == repository.asked[-2]["from"][:10]
    harvest(made.cursor)
    assert len(repository.asked[-1]["from"]) == 10


def test_a_token_that_comes_again_ends_in_a_failure(repository, harvest):
    body = repository.record("x", "2026-02-01", "X.")
    page = repository.envelope(f"<ListRecords>{body}<resumptionToken>same</resumptionToken></ListRecords>")
    repository.answers = [page] * 9
    with pytest.raises(SourceFailed, match="came twice"):
        harvest()
    assert len(repository.asked) == 2


def test_pages_without_records_end_in_a_failure_that_keeps_the_place(repository, harvest, monkeypatch):
    monkeypatch.setattr(oai_pmh, "EMPTY_PAGES", 3)
    repository.answers = [
        repository.envelope(f"<ListRecords><resumptionToken>t{i}</resumptionToken></ListRecords>") for i in range(9)
    ]
    cursor = {}
    with pytest.raises(SourceFailed, match="3 pages without a record"):
        harvest(cursor)
    assert cursor["harvest"]["token"] == "t2"


def test_a_list_of_endless_pages_is_given_up(repository, harvest, monkeypatch):
    monkeypatch.setattr(oai_pmh, "MAX_PAGES", 4)
    monkeypatch.setattr(
        repository,
        "reply",
        lambda arguments: repository.envelope(
            f"<ListRecords>{repository.record('x', '2026-02-01', 'X.')}"
            f"<resumptionToken>t{len(repository.asked)}</resumptionToken></ListRecords>"
        ),
    )
    with pytest.raises(SourceFailed, match="over 4 pages"):
        harvest()


@pytest.mark.parametrize("body", ["broken xml", "<html><body>Service</body></html>", "", "<rss version='2.0'/>"])
def test_what_is_no_reply_fails_and_changes_nothing(repository, harvest, body):
    _, made = harvest()
    before = json.dumps(made.cursor)
    repository.answers = [body]
    with pytest.raises(SourceFailed):
        harvest(made.cursor)
    assert json.dumps(made.cursor) == before


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
def test_a_page_that_is_cut_short_is_never_the_end_of_the_list(repository, harvest, kept):
    whole = repository.reply({})
    repository.asked.clear()
    repository.answers = [None, whole[: int(len(whole) * kept)]]
    cursor = {}
    with pytest.raises(SourceFailed, match=r"cut short|damaged"):
        harvest(cursor)
    assert "from" not in cursor
    rest, _ = harvest(cursor)
    assert cursor["from"] and len(texts(rest)) == len(live(repository)) - (PAGE - 1)


def test_a_damaged_record_is_told_and_the_others_are_read(repository, harvest):
    records = repository.record("a", "2026-02-01", "A.") + "<record><header><x></header></record>"
    records += repository.record("b", "2026-02-01", "B.")
    repository.answers = [repository.envelope(f"<ListRecords>{records}</ListRecords>")]
    documents, made = harvest()
    assert "A." in texts(documents)
    assert any("not well-formed" in complaint for complaint in made.outlet.complaints)


def test_records_without_identifier_or_text_are_passed_over_and_said(repository, harvest):
    header = "<header><datestamp>2026-02-01</datestamp></header>"
    records = f"<record><header status='deleted'/></record><record>{header}</record>"
    records += f"<record>{header}<metadata><x><title>Only a title</title></x></metadata></record>"
    records += "<record><header><identifier>i</identifier></header><metadata><x><n>1</n></x></metadata></record>"
    repository.answers = [repository.envelope(f"<ListRecords>{records}</ListRecords>")]
    documents, made = harvest()
    assert [document["text"] for document in documents] == ["Only a title"]
    assert len(made.outlet.complaints) == 2
    assert made.outlet.counts["without-text"] == 1


# ---- requests


def test_a_selection_in_the_url_is_kept(repository, web, harvest):
    query = "repo=7&verb=ListRecords&metadataPrefix=mods&set=a:b&from=2026-02-03&until=2026-02-04"
    harvest(query=f"?{query}")
    assert repository.asked[0] == dict(parse_qsl(query))


def test_a_selection_that_ended_is_not_asked_for_again(repository, harvest):
    _, made = harvest(query="?until=2026-02-04")
    repository.asked.clear()
    assert harvest(made.cursor, "?until=2026-02-04")[0] == []
    assert repository.asked == []


def test_one_record_can_be_asked_for(repository, harvest):
    body = repository.record("a", "2026-02-01", "A.")
    repository.answers = [repository.envelope(f"<GetRecord>{body}</GetRecord>")] * 2
    documents, made = harvest(query="?verb=GetRecord&identifier=oai:lib:a")
    assert texts(documents) == ["A."]
    assert repository.asked == [{"verb": "GetRecord", "identifier": "oai:lib:a", "metadataPrefix": "oai_dc"}]
    assert harvest(made.cursor, "?verb=GetRecord&identifier=oai:lib:a")[0] == []


@pytest.mark.parametrize("query", ["?verb=Identify", "?verb=ListSets", "?verb=ListRecords&resumptionToken=x"])
def test_a_url_that_lists_no_records_is_refused(repository, harvest, query):
    with pytest.raises(SourceFailed):
        harvest(query=query)
    assert repository.asked == []


# ---- what is known


def test_a_forgotten_record_comes_out_with_the_same_id(repository, harvest):
    _, made = harvest()
    repository.add("03", "2026-02-20T12:00:00Z", "What paper 3 finds.")
    made.cursor["known"] = [{}, {}]
    documents, _ = harvest(made.cursor)
    assert [document["id"] for document in documents] == [record_id("Paper 03\n\nWhat paper 3 finds.")]


# ---- through the real fetcher


def test_the_fetcher_keeps_three_seconds_between_pages(repository, harvest, fetcher, patience):
    documents, _ = harvest(web=fetcher())
    assert sorted(texts(documents)) == live(repository)
    assert len([seconds for seconds in patience.slept if seconds > 2]) == len(repository.asked) - 1


def test_the_fetcher_waits_as_a_busy_server_asks(repository, harvest, fetcher, patience):
    repository.answers = [None, (503, {"Retry-After": "17"}, b"")]
    documents, _ = harvest(web=fetcher())
    assert sorted(texts(documents)) == live(repository)
    assert max(patience.slept) >= 16
