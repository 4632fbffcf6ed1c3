"""The page behind a feed's entry, for feeds that carry no more than a beginning.

The main text of a page replaces the entry's own only where it is longer and has half of the entry's longer words: what
stands in front of many pages (consent, login, "not found" with status 200, a home page) has not. Over the 129 article
pages of mozilla/readability's tests and the descriptions in their heads, that refuses 12 of the right pages (5 of them
made up, with descriptions of a few words), and takes 9 of 127 pages of other articles and no text of a consent wall.

A page that does not answer is asked for again at the next polls, up to MAX_TRIES times in all; meanwhile the entry
waits in the cursor with its text, so that it comes out even when it has left the feed. A second failure of one host in
a poll counts for its other pages too, so that a dead host costs two waits and not hundreds.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from clet.record import raw_hash
from clet.sources.adapter import Context, SourceFailed
from clet.sources.text.decode import NotText, decode_text
from clet.sources.text.extract import page_language, page_text, page_title
from clet.sources.web.page import Manners, Page

MAX_TRIES = 4
MAX_WAITING = 64  # entries of one feed
MAX_WAITING_CHARS = 32_000  # of an entry that waits; one with more has its text already
MIN_SHARE = 0.5
MIN_WORDS = 5
_FAILURES_OF_A_HOST = 2
_MANNERS = Manners(accept="text/html, application/xhtml+xml;q=0.9, */*;q=0.1")
_TRY_LATER = (408, 425, 429)
_KINDS = ("text/html", "application/xhtml+xml")
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


class PageUnreachable(Exception):
    """The page may be had later."""


@dataclass(frozen=True)
class MainText:
    """What a page says: `raw` is the hash of its bytes, `url` where it was found in the end."""

    text: str
    title: str | None
    language: str | None
    raw: str
    url: str


class Pages:
    """Fetches the pages of one poll."""

    def __init__(self, context: Context):
        self._context = context
        self._failures: Counter[str] = Counter()

    def main_text(self, link: str, title: str | None, body: str) -> MainText | None:
        """The main text of the page at `link`; None where it is no better than the entry's own.

        Raises PageUnreachable where another try may help.
        """
        host = urlsplit(link).hostname or ""
        if self._failures[host] >= _FAILURES_OF_A_HOST:
            raise PageUnreachable
        try:
            page = self._context.fetch(link, manners=_MANNERS)
        except SourceFailed as failure:
            if _is_final(failure):
                return None
            self._failures[host] += 1
            raise PageUnreachable from None
        return self._read(page, title, body) if page and page.content_type in _KINDS else None

    def _read(self, page: Page, title: str | None, body: str) -> MainText | None:
        try:
            markup = decode_text(page.body, page.charset, markup=True)
        except NotText:
            return None
        text = page_text(markup, self._context.options.extract)
        if len(text) <= len(body) or not is_about(text, title, body):
            return None
        return MainText(text, page_title(markup), page_language(markup), raw_hash(page.body), page.url)


def is_about(text: str, title: str | None, body: str) -> bool:
    """Whether a page's text has at least half of the words (of four letters or more) that an entry has."""
    words = _words(body)
    if len(words) < MIN_WORDS:
        words |= _words(title or "")
    return len(words & _words(text)) >= MIN_SHARE * len(words)


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if len(word) > 3 or not word.isascii()}


def _is_final(failure: SourceFailed) -> bool:
    """Whether asking again is in vain: refused by robots.txt or by its kind, or a status that says so."""
    status = failure.status
    if status is None:
        return not failure.unreachable
    return 400 <= status < 500 and status not in _TRY_LATER
