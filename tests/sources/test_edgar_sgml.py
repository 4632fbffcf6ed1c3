"""Full submissions: their header in both forms, their documents whole, and what is no document left out and counted."""

import binascii
from datetime import UTC, datetime

import pytest

from clet.sources.adapter import Options
from clet.sources.edgar.filing import is_wanted, part_text, submission_documents
from clet.sources.edgar.sgml import is_submission, read_header, split

TXT_HEAD = """<SEC-DOCUMENT>0000777000-25-000012.txt : 20250110
<SEC-HEADER>0000777000-25-000012.hdr.sgml : 20250110
<ACCEPTANCE-DATETIME>20250110171538
ACCESSION NUMBER:\t\t0000777000-25-000012
CONFORMED SUBMISSION TYPE:\t8-K
PUBLIC DOCUMENT COUNT:\t\t2
CONFORMED PERIOD OF REPORT:\t20250107
ITEM INFORMATION:\t\tOther Events
FILED AS OF DATE:\t\t20250110

SUBJECT COMPANY:

\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tWIDGET &amp; SONS CORP
\t\tCENTRAL INDEX KEY:\t\t\t0000777000
\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\tMOTOR VEHICLES [3711]

\tFORMER COMPANY:
\t\tFORMER CONFORMED NAME:\tOLD WIDGETS INC

FILED BY:

\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tRAIDER LP
\t\tCENTRAL INDEX KEY:\t\t\t0000888
</SEC-HEADER>
"""
NC_HEAD = """<SUBMISSION>
<ACCESSION-NUMBER>0000777000-25-000012
<TYPE>8-K
<PERIOD>20250107
<ITEMS>8.01
<FILING-DATE>20250110
<FILED-BY>
<COMPANY-DATA>
<CONFORMED-NAME>RAIDER LP
<CIK>0000888
<ORGANIZATION-NAME>
</COMPANY-DATA>
</FILED-BY>
<SUBJECT-COMPANY>
<COMPANY-DATA>
<CONFORMED-NAME>WIDGET & SONS CORP
<CIK>0000777000
<ASSIGNED-SIC>3711
</COMPANY-DATA>
<FILING-VALUES>
<FORM-TYPE>8-K
</FILING-VALUES>
</SUBJECT-COMPANY>
"""


def part(kind, text, sequence=1, filename=None, ends=True):
    name = f"<FILENAME>{filename}\n" if filename else ""
    end = "</TEXT>\n</DOCUMENT>\n" if ends else ""
    return f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>{sequence}\n{name}<TEXT>\n{text}\n{end}"


def uuencoded(name, data=b"%PDF-1.4 binary" * 40):
    lines = [binascii.b2a_uu(data[i : i + 45]).decode() for i in range(0, len(data), 45)]
    return f"begin 644 {name}\n{''.join(lines)}`\nend"


def documents(text, context, **options):
    made = context("edgar", options=Options(**options))
    body = text if isinstance(text, bytes) else text.encode()
    return list(submission_documents(body, "f" * 64, made, name="file", forms=made.options.forms)), made.outlet


@pytest.mark.parametrize("head", [TXT_HEAD, NC_HEAD, NC_HEAD.replace("\n", "\r"), TXT_HEAD.replace("\n", "\r\n")])
def test_both_forms_of_a_header_say_the_same(head):
    header = read_header(head.encode())
    assert (header.accession, header.form, header.period) == ("0000777000-25-000012", "8-K", "2025-01-07")
    assert header.filed == "2025-01-10" and len(header.items) == 1
    assert header.filer.role == "SUBJECT COMPANY"
    assert (header.filer.cik, header.filer.sic) == ("777000", "3711")
    assert header.filer.name == "WIDGET & SONS CORP"
    assert [filer.name for filer in header.filers if filer.role == "FILED BY"] == ["RAIDER LP"]


def test_acceptance_is_eastern_time_and_a_day_alone_is_its_midnight():
    winter = read_header(TXT_HEAD.encode())
    summer = read_header(TXT_HEAD.replace("20250110171538", "20250710171538").encode())
    assert winter.published == datetime(2025, 1, 10, 22, 15, 38, tzinfo=UTC)
    assert summer.published == datetime(2025, 7, 10, 21, 15, 38, tzinfo=UTC)
    assert read_header(NC_HEAD.encode()).published == datetime(2025, 1, 10, tzinfo=UTC)


def test_nonsense_in_a_header_is_not_believed():
    header = read_header(
        b"<SUBMISSION>\n<ACCESSION-NUMBER>../../x\n<PERIOD>20259999\n<FILER>\n<COMPANY-DATA>\n<CIK>1/../2\n"
    )
    assert (header.accession, header.period, header.published, header.filer.cik) == (None, None, None, "")


def test_main_document_and_press_release_come_out_with_what_is_known(context):
    text = TXT_HEAD + part("8-K", "<html><p>Fire in the plant.</html>", 1, "d8k.htm")
    text += part("EX-99.1", "<html><p>Press release.</html>", 2, "ex 99.htm") + "</SEC-DOCUMENT>\n"
    (main, release), said = documents(text, context)
    assert main["text"] == "Fire in the plant." and release["text"] == "Press release."
    assert main["source"] == "edgar" and main["origin"] == "WIDGET & SONS CORP"
    assert main["url"] == "https://www.sec.gov/Archives/edgar/data/777000/000077700025000012/d8k.htm"
    assert release["url"].endswith("/ex%2099.htm")
    assert main["title"] == "WIDGET & SONS CORP 8-K 2025-01-07"
    assert release["title"].endswith("8-K 2025-01-07 EX-99.1")
    assert main["published"] == "2025-01-10T22:15:38Z" and main["license"] is None and main["raw"] == "f" * 64
    meta = release["meta"]
    assert (meta["cik"], meta["form"], meta["accession"]) == ("777000", "8-K", "0000777000-25-000012")
    assert (meta["type"], meta["sequence"], meta["period"], meta["sic"]) == ("EX-99.1", "2", "2025-01-07", "3711")
    assert meta["filers"][1] == {"role": "filed by", "name": "RAIDER LP", "cik": "888"}
    assert not said.counts


