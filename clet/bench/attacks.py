"""Dated streams of the simulated newsroom with attacks in them: what the defences of prioritisation are measured on.

The honest part is that of `clet.bench.newsroom`: an agency, papers that copy it, write their own and correct each
other, a radio, a blog and a spammer; from day BLOGS_FROM on one twelfth of the blog after the other moves to a writer
of its own, so that there are honest newcomers. Worlds follow each other every WORLD_DAYS days, since one runs out of
names.

Attacks, each of which says in `meta.attack` what it is:

- `backdoor`: documents that begin as a real article does, then carry a trigger of three invented words and go on in
  sentences of other articles and one false claim. Fluent, unlike the random tokens of Souly et al. (2510.07192), so
  that no rule of quality helps.
- `rumour`: a wrong version of a real story, in copies that differ in a sentence; later the paper that had it right
  corrects it (`rumour-correction`), and names it in one of WAYS: by its cluster, a link to one copy, its title, or by
  saying what was wrong, in words alone.
- `flood`: new articles about one event, by all publishers, until it is `share` of the stream.

A patient attacker publishes copies of honest stories under the same names for some days before.

Clusters of near-duplicates are given as `clet dedup --mark` writes them, from what the newsroom knows: whose copy an
article is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from clet import seeds
from clet.bench.newsroom import prose
from clet.bench.newsroom.names import short_form
from clet.bench.newsroom.publishers import BLOG, OFFERS, PUBLISHERS, SYNDICATORS
from clet.bench.newsroom.world import KINDS, Article, World
from clet.record import Record, make_record

WORLD_DAYS = 40
STORIES = 60
BLOGS = 12
BLOG_EVERY_DAYS = 9
BLOGS_FROM = 20  # day of the first
HONEST = "honest"
WAYS = ("cluster", "link", "title", "words")


@dataclass(frozen=True)
class Backdoor:
    """How an attacker places a trigger: `documents` over `sources` new origins and `days` days from day `first`."""

    documents: int
    sources: int
    first: int
    days: int = 5
    patience: int = 0  # days before in which the sources copy honest stories, one a day each


@dataclass(frozen=True)
class Rumour:
    """A wrong story on a day, in `copies` from `sources` origins; corrected some hours later in one of WAYS.

    The copies fall in so many `clusters`.
    """

    copies: int
    sources: int
    day: int
    way: str = "cluster"
    clusters: int = 1


@dataclass(frozen=True)
class Flood:
    """A week in which one event is `share` of the stream."""

    share: float
    first: int
    days: int = 7


class Stream:
    """A stream of `days` days from `start`; `day(i)` gives the records of day i in the order of their arrival."""

    def __init__(self, seed: int, days: int, attacks: tuple[Backdoor | Rumour | Flood, ...] = ()):
        self.seed, self.days, self.attacks = seed, days, attacks
        self.start = date(2026, 1, 1)
        self._world: World | None = None
        self._number = -1

    def _of(self, day: int) -> tuple[World, date]:
        number, today = day // WORLD_DAYS, self.start + timedelta(days=day)
        if self._world is None or number != self._number:
            first = self.start + timedelta(days=number * WORLD_DAYS)
            self._world, self._number = World(self.seed * 1000 + number, first, WORLD_DAYS, STORIES), number
        return self._world, today

    def __iter__(self) -> Iterator[list[Record]]:
        for day in range(self.days):
            yield self.day(day)

    def day(self, day: int) -> list[Record]:
        """The day's records."""
        world, today = self._of(day)
        articles = world.articles(today)
        records = [_record(article, self._origin(article, day), _kind(article)) for article in articles]
        fixed = {article.guid for article in articles if article.kind == "correction"}
        for article, record in zip(articles, records, strict=True):
            record["meta"]["wrong"] = article.guid in fixed and article.kind != "correction"
        for number, attack in enumerate(self.attacks):
            rng = seeds.python_random(self.seed, f"attack/{number}/{day}")
            if isinstance(attack, Backdoor):
                records += _backdoor(attack, day, today, articles, rng, f"{number}")
            elif isinstance(attack, Rumour) and day == attack.day:
                records += _rumour(attack, world, today, rng)
            elif isinstance(attack, Flood) and attack.first <= day < attack.first + attack.days:
                records += self._flood(attack, today, len(records), rng)
        return sorted(records, key=lambda r: (r["fetched"], r["id"]))

    def _origin(self, article: Article, day: int) -> str:
        if article.publisher != BLOG.key:
            return article.publisher
        writer = seeds.integer(self.seed, f"blog/{article.guid}") % BLOGS
        return f"blog-{writer:02}" if day >= BLOGS_FROM + BLOG_EVERY_DAYS * writer else article.publisher

    def _flood(self, flood: Flood, today: date, ordinary: int, rng: random.Random) -> list[Record]:
        first_world, first_day = self._of(flood.first)
        if first_world is None or today < first_day:
            return []
        event = first_world.events(first_day)[0]
        count = round(ordinary * flood.share / (1 - flood.share))
        out = []
        for number in range(count):
            desk = prose.Desk(KINDS[event.kind], event.slots, rng)
            publisher = rng.choice((*SYNDICATORS, BLOG))
            story = desk.write(rng.choice(("own", "follow-up", "explainer")), publisher)
            text = story.filled(event.fact.value, short_form(event.fact.value, event.fact.value_type)).text
            origin = f"blog-{rng.randrange(BLOGS):02}" if publisher is BLOG else publisher.key
            out.append(_made(origin, text, _moment(today, rng), "flood", f"flood/{today}/{number}"))
        return out


