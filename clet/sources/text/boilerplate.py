"""What the names of an element, and the first words of a line, say about it: text of the page, or its furniture.

Classes, ids and roles are split into words, which are looked up in fixed sets: the vocabulary that templates share
(WordPress, Drupal, news sites), mostly English, as templates are; publishers' own names are left out. Lines are known
in nine languages. The idea of reading names is Readability's (Arc90 2009, later Mozilla); the words are our own. A
verdict costs one to two microseconds.
"""

from __future__ import annotations

import re

PLAIN, MAYBE, FURNITURE, VOICES, HIDDEN, NEVER = range(6)
"""Verdicts, each stronger than the one before.

MAYBE: furniture if it is full of links. FURNITURE: menus, side columns, advertisements; such names are also found on
elements that hold the whole page. VOICES: comments, teasers of other pages, calls to subscribe: text, but another's.
HIDDEN: not shown. NEVER is said of nothing: who skips that skips nothing.
"""

MAX_NAME_CHARS = 400  # of a class or id attribute; longer ones are cut
MAX_PHRASE_CHARS = 160  # of a line that may be a phrase of the page's furniture

_MAYBE = """
    author carousel categories category comment gallery infobox latest meta more next prev previous profile promo share
    slider tags teaser teasers thumbnails widget
"""
_FURNITURE = """
    ad addthis addtoany ads adsense adv advert advertisement advertisements advertising adverts anzeige anzeigen banner
    bio breadcrumb breadcrumbs byline caption captions colophon consent cookie cookies copyright credit credits
    disclaimer disclosure flyout follow foot footer gdpr lightbox masthead menu metadata modal nav navbar
    navbreadcrumbs navi navigation noprint outbrain overlay pager pagination paginator popup postinfo postmeta prevnext
    rating search searchbar searchbox searchform sharebar sharebuttons sharedaddy shares sharethis sharing sidebar
    sidebars sociable social sponsor sponsored sponsors taboola tagcloud taglist toolbar tooltip topbar utility werbung
"""
_VOICES = """
    authorbio authorbox commentform commentlist comments disqus kommentare livefyre login mostread newsletter
    newsletters pingback pingbacks popular readmore recirc recirculation recommend recommendation recommendations
    recommended registration related relatedarticles relatedcontent relatedposts replies reply respond signup similar
    subscribe subscription subscriptions trackback trackbacks trending yarpp
"""
_PAIRS = {  # two words in a row that say more, or something else, than each
    FURNITURE: "entry-meta no-print post-meta share-bar share-buttons share-tools side-bar tag-list",
    VOICES: """
        about-author author-bio author-box author-card author-desc author-descr author-description author-info
        author-profile comment-form comment-list log-in most-read news-letter read-more sign-up
    """,
    HIDDEN: "screen-reader sr-only visually-hidden",
}
_STATES = frozenset(
    ["and", "below", "has", "layout", "position", "relative", "template", "with"]
)  # "with right sidebar" is no sidebar
_ROLES = {
    **dict.fromkeys(("alert", "alertdialog", "banner", "complementary", "contentinfo", "dialog"), FURNITURE),
    **dict.fromkeys(("menu", "menubar", "navigation", "search", "tablist", "toolbar"), FURNITURE),
}

_VERDICTS = {
    word: verdict
    for words, verdict in ((_MAYBE, MAYBE), (_FURNITURE, FURNITURE), (_VOICES, VOICES))
    for word in words.split()
}
_PAIR_VERDICTS = {tuple(pair.split("-")): verdict for verdict, pairs in _PAIRS.items() for pair in pairs.split()}
_FIRSTS = frozenset(first for first, _ in _PAIR_VERDICTS)
_TELLING = frozenset(_VERDICTS).union(*_PAIR_VERDICTS)
# A token that begins like this names a state or a topic and no part (class="post category-comments has-sidebar"): it is
# matched whole, and so found in none of the sets.
_WORD = re.compile(r"(?<!\S)(?:tag|category|has|with|without|no|not|is|js|type|format|status|hide)-\S+|[a-z]+")
_LETTERS = re.compile("[a-z]+")
_HUMP = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})")  # relatedPosts, but not hJpRRP, which a program made up
_UNSEEN = re.compile(r"(?<!\S)(?:is-)?(?:hidden|invisible)(?!\S)")  # not label-hidden, hidden-xs or hidden md:block
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)

