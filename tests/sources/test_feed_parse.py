"""Feeds: every dialect into the same entries, whatever their state; nothing expanded, nothing fetched, nothing slow."""

import json

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.feed.markup import without_doctype
from clet.sources.feed.parse import parse_feed

ADDRESS = "https://n.example/feeds/news"
NAMESPACES = (
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:media="http://search.yahoo.com/mrss/" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" '
    'xmlns:atom="http://www.w3.org/2005/Atom"'
)


def rss(*items, head="", channel=""):
    body = "".join(f"<item>{item}</item>" for item in items)
    return f'{head}<rss version="2.0" {NAMESPACES}><channel><title>News</title>{channel}{body}</channel></rss>'.encode()


def atom(entry, attributes=""):
    head = f'<feed xmlns="http://www.w3.org/2005/Atom" {attributes}><title>News</title>'
    return f"{head}<entry>{entry}</entry></feed>".encode()


def only(body, address=ADDRESS, charset=None):
    (entry,) = parse_feed(body, address, charset).entries
    return entry


# ---- dialects

RDF = f"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
 {NAMESPACES}>
 <channel rdf:about="https://n.example/"><title>News</title></channel>
 <item rdf:about="https://n.example/1"><title>One</title><link>https://n.example/1</link>
 <description>Words.</description><dc:date>2026-01-02T03:04:05+01:00</dc:date><dc:creator>Ann</dc:creator>
 <dc:subject>a</dc:subject></item></rdf:RDF>""".encode()
RSS20 = rss(
    "<title>One</title><link>/1</link><guid isPermaLink='false'>1</guid><description>&lt;p>Words.&lt;/p></description>"
    "<pubDate>Fri, 02 Jan 2026 03:04:05 +0100</pubDate><author>ann@n.example (Ann)</author><category>a</category>"
)
RSS090 = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://my.netscape.com/rdf/simple/0.9/">
 <channel><title>News</title></channel><item><title>One</title><link>https://n.example/1</link></item></rdf:RDF>"""
RSS091 = b"""<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://my.netscape.com/rss-0.91.dtd">
 <rss version="0.91"><channel><title>News</title><item><title>One</title><link>https://n.example/1</link></item></channel></rss>"""
ATOM10 = atom(
    "<id>tag:1</id><title type='html'>&lt;b>One&lt;/b></title><link href='1'/>"
    "<published>2026-01-02T02:04:05Z</published>"
    "<author><name>Ann</name></author><category term='a'/>"
    "<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>Words.</p></div></content>",
    'xml:base="https://n.example/"',
)
ATOM03 = b"""<feed version="0.3" xmlns="http://purl.org/atom/ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
 <title>News</title><author><name>Ann</name></author><entry><id>1</id><title>One</title>
 <link rel="alternate" type="text/html" href="https://n.example/1"/><issued>2026-01-02T03:04:05+01:00</issued>
 <dc:subject>a</dc:subject><content type="text/html" mode="escaped">&lt;p>Words.&lt;/p></content></entry></feed>"""
JSON = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "News",
        "items": [
            {
                "id": 1,
                "url": "/1",
                "title": "One",
                "content_html": "<p>Words.</p>",
                "date_published": "2026-01-02T03:04:05+01:00",
                "authors": [{"name": "Ann"}],
                "tags": ["a", "a", 3],
            }
        ],
    }
).encode()
RSS_JSON = json.dumps(
    {
        "rss": {
            "channel": {
                "title": "News",
                "item": [
                    {
                        "title": "One",
                        "link": "https://n.example/1",
                        "description": "<p>Words.</p>",
                        "pubDate": "Fri, 02 Jan 2026 02:04:05 GMT",
                        "guid": {"isPermaLink": "false", "#value": "1"},
                        "author": "Ann",
                        "category": {"#value": "a"},
                    }
                ],
            }
        }
    }
).encode()


@pytest.mark.parametrize(
    "body",
    [RDF, RSS20, ATOM10, ATOM03, JSON, RSS_JSON],
    ids=["rdf", "rss20", "atom10", "atom03", "json", "rss-in-json"],
)
def test_dialects_give_the_same_entry(body):
    feed = parse_feed(body, ADDRESS)
    (entry,) = feed.entries
    assert feed.title == "News"
    assert (entry.title, entry.link, entry.body) == ("One", "https://n.example/1", "Words.")
    assert (entry.author, entry.tags) == ("Ann", ["a"])
    assert entry.published.isoformat() == "2026-01-02T02:04:05+00:00"


