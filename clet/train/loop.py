"""The loop: windows in, weights moved, lines written; checked, saved, released and taken back as it goes.

kill -9 at any time and started again, a run computes the steps after its last saved state once more, to the same
bits on the same machine with the same number of threads; their lines in steps.jsonl are cut off first. What goes to
disk is written aside (`aside`), in the order in which it was handed over: lines of steps, state, release.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from clet.exits import InputError, TryLater, Unavailable
from clet.log import log
from clet.model.decoder import Decoder
from clet.model.lora import twin
from clet.record import format_time
from clet.release import Release, recall
from clet.train import branch, requests, trip
from clet.train import optimizer as optimisers
from clet.train.accounting import Account
from clet.train.aside import Aside
from clet.train.breaker import Breaker
from clet.train.credit import Credit
from clet.train.drift import Check
from clet.train.feed import Batch, Position, at_end, draws, load
from clet.train.keeping import Keeper, Progress
from clet.train.outer import Outer
from clet.train.prefetch import Prefetch
from clet.train.release import Candidate, Sign, describer, make_release, newest_release
from clet.train.rundir import RunDirectory, by_shard, read_documents
from clet.train.schedule import SCHEDULES, Rate
from clet.train.settings import Settings
from clet.train.shelf import Shelf
from clet.train.spikes import Signals
from clet.train.step import add_gradients, apply, clip
from clet.train.verdict import Gates, verdict

PROVEN_STEPS = 100  # of an invocation without a trip, behind which a release proves its settings
Emit = Callable[[dict[str, Any]], None]


@dataclass
class Tally:
    """What one invocation did.

    `stalled_s` is how long the loop waited for the disk or a release; `stuck` that somebody tripped it, and no earlier
    state was left to go back to.
    """

    steps: int = 0
    windows: int = 0
    tokens: int = 0
    wait_s: float = 0.0
    stalled_s: float = 0.0
    last_loss: float | None = None
    releases: list[int] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loop needs from outside: each can be replaced by a test.

    `emit` takes metrics and events, `clock` gives the time for records of what happened (it decides nothing), `stop`
    is set when the run shall end after the present step, `trip` when the breaker shall be tripped there. `evaluate`
    measures held-out text for a release, `check` a little of it, and canaries, every so many steps; `gates` judges a
    release by its evaluation; `sign` signs it; `outer` exchanges weights; `watts` is what the machine takes where no
    counter of its own says so.
    """

    emit: Emit
    clock: Callable[[], datetime]
    stop: threading.Event
    evaluate: Callable[[Decoder], dict[str, Any]] | None = None
    outer: Outer | None = None
    check: Callable[[Decoder], Check] | None = None
    gates: Gates | None = None
    sign: Sign | None = None
    trip: threading.Event = field(default_factory=threading.Event)
    watts: float | None = None


