"""The EDGAR adapter: listings followed to their filings, each filing once, nothing lost wherever a run ends."""

import gzip
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from clet.sources.adapter import Options, SourceFailed
from clet.sources.edgar import adapter, backlog, current
from clet.sources.web.fetch import Fetcher, HttpFailed, Limits
from clet.sources.web.page import Page

LIMITED = (
    b"<html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head><body><h1>Slow</h1></body></html>"
)
LISTING = "https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent&output=atom"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def accession(number):
    return f"0000000777-26-{number:06d}"


def submission(number, form="8-K", *, exhibits=0):
    parts = [f"<DOCUMENT>\n<TYPE>{form}\n<SEQUENCE>1\n<TEXT>\n<html><p>Filing {number}.</html>\n</TEXT>\n</DOCUMENT>\n"]
    for n in range(exhibits):
        parts.append(
            f"<DOCUMENT>\n<TYPE>EX-99.{n}\n<SEQUENCE>2\n<TEXT>\nExhibit {n} of {number}.\n</TEXT>\n</DOCUMENT>\n"
        )
    return (
        f"<SEC-DOCUMENT>{accession(number)}.txt : 20260301\n<SEC-HEADER>\n<ACCEPTANCE-DATETIME>20260227120000\n"
        f"ACCESSION NUMBER:\t\t{accession(number)}\nCONFORMED SUBMISSION TYPE:\t{form}\nFILED AS OF DATE:\t20260227\n\n"
        "FILER:\n\n\tCOMPANY DATA:\n\t\tCOMPANY CONFORMED NAME:\tWIDGET\n\t\tCENTRAL INDEX KEY:\t0000000777\n"
        f"</SEC-HEADER>\n{''.join(parts)}</SEC-DOCUMENT>\n"
    ).encode()


def entry(number, form="8-K", minute=None):
    moment = datetime(2026, 2, 27, 14, tzinfo=UTC) + timedelta(minutes=number if minute is None else minute)
    return (
        f"<entry><title>{form} - W (0000000777) (Filer)</title><link href='https://www.sec.gov/Archives/edgar/data/777/x'/>"
        f"<updated>{moment.isoformat()}</updated><category term='{form}'/>"
        f"<id>urn:tag:sec.gov,2008:accession-number={accession(number)}</id></entry>"
    )


def atom(entries):
    return f"<?xml version='1.0' encoding='ISO-8859-1'?><feed xmlns='http://www.w3.org/2005/Atom'>{''.join(entries)}</feed>".encode()


class Edgar:
    """A web that is EDGAR: a current-filings listing of `entries`, newest first, and the filings it names."""

    def __init__(self, entries=(), page_size=2):
        self.entries = list(entries)
        self.page_size = page_size
        self.bodies = {}
        self.failures = {}
        self.asked = []
        self.manners = set()

    def get(self, url, validators, manners=None):
        self.asked.append(url)
        self.manners.add(manners)
        for name, failure in self.failures.items():
            if name in url:
                raise failure
        if "browse-edgar" in url:
            start = int((re.search(r"start=(\d+)", url) or ["", "0"])[1])
            body = atom(self.entries[start : start + self.page_size])
        elif match := re.search(r"-26-(\d{6})\.txt$", url):
            body = self.bodies.get(url) or submission(int(match[1]))
        else:
            body = self.bodies[url]
        return Page(url, body, "", None, {"url": url, "etag": "e"})

    def download(self, url, folder, validators, manners=None):
        raise AssertionError(f"too large for memory: {url}")

    @property
    def filings(self):
        """Numbers of the filings that were asked for."""
        return [int(url[-10:-4]) for url in self.asked if url.endswith(".txt")]


