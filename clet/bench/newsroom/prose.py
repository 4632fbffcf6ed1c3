"""Composes the articles of an event: which phrases in which order, syndicated edits, and spam.

All articles of one event draw from the same decks of phrases without putting them back (a deck is refilled when it
runs out), so that independent articles share facts and hardly any wording: their word-5-gram Jaccard stays far below
the near-duplicate threshold, while syndicated copies, which are edited from the wire's own sentences, stay above it.
The answer is kept as a marker until the end, so that a story with a wrong value and its correction differ in nothing
else.
"""

from __future__ import annotations

import html
import random
from dataclasses import dataclass

from clet.bench.newsroom.names import REGION, TOWNS, WATERS
from clet.bench.newsroom.phrases import (
    CLOSINGS,
    CONTEXTS,
    DOMAIN_CONTEXTS,
    LEADS,
    QUOTES,
    STANDING,
    STATEMENTS,
    Kind,
    expand,
)
from clet.bench.newsroom.publishers import AGENCY, Publisher

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
SMALL_NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
VALUE, SHORT = "\x01", "\x02"  # stand for the answer and its short form until a story is finished

# What each shape of article is made of, a row a paragraph. L lead, F statement of this kind only, S any statement,
# B the bare statement that the question's stem begins,
# C shared context, D context of the domain, K context of this kind, Q quote, A question and answer, E closing,
# O and I the publisher's own opener and aside.
SHAPES = {
    "wire": ("FS", "KDC", "QS", "CKC", "QSD", "CSK", "QDCE"),
    "own": ("OLF", "KSC", "QI", "DSK", "SCE"),
    "follow-up": ("LS", "QIC", "SKQ", "FDC", "B"),
    "explainer": ("OL", "A", "AC", "SKD", "A", "SI", "BE"),
    "standing": ("OL", "SC", "QI", "SDK", "SC", "B"),
}


def number_words(value: int) -> str:
    """Small numbers as words, larger ones with thousands separators."""
    return SMALL_NUMBERS[value] if value < len(SMALL_NUMBERS) else f"{value:,}"


class Details(dict):
    """Slots of a template; the passing details (numbers, months, other places) are drawn afresh at each use."""

    def __init__(self, rng: random.Random, slots: dict[str, str]):
        super().__init__(slots)
        self._rng = rng

    def __missing__(self, key: str) -> str:
        rng = self._rng
        if key == "n":
            return number_words(rng.randint(3, 40))
        if key == "years":
            return number_words(rng.randint(2, 29))
        if key == "big":
            return f"{rng.randint(61, 4800):,}"
        if key == "money":
            return f"{rng.randint(2, 90)}.{rng.randint(1, 9)} million crowns"
        if key == "pct":
            return f"{rng.randint(38, 79)}.{rng.randint(0, 9)}"
        if key == "time":
            return f"{int(self['hour']) - rng.randint(0, 1)}:{rng.randint(0, 11) * 5:02d}"
        if key == "month":
            return rng.choice(MONTHS)
        if key == "Q":
            return rng.choice([town for town in TOWNS if town != self["P"]])
        if key == "water":
            return rng.choice(WATERS)
        raise KeyError(key)


@dataclass(frozen=True)
class Story:
    """Headline and paragraphs (lists of sentences), the answer still a marker."""

    headline: str
    paragraphs: tuple[tuple[str, ...], ...]

    def filled(self, value: str, short: str) -> Story:
        """The story with the answer put in."""

        def put(text: str) -> str:
            return text.replace(VALUE, value).replace(SHORT, short)

        return Story(put(self.headline), tuple(tuple(put(s) for s in p) for p in self.paragraphs))

    @property
    def text(self) -> str:
        """Plain text, a blank line between paragraphs."""
        return "\n\n".join(" ".join(paragraph) for paragraph in self.paragraphs)


