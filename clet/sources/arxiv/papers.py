"""A paper as repositories describe it, whatever the protocol and the format, and the document that is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from clet.record import format_time
from clet.sources.adapter import MAX_TEXT_BYTES, Context, Document
from clet.sources.arxiv.known import DELETED, Known
from clet.sources.text.decode import one_line
from clet.sources.text.language import detect_language

MAX_AUTHORS = 32
MAX_NAMES = 32  # categories, sets

_ARXIV_ID = re.compile(r"(?P<id>\d{4}\.\d{4,5}|[a-z-]{2,16}(?:\.[A-Za-z-]{2,16})?/\d{7})(?:v(?P<version>\d{1,4}))?\Z")
_BEFORE_ID = re.compile(r"\A(?:oai:)?arXiv(?:\.org)?:|\A.*?arxiv\.org/abs/", re.IGNORECASE)
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<kind>[a-z+-]+)|publicdomain/(?P<public>zero|mark))/(?P<version>\d\.\d)"
    r"(?:/(?P<port>[a-z]{2,3})\b)?"
)


@dataclass
class Paper:
    """What a repository says of one paper. `identifier` is its name there; `published` is that of the first version."""

    identifier: str
    title: str = ""
    abstract: str = ""
    url: str | None = None
    published: datetime | None = None
    updated: datetime | None = None
    license: str | None = None
    language: str | None = None
    authors: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)


def new_document(paper: Paper, known: Known, context: Context, *, origin: str, raw: str) -> Document | None:
    """The document of a paper, to be yielded at once; None where that text came out before, or there is none."""
    text = "\n\n".join(part for part in (paper.title, paper.abstract) if part)
    if not text:
        context.count("without-text")
        return None
    if len(text) > MAX_TEXT_BYTES // 4:  # of characters, which are four bytes at most
        context.bad(f"{one_line(paper.identifier, 100) or 'a record'}: a text of {len(text)} characters, passed over")
        return None
    meta = paper.meta | {
        "authors": _names(paper.authors, MAX_AUTHORS),
        "num_authors": len(paper.authors) if len(paper.authors) > MAX_AUTHORS else None,
        "categories": _names(paper.categories, MAX_NAMES),
        "updated": format_time(paper.updated),
    }
    document = context.document(
        origin=origin,
        text=text,
        url=paper.url,
        title=one_line(paper.title),
        lang=paper.language or detect_language(text),
        published=paper.published,
        raw=raw,
        license=paper.license,
        meta={name: value for name, value in meta.items() if value not in (None, "", [])},
    )
    before = known.get(paper.identifier or document["id"])
    if before == document["id"]:
        context.count("seen")
        return None
    if before:
        document["meta"]["supersedes"] = before
    known.put(paper.identifier or document["id"], document["id"])
    return document


def new_deletion(paper: Paper, known: Known, context: Context, *, origin: str) -> Document | None:
    """What to yield, at once, for a paper that is gone; None where that was said before."""
    before = known.get(paper.identifier)
    if before == DELETED:
        context.count("seen")
        return None
    known.put(paper.identifier, DELETED)
    return context.deletion(origin=origin, deletes=before, url=paper.url, meta=paper.meta)


def fold(text: str) -> str:
    """A text with its wrapped lines joined; a blank line, or one set in further than the others, begins a paragraph."""
    lines = text.strip("\r\n").expandtabs().splitlines()
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(margins, default=0)
    paragraphs: list[list[str]] = [[]]
    for number, line in enumerate(lines):
        if number and (not line.strip() or line[margin : margin + 1].isspace()):
            paragraphs.append([])
        paragraphs[-1] += line.split()
    return "\n\n".join(" ".join(words) for words in paragraphs if words)


def arxiv_id(text: str) -> tuple[str, int | None] | None:
    """(identifier, version) of arXiv's at the end of an identifier or address; None for others."""
    place = _BEFORE_ID.sub("", text.strip()[:300], count=1)
    match = _ARXIV_ID.match(place)
    return (match["id"], int(match["version"]) if match["version"] else None) if match else None


def arxiv_month(identifier: str) -> datetime:
    """The first day of the month in which arXiv received a paper, which its identifier tells."""
    digits = identifier.rpartition("/")[2][:4]
    year, month = int(digits[:2]), min(max(int(digits[2:]), 1), 12)
    return datetime(year + (1900 if year > 90 else 2000), month, 1, tzinfo=UTC)


def arxiv_url(identifier: str) -> str:
    """The page of a paper on arXiv, whichever version is the newest."""
    return f"https://arxiv.org/abs/{identifier}"


def origin_of(host: str) -> str:
    """The name of a repository: `arxiv.org` for all hosts of arXiv, else the host."""
    return "arxiv.org" if is_arxiv(host) else host


def host_of(url: str) -> str:
    """The host in a URL, or nothing."""
    try:
        return urlsplit(url.strip()).hostname or ""
    except ValueError:
        return ""


def is_arxiv(host: str) -> bool:
    """Whether a host is arXiv's."""
    return host == "arxiv.org" or host.endswith(".arxiv.org")


def license_of(text: str | None) -> str | None:
    """The SPDX identifier of a Creative Commons address; any other licence as it stands."""
    match = _CREATIVE_COMMONS.search(text.lower()) if text else None
    if match is None:
        return one_line(text, 200)
    if match["public"]:
        return "CC0-1.0" if match["public"] == "zero" else "CC-PDM-1.0"
    port = f"-{match['port']}" if match["port"] else ""
    return f"CC-{match['kind']}-{match['version']}{port}".upper()


def _names(names: list[str], limit: int) -> list[str]:
    return list(dict.fromkeys(short for name in names if (short := one_line(name, 200))))[:limit]