@pytest.mark.parametrize("body", [RDF, RSS20, RSS091, ATOM10, ATOM03])
def test_what_is_not_well_formed_gives_no_other_entry_than_what_is(body):
    assert parse_feed(body + b" </oops>", ADDRESS).entries == parse_feed(body, ADDRESS).entries


@pytest.mark.parametrize("body", [RSS090, RSS091], ids=["rss090", "rss091"])
def test_what_an_entry_lacks_is_null(body):
    entry = only(body)
    assert (entry.title, entry.link) == ("One", "https://n.example/1")
    assert (entry.published, entry.updated, entry.guid, entry.author, entry.tags) == (None, None, None, None, [])


def test_an_atom_entry_may_stand_alone():
    body = b'<entry xmlns="http://www.w3.org/2005/Atom"><title>One</title><id>https://n.example/1</id></entry>'
    assert (only(body).title, only(body).link) == ("One", "https://n.example/1")


def test_namespaces_are_known_by_address_whatever_the_prefix():
    body = b"""<r:rss xmlns:r="http://backend.userland.com/rss2" xmlns:c="HTTP://purl.org/rss/1.0/modules/content/"><r:channel>
      <r:item><r:title>One</r:title><c:encoded>Words.</c:encoded></r:item></r:channel></r:rss>"""
    assert (only(body).title, only(body).body) == ("One", "Words.")


def test_only_an_entrys_own_fields_count():
    body = atom(
        "<source><title>Other</title><id>other</id><link href='https://o.example/'/></source>"
        "<media:content xmlns:media='http://search.yahoo.com/mrss/'><media:title>Picture</media:title></media:content>"
        "<title>One</title><id>1</id><link rel='replies' href='/talk'/><link rel='edit' href='/edit'/><link href='/1'/>"
    )
    entry = only(body)
    assert (entry.title, entry.guid, entry.link) == ("One", "1", "https://n.example/1")
    assert only(rss("<image><title>x</title></image><title>One</title>")).title == "One"


# ---- fields


def test_the_fullest_text_counts_and_media_only_where_there_is_no_other():
    full, short = "<content:encoded>A long text here.</content:encoded>", "<description>Short.</description>"
    caption = "<media:description>A much longer caption.</media:description>"
    media = f"<media:group><media:title>Clip</media:title>{caption}</media:group>"
    assert only(rss(short + full + media)).body == "A long text here."
    assert only(rss("<content:encoded/>" + short + media)).body == "Short."
    assert (only(rss(media)).title, only(rss(media)).body) == ("Clip", "A much longer caption.")
    assert only(rss("<itunes:summary>Told.</itunes:summary>")).body == "Told."
    assert only(rss("<dc:title>One</dc:title><dc:description>D.</dc:description>")).body == "D."


def test_attachments_are_bounded_and_only_web_addresses():
    links = "".join(f'<enclosure url="/{n}.mp3" type="audio/mpeg"/>' for n in range(99))
    entry = only(rss('<media:content url="file:///etc/passwd"/>' + links))
    assert len(entry.enclosures) == 8
    assert entry.enclosures[0] == {"url": "https://n.example/0.mp3", "type": "audio/mpeg"}


def test_links_are_resolved_against_the_feed_and_every_xml_base():
    assert only(rss("<link>../x</link>")).link == "https://n.example/x"
    assert only(rss("<guid>https://n.example/p</guid>")).link == "https://n.example/p"
    assert only(rss("<guid isPermaLink='false'>https://n.example/p</guid>")).link is None
    assert only(rss("<link/><atom:link href='/a'/>")).link == "https://n.example/a"
    based = atom("<link xml:base='c/' href='d'/>", 'xml:base="https://m.example/b/"')
    assert only(based).link == "https://m.example/b/c/d"
    in_a_file = rss("<link>/x</link>", channel="<link>https://n.example/</link>")
    assert only(in_a_file, None).link == "https://n.example/x"
    assert only(rss("<link>https://n.example/?a=1&amp;copy=2</link>")).link == "https://n.example/?a=1&copy=2"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "file:///etc/passwd", "mailto:a@b", "http://", "http://[::1", ""]
)
def test_only_web_links_are_kept(link):
    assert only(rss(f"<title>t</title><link>{link}</link>")).link is None


