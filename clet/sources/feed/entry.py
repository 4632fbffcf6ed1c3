"""What a feed holds, apart from its dialect, and how its fields are cleaned.

Whether a field is text or markup is what feeds leave open: most say nothing, and many that do are wrong. Here a field
is markup where a tag of HTML stands in it ("Vec<T>" is text), and markup that was escaped twice is unescaped twice.
Every value is bounded, since a stranger wrote it. Linear in the size of the field.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from clet.record import canonical_text
from clet.sources.feed.recent import Recent
from clet.sources.text.decode import one_line
from clet.sources.text.extract import fragment_text

MAX_ENTRIES = 50_000
MAX_OUTLINES = 20_000
MAX_TAGS = 32
MAX_ENCLOSURES = 8
MAX_NAME_CHARS = 2048
MAX_OPEN_FORMATTING = 100
RECENT_BYTES = 16 << 20  # of text taken from markup is kept for the next poll

_ELEMENTS = (
    "a|abbr|acronym|address|article|aside|audio|b|big|blockquote|br|button|caption|center|cite|code|col|colgroup|dd|"
    "del|details|dfn|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|h[1-6]|header|hr|i|iframe|img|"
    "input|ins|kbd|label|li|link|main|mark|nav|noscript|object|ol|p|picture|pre|q|s|samp|script|section|small|source|"
    "span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|video|wbr"
)
_TAG = re.compile(rf"</?(?:{_ELEMENTS})(?:\s[^<>]*)?/?>|<!--", re.IGNORECASE)
_END_TAG = re.compile(rf"</(?:{_ELEMENTS})\s*>|<(?:br|img|hr)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_FIGURE = re.compile(r"(</?)(?:figure|figcaption|label)\b", re.IGNORECASE)
_FORMATTING = re.compile(
    r"<(/?)(?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])[^<>]*>", re.IGNORECASE
)
_ESCAPED = re.compile(r"&(?:lt|#60|#x3c);", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});")
_SURROGATES = re.compile("[\ud800-\udfff]")
TERMINAL_SEQUENCE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]{0,200}(?:\x07|\x1b\\\\)")
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}
_PLAIN_LINK = re.compile(r"https?://[\w.-]+(?::\d{1,5})?(?:[/?#]|\Z)", re.ASCII)
_COMMONS = re.compile(r"creativecommons\.org/(?:licenses/([a-z]{2}(?:-[a-z]{2}){0,2})/(\d\.\d)|publicdomain/zero/1\.0)")
_ODD = re.compile("[\x1b\x80-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Text:
    """A field that is prose. `plain`: the feed says that it is text, not markup."""

    value: str
    plain: bool = False


@dataclass
class Entry:
    """One item. `guid` is its own id if it has one; `link` is absolute or None; `body` is text.

    `enclosures` are {"url", "type"} of what is attached; `license` is an address or a name, as the feed states it.
    """

    guid: str | None = None
    link: str | None = None
    title: str | None = None
    body: str = ""
    published: datetime | None = None
    updated: datetime | None = None
    author: str | None = None
    tags: list[str] = field(default_factory=list)
    language: str | None = None
    license: str | None = None
    enclosures: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Feed:
    """A parsed feed; for OPML `lists` holds the addresses and there are no entries."""

    title: str | None = None
    language: str | None = None
    entries: list[Entry] = field(default_factory=list)
    lists: list[str] | None = None


def shown_text(text: Text) -> str:
    """The field as a reader sees it, canonical, without markup."""
    value = _repair(text.value)
    if "<" not in value and "&" not in value:
        return canonical_text(value.replace("\u00a0", " "))
    if (_END_TAG if text.plain else _TAG).search(value):
        return _WITHOUT_MARKUP(value)
    if text.plain or "&" not in value:
        return canonical_text(value.replace("\u00a0", " "))
    plain = unescape(value)
    if _ESCAPED.search(value) and _END_TAG.search(plain):  # escaped twice, as nothing else in it is markup
        return _WITHOUT_MARKUP(plain)
    return canonical_text(plain.replace("\u00a0", " "))


def _without_markup(value: str) -> str:
    """The text of markup, figures as any part: in feeds they hold tables, quotations and whole slide shows."""
    if value.count("<") > MAX_OPEN_FORMATTING and _is_entangled(value):
        value = _FORMATTING.sub("", value)
    return fragment_text(_FIGURE.sub(r"\1div", value))


_WITHOUT_MARKUP = Recent(_without_markup, RECENT_BYTES)


def _is_entangled(value: str) -> bool:
    """Whether formatting is opened and never closed: HTML's rules for that take cubic time (100 KB: a minute)."""
    opened = 0
    for match in _FORMATTING.finditer(value):
        opened = max(0, opened - 1) if match[1] else opened + 1
        if opened > MAX_OPEN_FORMATTING:
            return True
    return False


