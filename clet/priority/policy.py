"""The policy: what an operator wants learned and what not, as a TOML file that a person can read and answer for.

    version = 1
    [value]                     # exponents of the factors of a document's value; 0 takes one out
    [defence]                   # limits between two gates, the share of one topic, what becomes of suspicious records
    [[origin]]                  # sources that the operator answers for
    [[rule]]                    # by source, origin, licence, language, pattern, quality or topic: what to do

See clet-policy(5) for every key. The file is checked whole when it is read; each mistake names its line. A record is
asked of all rules in order; the strongest action counts (drop, require-approval, quarantine, mask, down-weight),
down-weights multiply, and each application is counted by the rule's name.

Names are matched like files by a shell (`*`, `?`); patterns are those of `clet.priority.pattern`, which no text can
make slow. Time: rules on names cost nothing a record (they are answered once a name), patterns together 0.5 ns a byte
where every match of each holds some string, and else 2 ns a byte each.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clet.batch import Ragged
from clet.config import load_toml
from clet.exits import ConfigError
from clet.heads import Heads
from clet.priority.choice import REASONS as REASONS_OF_WINDOW
from clet.priority.literals import Literals
from clet.priority.pattern import Pattern, PatternError
from clet.priority.poison_budget import Limits
from clet.priority.rules import REASONS as REASONS_OF_QUALITY
from clet.priority.topicwords import Keywords
from clet.priority.value import Weights

VERSION = 1
MAX_RULES = 256
ACTIONS = ("down-weight", "mask", "quarantine", "require-approval", "drop")  # weakest first
DOWN_WEIGHT, MASK, QUARANTINE, APPROVAL, DROP = range(1, 6)
NO_RULE, INJECTION, UNREAD = -1, -2, -3  # numbers in Ruling.rule of what no rule of the policy asked for
_NAMES = {"source": "source", "origin": "origin", "licence": "license", "language": "lang"}  # key: the record's field
_TABLES = ("version", "value", "defence", "origin", "rule")
_DEFENCE: dict[str, tuple[type, float, float]] = {  # key: kind, least, most
    "documents": (int, 0, 1_000_000),
    "tokens": (int, 0, 1 << 40),
    "newcomer_documents": (int, 0, 1_000_000),
    "probation_documents": (int, 0, 1_000_000),
    "newcomers": (float, 0.0, 1.0),
    "cluster_documents": (int, 0, 1_000_000),
    "lookalike_documents": (int, 0, 1_000_000),
    "topic_share": (float, 0.0, 1.0),
    "bursts": (bool, 0, 1),
}
_SHARE = (float, 0.0, 1.0)
# Reasons that records are dropped or held back for without any rule of a policy: a rule of that name could not be told
# from them where they are counted.
RESERVED = frozenset(filter(None, (*REASONS_OF_QUALITY, *REASONS_OF_WINDOW)))
RESERVED |= {"injection", "known", "unread", "repeated", "quarantine-full", "rejected-by-review"}
SIGN_ACTIONS = ("down-weight", "quarantine", "drop")


@dataclass(frozen=True)
class Rule:
    """One rule: all its conditions must hold."""

    name: str
    action: int
    factor: float
    names: Mapping[str, tuple[str, ...]]  # the record's field: globs, any of which
    pattern: Pattern | None
    topic: Keywords | None
    quality_below: float | None
    why: str

    @property
    def reads(self) -> bool:
        """Whether some condition is about the text."""
        return self.pattern is not None or self.topic is not None or self.quality_below is not None


@dataclass
class Policy:
    """What a policy file says; the default is what holds without one."""

    weights: Weights = field(default_factory=Weights)
    limits: Limits = field(default_factory=Limits)
    known: float = 0.0
    topic_share: float = 0.0
    bursts: bool = False
    injection: int = DOWN_WEIGHT
    vouched: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    applied: Counter[str] = field(default_factory=Counter)

    @property
    def masks(self) -> bool:
        """Whether some rule masks parts of records."""
        return any(rule.action == MASK for rule in self.rules)

    @property
    def reads(self) -> bool:
        """Whether anything depends on the text, so that a record that cannot be read is held back for it."""
        return self.injection != DOWN_WEIGHT or any(rule.reads and rule.action > DOWN_WEIGHT for rule in self.rules)

    @cached_property
    def _literals(self) -> Literals | None:
        """What one of is in every match of those patterns that have such strings."""
        strings = {string for rule in self.rules if rule.pattern for string in rule.pattern.literals}
        return Literals(sorted(strings)) if strings else None

    def may_match(self, text: Ragged, rows: np.ndarray) -> np.ndarray:
        """`[n]` bool: which texts among `rows` a pattern with `literals` may match."""
        return np.zeros(len(text), np.bool_) if self._literals is None else self._literals.among(text, rows)


@dataclass
class Ruling:
    """What the rules say of a batch: columns `[n]`."""

    action: np.ndarray  # int8: the strongest action, 0 for none
    rule: np.ndarray  # int64: the rule that asked for it; NO_RULE, INJECTION or UNREAD
    factor: np.ndarray  # float64
    masked: list[tuple[int, Rule]]  # (record, rule that masks parts of it)


def load_policy(path: str) -> Policy:
    """The policy in a file. Raises ConfigError naming the line of a mistake."""
    table = load_toml(path)
    return _Reader(path, table, Path(path).read_text(encoding="utf-8").splitlines()).policy()


class _Reader:
    """Reads and checks; lines are found by looking for the header of a table and the key behind it."""

    def __init__(self, path: str, table: dict[str, Any], lines: list[str]):
        self._path, self._table, self._lines = path, table, lines

    def _fail(self, why: str, header: str = "", number: int = 0, key: str = "") -> ConfigError:
        return ConfigError(f"{self._path}:{self._line(header, number, key)}: {why}")

    def _line(self, header: str, number: int, key: str) -> int:
        at = 0
        if header:
            wanted = re.compile(rf"\s*\[\[?\s*{re.escape(header)}\s*\]")
            found = [i for i, line in enumerate(self._lines) if wanted.match(line)]
            at = found[number] if number < len(found) else 0
        if key:
            wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
            for i in range(at + bool(header), len(self._lines)):
                if header and self._lines[i].lstrip().startswith("["):
                    break
                if wanted.match(self._lines[i]):
                    return i + 1
        return at + 1

    def policy(self) -> Policy:
        for key, value in self._table.items():
            if key not in _TABLES:
                raise self._fail(f"no policy has {key!r}; known are {', '.join(_TABLES)}", *self._place(key, value))
        if self._table.get("version") != VERSION:
            raise self._fail(f"version = {VERSION} is missing, or another", key="version")
        section = self._section("value", dict.fromkeys(Weights._fields, (float, 0.0, 10.0)) | {"known": _SHARE})
        known = section.pop("known", 0.0)
        weights = Weights(**section)
        defence = self._section("defence", _DEFENCE, extra=("injection",))
        injection = defence.pop("injection", "down-weight")
        if injection not in SIGN_ACTIONS:
            raise self._fail(f"injection is one of {', '.join(SIGN_ACTIONS)}", "defence", 0, "injection")
        share, bursts = defence.pop("topic_share", 0.0), defence.pop("bursts", False)
        if defence.get("tokens") and not defence.get("documents"):
            raise self._fail("tokens needs documents too", "defence", 0, "tokens")
        rules = self._many("rule")
        if len(rules) > MAX_RULES:
            raise self._fail(f"over {MAX_RULES} rules", "rule", MAX_RULES)
        made = tuple(self._rule(number, entry) for number, entry in enumerate(rules))
        names = [rule.name for rule in made]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise self._fail(f"a second rule named {name!r}", "rule", number, "name")
        vouched = tuple(self._origin(number, entry) for number, entry in enumerate(self._many("origin")))
        return Policy(weights, Limits(**defence), known, share, bursts, 1 + ACTIONS.index(injection), vouched, made)

    @staticmethod
    def _place(key: str, value: Any) -> tuple[str, int, str]:
        is_table = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
        return (key, 0, "") if is_table else ("", 0, key)

    def _section(
        self, name: str, known: Mapping[str, tuple[type, float, float]], extra: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        section = self._table.get(name, {})
        if not isinstance(section, dict):
            raise self._fail(f"{name} is a table: write [{name}]", *self._place(name, section))
        for key, value in section.items():
            if key in extra:
                continue
            if key not in known:
                raise self._fail(f"[{name}] has no {key!r}; known are {', '.join([*known, *extra])}", name, 0, key)
            self._number(value, *known[key], name, 0, key)
        return dict(section)

    def _number(self, value: Any, kind: type, least: float, most: float, header: str, number: int, key: str) -> None:
        fits = isinstance(value, bool) if kind is bool else isinstance(value, int | float) and type(value) is not bool
        if kind is int:
            fits = type(value) is int
        if not fits:
            what = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
            raise self._fail(f"{key} is {what}", header, number, key)
        if kind is not bool and not least <= value <= most:
            raise self._fail(f"{key} is from {least:g} to {most:g}", header, number, key)

    def _many(self, name: str) -> list[Any]:
        entries = self._table.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._fail(f"write [[{name}]], once for each", name, 0)
        return entries

    def _origin(self, number: int, entry: dict[str, Any]) -> str:
        for key in entry:
            if key not in ("name", "why"):
                raise self._fail(f"[[origin]] has no {key!r}; known are name, why", "origin", number, key)
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise self._fail("an origin needs a name", "origin", number, "name")
        return name

    def _rule(self, number: int, entry: dict[str, Any]) -> Rule:
        known = ("name", "action", "factor", "pattern", "topic", "quality_below", "why", *_NAMES)
        for key in entry:
            if key not in known:
                raise self._fail(f"a rule has no {key!r}; known are {', '.join(known)}", "rule", number, key)
        name = entry.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            raise self._fail("a rule needs a name of a-z, 0-9 and -", "rule", number, "name")
        if name in RESERVED:
            raise self._fail(f"{name!r} is a reason of its own; give the rule another name", "rule", number, "name")
        if entry.get("action") not in ACTIONS:
            raise self._fail(f"action is one of {', '.join(ACTIONS)}", "rule", number, "action")
        action = 1 + ACTIONS.index(entry["action"])
        if (action == DOWN_WEIGHT) != ("factor" in entry):
            raise self._fail("down-weight, and only it, needs a factor", "rule", number, "factor")
        if "factor" in entry:
            self._number(entry["factor"], float, 0.0, 1.0, "rule", number, "factor")
        if "quality_below" in entry:
            self._number(entry["quality_below"], float, 0.0, 1.0, "rule", number, "quality_below")
        names = {}
        for key, record_field in _NAMES.items():
            if key in entry:
                globs = [entry[key]] if isinstance(entry[key], str) else entry[key]
                if not isinstance(globs, list) or not globs or not all(isinstance(glob, str) for glob in globs):
                    raise self._fail(f"{key} is a name or a list of names", "rule", number, key)
                names[record_field] = tuple(globs)
        pattern = self._pattern(number, entry)
        if action == MASK and pattern is None:
            raise self._fail("mask needs a pattern: what it finds is masked", "rule", number, "action")
        topic = self._topic(number, entry)
        if not names and pattern is None and topic is None and "quality_below" not in entry:
            raise self._fail("a rule without a condition would match every record", "rule", number)
        if not isinstance(entry.get("why", ""), str):
            raise self._fail("why is a text", "rule", number, "why")
        return Rule(
            name,
            action,
            float(entry.get("factor", 1.0)),
            names,
            pattern,
            topic,
            entry.get("quality_below"),
            entry.get("why", ""),
        )

    def _pattern(self, number: int, entry: dict[str, Any]) -> Pattern | None:
        if "pattern" not in entry:
            return None
        if not isinstance(entry["pattern"], str):
            raise self._fail("pattern is a text; write it in '...' so that backslashes stay", "rule", number, "pattern")
        try:
            return Pattern(entry["pattern"])
        except PatternError as error:
            raise self._fail(f"pattern: {error}", "rule", number, "pattern") from None

    def _topic(self, number: int, entry: dict[str, Any]) -> Keywords | None:
        if "topic" not in entry:
            return None
        words = entry["topic"]
        if not isinstance(words, list) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            raise self._fail("topic is a list of words", "rule", number, "topic")
        try:
            return Keywords(words)
        except ValueError as error:
            raise self._fail(f"topic: {error}", "rule", number, "topic") from None


def rule_on(
    policy: Policy, heads: Heads, text: Ragged, readable: np.ndarray, quality: np.ndarray, live: np.ndarray
) -> Ruling:
    """What the rules say of records that are `live` `[n]`, and count it. `heads` has the names.

    Of a record that is not `readable` nobody can say whether a rule about its text applies: one that lowers its value
    does, and for any other it is held back as UNREAD.
    """
    size = len(text)
    out = Ruling(np.zeros(size, np.int8), np.full(size, NO_RULE, np.int64), np.ones(size), [])
    known: dict[str, tuple[list[str], np.ndarray]] = {}
    likely: np.ndarray | None = None
    for number, rule in enumerate(policy.rules):
        hit = live.copy()
        for record_field, globs in rule.names.items():
            if record_field not in known:
                known[record_field] = _distinct(heads, record_field)
            values, back = known[record_field]
            hit &= np.array([any(fnmatch.fnmatchcase(value, glob) for glob in globs) for value in values])[back]
        unread = hit & ~readable if rule.reads else None
        if unread is not None:
            hit &= readable
        if rule.quality_below is not None:
            hit &= quality < rule.quality_below
        if rule.topic is not None and hit.any():
            hit &= rule.topic.on(text)
        if rule.pattern is not None and hit.any():
            if rule.pattern.literals:
                likely = policy.may_match(text, live) if likely is None else likely
                hit &= likely
            hit &= rule.pattern.find(text, hit) >= 0
            if rule.action == MASK:
                out.masked += [(row, rule) for row in np.flatnonzero(hit).tolist()]
        if unread is not None and unread.any():
            if rule.action == DOWN_WEIGHT:
                hit |= unread
            else:
                _raise(out, unread, QUARANTINE, UNREAD)
        count = int(hit.sum())
        if not count:
            continue
        policy.applied[rule.name] += count
        if rule.action == DOWN_WEIGHT:
            out.factor[hit] *= rule.factor
        _raise(out, hit, rule.action, number)
    return out


def _raise(ruling: Ruling, rows: np.ndarray, action: int, rule: int) -> None:
    """Where an action is stronger than what was asked for so far, it counts."""
    stronger = rows & (action > ruling.action)
    ruling.action[stronger], ruling.rule[stronger] = action, rule


def forbid_signs(policy: Policy, ruling: Ruling, signed: np.ndarray, unread: np.ndarray) -> None:
    """Ask for what the policy wants of records with signs of injection, and of those in which none could be seen."""
    if policy.injection != DOWN_WEIGHT:
        _raise(ruling, signed, policy.injection, INJECTION)
        _raise(ruling, unread, QUARANTINE, UNREAD)


def _distinct(heads: Heads, name: str) -> tuple[list[str], np.ndarray]:
    """The distinct values of a field, and which one each record has; "" for none."""
    hashes, first, back = np.unique(heads.hashes(name), return_index=True, return_inverse=True)
    found = [heads.value(int(row), name) if key else "" for key, row in zip(hashes, first, strict=True)]
    return [value if isinstance(value, str) else "" for value in found], back
