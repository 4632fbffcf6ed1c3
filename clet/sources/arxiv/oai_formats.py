"""The metadata formats of OAI-PMH into papers: arXiv's own (arXivRaw, arXiv, arXivOld), Dublin Core, and any other.

arXiv's formats: https://info.arxiv.org/help/oa/index.html. Everything else is read as Dublin Core is
(https://www.openarchives.org/OAI/openarchivesprotocol.html#dublincore): fields by their local names at any depth, so
that qualified DC, DataCite, MODS and JATS give a title and an abstract too; what has neither is no document. Of
several descriptions the longest is the abstract. Dates known to the month or year count from its first day; of several
the earliest is the publication, the last one the update.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from datetime import datetime

from lxml import etree

from clet.sources.arxiv.papers import Paper, arxiv_id, arxiv_month, arxiv_url, fold, license_of
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.text.extract import fragment_text
from clet.sources.xml_reply import child_text, children, local_name, text_of

MAX_FIELDS = 4096  # of one record, looked at
_ARXIV_FORMATS = ("arXivRaw", "arXiv", "arXivOld")
_TITLES = ("title", "article-title")
_ABSTRACTS = ("abstract", "description", "summary")
_DATES = ("date", "issued", "created", "available", "dateissued")
_MARKUP = re.compile(r"</(?:p|i|b|u|em|strong|sub|sup|div|span|ul|ol|li|a|jats:\w+)>|<br\s*/?>|<p>", re.IGNORECASE)
_CHARACTER = re.compile(r"&#?\w{2,31};", re.ASCII)  # not `&not` of "and&not", which unescape would take too
_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{2}))?\Z")
_DOI = re.compile(r"\b10\.\d{4,9}/\S+")
# ISO 639-2 codes, which many repositories write, where ISO 639-1 has one too.
_LANGUAGES = (
    "ar=ara bg=bul ca=cat cs=ces,cze da=dan de=deu,ger el=ell,gre en=eng es=spa et=est eu=eus,baq fa=fas,per "
    "fi=fin fr=fra,fre gl=glg he=heb hi=hin hr=hrv hu=hun id=ind is=isl,ice it=ita ja=jpn ko=kor lt=lit lv=lav "
    "nb=nob nl=dut,nld no=nor pl=pol pt=por ro=ron,rum ru=rus sk=slk,slo sl=slv sr=srp sv=swe th=tha tr=tur "
    "uk=ukr vi=vie zh=chi,zho"
)
_TWO_LETTERS = {code: pair[:2] for pair in _LANGUAGES.split() for code in pair[3:].split(",")}


def read_metadata(element: etree._Element, identifier: str) -> Paper:
    """The paper that a metadata element describes; `identifier` is that of its record."""
    if local_name(element) in _ARXIV_FORMATS:
        return _arxiv(element, identifier)
    return _dublin_core(element, identifier)


# ---- arXiv's own


def _arxiv(element: etree._Element, identifier: str) -> Paper:
    found = arxiv_id(child_text(element, "id")) or arxiv_id(identifier)
    number = found[0] if found else None
    versions = sorted(_versions(element))
    if versions:
        published, updated = versions[0][1], versions[-1][1]
    else:
        published, updated = read_date(child_text(element, "created")), read_date(child_text(element, "updated"))
        if number and published and (published - arxiv_month(number)).days > 62:
            # the server of 2025 gives the newest version's date here; papers are numbered when they arrive
            published, updated = arxiv_month(number), max(published, updated or published)
    return Paper(
        identifier=identifier or (f"oai:arXiv.org:{number}" if number else ""),
        title=" ".join(child_text(element, "title").split()),
        abstract=fold(_child_raw(element, "abstract")),
        url=arxiv_url(number) if number else None,
        published=published,
        updated=updated,
        license=license_of(child_text(element, "license")),
        authors=_arxiv_authors(element),
        categories=child_text(element, "categories").split(),
        meta={
            "arxiv": number,
            "version": versions[-1][0] if versions else None,
            "doi": one_line(child_text(element, "doi"), 200),
            "journal_ref": one_line(child_text(element, "journal-ref"), 300),
        },
    )


def _versions(element: etree._Element) -> list[tuple[int, datetime]]:
    """(number, date) of each version; they are not always listed in order."""
    versions = []
    for version in children(element, "version"):
        number, date = version.get("version", "").lstrip("v"), read_date(child_text(version, "date"))
        if number.isascii() and number.isdigit() and len(number) < 5 and date:
            versions.append((int(number), date))
    return versions


def _arxiv_authors(element: etree._Element) -> list[str]:
    """Each author's name; arXivRaw has one string, with affiliations in parentheses."""
    for authors in children(element, "authors"):
        named = children(authors, "author")
        if named:
            parts = ("forenames", "keyname", "suffix")
            return [" ".join(filter(None, (child_text(author, part) for part in parts))) for author in named]
        flat, depth = "", 0
        for piece in re.split(r"([()])", " ".join(text_of(authors).split())):
            depth += (piece == "(") - (piece == ")" and depth > 0)
            if not depth and piece != ")":
                flat += piece
        return [name.strip() for name in re.split(r",\s*(?:and\s+)?|;\s*|\s+and\s+", flat) if name.strip()]
    return []


