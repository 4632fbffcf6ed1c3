"""The HTML of a filing, with or without inline XBRL, into the text that a reader of it sees.

Inline XBRL (specification 1.1) wraps visible facts in ix: elements, which are unwrapped, and keeps the others in
ix:header, which is dropped with all else that a browser does not show. Each table row is a line (`lines.py`); a table
that only places paragraphs gives paragraphs. Back links to the contents, page numbers and running headers go.

The parser (libxml2, no entities, nothing fetched) is read as events, so there is no tree and no recursion: about
20 MB/s of markup on one core, memory a few times the text. Old filings leave thousands of `<FONT>` open, so elements
may lie deep inside each other; an end tag then costs the parser a step for each. Beyond MAX_STEPS, where no filing
gets but an attack does, the markup only loses its tags.
"""

from __future__ import annotations

import html
import re

from lxml import etree

from clet.sources.edgar.lines import BLANK, BREAK, HEADING, PARAGRAPH, ROW, Line, finish, row_line
from clet.sources.edgar.plain_text import ascii_lines

MAX_DEPTH = 100_000  # elements inside each other
MAX_TABLES = 50  # tables inside each other; what lies deeper is read as paragraphs
MAX_STEPS = 2_000_000_000  # of the parser, looking for what an end tag ends: about four seconds
_CHUNK = 1 << 16