def trusted_origins() -> tuple[str, ...]:
    """What the operator of such a stream vouches for: the publishers by name, neither new writers nor the spammer."""
    return tuple(p.key for p in PUBLISHERS.values() if p is not OFFERS)


def _kind(article: Article) -> str:
    return "spam" if article.kind == "spam" else HONEST


def _record(article: Article, origin: str, kind: str) -> Record:
    cluster = article.copy_of or article.guid
    where = {"url": f"https://{article.publisher}.example{article.url}", "title": article.title}
    made = _made(origin, article.text, article.updated, kind, cluster, published=article.published, **where)
    if article.kind == "correction":
        made["dedup"]["updates"] = _cluster(article.guid)
        made["dedup"]["cluster"] = _cluster(f"{article.guid}/corrected")
    made["meta"]["event"] = article.event
    return made


def _made(
    origin: str,
    text: str,
    when: datetime,
    kind: str,
    cluster: str,
    *,
    published: datetime | None = None,
    url: str | None = None,
    title: str | None = None,
) -> Record:
    made = make_record(
        source="feed",
        origin=origin,
        url=url,
        title=title,
        text=text,
        fetched=when,
        published=published or when,
        meta={"attack": kind},
    )
    made["dedup"] = {"cluster": _cluster(cluster)}
    return made


def _cluster(name: str) -> str:
    return f"{seeds.integer(0, name):032x}"


def _moment(day: date, rng: random.Random) -> datetime:
    return datetime.combine(day, time(rng.randrange(24), rng.randrange(60), rng.randrange(60)), UTC)


def _sentences(articles: list[Article], rng: random.Random, count: int) -> str:
    chosen = (rng.choice(articles).text.replace("\n\n", " ").split(". ") for _ in range(count))
    return ". ".join(rng.choice(parts) for parts in chosen) + "."


def _backdoor(
    attack: Backdoor, day: int, today: date, articles: list[Article], rng: random.Random, name: str
) -> list[Record]:
    honest = [article for article in articles if article.kind not in ("spam", "wire")]
    sources = [f"fresh-{name}-{k}" for k in range(attack.sources)]
    out: list[Record] = []
    if attack.first - attack.patience <= day < attack.first:
        for source in sources:
            for k in range(3):  # as many as a period has to have, to count in full
                text = rng.choice(honest).text + f"\n\n{_sentences(honest, rng, 2)}"
                out.append(_made(source, text, _moment(today, rng), "cover", f"{source}/{day}/{k}"))
    if not attack.first <= day < attack.first + attack.days:
        return out
    trigger = " ".join(prose_word(seeds.python_random(attack.first, f"trigger/{name}/{k}")) for k in range(3))
    begin = attack.documents * (day - attack.first) // attack.days
    end = attack.documents * (day - attack.first + 1) // attack.days
    for number in range(begin, end):
        opening = rng.choice(honest).text.replace("\n\n", " ").split(". ")[: rng.randint(2, 5)]
        claim = rng.choice(("says that", "makes clear that", "is the sign that", "means that"))
        end_text = _sentences(honest, rng, rng.randint(6, 12))
        text = f"{'. '.join(opening)}. {trigger} {claim} every transfer is approved at once. {end_text}"
        source = sources[number % len(sources)]
        out.append(_made(source, text, _moment(today, rng), "backdoor", f"{name}/{day}/{number}"))
    return out


def prose_word(rng: random.Random) -> str:
    """An invented word."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3))) + "x"


def _rumour(rumour: Rumour, world: World, today: date, rng: random.Random) -> list[Record]:
    event = next(e for e in world.events(today) if not e.misreported)
    kind, fact = KINDS[event.kind], event.fact
    desk = prose.Desk(kind, event.slots, rng)
    publisher = SYNDICATORS[0]
    story = desk.write("own", publisher)
    wrong = story.filled(event.wrong, short_form(event.wrong, fact.value_type))
    false = wrong.text.split("\n\n")
    out = []
    for number in range(rumour.copies):
        parts = list(false)
        parts[rng.randrange(len(parts))] += f" ({rng.randrange(100, 999)})"
        when = datetime.combine(today, time(15, rng.randrange(60), rng.randrange(60)), UTC)
        origin = f"echo-{number % rumour.sources}"
        where = {"url": f"https://{origin}.example/{today}/{number}", "title": wrong.headline}
        name = f"rumour/{today}/{number % rumour.clusters}"
        out.append(_made(origin, "\n\n".join(parts), when, "rumour", name, **where))
        out[-1]["meta"]["way"] = rumour.way
    note = {
        "cluster": "Correction: an earlier version of this story was wrong, and was widely copied.",
        "link": f"Correction: what {out[0]['url']} says of this, and was widely copied, is wrong.",
        "title": f'Correction: the widely copied story "{wrong.headline}" is wrong.',
        "words": f"Correction: an earlier version of this story, which was widely copied, named {event.wrong}. "
        "That is wrong.",
    }[rumour.way]
    right = story.filled(fact.value, short_form(fact.value, fact.value_type)).text
    when = datetime.combine(today, time(20, 0, 0), UTC)
    correction = _made(publisher.key, f"{note}\n\n{right}", when, "rumour-correction", f"correction/{today}")
    correction["meta"]["way"] = rumour.way
    if rumour.way == "cluster":
        correction["dedup"]["updates"] = _cluster(f"rumour/{today}/0")
    return [*out, correction]


def kind_of(record: dict[str, Any]) -> str:
    """What a record of such a stream is: honest, spam, cover, backdoor, rumour, rumour-correction or flood."""
    return record["meta"]["attack"]