def test_the_link_for_people_is_preferred():
    body = atom(
        "<link rel='self' href='/self'/><link rel='enclosure' href='/a.mp3'/><link type='application/json' href='/j'/>"
        "<link rel='alternate' type='text/html' href='/1'/>"
    )
    assert only(body).link == "https://n.example/1"


def test_dates_of_entries_the_first_that_is_one():
    assert only(rss("<pubDate>soon</pubDate><dc:date>2026-01-02</dc:date>")).published.day == 2
    entry = only(atom("<updated>2026-01-03T00:00:00Z</updated><published>2026-01-02T00:00:00Z</published>"))
    assert (entry.published.day, entry.updated.day) == (2, 3)
    assert only(atom("<updated>2026-01-03T00:00:00Z</updated>")).published.day == 3


def test_authors_languages_and_licences():
    two = "<author><name>Ann</name></author><author><name>Bob</name></author>"
    assert only(atom(two)).author == "Ann, Bob"
    assert only(rss("<author>ann@n.example</author>")).author == "ann@n.example"
    feed = parse_feed(rss("<dc:language>fr-CA</dc:language>", channel="<language>en-us</language>"), None)
    assert (feed.language, feed.entries[0].language) == ("en", "fr")
    licensed = atom("<link rel='license' href='https://creativecommons.org/licenses/by-sa/4.0/'/>")
    assert only(licensed).license == "CC-BY-SA-4.0"


# ---- text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Vec&lt;T> &amp;amp; Box&lt;dyn Trait>", "Vec<T> & Box<dyn Trait>"),
        ("&lt;b>Bold&lt;/b> &amp;amp; plain", "Bold & plain"),
        ("<![CDATA[<em>One</em> &#8217;]]>", "One \u2019"),
        ("&amp;lt;p&amp;gt;Twice&amp;lt;/p&amp;gt;", "Twice"),
        ("The &amp;lt;video&amp;gt; element", "The <video> element"),
        ("a &lt; b", "a < b"),
        ("AT&amp;T", "AT&T"),
        ("It&#146;s", "It\u2019s"),
        ("  two\n lines ", "two lines"),
        ("&#x9b;\u0085", "\u203a\u2026"),
    ],
)
def test_titles_as_a_reader_sees_them(written, read):
    assert only(rss(f"<title>{written}</title>")).title == read


def test_atom_says_which_titles_are_text():
    assert only(atom("<title>The &lt;video&gt; element</title>")).title == "The <video> element"
    assert only(atom("<title>Don&amp;#8217;t</title>")).title == "Don\u2019t"
    assert only(atom("<title type='html'>&lt;i>One&lt;/i></title>")).title == "One"
    assert only(atom("<content type='image/png'>iVBORw0KGgo=</content>")).body == ""


def test_markup_becomes_text_with_its_blocks_tables_and_figures():
    full = (
        "<p>First &amp;amp; best.</p><ul><li>one<li>two</ul><script>x()</script><p hidden>no</p>"
        "<figure><table><tr><td>1<td>2</table><figcaption>Cap</figcaption></figure>"
    )
    body = only(rss(f"<content:encoded><![CDATA[{full}]]></content:encoded>")).body
    assert body.split() == ["First", "&amp;", "best.", "\u2022", "one", "\u2022", "two", "1", "|", "2", "Cap"]
    inline = "<description><p>Not <b>escaped</b> at all.</p><p>Two.</p></description>"
    assert only(rss(inline)).body.split("\n\n") == ["Not escaped at all.", "Two."]


def test_json_text_is_taken_as_it_is():
    item = {"id": "1", "title": "<i> and <b>", "content_text": "a <b>c</b?> &amp;\n\n d"}
    entry = only(json.dumps({"title": "t", "items": [item]}).encode())
    assert (entry.title, entry.body) == ("<i> and <b>", "a <b>c</b?> &amp;\n\n d")


@pytest.mark.parametrize("title", ["\x1b[31mRed\x1b[0m", "\x1b]0;owned\x07Red", "R\0ed", "R\x07e\x08d"])
def test_terminal_sequences_nul_and_controls_are_dropped(title):
    assert only(json.dumps({"title": "t", "items": [{"title": title, "content_text": title}]}).encode()).title == "Red"
    assert only(rss(f"<title>{title}</title><description>{title}</description>")).body == "Red"


def test_lone_surrogates_are_marked():
    body = (
        b'{"title":"t","items":[{"id":"\\ud800","url":"/\\udfff","title":"a \\ud83d b","content_text":"c\nd \\udc00"}]}'
    )
    entry = only(body)
    assert (entry.guid, entry.title, entry.body) == ("\ufffd", "a \ufffd b", "c\nd \ufffd")
    assert only(rss("<title>a &#xD83D; b</title>")).title == "a b"


