"""Harvesting a repository by OAI-PMH 2.0 (https://www.openarchives.org/OAI/openarchivesprotocol.html).

A harvest is a list of records in pages, each with the token of the next. The cursor holds the token after the last
record of each page, so an interrupted harvest goes on there; when a token has expired, the harvest begins again. A
complete one leaves `from`, the server's time at its first page, where the next begins: whatever changes while pages are
read is listed again. What comes out again with the same text is passed over (`known.py`).

- Days or seconds: learned from the datestamps of the first records; days where the server refuses seconds.
- Records that an index shows late (DSpace fills it nightly): once in LATE the harvest reaches back by LATE more.
- The server's clock is believed only backwards of ours, so that a wrong one costs repeats, never records.
- `completeListSize` and `cursor` decide nothing. A list ends where there is no token, and only if the reply is whole.
- Refused: a token that was given before, EMPTY_PAGES pages without a record, MAX_PAGES pages.

Memory: one page as a tree (`xml_reply.py`), the known names, 16 bytes a page. Time: 0.25 ms a record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from clet.record import format_time, raw_hash
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.arxiv.known import Known
from clet.sources.arxiv.oai_reply import Reply, read_reply, reply_documents
from clet.sources.arxiv.papers import host_of, is_arxiv, origin_of
from clet.sources.text.dates import read_date
from clet.sources.text.decode import one_line
from clet.sources.web.page import Page
from clet.sources.xml_reply import ask, is_answer

LATE = timedelta(days=1)
EMPTY_PAGES = 20
MAX_PAGES = 200_000
TOKEN_FAILURES = 3  # runs in which the server answers a token with an HTTP error: then it is worth no more
_VERBS = ("ListRecords", "GetRecord")
_OF_A_LIST = ("metadataPrefix", "set", "from", "until")

# ---- requests


@dataclass(frozen=True)
class Request:
    """What is asked of a repository: its base URL, with what else stands in its query, and the protocol's arguments."""

    base: str
    own: tuple[tuple[str, str], ...]
    verb: str
    arguments: dict[str, str]

    def first(self, since: str | None = None) -> str:
        """The URL of the first page; `since` replaces the argument `from`."""
        return self._url(self.arguments | ({"from": since} if since else {}))

    def next(self, token: str) -> str:
        """The URL of the page that a token stands for; no other argument is allowed with one."""
        return self._url({"resumptionToken": token})

    @property
    def signature(self) -> str:
        """Which list this is: a token belongs to one."""
        return urlencode(self.arguments)

    def _url(self, arguments: dict[str, str]) -> str:
        pairs = [*self.own, ("verb", self.verb), *arguments.items()]
        return f"{self.base}?{urlencode(pairs, quote_via=quote, safe='')}"


