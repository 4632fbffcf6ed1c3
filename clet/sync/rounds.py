"""A worker's rounds: local progress out, the group's weights in, while training goes on.

All bookkeeping is one vector, `start`: what was learned and not yet sent is always `start - local`. A round ends after
some steps: that difference (a pseudo-gradient, DiLoCo, arXiv:2311.08105) is encoded, `start` becomes the local
weights, and a thread pushes the message and pulls the newest version while the next steps run, as in Streaming DiLoCo's
overlap (arXiv:2501.18512). When the thread is done, before the next step,

    local <- pulled + (local - start);  start <- pulled

so the steps taken meanwhile are kept, and belong to the next round: each step counts in exactly one message. The merged
weights are late by as many steps as the exchange took, at most by the bound below.

A refused round (too stale, or judged harmful) is rebased by dropping: `local <- pulled`, and both the round and the
steps since are forgotten. Putting them on top of the newest weights instead would send the stale gradient once more
under a fresh version, and so undo the bound that the server keeps. For the same reason the steps taken during an
exchange are dropped when more than the bound of versions were made meanwhile. In a fleet smaller than the bound this
happens to a worker only when it was cut off, or is several times slower than its peers.

If the server cannot be reached, training goes on: the thread tries again with growing pauses, `local - start` keeps
adding up, and after `max_ahead` rounds the worker waits, since more would only be dropped as stale.

Memory: `start`, the residual of error feedback, its value before the message under way, the message; while an exchange
runs also the pulled vector. `values` and `vectors` are all it takes to resume.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clet.exits import CletError, InputError, Unavailable
from clet.log import log
from clet.seeds import python_random
from clet.sync.client import Client, Unreachable
from clet.sync.codec import DEFAULT_CODEC, ErrorFeedback
from clet.sync.protocol import DEFAULT_MAX_STALENESS, DeltaHeader, Identity, Outcome

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
JOIN_PATIENCE_S = 60.0
WAIT_PATIENCE_S = 600.0
POLL_S = 0.2
CLOSE_S = 5.0
DEFAULT_MAX_AHEAD = 4


@dataclass(frozen=True)
class Pending:
    """The message under way."""

    sequence: int
    base: int
    tokens: int
    message: bytes


class Exchange(threading.Thread):
    """Joins if need be, pushes `pending` if there is one, pulls. Then `finished` is set, and the results are there."""

    def __init__(self, rounds: Rounds, pending: Pending | None) -> None:
        super().__init__(name="clet-sync", daemon=True)
        self.answered, self.finished, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.answer: dict[str, Any] = {}
        self.pulled: tuple[int, np.ndarray] | None = None
        self.error: CletError | None = None
        self._rounds, self._pending = rounds, pending

    def run(self) -> None:
        """The exchange; ends without result when cancelled."""
        rounds, pending = self._rounds, self._pending
        try:
            if rounds.epoch is None:
                self._insist(rounds.join)
            if pending is not None:
                while (answer := self._insist(lambda: rounds.push(pending))) is None:
                    self._insist(rounds.join)
                self.answer = answer
            self.answered.set()
            self.pulled = self._insist(lambda: rounds.client.pull(rounds.size))
        except Unreachable:
            pass  # cancelled
        except CletError as error:
            self.error = error
        finally:
            self.answered.set()
            self.finished.set()

    def _insist(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, tried again while the server cannot be reached. Unreachable when cancelled."""
        pauses = python_random(0, f"sync/{self._rounds.worker}")  # workers that lost one server return spread out
        tries = 0
        while True:
            if self.cancelled.is_set():
                raise Unreachable
            try:
                return call()
            except Unreachable as error:
                if tries == 0:
                    url = self._rounds.client.url
                    log.warn(f"{url} cannot be reached ({error}); trying again", event="unreachable")
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries, 10)) * pauses.uniform(0.5, 1.0)
                tries += 1
                self.cancelled.wait(pause)