# ---- encodings


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("head", ['<?xml version="1.0" encoding="utf-16"?>', ""])
def test_wide_encodings_with_and_without_a_mark(encoding, head):
    body = rss("<title>F\u00fc\u00dfe</title>", head=head).decode().encode(encoding)
    assert only(body).title == "F\u00fc\u00dfe"


def test_declared_encodings_are_obeyed_where_the_bytes_allow():
    text = rss("<title>\u65b0\u95fb</title>", head='<?xml version="1.0" encoding="gb2312"?>').decode()
    assert only(text.encode("gb2312")).title == "\u65b0\u95fb"
    plain = rss("<title>\u65b0\u95fb</title>").decode().encode("gb2312")
    assert only(plain, charset="gb2312").title == "\u65b0\u95fb"
    latin = rss("<title>F\u00fc\u00dfe</title>", head='<?xml version="1.0" encoding="iso-8859-1"?>').decode()
    assert only(latin.encode("latin-1")).title == "F\u00fc\u00dfe"
    assert only(latin.encode("latin-1"), charset="utf-8").title == "F\u00fc\u00dfe"
    assert only(latin.encode("utf-8")).title == "F\u00fc\u00dfe"
    assert only(latin.encode("utf-8"), charset="iso-8859-1").title == "F\u00fc\u00dfe"
    assert only(rss("<title>F\u00fc\u00dfe</title>").decode().encode("latin-1")).title == "F\u00fc\u00dfe"


def test_mixed_encodings_are_read_piece_by_piece():
    filler = "<description>" + "\u00e4\u00f6\u00fc\u20ac " * 20 + "</description>"
    body = rss(f"<title>F\u00fc\u00dfe QQ</title>{filler}").replace(b"QQ", b"\x93quoted\x94 \xe9")
    assert only(body).title == "F\u00fc\u00dfe \u201cquoted\u201d \u00e9"


# ---- faults


@pytest.mark.parametrize(
    "body",
    [
        rss("<title>A & B &nbsp; <br> C</title>"),
        rss("<title>A & B &nbsp; <br> C").replace(b"</channel></rss>", b""),
        b"\n \xef\xbb\xbf" + rss("<title>A &amp; B C</title>"),
        b"<br />\n<b>Warning</b>: x in <b>y</b>\n" + rss("<title>A &amp; B C</title>", head='<?xml version="1.0"?>'),
        rss("<title>A &#11; B C</title>").replace(b"&#11;", b"& \x0b"),
        rss("<title>A &amp; B C</title>").replace(b"xmlns:", b"data-"),
        rss("<title>A &amp; B C</title>", head='<?xml version="1.1"?>'),
        b"<!DOCTYPE html><html><body>" + rss("<title>A &amp; B C</title>") + b"</body></html>",
    ],
)
def test_what_is_not_well_formed_is_read_all_the_same(body):
    assert only(body).title == "A & B C"


def test_prefixes_without_a_declaration_are_known_by_custom():
    body = rss("<content:encoded>Words.</content:encoded><dc:creator>Ann</dc:creator>").replace(
        NAMESPACES.encode(), b""
    )
    assert (only(body).body, only(body).author) == ("Words.", "Ann")


def test_a_feed_cut_short_gives_what_is_there():
    whole = rss(*(f"<title>{n}</title><description>{n} {'x' * 50}</description>" for n in range(9)))
    for cut in range(whole.index(b"<item>"), len(whole), 7):
        entries = parse_feed(whole[:cut], None).entries
        assert [entry.title for entry in entries[:-1]] == [str(n) for n in range(len(entries) - 1)]
    assert len(entries) == 9


def test_an_item_that_is_not_closed_ends_where_the_next_begins():
    titles = [entry.title for entry in parse_feed(rss("<title>1").replace(b"</item>", b"<item><title>2"), None).entries]
    assert titles == ["1", "2"]


def test_nested_defaults_do_not_leak():
    body = atom(
        "<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'>A & B</div></content><title>One</title>"
    )
    assert (only(body).title, only(body).body) == ("One", "A & B")