@pytest.fixture
def run(context):
    """`run(locator, web, cursor)`: (texts, cursor as it would be stored, what was said, the failure if any)."""

    def read(locator, web, cursor=None, *, now=NOW, stop_after=None, **options):
        made = context("edgar", json.loads(json.dumps(cursor or {})), web=web, options=Options(**options))
        made.now = now
        texts, failure = [], None
        documents = adapter.read(locator, made)
        try:
            for document in documents:
                texts.append(document["text"])
                if len(texts) == stop_after:
                    break
        except SourceFailed as error:
            failure = error
        kept = json.loads(json.dumps(made.cursor))
        documents.close()
        return texts, kept, made.outlet, failure

    return read


# ---- the current filings


def test_pages_are_followed_and_filings_come_oldest_first_and_once(run):
    web = Edgar([entry(n) for n in (5, 5, 4, 3, 2, 1)])
    texts, cursor, _, failure = run(LISTING, web)
    assert texts == [f"Filing {n}." for n in (1, 2, 3, 4, 5)] and failure is None
    assert web.asked[0] == f"{LISTING}&count=100"
    assert {manners.rate for manners in web.manners} == {8.0}
    assert all(manners.contact and not manners.robots for manners in web.manners)
    assert run(LISTING, web, cursor)[0] == []


def test_the_next_poll_brings_only_what_is_new_and_reads_no_further_back(run):
    web = Edgar([entry(n) for n in range(20, 0, -1)])
    cursor = run(LISTING, web)[1]
    web.entries = [entry(22), entry(21), *web.entries]
    web.asked.clear()
    texts, _, _, _ = run(LISTING, web, cursor)
    assert texts == ["Filing 21.", "Filing 22."]
    assert len(web.asked) == 4  # the page of new ones, one with only known ones and so on


def test_the_first_poll_of_a_day_finds_what_was_listed_overnight(run):
    web = Edgar([entry(n, minute=60 * n) for n in range(6, 0, -1)])
    cursor = run(LISTING, web)[1]
    evening = entry(9, minute=150)  # accepted between the second and the third, listed later
    web.entries = [*web.entries[:4], evening, *web.entries[4:]]
    assert run(LISTING, web, cursor)[0] == []  # the same day: below what was read before
    assert run(LISTING, web, cursor, now=NOW + timedelta(days=1))[0] == ["Filing 9."]


def test_forms_that_are_not_wanted_are_not_fetched(run):
    web = Edgar([entry(4, "4"), entry(3, "10-K/A"), entry(2, "SC 13G"), entry(1, "8-K")])
    texts, cursor, said, _ = run(LISTING, web)
    assert web.filings == [1, 3] and texts == ["Filing 1.", "Filing 3."]
    assert said.counts["other-form"] == 2
    assert run(LISTING, web, cursor)[2].counts["other-form"] == 0


def test_the_options_forms_replace_the_choice(run):
    web = Edgar([entry(2, "4"), entry(1, "8-K")])
    web.bodies["https://www.sec.gov/Archives/edgar/data/777/0000000777-26-000002.txt"] = submission(2, "4")
    assert run(LISTING, web, forms=("4",))[0] == ["Filing 2."]
    assert run(LISTING, web, forms=("*",))[0] == ["Filing 1.", "Filing 2."]


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_run_that_ends_anywhere_goes_on_there(run, stop_after):
    web = Edgar([entry(n) for n in (3, 2, 1)])
    for n in (1, 2, 3):
        web.bodies[f"https://www.sec.gov/Archives/edgar/data/777/{accession(n)}.txt"] = submission(n, exhibits=1)
    everything = run(LISTING, web)[0]
    assert len(everything) == 6
    first, cursor, _, _ = run(LISTING, web, stop_after=stop_after)
    second, cursor, _, _ = run(LISTING, web, cursor)
    assert set(first) | set(second) == set(everything)
    assert len(first) + len(second) <= 7  # at most the filing that was begun comes again
    assert run(LISTING, web, cursor)[0] == []


