"""Renders the articles of a publisher as RSS 2.0, Atom, JSON Feed or RSS 1.0 (RDF), as HTML pages and as OPML.

Pure functions from articles to bytes: the same articles and base address give the same bytes, so that a strong ETag
can be the hash of the body. RSS 2.0 has no time of change, therefore re-issued items carry atom:updated there and
dcterms:modified in RDF. Control characters do not occur in the articles; everything else is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.utils import format_datetime
from html import escape
from xml.sax.saxutils import quoteattr

from clet.bench.newsroom.publishers import Publisher
from clet.bench.newsroom.world import Article

CONTENT_TYPES = {
    "rss": "application/rss+xml; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
    "rdf": "application/rdf+xml; charset=utf-8",
}


def rfc3339(moment: datetime) -> str:
    """`moment` (UTC) to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date(moment: datetime) -> str:
    """`moment` (UTC) as HTTP and RSS write it."""
    return format_datetime(moment, usegmt=True)


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def _rss(publisher: Publisher, articles: Sequence[Article], base: str, changed: datetime) -> str:
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:atom="http://www.w3.org/2005/Atom"'
        ' xmlns:content="http://purl.org/rss/1.0/modules/content/">',
        f"<channel><title>{escape(publisher.name)}</title><link>{escape(base)}/{publisher.key}/</link>",
        f"<description>{escape(publisher.tagline)}</description><language>en</language>",
        f'<atom:link rel="self" href={quoteattr(base + publisher.feed_path)}/>',
        f"<lastBuildDate>{http_date(changed)}</lastBuildDate>",
    ]
    for a in articles:
        out += [
            f"<item><title>{escape(a.title)}</title><link>{escape(base + a.url)}</link>",
            f'<guid isPermaLink="false">{escape(a.guid)}</guid><pubDate>{http_date(a.published)}</pubDate>',
            f"<atom:updated>{rfc3339(a.updated)}</atom:updated><dc:creator>{escape(a.author)}</dc:creator>",
            *(f"<category>{escape(c)}</category>" for c in a.categories),
            f"<description>{escape(_summary(a))}</description>",
            f"<content:encoded>{_cdata(a.html)}</content:encoded></item>",
        ]
    return "\n".join([*out, "</channel></rss>", ""])


def _atom(publisher: Publisher, articles: Sequence[Article], base: str, changed: datetime) -> str:
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>{escape(publisher.name)}</title>',
        f"<subtitle>{escape(publisher.tagline)}</subtitle><id>tag:{publisher.domain},2020:feed</id>",
        f'<link rel="self" href={quoteattr(base + publisher.feed_path)}/><updated>{rfc3339(changed)}</updated>',
    ]
    for a in articles:
        out += [
            f'<entry><title>{escape(a.title)}</title><link rel="alternate" href={quoteattr(base + a.url)}/>',
            f"<id>{escape(a.guid)}</id><published>{rfc3339(a.published)}</published>",
            f"<updated>{rfc3339(a.updated)}</updated><author><name>{escape(a.author)}</name></author>",
            *(f"<category term={quoteattr(c)}/>" for c in a.categories),
            f'<summary>{escape(_summary(a))}</summary><content type="html">{escape(a.html)}</content></entry>',
        ]
    return "\n".join([*out, "</feed>", ""])


def _rdf(publisher: Publisher, articles: Sequence[Article], base: str, changed: datetime) -> str:
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"'
        ' xmlns:content="http://purl.org/rss/1.0/modules/content/">',
        f"<channel rdf:about={quoteattr(base + publisher.feed_path)}><title>{escape(publisher.name)}</title>",
        f"<link>{escape(base)}/{publisher.key}/</link><description>{escape(publisher.tagline)}</description>",
        f"<dc:date>{rfc3339(changed)}</dc:date><items><rdf:Seq>",
        *(f"<rdf:li rdf:resource={quoteattr(a.guid)}/>" for a in articles),
        "</rdf:Seq></items></channel>",
    ]
    for a in articles:
        out += [
            f"<item rdf:about={quoteattr(a.guid)}><title>{escape(a.title)}</title><link>{escape(base + a.url)}</link>",
            f"<dc:identifier>{escape(a.guid)}</dc:identifier><dc:date>{rfc3339(a.published)}</dc:date>",
            f"<dcterms:modified>{rfc3339(a.updated)}</dcterms:modified><dc:creator>{escape(a.author)}</dc:creator>",
            *(f"<dc:subject>{escape(c)}</dc:subject>" for c in a.categories),
            f"<description>{escape(_summary(a))}</description>",
            f"<content:encoded>{_cdata(a.html)}</content:encoded></item>",
        ]
    return "\n".join([*out, "</rdf:RDF>", ""])


