"""Blocks of a page set as text: paragraphs apart by an empty line, list items and table rows a line each.

Items begin with a bullet, or with their number, and stand two spaces deeper for each list around theirs; the cells of a
row are joined by " | ", as elsewhere in clet. A table that only places paragraphs gives paragraphs. What is
preformatted keeps its white space. Linear in boxes and blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from clet.record import canonical_text
from clet.sources.text.outline import Outline

CELL_JOINT = " | "
BULLET = "\u2022 "
MAX_LEVEL = 12  # of lists inside each other that are shown by indentation
MAX_CELL_BLOCKS = 3  # a cell with more is a part of the page that a table only places
MAX_CELL_CHARS = 200  # of a block in a cell of more than one
_CELLS = frozenset(("td", "th"))
_TERMS = frozenset(("dd", "dt"))
_PLACES = _CELLS | _TERMS | {"li"}
_PREFORMATTED = frozenset(("listing", "plaintext", "pre", "xmp"))
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\ue000-\uf8ff]")  # hyphenation points, and glyphs of icon fonts
_WITH_SPACE = re.compile("[\u00ad\u200b\u2060\ufeff]|[\ue000-\uf8ff]+ ?")
_EMPTY_LINES = re.compile(r"\n{3,}")


def write(outline: Outline, blocks: Sequence[int]) -> str:
    """Canonical text of these blocks."""
    if _PLACES.isdisjoint(outline.tag):
        text = "\n\n".join([outline.text[block] for block in blocks])
    else:
        text = "".join(_set(outline, blocks))
    if not text.isascii():
        text = text.replace("\u00a0", " ")
        if _INVISIBLE.search(text):  # rare, and looked for in a tenth of the time that taking it out needs
            text = _WITH_SPACE.sub("", text).replace(" \n", "\n")
    text = canonical_text(text)
    return _EMPTY_LINES.sub("\n\n", text) if "\n\n\n" in text else text


def _set(outline: Outline, blocks: Sequence[int]) -> list[str]:
    """Pieces of text, what joins them included."""
    tags, parents, owner = outline.tag, outline.parent, outline.owner
    place = [0]  # the innermost item, term or cell around each box
    level: dict[int, int] = {}  # of each list item, how many others it lies in
    number: dict[int, int] = {}  # of each in an ordered list
    counted: Counter[int] = Counter()
    for box in range(1, len(tags)):
        tag, parent = tags[box], parents[box]
        if tag not in _PLACES:
            place.append(place[parent])
            continue
        place.append(box)
        if tag == "li":
            level[box] = min(level.get(place[parent], -1) + 1, MAX_LEVEL)
            if tags[parent] == "ol":
                counted[parent] += 1
                number[box] = counted[parent]
    rows = _rows(outline, place, blocks)
    pieces: list[str] = []
    before, kind_before, row_before = 0, "", 0
    for block in blocks:
        box = place[owner[block]]
        text, tag, row = outline.text[block], tags[box], 0
        if tag in _CELLS and parents[box] in rows:
            kind, row = "row", parents[box]
            text = text.replace("\n", " ")
            joint = (" " if box == before else CELL_JOINT) if row == row_before else "\n"
        elif tag == "li":
            kind, joint = "item", "\n"
            margin = "  " * level[box]
            if tags[owner[block]] not in _PREFORMATTED:
                text = text.replace("\n", f"\n{margin}")
            if box != before:
                text = (f"{number[box]}. " if box in number else BULLET) + text
            text = margin + text
        elif tag in _TERMS:
            kind, joint = "term", "\n"
        else:
            kind, joint = "paragraph", "\n\n"
        if pieces:
            pieces.append(joint if kind == kind_before else "\n\n")
        pieces.append(text)
        before, kind_before, row_before = box, kind, row
    return pieces


def _rows(outline: Outline, place: Sequence[int], blocks: Sequence[int]) -> set[int]:
    """Rows whose cells hold little enough to be a line."""
    if _CELLS.isdisjoint(outline.tag):
        return set()
    cells = Counter(box for block in blocks if outline.tag[box := place[outline.owner[block]]] in _CELLS)
    rows = {outline.parent[box] for box in cells}
    for block in blocks:
        box = place[outline.owner[block]]
        if cells[box] > MAX_CELL_BLOCKS or (cells[box] > 1 and len(outline.text[block]) > MAX_CELL_CHARS):
            rows.discard(outline.parent[box])
    return rows
