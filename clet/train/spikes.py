"""Detectors that look at each step before it is applied: non-finite values, spikes of loss and gradient, lost order.

    non-finite     loss or gradient is infinite or not a number
    loss           one step far above the running level, a run of steps above it (one-sided CUSUM, Page 1954)
    knowledge      a trained model does worse than one that knows nothing (ln of the vocabulary): far in one step, or in
                   two in a row
    gradient       the same two tests on the norm before clipping, with wider limits, the first one only where three
                   steps in a row are far above: a single one is what clipping is for, and real text makes such (one
                   batch with a window of tables had 79 times the usual norm, and the loss of any other)
    collapse       the loss drops, from one step to the next, below a quarter of its level and of a nat, and stays there
                   for three steps: the same text over and over. Learning fast, or adopting the weights of others, is
                   slower or does not reach so low
    order          context says nothing any more, three times in a row (see `order`): permuted or random tokens

The tests of knowledge and of order are those that text of a kind which the model does not know fails, too: their
objections are then for `newness` to judge.

Levels and scales are robust (see `levels`). False alarms of the loss tests, if residuals are independent: with normal
tails never (below 1e-25 a step); with Laplace tails, which losses of mixed text have, the sudden test has
exp(-SUDDEN/0.97)/2 = 3e-8 a step, the CUSUM by Lundberg's bound exp(-0.947 LIMIT) = 3e-7 a step: one in three million
steps. Gradients have longer tails; their limits are set so that what a factor of ten in the norm would say counts, and
`clet bench breaker` counts the false alarms of both on clean runs.

Tokens at the beginning of a document have little context to follow from, and windows that the packer fills with the
ends of many documents consist of such: a step whose pieces of documents are less than SHORT of the usual length is
not compared with the usual loss and gradient (the other tests see it).

When to choose otherwise: a stream whose windows differ wildly and are not shuffled (one segment of several kinds, in
order) trips these; give each kind its own segment or lane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from clet.train.feed import Batch
from clet.train.levels import ALPHA, Level, Side
from clet.train.newness import own_order, strangest
from clet.train.order import LOW_STEPS, Unigram, UsualGain

SUDDEN = 16.0  # scales above the level, in one step
LIMIT = 16.0  # of the CUSUM of scales
CAP = 6.0  # what one step adds to it at most: at least four steps must agree
SHORT = 0.5  # of the usual length of a piece of a document
COLLAPSE = math.log(1 / 4)
COLLAPSED = 0.25  # nats
DROP = 0.5  # of the loss of the step before the first
COLLAPSE_STEPS = 3
NOTHING_STEPS = 2
NOTHING_MARGIN = 0.3  # nats above ln(vocabulary), in so many steps in a row
FAR_MARGIN = 0.75  # nats above it, in one
TRAINED_MARGIN = 1.5  # nats below it: then the model has learned something


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a step before it is applied."""

    step: int
    segment: int
    loss: float
    grad_norm: float
    gain: float | None = None  # over a unigram model, see `order`
    piece: float | None = None  # mean length of its pieces of documents, in tokens
    own_order: float | None = None  # of its data, see `newness`
    strange_order: float | None = None  # of the windows among them that are the strangest to the model
    strange_loss: float | None = None  # of these

    @staticmethod
    def of(batch: Batch, loss: float, grad_norm: float, losses: Sequence[float], unigram: Unigram) -> Signals:
        """Those of a step with this loss, in all and of each of its windows."""
        before, targets = batch.pairs()
        strange = strangest(losses, math.log(len(unigram.counts)))
        return Signals(
            batch.draw.after.step,
            batch.draw.after.segment,
            loss,
            grad_norm,
            unigram.gain(targets, loss),
            batch.mean_piece(),
            own_order(before, targets),
            own_order(*batch.pairs(strange)),
            float(np.asarray(losses)[strange].mean()),
        )


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a step must not be applied, and the step at which the harm began as far as can be told.

    `side` is where the loss of what did the harm lies, above or below the usual. `is_doubt`: the data may just be of
    a kind that the model does not know yet.
    """

    why: str
    onset: int
    side: Side = "above"
    is_doubt: bool = False


class Detector(Protocol):
    """Looks at steps in order. A step objected to is not added."""

    def objection(self, now: Signals) -> Objection | None:
        """Why a step must not be applied; may not change what the detector knows unless the step is added."""

    def add(self, now: Signals) -> None:
        """The step is being applied."""

    def puzzles(self, now: Signals) -> bool:
        """Whether a step is strange in a way in which data of a new kind are."""

    def state(self) -> dict[str, Any]:
        """As JSON, to the last bit."""

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""


class NonFinite:
    """Loss or gradient is infinite or not a number."""

    def objection(self, now: Signals) -> Objection | None:
        for name, value in (("loss", now.loss), ("gradient", now.grad_norm)):
            if not math.isfinite(value):
                return Objection(f"non-finite {name}", now.step)
        return None

    def add(self, now: Signals) -> None:
        pass

    def puzzles(self, now: Signals) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


class Spike:
    """Sudden and sustained rises of one signal above its level."""

    def __init__(self, name: str, floor: float, least: float, drift: float, limit: float, sudden_steps: int = 1):
        self._name, self._least, self._drift, self._limit = name, least, drift, limit
        self._sudden_steps = sudden_steps  # in a row that must be far above
        self._level = Level(floor)
        self._sum, self._since = 0.0, 0
        self._far = 0  # steps in a row that were
        self._piece: float | None = None  # the usual length

    def _is_short(self, now: Signals) -> bool:
        return now.piece is not None and self._piece is not None and now.piece < SHORT * self._piece

    def objection(self, now: Signals) -> Objection | None:
        value = getattr(now, self._name)
        if self._is_short(now) or (found := self._level.residual(now.segment, value)) is None:
            return None
        away, scales = found
        what = "loss" if self._name == "loss" else "gradient norm"
        if (far := self._counted(found)) >= self._sudden_steps:
            why = f"{what} spike: {value:.4g} is {math.exp(away):.1f} times its level"
            return Objection(why, now.step + 1 - far)
        total, since = self._summed(now.step, scales)
        if total >= self._limit:
            return Objection(f"{what} spike: {math.exp(away):.2f} times its level, since step {since}", since)
        return None

    def _counted(self, found: tuple[float, float] | None) -> int:
        is_far = found is not None and found[1] >= SUDDEN and found[0] >= self._least
        return self._far + 1 if is_far else 0

    def _summed(self, step: int, scales: float) -> tuple[float, int]:
        total = max(0.0, self._sum + min(scales, CAP) - self._drift)
        return total, (self._since if self._sum else step)

    def add(self, now: Signals) -> None:
        short = self._is_short(now)
        if now.piece is not None:
            self._piece = now.piece if self._piece is None else self._piece + ALPHA * (now.piece - self._piece)
        if short:
            return
        found = self._level.residual(now.segment, value := getattr(now, self._name))
        self._sum, self._since = (0.0, now.step) if found is None else self._summed(now.step, found[1])
        self._far = self._counted(found)
        self._level.add(now.segment, value)

    def puzzles(self, now: Signals) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        return {
            "sum": self._sum,
            "since": self._since,
            "far": self._far,
            "piece": self._piece,
            "level": self._level.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self._sum, self._since = state["sum"], state["since"]
        self._far, self._piece = state["far"], state["piece"]
        self._level.load(state["level"])


class Knowledge:
    """Loss above that of a model that knows nothing, or collapsed to next to nothing, for some steps in a row."""

    def __init__(self, vocab_size: int):
        self._nothing = math.log(vocab_size)
        self._best = math.inf  # the lowest level so far
        self._level = Level(floor=0.05)
        self._above = self._below = 0
        self._last = 0.0

    def _counts(self, now: Signals) -> tuple[int, int]:
        trained = self._best <= self._nothing - TRAINED_MARGIN
        above = self._above + 1 if trained and now.loss > self._nothing + NOTHING_MARGIN else 0
        if above and now.loss > self._nothing + FAR_MARGIN:
            above = max(above, NOTHING_STEPS)
        found = self._level.residual(now.segment, now.loss)
        low = found is not None and found[0] <= COLLAPSE and now.loss < COLLAPSED
        sudden = self._below or now.loss < DROP * self._last
        return above, self._below + 1 if low and sudden else 0

    def objection(self, now: Signals) -> Objection | None:
        above, below = self._counts(now)
        if above >= NOTHING_STEPS:
            onset = now.step - (1 if self._above else 0)
            return Objection(f"loss {now.loss:.2f} is above that of knowing nothing", onset, is_doubt=True)
        if below >= COLLAPSE_STEPS:
            why = f"loss collapsed to {now.loss:.3g}: the same text again and again"
            return Objection(why, now.step + 1 - below, "below")
        return None

    def add(self, now: Signals) -> None:
        self._above, self._below = self._counts(now)
        self._last = now.loss
        self._level.add(now.segment, now.loss)
        self._best = min(self._best, math.exp(self._level.level))

    def puzzles(self, now: Signals) -> bool:
        return now.loss > self._nothing

    def state(self) -> dict[str, Any]:
        best = self._best if math.isfinite(self._best) else None
        return {
            "best": best,
            "above": self._above,
            "below": self._below,
            "last": self._last,
            "level": self._level.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self._best = math.inf if state["best"] is None else state["best"]
        self._above, self._below, self._last = state["above"], state["below"], state["last"]
        self._level.load(state["level"])


class Order:
    """Tokens that do not follow from those before them."""

    def __init__(self) -> None:
        self.usual = UsualGain()

    def objection(self, now: Signals) -> Objection | None:
        low = self.usual.low(now.gain)
        if low < LOW_STEPS:
            return None
        why = f"order lost: context gains {now.gain:.2f} nats of {self.usual.level:.2f}"
        return Objection(why, now.step + 1 - low, is_doubt=True)

    def add(self, now: Signals) -> None:
        self.usual.add(now.gain)

    def puzzles(self, now: Signals) -> bool:
        return self.usual.low(now.gain) > 0

    def state(self) -> dict[str, Any]:
        return self.usual.state()

    def load(self, state: dict[str, Any]) -> None:
        self.usual.load(state)


def detectors(vocab_size: int) -> dict[str, Detector]:
    """All of them by name, in the order in which they are asked."""
    return {
        "non-finite": NonFinite(),
        "loss": Spike("loss", floor=0.03, least=0.5, drift=2.0, limit=LIMIT),
        "gradient": Spike("grad_norm", floor=0.25, least=math.log(10), drift=3.0, limit=30.0, sudden_steps=3),
        "knowledge": Knowledge(vocab_size),
        "order": Order(),
    }