def test_the_limit_page_in_the_middle_keeps_what_came_and_the_rest_comes_later(run):
    web = Edgar([entry(n) for n in (3, 2, 1)])
    web.bodies[f"https://www.sec.gov/Archives/edgar/data/777/{accession(2)}.txt"] = LIMITED
    texts, cursor, said, failure = run(LISTING, web)
    assert texts == ["Filing 1."] and failure.unreachable and failure.retry_s == 600
    assert said.complaints == []
    web.bodies.clear()
    assert run(LISTING, web, cursor)[0] == ["Filing 2.", "Filing 3."]


def test_the_limit_page_in_place_of_the_listing_or_of_a_page_of_it(run):
    web = Edgar([entry(n) for n in (3, 2, 1)], page_size=1)
    web.failures = {"start=1": HttpFailed(429, "HTTP 429", retry_s=900.0)}
    texts, cursor, _, failure = run(LISTING, web)
    assert texts == [] and failure.unreachable and failure.retry_s == 900
    assert run(f"{LISTING}&count=9", web, cursor)[3].retry_s == 900
    web.failures = {"browse": HttpFailed(403, "HTTP 403")}
    assert run(LISTING, web, cursor)[3].retry_s == 600
    web.failures = {}
    assert run(LISTING, web, cursor)[0] == ["Filing 1.", "Filing 2.", "Filing 3."]


def test_a_filing_that_is_not_there_yet_is_asked_for_again_and_holds_up_nothing(run):
    web = Edgar([entry(n) for n in (5, 4, 3, 2, 1)], page_size=9)
    web.failures = {accession(n): HttpFailed(404, "HTTP 404") for n in (1, 2, 3, 4)}
    texts, cursor, said, failure = run(LISTING, web)
    assert texts == ["Filing 5."] and failure is None and said.counts["delayed"] == 8 and said.complaints == []
    web.failures.pop(accession(2))
    texts, cursor, _, _ = run(LISTING, web, cursor)
    assert texts == ["Filing 2."]
    for day in range(1, 4):
        texts, cursor, said, _ = run(LISTING, web, cursor, now=NOW + timedelta(days=day))
    assert texts == [] and cursor["owed"] == {}
    web.failures = {}
    assert run(LISTING, web, cursor, now=NOW + timedelta(days=5))[0] == []


def test_a_filing_that_is_refused_for_good_stops_one_run_only(run):
    web = Edgar([entry(n) for n in (3, 2, 1)])
    web.failures = {accession(1): HttpFailed(403, "HTTP 403")}
    texts, cursor, _, failure = run(LISTING, web)
    assert texts == [] and failure.retry_s == 600
    texts, cursor, _, failure = run(LISTING, web, cursor)
    assert texts == ["Filing 2.", "Filing 3."] and failure is None
    web.failures = {}
    assert run(LISTING, web, cursor)[0] == ["Filing 1."]


def test_giving_up_is_told(run):
    web = Edgar([entry(1)], page_size=9)
    web.failures = {".txt": HttpFailed(404, "HTTP 404")}
    cursor, complaints = {}, []
    for day in range(6):
        _, cursor, said, _ = run(LISTING, web, cursor, now=NOW + timedelta(days=day))
        complaints += said.complaints
    assert complaints == [f"{accession(1)}: given up after 5 tries: HTTP 404"]


def test_a_host_that_is_down_fails_the_source_and_loses_nothing(run):
    web = Edgar([entry(n) for n in range(9, 0, -1)], page_size=20)
    web.failures = {".txt": SourceFailed("no connection in time", unreachable=True)}
    texts, cursor, _, failure = run(LISTING, web)
    assert texts == [] and failure.unreachable and len(web.filings) == backlog.MAX_MISSES
    web.failures = {}
    assert sorted(run(LISTING, web, cursor)[0]) == [f"Filing {n}." for n in range(1, 10)]


