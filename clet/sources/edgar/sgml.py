"""A full submission: the header that says who filed what and when, and where its documents lie.

Two forms of one thing (EDGAR Public Dissemination Service specification): `.txt`, with `<SEC-HEADER>` and its lines of
`NAME: value`, and `.nc`, with `<SUBMISSION>` and a tag for each value. Both hold `<DOCUMENT>` with `<TYPE>`,
`<SEQUENCE>`, `<FILENAME>`, `<DESCRIPTION>` and `<TEXT>`. End tags may be missing, a document may lie inside another,
and lines may end in CR alone. Nothing is copied: the body may be a memory map, and only positions of documents are
kept. One pass in C over the bytes.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

Body = bytes | mmap.mmap

EASTERN = ZoneInfo("America/New_York")
MAX_HEADER_BYTES = 8 << 20  # of a trust with thousands of co-registrants
MAX_FILERS = 50  # named in a record
MAX_NESTING = 16
MAX_DOCUMENTS = 100_000

_EDGE = re.compile(rb"<DOCUMENT>\s{0,8}<TYPE>|</DOCUMENT>", re.IGNORECASE)
_LABEL = re.compile(rb"<(TYPE|SEQUENCE|FILENAME|DESCRIPTION)>([^<\r\n]{0,1000})", re.IGNORECASE)
_TEXT = re.compile(rb"<TEXT>", re.IGNORECASE)
_ENDS = (
    b"</TEXT>",
    b"</SEC-DOCUMENT>",
    b"</IMS-DOCUMENT>",
    b"</SUBMISSION>",
    b"-----END PRIVACY-ENHANCED MESSAGE-----",
)
_LABELS_BYTES = 8192  # between <DOCUMENT> and <TEXT>
_START = re.compile(
    rb"\s*(?:-----BEGIN PRIVACY-ENHANCED MESSAGE-----|<(?:SEC|IMS)-(?:DOCUMENT|HEADER)>|<SUBMISSION>"
    rb"|<ACCEPTANCE-DATETIME>|<DOCUMENT>\s{0,8}<TYPE>)"
)
_LINE = re.compile(r"^([ \t]*)([A-Z][A-Z0-9 .&/'()-]{1,60}):[ \t]*(.*)$", re.MULTILINE)
_TAG = re.compile(r"<(/?)([A-Z][A-Z0-9_-]{1,60})>([^<\r\n]*)")
_SIC = re.compile(r"\[(\d{3,4})\]|^(\d{3,4})$")
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
# The header's words in either form, and the field they fill.
_FILING_FIELDS = {
    "ACCESSION NUMBER": "accession",
    "ACCESSION-NUMBER": "accession",
    "CONFORMED SUBMISSION TYPE": "form",
    "TYPE": "form",
    "CONFORMED PERIOD OF REPORT": "period",
    "PERIOD": "period",
    "FILED AS OF DATE": "filed",
    "FILING-DATE": "filed",
    "ACCEPTANCE-DATETIME": "accepted",
}
_FILER_FIELDS = {
    "COMPANY CONFORMED NAME": "name",
    "CONFORMED-NAME": "name",
    "CENTRAL INDEX KEY": "cik",
    "CIK": "cik",
    "STANDARD INDUSTRIAL CLASSIFICATION": "sic",
    "ASSIGNED-SIC": "sic",
}
_FILER_STARTS = {"COMPANY DATA", "OWNER DATA", "COMPANY-DATA", "OWNER-DATA"}
# Whom a filing is about, before those who filed it about them.
_ROLES = ("FILER", "SUBJECT COMPANY", "ISSUER", "SERIAL COMPANY")


@dataclass
class Filer:
    """Somebody named in a header, and as what (`FILER`, `SUBJECT COMPANY`, `FILED BY`, ...)."""

    role: str
    name: str = ""
    cik: str = ""
    sic: str = ""


@dataclass
class Header:
    """What a submission says of itself. `period` and `filed` are dates like 2024-12-31, where known."""

    accession: str | None = None
    form: str | None = None
    period: str | None = None
    filed: str | None = None
    accepted: datetime | None = None
    items: list[str] = field(default_factory=list)
    filers: list[Filer] = field(default_factory=list)
    deleted: bool = False  # the notice that an earlier submission was withdrawn from EDGAR

    @property
    def filer(self) -> Filer | None:
        """Whom the filing is about."""
        for role in _ROLES:
            for filer in self.filers:
                if filer.role == role:
                    return filer
        return self.filers[0] if self.filers else None

    @property
    def published(self) -> datetime | None:
        """When EDGAR accepted it, else the midnight of its filing date, UTC."""
        if self.accepted is None and self.filed:
            return datetime.fromisoformat(self.filed).replace(tzinfo=UTC)
        return self.accepted


@dataclass(frozen=True)
class Part:
    """One document of a submission; `spans` are the pieces of the body that its text is made of."""

    type: str
    sequence: str
    filename: str
    description: str
    spans: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of its text."""
        return sum(end - start for start, end in self.spans)

    def text(self, body: Body) -> bytes:
        """The bytes of its text."""
        text = b"".join(body[start:end] for start, end in self.spans).strip()
        while end := next((end for end in _ENDS if text[-len(end) :].upper() == end), None):
            text = text[: -len(end)].rstrip()
        return text


