"""Listings of filings: what each names, in the order it was filed, and lines that name nothing told apart."""

import json

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.edgar.bodies import ATOM, INDEX, JSON, LIMITED, PAGE, SUBMISSION, kind_of, local_body
from clet.sources.edgar.listing import Listed, read_atom, read_company, read_index

ATOM_PAGE = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>Latest Filings</title>
<entry><title>8-K - Soci\u00e9t\u00e9 Widget (0000000777) (Filer)</title>
<link rel="alternate" href="https://www.sec.gov/Archives/edgar/data/777/000000077725000012/0000000777-25-000012-index.htm"/>
<summary type="html">&lt;b&gt;Filed:&lt;/b&gt; 2025-12-12</summary><updated>2025-12-12T18:02:43-05:00</updated>
<category scheme="https://www.sec.gov/" label="form type" term="8-K"/>
<id>urn:tag:sec.gov,2008:accession-number=0000000777-25-000012</id></entry>
<entry><title>no filing</title><updated>2025-12-12T18:00:00-05:00</updated><id>urn:other</id></entry></feed>"""

WIDE = "A NAME THAT IS WIDER THAN ITS COLUMN AND RUNS INTO THE NEXT ONE LIMITED "
PATHS = ("edgar/data/777/0000000777-20-000001.txt", "edgar/data/888/0000000888-20-000002.txt")
PAGES = [f"https://www.sec.gov/Archives/{path.replace('.txt', '-index.htm')}" for path in PATHS]


def by_form(form, name, cik, date, path):
    return f"{form:12}{name:62}{cik:12}{date:12}{path}\n"


def by_name(name, form, cik, date, path):
    return f"{name:62}{form:12}{cik:12}{date:12}{path}\n"


RULE = "-" * 141 + "\n"
FORM_IDX = (
    "Description:           Daily Index of EDGAR Dissemination Feed by Form Type\nLast Data Received:    Mar 18\n\n"
    + by_form("Form Type", "Company Name", "CIK", "Date Filed", "File Name")
    + RULE
    + by_form("10-K", "Widget Corp", "777", "20200318", PATHS[0])
    + by_form("DEF 14A", WIDE, "888", "2020-03-17", PATHS[1] + "   ")
    + "this is no entry\n"
    + by_form("10-Q", "Cut off", "999", "20200318", "edgar/data/999/0000")
    + by_form("10-Q", "Path that leads away", "999", "20200318", "../../etc/passwd")
)
COMPANY_IDX = (
    by_name("Company Name", "Form Type", "CIK", "Date Filed", "File Name")
    + RULE
    + by_name("Widget Corp", "10-K", "777", "2020-03-18", PATHS[0])
    + by_name(f"{WIDE} ", "DEF 14A", "888", "2020-03-17", PATHS[1])
)
CRAWLER_IDX = (
    by_name("Company Name", "Form Type", "CIK", "Date Filed", "URL")
    + RULE
    + by_name("Widget Corp", "10-K", "777", "2020-03-18", PAGES[0])
    + by_name("Other", "DEF 14A", "888", "2020-03-17", PAGES[1])
)
MASTER_IDX = """Description:           Master Index of EDGAR Dissemination Feed

