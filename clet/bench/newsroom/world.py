"""The facts of the simulated newsroom: a seeded region in which dated events create and change facts.

Every answer is minted for its event and occurs in no article before it, so a model can know it only by learning.
Standing facts (who directs, owns, coaches, holds) are portrayed by two publishers before an event may change them;
prices and records change again after two days. Wrong values, printed first by some stories and corrected hours later,
are minted as well. A world is a pure function of (seed, start, days, stories_per_day); its days are written in order,
each once, and cached: about 1 MB of articles for eight days, 10 ms a day.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from clet import seeds
from clet.bench.newsroom import prose
from clet.bench.newsroom.business import BUSINESS
from clet.bench.newsroom.matters import MATTERS
from clet.bench.newsroom.names import Minter, accepted_answers, short_form
from clet.bench.newsroom.people import PEOPLE
from clet.bench.newsroom.phrases import Kind, expand
from clet.bench.newsroom.publishers import (
    AGENCY,
    BLOG,
    COURIER,
    EVENING_POST,
    GAZETTE,
    LEDGER,
    OFFERS,
    RADIO,
    SYNDICATORS,
    TRAINING,
    Publisher,
)

KINDS = {kind.name: kind for kind in PEOPLE + MATTERS + BUSINESS}
SHARE_CHANGED = 0.25  # of the day's events change a fact published before; as many standing facts are portrayed a day
SHARE_WRONG = 0.1  # of the day's events have one story that is corrected later
SPAM_A_STORY = 0.9  # spam items per event: about 14 % of all training articles
CHANGES_AGAIN_AFTER_DAYS = {"price": 2, "record": 2}
OWN_PUBLISHER = {"civic": GAZETTE, "business": LEDGER, "science": RADIO, "sport": GAZETTE, "culture": COURIER}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Fact:
    """What became true: `relation` is the noun phrase asked for ("the new director of the Tarnholm Observatory")."""

    subject: str
    relation: str
    value: str
    value_type: str
    old: str | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """Accepted answers, the full one first."""
        return accepted_answers(self.value, self.value_type)


@dataclass(frozen=True)
class Event:
    """Something that happened (`standing` False), or a long-lived fact portrayed on that day (`standing` True)."""

    id: str
    when: datetime
    kind: str
    fact: Fact
    wrong: str  # a plausible value that is false
    slots: dict[str, str] = field(repr=False)
    standing: bool = False
    misreported: bool = False  # one story carries `wrong` until it is corrected


@dataclass(frozen=True)
class Question:
    """How an event's fact is asked for. No paraphrase is printed in an article; the stem's wording may be."""

    event: str
    day: date
    kind: str
    fact: Fact
    stem: str
    paraphrases: tuple[str, ...]
    answers: tuple[str, ...]
    false_premise: str
    presumed: str  # the false value that `false_premise` presupposes
    old: str | None


@dataclass(frozen=True)
class Article:
    """One version of a published item; a correction has the guid of the version it replaces. `url` is a server path."""

    publisher: str
    guid: str
    url: str
    title: str
    html: str
    text: str
    published: datetime
    updated: datetime
    event: str  # "" for spam
    kind: str  # wire (the agency's and its syndicated copies), own, follow-up, explainer, correction, spam
    author: str
    categories: tuple[str, ...]
    copy_of: str | None = None  # guid of the wire story that a syndicated copy repeats


class World:
    """The region's history from `start` for `days` days. All times are UTC; every article falls inside its day."""

    def __init__(self, seed: int, start: date, days: int, stories_per_day: int = 12):
        if days < 1 or not 1 <= stories_per_day <= 60:
            raise ValueError("a world needs at least one day and 1 to 60 stories a day")
        self.seed = seed
        self.dates = tuple(start + timedelta(days=i) for i in range(days))
        self.stories_per_day = stories_per_day
        self._mint = Minter(seeds.python_random(seed, "newsroom/names"))
        self._subjects: set[str] = set()
        self._changeable: list[tuple[date, Event]] = []  # (first day on which it may change, what is true now)
        self._events: dict[date, tuple[Event, ...]] = {}
        self._background: dict[date, tuple[Event, ...]] = {}
        self._articles: dict[date, tuple[Article, ...]] = {}
        for day in self.dates:
            self._plan(day)

    # ---- the day's facts

    def events(self, day: date) -> tuple[Event, ...]:
        """The day's events in order of time. KeyError outside the simulated days, as in all methods."""
        return self._events[day]

    def background(self, day: date) -> tuple[Event, ...]:
        """The standing facts portrayed on that day."""
        return self._background[day]

    def _subject(self, kinds: Sequence[Kind]) -> tuple[Kind, dict[str, str]]:
        """A subject never used before, of the first of `kinds` that still has one (some have only dozens)."""
        for kind in kinds:
            for _ in range(100):
                slots = kind.subject(self._mint)
                if slots["S"] not in self._subjects:
                    self._subjects.add(slots["S"])
                    return kind, slots
        raise ValueError("no subject is left to report on; simulate fewer days or fewer stories a day")

    def _event(
        self,
        ident: str,
        when: datetime,
        kind: Kind,
        slots: dict[str, str],
        *,
        old: str | None = None,
        standing: bool = False,
        misreported: bool = False,
    ) -> Event:
        relation = (kind.standing if standing else kind.noun).format_map(slots)
        value, wrong = self._mint.value(kind.value_type), self._mint.value(kind.value_type)
        slots = {k: v for k, v in slots.items() if k != "old"} | ({"old": old} if old else {})
        slots |= {"wd": _WEEKDAYS[when.weekday()], "hour": str(when.hour - 1), "N": relation}
        fact = Fact(slots["S"], relation, value, kind.value_type, old)
        return Event(ident, when, kind.name, fact, wrong, slots, standing, misreported)

    def _plan(self, day: date) -> None:
        rng = seeds.python_random(self.seed, f"newsroom/plan/{day}")
        stories = self.stories_per_day
        num_standing = max(1, round(stories * SHARE_CHANGED))
        due = [known for first, known in self._changeable if first <= day]
        changed = rng.sample(due, min(len(due), num_standing, stories))
        self._changeable = [(first, known) for first, known in self._changeable if known not in changed]
        bag = list(KINDS.values())
        rng.shuffle(bag)
        plans = [(KINDS[known.kind], known) for known in changed]
        plans += [(bag[i % len(bag)], None) for i in range(stories - len(plans))]
        rng.shuffle(plans)
        minutes = sorted(rng.sample(range(9 * 60, 14 * 60 + 30), stories))
        misreported = set(rng.sample(range(stories), max(1, round(stories * SHARE_WRONG))))
        events = []
        for i, ((kind, known), minute) in enumerate(zip(plans, minutes, strict=True)):
            if known:
                slots = known.slots
            else:
                kind, slots = self._subject([kind, *bag])
            event = self._event(
                f"{day}-e{i:02d}",
                _at(day, minute),
                kind,
                slots,
                old=known.fact.value if known else None,
                misreported=i in misreported,
            )
            events.append(event)
            if kind.name in CHANGES_AGAIN_AFTER_DAYS:
                again = day + timedelta(days=CHANGES_AGAIN_AFTER_DAYS[kind.name])
                self._changeable.append((again, event))
        self._events[day] = tuple(events)
        lasting = [kind for kind in KINDS.values() if kind.standing]
        standing = []
        for i in range(num_standing):
            rng.shuffle(lasting)
            kind, slots = self._subject(lasting)
            when = _at(day, rng.randrange(6 * 60, 18 * 60))
            standing.append(self._event(f"{day}-s{i:02d}", when, kind, slots, standing=True))
            self._changeable.append((day + timedelta(days=1), standing[-1]))
        self._background[day] = tuple(standing)

    # ---- the day's questions

    def questions(self, day: date) -> list[Question]:
        """One for each event of the day."""
        return [self._question(event) for event in self._events[day]]

    def background_questions(self, day: date) -> list[Question]:
        """One for each standing fact portrayed that day: true until an event changes it."""
        return [self._question(event) for event in self._background[day]]

    def _question(self, event: Event) -> Question:
        kind, fact = KINDS[event.kind], event.fact
        presumed = fact.old or event.wrong
        rng = random.Random(0)  # the question templates hold no alternatives; expand wants a generator all the same
        slots = {**event.slots, "wrong": presumed}
        return Question(
            event=event.id,
            day=event.when.date(),
            kind=kind.name,
            fact=fact,
            stem=expand(f"{fact.relation} is", rng, slots),
            paraphrases=tuple(expand(question, rng, slots) for question in kind.questions),
            answers=fact.answers,
            false_premise=expand(kind.false_premise, rng, slots),
            presumed=presumed,
            old=fact.old,
        )

    # ---- the day's articles

    def articles(self, day: date) -> list[Article]:
        """All versions published that day by all publishers (held-out and spam ones too), in order of `updated`."""
        if day not in self._articles:
            written: list[Article] = []
            for event in self._events[day]:
                written += self._cover(event)
            for event in self._background[day]:
                written += self._portray(event)
            written += self._spam(day)
            self._articles[day] = tuple(sorted(written, key=lambda a: (a.updated, a.guid)))
        return list(self._articles[day])

    def training_articles(self, day: date) -> list[Article]:
        """The day's articles without those of held-out publishers."""
        keys = {publisher.key for publisher in TRAINING}
        return [article for article in self.articles(day) if article.publisher in keys]

    def _cover(self, event: Event) -> list[Article]:
        rng = seeds.python_random(self.seed, f"newsroom/articles/{event.id}")
        kind, fact = KINDS[event.kind], event.fact
        desk = prose.Desk(kind, event.slots, rng)
        short = short_form(fact.value, fact.value_type)
        house = OWN_PUBLISHER[kind.domain] if rng.random() < 0.6 else rng.choice((*SYNDICATORS, BLOG))
        others = [p for p in SYNDICATORS if p is not house]
        rng.shuffle(others)
        wire_at = event.when + timedelta(minutes=rng.randint(5, 25))
        wire = desk.write("wire", AGENCY)
        wire_article = _article(event, AGENCY, "wire", wire.filled(fact.value, short), wire_at, rng)
        out = [wire_article]
        own = desk.write("own", house)
        own_at = event.when + timedelta(minutes=rng.randint(40, 240))
        if event.misreported:
            wrong = own.filled(event.wrong, short_form(event.wrong, fact.value_type))
            first = _article(event, house, "own", wrong, own_at, rng)
            fixed_at = own_at + timedelta(minutes=rng.randint(120, 300))
            note = f"Correction, {fixed_at:%H:%M}: an earlier version of this article contained an error. We apologise."
            right = own.filled(fact.value, short)
            right = prose.Story(right.headline, ((note,), *right.paragraphs))
            out += [first, _article(event, house, "correction", right, fixed_at, rng, replaces=first)]
        else:
            out.append(_article(event, house, "own", own.filled(fact.value, short), own_at, rng))
        explaining = rng.choice([p for p in (BLOG, BLOG, RADIO, COURIER) if p is not house])
        following = rng.choice([p for p in (*SYNDICATORS, BLOG) if p is not explaining])
        for shape, publisher, delay in (("explainer", explaining, (180, 300)), ("follow-up", following, (240, 420))):
            story = desk.write(shape, publisher).filled(fact.value, short)
            when = event.when + timedelta(minutes=rng.randint(*delay))
            out.append(_article(event, publisher, shape, story, when, rng))
        for publisher in others[: 2 if rng.random() < 0.7 else 1]:
            copy = desk.syndicate(wire, publisher).filled(fact.value, short)
            copied_at = wire_at + timedelta(minutes=rng.randint(10, 150))
            out.append(_article(event, publisher, "wire", copy, copied_at, rng, copy_of=wire_article.guid))
        evening = desk.write("own", EVENING_POST).filled(fact.value, short)
        evening_at = event.when + timedelta(minutes=rng.randint(300, 480))
        out.append(_article(event, EVENING_POST, "own", evening, evening_at, rng))
        return out

    def _portray(self, event: Event) -> list[Article]:
        rng = seeds.python_random(self.seed, f"newsroom/articles/{event.id}")
        desk = prose.Desk(KINDS[event.kind], event.slots, rng, standing=True)
        short = short_form(event.fact.value, event.fact.value_type)
        out = []
        for publisher in rng.sample((*SYNDICATORS, BLOG), 2):
            story = desk.write("standing", publisher).filled(event.fact.value, short)
            when = event.when + timedelta(minutes=rng.randint(0, 300))
            out.append(_article(event, publisher, "explainer", story, when, rng))
        return out

    def _spam(self, day: date) -> list[Article]:
        rng = seeds.python_random(self.seed, f"newsroom/spam/{day}")
        product = rng.choice(prose.PRODUCTS)
        out = []
        for i in range(max(2, round(self.stories_per_day * SPAM_A_STORY))):
            when = _at(day, rng.randrange(10, 1430))
            story = prose.spam_story(rng, product, i)
            out.append(
                Article(
                    publisher=OFFERS.key,
                    guid=f"tag:{OFFERS.domain},{day}:{i}",
                    url=f"/{OFFERS.key}/{day}/offer-{i}.html",
                    title=story.headline,
                    html=prose.body_html(story, OFFERS.boilerplate),
                    text=story.text,
                    published=when,
                    updated=when,
                    event="",
                    kind="spam",
                    author=OFFERS.authors[0],
                    categories=("deals", "offers", product),
                )
            )
        return out


def _at(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60), UTC)


def _article(
    event: Event,
    publisher: Publisher,
    kind: str,
    story: prose.Story,
    when: datetime,
    rng: random.Random,
    *,
    replaces: Article | None = None,
    copy_of: str | None = None,
) -> Article:
    """`story` as an item of `publisher`; guid and address come from the subject, so that a correction keeps them."""
    slug = re.sub(r"[^a-z0-9]+", "-", event.fact.subject.lower()).strip("-")
    local = f"{event.id}-{kind}"
    boilerplate = publisher.boilerplate[:1] if kind == "wire" else publisher.boilerplate
    return Article(
        publisher=publisher.key,
        guid=replaces.guid if replaces else f"tag:{publisher.domain},{event.when:%Y-%m-%d}:{local}",
        url=replaces.url if replaces else f"/{publisher.key}/{event.when:%Y/%m/%d}/{slug}-{local[11:]}.html",
        title=story.headline,
        html=prose.body_html(story, boilerplate),
        text=story.text,
        published=replaces.published if replaces else when,
        updated=when,
        event=event.id,
        kind=kind,
        author=replaces.author if replaces else rng.choice(publisher.authors),
        categories=(KINDS[event.kind].domain, event.slots["P"]),
        copy_of=copy_of,
    )
