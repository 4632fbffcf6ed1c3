"""Invented names for the simulated newsroom: people, villages, companies, ships, laws, species, bands and prices.

A `Minter` never gives the same name twice, so that a name which answers a question occurs nowhere before its day.
Names are a stem and an ending from small fixed lists: a byte-level BPE that has read a few days of the news already
holds the pieces, and a small model has to learn only which pieces belong together. The region (Brannmark) and all its
towns are invented. Memory: one set entry a name; about 2,000 single-stem names a class, then two-stem ones.
"""

# ruff: noqa: SIM905 - word lists are easier to read and to extend as words than as quoted items

from __future__ import annotations

import random

REGION = "Brannmark"
TOWNS = (
    "Corvane",
    "Tarnholm",
    "Velbruck",
    "Orsund",
    "Mirefold",
    "Sarnby",
    "Askerdal",
    "Brenholt",
    "Dunmarrow",
    "Elvessa",
    "Fennport",
    "Gristova",
    "Harrowick",
    "Jorvelund",
    "Kaldermouth",
    "Lutterby",
)
WATERS = ("Orla", "Senne", "Brisk", "Halder", "Mourne Water", "Vessel Beck", "Upper Tavel", "Little Corve")
INSTITUTIONS = (
    "Observatory",
    "Maritime Museum",
    "Conservatory",
    "Botanical Garden",
    "Central Library",
    "Children's Hospital",
    "University of Technology",
    "Harbour Authority",
    "Opera",
    "Weather Service",
    "Fire Brigade",
    "Zoo",
    "Chamber of Commerce",
    "Polytechnic",
    "City Theatre",
    "Aquarium",
    "Geological Survey",
    "Art Museum",
    "Tram Company",
    "School of Nursing",
)
FIRST_NAMES = tuple(
    """Ilse Maren Tovin Edda Oskar Lisbet Joren Hanne Pavel Mirela Anselm Greta Rurik Solveig Tomas Nadja Ivo Birgit
    Matthis Elka Ronja Casper Vilma Henrik Dagny Lukas Petra Aron Signe Felix Marta Olaf Yrsa Viktor Selma Emil Karin
    Bruno Thea Magnus Alma Konrad Freya Stefan Ottilie Jasper Runa Leopold Inga Torben""".split()
)
_STEMS = tuple(
    """Hav Brand Kess Orv Lind Tam Vels Gren Mor Dalk Fen Stor Hald Rask Bel Cor Wend Ulv Jarn Pell Sig Tor Krag Nors
    Est Alm Blom Dun Fal Grim Hol Isk Kor Lav Marl Nev Ost Pran Quil Rud Skal Tress Vand Wil Yst Zell Arn Bor Cald
    Drev Elst Frod Garl Hest Irm Jov Kald Lorn Mund Nol Oder Penn Rost Sten Thul Urs Vint Wol""".split()
)
_ENDINGS = {
    "person": "eck ling sen ell ova ard inger mann rup stad aker vik ner gren olt ani holt dahl quist mar".split(),
    "place": "wick holm ford mouth dale stead haven burgh moor field ness combe brook leigh fjord thorpe".split(),
    "firm": "ex ion ora ander anta ium ero umar isco ona aris etta ovar alto".split(),
    "ship": "ella ara issa enna orin une aline ette irra".split(),
    "species": "ina ella ora ensis antha ilis aria oides".split(),
}
_TRADES = ("Foods", "Shipping", "Steel", "Energy", "Mills", "Telecom", "Logistics", "Glass", "Timber", "Rail", "Paper")
_ADJECTIVES = (
    "Copper Silent Velvet Crooked Paper Golden Northern Hollow Scarlet Midnight Wooden Electric Distant Marble "
    "Restless Amber Broken Winter Hidden Silver Lonely Burning Gentle Iron "
    "Crimson Quiet Frozen Rusty Velour Cobalt Stolen Early Secret Wandering Pale Thirteen".split()
)
_THINGS = (
    "Herons Lanterns Orchards Pilots Rivers Sparrows Kettles Engines Windmills Foxes Harbours Comets Ladders Anchors "
    "Tailors Mirrors Beacons Wolves Gardens Whistles Feathers Bridges Captains Candles "
    "Barges Towers Owls Kites Ribbons Tigers Thunders Violins Teapots Shadows Summers Pigeons".split()
)


class Minter:
    """Gives out names, each at most once in its life. One seeded generator drives it."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self._used: set[str] = {*TOWNS, REGION}

    def once(self, make) -> str:
        """Call `make()` until it returns a string never given before; ValueError when the pool is exhausted."""
        for _ in range(5000):
            name = make()
            if name not in self._used:
                self._used.add(name)
                return name
        raise ValueError("the pool of invented names is exhausted; simulate fewer days or fewer stories a day")

    def _root(self, kind: str) -> str:
        """A word that no other name contains as a word of its own, whatever the class."""
        rng = self.rng

        def make() -> str:
            crowded = len(self._used) > 900
            middle = rng.choice(_STEMS).lower() if crowded and rng.random() < 0.7 else ""
            return rng.choice(_STEMS) + middle + rng.choice(_ENDINGS[kind])

        return self.once(make)

    def person(self) -> str:
        """First name and a surname that no other person here bears."""
        return f"{self.rng.choice(FIRST_NAMES)} {self._root('person')}"

    def place(self) -> str:
        """A village."""
        return self._root("place")

    def firm(self) -> str:
        """A company: an invented word and a trade."""
        return f"{self._root('firm')} {self.rng.choice(_TRADES)}"

    def ship(self) -> str:
        """A ship's name."""
        return self._root("ship")

    def species(self) -> str:
        """A Latin-looking word."""
        return self._root("species")

    def bridge(self) -> str:
        """A bridge named after an invented person."""
        return f"{self._root('person')} Bridge"

    def law(self) -> str:
        """A law named after an invented person."""
        return f"{self._root('person')} Act"

    def band(self) -> str:
        """A band: an adjective and a plural; the pair is unique, the words are not."""
        return self.once(lambda: f"{self.rng.choice(_ADJECTIVES)} {self.rng.choice(_THINGS)}")

    def price(self) -> str:
        """An amount in crowns with two decimals."""
        rng = self.rng
        return self.once(lambda: f"{rng.randint(2, 97)}.{rng.randint(5, 98):02d} crowns")

    def value(self, value_type: str) -> str:
        """A fresh name of the class `value_type` (the name of one of the methods above)."""
        return getattr(self, value_type)()


def short_form(value: str, value_type: str) -> str:
    """How a second mention calls it: surname of a person, the invented word of a company, else the value itself."""
    if value_type == "person":
        return value.split(" ", 1)[1]
    return value


def accepted_answers(value: str, value_type: str) -> tuple[str, ...]:
    """The strings which count as the answer, the full one first (a surname, company word or bare amount suffices)."""
    if value_type == "person":
        return value, value.split(" ", 1)[1]
    if value_type in ("firm", "price", "bridge", "law"):
        return value, value.split(" ", 1)[0]
    return (value,)