def fullest(texts: Iterable[Text]) -> str:
    """The longest of the texts that an entry offers, as a reader sees it."""
    best = ""
    for text in sorted(texts, key=lambda text: -len(text.value)):
        if len(text.value) > len(best):  # markup never grows when it is taken off
            best = max(best, shown_text(text), key=len)
    return best


def title_line(text: Text | str | None, limit: int = 500) -> str | None:
    """A title or a name on one line. References are resolved in plain text too: many feeds escape titles twice."""
    if text is None:
        return None
    text = Text(text) if isinstance(text, str) else text
    if "<" not in text.value and "&" not in text.value:
        return one_line(_repair(text.value[: 20 * limit]), limit)
    line = shown_text(Text(text.value[: 20 * limit], text.plain))
    return one_line(unescape(line) if text.plain else line, limit)


def unescape(value: str) -> str:
    """Character references into characters; without a semicolon they are none (as in "?a=1&copy=2")."""
    return _REFERENCE.sub(lambda match: html.unescape(match[0]), value) if "&" in value else value


def _repair(value: str) -> str:
    """Terminal sequences out, half characters marked, and Windows-1252 that passed for Latin-1 as it was meant."""
    if _ODD.search(value) is None:
        return value
    value = TERMINAL_SEQUENCE.sub("", value).translate(_WINDOWS)
    return _SURROGATES.sub("\ufffd", value)


def name_of(value: str | None) -> str | None:
    """An id on one line."""
    return one_line(_SURROGATES.sub("\ufffd", unescape(value)), MAX_NAME_CHARS) if value else None


def web_address(link: str | None, base: str | None) -> str | None:
    """A web address, resolved against the feed's; None for anything else."""
    link = name_of(link)
    if not link or _PLAIN_LINK.match(link):
        return link
    try:
        link = urljoin(base, link) if base else link
        parts = urlsplit(link)
        return link if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def tag_names(values: Iterable[Any]) -> list[str]:
    """Tags, each once."""
    found: dict[str, None] = {}
    for value in values:
        if isinstance(value, str) and (name := title_line(value, 100)):
            found[name] = None
        if len(found) == MAX_TAGS:
            break
    return list(found)


def language_code(value: Any) -> str | None:
    """`en` of `en-US`; None for what is no language code."""
    code = re.match(r"\s*([A-Za-z]{2,3})(?:[-_]|\s*\Z)", value) if isinstance(value, str) else None
    return code[1].lower() if code else None


def enclosures(offered: Iterable[tuple[str | None, str | None]], base: str | None) -> list[dict[str, str]]:
    """What is attached, from (address, media type), each once."""
    found: dict[str, dict[str, str]] = {}
    for link, kind in offered:
        if len(found) == MAX_ENCLOSURES:
            break
        if url := web_address(link, base):
            kind = one_line(kind, 100)
            found.setdefault(url, {"url": url, "type": kind} if kind else {"url": url})
    return list(found.values())


def license_name(value: str | None) -> str | None:
    """The SPDX identifier of a Creative Commons licence that is named by its address; else the address."""
    value = one_line(value, 200)
    if not value:
        return None
    match = _COMMONS.search(value)
    if match is None:
        return value
    return "CC0-1.0" if match[2] is None else f"CC-{match[1].upper()}-{match[2]}"
