"""HTML into the text a reader sees.

`page_text` keeps the main part of a whole page (resiliparse's rules after Bevendorff et al., "Elastic ChatNoir",
about 970 pages/s a core); `fragment_text` keeps all of a piece of markup, such as a feed's entry, with its blocks and
lists. Scripts, styles, comments and hidden elements never come through. Both parse in C without recursion; input is
cut at MAX_HTML_CHARS.
"""

from __future__ import annotations

import html
import re

from clet.record import canonical_text
from clet.sources.text.decode import one_line

MAX_HTML_CHARS = 16 << 20
MIN_MAIN_CHARS = 200  # a main part shorter than this, on a page with five times as much text, was misjudged

_HIDDEN = ["[hidden]", "[aria-hidden='true']", "[style*='display:none']", "[style*='display: none']", "template"]
_MARKUP = re.compile(r"<[a-zA-Z/!?]|&[#\w]")
_TITLE = re.compile(r"<title[^>]*>(.{0,2000}?)</title", re.IGNORECASE | re.DOTALL)
_LANG = re.compile(r"<html[^>]{0,500}?\slang\s*=\s*[\"']?([a-zA-Z]{2,3})\b", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")
_HTML_START = re.compile(r"\s*(?:<!--.{0,2000}?-->\s*)*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE | re.DOTALL)


def looks_like_html(text: str) -> bool:
    """Whether a text begins as an HTML page does."""
    return _HTML_START.match(text.removeprefix("\ufeff")[:8192]) is not None


def fragment_text(markup: str) -> str:
    """Canonical text of a piece of HTML; text without any markup is taken as it is."""
    if not _MARKUP.search(markup):
        return canonical_text(markup)
    return _tidy(_convert(markup, main=False))


def page_text(markup: str) -> str:
    """Canonical text of the main part of a page; of the whole page where no main part stands out."""
    main = _tidy(_convert(markup, main=True))
    if len(main) >= MIN_MAIN_CHARS:
        return main
    whole = _tidy(_convert(markup, main=False))
    return whole if len(whole) > 5 * len(main) else main


def page_title(markup: str) -> str | None:
    """The title element's text."""
    match = _TITLE.search(markup[: 1 << 18])
    return one_line(html.unescape(match[1])) if match else None


def page_language(markup: str) -> str | None:
    """What the page itself says its language is."""
    match = _LANG.search(markup[:8192])
    return match[1].lower() if match else None


def _convert(markup: str, *, main: bool) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    markup = markup[:MAX_HTML_CHARS].encode("utf-8", "replace").decode()
    return extract_plain_text(
        markup, preserve_formatting=True, main_content=main, alt_texts=False, skip_elements=None if main else _HIDDEN
    )


def _tidy(text: str) -> str:
    text = canonical_text(text).replace("\u00a0", " ")
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()
