"""The rules by which a page's main text is told from the rest, one small page each."""

import pytest

from clet.sources.text.boilerplate import FURNITURE, HIDDEN, MAYBE, PLAIN, VOICES, is_phrase, name_verdict
from clet.sources.text.extract import page_text
from clet.sources.text.markup import SIDES, UNREAD, cut_elements, only_main

SENTENCE = "The council decided after a long debate that the old bridge over the river would be repaired in spring."
TEXT = "".join(f"<p>{SENTENCE} It was paragraph {number} of the report.</p>" for number in range(5))
OTHER = "<p>Somebody else wrote these words, and they are long enough to be taken for a paragraph of the text.</p>"


def kept(markup):
    """What of a page's lines is not a paragraph of TEXT; checks that all of these came through."""
    text = page_text(f"<!doctype html><html><head><title>T</title></head><body>{markup}</body></html>")
    assert [f"paragraph {number} of" in text for number in range(5)] == [True] * 5
    return [line for line in text.split("\n") if line and not line.startswith("The council")]


@pytest.mark.parametrize(
    "beside",
    [
        f"<nav>{OTHER}</nav>",
        f"<aside>{OTHER}</aside>",
        f"<footer>{OTHER}</footer>",
        f"<header><ul><li>{OTHER}</ul></header>".replace("<p>", "").replace("</p>", ""),
        f"<div class='sidebar'>{OTHER}</div>",
        f"<div id='main-menu'>{OTHER}</div>",
        f"<div class='relatedArticles'>{OTHER}</div>",
        f"<section class='comments-area'>{OTHER * 9}</section>",
        f"<ol class='comment-list'>{OTHER * 9}</ol>",
        f"<div class='cookie-consent'>{OTHER}</div>",
        f"<div class='post-newsletter'>{OTHER}</div>",
        f"<div class='author-box'>{OTHER}</div>",
        f"<div role='complementary'>{OTHER}</div>",
        f"<form>{OTHER}</form>".replace("<form>", "<form role=search>"),
        f"<div hidden>{OTHER}</div>",
        f"<div aria-hidden='true'>{OTHER}</div>",
        f"<div style='Display: none'>{OTHER}</div>",
        "<div class='tags'><a href=1>Bridges</a> <a href=2>Rivers</a></div>",
        "<ul><li><a href=1>One more story of ours</a><li><a href=2>And another story</a></ul>",
        "<p><a href=1>Read what else happened</a></p>",
        "<figure><img src=x><figcaption>The bridge in 1901. Photo by somebody who was there.</figcaption></figure>",
        "<p>Advertisement</p>",
        "<p>Facebook Twitter WhatsApp</p>",
        "<p>Lesen Sie auch: Die alte Br\u00fccke</p>",
        "<p>\u00a9 2021 The Paper</p>",
        "<button>Share this</button><select><option>A</select><textarea>b</textarea><iframe>c</iframe>",
    ],
)
@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_what_lies_beside_the_text_goes_wherever_it_stands(beside, place):
    first, rest = TEXT.split("</p>", 1)
    around = {"before": beside + TEXT, "inside": f"{first}</p>{beside}{rest}", "after": TEXT + beside}
    assert kept(f"<div>{around[place]}</div>") == []


def test_a_heading_that_is_a_link_stays_where_text_follows_it():
    first, rest = TEXT.split("</p>", 1)
    heading = "<h3><a href=1>A part of it</a></h3>"
    assert kept(f"<div>{first}</p>{heading}{rest}{heading}<p><a href=2>More</a></p></div>") == ["A part of it"]


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("<h2>A heading</h2>", ["A heading"]),
        ("<ul><li>first<li>second</ul>", ["\u2022 first", "\u2022 second"]),
        ("<ul><li>see <a href=x>this</a> bridge and that one", ["\u2022 see this bridge and that one"]),
        ("<table><tr><th>Year<th>Cost<tr><td>1901<td>12</table>", ["Year | Cost", "1901 | 12"]),
        ("<pre>x = 1\n  y</pre>", ["x = 1", "  y"]),
        ("<blockquote>Short words.</blockquote>", ["Short words."]),
        ("<p>Why?</p>", ["Why?"]),
        ("<p class='field label-hidden hidden-xs'>Shown.</p>", ["Shown."]),
        ("<p class='teaser'>A lead that a name calls a teaser, yet it has no link and is long enough.</p>", 1),
        ("<div class='post tag-menu category-comments has-sidebar'><p>Named for topics.</p></div>", 1),
        ("<div class='kAd hNavXx'><p>Named by a program.</p></div>", 1),
    ],
)
def test_what_belongs_to_the_text_stays(part, lines):
    first, rest = TEXT.split("</p>", 1)
    found = kept(f"<div>{first}</p>{part}{rest}</div>")
    assert len(found) == lines if isinstance(lines, int) else found == lines


def test_the_smallest_box_with_most_of_the_prose_is_the_main_part():
    teasers = "".join(f"<div><h3>Other {n}</h3><p>A teaser of another story here.</p></div>" for n in range(9))
    assert kept(f"<div><div>{TEXT}</div></div><div>{teasers}</div>") == []