class Rounds:
    """The exchange of one worker over float32 vectors [size]. Called from one thread."""

    def __init__(
        self,
        client: Client,
        worker: str,
        identity: Identity,
        size: int,
        *,
        codec: str = DEFAULT_CODEC,
        max_ahead: int = DEFAULT_MAX_AHEAD,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.client, self.worker, self.identity, self.size = client, worker, identity, size
        self.epoch: int | None = None
        self.base = self.sequence = self.tokens = self.dropped_tokens = self.ahead = 0
        self._codec, self._max_ahead, self._should_stop = codec, max_ahead, should_stop
        self._start: np.ndarray | None = None
        self._feedback = ErrorFeedback(size)
        self._owed = self._feedback.residual  # the residual before the message under way
        self._pending: Pending | None = None
        self._exchange: Exchange | None = None
        self._begun = False
        self._max_staleness = DEFAULT_MAX_STALENESS

    def join(self) -> None:
        """Become the newest incarnation of this worker. Raises Unreachable, or UsageError for another model."""
        answer = self.client.join(self.worker, self.identity)
        self.epoch, self._max_staleness = answer["epoch"], answer["max_staleness"]
        self.sequence = max(self.sequence, answer["sequence"]) if self._start is None else self.sequence

    def push(self, pending: Pending) -> dict[str, Any] | None:
        """Send one message under the epoch in force; None where the server does not know it."""
        assert self.epoch is not None, "join first"
        header = DeltaHeader(self.worker, self.epoch, pending.sequence, pending.base, pending.tokens)
        return self.client.push(header, pending.message)

    def begin(self) -> np.ndarray | None:
        """Take up the work: the group's weights for a new worker, None for one that was restored.

        A new worker needs the server: Unavailable when it cannot be reached for `JOIN_PATIENCE_S`.
        """
        self._begun = True
        if self._start is not None:
            if self._pending is not None:
                self._launch(self._pending)
            return None
        exchange = self._launch(None)
        waited = 0.0
        while not exchange.finished.wait(POLL_S):
            waited += POLL_S
            if waited >= JOIN_PATIENCE_S or self._should_stop():
                exchange.cancelled.set()
                raise Unavailable(f"{self.client.url} cannot be reached; is clet sync-server running there?")
        self._exchange = None
        if exchange.error is not None:
            raise exchange.error
        assert exchange.pulled is not None
        self.base, self._start = exchange.pulled
        return self._start

    def poll(self, read: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, dict[str, Any]]:
        """(new local weights, what happened) if an exchange has finished, else (None, {}).

        `read` gives the local weights and is called only then. Raises what the server refused for good.
        """
        exchange = self._exchange
        if exchange is None or not exchange.finished.is_set():
            return None, {}
        self._exchange = None
        if exchange.error is not None:
            raise exchange.error
        assert exchange.pulled is not None and self._start is not None
        version, pulled = exchange.pulled
        pending, self._pending, self.ahead = self._pending, None, 0
        outcome = exchange.answer.get("status", Outcome.REFUSED)
        merged = outcome in (Outcome.ACCEPTED, Outcome.REPEATED)
        late = version - self.base - merged
        if merged and late <= self._max_staleness:
            local = pulled + (read() - self._start)
        else:
            local = pulled
            self.dropped_tokens += self.tokens
            self.tokens = 0
        if not merged:
            self._feedback.residual = self._owed
            self.dropped_tokens += pending.tokens if pending else 0
            reason = exchange.answer.get("reason", "not finite")
            log.warn(f"round {self.sequence} was not merged ({reason}); on from version {version}", event="rebase")
        self.base, self._start = version, pulled
        details = {name: exchange.answer[name] for name in ("staleness", "weight", "reason") if name in exchange.answer}
        return local, {"version": version, "outcome": str(outcome), **details}

    def finish(self, read: Callable[[], np.ndarray]) -> None:
        """End a round: send what was learned since the last one, unless that one is still under way.

        At most `max_ahead` rounds run ahead of a server that does not answer; then this waits for it, until
        `should_stop`, or raises Unavailable after `WAIT_PATIENCE_S`.
        """
        assert self._start is not None, "begin first"
        if self._exchange is not None:
            self.ahead += 1
            if self.ahead >= self._max_ahead:
                self._wait(self._exchange)
            return
        if not self.tokens:
            return
        local = read()
        delta = self._start - local
        self._start = local
        self._owed = self._feedback.residual
        tokens, self.tokens = self.tokens, 0
        if not np.isfinite(delta).all():
            self.dropped_tokens += tokens
            self._launch(None)  # nothing to send: fetch weights that are finite
            return
        self.sequence += 1
        message = self._feedback.encode(delta, self._codec)
        self._pending = Pending(self.sequence, self.base, tokens, message)
        self._launch(self._pending)

    def values(self) -> dict[str, Any]:
        """JSON values to save, together with `vectors`."""
        pending = asdict(self._pending) if self._pending else None
        if pending:
            del pending["message"]
        names = ("worker", "base", "sequence", "tokens", "dropped_tokens")
        return {name: getattr(self, name) for name in names} | {"pending": pending}

    def vectors(self) -> dict[str, np.ndarray]:
        """Arrays to save, together with `values`."""
        assert self._start is not None, "begin first"
        arrays = {"start": self._start, "residual": self._feedback.residual}
        if self._pending is not None:
            arrays |= {"owed": self._owed, "message": np.frombuffer(self._pending.message, np.uint8)}
        return arrays

    def restore(self, values: dict[str, Any], vectors: dict[str, np.ndarray]) -> None:
        """Continue from what `values` and `vectors` gave. In mid-run the sequence never goes back. InputError."""
        if values["worker"] != self.worker:
            raise InputError(f"this run was worker {values['worker']}, not {self.worker}; give that name")
        if any(vectors[name].shape != (self.size,) for name in vectors if name != "message"):
            raise InputError("the saved synchronisation state belongs to another model")
        if self._exchange is not None:
            self._exchange.cancelled.set()
            self._exchange = None
        self.base, self.tokens, self.dropped_tokens = values["base"], values["tokens"], values["dropped_tokens"]
        self.sequence, self.ahead = max(self.sequence, values["sequence"]), 0
        self._start, self._feedback.residual = vectors["start"], vectors["residual"]
        self._owed = vectors.get("owed", vectors["residual"])
        self._pending = None
        if pending := values["pending"]:
            self._pending = Pending(**pending, message=vectors["message"].tobytes())
            if self._begun:
                self._launch(self._pending)

    def close(self) -> None:
        """Give the message under way a moment to be acknowledged, then leave."""
        if self._exchange is not None:
            self._exchange.answered.wait(CLOSE_S)
            self._exchange.cancelled.set()
        self.client.close()

    def _launch(self, pending: Pending | None) -> Exchange:
        self._exchange = Exchange(self, pending)
        self._exchange.start()
        return self._exchange

    def _wait(self, exchange: Exchange) -> None:
        log.warn(f"{self.ahead} rounds ahead of {self.client.url}; waiting for it", event="waiting")
        waited = 0.0
        while not exchange.finished.wait(POLL_S) and not self._should_stop():
            waited += POLL_S
            if waited >= WAIT_PATIENCE_S:
                raise Unavailable(f"{self.client.url} did not answer for {waited:.0f} s; train again when it runs")
