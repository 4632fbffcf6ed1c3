"""A reply of OAI-PMH 2.0 (https://www.openarchives.org/OAI/openarchivesprotocol.html) and the documents in it.

Elements are found by their local names: servers, and those who save replies, often get the namespaces wrong. The sizes
that a resumption token states (`completeListSize`, `cursor`) decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from clet.record import raw_hash
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.arxiv.known import Known
from clet.sources.arxiv.oai_formats import read_metadata
from clet.sources.arxiv.papers import (
    MAX_NAMES,
    Paper,
    arxiv_id,
    arxiv_url,
    host_of,
    new_deletion,
    new_document,
    origin_of,
)
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.xml_reply import Xml, child_text, children, local_name, text_of

MAX_TOKEN_CHARS = 4096
_LISTS = ("ListRecords", "GetRecord")
_NO_RECORDS = ("Identify", "ListIdentifiers", "ListMetadataFormats", "ListSets")


@dataclass(frozen=True)
class Entry:
    """One record: its header, and the metadata element if there is one."""

    identifier: str
    datestamp: str
    sets: list[str]
    deleted: bool
    metadata: etree._Element | None


@dataclass(frozen=True)
class Reply:
    """An answer to ListRecords or GetRecord. `errors`: (code, the server's words); `base`: what it calls itself."""

    date: datetime | None
    base: str
    errors: list[tuple[str, str]]
    entries: list[Entry]
    token: str | None

    @property
    def error(self) -> tuple[str, str] | None:
        """The error that matters; that no record matches is none."""
        return next((error for error in self.errors if error[0] != "noRecordsMatch"), None)

    @property
    def words(self) -> str:
        """The error that matters, as the server puts it."""
        return ": ".join(filter(None, self.error or ()))


def read_reply(xml: Xml, body: bytes, context: Context) -> Reply:
    """The reply in a tree; `body` is what it was parsed from. Raises SourceFailed where it lists no records."""
    root = xml.root
    if local_name(root) != "OAI-PMH":
        raise SourceFailed(f"not an OAI-PMH reply but <{one_line(local_name(root), 40)}>")
    errors = [
        (one_line(error.get("code"), 60) or "error", one_line(text_of(error), 300) or "")
        for error in children(root, "error")
    ]
    lists = [part for verb in _LISTS for part in children(root, verb)]
    if not errors and not lists:
        verb = next((verb for verb in _NO_RECORDS if children(root, verb)), None)
        raise SourceFailed(f"a reply to {verb}, which holds no records" if verb else "an OAI-PMH reply without a list")
    entries = [_entry(record) for part in lists for record in children(part, "record")]
    tokens = [text_of(token).strip() for part in lists for token in children(part, "resumptionToken")]
    if xml.fault:
        _tell_fault(xml.fault, body, len(entries), bool(tokens), context)
    token = next(filter(None, tokens), None)
    if token and len(token) > MAX_TOKEN_CHARS:
        raise SourceFailed(f"a resumption token of {len(token)} characters")
    return Reply(read_date(child_text(root, "responseDate")), child_text(root, "request"), errors, entries, token)


def _entry(record: etree._Element) -> Entry:
    header = next(iter(children(record, "header")), record)
    metadata = next(iter(children(record, "metadata")), None)
    return Entry(
        identifier=one_line(child_text(header, "identifier"), 1000) or "",
        datestamp=child_text(header, "datestamp")[:40],
        sets=[name for part in children(header, "setSpec") if (name := one_line(text_of(part), 200))][:MAX_NAMES],
        deleted=header.get("status") == "deleted",
        metadata=next((part for part in metadata if local_name(part)), None) if metadata is not None else None,
    )


def _tell_fault(fault: str, body: bytes, num_entries: int, has_token: bool, context: Context) -> None:
    """Say what was lost to damage. Raises SourceFailed where the list might go on without our seeing it."""
    body = body.replace(b"\0", b"")
    if not has_token and re.search(rb"<(?:[\w.-]+:)?resumptionToken[\s/>]", body):
        raise SourceFailed(f"damaged, and so is its resumption token: {fault}")
    number = len(re.findall(rb"<(?:[\w.-]+:)?header[\s>]", body))
    context.bad(f"not well-formed, {num_entries} of {max(number, num_entries)} records could be read: {fault}")


def reply_documents(reply: Reply, known: Known, context: Context, *, origin: str, raw: str) -> Iterator[Document]:
    """What is new in a reply: documents and deletions."""
    for number, entry in enumerate(reply.entries, 1):
        about = {
            "oai": entry.identifier or None,
            "datestamp": one_line(entry.datestamp),
            "sets": entry.sets or None,
        }
        about = {name: value for name, value in about.items() if value}
        if not entry.identifier and (entry.deleted or entry.metadata is None):
            context.bad(f"record {number} of a page has neither identifier nor metadata")
            continue
        if entry.deleted:
            found = arxiv_id(entry.identifier)
            gone = Paper(entry.identifier, url=arxiv_url(found[0]) if found else None, meta=about)
            document = new_deletion(gone, known, context, origin=origin)
        elif entry.metadata is None:
            context.count("without-text")
            continue
        else:
            paper = read_metadata(entry.metadata, entry.identifier)
            paper.meta = about | paper.meta
            document = new_document(paper, known, context, origin=origin, raw=raw)
        if document is not None:
            yield document


def read_saved(xml: Xml, body: bytes, name: str, context: Context) -> Iterator[Document]:
    """The documents of a reply that was saved as a file. Raises SourceFailed where it is an error."""
    reply = read_reply(xml, body, context)
    if reply.error:
        raise SourceFailed(f"a reply that says {reply.words}")
    host = host_of(reply.base)
    origin = origin_of(host) if host else name
    yield from reply_documents(reply, Known({}), context, origin=origin, raw=raw_hash(body))
