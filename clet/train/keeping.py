"""What a run is at a moment, kept: copied in the loop's time, written aside, put back to the last bit.

Everything that decides the next step is in it or computed from it: weights and moments, the position in the feed (the
learning rate and the random streams follow from the step's number; there is no other generator to save), what was
learned, what the breaker has seen, and whether a release is due. A copy costs the loop the time of reading weights and
moments once; it is made on the device if there is room, and lives until it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from clet.exits import InputError
from clet.model.decoder import Decoder
from clet.model.lora import learned_state, load_learned
from clet.train import optimizer as optimisers
from clet.train import savepoint
from clet.train.aside import Aside
from clet.train.breaker import Breaker
from clet.train.feed import Position
from clet.train.learned import Learned
from clet.train.outer import Outer
from clet.train.rundir import RunDirectory
from clet.train.savepoint import Savepoint, Tensors


@dataclass
class Progress:
    """How far a run came: where in the feed, how many tokens, of what, and whether a release is to be made here."""

    position: Position = field(default_factory=Position)
    tokens: int = 0
    learned: Learned = field(default_factory=Learned)
    release_due: bool = False


class Keeper:
    """Saves and restores a run's state. `told` gets an event when a state is durable."""

    def __init__(
        self,
        run: RunDirectory,
        model: Decoder,
        optimizer: optimisers.Optimizer,
        breaker: Breaker,
        outer: Outer | None,
        aside: Aside,
        told: Callable[[dict[str, Any]], None],
    ):
        self._run, self._model, self._optimizer, self._breaker = run, model, optimizer, breaker
        self._outer, self._aside, self._told = outer, aside, told
        self._folder = run.path / "state"
        self._saved: tuple[Position, bool, bool] | None = None  # position, a release was due, verified

    def load(self) -> Progress | None:
        """Put back the newest true state; None where there is none. Raises InputError where all are damaged."""
        saved = savepoint.load(self._folder, self._breaker.is_true)
        return None if saved is None else self.put_back(saved)

    def save(self, progress: Progress, *, verified: bool = False, keep: bool = False) -> dict[str, Tensors] | None:
        """Save what is not saved already; with `keep` the copy is returned that `put_back_copy` takes.

        Waits for what is being written. Raises WriteError for that, after which the state saved before stands.
        """
        now = (progress.position, progress.release_due, verified)
        saved = self._saved is not None and self._saved[0] == now[0] and all(
            have >= want for have, want in zip(self._saved[1:], now[1:], strict=True)
        )  # fmt: skip
        if saved and not keep:
            return None
        self._aside.wait()
        began = time.perf_counter()
        outer_values, outer_tensors = self._outer.state() if self._outer else ({}, {})
        tensors = {
            "weights": _copies(learned_state(self._model)),
            "moments": _copies(optimisers.moments(self._optimizer)),
            "learned": {name: torch.from_numpy(bits.copy()) for name, bits in progress.learned.arrays().items()},
            "outer": outer_tensors,
            "breaker": {"unigram": torch.from_numpy(self._breaker.unigram.counts.copy())},
        }
        self._aside.stalled_s += time.perf_counter() - began
        if not saved:
            position = progress.position
            values = {
                "position": {"segment": position.segment, "offset": position.offset, "step": position.step},
                "segments": len(self._run.segments),
                "tokens": progress.tokens,
                "release_due": progress.release_due,
                "steps_bytes": self._run.steps_length(),
                "steps_digest": self._run.steps_digest(),
                "breaker": self._breaker.state(),
                "outer": outer_values,
            }
            self._saved = now
            self._aside.submit(lambda: self._write(values, tensors, verified), self._told)
        return tensors if keep else None

    def _write(self, values: dict[str, Any], tensors: dict[str, Tensors], verified: bool) -> dict[str, Any]:
        self._run.sync_steps()
        slot = savepoint.save(self._folder, values, tensors, verified=verified, true=self._breaker.is_true)
        return {"event": "checkpoint", "step": values["position"]["step"], "verified": verified, "path": str(slot)}

    # ---- back

    def good_state(self, before: int, *, verified: bool) -> Savepoint:
        """The newest true state of a step below `before`; with `verified` the newest whose checks passed.

        Where there is none such it is the oldest. Everything handed over has to be written by now.
        """
        states = savepoint.list_states(self._folder, self._breaker.is_true)
        good = [step for step, is_verified in states if step < before and (is_verified or not verified)]
        wanted = max(good, default=min((step for step, _ in states), default=0))  # else as far back as can be

        def fits(values: dict[str, Any]) -> bool:
            return self._breaker.is_true(values) and values["position"]["step"] <= wanted

        saved = savepoint.load(self._folder, fits)
        if saved is None:
            raise InputError(f"{self._folder}: no state to go back to; start a new --run from the newest release")
        return saved

    def put_back(self, saved: Savepoint) -> Progress:
        """The run as it was saved; lines of steps made later are cut off."""
        values, tensors = saved.values, saved.tensors
        self._put_back_weights(tensors)
        self._breaker.load(values["breaker"], tensors["breaker"]["unigram"].numpy())
        progress = Progress(
            Position(**values["position"]),
            values["tokens"],
            Learned.from_arrays({name: bits.numpy() for name, bits in tensors["learned"].items()}),
            values["release_due"],
        )
        self._saved = (progress.position, progress.release_due, saved.verified)
        self._run.open_steps(values["steps_bytes"])
        if self._outer:
            self._outer.load_state(values["outer"], tensors["outer"])
        return progress

    def put_back_copy(self, tensors: dict[str, Tensors]) -> None:
        """Weights and moments as `save` copied them; waits until they are written, then takes them over."""
        self._aside.wait()
        self._put_back_weights(tensors)

    def _put_back_weights(self, tensors: dict[str, Tensors]) -> None:
        load_learned(self._model, tensors["weights"])
        self._optimizer.zero_grad()
        optimisers.restore_moments(self._optimizer, tensors["moments"])


def _copies(tensors: Tensors) -> Tensors:
    """Copies on the same device if it has room for them, else in main memory."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < 1.25 * size:
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
