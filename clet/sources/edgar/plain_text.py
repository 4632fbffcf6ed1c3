"""Filings typed in plain ASCII (the rule until 2000), with the few SGML tags that marked their pages and tables.

`<PAGE>` begins a page. Between `<TABLE>` and `</TABLE>`, `<CAPTION>`, `<S>` and `<C>` mark where the heading and the
columns begin; the columns themselves are made of spaces. Wide gaps and dot leaders become the joint of cells, rules
of hyphens go, and paragraphs keep their lines. Linear; holds the lines of one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clet.sources.edgar.lines import BLANK, BREAK, PARAGRAPH, ROW, Line, finish, row_line

_PAGE = re.compile(r"<PAGE>|\f", re.IGNORECASE)
_TAG = re.compile(r"</?(?:TABLE|CAPTION|S|C|FN|F\d{1,2}|PAGE|SEQUENCE)>", re.IGNORECASE)
_TABLE = re.compile(r"<(/?)TABLE>", re.IGNORECASE)
_RULE = re.compile(r"[\s=_*.-]*\Z")
_GAP = re.compile(r"\s{3,}|\s?(?:\.\s?){4,}\s*|\t+")
_TABLE_GAP = re.compile(r"(?<![.:;?!])\s{2,}|\s{3,}|\s?(?:\.\s?){3,}\s*|\t+")
_LOOSE_DOLLAR = re.compile(r"\$\s+(?=[\d(])")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&amp;", "&"))


def plain_text(text: str) -> str:
    """Canonical text of an ASCII filing, table rows as `label | 1 | 2`."""
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return finish(list(ascii_lines(text)))


def ascii_lines(text: str) -> Iterator[Line]:
    """The lines of preformatted text."""
    in_table = False
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n<PAGE>\n").split("\n"):
        line = raw.expandtabs()
        if "<" in line:
            if _PAGE.search(line):
                yield Line(BREAK, "")
            for match in _TABLE.finditer(line):
                in_table = not match[1]
            line = _TAG.sub("", line)
            if not line.strip():
                continue
        if _RULE.match(line):
            if not line.strip():
                yield Line(BLANK, "")
            continue
        line = _LOOSE_DOLLAR.sub("$", line.strip())
        row = row_line(cell.strip() for cell in (_TABLE_GAP if in_table else _GAP).split(line))
        if row is not None:
            yield Line(ROW if in_table else PARAGRAPH, row.text)