class Desk:
    """Writes the stories of one event. `slots` holds S, P, N, wd, hour (it happened by the end of it)
    and, for a change, old; never V itself."""

    def __init__(self, kind: Kind, slots: dict[str, str], rng: random.Random, *, standing: bool = False):
        self.kind = kind
        self.rng = rng
        self.slots = {**slots, "V": VALUE, "v": SHORT, "voice": kind.voice, "region": REGION}
        self._standing = standing
        person = kind.value_type == "person"
        own = STANDING if standing else kind.statements + (kind.change * 2 if slots.get("old") else ())
        self._pools: dict[str, tuple[str, ...]] = {
            "S": STANDING if standing else STATEMENTS,
            "F": own,
            "C": CONTEXTS,
            "D": DOMAIN_CONTEXTS[kind.domain],
            # the kind's own contexts tell of the event itself: a portrait of a standing fact must not use them
            "K": DOMAIN_CONTEXTS[kind.domain] if standing else kind.contexts,
            "Q": tuple(q for q in QUOTES if person or "{v}" not in q),
            "A": kind.asks,
            "E": CLOSINGS,
            "headline": ("{S}: a portrait", "Who is who: {S}", "{P} from the inside: {S}", "A visit to {P}: {S}")
            if standing
            else kind.headlines,
        }
        self._decks: dict[str, list[str]] = {}

    def _draw(self, name: str, pool: tuple[str, ...]) -> str:
        deck = self._decks.get(name)
        if not deck:
            deck = self._decks[name] = self.rng.sample(pool, len(pool))
        return expand(deck.pop(), self.rng, Details(self.rng, self.slots))

    def _sentence(self, code: str, shape: str, publisher: Publisher) -> str:
        if code == "L":
            return self._draw("L" + shape, LEADS[shape])
        if code in "OI":
            pool = publisher.openers if code == "O" else publisher.asides
            return self._draw(code + publisher.key, pool) if pool else ""
        if code == "A":
            answer = self.rng.choice(("{V}.", "The answer is {V}.", "That is {V}.", "In short: {V}.", "It is {V}."))
            return f"{self._draw('A', self._pools['A'])} {expand(answer, self.rng, self.slots)}"
        if code == "B":
            return expand("{N} is {V}.", self.rng, self.slots)
        if code == "S" and self.rng.random() < 0.3:
            code = "F"
        return self._draw(code, self._pools[code])

    def write(self, shape: str, publisher: Publisher) -> Story:
        """A new story of the given shape in the publisher's style."""
        headline = self._draw("headline", self._pools["headline"])
        paragraphs = []
        for row in SHAPES[shape]:
            sentences = [self._sentence(code, shape, publisher) for code in row]
            paragraphs.append(tuple(s for s in sentences if s))
        if shape == "wire":
            first = paragraphs[0]
            paragraphs[0] = (f"{self.slots['P'].upper()} (BPA) - {first[0]}", *first[1:])
        return Story(headline, tuple(paragraphs))

    def syndicate(self, wire: Story, publisher: Publisher) -> Story:
        """The wire's story as `publisher` prints it: other headline, agency line, at times a short sentence less."""
        paragraphs = [list(p) for p in wire.paragraphs]
        first = paragraphs[0][0].split(" (BPA) - ", 1)
        place = self.slots["P"]
        paragraphs[0][0] = self.rng.choice((f"{place} (bpa). {first[1]}", f"{first[0]}, BPA - {first[1]}", first[1]))
        ending = self.rng.choice(("cut", "credit", "both", "none"))
        if ending in ("cut", "both"):
            places = [(r, c) for r in range(1, len(paragraphs)) for c in range(len(paragraphs[r]))]
            row, column = min(places, key=lambda at: (len(paragraphs[at[0]][at[1]].split()), at))
            if VALUE not in paragraphs[row][column]:
                del paragraphs[row][column]
        if ending in ("credit", "both"):
            paragraphs[-1].append(self.rng.choice(("Source: BPA.", "(BPA)", f"{AGENCY.name}.")))
        return Story(self._draw("headline", self._pools["headline"]), tuple(tuple(p) for p in paragraphs))


def body_html(story: Story, boilerplate: tuple[str, ...]) -> str:
    """The article body as a feed carries it: paragraphs, then the publisher's boilerplate."""
    body = "\n".join(f"<p>{html.escape(' '.join(paragraph), quote=False)}</p>" for paragraph in story.paragraphs)
    foot = "\n".join(f'<p class="foot"><small>{html.escape(text, quote=False)}</small></p>' for text in boilerplate)
    return f"{body}\n{foot}" if foot else body


PRODUCTS = ("phone cases", "garden hoses", "running shoes", "ink cartridges", "sun glasses", "car mats", "pillows")
JUNK = ("Click here now", "Free free free", "Best price today only!!!", "You won. Claim it", "Hot deal, look")
STUFFING = ("cheap", "best", "buy", "discount", "online", "top", "new", "deal")


def spam_story(rng: random.Random, product: str, number: int) -> Story:
    """A promotional item stuffed with keywords; items of one product differ in a number and a word or two."""
    if number % 5 == 4:
        return Story(rng.choice(JUNK), ((rng.choice(JUNK) + ".",),))
    percent = rng.choice((30, 40, 50, 60, 70))
    stuffing = " ".join(f"{word} {product}" for word in STUFFING)
    body = (
        f"Are you looking for the best {product}? Here are the best {product} at the best price with {percent} percent "
        f"discount only today. Our {product} are the best {product} because our customers love our {product}.",
        f"{stuffing} {stuffing} free shipping coupon code SAVE{percent} order now.",
        f"Do not wait, click here to buy {product} now. Best {product} of the year, top rated {product}, "
        f"best offers today for {product} with money back guarantee. Offer number {number + 1}.",
    )
    return Story(f"Best {product} {percent}% off today only buy {product} now", tuple((text,) for text in body))