def _json(publisher: Publisher, articles: Sequence[Article], base: str, changed: datetime) -> str:
    items = [
        {
            "id": a.guid,
            "url": base + a.url,
            "title": a.title,
            "content_html": a.html,
            "summary": _summary(a),
            "date_published": rfc3339(a.published),
            "date_modified": rfc3339(a.updated),
            "authors": [{"name": a.author}],
            "tags": list(a.categories),
            "language": "en",
        }
        for a in articles
    ]
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": publisher.name,
        "description": publisher.tagline,
        "home_page_url": f"{base}/{publisher.key}/",
        "feed_url": base + publisher.feed_path,
        "items": items,
    }
    return json.dumps(feed, ensure_ascii=False, indent=1) + "\n"


_RENDERERS = {"rss": _rss, "atom": _atom, "json": _json, "rdf": _rdf}


def _summary(article: Article) -> str:
    words = article.text.split()
    return " ".join(words[:24]) + (" ..." if len(words) > 24 else "")


def render_feed(publisher: Publisher, articles: Sequence[Article], base: str, changed: datetime) -> bytes:
    """The publisher's feed with `articles` in the given order; `base` is the server's address without a last slash."""
    return _RENDERERS[publisher.feed_format](publisher, articles, base, changed).encode()


def render_page(publisher: Publisher, article: Article) -> bytes:
    """An article as its own page: navigation, headline, body, teasers and footer."""
    corrected = f" (corrected {rfc3339(article.updated)})" if article.updated != article.published else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(article.title)} - {escape(publisher.name)}</title>
<meta name="author" content={quoteattr(article.author)}>
<meta property="article:published_time" content="{rfc3339(article.published)}"></head>
<body><header><a href="/{publisher.key}/">{escape(publisher.name)}</a>
<nav><ul><li><a href="/">Home</a></li><li><a href="/{publisher.key}/">Latest</a></li><li>Region</li><li>Business</li>
<li>Sport</li><li>Culture</li><li>Weather</li></ul></nav></header>
<main><article><h1>{escape(article.title)}</h1>
<p class="byline">By {escape(article.author)}, <time>{rfc3339(article.published)}</time>{corrected}</p>
{article.html}
</article></main>
<aside><h2>Most read</h2><ul><li>Weather for the weekend</li><li>Crossword</li></ul></aside>
<footer>{escape(publisher.tagline)}. Imprint. Privacy. Contact.</footer></body></html>
""".encode()


def render_index(publisher: Publisher, articles: Sequence[Article]) -> bytes:
    """A publisher's front page: its articles, newest first."""
    rows = "\n".join(f"<li><a href={quoteattr(a.url)}>{escape(a.title)}</a></li>" for a in articles)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(publisher.name)}</title>'
        f'<link rel="alternate" href="{publisher.feed_path}"></head>\n<body><h1>{escape(publisher.name)}</h1>'
        f"<p>{escape(publisher.tagline)}</p><ul>\n{rows}\n</ul></body></html>\n"
    ).encode()


def render_opml(publishers: Iterable[Publisher], base: str) -> bytes:
    """Subscription list (OPML 2.0)."""
    rows = "\n".join(
        f'<outline type="rss" text={quoteattr(p.name)} title={quoteattr(p.name)}'
        f" xmlUrl={quoteattr(base + p.feed_path)} htmlUrl={quoteattr(f'{base}/{p.key}/')}/>"
        for p in publishers
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<opml version="2.0"><head><title>Newsroom</title></head><body>\n'
        f"{rows}\n</body></opml>\n"
    ).encode()