def test_an_article_is_kept_with_its_lead_and_headings():
    lead = "In short: the old bridge will be repaired, and that will take all of summer."
    header = f"<header><h1>Bridge</h1><p>{lead}</p></header>"
    assert kept(f"<article>{header}<div>{TEXT}</div></article>") == [lead]


def test_a_lead_between_the_first_heading_and_the_text_is_kept():
    lead = "In short: the old bridge will be repaired, which takes all of summer."
    assert kept(f"<div><h1>Bridge</h1><div class=intro>{lead}</div></div><div class=body>{TEXT}</div>") == [lead]


def test_lines_around_the_text_that_are_no_sentences_go():
    page = f"<div><div>By A. Writer</div><p>May 4</p><div>5 min read</div>{TEXT}<div>Next</div><h4>More</h4></div>"
    assert kept(page) == []


def test_a_name_of_furniture_on_the_box_around_everything_is_not_believed():
    assert kept(f"<div class='ad-portal'><div class='banner'>{TEXT}</div></div>") == []
    assert kept(f"<body class='menu sidebar'><main class='footer'>{TEXT}</main>") == []
    assert kept(f"<aside>{TEXT}</aside>") == []


def test_a_forum_whose_text_is_comments_keeps_them():
    assert kept(f"<div class='comments'>{TEXT}</div>") == []
    posts = TEXT.replace("<p>", "<div class='comments-item reply'><p>").replace("</p>", "</p></div>")
    assert kept(f"<div>{posts}</div>") == []


def test_a_long_thread_of_comments_does_not_become_the_text():
    assert kept(f"<div>{TEXT}</div><div class='comments'>{OTHER * 40}</div>") == []


def test_one_main_element_is_the_page():
    assert kept(f"<div>{OTHER}</div><main>{TEXT}</main><div>{OTHER}</div>") == []
    two = f"<main>{TEXT}</main><main>{TEXT}</main>"
    assert only_main(two) == two
    assert only_main("<main>open") == "<main>open"


def test_a_page_in_a_dense_script_has_prose_in_fewer_characters():
    sentence = "\u5e02\u8bae\u4f1a\u51b3\u5b9a\u4fee\u590d\u65e7\u6865\u3002" * 4
    menu = "<ul><li><a href=1>\u9996\u9875</a><li><a href=2>\u65b0\u95fb</a></ul>"
    text = page_text(f"<body>{menu}<div>{f'<p>{sentence}</p>' * 6}</div>{menu}")
    assert text == "\n\n".join([sentence] * 6)


def test_an_element_is_cut_with_its_end_and_only_then():
    names = UNREAD + SIDES
    assert cut_elements("a<nav>b</nav>c<SCRIPT>d</SCRIPT>e<!-- f -->g", names) == "a c e g"
    assert cut_elements("a<nav>b<nav>c</nav>d", names) == "a<nav>b d"
    assert cut_elements("a<nav>b", names) == "a<nav>b"
    assert cut_elements("a<navigation>b</navigation>", names) == "a<navigation>b</navigation>"
    assert cut_elements("a<script>'<script>'</script>b", names) == "a b"
    assert cut_elements("a<!-- <script> -->b<script>c</script>d", names) == "a b d"
    assert cut_elements("a<!-->b<nav>c</nav", names) == "a b "
    assert cut_elements("<header><h1>a</h1></header><header>b</header>", names) == "<header><h1>a</h1></header> "
    assert cut_elements("<nav>a</nav><svg>b</svg>", UNREAD) == "<nav>a</nav> "


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("container main content", PLAIN),
        ("site-navigation", FURNITURE),
        ("shareBar", FURNITURE),
        ("article__related-posts", VOICES),
        ("authorBio comment", VOICES),
        ("teaser", MAYBE),
        ("hidden", HIDDEN),
        ("is-hidden", HIDDEN),
        ("screen-reader-text", HIDDEN),
        ("label-hidden hidden-xs", PLAIN),
        ("hidden md:block", PLAIN),
        ("post-12 tag-ads category-comments has-sidebar no-menu", PLAIN),
        ("layout with-right sidebar", PLAIN),
        ("header shadow gradient download", PLAIN),
        ("x" * 10_000 + " sidebar", PLAIN),
        ("", PLAIN),
    ],
)
def test_names_are_read_by_their_words(name, verdict):
    assert name_verdict(name) == verdict


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("Advertisement", True),
        ("Share this article", True),
        ("Facebook | Twitter", True),
        ("Read more: the bridge", True),
        ("Foto: A. Writer", True),
        ("Advertisement is what this sentence is about, and so it stays.", False),
        ("Facebook bought the bridge.", False),
        ("He read more than others.", False),
        ("x", True),
        ("The photo: it shows a bridge", False),
        ("Read more " * 50, False),
    ],
)
def test_phrases_of_furniture_are_lines_of_their_own(line, phrase):
    assert is_phrase(line) is phrase