_INLINE, _BLOCK, _HEADING, _CELL, _ROW, _TABLE, _LINK, _PRE, _DINGBATS, _SUP = (1 << bit for bit in range(10))
_BREAK_AFTER = 1 << 10
_ACTIONS = (
    dict.fromkeys(("td", "th"), _CELL)
    | dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _HEADING)
    | dict.fromkeys(
        {
            *("p", "div", "li", "ul", "ol", "dl", "dt", "dd", "center", "blockquote", "caption", "address", "section"),
            *("article", "main", "body", "thead", "tbody", "tfoot", "fieldset", "form", "figure", "title", "text"),
        },
        _BLOCK,
    )
    | {"tr": _ROW, "table": _TABLE, "a": _LINK, "pre": _PRE, "sup": _SUP}
)
_DROPPED = {"ix:header", "ix:hidden", "script", "style", "head", "noscript", "template", "iframe", "object", "svg"}
_BACK_LINKS = {
    *("table of contents", "back to contents", "back to table of contents", "return to table of contents", "contents"),
    *("back to top", "return to top", "top of page", "index", "index to financial statements", "toc"),
    *("(table of contents)", "[table of contents]", "index to consolidated financial statements"),
}
_ALONE = -1  # the only line of its row: a row among rows, else a paragraph
_HIDDEN, _BREAK_BEFORE = 1 << 11, 1 << 12
_STYLES = (
    (re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE), _HIDDEN),
    (re.compile(r"(?:page-)?break-before\s*:\s*(?:always|page|left|right)", re.IGNORECASE), _BREAK_BEFORE),
    (re.compile(r"(?:page-)?break-after\s*:\s*(?:always|page|left|right)", re.IGNORECASE), _BREAK_AFTER),
    (re.compile(r"\b(?:wing|web)dings", re.IGNORECASE), _DINGBATS),
)
_PAGE_COMMENT = re.compile(r"page\s*break|field:\s*page;", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_EMPTY_BOX = "o\u00a8q\u00a3\u2022*\u0099r"  # what Wingdings and its like draw for these letters
_CHECKED_BOX = "x\u00fe\u00fdTRSQVYN"
_TAG = re.compile(r"<(/?)([a-zA-Z!][^\s>/]*)[^>]*>?")


def filing_text(markup: str) -> str:
    """Canonical text of a filing's HTML: paragraphs and headings a line each, table rows as `label | 1 | 2`."""
    reader = _Reader()
    parser = etree.HTMLParser(target=reader, huge_tree=True, encoding="utf-8")
    body = markup.encode("utf-8", "replace")
    steps = 0
    try:
        for start in range(0, len(body), _CHUNK):
            chunk = body[start : start + _CHUNK]
            steps += (reader.depth + 1) * chunk.count(b"</")
            if steps > MAX_STEPS:
                raise _TooDeep
            parser.feed(chunk)
        lines = parser.close()
    except _TooDeep:
        return finish(_without_tags(markup))
    except etree.XMLSyntaxError:  # an empty document
        return ""
    return finish(lines)


class _TooDeep(Exception):
    pass


class _Table:
    """A table being read: rows of cells, each a list of lines. What stands outside of cells is collected in `loose`."""

    def __init__(self) -> None:
        self.rows: list[list[list[Line]]] = []
        self.loose: list[Line] = []

    def new_row(self) -> None:
        self.keep_loose()
        self.rows.append([])

    def add(self, cell: list[Line]) -> None:
        self.keep_loose()
        if not self.rows:
            self.rows.append([])
        self.rows[-1].append(cell)

    def keep_loose(self) -> None:
        if self.loose:
            self.rows += [[self.loose[:]], []]
            self.loose.clear()

    def lines(self) -> list[Line]:
        self.keep_loose()
        lines: list[Line] = []
        for row in self.rows:
            cells = [cell for cell in row if cell]
            if len(cells) > 1 and not any(line.kind in (ROW, HEADING) for cell in cells for line in cell):
                breaks = [line for cell in cells for line in cell if line.kind == BREAK]
                joined = row_line(" ".join(line.text for line in cell if line.text) for cell in cells)
                lines += [*breaks, joined] if joined else breaks
            elif len(cells) == 1 and len(cells[0]) == 1 and cells[0][0].kind == PARAGRAPH:
                lines.append(Line(_ALONE, cells[0][0].text))
            else:  # one cell, or cells that hold tables: placed side by side, read one after the other
                lines += [line for cell in cells for line in cell]
        rows = any(line.kind == ROW for line in lines)
        lines = [Line(ROW if rows else PARAGRAPH, line.text) if line.kind == _ALONE else line for line in lines]
        return [Line(BLANK, ""), *lines, Line(BLANK, "")] if rows else lines


class _Reader:
    """The parser's target. `_flows` holds the lines being collected: of the document, of tables, of cells."""

    def __init__(self) -> None:
        self._flows: list[list[Line]] = [[]]
        self._tables: list[_Table] = []
        self._open: list[int] = []  # what each open element does at its end
        self._parts: list[str] = []  # text since the last line ended
        self._skipped = 0  # depth inside something that is not shown
        self._links = self._pre = self._dingbats = 0
        self._linked = False
        self._styles: dict[str, int] = {}

    @property
    def depth(self) -> int:
        """How many elements are open."""
        return len(self._open) + self._skipped

    # ---- events of the parser

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._skipped:
            self._skipped += 1
            if self._skipped > MAX_DEPTH:
                raise _TooDeep
            return
        flags = self._style(attributes) if attributes else 0
        if tag in _DROPPED or flags & _HIDDEN:
            self._skipped = 1
            return
        action = _ACTIONS.get(tag, _INLINE)
        if len(self._open) >= MAX_DEPTH:
            raise _TooDeep
        if action == _INLINE:
            self._start_inline(tag)
        elif action == _LINK:
            action = _LINK if attributes.get("href", "").startswith("#") else _INLINE
            self._links += action == _LINK
        elif action == _SUP:
            self._parts.append("\x1a")  # a number above the line must not join the one before it
        else:
            self._end_line()
            if action == _TABLE and len(self._tables) >= MAX_TABLES:
                action = _BLOCK
            elif action == _TABLE:
                table = _Table()
                self._tables.append(table)
                self._flows.append(table.loose)
            elif action in (_ROW, _CELL):
                if self._tables and self._flows[-1] is self._tables[-1].loose:
                    if action == _ROW:
                        self._tables[-1].new_row()
                    else:
                        self._flows.append([])
                else:
                    action = _BLOCK
            elif action == _PRE:
                self._pre += 1
        if flags:
            if flags & _BREAK_BEFORE:
                self._page_break()
            self._dingbats += bool(flags & _DINGBATS)
            action |= flags & (_DINGBATS | _BREAK_AFTER)
        self._open.append(action)

    def end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        action = self._open.pop()
        if action == _INLINE:
            return
        if action & _LINK:
            self._links -= 1
        elif action & _SUP:
            self._parts.append("\x1a")
        elif not action & _INLINE:
            self._end_line(HEADING if action & _HEADING else PARAGRAPH)
            if action & _CELL:
                cell = self._flows.pop()
                self._tables[-1].add(cell)
            elif action & _TABLE:
                self._flows.pop()
                self._flows[-1] += self._tables.pop().lines()
            elif action & _PRE:
                self._pre -= 1
        if action & _DINGBATS:
            self._dingbats -= 1
        if action & _BREAK_AFTER:
            self._page_break()

    def data(self, text: str) -> None:
        if self._skipped:
            return
        if self._dingbats:
            text = _boxes(text)
        if self._links and not text.isspace():
            self._linked = True
        self._parts.append(text)

    def comment(self, text: str) -> None:
        if not self._skipped and _PAGE_COMMENT.search(text[:200]):
            self._page_break()

    def pi(self, target: str, data: str | None = None) -> None:
        """Processing instructions say nothing to a reader."""

    def close(self) -> list[Line]:
        self._end_line()
        return self._flows[0]

    # ---- what they do

    def _start_inline(self, tag: str) -> None:
        if tag == "br":
            if self._pre:
                self._parts.append("\n")
            else:
                self._end_line()
        elif tag in ("hr", "page"):
            self._page_break()

    def _style(self, attributes: dict[str, str]) -> int:
        if "hidden" in attributes:
            return _HIDDEN
        style = attributes.get("style", "") + attributes.get("face", "")
        if not style:
            return 0
        flags = self._styles.get(style)
        if flags is None:
            flags = 0
            for pattern, flag in _STYLES:
                if pattern.search(style):
                    flags |= flag
            self._styles[style] = flags
        return flags

    def _page_break(self) -> None:
        self._end_line()
        flow = self._flows[-1]
        if not flow or flow[-1].kind != BREAK:
            flow.append(Line(BREAK, ""))

    def _end_line(self, kind: int = PARAGRAPH) -> None:
        """What was read since the last line ended becomes a line of the flow."""
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        linked, self._linked = self._linked, False
        if not text.isascii():
            text = _INVISIBLE.sub("", text)
        if "\x1a" in text:
            text = _raised(text)
        if self._pre:
            self._flows[-1] += ascii_lines(text)
            return
        text = " ".join(text.split())
        if text and not (linked and text.casefold() in _BACK_LINKS):
            self._flows[-1].append(Line(kind, text))


def _raised(text: str) -> str:
    """Superscripts set off where they would make another number of the one before them (`2024` and note `1`)."""
    return re.sub(r"(?<=[\w%])\x1a(?=\d)", " ", text).replace("\x1a", "")


def _boxes(text: str) -> str:
    """Letters set in a symbol font, as what they show: check boxes, else a bullet."""
    shown = []
    for char in text:
        code = chr(ord(char) - 0xF000) if 0xF020 <= ord(char) <= 0xF0FF else char
        if code.isspace():
            shown.append(code)
        else:
            shown.append("[ ]" if code in _EMPTY_BOX else "[X]" if code in _CHECKED_BOX else "\u2022")
    return "".join(shown)


def _without_tags(markup: str) -> list[Line]:
    """The lines of markup that is nested too deeply to be followed."""
    pieces = []
    position = 0
    for match in _TAG.finditer(markup):
        pieces.append(markup[position : match.start()])
        pieces.append("\n" if _ACTIONS.get(match[2].lower(), _INLINE) not in (_INLINE, _LINK, _SUP) else "")
        position = match.end()
    pieces.append(markup[position:])
    lines = (" ".join(line.split()) for line in html.unescape("".join(pieces)).split("\n"))
    return [Line(PARAGRAPH, line) for line in lines if line]
