"""The stream of a prioritisation: records in, those worth learning out, best first, within budgets.

Each batch becomes columns once (`facts`), is judged by the rules of quality, looked at for signs of injection, asked
of the policy, and passed over by one sequential kernel that knows what came before (`assess`). What is left gets a
value (`value`) and waits in the window, where shares and budgets decide who leaves. What passes has `"priority":
{"score", "quality", "credibility", "novelty", "recency", "bits", "topic", "rank"}`, where `rank` counts what left
before it, and whatever else moved it: every factor of the score that is not 1, what waiting was worth, whether it
stepped aside; what was dropped has the same without a rank, or `{"rule", "value"}` with the value that broke a rule.

The result depends on the sequence of records alone, not on how they were cut into batches.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from clet.batch import Batch, Ragged
from clet.heads import Heads
from clet.log import log
from clet.notes import NONE, Field, fixed, noted, whole, without, words
from clet.priority.assess import Findings, Memory, assess, new_findings, new_memory
from clet.priority.choice import BURST, REASONS, SUSPICIOUS, Rules
from clet.priority.correction import Corrections
from clet.priority.curriculum import ease, staged
from clet.priority.facts import FIELDS, Facts, facts_of
from clet.priority.flood import new_flow
from clet.priority.injection import SIGNS, corrects, injected
from clet.priority.masking import Masker
from clet.priority.mixture import Mixture
from clet.priority.notices import title_keys
from clet.priority.novelty import new_scale, note_density, novelty
from clet.priority.origins import CAPACITY, Origins
from clet.priority.poison_budget import Ledger, new_ledger
from clet.priority.policy import (
    APPROVAL,
    DOWN_WEIGHT,
    INJECTION,
    QUARANTINE,
    UNREAD,
    Policy,
    Ruling,
    forbid_signs,
    rule_on,
)
from clet.priority.quality import NEUTRAL, QualityTables
from clet.priority.readable import Reader
from clet.priority.recency import HALF_LIFE_DAYS, Clock, day_text
from clet.priority.routing import Router
from clet.priority.rules import REASONS as REASONS_OF_QUALITY
from clet.priority.share import Account
from clet.priority.synthetic import weight
from clet.priority.value import SIGNS_FACTOR, value
from clet.priority.window import HELD, MAX_BYTES, MAX_RECORDS, Departure, Window, sizes_of

NOTE = "priority"
_WITHOUT_RULE = {INJECTION: "injection", UNREAD: "unread"}  # reasons of the policy that are no rule's name
KNOWN = "known"  # why what the model of novelty knows already is dropped
SETTLED = 1e12  # tokens known, for a model that was trained before
# Rules of quality whose breach speaks against an origin.
SPAM_RULES = ("placeholder", "links", "repetition", "stuffing")
_SPAM = [REASONS_OF_QUALITY.index(name) for name in SPAM_RULES]
_SIGN_WORDS = ["+".join(SIGNS[k] for k in range(len(SIGNS)) if bits >> k & 1) for bits in range(1 << len(SIGNS))]

AGED_LEAST = 0.00005  # of what waiting was worth that is said: with four decimals, less is nothing

MAX_RECENT = 1 << 16
RECENT = np.dtype([("low", "u8"), ("high", "u8"), ("origin", "i4")])

Keep = Callable[[Batch, list[str]], None]  # (records with their notes, a reason for each)
Hold = Callable[[Batch, list[str]], list[str]]  # the same
Loss = Callable[[Batch], np.ndarray]  # bits a token `[n]` that are left to learn in each record, by a model
Explain = Callable[[Batch, list[str | None]], None]  # the same; None where it was kept


@dataclass
class Ways:
    """Where records go, and what else is told. `quarantine` is None where there is none: they are dropped then; else
    it says what became of each record.

    `count` is given where nobody wants to see what is rejected: it is told why and how many, and no record is made.
    """

    reject: Keep
    quarantine: Hold | None = None
    explain: Explain | None = None
    count: Callable[[str, int], None] | None = None


@dataclass
class Settings:
    """How to prioritise."""

    half_life_days: float = HALF_LIFE_DAYS
    daily: bool = False  # the account is one of the clock's day instead of the run
    max_records: int = MAX_RECORDS
    max_bytes: int = MAX_BYTES
    stage: float = 0.0  # of the curriculum: 1 ranks by ease alone, 0 by value alone


@dataclass
class Knowledge:
    """What is known from before, and is kept after: all of a state but the account and the clock."""

    origins: Origins = field(default_factory=Origins)
    memory: Memory = field(default_factory=lambda: new_memory(CAPACITY))
    ledger: Ledger = field(default_factory=lambda: new_ledger(CAPACITY))
    flow: np.ndarray = field(default_factory=new_flow)
    mixture: Mixture = field(default_factory=Mixture)
    excess: np.ndarray = field(default_factory=new_scale)  # of the loss of a model, where one was given
    recent: np.ndarray = field(default_factory=lambda: np.zeros(MAX_RECENT, RECENT))  # what passed last, as a ring
    passed: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))  # documents, ever


@dataclass
class Seen:
    """What can be said of each record of a batch alone: columns `[n]`."""

    quality: np.ndarray  # float64
    broken: np.ndarray  # int16: number of the rule of quality that it broke, 0 for none
    amounts: np.ndarray  # float64: the value that broke it
    signs: np.ndarray  # uint8: bits of injection.SIGNS
    ruling: Ruling
    classifier: np.ndarray  # float32: probability of being good, which the quality includes; NaN without one
    synthetic: np.ndarray  # float64: the weight of what may be machine-written
    spam: np.ndarray  # bool: it speaks against its origin
    out: np.ndarray  # bool: it does not reach the window
    approved: np.ndarray  # bool: a person let it pass
    correction: np.ndarray  # bool: it corrects something


class Prioritizer:
    """One run. `run` is to be exhausted; then what was learned is in the objects that were given."""

    def __init__(
        self,
        account: Account,
        clock: Clock,
        ways: Ways,
        *,
        policy: Policy | None = None,
        knowledge: Knowledge | None = None,
        settings: Settings | None = None,
        approved: frozenset[str] = frozenset(),
        router: Router | None = None,
        loss: Loss | None = None,
        masker: Masker | None = None,
        quality: QualityTables | None = None,
    ):
        self._warned = False
        self.policy, self.known, self.settings = policy or Policy(), knowledge or Knowledge(), settings or Settings()
        account.origins = self.known.origins
        self._account, self._clock, self._ways = account, clock, ways
        self._approved, self._router, self._loss = approved, router, loss
        self._mixed = np.ones(0)  # factor of each origin
        self._rank = self._read = 0
        rules = Rules(self.policy.limits, self.policy.topic_share, self.policy.bursts)
        known = self.known
        self._corrections = Corrections(known.memory)
        self._window = Window(
            account,
            self._dropped_by_window,
            self._only_counted,
            known.memory,
            known.ledger,
            rules,
            known.flow,
            self._corrections,
            max_records=self.settings.max_records,
            max_bytes=self.settings.max_bytes,
        )
        self._masker, self._quality = masker, quality or QualityTables.of()
        self._reader = Reader(self._quality.table)
        self._vouched = 0  # origins that were compared with the names that the policy vouches for

    def run(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Batches in order of priority."""
        if self._router:
            self._account.room = self._router.fleet.tokens
        for batch in batches:
            for part in self._reader.parts(batch):
                for departure in self._take(part):
                    yield self._note(departure)
        self._plan(anew=False)
        for departure in self._window.drain():
            yield self._note(departure)

    # ---- in

    def _take(self, batch: Batch) -> Iterator[Departure]:
        heads = Heads.of(batch.head, FIELDS)
        if heads.has(NOTE).any():
            batch = without(batch, heads, NOTE)
            heads = Heads.of(batch.head, FIELDS)
        text, readable = self._reader.text(batch)
        seen = self._look(batch, heads, text, readable)
        facts = facts_of(batch, heads, self.known.origins, self._clock, self.settings.half_life_days, ~seen.out)
        self._vouch()
        if seen.ruling.masked and self._masker is not None:
            batch = self._masker.apply(batch, text, seen.ruling.masked)
        found = new_findings(len(batch))
        live = ~seen.out
        sizes = sizes_of(batch)
        urls, titles = heads.hashes("url"), title_keys(heads)
        begin = 0
        while begin < len(batch):
            # A piece ends where something leaves the window or a day begins, so that no record is judged, nor leaves,
            # by what comes behind it, however the stream was cut into batches.
            rows = begin + np.flatnonzero(live[begin:])
            room = self._window.room(sizes[rows])
            end = len(batch) if room > len(rows) else int(rows[room - 1]) + 1
            if self.settings.daily:
                yield from self._turn(facts.nows[begin])
                end = min(end, begin + _same_day(facts.days[begin:end]))
            self._plan(anew=False)
            self._assess(facts, seen, found, begin, end)
            self._corrections.see(int(facts.days[end - 1]))
            corrections = begin + np.flatnonzero(seen.correction[begin:end] & live[begin:end])
            self._corrections.note(batch, heads, facts, corrections, self._read)
            rows = rows[rows < end]
            if self._loss is not None and len(rows):
                self._measure(batch, found, rows)
            alarm = found.alarm[rows] & self.policy.bursts & ~seen.approved[rows]
            self._leave_out(batch, facts, found, seen, np.flatnonzero(seen.out[begin:end]) + begin, "")
            self._leave_out(batch, facts, found, seen, rows[alarm], REASONS[BURST])
            rows = rows[~alarm]
            dull = (found.novelty[rows] < self.policy.known) & ~seen.approved[rows]
            self._leave_out(batch, facts, found, seen, rows[dull], KNOWN)
            rows = rows[~dull]
            if len(rows):
                held = self._held(facts, found, seen, sizes, rows)
                held["number"] = self._read + rows
                held["url"], held["title"] = urls[rows], titles[rows]
                yield from self._window.push(batch.take(rows), held)
            begin = end
        self._read += len(batch)

    def _vouch(self) -> None:
        """Mark new origins that the policy vouches for."""
        origins, vouched = self.known.origins, self.known.memory.reputation.vouched
        for number in range(self._vouched, len(origins)):
            name = origins.names[number]
            vouched[number] = any(fnmatch.fnmatchcase(name, glob) for glob in self.policy.vouched)
        self._vouched = len(origins)

    def _turn(self, now: int) -> Iterator[Departure]:
        """Let a new day begin, if it does: what is left of the budget of the old one is spent on what waits."""
        day = day_text(int(now))
        if self._account.ends_before(day):
            yield from self._window.settle()
        if day is not None and day != self._account.day:
            self._account.turn(day)
            self._plan(anew=True)

    def _plan(self, *, anew: bool) -> None:
        """Let the fleet plan for what is left of the budget: `anew`, or where it has no plan."""
        if self._router and (anew or not self._router.planned):
            self._router.begin(int(self._account.remaining))

    def _look(self, batch: Batch, heads: Heads, text: Ragged, readable: np.ndarray) -> Seen:
        """What can be said of each record alone, by its text where that could be read."""
        approved = np.zeros(len(batch), np.bool_)
        if self._approved:
            known = [heads.value(row, "id") in self._approved for row in range(len(batch))]
            approved = np.array(known, np.bool_)
        verdicts = self._quality.judge(batch)
        if not self._warned and not readable.all():
            self._warned = True
            held = "; what the policy asks of texts holds them back" if self.policy.reads else ""
            log.warn(f"records without text are not judged (give --tokenizer), nor searched for instructions{held}")
        quality, broken, amounts = np.round(verdicts.score.astype(np.float64), 4), verdicts.rule, verdicts.value
        quality[approved & (broken > 0)] = NEUTRAL
        broken[approved] = 0
        signs = injected(text)
        signs[approved] = 0
        live = (broken == 0) & ~approved
        ruling = rule_on(self.policy, heads, text, readable, quality, live)
        synthetic = np.ones(len(batch))
        if self._quality.synthetic is not None:
            synthetic = weight(verdicts.synthetic.astype(np.float64), self._quality.synthetic.threshold)
        if self.policy.injection == DOWN_WEIGHT:
            ruling.factor[signs > 0] *= SIGNS_FACTOR
        forbid_signs(self.policy, ruling, live & (signs > 0), live & ~readable)
        spam = np.isin(broken, _SPAM) | (signs > 0)
        out = (broken > 0) | (ruling.action >= QUARANTINE)
        correction, good = corrects(text), verdicts.good
        return Seen(quality, broken, amounts, signs, ruling, good, synthetic, spam, out, approved, correction)

    def _assess(self, facts: Facts, seen: Seen, found: Findings, begin: int, end: int) -> None:
        ids = facts.ids
        columns = facts.days, facts.origins, facts.families, seen.out, seen.spam, seen.correction, facts.old
        assess(self.known.memory, ids.values, ids.offsets, begin, end, *columns, found)

    def _measure(self, batch: Batch, found: Findings, rows: np.ndarray) -> None:
        """Let a model's loss decide about novelty instead of the n-gram model."""
        scale = self.known.excess
        found.bits[rows] = self._loss(batch.take(rows))
        for row in rows.tolist():
            found.novelty[row] = novelty(scale, found.bits[row], SETTLED)
            note_density(scale, found.bits[row])

    def _mix(self, origins: np.ndarray) -> np.ndarray:
        """The factor of each record's origin in the mixture."""
        names, mixture = self.known.origins.names, self.known.mixture
        if not mixture.gains:
            return np.ones(len(origins))
        if len(self._mixed) <= len(names):  # one more than names: the place that all others share
            factors = [mixture.factor(name) for name in names]
            self._mixed = np.array([*factors, *[mixture.factor("")] * (CAPACITY - len(factors))])
        return self._mixed[origins]

    def _held(self, facts: Facts, found: Findings, seen: Seen, sizes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The window's rows of records."""
        held = np.zeros(len(rows), HELD)
        for name, column in (
            ("tokens", facts.tokens),
            ("size", sizes),
            ("topic", found.topic),
            ("phrase", found.phrase),
            ("family", facts.families),
            ("keys", found.keys),
            ("origin", facts.origins),
            ("tag", found.tag),
            ("quality", seen.quality),
            ("credibility", found.credibility),
            ("novelty", found.novelty),
            ("recency", facts.recency),
            ("bits", found.bits),
            ("undated", facts.undated),
            ("factor", seen.ruling.factor),
            ("signs", seen.signs),
            ("classifier", seen.classifier),
            ("synthetic", seen.synthetic),
            ("correction", seen.correction),
            ("approved", seen.approved),
        ):
            held[name] = column[rows]
        parts = (held[name].astype(np.float64) for name in ("quality", "credibility", "novelty", "recency", "factor"))
        held["mixture"] = self._mix(held["origin"])
        worth = value(self.policy.weights, *parts) * seen.synthetic[rows] * held["mixture"].astype(np.float64)
        worth = np.round(np.minimum(1.0, worth), 4)
        stage = self.settings.stage
        if stage:
            _, mean, square = self.known.memory.scale
            held["ease"] = ease(found.bits[rows], mean, square**0.5)
            worth = staged(worth, held["ease"].astype(np.float64), stage)
        held["score"] = worth
        return held

    # ---- out

    def _note(self, departure: Departure) -> Batch:
        held = departure.held
        ranks = self._rank + 1 + np.arange(len(held))
        self._rank += len(held)
        self._remember(departure)
        lanes = []
        if self._router:
            numbers = self._router.route(held["bits"].astype(np.float64), held["tokens"])
            lanes = [words("lane", numbers, self._router.names)]
        batch = noted(departure.batch, NOTE, [*self._value_fields(held), whole("rank", ranks), *lanes])
        if self._ways.explain:
            self._ways.explain(batch, [None] * len(batch))
        return batch

    def _remember(self, departure: Departure) -> None:
        """Note ids and origins of what passes, for verdicts to come."""
        ids = Heads.of(departure.batch.head, ("id",)).ids.view("<u8")
        known, size = self.known, len(ids)
        entries = np.zeros(size, RECENT)
        entries["low"], entries["high"], entries["origin"] = ids[:, 0], ids[:, 1], departure.held["origin"]
        places = (known.passed[0] + np.arange(size)) % MAX_RECENT
        known.recent[places] = entries
        known.passed[0] += size

    def _only_counted(self, reason: str, held: np.ndarray) -> bool:
        """Count records that nobody wants to see; False where somebody does."""
        kept = self._ways.quarantine and (reason in SUSPICIOUS or held["approved"].any())
        if self._ways.count is None or self._ways.explain or kept:
            return False
        self._ways.count(reason, len(held))
        return True

    def _value_fields(self, held: np.ndarray) -> list[Field]:
        """What made the value and the place, as fields of the note."""
        fields = [fixed("score", held["score"])]
        fields += [fixed(name, held[name]) for name in ("quality", "credibility", "novelty", "recency", "bits")]
        for name, neutral in (("factor", 1.0), ("classifier", np.nan), ("synthetic", 1.0), ("mixture", 1.0)):
            fields.append(fixed(name, np.where(held[name] == neutral, np.nan, held[name])))
        if self.settings.stage:
            fields += [fixed("ease", held["ease"]), fixed("warmup", np.full(len(held), self.settings.stage))]
        fields.append(whole("topic", np.where(held["topic"] < 0, NONE, held["topic"])))
        if held["signs"].any():
            fields.append(words("signs", np.where(held["signs"] == 0, NONE, held["signs"]), _SIGN_WORDS))
        for name in ("undated", "correction", "corrected", "approved", "aside"):
            if held[name].any():
                fields.append(whole(name, np.where(held[name] == 0, NONE, 1)))
        aged = held["aged"].astype(np.float64)
        fields.append(fixed("aged", np.where(aged < AGED_LEAST, np.nan, aged)))
        return fields

    def _dropped_by_window(self, batch: Batch, held: np.ndarray, reason: str) -> None:
        """What a person approved goes back to where it came from."""
        told = noted(batch, NOTE, self._value_fields(held))
        held_back = (held["approved"] > 0) | (reason in SUSPICIOUS)
        for each in (False, True):
            rows = np.flatnonzero(held_back == each)
            if len(rows):
                self._drop(told.take(rows), [reason] * len(rows), each)

    def _leave_out(
        self, batch: Batch, facts: Facts, found: Findings, seen: Seen, rows: np.ndarray, reason: str
    ) -> None:
        """Drop records of a batch before they reach the window: for `reason`, or for what was seen in each alone."""
        if not len(rows):
            return
        ruling, policy = seen.ruling, self.policy
        reasons = [reason] * len(rows) if reason else [_reason(seen, policy, row) for row in rows.tolist()]
        suspicious = (ruling.action[rows] == QUARANTINE) | (ruling.action[rows] == APPROVAL) | (reason in SUSPICIOUS)
        for held_back in (False, True):
            picked = np.flatnonzero(suspicious == held_back)
            unseen = self._ways.count if not self._ways.explain and not (held_back and self._ways.quarantine) else None
            if unseen:
                for why, number in Counter(reasons[k] for k in picked.tolist()).items():
                    unseen(why, number)
            elif len(picked):
                part = rows[picked]
                rule = np.where(seen.broken[part] > 0, np.arange(len(part)), NONE)
                names = [REASONS_OF_QUALITY[k] for k in seen.broken[part].tolist()]
                amounts = np.where(seen.broken[part] > 0, seen.amounts[part], np.nan)
                signs = np.where(seen.signs[part] > 0, seen.signs[part].astype(np.int64), NONE)
                notes = [
                    words("rule", rule, names),
                    fixed("value", amounts),
                    words("signs", signs, _SIGN_WORDS),
                ]
                for name, column in (("quality", seen.quality), ("recency", facts.recency)):
                    notes.append(fixed(name, np.where(seen.broken[part] > 0, np.nan, column[part])))
                if reason:
                    notes += [fixed(name, getattr(found, name)[part]) for name in ("bits", "credibility", "novelty")]
                self._drop(noted(batch.take(part), NOTE, notes), [reasons[k] for k in picked.tolist()], held_back)

    def _drop(self, batch: Batch, reasons: list[str], held_back: bool) -> None:
        if held_back and self._ways.quarantine:
            reasons = self._ways.quarantine(batch, reasons)
        else:
            self._ways.reject(batch, reasons)
        if self._ways.explain:
            self._ways.explain(batch, list(reasons))


def _reason(seen: Seen, policy: Policy, row: int) -> str:
    if seen.broken[row]:
        return REASONS_OF_QUALITY[seen.broken[row]]
    rule = int(seen.ruling.rule[row])
    return _WITHOUT_RULE.get(rule) or policy.rules[rule].name


def _same_day(days: np.ndarray) -> int:
    """How many records from the first on are of its day."""
    return int(np.argmax(days != days[0])) if (days != days[0]).any() else len(days)
