from __future__ import annotations

from clet.sources.text.boilerplate import HIDDEN, MAYBE, VOICES, is_phrase
from clet.sources.text.outline import read_outline

PROSE_CHARS = 60  # outside links
WIDE = 1.6
LINKED = 0.5
MAYBE_LINKED = 0.33
MAYBE_SHARE = 0.3
WRAPPER = 0.7
HOLDS = 0.8
ENOUGH_CHARS = 300
BETTER_TIMES = 2
LEAD_BLOCKS = 40
SHORT = 120

_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_WAY = frozenset(
    (
        "html",
        "body",
        "div",
        "article",
        "section",
        "main",
        "table",
        "tbody",
        "tr",
        "td",
        "form",
        "center",
        "fieldset",
        "header",
    )
)
_TABLE = frozenset(("table", "tbody", "tr"))
_BOXES = frozenset(("div", "dl", "header", "ol", "section", "table", "ul"))
_HEAD = frozenset(("blockquote", "dd", "dt", "h2", "h3", "h4", "li", "pre", "td", "th"))
_TAIL = frozenset(("blockquote", "dd", "dt", "li", "p", "pre", "td", "th"))
_SENTENCE_ENDS = frozenset('.!?:\u2026"\u201d\u3002')


def main_text(markup: str) -> list[str]:
    o, k = choose(markup)
    return "\n\n".join(o.text[i] for i in k)


def choose(markup):
    best, most = None, -1
    for skip in (VOICES, HIDDEN):
        outline = read_outline(markup, skip)
        prose = weigh(outline)
        total = sum(prose)
        if best is None or total >= BETTER_TIMES * max(most, 1):
            best, most = (outline, prose), total
        if most >= ENOUGH_CHARS:
            break
    choose.skip = skip
    return best[0], select(*best)


def weigh(outline):
    tags, owner = outline.tag, outline.owner
    weights = []
    for text, linked, box in zip(outline.text, outline.links, owner, strict=True):
        chars = len(text)
        own = chars - linked
        if own * 4 < PROSE_CHARS or linked * 2 > chars or tags[box] in _HEADINGS:
            weights.append(0)
            continue
        if not text.isascii() and len(text.encode()) > WIDE * chars:
            own *= 2
        weights.append(own if own >= PROSE_CHARS else 0)
    return weights


def select(outline, prose):
    tags, owner, links, first, last = outline.tag, outline.owner, outline.links, outline.first, outline.last
    texts = outline.text
    blocks, boxes = len(texts), len(tags)
    in_links, chars, weight = outline.sums(links), outline.sums(map(len, texts)), outline.sums(prose)
    total = weight(0)
    drop = bytearray(blocks)

    def drop_box(box):
        drop[first[box] : last[box]] = b"\1" * (last[box] - first[box])

    for box, verdict in enumerate(outline.verdict):
        if verdict == MAYBE:
            linked = in_links(box)
            if linked > MAYBE_LINKED * chars(box) or not weight(box) or (linked and weight(box) < MAYBE_SHARE * total):
                drop_box(box)
        elif verdict and weight(box) < WRAPPER * total:
            drop_box(box)
    prose = [0 if gone else own for own, gone in zip(prose, drop, strict=True)]
    weight = outline.sums(prose)

    part = main_part(outline, weight)
    begin, stop = first[part], last[part]
    lead = []
    h1 = next((i for i in range(begin - 1, max(-1, begin - LEAD_BLOCKS), -1) if tags[owner[i]] == "h1"), None)
    if h1 is not None:
        lead = [
            i for i in range(h1 + 1, begin) if not drop[i] and (prose[i] or len(texts[i]) - 2 * links[i] >= PROSE_CHARS)
        ]
    for box in range(part + 1, boxes):
        if first[box] >= stop:
            break
        if last[box] <= first[box]:
            continue
        tag = tags[box]
        if tag == "figcaption":
            drop_box(box)
        elif not weight(box) and in_links(box) > LINKED * chars(box):
            if tag in _BOXES or (tag == "p" and chars(box) < SHORT):
                drop_box(box)
            elif tag in _HEADINGS:
                after = last[box]
                if not (after < blocks and prose[after]):
                    drop_box(box)
    for i in range(begin, stop):
        if not drop[i] and is_phrase(texts[i]):
            drop[i] = 1
    kept = [i for i in range(begin, stop) if not drop[i]]
    where = [at for at, i in enumerate(kept) if prose[i]]
    if not where:
        return lead + kept
    head = [
        i
        for i in kept[: where[0]]
        if tags[owner[i]] in _HEAD or (tags[owner[i]] == "p" and texts[i][-1] in _SENTENCE_ENDS)
    ]
    tail = [i for i in kept[where[-1] + 1 :] if tags[owner[i]] in _TAIL]
    return lead + head + kept[where[0] : where[-1] + 1] + tail


def main_part(outline, weight):
    tags, parents = outline.tag, outline.parent
    total = weight(0)
    heaviest = {}
    for box in range(len(tags) - 1, 0, -1):
        own = weight(box)
        if own and own >= HOLDS * total:
            heaviest[parents[box]] = box
    part = 0
    while (child := heaviest.get(part)) is not None and tags[child] in _WAY:
        part = child
        if tags[part] == "article":
            break
    while tags[part] in _TABLE:
        part = parents[part]
    return part
