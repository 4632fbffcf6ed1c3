"""Quality of a text: rules that drop what is no text worth learning, and a score for the rest.

The rules and their limits are in `clet.priority.rules`, the counts they are made of in `textstats`; both work on whole
batches, from token ids where the tokenizer is known, else from text, with the same result. Source code has rules of its
own (`sourcecode`). A fitted classifier (`classifier`) and a fitted model of synthetic text (`synthetic`) are summed in
the same pass where they are given.

The score in [0, 1] is the product of five factors that fall from 1 to FLOOR as the text approaches the limit of the
rule behind them: length, letters, function words, repetition, sentences; with a classifier, times the probability that
it is good, from FLOOR to 1. Records with neither text nor ids of the tokenizer are not judged; they get NEUTRAL.

Cost: one pass in compiled code, then arithmetic on columns: no object is made a record. What the rules cannot see:
fluent lies, fluent machine text, facts; for these, see where a document comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clet.batch import Batch
from clet.exits import UsageError
from clet.priority import lines as ln
from clet.priority.classifier import Model
from clet.priority.rules import (
    CLET,
    OWN,
    OWN_LEAST,
    PUBLISHED_LEAST,
    REASONS,
    SETS,
    code,
    first_broken,
    is_latin,
    per,
    prose,
    repetition,
    words,
)
from clet.priority.sourcecode import is_code
from clet.priority.textstats import Scratch, Stat, TokenTable, measure
from clet.tokens import Tokenizer

FLOOR = 0.2
NEUTRAL = 0.5
GOOD_STOP_SHARE = 0.1  # function words a word; running prose has 0.15 to 0.4 of them


class Verdicts(NamedTuple):
    """What is said of the records of a batch, by column: `rule` is a place in REASONS, 0 where the record passed, else
    with the `value` that broke it and a score of 0. `judged` says which had something to be judged by. `good` and
    `synthetic` are probabilities by fitted models, NaN where there is none or it does not apply; the score includes
    the first, and `clet.priority.synthetic.weight` is what the second asks for."""

    score: np.ndarray  # [n] float32
    rule: np.ndarray  # [n] int16
    value: np.ndarray  # [n] float32
    judged: np.ndarray  # [n] bool
    good: np.ndarray  # [n] float32
    synthetic: np.ndarray  # [n] float32

    def reason(self, row: int) -> str | None:
        """The name of the rule that a record broke."""
        return REASONS[self.rule[row]] or None


class QualityTables:
    """All that judging needs, made once: the tokenizer's bytes, the rules, models, scratch memory; for one thread.

    `classifier` and `synthetic` are the fitted models, or None.
    """

    def __init__(
        self, table: TokenTable | None, rules: Sequence[str], classifier: Model | None, synthetic: Model | None
    ):
        self.classifier, self.synthetic = classifier, synthetic
        self._table, self._rules = table, tuple(rules)
        self._own = self._rules == (CLET,)
        self._scratch = Scratch()
        models = [model.weights for model in (classifier, synthetic) if model is not None]
        self._weights = np.stack(models) if models else None

    @staticmethod
    def of(
        tokenizer: Tokenizer | None = None,
        rules: Sequence[str] = (CLET,),
        *,
        classifier: Model | None = None,
        synthetic: Model | None = None,
    ) -> QualityTables:
        """Tables for records of a tokenizer, or without one for their text.

        `rules` is clet's own set, or some of the published ones. Raises UsageError for a set there is none of,
        InputError for a tokenizer whose tokens have no bytes.
        """
        for name in rules:
            if name not in SETS and name != CLET:
                raise UsageError(f"{name}: no set of rules; there are {', '.join([CLET, *SETS])}")
        if not rules or (CLET in rules and len(rules) > 1):
            raise UsageError("clet's own rules and the published ones count words differently; name one or the other")
        table = TokenTable(tokenizer) if tokenizer is not None else None
        return QualityTables(table, rules, classifier, synthetic)

    @property
    def table(self) -> TokenTable | None:
        """The bytes of the tokenizer's ids, where it is known."""
        return self._table

    def judge(self, batch: Batch) -> Verdicts:
        """The verdict on each record of a batch."""
        size = len(batch)
        least = OWN_LEAST if self._own else PUBLISHED_LEAST
        stats, sums = measure(
            batch,
            self._scratch,
            self._table,
            weights=self._weights,
            whole=not self._own,
            with_c4="c4" in self._rules,
            least=least,
        )
        has_ids = self._table is not None and batch.fingerprint == self._table.fingerprint
        judged = np.full(size, True) if has_ids else batch.has_text.astype(bool)
        as_code = is_code(batch, stats)
        if self._own:
            rule, value = first_broken(prose(stats), size)
            score = prose_score(stats)
            if as_code.any():
                rows = np.flatnonzero(as_code)
                rule[rows], value[rows] = first_broken(code(stats[rows]), len(rows))
                score[rows] = code_score(stats[rows])
        else:
            rule, value = first_broken([rule for name in self._rules for rule in SETS[name](stats)], size)
            score = np.ones(size)
        good, synthetic = self._probabilities(sums, stats[:, Stat.UNITS], judged & ~as_code)
        score = np.where(np.isnan(good), score, score * (FLOOR + (1 - FLOOR) * good))
        rule[~judged], value[~judged] = 0, 0.0
        score = np.where(judged, np.where(rule > 0, 0.0, score), NEUTRAL)
        columns = (score.astype(np.float32), rule, value.astype(np.float32), judged)
        return Verdicts(*columns, good.astype(np.float32), synthetic.astype(np.float32))

    def _probabilities(self, sums: np.ndarray, units: np.ndarray, applies: np.ndarray) -> list[np.ndarray]:
        """Of being good, and of being synthetic; NaN where no model says so, as of source code."""
        found, column = [np.full(len(units), np.nan) for _ in range(2)], 0
        for place, model in enumerate((self.classifier, self.synthetic)):
            if model is not None:
                probability = model.probability(sums[:, column], units)
                found[place] = np.where(applies, 1 - probability if place else probability, np.nan)
                column += 1
        return found


