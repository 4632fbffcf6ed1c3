"""Lines of a filing on their way to text: rows of tables made readable, and the furniture of pages taken out.

Filings are typeset for paper. Numbers stand apart from their currency, bracket and percent signs, each in a cell of its
own; every page ends in a number and begins with a running header. A row becomes one line, its cells joined by " | ".
Page numbers and running lines are known by where they stand (next to a page break) and by what they do (count up with
the pages, or repeat on most of them), so a number inside a table is never taken for one.

Linear in the number of lines; holds the lines of one document.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from clet.record import canonical_text

PARAGRAPH, HEADING, ROW, BLANK, BREAK = range(5)
CELL_JOINT = " | "
REACH = 3  # lines looked at on each side of a page break
MIN_REPEATS = 4  # of a line next to page breaks before it is a running one
MIN_SHARE = 0.3  # of all page breaks
MIN_COUNTED = 3  # lines that count up with the pages before they are page numbers with words around them


class Line(NamedTuple):
    """One line: what it is, and its text (empty for BLANK and BREAK)."""

    kind: int
    text: str


_BLANK = Line(BLANK, "")
_SIGN = "[$\u20ac\u00a3\u00a5]"
_PREFIX = re.compile(rf"\(?(?:US|CA?|A|HK|NT|R|S|NZ|Cdn)?{_SIGN}\(?\Z|\(\Z|(?:US|CA?|HK)?{_SIGN}\s*\(\Z")
_SUFFIX = re.compile(r"(?:\)\s*%?|%\s*\)?|(?:pts?|bps|bp|x)\b\.?)\Z")
_NUMBER_START = re.compile(rf"[\d(.{_SIGN[1:-1]}\u2014\u2013-]")
_YEAR = re.compile(r"(?:19|20)\d\d\Z")
_NUMBER_CHARS = 100  # a cell longer than this is no number
_LOOSE_SIGN = re.compile(rf"({_SIGN})\s+(?=[\d(.\u2014\u2013-])")
_LOOSE_OPEN = re.compile(rf"\(\s+(?=[\d.]|{_SIGN})")
_LOOSE_CLOSE = re.compile(r"(?<=[\d.%])\s+(?=\))|(?<=[\d)])\s+(?=%)")
_MARKER = re.compile(
    r"[\u2022\u00b7\u25aa\u25cf\u25cb\u25a0\u25a1\u25e6\u2013\u2014\u2605\u2610\u2611\u2612o*\u2020\u2021\u00a7+-]{1,3}\Z"
    r"|\[\s*[xX]?\s*\]\Z|\(?(?:\d{1,2}|[a-zA-Z]|[ivxIVX]{1,5})[.)]\Z|\*{1,4}\Z"
)
_PAGE_NUMBER = re.compile(
    r"(?:[-\u2013\u2014]\s*)?(?:page\s+)?(?:[A-Z]{1,2}-?)?\d{1,3}(?:\s*(?:of|/)\s*\d{1,3})?(?:\s*[-\u2013\u2014]|\.)?\Z"
    r"|[ivxl]{1,7}\Z",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(\d{1,3})\b(?=\D)(.{3,200})\Z|(.{3,200}?)(?<![\d,.])(\d{1,3})\Z")
_OPEN_END = re.compile(r"[a-z,;]\Z")


def row_line(cells: Iterable[str]) -> Line | None:
    """The line of a row's cells, or None where all are empty. A list's marker and its text are a paragraph."""
    joined = join_signs([_tight(cell) for cell in cells if cell])
    if not joined:
        return None
    if len(joined) == 1:
        return Line(PARAGRAPH, joined[0])
    if len(joined) == 2 and _MARKER.match(joined[0]) and joined[1][0].isalpha():
        return Line(PARAGRAPH, f"{joined[0]} {joined[1]}")
    return Line(ROW, CELL_JOINT.join(joined))


def join_signs(cells: list[str]) -> list[str]:
    """Cells with currency signs, brackets and percent signs put back to their numbers."""
    joined: list[str] = []
    prefix = ""
    for cell in cells:
        if prefix:
            if _NUMBER_START.match(cell):
                cell = prefix + cell
            else:
                joined.append(prefix)
            prefix = ""
        if _PREFIX.match(cell):
            prefix = cell.replace(" ", "")
        elif joined and _SUFFIX.match(cell) and _ends_in_number(joined[-1]):
            joined[-1] += cell.replace(" ", "")
        else:
            joined.append(cell)
    if prefix:
        joined.append(prefix)
    return joined


def _ends_in_number(cell: str) -> bool:
    """Whether a bracket or a percent sign may follow; not after a year, which heads a column."""
    return len(cell) < _NUMBER_CHARS and cell[-1] in "0123456789.)-\u2013\u2014" and not _YEAR.match(cell)


def _tight(cell: str) -> str:
    """A cell's number without the spaces that typesetting put into it."""
    if len(cell) > 40 or " " not in cell:
        return cell
    return _LOOSE_CLOSE.sub("", _LOOSE_OPEN.sub("(", _LOOSE_SIGN.sub(r"\1", cell)))