@pytest.mark.parametrize("end", ["", " &oops;"])  # well-formed and not
def test_no_entity_is_expanded_or_fetched(end):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    head = (
        '<?xml version="1.0"?><!DOCTYPE r [<!-- don\'t ]> --><!ENTITY l0 "lol<rss>">'
        f'{laughs}<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY % y SYSTEM "http://127.0.0.1:9/">%y;]>'
    )
    entry = only(rss(f"<title>&l11;{end}</title><description>a &x; b</description>", head=head))
    assert len(entry.title) < 20
    assert "root:" not in entry.body
    assert without_doctype(head.encode() + b"<r/>") == b'<?xml version="1.0"?><r/>'


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"  \n", b"just text", b"{}", b"[1]", b'{"items": 3}', b"{", b'{"rss": 1}', b"\0\1\2" * 99),
        *(
            b"<!doctype html><html><p>hi</p>",
            b'<?xml version="1.0"?><html><p>hi</p></html>',
            b"<urlset><url/></urlset>",
        ),
        *(b"<!DOCTYPE a [" + b'"' * 999 + b"<rss/>", b"<a>" * 20_000, b"<!DOCTYPE rss [<rss/>", b"{" * 5000),
        *(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, b"\x7fELF" + b"\0" * 500 + b"<rss><channel><item>"),
    ],
)
def test_what_is_no_feed_is_a_failure(body):
    with pytest.raises(SourceFailed):
        parse_feed(body, None)


def test_a_page_in_place_of_a_feed_is_told_with_the_feed_it_names():
    page = b'<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="/rss"></head>'
    with pytest.raises(SourceFailed, match=r"an HTML page, not a feed; the page names https://n\.example/rss"):
        parse_feed(page, ADDRESS)


N = 300_000


@pytest.mark.parametrize(
    "piece",
    [
        *(
            b"<",
            b"&",
            b"<![CDATA[",
            b"<!--",
            b"<a b=",
            b"<a>",
            b"<?",
            b"</a",
            b'<a b="',
            b"<!A",
            b"&amp",
            b"]]>",
            b"&x;",
        ),
        *(b"<a b='\">", b"<category>c</category>", b"<link href='a'/>", b"<author>a@", b"a@a.", b"&#0;", b"<p><a>"),
    ],
)
def test_hostile_bodies_cost_one_pass(piece):
    """Each of these is quadratic in some reader: at this length that would be minutes."""
    body = b"<rss><channel><item><title>t</title><author>" + piece * (N // len(piece))
    assert [entry.title for entry in parse_feed(body, None).entries] == ["t"]


def test_formatting_that_is_never_closed_is_passed_over():
    body = "".join(f"<b id={n}><p>{n}" for n in range(20_000))
    assert only(rss(f"<description><![CDATA[{body}]]></description>")).body.split() == [str(n) for n in range(20_000)]


def test_a_line_of_ten_megabytes():
    words = b"word " * 2_000_000
    for body in (
        rss("<title>One</title><description>QQ</description>"),
        rss("<title>One &</title><description>QQ</description>"),
    ):
        entry = only(body.replace(b"QQ", words))
        assert len(entry.body) == len(words) - 1


def test_too_many_tags_and_entries_are_refused():
    with pytest.raises(SourceFailed, match="over 50000 entries"):
        parse_feed(rss("").replace(b"<item></item>", b"<item/>" * 50_001), None)
    with pytest.raises(SourceFailed, match="tags"):
        parse_feed(b"<rss>" + b"<a>" * (1 << 20), None)


# ---- lists


def test_opml_lists_its_feeds_once_and_resolved():
    body = (
        b'<opml version="1.0"><body><outline text="x"><outline xmlUrl="https://a.example/f"/>'
        b'<outline xmlURL="/g"/></outline><outline xmlUrl="feed://b.example/h"/><outline xmlUrl="feed:https://c.example/"/>'
        b'<outline xmlUrl="https://a.example/f"/><outline text="none"/></body></opml>'
    )
    expected = ["https://a.example/f", "https://n.example/g", "http://b.example/h", "https://c.example/"]
    assert parse_feed(body, ADDRESS).lists == expected
    assert parse_feed(body.replace(b"</outline>", b"", 1).replace(b"x", b"x & y", 1), ADDRESS).lists == expected


def test_a_tag_of_endless_attributes_is_refused_before_it_is_parsed():
    attributes = " ".join(f'a{number}="x"' for number in range(20_000))
    with pytest.raises(SourceFailed, match="a tag of over"):
        parse_feed(f'<rss version="2.0"><channel><item {attributes}/></channel></rss>'.encode(), None)
