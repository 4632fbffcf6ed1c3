"""A page as a flat outline: its blocks of text in order, and the boxes around them.

The parser (libxml2, no entities, nothing fetched) is read as events, so there is no tree and no recursion, and depth
costs nothing. Boxes are the elements that begin a new line; what is inline joins the block around it. What shows no
text or lies beside it never becomes a block: scripts, menus and the like are cut from the markup before it is parsed
(`markup.py`), other parts are skipped by what `boilerplate.py` says of their names.

About 1.5 ms for a page of 150 KB; memory a few times the text. An end tag without its start costs the parser a step
for every open element; beyond MAX_STEPS of them, where no page gets but an attack does, the markup only loses its tags.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from lxml import etree

from clet.sources.text.boilerplate import (
    FURNITURE,
    HIDDEN,
    PLAIN,
    VOICES,
    attribute_verdict,
    may_hide,
    name_verdict,
)
from clet.sources.text.markup import SIDES, UNREAD, cut_elements, only_main

MAX_BOXES = 300_000  # beyond, boxes join the block they are in
MAX_STEPS = 100_000_000  # of the parser, looking for what an end tag ends: about half a second
_CHUNK = 1 << 16

_BOX, _PREFORMATTED, _SIDE, _MAIN, _ROOT, _INLINE, _LINK, _BREAK, _MATH, _TEX, _DROP = range(11)
_KINDS: dict[str, int] = {
    **dict.fromkeys(("address", "blockquote", "caption", "center", "details", "div", "fieldset", "figcaption"), _BOX),
    **dict.fromkeys(("figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend"), _BOX),
    **dict.fromkeys(("dd", "dir", "dl", "dt", "li", "ol", "ul", "p", "section", "summary"), _BOX),
    **dict.fromkeys(("table", "tbody", "td", "tfoot", "th", "thead", "tr"), _BOX),
    **dict.fromkeys(("listing", "plaintext", "pre", "xmp"), _PREFORMATTED),
    **dict.fromkeys(("aside", "footer", "menu", "nav", "noscript", "search"), _SIDE),
    **dict.fromkeys(("main", "article"), _MAIN),
    **dict.fromkeys(("html", "body"), _ROOT),
    "a": _LINK,
    "br": _BREAK,
    "math": _MATH,
    "annotation": _TEX,
    **dict.fromkeys(("annotation-xml", "applet", "audio", "button", "canvas", "datalist", "dialog", "embed"), _DROP),
    **dict.fromkeys(("frameset", "iframe", "input", "map", "meter", "noembed", "noframes", "object"), _DROP),
    **dict.fromkeys(("optgroup", "option", "progress", "rp", "rt", "script", "select", "style", "svg"), _DROP),
    **dict.fromkeys(("template", "textarea", "title", "video"), _DROP),
}
# Elements that never hold the whole page: with furniture's name they are skipped at once, where sides are.
_LEAVES = frozenset(("address", "dl", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "ul"))
_TELLING = frozenset(("aria-hidden", "hidden", "role", "style"))  # attributes, besides class and id
_LINE_BREAK = "\u2028"
_TAG = re.compile(r"</?([a-zA-Z!?/][^\s>/]{0,40})[^>]*>?")


@dataclass
class Outline:
    """Blocks of text, and the boxes they lie in, both in the order of the page; box 0 holds all.

    Of block i: its `text`, how many characters of it are `links`, and its innermost box, `owner`. Of box n: its `tag`,
    its `parent`, what its names say (`verdict`), and its blocks: `first[n]` up to, not with, `last[n]`.
    """

    text: list[str] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    tag: list[str] = field(default_factory=lambda: [""])
    parent: list[int] = field(default_factory=lambda: [0])
    verdict: list[int] = field(default_factory=lambda: [PLAIN])
    first: list[int] = field(default_factory=lambda: [0])
    last: list[int] = field(default_factory=lambda: [0])

    def sums(self, numbers: Iterable[int]) -> Callable[[int], int]:
        """Of one number a block, a function that gives their sum in a box."""
        total = [0, *accumulate(numbers)]
        first, last = self.first, self.last
        return lambda box: total[last[box]] - total[first[box]]


def read_outline(markup: str, skip: int = VOICES) -> Outline:
    """The outline of a page without what its names call `skip` or worse; up to VOICES also without sides.

    What is FURNITURE is then skipped where it cannot hold the page; elsewhere the caller judges by `verdict`.
    """
    bare = only_main(cut_elements(markup, UNREAD + SIDES)) if skip <= VOICES else cut_elements(markup, UNREAD)
    body = bare.encode("utf-8", "replace")
    if not body.strip():
        return Outline()
    ends = body.count(b"</")
    reader = _Reader(skip)
    if ends * (body.count(b"<") - ends) > MAX_STEPS:
        return _read_guarded(body, reader)
    return etree.fromstring(body, etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True))


def _read_guarded(body: bytes, reader: _Target) -> Outline:
    """The same in chunks, counting the parser's steps."""
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        reader.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        reader.end(tag)

    target = _Target(start, end, reader.data, reader.close)
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    steps = 0
    for at in range(0, len(body), _CHUNK):
        chunk = body[at : at + _CHUNK]
        steps += (depth + chunk.count(b"<")) * chunk.count(b"</")
        if steps > MAX_STEPS:
            return _without_tags(body.decode())
        parser.feed(chunk)
    return parser.close()