def is_submission(head: bytes) -> bool:
    """Whether a body that begins so is a submission."""
    return _START.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


# ---- the documents


def split(body: Body) -> tuple[bytes, Iterator[Part]]:
    """(the header's bytes, the documents in order)."""
    first = _EDGE.search(body)
    end = first.start() if first else len(body)
    return body[: min(end, MAX_HEADER_BYTES)], _parts(body)


def _parts(body: Body) -> Iterator[Part]:
    """Documents as their start tags come. One that begins inside another interrupts it, as one whose end is missing."""
    open_parts: list[list[tuple[int, int]]] = []  # spans of those that have not ended
    starts: list[int] = []
    done: list[tuple[int, list[tuple[int, int]]]] = []
    position = None
    for number, edge in enumerate(_EDGE.finditer(body)):
        if number > 2 * MAX_DOCUMENTS:
            break
        if open_parts and position is not None:
            open_parts[-1].append((position, edge.start()))
        if edge[0][1:2] != b"/":
            if len(open_parts) >= MAX_NESTING:
                yield from _finished(body, starts, open_parts)
            open_parts.append([])
            starts.append(edge.start())
            position = edge.start() + len(b"<DOCUMENT>")
        elif open_parts:
            done.append((starts.pop(), open_parts.pop()))
            position = edge.end()
            if not open_parts:
                yield from (_part(body, spans) for _, spans in sorted(done))
                done.clear()
    if open_parts and position is not None:
        open_parts[-1].append((position, len(body)))
    done += zip(starts, open_parts, strict=True)
    yield from (_part(body, spans) for _, spans in sorted(done))


def _finished(body: Body, starts: list[int], open_parts: list[list[tuple[int, int]]]) -> Iterator[Part]:
    for _ in range(len(starts)):
        starts.pop(0)
        yield _part(body, open_parts.pop(0))


def _part(body: Body, spans: list[tuple[int, int]]) -> Part:
    start, end = spans[0]
    head = body[start : min(end, start + _LABELS_BYTES)]
    text = _TEXT.search(head)
    labels = {}
    for name, value in _LABEL.findall(head, 0, text.start() if text else len(head)):
        labels.setdefault(name.decode().upper(), _words(value.decode("utf-8", "replace")))
    spans = [(start + (text.end() if text else 0), end), *spans[1:]]
    return Part(
        type=labels.get("TYPE", "").upper(),
        sequence=labels.get("SEQUENCE", ""),
        filename=labels.get("FILENAME", ""),
        description=labels.get("DESCRIPTION", ""),
        spans=tuple(spans),
    )


# ---- the header


def read_header(head: bytes) -> Header:
    """The header of a submission in either form; what it does not say is None or empty."""
    text = head.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    header = Header()
    filer: Filer | None = None
    role = ""
    for indent, name, value in _statements(text):
        value = _words(value)
        if name in _FILER_STARTS:
            filer = Filer(role)
            header.filers.append(filer)
        elif name in _FILER_FIELDS and filer is not None:
            if not getattr(filer, _FILER_FIELDS[name]):
                setattr(filer, _FILER_FIELDS[name], value)
        elif name in _FILING_FIELDS:
            if getattr(header, _FILING_FIELDS[name]) is None and value:
                setattr(header, _FILING_FIELDS[name], value)
        elif name in ("ITEMS", "ITEM INFORMATION"):
            header.items.append(value)
        elif name == "DELETION":
            header.deleted = True
        elif not value and not indent:
            role = name.replace("-", " ").replace("_", " ")
    return _checked(header)


def _statements(text: str) -> Iterator[tuple[str, str, str]]:
    """(indentation, name, value) of each statement of a header; an end tag says nothing."""
    for slash, name, value in _TAG.findall(text):
        if not slash:
            yield "", name, value
    if "<SUBMISSION>" not in text[:1000]:
        yield from _LINE.findall(text)


def _checked(header: Header) -> Header:
    """The header with its values as they are used; nonsense becomes None."""
    match = _ACCESSION.search(header.accession or "")
    header.accession = match[0] if match else None
    header.form = header.form.upper()[:40] if header.form else None
    header.period, header.filed = _date(header.period), _date(header.filed)
    header.accepted = _eastern(header.accepted)
    for filer in header.filers:
        match = _SIC.search(filer.sic)
        filer.sic = (match[1] or match[2]) if match else ""
        filer.cik = filer.cik.lstrip("0") if filer.cik.isdigit() else ""
    return header


def _date(value: str | None) -> str | None:
    try:
        return datetime.strptime((value or "")[:8], "%Y%m%d").date().isoformat()
    except ValueError:
        return None


def _eastern(value: object) -> datetime | None:
    """A time as EDGAR writes it, on the clock of its own place, in UTC."""
    try:
        return datetime.strptime(str(value)[:14], "%Y%m%d%H%M%S").replace(tzinfo=EASTERN).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _words(value: str) -> str:
    return " ".join(value.replace("&amp;", "&").split())[:300]
