"""Filings' markup and typescript into text: every number shown in the row of its label, the furniture of pages gone."""

import re

import pytest

from clet.sources.edgar.filing_text import MAX_DEPTH, filing_text
from clet.sources.edgar.lines import join_signs
from clet.sources.edgar.plain_text import plain_text

INLINE = """<?xml version='1.0' encoding='ASCII'?>
<html xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><head><title>x-20241231</title><style>p {color: red}</style></head>
<body><div style="display:none"><ix:header><ix:hidden><ix:nonNumeric name="dei:EntityCentralIndexKey">0000777
</ix:nonNumeric></ix:hidden></ix:header></div>
<div><ix:nonNumeric name="dei:EntityRegistrantName">Widget&#160;Corp.</ix:nonNumeric> reports
<ix:continuation id="c">the <span>year</span></ix:continuation>.</div>
<table><tr><td colspan="3"></td><td>2024</td><td></td><td>2023</td></tr>
<tr><td>Net sales</td><td>&#160;</td><td>$</td><td><ix:nonFraction name="us-gaap:Revenues">1,234</ix:nonFraction></td>
<td>$</td><td>987</td></tr>
<tr><td>Net loss</td><td></td><td>(<ix:nonFraction name="l">12</ix:nonFraction></td><td>)</td>
<td>( 3.5</td><td>)%</td></tr><tr><td>Change</td><td>25</td><td>%</td><td>$ 7.10</td><td>&#8212;</td></tr></table>
<p hidden>secret</p><p style="DISPLAY : none">hidden</p><script>var x = 66;</script><!-- 55 --></body></html>"""


def test_inline_xbrl_is_unwrapped_and_its_hidden_part_dropped():
    text = filing_text(INLINE)
    assert text.startswith("Widget Corp. reports the year.\n")
    for word in ("0000777", "secret", "hidden", "66", "55", "color", "x-2024"):
        assert word not in text


def test_table_rows_are_lines_with_signs_at_their_numbers():
    assert filing_text(INLINE).split("\n\n")[1].split("\n") == [
        "2024 | 2023",
        "Net sales | $1,234 | $987",
        "Net loss | (12) | (3.5)%",
        "Change | 25% | $7.10 | \u2014",
    ]


@pytest.mark.parametrize(
    ("cells", "joined"),
    [
        (["Debt", "$", "5", "US$", "(", "8", ")"], ["Debt", "$5", "US$(8)"]),
        (["(In millions)", "2024", "$", "%"], ["(In millions)", "2024", "$", "%"]),
        (["Margin", "12", "% )", "1.5", "x"], ["Margin", "12%)", "1.5x"]),
        (["Note", "(", "see below", ")"], ["Note", "(", "see below", ")"]),
        (["\u20ac", "9", "bps"], ["\u20ac9bps"]),
    ],
)
def test_signs_join_numbers_and_nothing_else(cells, joined):
    assert join_signs(cells) == joined


def test_every_visible_number_of_a_large_table_stays_in_its_row():
    rows = [(f"Line {chr(65 + i % 26)}{chr(65 + i // 26)}", i * 7919 % 99991, i * 104729 % 9973) for i in range(300)]
    markup = "".join(f"<tr><td><p>{a}</p></td><td>$</td><td>{b:,}</td><td>({c}</td><td>)</td></tr>" for a, b, c in rows)
    assert filing_text(f"<table>{markup}</table>").split("\n") == [f"{a} | ${b:,} | ({c})" for a, b, c in rows]


def test_tables_that_only_place_text_give_paragraphs():
    layout = (
        "<table><tr><td></td><td><p>One.</p><p>Two.</p></td></tr><tr><td>\u2022</td><td>Point one</td></tr></table>"
    )
    assert filing_text(f"{layout}<p>End.") == "One.\nTwo.\n\u2022 Point one\nEnd."


def test_a_table_inside_a_cell_keeps_its_own_rows():
    inner = "<table><tr><td>Rent</td><td>7</td></tr><tr><td>Heat</td><td>8</td></tr></table>"
    text = filing_text(f"<table><tr><td>Left</td><td>{inner}</td></tr></table>")
    assert text == "Left\n\nRent | 7\nHeat | 8"


def paged(footer, header="", pages=6):
    page_break = "<hr style='page-break-after:always'>"
    page = f"<p>On page {{n}} sales grew to {{m}},000 and</p>{{footer}}{page_break}{{header}}<p>fell in {{m}}.</p>"
    return "".join(page.format(n=n, m=n, footer=footer.format(n=n), header=header) for n in range(2, 2 + pages))