def test_a_filing_that_never_can_be_read_is_told_once(run):
    web = Edgar([entry(1)])
    web.failures = {".txt": SourceFailed("over 9 bytes")}
    web.download = lambda url, folder, validators, manners: web.get(url, validators, manners)
    _, cursor, said, _ = run(LISTING, web)
    assert said.complaints == [f"{accession(1)}: over 9 bytes"]
    assert run(LISTING, web, cursor)[2].complaints == []


def test_a_listing_that_does_not_end_is_bounded(run, monkeypatch):
    monkeypatch.setattr(current, "MAX_PAGES", 3)
    web = Edgar([entry(n) for n in range(40, 0, -1)])
    texts, cursor, said, _ = run(LISTING, web)
    assert len(texts) == 6 and said.complaints == []
    web.entries = [entry(n) for n in range(80, 0, -1)]
    texts, _, said, _ = run(LISTING, web, cursor)
    assert len(texts) == 6 and "daily indexes" in said.complaints[0]
    web.get = lambda url, validators, manners: Page(url, atom([entry(1)]), "", None, {})  # it ignores start=
    assert run(LISTING, web)[0] == []


def test_what_is_remembered_is_bounded(run, monkeypatch):
    monkeypatch.setattr(backlog, "MAX_SEEN", 5)
    web = Edgar([entry(n, minute=n * 1440 // 4) for n in range(40, 0, -1)], page_size=50)
    texts, cursor, _, _ = run(LISTING, web)
    assert len(texts) == 40 and len(cursor["seen"]) <= 9
    assert run(LISTING, web, cursor)[0] == []


# ---- companies and indexes


def company(*numbers, files=()):
    columns = {
        "accessionNumber": [accession(n) for n in numbers],
        "form": ["8-K"] * len(numbers),
        "filingDate": [f"20{n:02d}-01-01" for n in numbers],
    }
    return {"cik": "777", "filings": {"recent": columns, "files": [{"name": n, "filingTo": t} for n, t in files]}}


def test_a_company_is_read_from_its_oldest_filing_on(run):
    url, older = "https://data.sec.gov/submissions/CIK0000000777.json", "CIK0000000777-submissions-001.json"
    web = Edgar()
    web.bodies[url] = json.dumps(company(23, 22, files=[(older, "2021-12-31")])).encode()
    web.bodies[url.replace("CIK0000000777.json", older)] = json.dumps(company(21, 20)["filings"]["recent"]).encode()
    texts, cursor, _, _ = run(url, web)
    assert texts == [f"Filing {n}." for n in (20, 21, 22, 23)]
    web.bodies[url] = json.dumps(company(24, 23, 22, files=[(older, "2021-12-31")])).encode()
    web.asked.clear()
    assert run(url, web, cursor)[0] == ["Filing 24."]
    assert not any(older in asked for asked in web.asked)


def index(*numbers):
    head = "CIK|Company Name|Form Type|Date Filed|Filename\n-----\n"
    return head + "".join(f"777|W|8-K|2026-02-{n:02d}|edgar/data/777/{accession(n)}.txt\n" for n in numbers)


def test_an_index_is_read_by_day_and_again_only_where_it_grew(run):
    url = "https://www.sec.gov/Archives/edgar/full-index/2026/QTR1/master.gz"
    web = Edgar()
    web.bodies[url] = gzip.compress(index(3, 1, 1, 2).encode())
    texts, cursor, _, _ = run(url, web)
    assert texts == ["Filing 1.", "Filing 2.", "Filing 3."]
    web.bodies[url] = gzip.compress(index(3, 1, 1, 2, 4).encode())
    assert run(url, web, cursor)[0] == ["Filing 4."]


def test_bad_lines_of_an_index_are_told_and_an_empty_one_counted(run):
    url = "https://www.sec.gov/Archives/edgar/daily-index/2026/QTR1/master.20260227.idx"
    web = Edgar()
    web.bodies[url] = (index(1) + "garbage\nmore garbage\n").encode()
    texts, _, said, _ = run(url, web)
    assert texts == ["Filing 1."]
    assert said.complaints == ["master.20260227.idx: 2 lines are no entries of an index, the first at line 4"]
    web.bodies[url] = index().encode()
    assert run(url, web)[2].counts == {"empty-index": 1}


def test_an_unchanged_listing_is_not_parsed_but_what_is_owed_is_asked_for(run):
    url = "https://www.sec.gov/Archives/edgar/daily-index/2026/QTR1/master.20260227.idx"
    web = Edgar()
    web.bodies[url] = index(1, 2).encode()
    web.failures = {accession(1): HttpFailed(404, "HTTP 404")}
    texts, cursor, _, _ = run(url, web)
    assert texts == ["Filing 2."] and cursor["http"] == {"url": url, "etag": "e"}
    web.failures = {}
    ask = web.get
    web.get = lambda asked, *rest: None if asked == url else ask(asked, *rest)
    texts, cursor, said, _ = run(url, web, cursor)
    assert texts == ["Filing 1."] and said.counts["unchanged"] == 1


# ---- single filings and files


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("/ix?doc=/Archives/edgar/data/777/x.htm", "/Archives/edgar/data/777/x.htm"),
        (
            f"/Archives/edgar/data/777/000000077726000001/{accession(1)}-index.htm",
            f"/Archives/edgar/data/777/000000077726000001/{accession(1)}.txt",
        ),
    ],
)
def test_a_page_that_shows_a_filing_stands_for_it(run, given, asked):
    web = Edgar()
    web.bodies[f"https://www.sec.gov{asked}"] = b"<html><p>Words.</html>" if "x.htm" in asked else submission(1)
    assert run(f"https://www.sec.gov{given}", web)[0] in (["Words."], ["Filing 1."])
    assert web.asked == [f"https://www.sec.gov{asked}"]


def test_other_pages_of_the_site_are_no_filings(run):
    web = Edgar()
    web.bodies["https://www.sec.gov/cgi-bin/x"] = b"<html><p>Latest filings</html>"
    assert "output=atom" in str(run("https://www.sec.gov/cgi-bin/x", web)[3])


PAGE = (
    "<html><body><ix:header><ix:hidden><ix:nonNumeric name='dei:EntityCentralIndexKey'>0000000777</ix:nonNumeric>"
    "</ix:hidden></ix:header>"
    "<p><ix:nonNumeric name='dei:EntityRegistrantName' id='a'>Widget &amp; Co</ix:nonNumeric></p>"
    "<p>Form <ix:nonNumeric id='b' name='dei:DocumentType'>10-K</ix:nonNumeric> for the year ended "
    "<ix:nonNumeric name='dei:DocumentPeriodEndDate'>"
    "<ix:nonNumeric name='dei:CurrentFiscalYearEndDate'>December&#160;31</ix:nonNumeric>, 2025</ix:nonNumeric></p>"
    "</body></html>"
)


def test_a_filing_by_itself_says_what_it_is(context, tmp_path):
    path = tmp_path / f"{accession(5)}.html"
    path.write_text(PAGE)
    made = context("edgar")
    (document,) = adapter.read(str(path), made)
    assert document["origin"] == "Widget & Co" and document["title"] == "Widget & Co 10-K 2025-12-31"
    assert document["meta"]["cik"] == "777" and document["meta"]["accession"] == accession(5)
    assert document["url"] == path.as_uri() and document["published"] is None
    assert list(adapter.read(str(path), made)) == [] and made.outlet.counts == {"unchanged": 1}


def test_files_of_a_folder_are_sources_of_their_own(context, tmp_path):
    for name in ("b.txt", "a.nc.gz", "picture.jpg"):
        (tmp_path / name).write_bytes(gzip.compress(submission(1)) if name.endswith("gz") else submission(2))
    made = context("edgar")
    assert list(adapter.read(str(tmp_path), made)) == []
    assert made.outlet.included == [str(tmp_path / "a.nc.gz"), str(tmp_path / "b.txt")]
    texts = [document["text"] for name in made.outlet.included for document in adapter.read(name, context("edgar"))]
    assert texts == ["Filing 1.", "Filing 2."]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (LIMITED, "ask too fast"),
        (b'{"cik": 777, "facts": {}}', "JSON that holds no filings"),
        (b"<?xml version='1.0'?><FilingSummary/>", "holds no filing"),
        (b"\x89PNG\r\n\x1a\n", "holds no filing"),
        (b"", "holds no filing"),
        (b'{"cik": ', "not JSON"),
        (b"\x1f\x8bdamaged", "damaged.html"),
    ],
)
def test_what_is_no_filing_is_told_in_one_line(context, tmp_path, body, words):
    path = tmp_path / "damaged.html"
    path.write_bytes(body)
    with pytest.raises(SourceFailed) as failure:
        list(adapter.read(str(path), context("edgar")))
    assert words in str(failure.value) and "\n" not in str(failure.value) and not failure.value.unreachable