def parse_request(url: str) -> Request:
    """The request that a locator means: ListRecords of everything where it does not say. Raises SourceFailed."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    said = dict(pairs)
    verb = said.get("verb", "ListRecords")
    if "resumptionToken" in said:
        raise SourceFailed("a resumption token is no source; name the base URL of the repository")
    if verb not in _VERBS:
        raise SourceFailed(f"{one_line(verb, 40)} lists no records; leave verb= out of the URL")
    names = _OF_A_LIST if verb == "ListRecords" else ("identifier", "metadataPrefix")
    arguments = {name: said[name] for name in names if said.get(name)}
    arguments.setdefault("metadataPrefix", "arXivRaw" if is_arxiv(host_of(url)) else "oai_dc")
    protocol = {"verb", "identifier", *_OF_A_LIST}
    own = tuple(pair for pair in pairs if pair[0] not in protocol)
    return Request(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), own, verb, arguments)


# ---- the harvest


def harvest(url: str, context: Context) -> Iterator[Document]:
    """Records of a repository that are new or changed since the cursor. Raises SourceFailed."""
    request, cursor = parse_request(url), context.cursor
    known = Known(cursor)
    if request.verb == "GetRecord":
        page, reply = _ask(request.first(), context)
        if reply.error:
            raise SourceFailed(reply.words)
        yield from reply_documents(reply, known, context, origin=origin_of(host_of(page.url)), raw=raw_hash(page.body))
        return
    state: dict[str, Any] = cursor.get("harvest", {})
    if state.get("token_for") != request.signature:
        state = _begin(cursor, context)
    if not state.get("token") and _is_closed(state["since"], request):
        return
    tokens: set[bytes] = set()
    restarted, empty = False, 0
    for _ in range(MAX_PAGES):
        page, reply = _next_page(request, state, context)
        if error := reply.error:
            if error[0] == "badResumptionToken" and state.get("token") and not restarted:
                context.count("restarts")
                state, restarted = _begin(cursor, context), True
                tokens.clear()
                continue
            if error[0] == "badArgument" and not state.get("token") and _refuses_seconds(cursor, state, request):
                continue
            raise SourceFailed(reply.words)
        state.setdefault("began", _began(reply, context))
        _learn_granularity(cursor, reply)
        yield from reply_documents(reply, known, context, origin=origin_of(host_of(page.url)), raw=raw_hash(page.body))
        if not reply.token:
            _complete(cursor, state)
            return
        mark = hashlib.sha256(reply.token.encode()).digest()[:16]
        if mark in tokens or reply.token == state.get("token"):
            cursor.pop("harvest", None)
            raise SourceFailed("the list never ends: a resumption token came twice")
        tokens.add(mark)
        state |= {"token": reply.token, "token_for": request.signature, "failures": 0}
        cursor["harvest"] = state
        empty = 0 if reply.entries else empty + 1
        if empty >= EMPTY_PAGES:
            raise SourceFailed(f"{empty} pages without a record")
    cursor.pop("harvest", None)
    raise SourceFailed(f"over {MAX_PAGES} pages")


def _begin(cursor: dict[str, Any], context: Context) -> dict[str, Any]:
    """The state of a harvest that starts now; `deep`: it reaches back for what was shown late."""
    cursor.pop("harvest", None)
    since, deep = read_date(cursor.get("from")), read_date(cursor.get("deep"))
    if since is None or deep is None or context.now - deep < LATE:
        return {"since": format_time(since), "deep": since is None}
    return {"since": format_time(min(since, deep - LATE)), "deep": True}


def _complete(cursor: dict[str, Any], state: dict[str, Any]) -> None:
    cursor.pop("harvest", None)
    cursor["from"] = state["began"]
    if state["deep"]:
        cursor["deep"] = state["began"]


def _began(reply: Reply, context: Context) -> str | None:
    return format_time(min(reply.date or context.now, context.now))


def _is_closed(since: str | None, request: Request) -> bool:
    """Whether everything up to the argument `until` was harvested."""
    until = request.arguments.get("until")
    return bool(since and until and since[:10] > until[:10])


def _since(cursor: dict[str, Any], state: dict[str, Any], request: Request) -> str | None:
    """The argument `from`, as exact as the server and the argument `until` allow."""
    since, until = state["since"], request.arguments.get("until", "T")
    return since if since is None or (cursor.get("granularity") == "seconds" and "T" in until) else since[:10]


def _learn_granularity(cursor: dict[str, Any], reply: Reply) -> None:
    if reply.entries and "granularity" not in cursor:
        exact = all("T" in entry.datestamp for entry in reply.entries)
        cursor["granularity"] = "seconds" if exact else "days"


def _refuses_seconds(cursor: dict[str, Any], state: dict[str, Any], request: Request) -> bool:
    """Whether the argument that the server complains of may be one in seconds; it gets days from now on."""
    exact = "T" in (_since(cursor, state, request) or "")
    if exact:
        cursor["granularity"] = "days"
    return exact


def _next_page(request: Request, state: dict[str, Any], context: Context) -> tuple[Page, Reply]:
    token = state.get("token")
    if not token:
        return _ask(request.first(_since(context.cursor, state, request)), context)
    try:
        return _ask(request.next(token), context)
    except SourceFailed as failure:
        if is_answer(failure):  # some servers say so where they mean badResumptionToken
            state["failures"] = state.get("failures", 0) + 1
            if state["failures"] >= TOKEN_FAILURES:
                context.cursor.pop("harvest", None)
        raise


def _ask(url: str, context: Context) -> tuple[Page, Reply]:
    page, xml = ask(url, context)
    return page, read_reply(xml, page.body, context)
