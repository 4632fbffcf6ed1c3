"""The metadata formats of repositories: what becomes text, date, licence and language, and what does not."""

import pytest
from lxml import etree

from clet.sources.arxiv.oai_formats import read_metadata
from clet.sources.arxiv.papers import arxiv_id, fold, license_of

ARXIV = "oai:arXiv.org:1601.04794"


def paper(body, identifier="oai:lib:1"):
    return read_metadata(etree.fromstring(body), identifier)


def dublin_core(fields, identifier="oai:lib:1"):
    return paper(
        f'<oai_dc:dc xmlns:oai_dc="urn:o" xmlns:dc="http://purl.org/dc/elements/1.1/">{fields}</oai_dc:dc>', identifier
    )


# ---- arXiv's own


def test_arxivraw_takes_dates_and_version_from_the_history_in_any_order():
    versions = "".join(
        f'<version version="v{number}"><date>{date}</date><size>1kb</size></version>'
        for number, date in [
            (2, "Mon, 19 Jun 2017 16:49:45 GMT"),
            (10, "Wed, 02 Aug 2023 00:41:18 GMT"),
            (1, "Mon, 12 Jun 2017 17:57:34 GMT"),
        ]
    )
    found = paper(
        f"<arXivRaw xmlns='http://arxiv.org/OAI/arXivRaw/'><id>1706.03762</id>{versions}<title>A\n  title</title>"
        "<authors>Ann Ng (Uni A (Dept B)), Bo O'Brien and C. D. El</authors><categories>cs.CL cs.LG</categories>"
        "<journal-ref>J. 1 (2018)</journal-ref><doi>10.1/x</doi>"
        "<license>http://creativecommons.org/licenses/by/4.0/</license><abstract>  Text.\n</abstract></arXivRaw>"
    )
    assert found.published.isoformat() == "2017-06-12T17:57:34+00:00"
    assert found.updated.isoformat() == "2023-08-02T00:41:18+00:00"
    assert found.meta == {"arxiv": "1706.03762", "version": 10, "doi": "10.1/x", "journal_ref": "J. 1 (2018)"}
    assert (found.title, found.abstract, found.license) == ("A title", "Text.", "CC-BY-4.0")
    assert found.authors == ["Ann Ng", "Bo O'Brien", "C. D. El"]
    assert found.categories == ["cs.CL", "cs.LG"]
    assert found.url == "https://arxiv.org/abs/1706.03762"


def test_arxiv_gives_created_and_updated_and_names_in_reading_order():
    found = paper(
        "<arXiv xmlns='http://arxiv.org/OAI/arXiv/'><id>math/0309136</id><created>2003-09-08</created>"
        "<updated>2004-01-02</updated><authors><author><keyname>da Silva</keyname><forenames>Ana</forenames>"
        "<suffix>Jr</suffix></author><author><keyname>Planck Collaboration</keyname></author></authors>"
        "<title>T</title><abstract>A</abstract></arXiv>"
    )
    assert (found.published.date().isoformat(), found.updated.date().isoformat()) == ("2003-09-08", "2004-01-02")
    assert found.authors == ["Ana da Silva Jr", "Planck Collaboration"]
    assert found.url == "https://arxiv.org/abs/math/0309136"


def test_a_creation_date_that_the_number_contradicts_is_that_of_the_newest_version():
    found = paper(f"<arXiv><id>{ARXIV[-10:]}</id><created>2026-08-30</created><title>T</title></arXiv>", ARXIV)
    assert (found.published.date().isoformat(), found.updated.date().isoformat()) == ("2016-01-01", "2026-08-30")


@pytest.mark.parametrize("body", ["<arXivRaw/>", "<arXiv><id>x</id><created>soon</created></arXiv>", "<dc/>"])
def test_a_record_without_anything_gives_a_paper_without_text(body):
    found = paper(body)
    assert (found.title, found.abstract, found.published) == ("", "", None)


# ---- Dublin Core


def test_dublin_core_takes_the_longest_description_and_the_first_page_address():
    found = dublin_core(
        "<dc:title>T</dc:title><dc:description>Thesis.</dc:description>"
        "<dc:description>The abstract itself.</dc:description><dc:description>Comment: 7 pages, and many words more"
        "</dc:description><dc:identifier>2169-9275</dc:identifier><dc:identifier>doi:10.1029/2020jc1</dc:identifier>"
        "<dc:identifier>https://hdl.handle.net/1/2</dc:identifier><dc:creator>Ng, A.</dc:creator>"
    )
    assert found.abstract == "The abstract itself."
    assert found.url == "https://hdl.handle.net/1/2"
    assert found.meta["doi"] == "10.1029/2020jc1"
    assert found.authors == ["Ng, A."]