@pytest.mark.parametrize(
    "footer",
    [
        "<p>{n}</p>",
        "<div>- {n} -</div>",
        "<p>Page {n} of 90</p>",
        "<p>F-{n}</p>",
        "<p>Widget Corp. | 2024 Form 10-K | {n}</p>",
    ],
)
def test_page_numbers_go_and_what_the_page_cut_is_joined(footer):
    lines = filing_text(paged(footer)).split("\n")
    assert lines == [f"On page {n} sales grew to {n},000 and fell in {n}." for n in range(2, 8)]


def test_running_headers_stay_once_and_back_links_go():
    header = "<p><a href='#toc'>Table of Contents</a></p><p>WIDGET CORP. NOTES (Continued)</p>"
    text = filing_text("<p><a name='toc'>Table of Contents</a></p>" + paged("<p>{n}</p>", header))
    assert text.count("WIDGET CORP. NOTES (Continued)") == 1
    assert text.count("Table of Contents") == 1


def test_a_number_that_is_no_page_number_stays():
    table = "<table><tr><td>Employees</td><td>12</td></tr><tr><td>2024</td></tr></table><hr><p>1,500</p><hr>"
    assert filing_text(table) == "Employees | 12\n2024\n\n1,500"


def test_a_note_above_the_line_does_not_change_the_number_before_it():
    assert filing_text("<p>in 2024<sup>1</sup> and 10<sup>th</sup>") == "in 2024 1 and 10th"


def test_check_boxes_in_symbol_fonts_are_readable():
    markup = "<p>Yes <font face='Wingdings'>&#254;</font> No <font style='font:10pt Wingdings'>&#168;</font></p>"
    assert filing_text(markup) == "Yes [X] No [ ]"


def test_old_markup_and_fragments_without_a_body():
    fragment = "<P ALIGN=center><B>ITEM 1<P>First<BR>second &amp; third<TABLE><TR><TD>a<TD>1<TR><TD>b<TD>2</TABLE>rest"
    assert filing_text(fragment) == "ITEM 1\nFirst\nsecond & third\n\na | 1\nb | 2\n\nrest"
    assert filing_text("Just words") == "Just words"
    assert filing_text("") == ""


def test_preformatted_pages_inside_html_are_rows():
    assert (
        filing_text("<html><pre>\n<PAGE>  3\nSales      $  12      (3)\nwords here\n</pre>")
        == "Sales | $12 | (3)\nwords here"
    )


@pytest.mark.parametrize("tag", ["<div>", "<table><tr><td>", "<font>", "<ul><li>"])
def test_nesting_has_no_recursion_limit(tag):
    for depth in (5000, MAX_DEPTH + 1):
        assert filing_text(f"<p>before</p>{tag * depth}deep 7").split() == ["before", "deep", "7"]


def test_a_storm_of_stray_end_tags_ends():
    assert filing_text("<b>" * 90_000 + "<p>word</p>" + "</i>" * 200_000).strip() == "word"


ASCII = """<PAGE>   3

ITEM 6.  SELECTED FINANCIAL DATA &amp; NOTES
<TABLE>
<CAPTION>
                                  YEAR ENDED DECEMBER 31,
                                ---------------------------
                                   1995            1994
<S>                             <C>             <C>
Net sales.....................  $  1,234        $  1,000
Net loss . . . . . . . . . . .       (12)            (9)%
                                ===========     ===========
<FN>
<F1> Restated.
</FN>
</TABLE>

The Company believes that the
                                      3
<PAGE>   4
same holds.  It may    not
"""


def test_typed_tables_become_rows_and_page_marks_go():
    assert plain_text(ASCII).split("\n") == [
        "ITEM 6.  SELECTED FINANCIAL DATA & NOTES",
        "",
        "YEAR ENDED DECEMBER 31,",
        "1995 | 1994",
        "Net sales | $1,234 | $1,000",
        "Net loss | (12) | (9)%",
        "Restated.",
        "",
        "The Company believes that the same holds.  It may | not",
    ]


def test_every_number_in_typescript_stays():
    numbers = re.findall(r"\d[\d,]*", ASCII.replace("<PAGE>   3", "").replace("<PAGE>   4", "").replace("<F1>", ""))
    text = plain_text(ASCII)
    assert [number for number in numbers if number not in text] == []
