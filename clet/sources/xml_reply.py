"""Asking a server for XML, and the bytes of its reply into a tree, safely, and complete or not at all.

Nothing outside the bytes is looked at and nothing in them multiplies: the document type is cut off with all that it
declares, entities are not resolved, and libxml2's own limits (10 MB a text, 256 levels) stay on. What is not
well-formed is mended where only one reading is possible: a wrong character set, characters that XML 1.0 forbids, bare
ampersands, HTML's named entities. Whatever else is wrong is recovered as libxml2 can, and said (`fault`). A reply whose
end is missing is never taken for a whole one: a list that seems to end early would look complete.

Memory: two to ten times the body, by its share of markup. Time: 5 ms/MB well-formed, 25 ms/MB mended.
"""

from __future__ import annotations

import html.entities
import re
from typing import NamedTuple

from lxml import etree

from clet.sources.adapter import Context, SourceFailed
from clet.sources.feed.markup import without_doctype
from clet.sources.text.decode import decode_text, one_line
from clet.sources.text.extract import looks_like_html
from clet.sources.web.page import Manners, Page

# arXiv's terms of use for its APIs: one request every three seconds, one connection. Other repositories are mostly
# smaller machines. The terms stand in for robots.txt, which speaks of pages.
MANNERS = Manners(
    rate=1 / 3, burst=1, robots=False, accept="application/xml, text/xml, application/atom+xml, */*;q=0.1"
)
_HEAD_BYTES = 4096
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_OTHER_ENCODING = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"'](?!utf-?8)", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"<!\[CDATA\[(?:.*?\]\]>|.*)|&(?:#([0-9]{1,8});|#x([0-9a-fA-F]{1,8});|(\w{1,31});)?", re.DOTALL)
_XML_NAMES = {"amp", "lt", "gt", "quot", "apos"}


class Xml(NamedTuple):
    """A tree, and what was wrong with the bytes if not all of them could be understood."""

    root: etree._Element
    fault: str | None = None


def ask(url: str, context: Context) -> tuple[Page, Xml]:
    """The answer to a request, and the tree in it. Raises SourceFailed."""
    page = context.fetch(url, manners=MANNERS)
    if page is None:
        raise SourceFailed("HTTP 304 to a request without conditions")
    return page, parse_xml(page.body, page.charset)


def is_answer(failure: SourceFailed) -> bool:
    """Whether a server did answer, and with an HTTP error that is not about how often it is asked."""
    status = failure.status
    return status is not None and status >= 400 and status not in (429, 503)


def parse_xml(body: bytes, charset: str | None = None) -> Xml:
    """The tree of a body; `charset` is what the transport declared. Raises SourceFailed for none, or half of one."""
    head = body[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if not head:
        raise SourceFailed("empty, not XML")
    if looks_like_html(head.decode("latin-1")):
        raise SourceFailed("an HTML page, not XML")
    if not head.startswith(b"<"):
        raise SourceFailed("not XML")
    if b"\0" in body[:200] or _OTHER_ENCODING.search(body[:200]):
        body = _as_utf8(body, charset)  # UTF-16 fits no pattern below, and other encodings are often wrongly declared
    body = without_doctype(body.lstrip(b" \t\r\n"))
    xml = _parse(body, charset)
    if local_name(xml.root).lower() == "html":
        raise SourceFailed("an HTML page, not XML")
    return xml


def local_name(element: etree._Element) -> str:
    """An element's name without its namespace; empty for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The children of that local name."""
    return [child for child in element if local_name(child) == name]


def text_of(element: etree._Element | None) -> str:
    """All text inside an element."""
    return "".join(element.itertext()) if element is not None else ""


def child_text(element: etree._Element, name: str) -> str:
    """The stripped text of the first child of that local name, or nothing."""
    return next((text_of(child).strip() for child in element if local_name(child) == name), "")


def _parse(body: bytes, charset: str | None) -> Xml:
    try:
        return Xml(etree.fromstring(body, _parser()))
    except (etree.XMLSyntaxError, ValueError) as error:
        fault = one_line(str(error), 120) or "not well-formed"
    mended = _REFERENCE.sub(_mend, _FORBIDDEN.sub("", _as_utf8(body, charset).decode())).encode()
    try:
        return Xml(etree.fromstring(mended, _parser()))
    except (etree.XMLSyntaxError, ValueError):
        pass
    root = etree.fromstring(mended, _parser(recover=True))
    if root is None:
        raise SourceFailed(f"not XML: {fault}")
    if not re.search(rf"</(?:[\w.-]+:)?{re.escape(local_name(root))}\s*>\s*\Z".encode(), mended[-_HEAD_BYTES:]):
        raise SourceFailed(f"the XML is cut short: {fault}", unreachable=True)
    return Xml(root, fault)


def _parser(*, recover: bool = False) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )


def _as_utf8(body: bytes, charset: str | None) -> bytes:
    """The body in UTF-8, without the declaration. What is valid UTF-8 is taken for it: nothing else is by chance."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        text = decode_text(body, charset, markup=True)
    return _DECLARATION.sub("", text).encode("utf-8", "replace")


def _mend(match: re.Match[str]) -> str:
    """A reference that XML allows, for one that it does not."""
    decimal, hexadecimal, name = match.groups()
    if decimal or hexadecimal:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        return match[0] if code < 0x110000 and not _FORBIDDEN.match(chr(code)) else ""
    if name:
        if name in _XML_NAMES:
            return match[0]
        meant = html.entities.html5.get(f"{name};")
        return f"&amp;{name};" if meant is None else meant.replace("&", "&amp;").replace("<", "&lt;")
    return "&amp;" if match[0] == "&" else match[0]
