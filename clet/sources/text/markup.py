"""Parts of a page's markup that need no parser: cut what shows no text, and what lies beside the text.

Half of a page is scripts, styles, icons, menus and side columns; finding the ends of such elements takes a fifth of the
time that parsing them would. What is malformed is left to the parser. Linear time, one pass.
"""

from __future__ import annotations

import re

UNREAD = ("iframe", "script", "select", "style", "svg", "template", "textarea")  # hold no text, or none of the page's
SIDES = ("aside", "button", "footer", "head", "header", "nav", "noscript")
"""Elements beside the text. A header goes only where it has neither a first heading nor a paragraph."""


def _openings(names: tuple[str, ...]) -> re.Pattern[str]:
    """Where one of these elements, or a comment, begins. Looking at the first letter first takes half the time."""
    firsts = "".join(sorted({letter for name in names for letter in (name[0], name[0].upper())}))
    return re.compile(rf"<(?=[!{firsts}])(?:!--|((?i:{'|'.join(names)}))(?=[\s>/]))")


_SIDES = frozenset(SIDES)
_OPENINGS = {names: _openings(names) for names in (UNREAD, UNREAD + SIDES)}


def cut_elements(markup: str, names: tuple[str, ...]) -> str:
    """Markup without comments and the elements of these names, but for sides that hold another of their own name.

    `names` is UNREAD or UNREAD + SIDES.
    """
    pieces = []
    begin = position = 0
    ends: dict[str, int] = {}  # of each kind of end tag, the next place; -1: there is no more
    find, search = markup.find, _OPENINGS[names].search
    while match := search(markup, position):
        start, position = match.span()
        name = match[1]
        close, after = (f"</{name}", position) if name else ("-->", start + 2)
        end = ends.get(close, 0)
        if 0 <= end < after:
            end = ends[close] = find(close, after)
        if end < 0:
            continue
        if name in _SIDES:
            if find(f"<{name}", after, end) >= 0:
                continue
            if name == "header" and (find("<h1", after, end) >= 0 or find("<p", after, end) >= 0):
                continue
        pieces.append(markup[begin:start])
        begin = position = find(">", end) + 1 or len(markup)
    pieces.append(markup[begin:])
    return " ".join(pieces)


def only_main(markup: str) -> str:
    """What lies in the page's one main element; all of it where there is none, or more than one."""
    begin = markup.find("<main")
    if begin < 0 or markup.find("<main", begin + 5) >= 0:
        return markup
    end = markup.find("</main", begin)
    return markup[begin:end] if end >= 0 and markup.find("</main", end + 6) < 0 else markup
