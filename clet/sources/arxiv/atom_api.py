"""Papers by arXiv's Atom API (https://info.arxiv.org/help/api/user-manual.html).

A query is read newest first, by the date of the last version unless its URL sorts otherwise, in pages. Later polls stop
at what the last complete one saw; once a day (DEEP_EVERY) one looks further back, by LATE, because a paper that
moderators held appears under the date of its submission. An interrupted walk goes on at its page. A list of
identifiers, and a query sorted by relevance or upwards, is read whole each time; what was seen does not come out again
(`known.py`).

The server's known faults: pages that are empty though more follows (asked again with another size, for answers are
cached by their exact query; a place that stays empty in GIVE_UP polls is reported and the walk ends there), pages
shorter than asked, totals that differ from page to page, and HTTP 500 beyond WINDOW results, where older papers can
only be had by OAI-PMH.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from lxml import etree

from clet.record import format_time, raw_hash
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.arxiv.known import Known
from clet.sources.arxiv.papers import Paper, arxiv_id, arxiv_url, fold, host_of, new_document, origin_of
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.web.page import Page
from clet.sources.xml_reply import Xml, ask, child_text, children, is_answer, local_name, text_of

PAGE_SIZE = 200
WINDOW = 10_000  # the manual says 30,000; since 2025 the server fails beyond this
LATE = timedelta(days=14)  # of a category with 150 papers a day: 2,100 results, 11 pages
DEEP_EVERY = timedelta(days=1)
EMPTY_TRIES = 4
EMPTY_WAIT_S = 3.0  # doubled each time
GIVE_UP = 3
_ATOM = "{http://www.w3.org/2005/Atom}"


# ---- feeds


@dataclass(frozen=True)
class Feed:
    """An answer: its entries, and how many there are in all."""

    entries: list[etree._Element]
    total: int
    host: str


def is_atom(root: etree._Element) -> bool:
    """Whether a tree is an Atom feed."""
    return root.tag == f"{_ATOM}feed"


def read_feed(xml: Xml, context: Context) -> Feed:
    """The feed in a tree. Raises SourceFailed where it is not the API's, or an error."""
    root = xml.root
    if not is_atom(root):
        raise SourceFailed(f"not an Atom feed but <{one_line(local_name(root), 40)}>")
    entries = children(root, "entry")
    for entry in entries:
        if "/api/errors" in child_text(entry, "id"):
            raise SourceFailed(f"the API says: {one_line(child_text(entry, 'summary'), 300) or 'error'}")
    total = child_text(root, "totalResults")
    if not total and not any(arxiv_id(child_text(entry, "id")) for entry in entries):
        raise SourceFailed("an Atom feed, but not of arXiv's API; write feed: for it")
    if xml.fault:
        context.bad(f"not well-formed, {len(entries)} entries could be read: {xml.fault}")
    number = int(total) if total.isascii() and total.isdigit() and len(total) < 10 else len(entries)
    return Feed(entries, number, host_of(child_text(root, "id")))


def _paper(entry: etree._Element, pinned: frozenset[str]) -> Paper | None:
    found = arxiv_id(child_text(entry, "id"))
    if found is None:
        return None
    number, version = found
    exact = f"{number}v{version}"  # versions that were asked for by name do not replace each other
    primary = [part.get("term", "") for part in children(entry, "primary_category")]
    return Paper(
        identifier=exact if exact in pinned else number,
        title=" ".join(child_text(entry, "title").split()),
        abstract=fold(next((text_of(part) for part in children(entry, "summary")), "")),
        url=arxiv_url(number),
        published=read_date(child_text(entry, "published")),
        updated=read_date(child_text(entry, "updated")),
        authors=[child_text(author, "name") for author in children(entry, "author")],
        categories=primary + [part.get("term", "") for part in children(entry, "category")],
        meta={
            "arxiv": number,
            "version": version,
            "doi": one_line(child_text(entry, "doi"), 200),
            "journal_ref": one_line(child_text(entry, "journal_ref"), 300),
        },
    )


def feed_documents(
    feed: Feed, known: Known, context: Context, *, origin: str, raw: str, pinned: frozenset[str] = frozenset()
) -> Iterator[Document]:
    """What is new in a feed."""
    for entry in feed.entries:
        paper = _paper(entry, pinned)
        if paper is None:
            context.bad(f"an entry without an arXiv identifier: {one_line(child_text(entry, 'id'), 100) or 'no id'}")
        elif document := new_document(paper, known, context, origin=origin, raw=raw):
            yield document


def read_saved(xml: Xml, body: bytes, name: str, context: Context) -> Iterator[Document]:
    """The documents of an answer that was saved as a file."""
    feed = read_feed(xml, context)
    origin = origin_of(feed.host) if feed.host else name
    yield from feed_documents(feed, Known({}), context, origin=origin, raw=raw_hash(body))


# ---- queries


@dataclass(frozen=True)
class Query:
    """What is asked: results `first` to `end`. `sorted_by`: the date that they fall by, if they do."""

    base: str
    arguments: dict[str, str]
    first: int
    end: int
    sorted_by: str | None
    pinned: frozenset[str]

    def url(self, start: int, size: int) -> str:
        """The URL of one page."""
        arguments = self.arguments | {"start": str(start), "max_results": str(size)}
        return f"{self.base}?{urlencode(arguments, quote_via=quote, safe='')}"


