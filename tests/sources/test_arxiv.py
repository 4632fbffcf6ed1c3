"""Saved replies of either protocol, what is no reply, and bytes that are no well-formed XML."""

import gzip
import json
import os

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.arxiv import adapter as arxiv
from clet.sources.arxiv import known, oai_pmh
from clet.sources.table import is_url

OAI = """<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>2026-02-01T00:00:00Z</responseDate>
<request verb="GetRecord">http://export.arxiv.org/oai2</request><GetRecord><record><header>
<identifier>oai:arXiv.org:2101.00001</identifier><datestamp>2021-01-05</datestamp><setSpec>cs</setSpec></header>
<metadata><arXivRaw xmlns="http://arxiv.org/OAI/arXivRaw/"><id>2101.00001</id>
<version version="v1"><date>Fri, 1 Jan 2021 10:00:00 GMT</date></version><title>On $x$</title>
<abstract>  {abstract}
</abstract></arXivRaw></metadata></record></GetRecord></OAI-PMH>"""
ATOM = """<?xml version='1.0' encoding='UTF-8'?>
<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns="http://www.w3.org/2005/Atom">
<id>https://arxiv.org/api/abc</id><opensearch:totalResults>1</opensearch:totalResults>
<entry><id>http://arxiv.org/abs/2101.00002v3</id><title>Two</title><summary>A summary.</summary>
<published>2021-01-02T00:00:00Z</published><updated>2021-03-02T00:00:00Z</updated></entry></feed>"""


@pytest.fixture
def read_bytes(tmp_path, context):
    """Reads a body that was saved as a file: (documents, context)."""

    def run(body, cursor=None, name="reply.xml"):
        path = tmp_path / name
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        made = context("arxiv", cursor)
        return list(arxiv.read(str(path), made)), made

    return run


def test_a_saved_reply_of_oai_pmh_gives_its_papers(read_bytes):
    documents, made = read_bytes(OAI.format(abstract="We study\nwrapped lines."))
    assert [document["text"] for document in documents] == ["On $x$\n\nWe study wrapped lines."]
    assert documents[0]["origin"] == "arxiv.org"
    assert documents[0]["url"] == "https://arxiv.org/abs/2101.00001"
    assert read_bytes(OAI.format(abstract="x"), name="other.xml")[1].cursor != made.cursor


def test_a_saved_answer_of_the_api_gives_its_papers(read_bytes):
    documents, _ = read_bytes(ATOM)
    assert [document["text"] for document in documents] == ["Two\n\nA summary."]
    assert documents[0]["meta"] == {"arxiv": "2101.00002", "version": 3, "updated": "2021-03-02T00:00:00Z"}
    assert documents[0]["published"] == "2021-01-02T00:00:00Z"


def test_an_untouched_file_is_not_read_again(read_bytes, tmp_path, context):
    _, made = read_bytes(ATOM)
    again = context("arxiv", json.loads(json.dumps(made.cursor)))
    assert list(arxiv.read(str(tmp_path / "reply.xml"), again)) == []
    assert again.outlet.counts["unchanged"] == 1


def test_packed_files_are_read(read_bytes):
    assert len(read_bytes(gzip.compress(ATOM.encode()), name="reply.xml.gz")[0]) == 1


def test_a_folder_stands_for_its_replies(tmp_path, context):
    for name in ("a.xml", "b.atom", "c.json", "d.xml.zst", "e.txt"):
        (tmp_path / name).write_text(ATOM)
    made = context("arxiv")
    assert list(arxiv.read(str(tmp_path), made)) == []
    assert [os.path.basename(path) for path in made.outlet.included] == ["a.xml", "b.atom", "d.xml.zst"]


def test_stdin_is_read(tmp_path, context):
    (tmp_path / "in").write_text(ATOM)
    stdin, file = os.dup(0), os.open(tmp_path / "in", os.O_RDONLY)
    try:
        os.dup2(file, 0)
        documents = list(arxiv.read("-", context("arxiv")))
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(file)
    assert [document["title"] for document in documents] == ["Two"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty, not XML"),
        (b"broken xml", "not XML"),
        (b'{"json": 1}', "not XML"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not XML"),
        (b"<!DOCTYPE html><html><body>Busy</body></html>", "an HTML page, not XML"),
        (b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><p/></html>', "an HTML page, not XML"),
        (b"<rss version='2.0'><channel/></rss>", "not an OAI-PMH reply but <rss>"),
        (b"<OAI-PMH><ListSets/></OAI-PMH>", "a reply to ListSets, which holds no records"),
        (b"<OAI-PMH/>", "an OAI-PMH reply without a list"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>tag:a,1</id></entry></feed>", "write feed: for it"),
    ],
)
def test_what_is_no_reply_fails_with_one_line_that_says_so(read_bytes, body, reason):
    with pytest.raises(SourceFailed) as failure:
        read_bytes(body)
    assert reason in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_reply_that_is_an_error_fails_and_one_that_finds_nothing_does_not(read_bytes):
    with pytest.raises(SourceFailed, match="badVerb: no such verb"):
        read_bytes("<OAI-PMH><error code='badVerb'>no such verb</error></OAI-PMH>")
    assert read_bytes("<OAI-PMH><error code='noRecordsMatch'/></OAI-PMH>")[0] == []


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.99])
def test_a_file_that_is_cut_short_fails(read_bytes, kept):
    whole = OAI.format(abstract="Whole.")
    with pytest.raises(SourceFailed, match="cut short"):
        read_bytes(whole[: int(len(whole) * kept)])


