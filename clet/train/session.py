"""One invocation of the trainer from beginning to end: open, resume, learn, release, and with `follow` wait for more.

A release is made whenever everything that is known was learned, and when the token budget is reached; so a run that
follows a shard directory releases each time it has caught up. An interrupted invocation (SIGTERM) saves and releases
nothing: the next one goes on where it stopped. A run that the breaker has paused waits with `follow`, and ends the
invocation with 75 without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clet.exits import NothingToDo, TryLater, UsageError
from clet.log import log
from clet.release import announce, was_judged, was_signed
from clet.seeds import DEFAULT_SEED
from clet.shards.manifest import find_shards, unlisted_shards
from clet.train import quarantine, requests, savepoint, start
from clet.train.breaker import GaveUp
from clet.train.dtype import choose_dtype
from clet.train.loop import Surroundings, Tally, Trainer
from clet.train.release import newest_release
from clet.train.rundir import RunDirectory
from clet.train.settings import Settings
from clet.train.share import check_present
from clet.train.shelf import Shelf
from clet.train.watch import Watch

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Order:
    """What an invocation was asked to do; `settings` holds those that were given (None: as the run has them)."""

    shards: Sequence[str]
    run: str
    model: str | None
    settings: Mapping[str, Any]
    seed: int | None  # None: the run's
    tokens: int | None = None
    follow: bool = False
    device: str = "auto"


def learn(order: Order, surround: Callable[[Path], Surroundings]) -> Tally:
    """Carry out an order; `surround(model directory)` gives the surroundings once that directory is known.

    Raises NothingToDo where every shard was learned and released before.
    """
    entries = find_shards(order.shards, may_be_empty=order.follow)
    with RunDirectory.open(order.run) as run:
        known_bytes = savepoint.check_known(run.path)
        if order.model is None and not run.facts:
            raise UsageError(f"{order.run}: a new run needs --model DIR to start from")
        source = Path(order.model or run.facts["model"])
        seed = order.seed if order.seed is not None else run.facts.get("seed", DEFAULT_SEED)
        settings = Settings.from_json(run.facts.get("settings", {}))
        threads = start.set_threads(order.settings.get("threads"), settings.threads)
        settings = settings.changed(dict(order.settings) | {"threads": threads})
        model = start.open_model(source, settings, start.choose_device(order.device), seed)
        settings = settings.changed({"dtype": choose_dtype(settings.dtype, model)})
        if not order.follow:  # which may wait for a lane's first shard
            check_present(entries, settings.lanes)
        settings = start.describe_run(run, model, source, settings, seed)
        shelf = start.open_shelf(run, model.config, entries)
        around = surround(source)
        with ExitStack() as stack:
            if around.outer:
                stack.callback(around.outer.close)
            quarantine.finish(run, known_bytes)
            start.add_new_shards(run, shelf, model.config, settings, entries)
            trainer = Trainer(run, model, source, shelf, settings, seed, around)
            stack.callback(trainer.close)
            trainer.restore()
            start.keep_settings(run, settings)
            _announce_newest(run.path, trainer, around)
            if around.gates is None and was_judged(run.path):
                log.warn(
                    f"{order.run}: releases before this had gates, and now none are given: what is released will not be"
                    " live by itself; give --require, and --held-out or --canaries with it"
                )
            if around.sign is None and was_signed(run.path):
                log.warn(f"{order.run}: the newest release is signed; those to come will not be, without --sign-key")
            watch = Watch(order.shards)
            try:
                return _session(order, trainer, run, lambda: watch.changed() and _look(order, trainer, shelf, settings))
            except GaveUp:
                start.take_back_settings(run)
                raise


def _announce_newest(run: Path, trainer: Trainer, around: Surroundings) -> None:
    """A trainer killed right after making a release did not point to it."""
    if (newest := newest_release(run, trainer.breaker.recalled)) is not None:
        announce(run, newest, around.clock())


def _session(order: Order, trainer: Trainer, run: RunDirectory, look: Callable[[], bool]) -> Tally:
    stop = trainer.around.stop
    step = trainer.position.step
    if not _go_on(order, run, stop):
        return trainer.tally
    asked = requests.open_request(run.path) is not None
    if trainer.caught_up and not trainer.unreleased and not order.follow and not asked:
        learned = f"every shard was learned by step {step}" if run.segments else "no shard to learn from"
        lost = len(unlisted_shards(order.shards))
        why = f"shards in no manifest: {lost}, see clet shard --verify" if lost else "shard something new"
        raise NothingToDo(f"{order.run}: {learned}; {why}")
    goal = start.open_goal(run, order.tokens, trainer.tokens, unreleased=trainer.unreleased)
    log.info(f"{order.run}: {'resumed at' if step else 'starts with'} step {step}", event="start", step=step)
    if not trainer.caught_up:
        trainer.measure()
    while True:
        trainer.train(goal)
        if stop.is_set():
            trainer.save()
        if not _go_on(order, run, stop):
            return trainer.tally
        if not trainer.caught_up and (goal is None or trainer.tokens < goal):
            continue  # it was paused
        if trainer.unreleased and not trainer.release():
            continue  # the breaker went back
        trainer.save()
        if stop.is_set():
            return trainer.tally
        if not order.follow or (goal is not None and trainer.tokens >= goal):
            start.close_goal(run)
            trainer.prove_settings()
            return trainer.tally
        while not look() and requests.open_request(run.path) is None and not trainer.around.trip.is_set():
            if stop.wait(LOOK_EVERY_S):
                return trainer.tally


def _go_on(order: Order, run: RunDirectory, stop: threading.Event) -> bool:
    """Wait until the run is not paused; False where it shall end. Raises TryLater for a paused run without `follow`."""
    told = False
    while not stop.is_set() and (why := requests.paused(run.path)) is not None:
        line = f"{order.run}: paused by the breaker ({why}); look at it, then clet release resume {order.run}"
        if not order.follow:
            raise TryLater(line)
        if not told:
            log.warn(line, event="paused")
        told = True
        stop.wait(LOOK_EVERY_S)
    return not stop.is_set()


def _look(order: Order, trainer: Trainer, shelf: Shelf, settings: Settings) -> bool:
    """Whether there are shards that the run had not seen; they are its next segment then."""
    try:
        entries = find_shards(order.shards, may_be_empty=True)
    except UsageError as error:  # it may just be being replaced
        log.warn(f"{error}; looking on", event="gone")
        return False
    return start.add_new_shards(trainer.run, shelf, trainer.model.config, settings, entries) is not None