def is_query(url: str) -> bool:
    """Whether a URL is one of the Atom API."""
    parts = urlsplit(url)
    names = dict(parse_qsl(parts.query, keep_blank_values=True)).keys()
    return parts.path.rstrip("/").endswith("/api/query") or bool(names & {"search_query", "id_list"})


def parse_query(url: str) -> Query:
    """The query that a locator means; `max_results` in it is how many results are wanted. Raises SourceFailed."""
    parts = urlsplit(url)
    arguments = dict(parse_qsl(parts.query))
    if not arguments.get("search_query") and not arguments.get("id_list"):
        raise SourceFailed("no query; add search_query= or id_list= to the URL")
    first, limit = _number(arguments.pop("start", "0")), _number(arguments.pop("max_results", str(WINDOW)))
    if first >= WINDOW:
        raise SourceFailed(f"the API gives no more than the first {WINDOW} results of a query; harvest by OAI-PMH")
    if not arguments.get("id_list"):
        arguments.setdefault("sortBy", "lastUpdatedDate")
        arguments.setdefault("sortOrder", "descending")
    falls = arguments.get("sortOrder") == "descending"
    dates = {"lastUpdatedDate": "updated", "submittedDate": "published"}
    pinned = frozenset(name.strip() for name in arguments.get("id_list", "").split(","))
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    sorted_by = dates.get(arguments.get("sortBy", "")) if falls else None
    return Query(base, arguments, first, min(first + limit, WINDOW), sorted_by, pinned)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise SourceFailed(f"start= and max_results= are numbers, not {one_line(text, 40)}")
    return int(text)


# ---- the walk


def walk(url: str, context: Context) -> Iterator[Document]:
    """Papers of a query that are new or changed since the cursor. Raises SourceFailed."""
    query, cursor = parse_query(url), context.cursor
    known = Known(cursor)
    state: dict[str, Any] = cursor.get("walk") or _begin(query, context)
    total = 0
    while state["start"] < query.end:
        try:
            page, feed = _page(query, state["start"], context)
        except SourceFailed as failure:
            if not _give_up(failure, query, state, context):
                raise
            break
        total = feed.total
        if not feed.entries:
            break
        origin = origin_of(host_of(page.url))
        dates = [read_date(child_text(entry, query.sorted_by)) for entry in feed.entries] if query.sorted_by else []
        if state["newest"] is None:
            state["newest"] = format_time(max((min(date, context.now) for date in dates if date), default=None))
        yield from feed_documents(feed, known, context, origin=origin, raw=raw_hash(page.body), pinned=query.pinned)
        state |= {"start": state["start"] + len(feed.entries), "failures": 0}
        cursor["walk"] = state
        if state["start"] >= total or _is_below(state["floor"], dates[-1] if dates else None):
            break
    else:
        if query.end == WINDOW < total:
            context.count("beyond-window", total - WINDOW)
    _complete(cursor, state)


def _begin(query: Query, context: Context) -> dict[str, Any]:
    """The state of a walk that starts now: it ends below `floor`."""
    cursor = context.cursor
    newest, deep = read_date(cursor.get("newest")), read_date(cursor.get("deep"))
    is_deep = deep is None or context.now - deep >= DEEP_EVERY
    floor = newest - LATE if newest and is_deep else newest
    return {
        "start": query.first,
        "newest": None,
        "floor": format_time(floor),
        "deep": format_time(context.now) if is_deep else None,
    }


def _complete(cursor: dict[str, Any], state: dict[str, Any]) -> None:
    cursor.pop("walk", None)
    cursor["newest"] = max(filter(None, (cursor.get("newest"), state["newest"])), default=None)
    if state["deep"]:
        cursor["deep"] = state["deep"]


def _is_below(floor: str | None, date: datetime | None) -> bool:
    return bool(floor and date and (format_time(date) or "") < floor)


def _page(query: Query, start: int, context: Context) -> tuple[Page, Feed]:
    """The page at `start`; empty only where the list ends. Raises SourceFailed."""
    size = min(PAGE_SIZE, query.end - start)
    for attempt in range(EMPTY_TRIES):
        if attempt:
            context.sleep(EMPTY_WAIT_S * 2 ** (attempt - 1))
        page, xml = ask(query.url(start, size), context)
        feed = read_feed(xml, context)
        if feed.entries or start >= feed.total:
            return page, feed
        size = max(1, size // 2)
    raise _Empty(f"the API gives nothing from {start} on, though there should be {feed.total} results")


class _Empty(SourceFailed):
    """A page that stays empty."""

    def __init__(self, reason: str):
        super().__init__(reason, unreachable=True)


def _give_up(failure: SourceFailed, query: Query, state: dict[str, Any], context: Context) -> bool:
    """Whether the same place failed in so many polls that the walk has to end there."""
    if state["start"] == query.first or not (isinstance(failure, _Empty) or is_answer(failure)):
        return False
    state["failures"] = state.get("failures", 0) + 1
    if state["failures"] < GIVE_UP:
        return False
    context.bad(f"{failure}; given up after {GIVE_UP} polls, older results are missing")
    return True