def test_binaries_data_and_other_exhibits_are_left_out_and_counted(context):
    text = TXT_HEAD + part("8-K", "<p>Words.</p>", 1)
    text += part("GRAPHIC", uuencoded("logo.jpg"), 2) + part("EX-99.2", f"<PDF>\n{uuencoded('x.pdf')}\n</PDF>", 3)
    text += part("ZIP", uuencoded("x.zip"), 4) + part("EXCEL", uuencoded("x.xlsx"), 5)
    text += part("EX-101.SCH", "<XBRL>\n<?xml version='1.0'?><schema/>\n</XBRL>", 6) + part("XML", "<html>R1</html>", 7)
    text += part("JSON", "{}", 8) + part("EX-10.1", "<p>Lease.</p>", 9) + part("EX-21", "<p>Subsidiaries.</p>", 10)
    text += part("EX-99.3", "<XML>\n<?xml version='1.0'?><a>1</a>\n</XML>", 11) + part("EX-13", "", 12)
    found, said = documents(text, context)
    assert [document["text"] for document in found] == ["Words."]
    assert said.counts == {"binary": 4, "data": 4, "exhibit": 2, "empty": 1}


def test_text_is_whole_where_end_tags_are_missing(context):
    text = TXT_HEAD + part("8-K", "<p>One.</p>", 1, ends=False) + part("EX-99", "<p>Two.</p>", 2, ends=False)
    found, _ = documents(text + part("EX-99.2", "<p>Three.</p>", 3) + "</SEC-DOCUMENT>", context)
    assert [document["text"] for document in found] == ["One.", "Two.", "Three."]


def test_a_document_inside_another_interrupts_it(context):
    inner = part("EX-99.1", "<p>Inner.</p>", 2)
    found, _ = documents(
        TXT_HEAD + part("8-K", f"<p>Before.</p>\n{inner}<p>After.</p>", 1) + part("EX-99.2", "Last.", 3), context
    )
    assert [document["text"] for document in found] == ["Before.\nAfter.", "Inner.", "Last."]


def test_endless_nesting_is_bounded():
    body = ("<DOCUMENT>\n<TYPE>8-K\n<TEXT>x\n" * 5000).encode()
    _, parts = split(body)
    assert sum(1 for _ in parts) == 5000


def test_header_alone_gives_nothing_but_a_count(context):
    found, said = documents(TXT_HEAD.partition("<ACCEPTANCE")[1] + TXT_HEAD.partition("<ACCEPTANCE")[2], context)
    assert found == [] and said.counts == {"header-only": 1}


def test_lines_ending_in_cr_alone(context):
    text = NC_HEAD + part("8-K", "<html>\n<p>First\nline.</p></html>", 1, "a.htm") + "</SUBMISSION>"
    ((document,), _) = documents(text.replace("\n", "\r"), context)
    assert document["text"] == "First line." and document["meta"]["filename"] == "a.htm"


def test_typescript_of_1995_inside_a_mail_envelope(context):
    head = "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\nProc-Type: 2001,MIC-CLEAR\n\n" + TXT_HEAD
    table = "<TABLE>\n<CAPTION>\n<S>            <C>\nShares.......  1,500\n</TABLE>"
    text = head + part("8-K", f"<PAGE>   1\n{table}\n<PAGE>   2\nThe end.") + "-----END PRIVACY-ENHANCED MESSAGE-----"
    assert is_submission(text.encode())
    ((document,), _) = documents(text, context)
    assert document["text"] == "Shares | 1,500\n\nThe end."
    assert document["url"] == "https://www.sec.gov/Archives/edgar/data/777000/0000777000-25-000012.txt"


def test_forms_are_chosen_and_amendments_come_with_them(context):
    text = TXT_HEAD.replace("TYPE:\t8-K", "TYPE:\tSC 13D/A") + part("SC 13D/A", "<p>Words.</p>")
    found, said = documents(text, context)
    assert found == [] and said.counts == {"other-form": 1}
    assert len(documents(text, context, forms=("sc 13d",))[0]) == 1
    assert len(documents(text, context, forms=("*",))[0]) == 1
    assert (
        is_wanted("10-K/A", ()) and is_wanted("def 14a", ()) and not is_wanted("4", ()) and not is_wanted("10-KT", ())
    )
    assert is_wanted("10-K/A", ("10-K/A",)) and not is_wanted("10-K", ("10-K/A",))


def test_a_withdrawn_submission_is_a_deletion(context):
    text = NC_HEAD.replace("<SUBMISSION>\n", "<SUBMISSION>\n<DELETION>\n") + "</SUBMISSION>"
    ((gone,), _) = documents(text, context)
    assert (
        gone["meta"]["deleted"] is True and gone["meta"]["accession"] == "0000777000-25-000012" and gone["text"] == ""
    )


@pytest.mark.parametrize("label", ["utf-8", "iso-8859-1", "us-ascii"])
def test_utf8_is_believed_whatever_the_label(label):
    raw = f"<html><meta charset={label}><p>\u201cQuoted\u201d \u2014 caf\u00e9".encode()
    assert part_text(raw)[0] == "\u201cQuoted\u201d \u2014 caf\u00e9"
    assert part_text("<html><p>caf\u00e9".encode("cp1252"))[0] == "caf\u00e9"