def _child_raw(element: etree._Element, name: str) -> str:
    """The text of a child as it stands: how its lines are set in says where paragraphs begin."""
    return next((text_of(child) for child in children(element, name)), "")


# ---- Dublin Core and the rest


def _dublin_core(element: etree._Element, identifier: str) -> Paper:
    fields: dict[str, list[etree._Element]] = defaultdict(list)
    for _, part in zip(range(MAX_FIELDS), element.iterdescendants(), strict=False):
        fields[local_name(part).lower()].append(part)
    dates = sorted(date for name in _DATES for part in fields[name] if (date := _date(text_of(part))))
    identifiers = [text_of(part).strip() for part in fields["identifier"]]
    found = arxiv_id(identifier)
    titles = [_plain(text_of(part)) for name in _TITLES for part in fields[name]]
    return Paper(
        identifier=identifier,
        title=" ".join(next(filter(None, titles), "").split()),
        abstract=_abstract(fields),
        url=arxiv_url(found[0]) if found else _address(identifiers),
        published=dates[0] if dates else None,
        updated=dates[-1] if len(dates) > 1 and dates[-1] != dates[0] else None,
        license=_license([text_of(part) for name in ("rights", "license") for part in fields[name]]),
        language=next(filter(None, (_language(text_of(part)) for part in fields["language"])), None),
        authors=[text_of(part) for part in fields["creator"]],
        categories=[text_of(part) for part in fields["subject"]],
        meta={
            "arxiv": found[0] if found else None,
            "doi": next((match[0] for text in identifiers if (match := _DOI.search(text[:300]))), None),
        },
    )


def _abstract(fields: dict[str, list[etree._Element]]) -> str:
    texts = [_plain(fold(text_of(part))) for name in _ABSTRACTS for part in fields[name]]
    # arXiv writes the authors' comments as a second description
    return max((text for text in texts if not text.startswith("Comment:")), key=len, default="")


def _plain(text: str) -> str:
    """A text without the HTML that some repositories put into it; the `<` of a formula is none."""
    if _MARKUP.search(text):
        return fragment_text(text)
    return _CHARACTER.sub(lambda match: html.unescape(match[0]), text).strip()


def _address(identifiers: list[str]) -> str | None:
    pages = (text for text in identifiers if re.match(r"https?://[^\s<>\"]{1,2000}\Z", text))
    return next(pages, None)


def _license(texts: list[str]) -> str | None:
    """The one that names a known licence by its address, else the first."""
    licenses = [found for text in texts if (found := license_of(text))]
    return next((name for name in licenses if name.startswith("CC")), licenses[0] if licenses else None)


def _language(text: str) -> str | None:
    """`en` of `en-US`, `eng` and `en`; None for what is no code."""
    code = re.match(r"\s*([A-Za-z]{2,3})(?:[-_]\w+)*\s*\Z", text[:40])
    return _TWO_LETTERS.get(code[1].lower(), code[1].lower()) if code else None


def _date(text: str) -> datetime | None:
    partial = _PARTIAL_DATE.match(text.strip())
    return read_date(f"{partial[1]}-{partial[2] or '01'}-01" if partial else text)
