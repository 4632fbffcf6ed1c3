from __future__ import annotations

import re
from dataclasses import dataclass, field

from lxml import etree

from clet.sources.text.boilerplate import FURNITURE, HIDDEN, MAYBE, PLAIN, name_verdict, role_verdict

_BOX, _NAV, _CORE, _LINK, _BREAK, _DROP = range(6)
INL = HIDDEN
_CODE = frozenset(("script", "style"))
_KINDS = {
    **dict.fromkeys(
        ["address", "blockquote", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend", "li", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"],
        _BOX,
    ),
    **dict.fromkeys(["nav", "menu", "aside", "footer", "search", "noscript"], _NAV),
    **dict.fromkeys(
        ["script", "style", "template", "svg", "iframe", "object", "embed", "canvas", "audio", "video", "map", "select", "button", "input", "textarea", "option", "optgroup", "datalist", "meter", "progress", "dialog", "head", "title", "frameset", "applet"],
        _DROP,
    ),
    **dict.fromkeys(("html", "body", "article", "main"), _CORE),
    "a": _LINK,
    "br": _BREAK,
}
_UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_LINE = "\u2028"


@dataclass
class Outline:
    text: list[str] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    tag: list[str] = field(default_factory=lambda: [""])
    parent: list[int] = field(default_factory=lambda: [0])
    first: list[int] = field(default_factory=lambda: [0])
    last: list[int] = field(default_factory=lambda: [0])
    maybe: list[int] = field(default_factory=lambda: [0])
    cls: list[str] = field(default_factory=lambda: ['#'])
    lost: int = 0


def _length(pieces: list[str]) -> int:
    text = "".join(pieces)
    return len(" ".join(text.split()) if "\n" in text else text.strip())


class _Reader:
    def __init__(self, out: Outline, limit: int):
        buf: list[str] = []
        text, owner, links = out.text, out.owner, out.links
        tags, parent, first, last, maybe = out.tag, out.parent, out.first, out.last, out.maybe
        current = skip = pre = nlinks = kept = 0
        mark = -1
        kinds = _KINDS
        code = 0
        prose = False

        seen = {}

        def judge(name):
            verdict = seen.get(name)
            if verdict is None:
                verdict = seen[name] = name_verdict(name)
            return verdict

        def flush():
            nonlocal nlinks, mark
            if mark >= 0:
                nlinks += _length(buf[mark:])
                mark = 0
            t = "".join(buf)
            buf.clear()
            if pre:
                t = t.replace(_LINE, "\n").strip("\n")
            elif _LINE in t:
                t = "\n".join([" ".join(x.split()) for x in t.split(_LINE)]).strip()
            else:
                t = " ".join(t.split())
            if t:
                text.append(t)
                owner.append(current)
                links.append(nlinks)
            nlinks = 0

        def start(tag, attrib):
            nonlocal skip, current, pre, mark, kept, prose, code
            if skip:
                skip += 1
                if tag in _CODE:
                    code = len(buf)
                return
            kind = kinds.get(tag)
            if kind is None or kind == _LINK:
                if "class" in attrib and judge(attrib["class"]) >= INL or "style" in attrib and _UNSEEN.search(attrib["style"]):
                    skip = 1
                    kept = len(buf)
                    prose = False
                elif kind == _LINK:
                    mark = len(buf)
                return
            if kind == _BREAK:
                buf.append(_LINE)
                return
            if kind == _DROP:
                skip = 1
                kept = len(buf)
                prose = False
                return
            verdict = FURNITURE if kind == _NAV else PLAIN
            if attrib:
                get = attrib.get
                if (name := get("class")) and (other := judge(name)) > verdict:
                    verdict = other
                if (name := get("id")) and (other := judge(name)) > verdict:
                    verdict = other
                if (name := get("role")) and (other := role_verdict(name)) > verdict:
                    verdict = other
                if kind == _CORE and (tag != "article" or verdict == FURNITURE):
                    verdict = PLAIN
                if (
                    "hidden" in attrib
                    or ((name := get("style")) and _UNSEEN.search(name))
                    or get("aria-hidden") == "true"
                ):
                    verdict = HIDDEN
            if verdict >= limit:
                skip = 1
                kept = len(buf)
                prose = verdict == FURNITURE
                return
            if buf or mark >= 0:
                flush()
            n = len(tags)
            tags.append(tag)
            parent.append(current)
            first.append(len(text))
            last.append(0)
            maybe.append(verdict)
            out.cls.append((attrib.get('class') or '')+'#'+(attrib.get('id') or ''))
            current = n
            if tag == "pre":
                pre += 1

        def end(tag):
            nonlocal skip, current, pre, mark, nlinks
            if skip:
                skip -= 1
                if tag in _CODE:
                    del buf[code:]
                if not skip:
                    if prose:
                        out.lost += sum([n for x in buf[kept:] if len(x) >= 60 and (n := len(x.strip())) >= 60])
                    del buf[kept:]
                return
            kind = kinds.get(tag)
            if kind is None:
                return
            if kind <= _CORE:
                if buf or mark >= 0:
                    flush()
                if pre and tag == "pre":
                    pre -= 1
                last[current] = len(text)
                current = parent[current]
            elif kind == _LINK and mark >= 0:
                nlinks += _length(buf[mark:])
                mark = -1

        def close():
            if skip:
                del buf[kept:]
            flush()
            last[0] = len(text)
            return out

        self.start, self.end, self.data, self.close = start, end, buf.append, close


def read_outline(markup: str, limit: int = FURNITURE) -> Outline:
    body = markup.encode("utf-8", "replace")
    if not body.strip():
        return Outline()
    parser = etree.HTMLParser(target=_Reader(Outline(), limit), encoding="utf-8", huge_tree=True)
    return etree.fromstring(body, parser)