def _ramp(values: np.ndarray, worst: float, best: float) -> np.ndarray:
    """FLOOR at `worst`, 1 at `best`, linear between, constant beyond."""
    return FLOOR + (1 - FLOOR) * np.clip((values - worst) / (best - worst), 0.0, 1.0)


def prose_score(stats: np.ndarray) -> np.ndarray:
    """Scores `[n]` in [0, 1] of prose from counts `[n, NUM_STATS]`."""
    stop_share = per(stats, Stat.STOP_WORDS, Stat.WORDS)
    function = np.where(is_latin(stats), _ramp(stop_share, 0.0, GOOD_STOP_SHARE), 1.0)
    ended = per(stats, Stat.LINE + ln.ENDED, Stat.LINE + ln.LINES)
    letters = per(stats, Stat.LETTER_WORDS, Stat.WORDS)
    return (
        _ramp(words(stats), OWN["min_words"], OWN["good_words"])
        * _ramp(letters, OWN["min_letter_words"], 0.9)
        * function
        * _ramp(repetition(stats), 1.0, 0.5)
        * _ramp(ended, 0.0, 3 * OWN["min_ended"])
    )


def code_score(stats: np.ndarray) -> np.ndarray:
    """Scores `[n]` in [0, 1] of source code."""
    most = OWN["code_max_dup_line_chars"]
    repeated = per(stats, Stat.LINE + ln.DUP_LINE_CHARS, Stat.LINE + ln.LINE_CHARS)
    return _ramp(stats[:, Stat.WORDS], OWN["code_min_words"], OWN["good_words"]) * _ramp(repeated, most, most / 3)