CIK|Company Name|Form Type|Date Filed|Filename
--------------------------------------------------------------------------------
777|Widget Corp|10-K|2020-03-18|edgar/data/777/0000000777-20-000001.txt
888|A | NAME|DEF 14A|20200317|edgar/data/888/0000000888-20-000002.txt
"""
TWO = [
    Listed("0000000777-20-000001", "777", "10-K", "2020-03-18"),
    Listed("0000000888-20-000002", "888", "DEF 14A", "2020-03-17"),
]


def test_atom_in_the_encoding_it_declares_and_with_its_time_in_utc():
    page = read_atom(ATOM_PAGE.encode("iso-8859-1"))
    assert page.filings == [Listed("0000000777-25-000012", "777", "8-K", "2025-12-12T23:02:43Z")]
    assert page.size == 2


def test_atom_expands_no_entities():
    bomb = '<!DOCTYPE feed [<!ENTITY a "AAAA"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    page = ATOM_PAGE.replace("?>", f"?>{bomb}", 1).replace('term="8-K"', 'term="&a;"').encode("iso-8859-1")
    assert kind_of(page) is None
    assert all("AAAA" not in filing.form for filing in read_atom(page).filings)


@pytest.mark.parametrize("cut", [90, 300, 500, 670])
def test_half_a_page_of_atom_is_never_taken_for_a_whole_one(cut):
    with pytest.raises(SourceFailed):
        read_atom(ATOM_PAGE.encode("iso-8859-1")[:cut])


@pytest.mark.parametrize(
    "index", [FORM_IDX, COMPANY_IDX, MASTER_IDX, CRAWLER_IDX], ids=["form", "company", "master", "crawler"]
)
def test_indexes_of_each_order_name_the_same_filings(index):
    assert kind_of(index.encode()) == INDEX
    assert [entry for entry in read_index(index.encode()) if isinstance(entry, Listed)] == TWO


def test_lines_that_are_no_entries_are_given_by_number():
    assert [entry for entry in read_index(FORM_IDX.encode()) if isinstance(entry, int)] == [8, 9, 10]


def test_an_index_without_entries_is_empty():
    assert list(read_index("\n".join(FORM_IDX.split("\n")[:5]).encode())) == []


def columns(*rows):
    return dict(zip(("accessionNumber", "form", "filingDate"), map(list, zip(*rows, strict=True)), strict=True))


def test_company_json_gives_filings_oldest_first_and_names_the_older_files():
    recent = columns(
        ("0000000777-25-000003", "10-K", "2025-02-03"),
        ("0000000777-25-000002", "8-k", "2025-01-02"),
        ("0000000777-25-000001", "4", "2025-01-02"),
        ("../x", "8-K", "2025-01-01"),
        ("0000000777-24-000009", "8-K", "soon"),
    )
    files = [{"name": "CIK0000000777-submissions-001.json", "filingTo": "2024-12-31"}, {"name": "../../x.json"}]
    company = read_company(json.dumps({"cik": "0000000777", "filings": {"recent": recent, "files": files}}).encode())
    assert [(filing.accession[-6:], filing.form) for filing in company.filings] == [
        ("000001", "4"),
        ("000002", "8-K"),
        ("000003", "10-K"),
    ]
    assert company.older == [("CIK0000000777-submissions-001.json", "2024-12-31")]
    older = read_company(json.dumps(columns(("0000000777-20-000001", "10-K", "2020-02-03"))).encode(), "777")
    assert older.filings == [Listed("0000000777-20-000001", "777", "10-K", "2020-02-03")]


@pytest.mark.parametrize(
    "value", [{"0": {"cik_str": 1, "ticker": "W"}}, {"cik": 777, "facts": {}}, [1], {"filings": []}]
)
def test_other_json_holds_no_filings(value):
    assert read_company(json.dumps(value).encode()) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<SEC-DOCUMENT>0000000777-25-000012.txt : 20250110\n<SEC-HEADER>", SUBMISSION),
        (b"\n<SUBMISSION>\n<ACCESSION-NUMBER>", SUBMISSION),
        (b"\xef\xbb\xbf<DOCUMENT>\n<TYPE>6-K\n", SUBMISSION),
        (ATOM_PAGE.encode(), ATOM),
        (b' {"cik": 1}', JSON),
        (b"<?xml version='1.0'?>\n<!-- made -->\n<html xmlns:ix='x'>", PAGE),
        (b"<!DOCTYPE html PUBLIC 'x'>\n<HTML>", PAGE),
        (b"<!-- c --><TABLE WIDTH=1><TR><TD>1</TABLE>", PAGE),
        (b"<?xml version='1.0'?><FilingSummary><Version>3</Version></FilingSummary>", None),
        (b"<title>SEC.gov | Request Rate Threshold Exceeded</title>", LIMITED),
        (b"<html><title>SEC.gov | Your Request Originates from an Undeclared Automated Tool</title>", LIMITED),
        (b"Just some words about a Form Type", None),
        (b"\x89PNG\r\n", None),
        (b"", None),
    ],
)
def test_what_a_body_is_is_told_by_its_content(body, kind):
    assert kind_of(body) == kind


def test_a_large_file_is_mapped_and_reads_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("clet.sources.edgar.bodies.MAX_FILE_BYTES", 10)
    (tmp_path / "form.idx").write_text(FORM_IDX)
    with local_body(str(tmp_path / "form.idx")) as (body, raw):
        assert not isinstance(body, bytes)
        assert [entry for entry in read_index(body) if isinstance(entry, Listed)] == TWO
    assert len(raw) == 64