# ---- pages


def finish(lines: list[Line]) -> str:
    """The text of a document's lines: page furniture gone, one line each, a blank line around tables."""
    lines = without_furniture(lines)
    texts: list[str] = []
    before = BLANK
    after_break = False
    for line in lines:
        if line.kind == BREAK:
            after_break = True
            continue
        if line.kind == BLANK:
            if before != BLANK:
                texts.append("")
            before = BLANK
            continue
        apart = before != BLANK and (line.kind == HEADING or (line.kind == ROW) != (before == ROW))
        if apart:
            texts.append("")
        elif after_break and texts and line.kind == before == PARAGRAPH and _goes_on(texts[-1], line.text):
            texts[-1] += f" {line.text}"  # a sentence that the page cut in two
            after_break = False
            continue
        texts.append(line.text)
        before, after_break = line.kind, False
    return canonical_text("\n".join(texts))


def _goes_on(text: str, next_text: str) -> bool:
    return next_text[0].islower() and _OPEN_END.search(text) is not None


def without_furniture(lines: list[Line]) -> list[Line]:
    """The lines without page numbers and running headers and footers. The first of a running line stays."""
    if not any(line.kind == BREAK for line in lines):
        return lines
    sides = _beside_breaks(lines)
    furniture = _repeated(lines, sides)
    dropped: set[int] = set()
    kept_first: set[str] = set()
    for _, beside in sides:
        for position in beside:
            line = lines[position]
            if position in dropped:
                continue
            if line.kind != ROW and _PAGE_NUMBER.match(line.text):
                dropped.add(position)
            elif position in furniture:
                if furniture[position] and line.text not in kept_first:
                    kept_first.add(line.text)
                else:
                    dropped.add(position)
            else:
                break  # what stands behind text belongs to the text
    return [line for position, line in enumerate(lines) if position not in dropped]


def _beside_breaks(lines: list[Line]) -> list[tuple[int, list[int]]]:
    """(number of the page, positions of the lines next to its break, nearest first), before and after each break."""
    sides: list[tuple[int, list[int]]] = []
    above: list[int] = []
    below: list[int] | None = None
    page = 0
    for position, line in enumerate(lines):
        if line.kind == BREAK:
            if above or below:
                sides.append((page, above[::-1]))
                page += 1
                above = []
            below = []
            sides.append((page, below))
        elif line.kind != BLANK:
            above = [*above[1 - REACH :], position]
            if below is not None and len(below) < REACH:
                below.append(position)
    sides.append((page, above[::-1]))  # the last page ends with the document
    return sides


def _repeated(lines: list[Line], sides: list[tuple[int, list[int]]]) -> dict[int, bool]:
    """Positions of running lines; True for those that say the same each time, False for those that count pages."""
    same: dict[str, set[int]] = defaultdict(set)
    counting: dict[str, list[tuple[int, int]]] = defaultdict(list)
    pages = 1 + max(page for page, _ in sides)
    for page, beside in sides:
        for position in beside:
            line = lines[position]
            if line.kind != ROW:
                same[line.text].add(position)
            if match := _NUMBERED.match(line.text):
                lead, rest, head, tail = match.groups()
                counting[f"{lead and '#'}{rest or head}"].append((position, int(lead or tail) - page))
    running = {}
    for positions in same.values():
        if len(positions) >= max(MIN_REPEATS, MIN_SHARE * pages):
            running |= dict.fromkeys(positions, True)
    for found in counting.values():
        offset, number = Counter(offset for _, offset in dict(found).items()).most_common(1)[0]
        if number >= MIN_COUNTED:
            running |= {position: False for position, each in found if each == offset}
    return running
