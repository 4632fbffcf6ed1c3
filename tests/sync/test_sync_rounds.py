"""Workers against a real server: no barrier, nothing learned lost or counted twice, death on either side."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from clet.exits import InputError, TryLater, Unavailable
from clet.sync import rounds as rounds_module
from clet.sync.rounds import Rounds

from .conftest import LAYOUT, vector


class Worker:
    """A local optimiser on 1/2 (x - optimum)^2, driven turn by turn."""

    def __init__(self, made: Rounds, rate: float = 0.02, optimum: np.ndarray | None = None) -> None:
        self.rounds, self.rate = made, rate
        self.optimum = vector(100) if optimum is None else optimum
        begun = made.begin()
        self.local = np.zeros(LAYOUT.size, np.float32) if begun is None else begun.copy()

    def step(self, count: int = 10) -> None:
        for _ in range(count):
            self.local = self.local - np.float32(self.rate) * (self.local - self.optimum)
            self.rounds.tokens += 1

    def finish(self) -> None:
        self.rounds.finish(lambda: self.local)

    def settle(self) -> dict:
        """Wait for the exchange under way, then merge."""
        exchange = self.rounds._exchange
        assert exchange is not None and exchange.finished.wait(30)
        return self.merge()

    def merge(self) -> dict:
        merged, news = self.rounds.poll(lambda: self.local)
        self.local = self.local if merged is None else merged
        return news

    def distance(self) -> float:
        return float(np.abs(self.local - self.optimum).max())


def test_two_workers_of_different_speed_converge_without_a_barrier(serve, rounds):
    running = serve(max_staleness=6)
    fast, slow = Worker(rounds(running.url, "fast")), Worker(rounds(running.url, "slow"))
    far = fast.distance()
    stale = []
    for turn in range(1, 121):
        fast.step()
        fast.finish()
        fast.step(2)  # the exchange overlaps with these
        assert fast.settle()["outcome"] == "accepted"  # whatever the slow one does
        if turn % 4 == 0:  # four times slower: five versions late each time
            slow.step()
            slow.finish()
            news = slow.settle()
            assert news["outcome"] == "accepted"
            stale.append(news["staleness"])
    assert max(stale) == 4 and running.server.version == 150
    assert max(fast.distance(), slow.distance()) < 0.02 * far
    assert np.abs(running.server.published[1] - fast.optimum).max() < 0.02 * far


def test_one_worker_alone_is_its_own_trajectory(serve, rounds):
    # Outer rate one and no momentum: with each step sent exactly once, global and local stay one path.
    running = serve(lr=1.0, momentum=0.0)
    worker = Worker(rounds(running.url, codec="fp32"))
    alone = worker.local.copy()
    for _ in range(12):
        worker.step(5)
        worker.finish()
        worker.step(3)
        assert worker.settle()["staleness"] == 0
        for _ in range(8):
            alone = alone - np.float32(worker.rate) * (alone - worker.optimum)
    np.testing.assert_allclose(worker.local, alone, atol=2e-5)
    assert running.server.status()["tokens"] == 12 * 8 - 3  # the last three steps belong to the next round


def test_a_round_beyond_the_bound_is_dropped_and_the_worker_goes_on_from_the_newest(serve, rounds):
    running = serve(max_staleness=1)
    fast, slow = Worker(rounds(running.url, "fast")), Worker(rounds(running.url, "slow"))
    slow.step(3)
    for _ in range(3):
        fast.step()
        fast.finish()
        fast.settle()
    residual = slow.rounds._feedback.residual
    slow.finish()
    slow.step(2)
    news = slow.settle()
    assert (news["outcome"], news["version"]) == ("stale", 3)
    assert np.array_equal(slow.local, running.server.published[1])
    assert slow.rounds.dropped_tokens == 5 and slow.rounds.tokens == 0
    assert np.array_equal(slow.rounds._feedback.residual, residual)  # still owed from before
    slow.step()
    slow.finish()
    assert slow.settle()["outcome"] == "accepted"


def resume(make: Callable[..., Rounds], url: str, worker: Worker) -> Worker:
    """What a new process makes of what `worker` would save now."""
    values, vectors = worker.rounds.values(), {n: v.copy() for n, v in worker.rounds.vectors().items()}
    again = make(url)
    again.restore(values, vectors)
    resumed = Worker(again)
    resumed.local = worker.local.copy()
    return resumed


def test_a_worker_killed_after_the_server_merged_its_round_is_not_merged_twice(serve, rounds):
    running = serve()
    worker = Worker(rounds(running.url))
    worker.step()
    worker.finish()
    assert worker.rounds._exchange.finished.wait(30)  # answered, but the worker dies before it merges
    worker.step(4)
    resumed = resume(rounds, running.url, worker)
    news = resumed.settle()
    assert (news["outcome"], news["version"], running.server.version) == ("accepted", 1, 1)
    assert worker.merge() == news and np.array_equal(resumed.local, worker.local)
    assert running.server.status()["workers"]["w"]["epoch"] == 2
    resumed.step()
    resumed.finish()
    assert resumed.settle()["version"] == 2 and resumed.rounds.sequence == 2


def test_a_worker_killed_before_its_round_arrived_sends_it_again_under_the_same_number(serve, rounds):
    running = serve()
    worker = Worker(rounds(running.url))
    port = running.port
    running.drop()
    worker.step()
    worker.finish()
    resumed = resume(rounds, running.url, worker)
    worker.rounds._exchange.cancelled.set()
    running = serve(port=port)
    assert resumed.settle()["outcome"] == "accepted"
    assert running.server.status()["workers"]["w"]["sequence"] == 1 and running.server.version == 1


def test_a_resumed_worker_that_repeats_rounds_gets_recorded_answers(serve, rounds):
    running = serve()
    worker = Worker(rounds(running.url))
    values, vectors, local = worker.rounds.values(), worker.rounds.vectors(), worker.local
    for _ in range(3):
        worker.step()
        worker.finish()
        worker.settle()
    again = rounds(running.url)
    again.restore(values, vectors)  # saved before the three rounds
    resumed = Worker(again)
    resumed.local = local
    for number in (1, 2, 3):
        resumed.step()
        resumed.finish()
        assert resumed.settle()["outcome"] == "accepted" and resumed.rounds.sequence == number
    assert running.server.version == 3
    np.testing.assert_allclose(resumed.local, running.server.published[1])


def test_an_older_incarnation_of_a_worker_is_told_to_end(serve, rounds):
    running = serve()
    old = Worker(rounds(running.url))
    Worker(rounds(running.url))
    old.step()
    old.finish()
    with pytest.raises(TryLater, match="name of its own"):
        old.settle()


def test_training_goes_on_while_the_server_is_dead_and_nothing_of_it_is_lost(serve, rounds):
    running = serve(lr=1.0, momentum=0.0)
    worker = Worker(rounds(running.url, codec="fp32", max_ahead=10))
    worker.step()
    worker.finish()
    worker.settle()
    port = running.port
    running.drop()
    for _ in range(4):
        worker.step()
        worker.finish()  # the first is under way, three more add up
        assert worker.merge() == {}
    assert worker.rounds.ahead == 3 and worker.rounds.tokens == 30
    running = serve(port=port, lr=1.0, momentum=0.0)
    assert worker.settle()["outcome"] == "accepted"
    worker.finish()
    worker.settle()
    assert running.server.status()["tokens"] == 50 and running.server.version == 3
    np.testing.assert_allclose(worker.local, running.server.published[1], atol=1e-5)


def test_a_worker_runs_ahead_only_so_far(serve, rounds, monkeypatch):
    monkeypatch.setattr(rounds_module, "POLL_S", 0.01)
    monkeypatch.setattr(rounds_module, "WAIT_PATIENCE_S", 0.05)
    stop = threading.Event()
    running = serve()
    patient = Worker(rounds(running.url, "patient", max_ahead=2))
    stopping = Worker(rounds(running.url, "stopping", max_ahead=1, should_stop=stop.is_set))
    running.drop()
    for worker in (patient, stopping):
        worker.step()
        worker.finish()
        worker.step()
    patient.finish()  # one ahead: goes on
    with pytest.raises(Unavailable):
        patient.finish()
    stop.set()
    stopping.finish()  # SIGTERM came: no reason to wait


def test_steps_taken_while_the_others_ran_far_ahead_are_dropped(serve, rounds):
    running = serve(max_staleness=1)
    slow, fast = Worker(rounds(running.url, "slow")), Worker(rounds(running.url, "fast"))
    slow.step()
    slow.finish()
    assert slow.rounds._exchange.answered.wait(30) and slow.rounds._exchange.finished.wait(30)
    for _ in range(3):
        fast.step()
        fast.finish()
        fast.settle()
    slow.step(7)
    slow.rounds._exchange.pulled = (running.server.version, running.server.published[1])  # as if the pull took long
    assert slow.merge()["outcome"] == "accepted"
    assert slow.rounds.dropped_tokens == 7 and np.array_equal(slow.local, running.server.published[1])


def test_weights_that_are_not_finite_are_never_sent(serve, rounds):
    running = serve()
    worker = Worker(rounds(running.url))
    worker.step()
    worker.local = worker.local * np.float32(np.nan)
    worker.finish()
    worker.settle()
    assert running.server.status()["outcomes"] == {} and np.array_equal(worker.local, vector(0))


def test_saved_rounds_of_another_worker_or_model_are_refused(serve, rounds):
    running = serve()
    worker = Worker(rounds(running.url))
    with pytest.raises(InputError, match="give that name"):
        rounds(running.url, "other").restore(worker.rounds.values(), worker.rounds.vectors())
    with pytest.raises(InputError, match="another model"):
        rounds(running.url).restore(worker.rounds.values(), {"start": vector(0)[:-1], "residual": vector(0)})


def test_a_server_that_is_not_there_is_named(rounds, monkeypatch):
    monkeypatch.setattr(rounds_module, "JOIN_PATIENCE_S", 0.1)
    monkeypatch.setattr(rounds_module, "POLL_S", 0.05)
    with pytest.raises(Unavailable, match="is clet sync-server running"):
        rounds("http://127.0.0.1:1").begin()