def test_a_damaged_resumption_token_is_not_taken_for_the_end_of_the_list(read_bytes):
    record = "<record><header><identifier>i</identifier></header></record>"
    with pytest.raises(SourceFailed, match="damaged, and so is its resumption token"):
        read_bytes(f"<OAI-PMH><ListRecords>{record}</ListRecords><a><resumptionToken/></b></OAI-PMH>")


# ---- bytes that are not quite XML


def test_entities_are_not_expanded_and_nothing_is_fetched(read_bytes, tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    bombs = "".join(f'<!ENTITY b{i + 1} "{f"&b{i};" * 10}">' for i in range(9))
    head = f'<!DOCTYPE r [<!ENTITY b0 "boom">{bombs}<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    documents, _ = read_bytes(head + OAI.format(abstract="&b9;&x;Text."))
    assert "SECRET" not in documents[0]["text"] and "boom" not in documents[0]["text"]
    assert documents[0]["text"].endswith("Text.")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("form\x0cfeed, \x1b[31mred", "formfeed, [31mred"),
        ("null &#0;&#x1b; references", "null references"),
        ("bare & ampersand && more", "bare & ampersand && more"),
        ("caf&eacute; &ndash; &nosuch; &lt;i&gt;", "caf\u00e9 \u2013 &nosuch; <i>"),
        ("<![CDATA[a & b &eacute; <c>]]> & d", "a & b &eacute; <c> & d"),
        ("<!-- no -->kept<?no no?>", "kept"),
        ("a &#169; and &#x1F600;", "a \u00a9 and \U0001f600"),
    ],
)
def test_what_can_only_be_meant_one_way_is_mended(read_bytes, written, read):
    documents, made = read_bytes(OAI.format(abstract=written))
    assert documents[0]["text"] == f"On $x$\n\n{read}"
    assert made.outlet.complaints == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "latin-1"])
def test_encodings_are_told_from_the_bytes_where_nothing_is_declared(read_bytes, encoding):
    documents, _ = read_bytes(OAI.format(abstract="na\u00efve caf\u00e9 \u00e0 la carte").encode(encoding))
    assert documents[0]["text"].endswith("na\u00efve caf\u00e9 \u00e0 la carte")


@pytest.mark.parametrize("declared", ["us-ascii", "iso-8859-1", "utf-16", "no-such-thing"])
def test_a_wrong_declaration_is_not_believed(read_bytes, declared):
    body = f'<?xml version="1.0" encoding="{declared}"?>' + OAI.format(abstract="caf\u00e9")
    assert read_bytes(body)[0][0]["text"].endswith("caf\u00e9")


@pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1251", "koi8-r"])
def test_a_right_declaration_is_believed(read_bytes, declared):
    word = "caf\u00e9" if declared == "iso-8859-1" else "\u0441\u043b\u043e\u0432\u043e"
    body = f'<?xml version="1.0" encoding="{declared}"?>' + OAI.format(abstract=word)
    assert read_bytes(body.encode(declared))[0][0]["text"].endswith(word)


def test_white_space_before_the_declaration_does_no_harm(read_bytes):
    assert len(read_bytes("\n\n" + ATOM)[0]) == 1


def test_nesting_without_end_does_no_harm(read_bytes):
    for deep in ("<a>" * 100_000, "<a>" * 5000 + "x" + "</a>" * 5000):
        _, made = read_bytes(OAI.format(abstract=deep))
        assert "not well-formed" in made.outlet.complaints[0]


def test_a_text_beyond_the_limit_is_told_and_passed_over(read_bytes, monkeypatch):
    monkeypatch.setattr("clet.sources.arxiv.papers.MAX_TEXT_BYTES", 4000)
    documents, made = read_bytes(OAI.format(abstract="word " * 500))
    assert documents == []
    assert made.outlet.complaints == ["oai:arXiv.org:2101.00001: a text of 2507 characters, passed over"]


# ---- what a locator means


@pytest.mark.parametrize("host", ["export.arxiv.org", "oaipmh.arxiv.org"])
def test_arxiv_is_asked_for_its_own_format(host):
    assert oai_pmh.parse_request(f"https://{host}/oai").arguments == {"metadataPrefix": "arXivRaw"}
    assert oai_pmh.parse_request(f"https://{host}.example/oai").arguments == {"metadataPrefix": "oai_dc"}


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://export.arxiv.org/api/query?search_query=cat:cs.LG", True),
        ("https://export.arxiv.org/api/query", True),
        ("http://localhost:8000/mirror?id_list=2101.00001", True),
        ("https://oaipmh.arxiv.org/oai", False),
        ("https://dspace.mit.edu/oai/request?verb=ListRecords&set=a", False),
    ],
)
def test_the_protocol_is_told_from_the_url(url, api):
    assert is_url(url)
    assert arxiv.atom_api.is_query(url) is api


@pytest.mark.parametrize("url", ["http://[::1/oai", "https://[bad]/api/query?search_query=x"])
def test_what_is_no_url_fails(context, url):
    with pytest.raises(SourceFailed, match="not a URL"):
        list(arxiv.read(url, context("arxiv")))


# ---- what is known


def test_what_is_known_is_bounded_and_keeps_the_last():
    cursor = {}
    names = known.Known(cursor)
    for i in range(5 * known.GENERATION // 2):
        names.put(f"n{i}", f"{i:032x}")
    last = range(3 * known.GENERATION // 2, 5 * known.GENERATION // 2)
    again = known.Known(json.loads(json.dumps(cursor)))
    assert all(again.get(f"n{i}") == f"{i:032x}" for i in last)
    assert again.get("n0") is None
    assert len(json.dumps(cursor, separators=(",", ":"))) <= 54 * 2 * known.GENERATION + 20
