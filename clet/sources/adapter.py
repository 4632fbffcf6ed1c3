"""What an adapter is given and what it gives back.

An adapter is a module with one generator, `read(locator, context)`, that yields documents made by `context.document`.
`table.py` names it; clet-sources(7) shows how to add one. Each source is read in a thread of its own. The rules that
make every adapter safe to kill:

- The cursor may say "seen" of a document at the moment it is yielded, never before. What stands for many documents
  (an ETag, a commit, a resumption token) is set after the last of them was yielded.
- Whatever waits for the world calls `context.idle()` first (`fetch`, `download` and `sleep` do), so that what was
  yielded is passed on meanwhile. It raises Interrupted when the intake is to end: never catch that.
- A source that cannot be read raises SourceFailed. One bad piece of it is told to `context.bad` and passed over.
- A source that only lists others (an OPML file, a folder) names them to `context.include`; each is then read, and
  remembered, as a source of its own, so that one which fails stops none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from clet.batch import Batch
from clet.record import Record, make_record, record_id
from clet.sources.interruption import Interruption
from clet.sources.text.language import detect_language
from clet.sources.web.page import Download, Manners, Page

Document = Record

MAX_FILE_BYTES = 64 << 20  # a file or body read whole into memory
DETECT = "?"  # as `lang`: that of the text as it is kept
MAX_TEXT_BYTES = 8 << 20  # a document; with its ids in base64 it stays below the longest line a reader takes (64 MB)


@dataclass(frozen=True)
class Columns:
    """Many documents as columns, none of them empty or too large, in the form in which `Context.document` makes them.

    What an adapter may yield in place of documents where `Context.in_columns` is set.
    """

    batch: Batch  # without tokens
    published: list[str | None]

    def __len__(self) -> int:
        return len(self.batch)

    def part(self, begin: int, end: int) -> Columns:
        """Some documents that stand beside each other."""
        return Columns(self.batch.part(begin, end), self.published[begin:end])


class SourceFailed(Exception):
    """A source cannot be read now; the text is the reason. `unreachable`: it did not answer.

    `status` is that of an HTTP answer, `retry_s` for how long the source itself asked to be left alone.
    """

    def __init__(
        self, reason: str, *, unreachable: bool = False, status: int | None = None, retry_s: float | None = None
    ):
        super().__init__(reason)
        self.unreachable = unreachable
        self.status = status
        self.retry_s = retry_s


class NotConfigured(SourceFailed):
    """A person has to say something first: nothing of the source can be read, however often it is tried."""


class Adapter(Protocol):
    """The one signature of all adapters."""

    def read(self, locator: str, context: Context) -> Iterator[Document | Columns]:
        """Documents of the source that the cursor has not seen, in the source's own order."""


class Outlet(Protocol):
    """Where the context's words go: `reading.py` for a thread of the intake, a list in tests."""

    def count(self, what: str, number: int) -> None:
        """Add to a count of this source."""

    def bad(self, message: str) -> None:
        """Report one bad piece of the source."""

    def bad_line(self, place: str, reason: str, line: bytes) -> None:
        """Report a line that is no document, and keep it in the rejects."""

    def include(self, locator: str) -> None:
        """A further source that this one lists."""

    def idle(self) -> None:
        """Pass on what was yielded so far."""


class Web(Protocol):
    """The way to the network: `web/fetch.py`. Both raise SourceFailed, and None says that nothing changed."""

    def get(self, url: str, validators: dict[str, str], manners: Manners = ...) -> Page | None:
        """The page at a URL."""

    def download(self, url: str, folder: Path, validators: dict[str, str], manners: Manners = ...) -> Download | None:
        """The body at a URL, as a file in `folder`."""


class Scrubber(Protocol):
    """`text/scrub.py`."""

    def scrub(self, text: str, kinds: frozenset[str]) -> tuple[str, dict[str, int]]:
        """(the text with what identifies people or opens doors masked, how many of each kind)."""


@dataclass(frozen=True)
class Options:
    """What a person may set for a source, by flag or in the sources file (clet-sources(7))."""

    label: str | None = None  # its name in the sources file
    trust: float | None = None  # prior belief in it, 0 to 1
    license: str | None = None  # where the documents do not say
    tags: tuple[str, ...] = ()
    full_text: bool = False  # feed: fetch the page behind each entry
    extract: str = "fast"  # main text of a page: fast or precise
    scrub: frozenset[str] = frozenset()  # what is masked: "pii", "secrets"
    forms: tuple[str, ...] = ()  # edgar: the form types wanted; empty: the adapter's own choice
    delay_s: float | None = None  # between two requests to one host; None: as the adapter asks
    robots: bool = True  # obey robots.txt where the adapter would

    @cached_property
    def said(self) -> dict[str, Any]:
        """What a person said of the source that later stages should know."""
        said = {"name": self.label, "trust": self.trust, "tags": list(self.tags)}
        return {name: value for name, value in said.items() if value not in (None, [])}


