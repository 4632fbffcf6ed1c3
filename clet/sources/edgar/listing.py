"""Listings of filings: the current-filings Atom feed, a company's submissions JSON, daily and full indexes.

Each becomes the same `Listed`. What a listing says of a filing is believed only in its shape: the accession number and
the CIK make up the URL that is asked for, so a listing cannot lead anywhere else. Linear; indexes are read line by
line, so the 50 MB of a quarter cost only the lines that are wanted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from clet.sources.adapter import MAX_FILE_BYTES, SourceFailed
from clet.sources.edgar.sgml import Body
from clet.sources.text.dates import read_date
from clet.sources.xml_reply import parse_xml

MAX_LINE_CHARS = 2_000
_ATOM = "{http://www.w3.org/2005/Atom}"
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_LINK_CIK = re.compile(r"/edgar/data/0*(\d{1,10})/")
_TITLE_CIK = re.compile(r"\((\d{1,10})\)")
_INDEX_HEAD = re.compile(r"(?=.*Form Type)(?=.*Company Name)(?=.*Date Filed)", re.IGNORECASE)
_PATH = re.compile(r"edgar/data/0*(\d{1,10})/(?:\d{18}/)?(\d{10}-\d{2}-\d{6})(?:\.txt|-index\.html?)")
_OLDER = re.compile(r"CIK\d{10}-submissions-\d{3}\.json\Z")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})\Z")


@dataclass(frozen=True, slots=True)
class Listed:
    """A filing as a listing names it. `time` is when it was filed, in UTC or as a date; it sorts as text."""

    accession: str
    cik: str
    form: str
    time: str

    @property
    def date(self) -> str:
        """The day it was filed."""
        return self.time[:10]


@dataclass(frozen=True)
class AtomPage:
    """A page of the current filings, newest first; `size` is the number of its entries, those without a filing too."""

    filings: list[Listed]
    size: int


@dataclass(frozen=True)
class Company:
    """A submissions JSON: the filings it holds, and (name, last day) of the files that hold the older ones."""

    cik: str
    filings: list[Listed]
    older: list[tuple[str, str]]


# ---- Atom


def read_atom(body: Body) -> AtomPage:
    """A page of the current filings; a filing by several people has an entry for each of them. Raises SourceFailed."""
    root = parse_xml(body[:MAX_FILE_BYTES]).root
    if root.tag != f"{_ATOM}feed":
        raise SourceFailed("not an Atom feed of filings")
    entries = root.findall(f"{_ATOM}entry")
    filings = []
    for entry in entries:
        accession = _ACCESSION.search(entry.findtext(f"{_ATOM}id") or "")
        link = entry.find(f"{_ATOM}link")
        category = entry.find(f"{_ATOM}category")
        cik = _LINK_CIK.search(link.get("href", "") if link is not None else "") or _TITLE_CIK.search(
            entry.findtext(f"{_ATOM}title") or ""
        )
        moment = read_date(entry.findtext(f"{_ATOM}updated"))
        if accession and cik and category is not None and moment:
            time = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            filings.append(Listed(accession[0], cik[1].lstrip("0"), category.get("term", "").upper(), time))
    return AtomPage(filings, len(entries))


# ---- submissions JSON


def read_company(body: Body, cik: str | None = None) -> Company | None:
    """Filings of a company, oldest first; None where the JSON is another. `cik` is for the files of older ones."""
    if len(body) > MAX_FILE_BYTES:
        raise SourceFailed(f"over {MAX_FILE_BYTES} bytes of JSON")
    try:
        value = orjson.loads(body[:])
    except orjson.JSONDecodeError:
        raise SourceFailed("not JSON, though it begins so") from None
    if not isinstance(value, dict):
        return None
    outer = value.get("filings")
    columns = outer.get("recent") if isinstance(outer, dict) else value
    cik = str(value.get("cik") or cik or "").lstrip("0")
    if not isinstance(columns, dict) or not isinstance(columns.get("accessionNumber"), list) or not cik.isdigit():
        return None
    files = outer.get("files") if isinstance(outer, dict) else None
    older = []
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict) and _OLDER.match(str(file.get("name"))):
            older.append((file["name"], str(file.get("filingTo", "9"))))
    filings = sorted(_rows(columns, cik), key=lambda filing: filing.time)
    return Company(cik, filings, sorted(older, key=lambda file: file[1]))


def _rows(columns: dict[str, Any], cik: str) -> Iterator[Listed]:
    names = ("accessionNumber", "form", "filingDate")
    wanted = [column if isinstance(column := columns.get(name), list) else [] for name in names]
    for accession, form, date in reversed(list(zip(*wanted, strict=False))):
        if isinstance(form, str) and _ACCESSION.fullmatch(str(accession)) and (day := _day(str(date))):
            yield Listed(accession, cik, form.upper(), day)


# ---- indexes


def read_index(body: Body) -> Iterator[Listed | int]:
    """Entries of form.idx, company.idx, crawler.idx or master.idx in their order; a bad line is given as its number."""
    columns: tuple[bool, int] | None = None  # (form first, where the second column begins)
    for number, raw in enumerate(_lines(body), 1):
        line = raw.decode("utf-8", "replace").rstrip()
        if columns is None:
            if _INDEX_HEAD.match(line):
                name, form = line.lower().index("company name"), line.lower().index("form type")
                columns = (form < name, max(form, name))
            continue
        if not line.strip("- "):
            continue
        entry = _piped(line) if "|" in line else _fixed(line, *columns)
        yield number if entry is None else entry


def _lines(body: Body) -> Iterator[bytes]:
    stream = io.BytesIO(body) if isinstance(body, bytes) else body
    stream.seek(0)
    while line := stream.readline():
        yield line[: 2 * MAX_LINE_CHARS]


def _piped(line: str) -> Listed | None:
    """`CIK|Company Name|Form Type|Date Filed|File Name`."""
    fields = line.split("|")
    if len(fields) < 5:
        return None
    form, day, path = fields[-3].strip(), _day(fields[-2].strip()), _PATH.search(fields[-1])
    return Listed(path[2], path[1], form.upper(), day) if path and day and form else None


def _fixed(line: str, form_first: bool, second: int) -> Listed | None:
    """Columns of spaces. A company's name can be wider than its column, so the line is read from its end."""
    fields = line[:MAX_LINE_CHARS].rsplit(None, 3)
    if len(fields) < 4 or not fields[1].isdigit():
        return None
    left, _, date, path = fields
    day, place = _day(date), _PATH.search(path)
    if form_first:
        form = left[:second]
    elif left[second - 1 : second].isspace():
        form = left[second:]
    else:
        form = re.split(r"\s{2,}", left)[-1]
    form = form.strip().upper()
    return Listed(place[2], place[1], form, day) if place and day and 0 < len(form) <= 40 else None


def _day(text: str) -> str | None:
    match = _DATE.match(text)
    return "-".join(match.groups()) if match and read_date("-".join(match.groups())) else None