@pytest.mark.parametrize(
    ("dates", "published", "updated"),
    [
        (["2022-03-01T18:34:52Z", "2021-04"], "2021-04-01", "2022-03-01"),
        (["1984"], "1984-01-01", None),
        (["2019-05-06", "2019-05-06"], "2019-05-06", None),
        (["in press", "9999-12-31", ""], None, None),
        ([], None, None),
    ],
)
def test_the_earliest_date_is_the_publication(dates, published, updated):
    found = dublin_core("".join(f"<dc:date>{date}</dc:date>" for date in dates))
    assert [date and date.date().isoformat() for date in (found.published, found.updated)] == [published, updated]


@pytest.mark.parametrize(
    ("said", "language"),
    [("eng", "en"), ("ger", "de"), ("en-US", "en"), ("pt_BR", "pt"), ("grc", "grc"), ("English", None), ("", None)],
)
def test_languages_come_in_many_codes(said, language):
    assert dublin_core(f"<dc:language>{said}</dc:language>").language == language


@pytest.mark.parametrize(
    ("said", "license"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/3.0/us/", "CC-BY-NC-SA-3.0-US"),
        ("https://creativecommons.org/licenses/by-nd/4.0/deed.de", "CC-BY-ND-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/", "http://arxiv.org/licenses/nonexclusive-distrib/1.0/"),
        ("All rights\n  reserved", "All rights reserved"),
        ("", None),
    ],
)
def test_a_licence_is_named_where_it_is_known_and_quoted_elsewhere(said, license):
    assert license_of(said) == license


def test_the_licence_with_an_address_is_preferred():
    found = dublin_core("<dc:rights>Attribution</dc:rights><dc:rights>creativecommons.org/licenses/by/4.0</dc:rights>")
    assert found.license == "CC-BY-4.0"


def test_html_in_a_description_is_taken_off_and_formulas_are_left():
    assert (
        dublin_core("<dc:description>&lt;p&gt;One &lt;i&gt;two&lt;/i&gt;&lt;/p&gt;</dc:description>").abstract
        == "One two"
    )
    assert dublin_core("<dc:description>if a&lt;b and p &lt; 0.05 in $x$</dc:description>").abstract == (
        "if a<b and p < 0.05 in $x$"
    )
    assert (
        dublin_core("<dc:description>Rankine&amp;ndash;Hugoniot</dc:description>").abstract == "Rankine\u2013Hugoniot"
    )


@pytest.mark.parametrize(
    "body",
    [
        "<mods><titleInfo><title>T</title></titleInfo><abstract>A</abstract></mods>",
        "<resource><titles><title>T</title></titles><descriptions><description>A</description></descriptions></resource>",
        "<article><front><article-title>T</article-title><abstract><p>A</p></abstract></front></article>",
    ],
)
def test_other_formats_give_title_and_abstract_by_their_names(body):
    found = paper(body)
    assert (found.title, found.abstract) == ("T", "A")


# ---- text and identifiers


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  We show\nthat lines\nare joined.\n", "We show that lines are joined."),
        ("  One\ntwo.\n  Three\nfour.\n", "One two.\n\nThree four."),
        ("One\n      two\n      three.\n   ", "One two three."),
        ("One\n\ntwo", "One\n\ntwo"),
        ("$a$ \\emph{b}  c", "$a$ \\emph{b} c"),
        ("", ""),
    ],
)
def test_wrapped_lines_are_joined_and_paragraphs_kept(text, folded):
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("oai:arXiv.org:1507.03011", ("1507.03011", None)),
        ("oai:arXiv.org:quant-ph/9901001", ("quant-ph/9901001", None)),
        ("http://arxiv.org/abs/math.GT/0309136v12", ("math.GT/0309136", 12)),
        ("https://arxiv.org/abs/2202.12139v1", ("2202.12139", 1)),
        ("oai:dspace.mit.edu:1721.1/97638", None),
        ("https://arxiv.org/api/errors#incorrect_id", None),
        ("", None),
    ],
)
def test_identifiers_of_arxiv_are_told_from_others(text, found):
    assert arxiv_id(text) == found
