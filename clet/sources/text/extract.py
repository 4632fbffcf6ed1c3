"""HTML into the text a reader sees.

`page_text` keeps the main part of a whole page (`main_text.py`, or Trafilatura by `precise.py`); `fragment_text` keeps
all of a piece of markup, such as a feed's entry. Paragraphs stay apart, list items and table rows are lines, what is
preformatted keeps its white space; scripts, styles, comments and hidden elements never come through. Input is cut at
MAX_HTML_CHARS. What a page says of itself (title, language, date) is found without parsing it, near its beginning.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import datetime

from clet.record import canonical_text
from clet.sources.text.boilerplate import HIDDEN, NEVER
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.text.layout import write
from clet.sources.text.main_text import ENOUGH_CHARS, find_main_text
from clet.sources.text.outline import read_outline

MAX_HTML_CHARS = 16 << 20
MAX_HEAD_CHARS = 1 << 18  # where a page's words about itself are looked for
MAX_META = 500  # elements
MAX_TITLE_CHARS = 2000

_MARKUP = re.compile(r"<[a-zA-Z/!?]|&[#\w]")
_TITLE = re.compile(r"<title(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_TITLE_END = re.compile(r"</title", re.IGNORECASE)
_LANG = re.compile(r"<html[^>]{0,500}?\slang\s*=\s*[\"']?([a-zA-Z]{2,3})\b", re.IGNORECASE)
_HTML_START = re.compile(r"\s*(?:<!--.{0,2000}?-->\s*)*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE | re.DOTALL)
_META = re.compile(r"<(?:meta|time)\s([^>]{1,1000})", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-zA-Z:-]{1,40})\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_LINKED_DATE = re.compile(r'"datePublished"\s{0,9}:\s{0,9}"([^"]{4,40})"')
_LINKED_BODY = re.compile(r'"articleBody"\s{0,9}:\s{0,9}("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_PUBLISHED = {"article:published_time", "datepublished", "date.issued", "dc.date.issued", "dcterms.issued"}


def looks_like_html(text: str) -> bool:
    """Whether a text begins as an HTML page does."""
    return _HTML_START.match(text.removeprefix("\ufeff")[:8192]) is not None


def fragment_text(markup: str) -> str:
    """Canonical text of a piece of HTML; text without any markup is taken as it is."""
    if not _MARKUP.search(markup):
        return canonical_text(markup)
    return _all_text(markup, HIDDEN)


def page_text(markup: str, extract: str = "fast") -> str:
    """Canonical text of the main part of a page; of the whole page, at last with what is hidden, where there is none.

    `extract` is fast or precise. Raises PreciseMissing where the latter is not installed.
    """
    markup = markup[:MAX_HTML_CHARS]
    if extract == "precise":
        from clet.sources.text.precise import precise_text

        return precise_text(markup) or _all_text(markup, HIDDEN)
    text = write(*find_main_text(markup))
    if len(text) < ENOUGH_CHARS:
        linked = _linked_body(markup)
        if len(linked) > 2 * len(text):  # the page is made by a script, and its text is there for search engines
            return linked
    return text or _all_text(markup, HIDDEN) or _all_text(markup, NEVER)


def page_title(markup: str) -> str | None:
    """The title element's text."""
    start = _TITLE.search(markup[:MAX_HEAD_CHARS])
    if not start:
        return None
    end = _TITLE_END.search(markup, start.end(), start.end() + MAX_TITLE_CHARS)
    return one_line(html.unescape(markup[start.end() : end.start()])) if end else None


def page_language(markup: str) -> str | None:
    """What the page itself says its language is."""
    match = _LANG.search(markup[:8192])
    return match[1].lower() if match else None


def page_date(markup: str) -> datetime | None:
    """When the page was published, where it says so and nothing in it says otherwise.

    Its meta elements are believed before linked data (JSON-LD), and that before time elements.
    """
    head = markup[:MAX_HEAD_CHARS]
    metas, times = [], []
    for attributes in _metas(head):
        names = {attributes.get(key, "").lower() for key in ("property", "name", "itemprop")}
        if not names.isdisjoint(_PUBLISHED):
            metas.append(attributes.get("content") or attributes.get("datetime"))
        elif "pubdate" in attributes:
            times.append(attributes.get("datetime"))
    for values in (metas, _LINKED_DATE.findall(head), times):
        moments = [moment for value in values if value and (moment := read_date(value))]
        if moments:
            return moments[0] if len({moment.date() for moment in moments}) == 1 else None
    return None


def _all_text(markup: str, skip: int) -> str:
    outline = read_outline(markup[:MAX_HTML_CHARS], skip)
    return write(outline, range(len(outline.text)))


def _metas(head: str) -> Iterator[dict[str, str]]:
    """Attributes of the meta and time elements."""
    for number, match in enumerate(_META.finditer(head)):
        if number == MAX_META:
            return
        attributes = {name.lower(): html.unescape(a or b or c) for name, a, b, c in _ATTRIBUTE.findall(match[1])}
        if "pubdate" in match[1].lower():
            attributes.setdefault("pubdate", "")
        yield attributes


def _linked_body(markup: str) -> str:
    """The article's text in the page's linked data (schema.org articleBody in JSON-LD), or an empty string."""
    if not (match := _LINKED_BODY.search(markup)):
        return ""
    try:
        return fragment_text(json.loads(match[1], strict=False))
    except ValueError:
        return ""