def test_standard_input(context, monkeypatch):
    monkeypatch.setattr(adapter, "read_bounded", lambda *_: gzip.compress(submission(7)))
    monkeypatch.setattr(adapter, "InputFile", lambda name: None)
    assert [document["text"] for document in adapter.read("-", context("edgar"))] == ["Filing 7."]


# ---- over the wire


@pytest.fixture
def asker(patience):
    def make(agent="tests admin@example.org", **limits):
        return Fetcher(agent, allow_private=True, limits=Limits(**limits), interruption=patience, clock=patience.clock)

    return make


def serve(web, numbers, **bodies):
    listing = "/cgi-bin/browse-edgar?action=getcurrent&output=atom&count=100"
    for start in (*range(0, len(numbers), 2), len(numbers)):
        where = listing if start == 0 else f"{listing}&start={start}"
        web.routes[where] = (200, {}, atom([entry(n) for n in numbers[start : start + 2]]))
    for n in numbers:
        body = bodies.get(f"f{n}", submission(n))
        web.routes[f"/Archives/edgar/data/777/{accession(n)}.txt"] = (200, {}, body)
    return f"{web.url}{listing}"


def test_listing_to_filings_over_http_twice(run, web, asker):
    url = serve(web, [5, 4, 3, 2, 1])
    texts, cursor, _, failure = run(url, asker())
    assert failure is None and texts == [f"Filing {n}." for n in (1, 2, 3, 4, 5)]
    assert run(url, asker(), cursor)[0] == []
    serve(web, [7, 6, 5, 4, 3, 2, 1])
    assert run(url, asker(), cursor)[0] == ["Filing 6.", "Filing 7."]
    fetched = Counter(path for path, _ in web.requests if path.endswith(".txt"))
    assert set(fetched.values()) == {1}


def test_the_limit_page_over_http(run, web, asker):
    url = serve(web, [3, 2, 1], f2=LIMITED)
    texts, cursor, _, failure = run(url, asker())
    assert texts == ["Filing 1."] and failure.unreachable and failure.retry_s == 600
    web.routes[f"/Archives/edgar/data/777/{accession(2)}.txt"] = (403, {}, LIMITED)
    texts, cursor, _, failure = run(url, asker(), cursor)
    assert texts == [] and failure.retry_s == 600
    serve(web, [3, 2, 1])
    assert sorted(run(url, asker(), cursor)[0]) == ["Filing 2.", "Filing 3."]


def test_nothing_is_asked_without_a_contact_in_the_user_agent(run, web, asker):
    _, _, _, failure = run(serve(web, [1]), asker("tests"))
    assert "--user-agent" in str(failure) and web.requests == []


def test_a_filing_too_large_for_memory_comes_as_a_file(run, web, asker, tmp_path):
    url = serve(web, [2, 1], f1=submission(1, exhibits=200))
    texts, _, said, _ = run(url, asker(max_bytes=8000))
    assert len(texts) == 202 and texts[-1] == "Filing 2." and said.complaints == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
