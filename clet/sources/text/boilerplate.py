"""What the classes, ids and roles of an element say about it: part of the page's text, or of its furniture.

Names are split into words, which are looked up in fixed sets. The words are the common English (and, for a handful,
German) vocabulary of page templates; publishers' own names are left out. A verdict costs about two microseconds, and is
remembered for the names seen last.
"""

from __future__ import annotations

import re

PLAIN, MAYBE, FURNITURE, VOICES, HIDDEN = range(5)
"""Verdicts, each stronger than the one before.

MAYBE: furniture if it is full of links. FURNITURE: menus, side columns, advertisements; such names also sit on elements
that hold the whole page. VOICES: comments, teasers of other pages, calls to subscribe: text, but of somebody else.
HIDDEN: not shown.
"""

MAX_NAME_CHARS = 400  # of a class or id attribute; longer ones are cut

_MAYBE = """
    author carousel categories category comment gallery infobox latest meta more next prev previous promo share slider
    tags teaser teasers thumbnails widget profile
"""
_FURNITURE = """
    ad ads adsense adv advert advertisement advertising advertisements adverts anzeige anzeigen banner bio breadcrumb
    breadcrumbs byline byl colophon consent cookie cookies copyright credit credits disclaimer foot footer gdpr
    masthead menu metadata modal nav navbar navi navigation navbreadcrumbs noprint outbrain overlay pager pagination
    paginator popup postinfo postmeta prevnext rating search searchbar searchform sidebar sidebars
    sociable social sponsor sponsored sponsors taboola tagcloud taglist toolbar topbar werbung
    caption captions lightbox flyout tooltip utility disclosure
    addthis addtoany sharedaddy sharethis sharebar sharebuttons sharing follow shares
"""
_VOICES = """
    comments commentlist commentform commentaries disqus kommentare livefyre pingback pingbacks reply replies respond
    trackback trackbacks newsletter newsletters subscribe subscription subscriptions signup login registration
    related relatedposts relatedarticles relatedcontent recommend recommended recommendation recommendations
    recirc recirculation similar popular trending mostread readmore yarpp authorbox authorbio
"""
_HIDDEN = "visuallyhidden"
_PAIRS = {  # two words in a row that say more than each
    ("entry", "meta"): FURNITURE,
    ("post", "meta"): FURNITURE,
    ("author", "box"): VOICES,
    ("author", "bio"): VOICES,
    ("author", "info"): VOICES,
    ("author", "desc"): VOICES,
    ("author", "description"): VOICES,
    ("author", "card"): VOICES,
    ("author", "profile"): VOICES,
    ("about", "author"): VOICES,
    ("author", "descr"): VOICES,
    ("news", "letter"): VOICES,
    ("comment", "list"): VOICES,
    ("comment", "form"): VOICES,
    ("most", "read"): VOICES,
    ("read", "more"): VOICES,
    ("sign", "up"): VOICES,
    ("log", "in"): VOICES,
    ("share", "bar"): FURNITURE,
    ("share", "buttons"): FURNITURE,
    ("share", "tools"): FURNITURE,
    ("tag", "list"): FURNITURE,
    ("no", "print"): FURNITURE,
    ("side", "bar"): FURNITURE,
    ("content", "sidebar"): PLAIN,
    ("sr", "only"): HIDDEN,
    ("screen", "reader"): HIDDEN,
    ("visually", "hidden"): HIDDEN,
}
_VERDICTS = {
    word: verdict
    for words, verdict in ((_MAYBE, MAYBE), (_FURNITURE, FURNITURE), (_VOICES, VOICES), (_HIDDEN, HIDDEN))
    for word in words.split()
}
_SAYING = frozenset(_VERDICTS) | {word for pair in _PAIRS for word in pair}
_ROLES = {
    **dict.fromkeys(("navigation", "banner", "complementary", "contentinfo", "search", "toolbar"), FURNITURE),
    **dict.fromkeys(("menu", "menubar", "tablist", "dialog", "alertdialog", "alert"), FURNITURE),
}
# A state or a topic, not a part: class="post category-comments has-sidebar". They are matched whole and found nowhere.
_WORD = re.compile(
    r"(?<![^\s])(?:tag|category|has|with|without|no|not|is|js|type|format|status|hide)-\S+|[a-z]+",
)
_STATES = frozenset("with has layout position template relative below and".split())
_UNSEEN = re.compile(r"(?<!\S)(?:is-)?(?:hidden|invisible)(?!\S)")  # not label-hidden, hidden-xs or hidden md:block
_HUMP = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})")  # relatedPosts, but not hJpRRP, which a program made up


def role_verdict(role: str) -> int:
    """What an ARIA role says."""
    return _ROLES.get(role, PLAIN)


def name_verdict(name: str) -> int:
    """What a class or id attribute says."""
    name = name[:MAX_NAME_CHARS]
    if not name.islower():
        name = _HUMP.sub("-", name).lower()
    if ("hidden" in name or "invisible" in name) and ":" not in name and _UNSEEN.search(name):
        return HIDDEN
    words = _WORD.findall(name)
    if _SAYING.isdisjoint(words):
        return PLAIN
    found = PLAIN
    last = ""
    for word in words:
        verdict = _VERDICTS.get(word, PLAIN)
        if (pair := _PAIRS.get((last, word), PLAIN)) > verdict:
            verdict = pair
        if verdict > found:
            found = verdict
        last = word
    if found == FURNITURE and not _STATES.isdisjoint(words):
        return PLAIN
    return found
