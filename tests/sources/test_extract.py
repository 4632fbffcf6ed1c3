"""Markup to what a reader sees, and what a page says of itself."""

import random
from datetime import UTC, datetime

import pytest

from clet.sources.text.extract import (
    fragment_text,
    looks_like_html,
    page_date,
    page_language,
    page_text,
    page_title,
)

SENTENCE = "The council decided after a long debate that the old bridge over the river would be repaired in spring. "
STORY = "".join(f"<p>{SENTENCE}Paragraph {number}.</p>" for number in range(5))


def lines(text):
    return [line for line in text.split("\n") if line]


def test_a_fragment_keeps_its_blocks_and_loses_what_is_hidden():
    text = fragment_text(
        "<h2>Head</h2><p>One <b>two</b>.<br>Three &amp; <a href=x>four</a></p><ul><li>a</li><li>b</li></ul>"
        "<pre>x  y\n  z</pre><style>s</style><script>j</script><!-- c -->"
        "<p style='display:none'>h</p><p hidden>h</p><template>h</template><p aria-hidden=true>h</p>"
        "<span class='sr-only'>h</span><span style='visibility: hidden'>h</span><nav>Menu</nav>"
    )
    assert lines(text) == ["Head", "One two.", "Three & four", "\u2022 a", "\u2022 b", "x  y", "  z", "Menu"]


def test_paragraphs_stand_apart_and_lists_and_rows_are_lines():
    assert fragment_text("<p>a<p>b<div>c<div>d</div>e</div>f") == "a\n\nb\n\nc\n\nd\n\ne\n\nf"
    assert fragment_text("<ol><li>one<li>two<ul><li>x<li>y</ul><li>three</ol>end") == (
        "1. one\n2. two\n  \u2022 x\n  \u2022 y\n3. three\n\nend"
    )
    assert fragment_text("<dl><dt>t<dd>d<dt>u<dd>e</dl>") == "t\nd\nu\ne"
    assert fragment_text("<table><tr><th>a<th>b<tr><td>1<td>2</table>") == "a | b\n1 | 2"
    assert fragment_text("<table><tr><td>a<p>b</p><td>2<br>3</table>") == "a b | 2 3"


def test_a_table_that_only_places_paragraphs_gives_paragraphs():
    cell = "".join(f"<p>{number}</p>" for number in range(4))
    assert fragment_text(f"<table><tr><td>{cell}<td>side</table>") == "0\n\n1\n\n2\n\n3\n\nside"


def test_white_space_is_kept_where_it_is_meant():
    code = "def f(x):\n\treturn  x\n\n\nf(1)"
    assert fragment_text(f"<p>a\n  b\t c&nbsp;d</p><pre><code>\n{code}  \n</code></pre><p>e") == (
        "a b c d\n\ndef f(x):\n\treturn  x\n\nf(1)\n\ne"
    )
    assert fragment_text("<p>one<br>two<br><br><br><br>three") == "one\ntwo\n\nthree"
    assert fragment_text("w<b>or</b>d <i>in</i>line<span> x</span>") == "word inline x"


def test_what_nobody_reads_aloud_is_left_out():
    assert fragment_text("<p>hy\u00adphen\u200b \ue192 icon") == "hyphen icon"
    assert fragment_text("<ruby>\u6f22<rp>(</rp><rt>kan</rt><rp>)</rp>\u5b57</ruby>") == "\u6f22\u5b57"
    formula = "<math><mi>a</mi><annotation encoding='application/x-tex'>a^2</annotation></math>"
    assert fragment_text(f"<p>if {formula} holds") == "if a^2 holds"


def test_text_without_markup_is_taken_as_it_is():
    assert fragment_text("a < b\n\nc > d") == "a < b\n\nc > d"
    assert fragment_text("") == fragment_text("<p> </p>") == fragment_text("<!-- -->") == ""


def test_depth_and_broken_markup_do_no_harm():
    assert fragment_text("<div>" * 100_000 + "deep") == "deep"
    assert page_text("<div>" * 50_000 + SENTENCE + "</p>" * 50_000) == SENTENCE.strip()
    assert fragment_text("<p>a<b>b</p>c</i></div>&#xD800;&#0;").startswith("ab")
    assert fragment_text("<table><td>x</div></tr><p>y</table></p>z").split() == ["x", "y", "z"]
    assert "\x1b" not in fragment_text("<p>&#27;[31m red</p>")
    assert page_text("<p>\ud800\x00\ufffe" + SENTENCE).encode().strip()
    assert page_text("<p " + " ".join(f"a{number}=1" for number in range(50_000)) + ">" + SENTENCE) == SENTENCE.strip()
    assert page_text("<p class='" + "menu " * 100_000 + "'>" + SENTENCE) == SENTENCE.strip()


