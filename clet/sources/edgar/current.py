"""The pages of EDGAR's current filings (`action=getcurrent&output=atom`), read back to where the last poll had come.

The feed is sorted by the time of acceptance, newest first. What is accepted after 17:30 in the east of the USA is
listed only at six the next working day, below what came in the evening; so the first poll of a day after six goes back
over the whole day of the last poll. Each page is asked for once; pages move while they are read, so what shows up
twice is met before. Holds the entries of one poll, at most MAX_PAGES pages.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from clet.record import format_time
from clet.sources.adapter import Context, SourceFailed
from clet.sources.edgar.backlog import asked
from clet.sources.edgar.bodies import ATOM, kind_of
from clet.sources.edgar.listing import AtomPage, Listed, read_atom
from clet.sources.edgar.sgml import EASTERN

PAGE_ENTRIES = 100  # the most that EDGAR gives
MAX_PAGES = 200  # twenty thousand entries, about two busy days
OPENING_HOUR = 6


def full_pages(url: str) -> str:
    """The URL with `count` filled in, where it is the listing's and does not say how many entries it wants."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if query.get("action") != "getcurrent" or "count" in query:
        return url
    return urlunsplit(parts._replace(query=urlencode(query | {"count": str(PAGE_ENTRIES)})))


def all_pages(first: AtomPage, url: str, context: Context) -> list[Listed]:
    """The filings of the listing at `url`, whose first page this is, oldest first. Raises SourceFailed."""
    reach = _reach(context)
    met: dict[str, Listed] = {}
    page, start = first, _start(url)
    for _ in range(MAX_PAGES):
        fresh = [filing for filing in page.filings if filing.accession not in met]
        for filing in fresh:
            met.setdefault(filing.accession, filing)
        if not fresh or min(filing.time for filing in page.filings) < reach:
            break
        start += page.size
        page = _page(_from(url, start), context)
    else:
        if reach:
            context.bad(
                f"over {MAX_PAGES} pages of new filings since {reach}: read the daily indexes of the days between"
            )
    return sorted(met.values(), key=lambda filing: filing.time)


def mark_day(context: Context) -> None:
    """Note that what was listed this morning has been read. Call it when the listing was read to its end."""
    context.cursor["day"] = _day(context.now)


def _page(url: str, context: Context) -> AtomPage:
    with asked(url, context) as answer:
        if answer is None or kind_of(answer.body) != ATOM:
            raise SourceFailed("a page of the listing is no Atom feed", unreachable=True)
        return read_atom(answer.body)


def _reach(context: Context) -> str:
    """How far back this poll has to go; empty for as far as the listing does."""
    newest = context.cursor.get("newest", "")
    if not newest or context.cursor.get("day") == _day(context.now):
        return newest
    midnight = datetime.fromisoformat(newest).astimezone(EASTERN).replace(hour=0, minute=0, second=0)
    return format_time(midnight.astimezone(UTC)) or ""


def _day(moment: datetime) -> str:
    """The day that EDGAR is in; it begins when the evening's filings are listed."""
    return (moment.astimezone(EASTERN) - timedelta(hours=OPENING_HOUR)).date().isoformat()


def _start(url: str) -> int:
    value = dict(parse_qsl(urlsplit(url).query)).get("start", "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else 0


def _from(url: str, start: int) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"start": str(start)}
    return urlunsplit(parts._replace(query=urlencode(query)))
