"""A page as a flat outline: its blocks of text in order, and the boxes around them.

The parser (libxml2, no entities, nothing fetched) is read as events, so there is no tree and no recursion, and depth
costs nothing. Boxes are the elements that begin a new line; what is inline joins the block around it. Parts that show
no text, or that the caller does not want, are left out on the way: whole elements such as scripts are cut from the
markup before it is parsed, others are skipped by what `boilerplate.py` says of their names.

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

from clet.sources.text.boilerplate import FURNITURE, HIDDEN, PLAIN, VOICES, is_unseen, name_verdict, role_verdict

MAX_BOXES = 300_000  # beyond, boxes join the block they are in
MAX_STEPS = 100_000_000  # of the parser, looking for what an end tag ends: about half a second
_CHUNK = 1 << 16

_BOX, _PREFORMATTED, _SIDE, _MAIN, _LINK, _BREAK, _MATH, _TEX, _DROP = range(9)
_KINDS: dict[str, int] = {
    **dict.fromkeys(("html", "body", "main", "article"), _MAIN),
    **dict.fromkeys(("aside", "footer", "menu", "nav", "noscript", "search"), _SIDE),
    **dict.fromkeys(("address", "blockquote", "caption", "center", "details", "div", "fieldset", "figcaption"), _BOX),
    **dict.fromkeys(("figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend"), _BOX),
    **dict.fromkeys(("dd", "dir", "dl", "dt", "li", "ol", "ul", "p", "section", "summary"), _BOX),
    **dict.fromkeys(("table", "tbody", "td", "tfoot", "th", "thead", "tr"), _BOX),
    **dict.fromkeys(("listing", "plaintext", "pre", "xmp"), _PREFORMATTED),
    **dict.fromkeys(("applet", "audio", "button", "canvas", "datalist", "dialog", "embed", "frameset", "head"), _DROP),
    **dict.fromkeys(("iframe", "input", "map", "meter", "noembed", "noframes", "object", "optgroup", "option"), _DROP),
    **dict.fromkeys(("progress", "rp", "rt", "script", "select", "style", "svg", "template", "textarea"), _DROP),
    **dict.fromkeys(("annotation-xml", "title", "video"), _DROP),
    "a": _LINK,
    "br": _BREAK,
    "math": _MATH,
    "annotation": _TEX,
}
_LEAVES = frozenset(("address", "dl", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "ul"))
_UNREAD = ("iframe", "script", "select", "style", "svg", "template", "textarea")
_SIDES = ("aside", "button", "footer", "head", "nav", "noscript")
_TELLING = frozenset(("aria-hidden", "hidden", "role", "style"))
_LINE_BREAK = "\u2028"
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\ue000-\uf8ff]")  # hyphenation points and the glyphs of icon fonts
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
    tag: list[str] = field(default_factory=lambda: ["html"])
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
    """The outline of a page without what its names call `skip` or worse."""
    body = cut_unread(markup, _UNREAD + _SIDES if skip <= VOICES else _UNREAD).encode("utf-8", "replace")
    if not body.strip():
        return Outline()
    ends = body.count(b"</")
    reader = _Reader(skip)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True)
    if ends * (body.count(b"<") - ends) <= MAX_STEPS:
        return etree.fromstring(body, parser)
    return _read_guarded(body, reader)


def cut_unread(markup: str, names: tuple[str, ...]) -> str:
    """Markup without comments and without the elements of these names that hold no other of their own name.

    What is never closed is left to the parser. The end of each name is looked for once from any place: linear time.
    """
    pieces = []
    begin = position = 0
    ends: dict[str, int] = {}
    find, search = markup.find, _OPENINGS[names].search
    while match := search(markup, position):
        start, position = match.span()
        name = match[1]
        if name:
            close, after = f"</{name}", position
        else:
            close, after = "-->", start + 2
        end = ends.get(close, 0)
        if 0 <= end < after:
            end = ends[close] = find(close, after)
        if end < 0 or (name and name.lower() in _SIDES and find(f"<{name}", after, end) >= 0):
            continue
        pieces.append(markup[begin:start])
        begin = position = find(">", end) + 1 or len(markup)
    pieces.append(markup[begin:])
    return " ".join(pieces)


def _openings(names: tuple[str, ...]) -> re.Pattern[str]:
    """Where one of these elements begins. Looking at the first letter first takes half the time."""
    firsts = "".join(sorted({letter for name in names for letter in (name[0], name[0].upper())}))
    return re.compile(rf"<(?=[!{firsts}])(?:!--|((?i:{'|'.join(names)}))(?=[\s>/]))")


_OPENINGS = {names: _openings(names) for names in (_UNREAD, _UNREAD + _SIDES)}


def _read_guarded(body: bytes, reader: _Reader) -> Outline:
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
    bare = _TAG.sub(lambda match: "\n" if _KINDS.get(match[1].lower().strip("/"), _LINK) < _LINK else "", markup)
    outline.text = [line for line in (" ".join(line.split()) for line in html.unescape(bare).split("\n")) if line]
    outline.links = outline.owner = [0] * len(outline.text)
    outline.last = [len(outline.text)]
    return outline


class _Judged(dict):
    """Verdicts on the names of a page, which repeat."""

    def __missing__(self, name: str) -> int:
        verdict = self[name] = name_verdict(name)
        return verdict


class _Target:
    """What the parser calls."""

    def __init__(self, start: Callable, end: Callable, data: Callable, close: Callable):
        self.start, self.end, self.data, self.close = start, end, data, close


class _Reader(_Target):
    """Builds the outline. Its functions share local variables: a page makes thousands of calls, and these are the
    cheapest that Python has.
    """

    def __init__(self, limit: int):
        outline = Outline()
        texts, links, owner, first, last = outline.text, outline.links, outline.owner, outline.first, outline.last
        tags, parent, verdicts = outline.tag, outline.parent, outline.verdict
        pieces: list[str] = []  # of the block being read, and of what is being skipped
        judged = _Judged()
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
            if not text or text.isspace():
                linked = 0
                return
            if preformatted:
                text = text.replace(_LINE_BREAK, "\n").strip("\n")
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
            kind = kinds(tag, _LINK)
            if kind < _LINK:
                verdict = PLAIN
                for name, value in attributes.items():
                    if name == "class" or name == "id":
                        other = judged[value]
                        if other > verdict:
                            verdict = other
                    elif name in _TELLING:
                        other = _attribute_verdict(name, value)
                        if other > verdict:
                            verdict = other
                if kind:
                    if kind == _PREFORMATTED:
                        preformatted += 1
                    elif kind == _SIDE:
                        verdict = max(verdict, FURNITURE)
                    elif verdict < HIDDEN and (verdict == FURNITURE or tag != "article"):
                        verdict = PLAIN
                if verdict >= FURNITURE and (verdict >= limit or tag in _LEAVES):
                    skipping = 1
                    kept = len(pieces)
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
            elif kind == _LINK:
                if attributes and (
                    ("class" in attributes and judged[attributes["class"]] >= HIDDEN)
                    or ("style" in attributes and is_unseen(attributes["style"]))
                    or "hidden" in attributes
                ):
                    skipping, kept = 1, len(pieces)
                elif tag == "a":
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
            kind = kinds(tag)
            if kind is None:
                return
            if kind < _LINK:
                if pieces or link >= 0:
                    flush()
                if tag != tags[box]:  # the box was one too many
                    return
                if kind == _PREFORMATTED:
                    preformatted -= 1
                last[box] = len(texts)
                box = parent[box]
            elif tag == "a" and link >= 0:
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


def _attribute_verdict(name: str, value: str) -> int:
    """What an attribute other than class and id says."""
    if name == "role":
        return role_verdict(value)
    if name == "style":
        return HIDDEN if is_unseen(value) else PLAIN
    return HIDDEN if name == "hidden" or value == "true" else PLAIN


def _length(pieces: list[str]) -> int:
    text = "".join(pieces)
    return len(" ".join(text.split()) if "\n" in text else text.strip())