def _without_tags(markup: str) -> Outline:
    """One box with the lines of markup that is nested too deeply to be followed."""
    outline = Outline()
    bare = _TAG.sub(lambda tag: "\n" if _KINDS.get(tag[1].lower().strip("/"), _INLINE) < _INLINE else "", markup)
    outline.text = [line for line in (" ".join(line.split()) for line in html.unescape(bare).split("\n")) if line]
    outline.links = outline.owner = [0] * len(outline.text)
    outline.last = [len(outline.text)]
    return outline


class _Judged(dict[str, int]):
    """Verdicts on the names of a page, which repeat."""

    def __missing__(self, name: str) -> int:
        verdict = self[name] = name_verdict(name)
        return verdict


class _Target:
    """What the parser calls."""

    def __init__(self, start: Callable, end: Callable, data: Callable, close: Callable):
        self.start, self.end, self.data, self.close = start, end, data, close


class _Reader(_Target):
    """Builds the outline. Its functions share local variables: a page makes a thousand calls, and these are the
    cheapest that Python has.
    """

    def __init__(self, limit: int):
        outline = Outline()
        texts, links, owner, first, last = outline.text, outline.links, outline.owner, outline.first, outline.last
        tags, parent, verdicts = outline.tag, outline.parent, outline.verdict
        pieces: list[str] = []  # of the block being read, and of what is being skipped
        judged = _Judged()
        strict = limit <= VOICES
        kinds = _KINDS.get
        box = preformatted = 0
        linked = 0  # characters of the block's links that are closed
        link = -1  # where in `pieces` the open link begins
        skipping = 0  # open elements of the part being skipped, which begins at `kept` in `pieces`
        kept = formula = 0

        def flush() -> None:
            nonlocal linked, link
            if link >= 0:
                linked += _length(pieces[link:])
                link = 0
            text = "".join(pieces)
            pieces.clear()
            if text and not text.isspace():
                if preformatted:
                    lines = text.replace(_LINE_BREAK, "\n").split("\n")
                    text = "\n".join([line.rstrip() for line in lines]).strip("\n")
                elif _LINE_BREAK in text:
                    text = "\n".join([" ".join(line.split()) for line in text.split(_LINE_BREAK)]).strip()
                else:
                    text = " ".join(text.split())
                texts.append(text)
                links.append(linked)
                owner.append(box)
            linked = 0

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal skipping, kept, box, preformatted, link, formula
            if skipping:
                skipping += 1
                return
            kind = kinds(tag, _INLINE)
            if kind < _INLINE:
                verdict = PLAIN
                for name, value in attributes.items():
                    if name == "class" or name == "id":
                        other = judged[value]
                        if other > verdict:
                            verdict = other
                    elif name in _TELLING:
                        verdict = max(verdict, attribute_verdict(name, value))
                if kind == _ROOT:
                    verdict = PLAIN  # a page that hides all of itself shows it when its scripts have run
                elif kind == _SIDE:
                    verdict = max(verdict, FURNITURE)
                elif kind == _MAIN and (verdict == FURNITURE or (verdict < HIDDEN and tag == "main")):
                    verdict = PLAIN
                if verdict >= FURNITURE and (verdict >= limit or (strict and tag in _LEAVES)):
                    skipping, kept = 1, len(pieces)
                    return
                if pieces or link >= 0:
                    flush()
                if len(tags) < MAX_BOXES:
                    parent.append(box)
                    box = len(tags)
                    tags.append(tag)
                    verdicts.append(verdict)
                    first.append(len(texts))
                    last.append(0)
                    if kind == _PREFORMATTED:
                        preformatted += 1
            elif kind <= _LINK:
                if attributes and (
                    ("class" in attributes and may_hide(attributes["class"]) and judged[attributes["class"]] >= HIDDEN)
                    or ("style" in attributes and attribute_verdict("style", attributes["style"]))
                    or "hidden" in attributes
                ):
                    skipping, kept = 1, len(pieces)
                elif kind == _LINK:
                    link = len(pieces)
            elif kind == _BREAK:
                pieces.append(_LINE_BREAK)
            elif kind == _MATH:
                formula = len(pieces)
            elif kind == _TEX and attributes.get("encoding", "").endswith("tex"):
                del pieces[formula:]  # of a formula its TeX is kept, not the letters that MathML sets
                pieces.append(" ")
            else:
                skipping, kept = 1, len(pieces)

        def end(tag: str) -> None:
            nonlocal skipping, box, preformatted, link, linked
            if skipping:
                skipping -= 1
                if not skipping:
                    del pieces[kept:]
                return
            kind = kinds(tag, _INLINE)
            if kind < _INLINE:
                if pieces or link >= 0:
                    flush()
                if tag == tags[box]:  # unless the box was one too many
                    last[box] = len(texts)
                    box = parent[box]
                    if kind == _PREFORMATTED:
                        preformatted -= 1
            elif kind == _LINK and link >= 0:
                linked += _length(pieces[link:])
                link = -1

        def close() -> Outline:
            nonlocal box
            if skipping:
                del pieces[kept:]
            flush()
            while box:
                last[box] = len(texts)
                box = parent[box]
            last[0] = len(texts)
            return outline

        super().__init__(start, end, pieces.append, close)


def _length(pieces: list[str]) -> int:
    text = "".join(pieces)
    return len(" ".join(text.split()) if "\n" in text else text.strip())