class Trainer:
    """One invocation on an open run. `restore` first, then `train`, any number of times, `release` when wanted."""

    def __init__(
        self,
        run: RunDirectory,
        model: Decoder,
        source: Path,
        shelf: Shelf,
        settings: Settings,
        seed: int,
        around: Surroundings,
    ):
        self.run, self.model, self.settings, self.around = run, model, settings, around
        self._source, self._shelf, self._seed = source, shelf, seed
        self._optimizer = optimisers.Optimizer(
            model, settings.optimizer, clip=settings.clip, gate=settings.gate, memory=settings.memory
        )
        peak = settings.lr or optimisers.default_peak(model.config.hidden_size)
        self._schedule, self._rate = SCHEDULES[settings.schedule], Rate(peak, settings.warmup)
        self._autocast = settings.dtype == "bfloat16"
        self._account = Account(model, seed, settings.schedule, self._rate, around.watts)
        self.breaker = Breaker(run.path, settings.max_trips, vocab_size=model.config.vocab_size, drift=settings.drift)
        self.tally = Tally()
        self._progress = Progress()
        self._told_kind = -1  # the segment of which was said that its kind is new
        self._credit = Credit(lambda root: read_documents(run.path, root))
        self._aside = Aside()
        self._keeper = Keeper(run, model, self._optimizer, self.breaker, around.outer, self._aside, around.emit)
        self._note_newest()

    @property
    def position(self) -> Position:
        """Where in the feed the run is."""
        return self._progress.position

    @property
    def tokens(self) -> int:
        """Learned by the run so far."""
        return self._progress.tokens

    def _note_newest(self) -> None:
        newest = self._newest = newest_release(self.run.path, self.breaker.undone)
        self._released_steps = set(trip.releases_after(self.run.path, -1, self.breaker.undone).values())
        self._released_tokens = newest.count("tokens") if newest else 0
        self._released_step = newest.count("step") if newest else 0
        self._released_at = time.monotonic()

    # ---- the saved state

    def restore(self) -> None:
        """Take up the newest true state; for a new run save the one it begins with. Then join the others, if any.

        Raises InputError where the state of a run that made steps is damaged or gone.
        """
        found = self._keeper.load()
        if found is not None:
            self._progress = found
        elif self.run.has_steps or self._released_step:
            raise InputError(
                f"{self.run.path / 'state'}: gone, though steps were made; restore it from a copy, or start "
                "a new --run from the newest release"
            )
        else:
            self.run.open_steps(0)
        self._recall()
        if self.around.outer:
            self.around.outer.start(self.model, self.position.step)
        self._progress.learned.expect(self.run.segments)
        if found is None:
            verified = self.around.check is not None and self._objection_of_check() is None
            self._keeper.save(self._progress, verified=verified)
            self._aside.wait()  # steps without a state behind them would be a damaged run

    def save(self) -> None:
        """Save the state, unless it is saved already; durable when this returns. Raises WriteError."""
        self._keeper.save(self._progress)
        self._aside.wait()
        self.tally.stalled_s = self._aside.stalled_s

    def close(self) -> None:
        """Let what is being written be written."""
        self._aside.close()

    @property
    def caught_up(self) -> bool:
        """Whether every window of every segment was learned."""
        return at_end(self.run.segments, self.position)

    # ---- learning

    def train(self, goal: int | None = None) -> None:
        """Learn until everything is learned, `tokens` reaches `goal`, `stop` is set or the breaker pauses.

        What was learned since the last save is for the caller to save, or to release.

        Raises InputError where a shard cannot be read or the breaker gives up, WriteError where the disk does,
        Unavailable or TryLater where the others refuse.
        """
        self._progress.learned.expect(self.run.segments)
        try:
            if self._progress.release_due and not self.release():
                pass  # killed while releasing, and the check found harm
            while self._pass_through(goal):
                pass  # the breaker went back: again from the restored position, without the quarantined windows
        except (Unavailable, TryLater):
            self.save()
            raise

    @property
    def _halted(self) -> bool:
        return self.around.stop.is_set() or requests.paused(self.run.path) is not None

    def _pass_through(self, goal: int | None) -> bool:
        """Steps from the present position; True where the breaker took some back and they are to be made again."""
        plan = draws(
            self.run.segments,
            self.position,
            batch=self.settings.batch_size,
            share=self.settings.replay,
            seed=self._seed,
            skip=self.breaker.quarantine,
            gone=frozenset(self._shelf.missing(self.run.segments[: self.position.segment])),
            worth=self._shelf.worth,
        )
        self.model.train()
        self._account.begin()
        batches = Prefetch(load(draw, self._shelf.read) for draw in plan)
        try:
            while not self._halted and (goal is None or self.tokens < goal):
                if self._tripped_by_hand():
                    return True
                began = time.perf_counter()
                if (batch := next(batches, None)) is None:
                    self._progress.position = Position(len(self.run.segments), 0, self.position.step)
                    return False
                if not self._step(batch, batches.wait_s, began) or not self._after_step():
                    return True
                self._aside.look()
            return not self._halted and self._tripped_by_hand()
        finally:
            batches.close()

    def _step(self, batch: Batch, wait_s: float, began: float) -> bool:
        """Make one step; False where the breaker objected and the run went back."""
        step, outer = batch.draw.after.step, self.around.outer
        rate = self._schedule(step, self._rate)
        if outer:
            outer.before_step(self.model, step)
        facts: dict[str, Any] = {"step": step, "tokens": batch.tokens, "lr": rate, "loss": None, "grad_norm": None}
        origins: dict[str, list[float]] = {}
        losses: list[float] = []
        if batch.counted:  # windows of padding or of masked tokens only are passed, and teach nothing
            result = add_gradients(self.model, batch, accumulate=self.settings.accumulate, autocast=self._autocast)
            facts |= {"loss": result.mean, "grad_norm": clip(self._optimizer)}
            losses = result.windows
            origins = self._credit.by_origin(batch.windows, batch.rows, losses)
            now = Signals.of(batch, result.mean, facts["grad_norm"], losses, self.breaker.unigram)
            if (found := self.breaker.objection(now)) and not (found.is_doubt and self._is_new_kind(now, found.why)):
                may_be_new = self.breaker.may_be_new(now)
                self._trip(trip.Cause(step, found.why, found.onset, found.side, batch, losses, may_be_new=may_be_new))
                return False
            self.breaker.add(now, batch.pairs()[1])
            facts |= apply(self._optimizer, rate)
        self._progress.position = batch.draw.after
        self._progress.tokens += batch.tokens
        self._progress.learned.add(batch)
        refusal = None
        if outer:
            try:
                facts |= outer.after_step(self.model, step, batch.tokens)
            except (Unavailable, TryLater) as error:
                refusal = error
        self._note(batch, facts, origins, losses, wait_s, time.perf_counter() - began)
        if refusal:
            raise refusal
        return True

    def _after_step(self) -> bool:
        """Release, check or save where it is time to; False where the breaker went back."""
        step, settings = self.position.step, self.settings
        due = settings.release_every and self.tokens - self._released_tokens >= settings.release_every
        minutes = settings.release_minutes
        if due or (minutes and time.monotonic() - self._released_at >= 60 * minutes):
            return self.release()
        if self.around.check and step % settings.check_every == 0:
            return self._check()
        if step % settings.save_every == 0:
            self._keeper.save(self._progress)
        return True

    def _note(
        self,
        batch: Batch,
        facts: dict[str, Any],
        origins: dict[str, list[float]],
        losses: list[float],
        wait_s: float,
        seconds: float,
    ) -> None:
        """Write and count a step that was made."""
        draw = batch.draw
        facts |= {"total_tokens": self.tokens, "origins": origins}
        facts |= self._account.step(batch, facts["lr"], wait_s, seconds, self.around.clock())
        windows = {"segment": draw.after.segment, "windows": by_shard(draw.fresh), "replay": by_shard(draw.replayed)}
        self.run.write_step(facts | {"losses": [round(loss, 4) for loss in losses]} | windows)
        self.around.emit(facts | self._account.progress(batch, self.run.segments))
        tally = self.tally
        tally.steps += 1
        tally.windows += len(batch.windows)
        tally.tokens += batch.tokens
        tally.wait_s += wait_s
        tally.last_loss = facts["loss"] if facts["loss"] is not None else tally.last_loss

    # ---- checking and going back

    def _objection_of_check(self) -> str | None:
        self.model.eval()
        found = self.around.check(self.model)
        self.model.train()
        why = self.breaker.check(found)
        self.around.emit({"event": "check", "step": self.position.step, **found.to_json(), "why": why})
        return why

    def _check(self) -> bool:
        """Check held-out text and canaries and save; False where that showed harm and the run went back."""
        if (why := self._objection_of_check()) is not None:
            self._trip(trip.Cause(self.position.step, why))
            return False
        self._keeper.save(self._progress, verified=True)
        return True

    def _tripped_by_hand(self) -> bool:
        """Whether somebody asked for a trip, by `clet release trip` or a signal; it is carried out."""
        request = requests.open_request(self.run.path)
        if request is None and not self.around.trip.is_set():
            return False
        self.around.trip.clear()
        by = request or {"id": None, "why": "by a signal"}
        if by["id"] is None or all(past["request"] != by["id"] for past in self.breaker.trips):
            self._trip(trip.Cause(self.position.step, f"by hand: {by['why']}", request=by["id"], by_hand=True))
            return True
        requests.close_request(self.run.path)  # it was carried out; the trainer was killed before it could say so
        return False

    def _is_new_kind(self, now: Signals, why: str) -> bool:
        """Whether what a detector doubts are data of a new kind: then what was learned before is known still."""
        known = trip.learned_before(now.segment, self.run, self.model, self._shelf, self.breaker, self._autocast)
        if not self.breaker.is_new(now, *known):
            return False
        if self._told_kind != now.segment:
            self._told_kind = now.segment
            log.warn(
                f"step {now.step}: {why}, but these data have an order of their own, and what was learned before is"
                " known still: they are of a kind new to the model, and learned",
                event="new-kind",
            )
        return True

    def _trip(self, cause: trip.Cause) -> None:
        """Go back to the last good state, put in quarantine what is suspect, and pause if the settings say so."""
        self._aside.wait()
        before = cause.harmed_from
        if before is None:  # who trips it by hand after the run has ended does not hold its last state for good
            before = self.position.step + (0 if cause.by_hand else 1)
        saved = self._keeper.good_state(before, verified=cause.onset is None)
        found = trip.examine(cause, saved, self.run, self.model, self._shelf, self.breaker, autocast=self._autocast)
        now = self.around.clock()
        lines = trip.keep_undone(self.run, len(self.breaker.trips) + 1, saved)
        if self.settings.on_trip == "pause":
            requests.pause(self.run.path, cause.why, cause.step, now)
        undone = trip.releases_after(self.run.path, found.back_to, self.breaker.undone)
        recalls = [number for number, step in undone.items() if step >= found.recall_from]
        if cause.by_hand and found.back_to == self.position.step:
            self.tally.stuck = True
            recalls = sorted(trip.releases_after(self.run.path, found.back_to - 1, self.breaker.recalled))
            log.warn(f"{self.run.path}: no state before step {found.back_to} is left: nothing was undone")
        self.breaker.trip(
            {
                "time": format_time(now), "step": cause.step, "why": cause.why, "onset": found.onset,
                "back_to": found.back_to, "lines": lines, "documents": found.documents, "undone": list(undone),
                "recalled": recalls, "request": cause.request,
            },
            found.windows,
        )  # fmt: skip
        self._progress = self._keeper.put_back(saved)
        self._progress.learned.expect(self.run.segments)
        self._recall()
        self._note_newest()
        if cause.request:
            requests.close_request(self.run.path)
        if found.windows:
            self.tally.quarantined[cause.why.partition(":")[0]] += len(found.windows)
        self.around.emit(
            {"event": "breaker", "step": cause.step, "why": cause.why, "onset": found.onset, "back_to": found.back_to}
            | {"windows": by_shard(found.windows), "documents": len(found.documents), "recalled": recalls}
        )
        self.breaker.refuse_more()

    def _recall(self) -> None:
        for number, why in sorted(self.breaker.recalled.items()):
            recall(self.run.path, number, why, self.around.clock())

    # ---- releasing

    @property
    def unreleased(self) -> bool:
        """Whether steps were made that no release has."""
        return self.position.step > self._released_step

    def release(self) -> bool:
        """Make a release of the state: checked and saved here, then written aside. False where the breaker went back.

        What is released is the end of a cooldown branch; the run itself is as it was before.
        """
        progress = self._progress
        if self.position.step in self._released_steps:
            progress.release_due = False  # it was made before the trainer was killed, or a state was lost
            return True
        verified = False
        if self.around.check and not progress.release_due:  # one that was due has been checked
            if (why := self._objection_of_check()) is not None:
                self._trip(trip.Cause(self.position.step, why))
                return False
            verified = True
        progress.release_due = True
        copied = self._keeper.save(progress, verified=verified, keep=True)
        lines = self._branch()
        weights = None if lines else copied["weights"]  # without a branch they are what the copy has
        if weights is not None and any(each.device != self.model.head_weight.device for each in weights.values()):
            weights = None  # there was no room beside the model
        released = twin(self.model, weights)
        facts = describer(self.run, progress.learned, self.tokens, self._seed, self.settings)
        candidate = Candidate(released, self._source, self.position.step, lines, facts)
        if lines:
            self._keeper.put_back_copy(copied)
        if lines and self.around.stop.is_set():
            return True  # the release is still due, and the next invocation makes it
        del copied
        parent, now, watched = self._newest, self.around.clock(), self.breaker.checks()
        self._aside.submit(
            lambda: make_release(
                self.run.path, candidate, parent, lambda model: verdict(model, self.around, watched),
                self.around.sign, now,
            ),
            self._released,
        )  # fmt: skip
        progress.release_due = False
        self._released_tokens, self._released_step = self.tokens, self.position.step
        self._released_steps.add(self.position.step)
        self._released_at = time.monotonic()
        return True

    def _branch(self) -> list[dict[str, Any]]:
        """Learn on for the steps of a cooldown; their lines. The branch ends early where a loss is not finite."""
        since = self.position.step - self._released_step
        steps = branch.num_steps(self.settings.cooldown, since)
        base = self._schedule(self.position.step, self._rate)
        plan = branch.draws(
            self.run.segments, self._progress.learned, self.position, steps, batch=self.settings.batch_size,
            share=self.settings.replay, seed=self._seed, skip=self.breaker.quarantine,
            gone=frozenset(self._shelf.missing(self.run.segments)), worth=self._shelf.worth,
        )  # fmt: skip
        lines = []
        self.model.train()
        for number, draw in enumerate(plan, 1):
            batch = load(draw, self._shelf.read)
            if not batch.counted or self.around.stop.is_set():
                break
            result = add_gradients(self.model, batch, accumulate=self.settings.accumulate, autocast=self._autocast)
            norm, rate = clip(self._optimizer), base * branch.rate_factor(number, steps)
            if not math.isfinite(result.mean) or not math.isfinite(norm):
                self._optimizer.zero_grad(set_to_none=True)
                break
            facts = {"step": draw.after.step, "tokens": batch.tokens, "lr": rate, "loss": result.mean}
            apply(self._optimizer, rate)
            lines.append(facts | {"grad_norm": norm, "windows": [], "replay": by_shard(batch.draw.replayed)})
        return lines

    def _released(self, made: Release) -> None:
        self._newest = made
        if self.tally.steps >= PROVEN_STEPS:
            self.prove_settings()
        self.tally.releases.append(made.number)
        evals, judged = made.facts["evals"], made.facts["verdict"]
        step = made.facts["step"]
        if evals:
            self.around.emit({"event": "held-out", "step": step, "evals": evals})
        self.around.emit(
            {"event": "release", "step": step, "number": made.number, "path": str(made.path)}
            | {"evals": evals, "verdict": judged, "cooldown": made.facts["cooldown"]}
            | {"watermark": made.facts["watermark"]}
        )

    def prove_settings(self) -> None:
        """So long a time without a trip, or all of an invocation, says that the settings are not a mistake."""
        if not self.breaker.num_new:
            self.run.describe(self.run.facts | {"proven": self.settings.to_json()})

    def measure(self) -> None:
        """Tell what `evaluate` says of the present weights."""
        if self.around.evaluate is not None:
            self.model.eval()
            found = self.around.evaluate(self.model)
            self.model.train()
            self.around.emit({"event": "held-out", "step": self.position.step, "evals": found})
