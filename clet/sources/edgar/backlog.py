"""Filings that a listing names, fetched and read one after the other, so that none is lost and none asked for twice.

Cursor: the accession numbers read, with their days (`seen`), as far back as a late filing may still appear; the day
before which all is done (`floor`); and the filings that could not be had yet (`owed`), which are asked for again at
the end of each run and given up, with a complaint, after GIVE_UP_TRIES runs and GIVE_UP_DAYS. Everything is settled
filing by filing, at the last document of each, so a run that ends anywhere goes on there. About 40 bytes a filing, for
at most MAX_SEEN filings or those of one day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from clet.record import format_time, raw_hash
from clet.sources.adapter import Context, Document, NotConfigured, SourceFailed
from clet.sources.edgar.bodies import LIMITED, SUBMISSION, kind_of, mapped, plain
from clet.sources.edgar.filing import is_wanted, submission_documents
from clet.sources.edgar.listing import Listed
from clet.sources.edgar.sgml import Body
from clet.sources.paths import open_regular
from clet.sources.web.fetch import HttpFailed
from clet.sources.web.page import Manners

# EDGAR allows ten requests a second in all and asks for a contact in the user agent; its terms stand for robots.txt.
MANNERS = Manners(rate=8.0, burst=1, robots=False, contact=True)
LIMITED_S = 600.0  # how long EDGAR shuts out who asked too fast, as its own page says
OVERLAP_DAYS = 14  # a filing may be listed so long after the day that it bears
MAX_SEEN = 16_384
MAX_MISSES = 3  # filings in a row that cannot be had: then it is not the filings
GIVE_UP_TRIES = 5
GIVE_UP_DAYS = 1.0

_ABSENCES = (404, 410)
_REFUSALS = (403, 429)  # EDGAR says 403 to those who ask too fast, and also where there is no such file


@dataclass(frozen=True)
class Answer:
    """What came: the body, and the hash of its bytes as they came."""

    body: Body
    raw: str
    validators: dict[str, str]


@contextmanager
def asked(url: str, context: Context, validators: dict[str, str] | None = None) -> Iterator[Answer | None]:
    """What a URL answers, or None where nothing changed. Raises SourceFailed.

    It is asked for in memory, since then it travels compressed, and as a file if it turns out too large for that.
    """
    with ExitStack() as cleanup:
        try:
            answer = _answer(url, context, validators, cleanup)
        except HttpFailed as error:
            if error.status in _REFUSALS:
                raise Refused(f"{error}: over EDGAR's request limit, or no such file", error.retry_s) from None
            raise
        if answer is not None and kind_of(answer.body) == LIMITED:
            raise Refused("over EDGAR's request limit, which asks to wait 10 minutes", surely=True)
        yield answer


def _answer(url: str, context: Context, validators: dict[str, str] | None, cleanup: ExitStack) -> Answer | None:
    try:
        page = context.fetch(url, validators, MANNERS)
    except SourceFailed as error:
        if error.unreachable:
            raise
    else:
        return Answer(plain(page.body, url), raw_hash(page.body), page.validators) if page else None
    download = context.download(url, validators, MANNERS)
    if download is None:
        return None
    cleanup.callback(download.discard)
    file = cleanup.enter_context(open_regular(str(download.path)))
    body = plain(cleanup.enter_context(mapped(file)), url)
    return Answer(body, download.raw, download.validators)


class Refused(SourceFailed):
    """EDGAR answers nothing for a while. `surely`: it said so itself."""

    def __init__(self, reason: str, wait_s: float | None = None, *, surely: bool = False):
        super().__init__(reason, unreachable=True, retry_s=max(LIMITED_S, wait_s or 0.0))
        self.surely = surely


class Backlog:
    """The filings of one listing. `archives` is the URL of the Archives that the listing belongs to."""

    def __init__(self, archives: str, context: Context):
        self._archives = archives
        self._context = context
        self._cursor = context.cursor
        self._seen: dict[str, str] = self._cursor.setdefault("seen", {})
        self._owed: dict[str, list[Any]] = self._cursor.setdefault("owed", {})
        self._newest: str = self._cursor.get("newest", "")
        self._before = self._newest
        self._misses = 0

    @property
    def floor(self) -> str:
        """The day before which everything was read, or the empty string."""
        return self._cursor.get("floor", "")

    def read(self, filings: Iterable[Listed]) -> Iterator[Document]:
        """Documents of the filings that are wanted and new; `filings` come in the order in which they were filed."""
        for filing in filings:
            self._newest = max(self._newest, filing.time)
            if not is_wanted(filing.form, self._context.options.forms):
                if filing.time > self._before:
                    self._context.count("other-form")
            elif self.is_new(filing):
                yield from self._read_or_owe(filing)
                self._raise_floor(filing.date)

    def finish(self) -> Iterator[Document]:
        """Documents of the filings that could not be had before. Call it when the listing was read to its end."""
        for accession, (cik, form, time, *_) in list(self._owed.items()):
            try:
                yield from self._read_or_owe(Listed(accession, cik, form, time))
            except Refused as error:
                if error.surely:
                    raise
                break  # perhaps only this one is not there; if it is all, the next run is told so
        if self._newest:
            self._cursor["newest"] = self._newest

    def is_new(self, filing: Listed) -> bool:
        """Whether a filing was neither read nor tried."""
        return filing.date >= self.floor and filing.accession not in self._seen and filing.accession not in self._owed

    # ---- one filing

    def _read_or_owe(self, filing: Listed) -> Iterator[Document]:
        try:
            yield from self._read(filing)
            self._misses = 0
        except NotConfigured:
            raise
        except SourceFailed as error:
            if isinstance(error, Refused) and error.surely:
                raise
            if not error.unreachable:
                self._settle(filing)
                self._context.bad(f"{filing.accession}: {error}")
                return
            self._owe(filing, error)
            if isinstance(error, HttpFailed) and error.status in _ABSENCES:
                return
            self._misses += 1
            if isinstance(error, Refused) or self._misses >= MAX_MISSES:
                raise

    def _read(self, filing: Listed) -> Iterator[Document]:
        """The filing's documents; it counts as read from the last one on."""
        held: Document | None = None
        for document in self._documents(filing):
            if held is not None:
                yield held
            held = document
        self._settle(filing)
        if held is not None:
            yield held

    def _documents(self, filing: Listed) -> Iterator[Document]:
        url = f"{self._archives}edgar/data/{filing.cik}/{filing.accession}.txt"
        with asked(url, self._context) as answer:
            if answer is None or kind_of(answer.body) != SUBMISSION:
                raise SourceFailed("what came is no submission", unreachable=True)
            yield from submission_documents(answer.body, answer.raw, self._context, name=f"CIK {filing.cik}")

    # ---- what is known

    def _settle(self, filing: Listed) -> None:
        self._seen[filing.accession] = filing.date
        self._owed.pop(filing.accession, None)

    def _owe(self, filing: Listed, error: SourceFailed) -> None:
        """Remember a filing for the next run, behind the others that are owed; give it up when it is hopeless."""
        now = self._context.now
        *_, first, tries = self._owed.pop(filing.accession, (format_time(now), 0))
        tries += 1
        if tries >= GIVE_UP_TRIES and now - datetime.fromisoformat(first) >= timedelta(days=GIVE_UP_DAYS):
            self._settle(filing)
            self._context.bad(f"{filing.accession}: given up after {tries} tries: {error}")
            return
        self._owed[filing.accession] = [filing.cik, filing.form, filing.time, first, tries]
        self._context.count("delayed")

    def _raise_floor(self, day: str) -> None:
        """Forget what lies too far before the day reached to be listed anew."""
        floor = (date.fromisoformat(day) - timedelta(days=OVERLAP_DAYS)).isoformat()
        if len(self._seen) > MAX_SEEN:
            floor = max(floor, min(day, sorted(self._seen.values())[-MAX_SEEN]))
        if floor <= self.floor:
            return
        for accession in [accession for accession, filed in self._seen.items() if filed < floor]:
            del self._seen[accession]
        self._cursor["floor"] = floor