_SERVICES = (
    "facebook|twitter|x|whats ?app|linked ?in|pinterest|e-?mail|instagram|xing|telegram|flipboard|reddit|pocket|tumblr"
    r"|google\+?|youtube|tiktok|threads|mastodon|bluesky|weibo|wechat|print|drucken|imprimer|imprimir|teilen|share"
    "|tweet|pdf|rss|copy link"
)
_PHRASE = re.compile(
    rf"""\W{{0,20}}(?:
      (?:(?:{_SERVICES.replace(" ", "[ ]")})\b\W*){{1,8}}\Z
    | (?:anzeige|werbung|advertisement|advertising|publicit[e\u00e9]|publicidad|pubblicit[a\u00e0]|reklama)\W*\Z
    | (?:read|see|lesen[ ]sie|lies|auch|lire|leer?|leia|leggi|czytaj|lees|les)[ ]
      (?:more|also|auch|lesen|mehr|aussi|tambi[e\u00e9]n|anche|tamb[e\u00e9]m|tak\u017ce|r\u00f3wnie\u017c|ook)\b
    | share[ ](?:this|on)\b | follow[ ]us\b | sign[ ]up\b | subscribe\b | more[ ]on[ ]this\b | you[ ]may[ ]also[ ]like\b
    | related[ ](?:articles|posts|stories)\b | mehr[ ]zum[ ]thema\b | auch[ ]interessant\b
    | das[ ]k\u00f6nnte[ ](?:sie|dich)[ ]auch\b
    | \u00a9 | \(c\)[ ] | copyright\b | all[ ]rights[ ]reserved\b | alle[ ]rechte[ ]vorbehalten\b
    | (?:foto|photo|bild|image|picture|quelle|source)s?(?:[ ]credits?)?\s?[:\u00a9]
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_phrase(line: str) -> bool:
    """Whether a short line is one of those that pages put between their text: share, advertisement, read also."""
    return len(line) <= MAX_PHRASE_CHARS and _PHRASE.match(line) is not None


def attribute_verdict(name: str, value: str) -> int:
    """What a role, style, hidden or aria-hidden attribute says."""
    if name == "role":
        return _ROLES.get(value, PLAIN)
    if name == "style":
        return HIDDEN if _UNSEEN_STYLE.search(value) else PLAIN
    return HIDDEN if name == "hidden" or value == "true" else PLAIN


def may_hide(name: str) -> bool:
    """Whether `name_verdict` may say HIDDEN: a look that is cheaper."""
    return "hidden" in name or "invisible" in name or "sr-only" in name or "screen-reader" in name


def name_verdict(name: str) -> int:
    """What a class or id attribute says."""
    name = name[:MAX_NAME_CHARS]
    if not name.islower():
        name = _HUMP.sub("-", name).lower()
    if ("hidden" in name or "invisible" in name) and ":" not in name and _UNSEEN.search(name):
        return HIDDEN
    if _TELLING.isdisjoint(_LETTERS.findall(name)):
        return PLAIN
    words = _WORD.findall(name)
    verdict = PLAIN
    before = ""
    for word in words:
        if (found := _VERDICTS.get(word, PLAIN)) > verdict:
            verdict = found
        if before in _FIRSTS and (found := _PAIR_VERDICTS.get((before, word), PLAIN)) > verdict:
            verdict = found
        before = word
    return PLAIN if verdict == FURNITURE and not _STATES.isdisjoint(words) else verdict