@dataclass
class Context:
    """All that an adapter may use besides its locator.

    `cursor` holds JSON values, belongs to this source, and is kept only after the documents were flushed. `now` is the
    time of this round. `cache` is a folder for what can be fetched again; adapters create it when they need it.
    """

    adapter: str
    name: str
    cursor: dict[str, Any]
    now: datetime
    outlet: Outlet
    web: Web
    scrubber: Scrubber
    cache: Path
    options: Options = Options()
    allow_private: bool = False
    follow: bool = False
    in_columns: bool = False  # many documents may be yielded as one
    interruption: Interruption = field(default_factory=Interruption)

    # ---- what it says

    def document(
        self,
        *,
        origin: str,
        text: str,
        url: str | None = None,
        title: str | None = None,
        lang: str | None = None,
        published: datetime | None = None,
        raw: str | None = None,
        license: str | None = None,
        meta: dict[str, Any] | None = None,
        scrub: frozenset[str] = frozenset(),
    ) -> Document:
        """A record of this source, scrubbed as the options say (and as `scrub` adds), with its id.

        `lang` may be `DETECT`; `raw` is the SHA-256 of the bytes that the text was taken from. What a person said of
        the source (name, trust, tags) and what was masked goes into the field `ingest`.
        """
        kinds = self.options.scrub | scrub
        masked: dict[str, int] = {}
        if kinds:
            text, masked = self.scrubber.scrub(text, kinds)
            if title:
                title, more = self.scrubber.scrub(title, kinds)
                masked = {kind: masked.get(kind, 0) + more.get(kind, 0) for kind in masked | more}
        record = make_record(
            source=self.adapter,
            origin=origin,
            text=text,
            fetched=self.now,
            url=url,
            title=title,
            lang=lang,
            published=published,
            raw=raw,
            license=license or self.options.license,
            meta=meta,
        )
        if lang is DETECT:
            record["lang"] = detect_language(record["text"])
        return self.annotate(record, masked)

    def annotate(self, record: Document, masked: dict[str, int]) -> Document:
        """The record with the field `ingest`, where there is anything to say; what it held before is not believed."""
        for kind, number in masked.items():
            self.count(f"masked-{kind}", number)
        said = self.options.said | ({"masked": masked} if masked else {})
        record.pop("ingest", None)
        if said:
            text = record.pop("text")
            record = record | {"ingest": said, "text": text}
        return record

    def deletion(
        self, *, origin: str, deletes: str | None, url: str | None = None, meta: dict[str, Any] | None = None
    ) -> Document:
        """What to yield where the source says that a document is gone. `deletes` is the id of its record, if known.

        It goes to the rejects with the reason "deleted", never into training.
        """
        record = make_record(
            source=self.adapter,
            origin=origin,
            text="",
            fetched=self.now,
            url=url,
            meta={**(meta or {}), "deleted": True},
        )
        return record | {"id": deletes or record_id("")}

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count of this source: what was passed over, and why."""
        self.outlet.count(what, number)

    def bad(self, message: str) -> None:
        """Report one bad piece of the source; the command ends with status 1."""
        self.outlet.bad(message)

    def bad_line(self, place: str, reason: str, line: bytes) -> None:
        """Report a line that is no document; it is kept in the rejects."""
        self.outlet.bad_line(place, reason, line)

    def include(self, locator: str) -> None:
        """Name a further source for this adapter. It is read after this one, with a cursor of its own."""
        self.outlet.include(locator)

    # ---- how it waits

    def idle(self) -> None:
        """Pass on what was yielded; call it before waiting. Raises Interrupted when the intake is to end."""
        self.outlet.idle()
        self.interruption.check()

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted when the intake is to end."""
        self.outlet.idle()
        self.interruption.sleep(seconds)

    def fetch(self, url: str, validators: dict[str, str] | None = None, manners: Manners = Manners()) -> Page | None:
        """The page at a URL, or None where `validators` (those of an earlier Page) say that nothing changed."""
        self.idle()
        return self.web.get(url, validators or {}, self._manners(manners))

    def download(
        self, url: str, validators: dict[str, str] | None = None, manners: Manners = Manners()
    ) -> Download | None:
        """The same for what is too large for memory, as a file in the cache."""
        self.idle()
        return self.web.download(url, self.cache / "downloads", validators or {}, self._manners(manners))

    def _manners(self, manners: Manners) -> Manners:
        if self.options.delay_s is not None:
            rate = 1 / self.options.delay_s if self.options.delay_s > 0 else float("inf")
            manners = replace(manners, rate=rate)
        return manners if self.options.robots else replace(manners, robots=False)
