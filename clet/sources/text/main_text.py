"""The main text of a page: the article, without what surrounds and interrupts it.

A block is prose if enough of it is no link: text length and link density tell text from furniture better than anything
else (Kohlschuetter, Fankhauser and Nejdl, "Boilerplate detection using shallow text features", WSDM 2010). The main
part is the innermost box that holds most of the page's prose, as in content extraction via text density (Sun, Song and
Liao, SIGIR 2011), with names of elements as evidence, as Readability has it. In the main part, what is full of links,
a caption or a phrase of furniture goes; lines before its first and after its last prose stay only where they are of a
kind that text has (context, as in jusText: Pomikalek 2011). The cascade, strict first and lenient where that leaves too
little, is the plan of Trafilatura (Barbaresi, ACL 2021); its rules and lines are not used here.

The constants were set on one half of two public sets of pages, and results change by less than 0.005 where they are
moved by a fifth. Reading the page is nearly all of the cost: about 1.8 ms for 150 KB of markup. Texts beside the
article's, such as readers' comments, are lost on purpose; `precise.py` is the slower choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clet.sources.text.boilerplate import FURNITURE, HIDDEN, MAYBE, PLAIN, VOICES, is_phrase
from clet.sources.text.outline import Outline, read_outline

PROSE_CHARS = 60  # of a block outside its links
WIDE_BYTES = 1.6  # a character in UTF-8: a script in which a character says as much as two of Latin
MAX_LINKED = 0.5  # share of a box's characters that are links, or it is a list of links
MAX_MAYBE_LINKED = 0.33  # the same where a name says so too
MAYBE_SHARE = 0.3  # of all prose in a box so named, links in it, or it is beside the text
WRAPPER_SHARE = 0.7  # of all prose: a box with furniture's name that holds so much is no furniture
LEAST_SHARE = 0.1  # of all prose: names that leave less are not believed
MAIN_SHARE = 0.8  # of all prose, held by the main part
ENOUGH_CHARS = 300  # of prose, or what was skipped is looked at too
BETTER = 2.0  # times as much prose has to be there, or the stricter reading stands
LEAD_BLOCKS = 40  # between the first heading and the main part, that are looked at
SHORT_CHARS = 120  # a paragraph of links that is longer stays

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_WAY = frozenset(  # boxes that may hold the main part
    ("article", "body", "center", "div", "fieldset", "form", "header", "html", "main", "section", "table", "tbody")
) | {"td", "tr"}
_TABLE = frozenset(("table", "tbody", "tr"))
_LISTS = frozenset(("div", "dl", "header", "ol", "section", "table", "ul"))
_BEFORE = frozenset(("blockquote", "dd", "dt", "h2", "h3", "h4", "li", "pre", "td", "th"))
_AFTER = frozenset(("blockquote", "dd", "dt", "li", "p", "pre", "td", "th"))
_SENTENCE_ENDS = frozenset('.!?:\u2026"\u201d\u3002')


def find_main_text(markup: str) -> tuple[Outline, list[int]]:
    """An outline of the page, and which of its blocks are the main text."""
    outline = read_outline(markup, VOICES)
    prose = weigh(outline)
    total = sum(prose)
    if total < ENOUGH_CHARS:  # the text may be what was skipped: a forum's, or that of a page with misleading names
        whole = read_outline(markup, HIDDEN)
        weights = weigh(whole)
        if sum(weights) >= BETTER * total:
            outline, prose = whole, weights
    return outline, select(outline, prose)


def weigh(outline: Outline) -> list[int]:
    """Of each block, the characters outside its links if it is prose, else 0."""
    tags = outline.tag
    weights = []
    for text, linked, box in zip(outline.text, outline.links, outline.owner, strict=True):
        chars = len(text)
        own = chars - linked
        if own * 2 < PROSE_CHARS or linked > own or tags[box] in _HEADINGS:
            weights.append(0)
            continue
        if not text.isascii() and len(text.encode()) > WIDE_BYTES * chars:
            own *= 2
        weights.append(own if own >= PROSE_CHARS else 0)
    return weights


def select(outline: Outline, prose: Sequence[int]) -> list[int]:
    """The blocks of the main text, given what is prose."""
    drop = _beside(outline, prose)
    prose = [0 if gone else own for own, gone in zip(prose, drop, strict=True)]
    weight = outline.sums(prose)
    part = _main_part(outline, weight)
    _trim(outline, part, prose, weight, drop)
    tags, owner, texts = outline.tag, outline.owner, outline.text
    kept = [block for block in range(outline.first[part], outline.last[part]) if not drop[block]]
    lead = _lead(outline, part, prose, drop)
    places = [place for place, block in enumerate(kept) if prose[block]]
    if not places:
        return lead + kept
    begin, end = places[0], places[-1] + 1
    before = [
        block
        for block in kept[:begin]
        if tags[owner[block]] in _BEFORE or (tags[owner[block]] == "p" and texts[block][-1] in _SENTENCE_ENDS)
    ]
    after = [block for block in kept[end:] if tags[owner[block]] in _AFTER]
    return lead + before + kept[begin:end] + after


def _beside(outline: Outline, prose: Sequence[int]) -> bytearray:
    """Marks the blocks that lie beside the text, after the names of their boxes.

    Names that would take nearly all are not believed: of a page of comments, these are the text.
    """
    weight, linked, chars = outline.sums(prose), outline.sums(outline.links), outline.sums(map(len, outline.text))
    total = weight(0)
    for believed in (HIDDEN, FURNITURE, MAYBE):
        drop = bytearray(len(prose))
        for box, verdict in enumerate(outline.verdict):
            if verdict == MAYBE:
                own, links = weight(box), linked(box)
                beside = not own or links > MAX_MAYBE_LINKED * chars(box) or (links and own < MAYBE_SHARE * total)
            else:
                beside = PLAIN < verdict <= believed and weight(box) < WRAPPER_SHARE * total
            if beside:
                _drop_box(outline, box, drop)
        if sum(own for own, gone in zip(prose, drop, strict=True) if not gone) >= LEAST_SHARE * total:
            break
    return drop


def _main_part(outline: Outline, weight: Callable[[int], int]) -> int:
    """The innermost box, or the outermost article, that holds most of the prose."""
    tags, parents = outline.tag, outline.parent
    most = max(1, MAIN_SHARE * weight(0))
    heaviest = {parents[box]: box for box in range(len(tags) - 1, 0, -1) if weight(box) >= most}
    part = 0
    while (child := heaviest.get(part)) is not None and tags[child] in _WAY and tags[part] != "article":
        part = child
    while tags[part] in _TABLE:
        part = parents[part]
    return part


def _trim(outline: Outline, part: int, prose: Sequence[int], weight: Callable[[int], int], drop: bytearray) -> None:
    """Marks what interrupts the main part: lists of links, captions, phrases."""
    tags, first, last = outline.tag, outline.first, outline.last
    linked, chars = outline.sums(outline.links), outline.sums(map(len, outline.text))
    end = last[part]
    for box in range(part + 1, len(tags)):
        if first[box] >= end:
            break
        if last[box] == first[box]:
            continue
        tag = tags[box]
        if tag == "figcaption":
            _drop_box(outline, box, drop)
        elif not weight(box) and linked(box) > MAX_LINKED * chars(box):
            following = prose[last[box]] if tag in _HEADINGS and last[box] < len(prose) else 0
            if tag in _LISTS or (tag == "p" and chars(box) < SHORT_CHARS) or (tag in _HEADINGS and not following):
                _drop_box(outline, box, drop)
    for block in range(first[part], end):
        if not drop[block] and not prose[block] and is_phrase(outline.text[block]):
            drop[block] = 1


def _lead(outline: Outline, part: int, prose: Sequence[int], drop: bytearray) -> list[int]:
    """What introduces the text between the first heading and the main part."""
    tags, owner, texts, links = outline.tag, outline.owner, outline.text, outline.links
    lead = []
    for block in range(outline.first[part] - 1, max(-1, outline.first[part] - LEAD_BLOCKS), -1):
        if tags[owner[block]] == "h1":
            return lead[::-1]
        if not drop[block] and (prose[block] or len(texts[block]) - 2 * links[block] >= PROSE_CHARS):
            lead.append(block)
    return []


def _drop_box(outline: Outline, box: int, drop: bytearray) -> None:
    begin, end = outline.first[box], outline.last[box]
    drop[begin:end] = b"\1" * (end - begin)
