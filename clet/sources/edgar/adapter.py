"""Filings with the U.S. Securities and Exchange Commission, from EDGAR or from files that hold what EDGAR sends.

What a body is, is told by its content: a listing (the current-filings Atom feed, a company's submissions JSON, a daily
or full index), whose filings of the wanted forms are fetched; a full submission (`.txt` or `.nc`); a filing's HTML.
The wanted forms are `filing.WANTED` and their amendments, or those that the source's options name.

Cursor of a file: its mtime and size. Of a URL: its validators; of a listing also what `backlog.py` keeps. A submission
is mapped, never held; memory is one document of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urljoin, urlsplit

from clet.record import raw_hash
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.edgar import bodies
from clet.sources.edgar.backlog import Backlog, asked
from clet.sources.edgar.current import all_pages, full_pages, mark_day
from clet.sources.edgar.filing import ARCHIVES, is_wanted, page_document, submission_documents
from clet.sources.edgar.listing import Company, Listed, read_atom, read_company, read_index
from clet.sources.edgar.sgml import Body
from clet.sources.paths import Found, file_signature, file_url, one_file, read_bounded
from clet.sources.table import is_url, without_credentials
from clet.streams import InputFile

SUFFIXES = tuple(
    f"{kind}{packed}"
    for kind in (".txt", ".nc", ".htm", ".html", ".xhtml", ".atom", ".xml", ".json", ".idx")
    for packed in ("", ".gz", ".zst")
)
SUBMISSIONS = "https://data.sec.gov/submissions/"

_INDEX_PAGE = re.compile(r"(\d{10}-\d{2}-\d{6})-index\.html?\Z")
_FILING_PAGE = re.compile(r"\.(?:x?html?|txt)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class _Place:
    """Where a body comes from: what to call it, and its URL where it has one in the web."""

    name: str
    url: str | None = None
    file: str | None = None

    @property
    def archives(self) -> str:
        """The Archives that belong to it: those of the same host, EDGAR's own for EDGAR and for local files."""
        parts = urlsplit(self.url or ARCHIVES)
        host = parts.hostname or ""
        if host == "sec.gov" or host.endswith(".sec.gov"):
            return ARCHIVES
        return f"{parts.scheme}://{parts.netloc}/Archives/"


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents of the filings at a URL or in a file that the cursor has not seen."""
    if locator == "-":
        yield from _read_stdin(context)
    elif is_url(locator):
        yield from _read_url(full_pages(_direct(locator)), context)
    elif found := one_file(locator, context, SUFFIXES):
        yield from _read_file(found, context)


def _direct(url: str) -> str:
    """The filing itself where a URL names the page that shows it: the viewer of inline XBRL, or a filing's index."""
    parts = urlsplit(url)
    shown = parse_qs(parts.query).get("doc", [""])[0]
    if parts.path in ("/ix", "/ixviewer/ix.html") and shown.startswith("/Archives/"):
        return urljoin(url, shown)
    if match := _INDEX_PAGE.search(parts.path):
        return urljoin(url, f"{match[1]}.txt")
    return url


def _read_url(url: str, context: Context) -> Iterator[Document]:
    with asked(url, context, context.cursor.get("http")) as answer:
        if answer is None:
            context.count("unchanged")
            yield from Backlog(_Place(url, url).archives, context).finish()
            return
        place = _Place(urlsplit(url).path.rpartition("/")[2] or url, url)
        yield from _read_body(answer.body, answer.raw, place, context)
        context.cursor["http"] = answer.validators


def _read_file(found: Found, context: Context) -> Iterator[Document]:
    signature = list(file_signature(found.path))
    name = found.shown.rpartition("/")[2]
    place = _Place(name, file=found.path)
    if context.cursor.get("file") == signature:
        context.count("unchanged")
        yield from Backlog(place.archives, context).finish()
        return
    with bodies.local_body(found.path) as (body, raw):
        yield from _read_body(body, raw, place, context)
    context.cursor["file"] = signature


def _read_stdin(context: Context) -> Iterator[Document]:
    context.idle()
    body = read_bounded(InputFile("-"), bodies.MAX_INFLATED_BYTES)
    if len(body) > bodies.MAX_INFLATED_BYTES:
        raise SourceFailed(f"stdin: over {bodies.MAX_INFLATED_BYTES} bytes; name a file instead")
    yield from _read_body(bodies.plain(body, "stdin"), raw_hash(body), _Place("stdin"), context)


def _read_body(body: Body, raw: str, place: _Place, context: Context) -> Iterator[Document]:
    """The documents of a body, or of the filings that it lists."""
    kind = bodies.kind_of(body)
    if kind == bodies.SUBMISSION:
        forms = context.options.forms
        yield from submission_documents(body, raw, context, name=place.name, forms=forms)
    elif kind == bodies.PAGE:
        yield from _read_page(body, raw, place, context)
    elif kind in (bodies.ATOM, bodies.JSON, bodies.INDEX):
        backlog = Backlog(place.archives, context)
        listed = {bodies.ATOM: _read_current, bodies.JSON: _read_company, bodies.INDEX: _read_index}[kind]
        yield from listed(body, place, backlog, context)
        yield from backlog.finish()
    elif kind == bodies.LIMITED:
        raise SourceFailed(f"{place.name}: the page that EDGAR sends to those who ask too fast, not a filing")
    else:
        raise SourceFailed(f"{place.name}: holds no filing and no list of filings")


def _read_page(body: Body, raw: str, place: _Place, context: Context) -> Iterator[Document]:
    if place.url and not _FILING_PAGE.search(urlsplit(place.url).path):
        raise SourceFailed("an HTML page and not a filing; for a listing, add output=atom to its URL")
    url = without_credentials(place.url) if place.url else file_url(place.file) if place.file else None
    document = page_document(body[:], raw, context, name=place.name, url=url)
    if document is not None:
        yield document


# ---- listings


def _read_current(body: Body, place: _Place, backlog: Backlog, context: Context) -> Iterator[Document]:
    first = read_atom(body)
    if place.url is None:
        yield from backlog.read(sorted(first.filings, key=lambda filing: filing.time))
        return
    yield from backlog.read(all_pages(first, place.url, context))
    mark_day(context)


def _read_company(body: Body, place: _Place, backlog: Backlog, context: Context) -> Iterator[Document]:
    company = read_company(body)
    if company is None:
        raise SourceFailed(f"{place.name}: JSON that holds no filings; read CIK##########.json of {SUBMISSIONS}")
    for name, last_day in company.older:
        if last_day >= backlog.floor:
            yield from backlog.read(_older(urljoin(place.url or SUBMISSIONS, name), company, context))
    yield from backlog.read(company.filings)


def _older(url: str, company: Company, context: Context) -> list[Listed]:
    with asked(url, context) as answer:
        older = read_company(answer.body, company.cik) if answer else None
    if older is None:
        raise SourceFailed(f"{url}: JSON that holds no filings", unreachable=True)
    return older.filings


def _read_index(body: Body, place: _Place, backlog: Backlog, context: Context) -> Iterator[Document]:
    filings: list[Listed] = []
    bad: list[int] = []
    empty = True
    for entry in read_index(body):
        empty = False
        if isinstance(entry, int):
            bad.append(entry)
        elif is_wanted(entry.form, context.options.forms):
            filings.append(entry)
        else:
            context.count("other-form")
    if bad:
        context.bad(f"{place.name}: {len(bad)} lines are no entries of an index, the first at line {bad[0]}")
    if empty:
        context.count("empty-index")
    yield from backlog.read(sorted(filings, key=lambda filing: filing.time))
