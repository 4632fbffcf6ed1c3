"""The documents of a filing: which of a submission's parts are read, and what is known of them.

Of a submission the main document and the exhibits that hold prose about the business (EX-99: press releases and
letters, EX-13: the annual report to shareholders) become documents; contracts, certificates and consents do not, nor
pictures, archives, spreadsheets, program code and data, which are uuencoded or marked as such. Everything that is
passed over is counted under its kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

from clet.sources.adapter import Context, Document
from clet.sources.edgar.bodies import is_markup
from clet.sources.edgar.filing_text import filing_text
from clet.sources.edgar.plain_text import plain_text
from clet.sources.edgar.sgml import MAX_FILERS, Body, Header, Part, read_header, split
from clet.sources.text.decode import decode_text, one_line
from clet.sources.text.extract import page_title
from clet.sources.text.language import detect_language

ARCHIVES = "https://www.sec.gov/Archives/"
WANTED = ("10-K", "10-Q", "8-K", "20-F", "6-K", "40-F", "S-1", "DEF 14A")
MAX_PART_BYTES = 64 << 20  # of one document; the longest annual reports with inline XBRL have 50 MB

_EXHIBIT = re.compile(r"EX-(?:99|13)(?!\d)")
_DATA = re.compile(r"EX-(?:10[0-4])\b|EX-27(?!\d)|XML|JSON|XBRL")  # XBRL, and the financial data schedules before it
_FILES = ("GRAPHIC", "ZIP", "EXCEL", "PDF")
_WRAPPER = re.compile(rb"\s*<(XBRL|XML|PDF)>\s*", re.IGNORECASE)
_UUENCODED = re.compile(rb"begin [0-7]{3,4} \S")
_PLAIN_NAME = re.compile(r"[\w.~-]{1,200}\Z", re.ASCII)
_FACT = re.compile(
    r"<ix:non(?:Numeric|Fraction)\b[^>]{0,2000}?\bname=\s*[\"']dei:"
    r"(EntityRegistrantName|EntityCentralIndexKey|DocumentType|DocumentPeriodEndDate)[\"'][^>]{0,2000}>",
    re.IGNORECASE,
)
_FACT_CHARS = 2_000
_FACT_EDGE = re.compile(r"<(/?)ix:[^>]{0,2000}?(/?)>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_ARCHIVED = re.compile(r"/edgar/data/0*(\d{1,10})/(?:(\d{10})(\d{2})(\d{6})|(\d{10}-\d{2}-\d{6}))\b")
_NUMBER = re.compile(r"(?<!\d)\d{10}-\d{2}-\d{6}(?!\d)")


def is_wanted(form: str, forms: Iterable[str]) -> bool:
    """Whether a form is among those named. A name stands for the form and its amendments (`/A`); `*` for all."""
    form = form.strip().upper()
    names = {name.strip().upper() for name in forms} or set(WANTED)
    return "*" in names or form in names or form.removesuffix("/A") in names


def submission_documents(
    body: Body, raw: str, context: Context, *, name: str, forms: Iterable[str] = ("*",)
) -> Iterator[Document]:
    """The wanted documents of a submission. `raw` is the hash of its bytes, `name` stands in for a missing filer."""
    head, parts = split(body)
    header = read_header(head)
    number = 0
    for part in parts:
        form = header.form or part.type
        if number == 0 and not header.deleted and not is_wanted(form, forms):
            context.count("other-form")
            return
        number += 1
        reason = _passed_over(part, form, first=number == 1)
        document = None
        if reason is None:
            document, reason = _document(part, header, form, body, raw, context, name)
        if document is not None:
            yield document
        else:
            context.count(reason)
    if header.deleted:
        filer = header.filer
        yield context.deletion(
            origin=filer.name if filer else name,
            deletes=None,
            url=_url(header, None),
            meta={"accession": header.accession, "form": header.form},
        )
    elif number == 0:
        context.count("header-only")


def _passed_over(part: Part, form: str, *, first: bool) -> str | None:
    """Why a part is not read, by its type and size alone; None if it is."""
    if _DATA.match(part.type):
        return "data"
    if part.type in _FILES:
        return "binary"
    if part.type.startswith("EX-") and not first and not _EXHIBIT.match(part.type):
        return "exhibit"
    if not first and not part.type.startswith("EX-") and part.type.removesuffix("/A") != form.removesuffix("/A"):
        return "exhibit"
    return "large" if part.size > MAX_PART_BYTES else None


def _document(
    part: Part, header: Header, form: str, body: Body, raw: str, context: Context, name: str
) -> tuple[Document | None, str]:
    """(the document of a part, why there is none)."""
    text, reason = part_text(part.text(body))
    if not text:
        return None, reason
    filer = header.filer
    origin = (filer.name or filer.cik) if filer else ""
    title = [origin, form, header.period or header.filed]
    if part.type != form:
        title.append(part.type)
    meta: dict[str, Any] = {
        "cik": filer.cik if filer else None,
        "form": form,
        "accession": header.accession,
        "type": part.type,
        "sequence": part.sequence,
        "filename": part.filename,
        "description": part.description,
        "period": header.period,
        "filed": header.filed,
        "sic": filer.sic if filer else None,
        "items": header.items[:MAX_FILERS],
        "filers": _others(header),
    }
    document = context.document(
        origin=origin or name,
        text=text,
        url=_url(header, part),
        title=one_line(" ".join(filter(None, title))),
        lang=detect_language(text),
        published=header.published,
        raw=raw,
        meta={key: value for key, value in meta.items() if value},
    )
    return document, ""


def _others(header: Header) -> list[dict[str, str]]:
    """Everybody named in a header, where there is more than one."""
    if len(header.filers) < 2:
        return []
    return [{"role": filer.role.lower(), "name": filer.name, "cik": filer.cik} for filer in header.filers[:MAX_FILERS]]


def part_text(raw: bytes) -> tuple[str, str]:
    """(canonical text of what stands in a document's TEXT, why it is empty)."""
    while match := _WRAPPER.match(raw):
        raw = raw[match.end() :].removesuffix(b"</%s>" % match[1]).rstrip()
    if _UUENCODED.match(raw):
        return "", "binary"
    text = decode_text(raw, "utf-8", markup=True)
    if "\0" in text[:1000]:
        return "", "binary"
    if is_markup(text):
        text = filing_text(text)
    elif text.lstrip().startswith("<?xml"):
        return "", "data"
    else:
        text = plain_text(text)
    return text, "empty"


def _url(header: Header, part: Part | None) -> str | None:
    """Where the Archives keep a document: its own file where it has a name, else the submission's text."""
    filer = header.filer
    if not header.accession or filer is None or not filer.cik:
        return None
    folder = f"{ARCHIVES}edgar/data/{filer.cik}/"
    if part is None or not part.filename:
        return f"{folder}{header.accession}.txt"
    file = part.filename if _PLAIN_NAME.match(part.filename) else quote(part.filename, safe="")
    return f"{folder}{header.accession.replace('-', '')}/{file}"


# ---- a document by itself


def page_document(markup: bytes, raw: str, context: Context, *, name: str, url: str | None) -> Document | None:
    """The document of a filing's HTML without its submission; what it is comes from its inline XBRL and its URL."""
    text, reason = part_text(markup)
    if not text:
        context.count(reason)
        return None
    source = decode_text(markup, "utf-8", markup=True)
    facts = _facts(source)
    cik, accession = _place(url or "", name)
    cik = facts.get("EntityCentralIndexKey", "").lstrip("0") or cik
    form = facts.get("DocumentType", "").upper()
    period = _period(facts.get("DocumentPeriodEndDate", ""))
    origin = facts.get("EntityRegistrantName") or cik or name
    title = one_line(" ".join(filter(None, (origin, form, period)))) if facts else page_title(source)
    meta = {"cik": cik, "form": form, "accession": accession, "filename": name, "period": period}
    return context.document(
        origin=origin,
        text=text,
        url=url,
        title=title or name,
        lang=detect_language(text),
        raw=raw,
        meta={key: value for key, value in meta.items() if value},
    )


def _facts(markup: str) -> dict[str, str]:
    """What inline XBRL says of the document itself (the dei taxonomy's cover page)."""
    facts: dict[str, str] = {}
    for match in _FACT.finditer(markup):
        if match[1] not in facts and (words := _fact(markup[match.end() : match.end() + _FACT_CHARS])):
            facts[match[1]] = words
    return facts


def _fact(markup: str) -> str | None:
    """The words of a fact whose start tag ends where `markup` begins; facts may lie inside it."""
    depth = 0
    for edge in _FACT_EDGE.finditer(markup):
        if edge[1] and depth == 0:
            return one_line(filing_text(f"<p>{_TAG.sub('', markup[: edge.start()])}</p>"))
        depth += -1 if edge[1] else not edge[2]
    return None


def _period(words: str) -> str | None:
    for form in ("%Y-%m-%d", "%B %d, %Y", "%b %d, %Y", "%m/%d/%Y"):
        try:
            return datetime.strptime(words, form).date().isoformat()
        except ValueError:
            continue
    return None


def _place(url: str, name: str) -> tuple[str | None, str | None]:
    """(CIK, accession number) that the URL or the file's name tells."""
    if match := _ARCHIVED.search(url):
        cik, filer, year, count, whole = match.groups()
        return cik, whole or f"{filer}-{year}-{count}"
    match = _NUMBER.search(name)
    return None, match[0] if match else None
