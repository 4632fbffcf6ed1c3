"""The loop: windows in, weights moved, lines written; saved, released and taken back as it goes.

Everything that decides the next step is in the saved state or computed from it: weights and moments, the position in
the feed, the step's number (learning rate and random streams follow from it; there is no other generator to save).
kill -9 at any time and started again, a run computes the steps after its last saved state once more, to the same
bits on the same machine with the same number of threads; their lines in steps.jsonl are cut off first.

Order of making things durable: lines of steps, state, release, and again state when there are more steps.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from clet.exits import InputError, TryLater, Unavailable
from clet.model.decoder import Decoder
from clet.model.lora import learned_state, load_learned
from clet.train import optimizer as optimisers
from clet.train import savepoint
from clet.train.accounting import Account
from clet.train.breaker import Breaker, culprits
from clet.train.credit import Credit
from clet.train.feed import Batch, Position, Window, at_end, draws, load
from clet.train.learned import Learned
from clet.train.outer import Outer
from clet.train.prefetch import Prefetch
from clet.train.release import newest_release, release_state
from clet.train.rundir import ROOT_CHARS, RunDirectory, read_documents
from clet.train.schedule import SCHEDULES, Rate
from clet.train.settings import Settings
from clet.train.shelf import Shelf
from clet.train.step import add_gradients, apply, clip

Emit = Callable[[dict[str, Any]], None]


@dataclass
class Tally:
    """What one invocation did."""

    steps: int = 0
    windows: int = 0
    tokens: int = 0
    wait_s: float = 0.0
    last_loss: float | None = None
    releases: list[int] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the loop needs from outside: each can be replaced by a test.

    `emit` takes metrics and events, `clock` gives the time for records of what happened (it decides nothing), `stop`
    is set when the run shall end after the present step, `evaluate` measures held-out text, `outer` exchanges weights,
    `watts` is what the machine takes where no counter of its own says so.
    """

    emit: Emit
    clock: Callable[[], datetime]
    stop: threading.Event
    evaluate: Callable[[Decoder], dict[str, Any]] | None = None
    outer: Outer | None = None
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
        self.breaker = Breaker(run.path, settings.max_trips)
        self.tally = Tally()
        self.position = Position()
        self.tokens = 0  # learned by the run so far
        self._learned = Learned()
        self._credit = Credit(lambda root: read_documents(run.path, root))
        self._saved: Position | None = None
        newest = newest_release(run.path)
        self._released_tokens = newest.count("tokens") if newest else 0
        self._released_step = newest.count("step") if newest else 0

    # ---- the saved state

    def restore(self) -> None:
        """Take up the last saved state; for a new run save the one it begins with. Then join the others, if any.

        Raises InputError where the state of a run that made steps is damaged or gone.
        """
        saved = savepoint.load(self.run.path / "state")
        if saved is not None:
            self._restore(saved)
        elif self.run.has_steps or self._released_step:
            raise InputError(
                f"{self.run.path / 'state'}: gone, though steps were made; restore it from a copy, or start "
                "a new --run from the newest release"
            )
        else:
            self.run.open_steps(0)
        if self.around.outer:
            self.around.outer.start(self.model, self.position.step)
        if saved is None:
            self.save()

    def _restore(self, saved: savepoint.Savepoint) -> None:
        values, tensors = saved.values, saved.tensors
        load_learned(self.model, tensors["weights"])
        self._optimizer.zero_grad(set_to_none=True)
        optimisers.restore_moments(self._optimizer, tensors["moments"])
        self._learned = Learned.from_arrays({name: bits.numpy() for name, bits in tensors["learned"].items()})
        self.position = self._saved = Position(**values["position"])
        self.tokens = values["tokens"]
        self.run.open_steps(values["steps_bytes"])
        if self.around.outer:
            self.around.outer.load_state(values["outer"], tensors["outer"])

    def save(self) -> None:
        """Save the state, unless it is saved already. Raises WriteError, after which the state saved before stands."""
        if self._saved == self.position:
            return
        outer_values, outer_tensors = self.around.outer.state() if self.around.outer else ({}, {})
        position = self.position
        values = {
            "position": {"segment": position.segment, "offset": position.offset, "step": position.step},
            "tokens": self.tokens,
            "steps_bytes": self.run.sync_steps(),
            "outer": outer_values,
        }
        tensors = {
            "weights": learned_state(self.model),
            "moments": optimisers.moments(self._optimizer),
            "learned": {name: torch.from_numpy(bits) for name, bits in self._learned.arrays().items()},
            "outer": outer_tensors,
        }
        path = savepoint.save(self.run.path / "state", values, tensors)
        self._saved = position
        self.around.emit({"event": "checkpoint", "step": position.step, "path": str(path)})

    # ---- training

    @property
    def caught_up(self) -> bool:
        """Whether every window that is known was learned."""
        return at_end(self.run.segments, self.position)

    def train(self, goal: int | None = None) -> None:
        """Learn what the run's segments hold, until they end, `tokens` reaches `goal`, or `stop` is set; then save.

        Raises InputError where a shard cannot be read or the breaker gives up, WriteError where the disk does,
        Unavailable or TryLater where the others refuse.
        """
        self._learned.expect(self.run.segments)
        gone = self._shelf.missing(self.run.segments[: self.position.segment])
        try:
            while self._pass_through(goal, gone):
                pass  # the breaker went back: again from the restored position, without the quarantined windows
        except (Unavailable, TryLater):
            self.save()
            raise
        self.save()

    def _pass_through(self, goal: int | None, gone: Iterable[str]) -> bool:
        """Steps from the present position; True where the breaker took some back and they are to be made again."""
        plan = draws(
            self.run.segments,
            self.position,
            batch=self.settings.batch_size,
            share=self.settings.replay,
            seed=self._seed,
            skip=self.breaker.quarantine,
            gone=frozenset(gone),
            worth=self._shelf.worth,
        )
        self.model.train()
        self._account.begin()
        batches = Prefetch(load(draw, self._shelf.read) for draw in plan)
        try:
            while not self.around.stop.is_set() and (goal is None or self.tokens < goal):
                began = time.perf_counter()
                if (batch := next(batches, None)) is None:
                    self.position = Position(len(self.run.segments), 0, self.position.step)
                    return False
                if not self._step(batch, batches.wait_s, began):
                    return True
                due = self.settings.release_every
                if due and self.tokens - self._released_tokens >= due:
                    self.release()
                elif self.position.step % self.settings.save_every == 0:
                    self.save()
            return False
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
        if batch.counted:  # windows of padding or of masked tokens only are passed, and teach nothing
            result = add_gradients(self.model, batch, accumulate=self.settings.accumulate, autocast=self._autocast)
            facts |= {"loss": result.mean, "grad_norm": clip(self._optimizer)}
            origins = self._credit.by_origin(batch.windows, batch.rows, result.windows)
            if why := self.breaker.objection(facts["loss"], facts["grad_norm"]):
                self._go_back(step, why, culprits(batch.windows, result.windows), batch)
                return False
            facts |= apply(self._optimizer, rate)
        self.position = batch.draw.after
        self.tokens += batch.tokens
        self._learned.add(batch)
        refusal = None
        if outer:
            try:
                facts |= outer.after_step(self.model, step, batch.tokens)
            except (Unavailable, TryLater) as error:
                refusal = error
        self._note(batch, facts, origins, wait_s, time.perf_counter() - began)
        if refusal:
            raise refusal
        return True

    def _note(
        self, batch: Batch, facts: dict[str, Any], origins: dict[str, list[float]], wait_s: float, seconds: float
    ) -> None:
        """Write and count a step that was made."""
        draw = batch.draw
        facts |= {"total_tokens": self.tokens, "origins": origins}
        facts |= self._account.step(batch, facts["lr"], wait_s, seconds, self.around.clock())
        windows = {"segment": draw.after.segment, "windows": _by_shard(draw.fresh), "replay": _by_shard(draw.replayed)}
        self.run.write_step(facts | windows)
        self.around.emit(facts | self._account.progress(batch, self.run.segments))
        tally = self.tally
        tally.steps += 1
        tally.windows += len(batch.windows)
        tally.tokens += batch.tokens
        tally.wait_s += wait_s
        tally.last_loss = facts["loss"] if facts["loss"] is not None else tally.last_loss

    def _go_back(self, step: int, why: str, bad: list[Window], batch: Batch) -> None:
        saved = savepoint.load(self.run.path / "state")
        assert saved is not None, "restore saved one"
        back_to = saved.values["position"]["step"]
        documents = set()
        for window, rows in zip(batch.windows, batch.rows, strict=True):
            if window in bad:
                table = read_documents(self.run.path, window[0])
                documents.update(table[row]["id"] for row in rows)
        self.breaker.trip(step, why, bad, sorted(documents), back_to, self.around.clock())
        self._restore(saved)
        self._learned.expect(self.run.segments)
        self.tally.quarantined[why] += len(bad)
        self.around.emit({"event": "breaker", "step": step, "why": why, "back_to": back_to, "windows": _by_shard(bad)})

    # ---- releasing

    @property
    def unreleased(self) -> bool:
        """Whether steps were made that no release has."""
        return self.position.step > self._released_step

    def release(self) -> None:
        """Save the state and release it; `realtime` points to it afterwards."""
        self.save()
        now = self.around.clock()
        made, is_new = release_state(
            self.run.path, self.model, self._source, self._describe, step=self.position.step, now=now
        )
        self._released_tokens, self._released_step = self.tokens, self.position.step
        if is_new:
            self.tally.releases.append(made.number)
            self.around.emit(
                {"event": "release", "step": self.position.step, "number": made.number, "path": str(made.path)}
                | {"evals": made.facts["evals"], "watermark": made.facts["watermark"]}
            )

    def _describe(self) -> dict[str, Any]:
        lineage = self._learned.lineage(self.run.segments, lambda root: read_documents(self.run.path, root))
        facts = self.run.facts
        return {
            "tokens": self.tokens,
            **lineage.to_json(),
            "base": facts["base"],
            "tokenizer": facts["tokenizer"],
            "seed": self._seed,
            "settings": self.settings.to_json(),
            "evals": self.measure(),
        }

    def measure(self) -> dict[str, Any]:
        """What `evaluate` says of the present weights; {} without one."""
        if self.around.evaluate is None:
            return {}
        self.model.eval()
        found = self.around.evaluate(self.model)
        self.model.train()
        self.around.emit({"event": "held-out", "step": self.position.step, "evals": found})
        return found


def _by_shard(windows: Iterable[Window]) -> list[list[Any]]:
    """Windows as [[root prefix, [indices]], ...], in their order: a shard is named again where another lay between."""
    grouped = groupby(windows, key=lambda window: window[0])
    return [[root[:ROOT_CHARS], [index for _, index in members]] for root, members in grouped]