def test_elements_that_are_never_closed_cost_no_quadratic_time():
    for opening in ("<nav>", "<header><aside>", "<!--", "<script", "<title", "<svg><style>", '"articleBody": "', "<a "):
        page_text(opening * 20_000)
        page_title(opening * 20_000)
        page_date(opening * 20_000)


def test_any_damage_leaves_text_that_can_be_written():
    page = f"<!doctype html><html><head><title>T</title></head><body><nav><a href=/>x</a></nav><main>{STORY}</main>"
    noise = random.Random(2)
    tags = ["<nav>", "</nav>", "<!--", "-->", "<script>", "</main>", "<pre>", "</td>", "<li>", "</a>", "\0", "&#xD800;"]
    for _ in range(200):
        damaged = page
        for _ in range(noise.randrange(1, 8)):
            place = noise.randrange(len(damaged))
            damaged = damaged[:place] + noise.choice(tags) + damaged[place + noise.randrange(20) :]
        page_text(damaged).encode()
        fragment_text(damaged).encode()


def test_a_page_keeps_its_main_part():
    head = "<html><head><title>T\n t</title></head><body><nav><a href=/>Home</a></nav>"
    page = f"{head}<article>{STORY}</article><footer>Foot</footer>"
    assert lines(page_text(page)) == [f"{SENTENCE}Paragraph {number}." for number in range(5)]
    assert page_title(page) == "T t"


def test_a_page_without_a_main_part_is_kept_whole():
    assert page_text("<html><body><p>Short.") == "Short."
    assert lines(page_text("<body><ul><li><a href=1>First</a><li><a href=2>Second</a></ul>")) == [
        "\u2022 First",
        "\u2022 Second",
    ]


def test_a_page_that_hides_itself_until_its_scripts_have_run_is_read():
    assert page_text(f"<body style='visibility:hidden'><p>{SENTENCE}</p><p hidden>No.</p>") == SENTENCE.strip()
    assert page_text(f"<body><div aria-hidden=true><p>{SENTENCE}</p></div>") == SENTENCE.strip()


def test_a_page_made_by_a_script_gives_the_text_of_its_linked_data():
    body = (SENTENCE * 4).strip()
    page = '<body><div id=app></div><script type="application/ld+json">{"articleBody" : "%s \\u00e9"}</script>'
    assert page_text(page % body) == f"{body} \u00e9"
    assert page_text(f"<p>{SENTENCE}</p>" + page % "short") == SENTENCE.strip()


def test_precise_is_trafilaturas_text():
    pytest.importorskip("trafilatura")
    page = f"<html><body><nav><a href=/>Home</a></nav><article>{STORY}</article></body></html>"
    assert "Paragraph 4." in page_text(page, "precise")
    assert "Home" not in page_text(page, "precise")
    assert page_text("<p>Short.", "precise") == "Short."


def test_precise_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"needs trafilatura; pip install 'clet\[precise\]'"):
        page_text("<p>x", "precise")


@pytest.mark.parametrize(
    ("text", "html"), [("<!-- c -->\n<!DOCTYPE HTML>", True), ("<html>", True), ("# md <html>", False), ("", False)]
)
def test_html_is_told_by_its_beginning(text, html):
    assert looks_like_html(text) is html


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<TITLE lang=en>A &amp; b\n c</TITLE>", "A & b c"),
        ("<title>open", None),
        ("<title></title>", None),
        ("<p>title", None),
        (f"<title>{'x' * 5000}</title>", None),
    ],
)
def test_a_title_is_what_its_element_holds(markup, title):
    assert page_title(markup) == title


def test_a_language_is_what_the_page_declares():
    assert page_language('<!doctype html><html class=a lang="de-AT">') == "de"
    assert page_language("<html><p lang=fr>") is None


@pytest.mark.parametrize(
    ("head", "day"),
    [
        ('<meta property="article:published_time" content="2021-03-04T05:06:07+02:00">', 4),
        ("<meta content='2021-03-04' itemprop=datePublished>", 4),
        ('<script type="application/ld+json">{"datePublished": "2021-03-04T05:06:07Z"}</script>', 4),
        ('<time pubdate datetime="2021-03-04">March</time>', 4),
        ('<time itemprop="datePublished" datetime="2021-03-04">', 4),
        ('<meta name="article:modified_time" content="2021-03-04">', None),
        ('<time datetime="2021-03-04">', None),
        ('<meta name="datePublished" content="last Tuesday">', None),
        # Two articles, or a page and its teasers: which of them is meant is a guess.
        ('{"datePublished": "2021-03-04"}, {"datePublished": "2021-03-05"}', None),
        ('<meta property="article:published_time" content="2021-03-04">{"datePublished": "2020-01-01"}', 4),
    ],
)
def test_a_date_is_given_only_where_the_page_states_it(head, day):
    found = page_date(f"<html><head>{head}</head><body>2021-03-09")
    assert found is None if day is None else found.astimezone(UTC).date() == datetime(2021, 3, day).date()
