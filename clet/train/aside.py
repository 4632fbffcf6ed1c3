"""Work beside the loop: what goes to disk is written by one thread, in order, while the next steps are made.

Only a copy of the weights stops the loop; files, checksums, hashes and the evaluation of a release do not. Jobs run
one after the other in the order they were handed over: a state before the release that was made from it. Events of
finished jobs are told, and their errors raised, in the loop's own thread: at its next look, or when it waits.

Memory: what the jobs hold, so whoever hands over a copy of the weights waits for the one before to be written.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

Job = Callable[[], Any]


class Aside:
    """One thread and its queue. `stalled_s` is how long the loop has waited for it, and made copies for it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clet-aside")
        self._jobs: deque[tuple[Future, Callable[[Any], None]]] = deque()
        self._failed = False
        self.stalled_s = 0.0

    def submit(self, job: Job, done: Callable[[Any], None]) -> None:
        """Run `job` aside; `done` gets its result, in the thread that looks or waits."""
        self._jobs.append((self._pool.submit(self._run, job), done))

    def _run(self, job: Job) -> Any:
        if self._failed:  # a release whose state could not be saved is not made
            raise CancelledError
        try:
            return job()
        except BaseException:
            self._failed = True
            raise

    def look(self) -> None:
        """Tell of the jobs that are finished. Raises what they raised; after that the loop has to end."""
        while self._jobs and self._jobs[0][0].done():
            self._settle()

    def wait(self) -> None:
        """Until all jobs are finished, then as `look`."""
        began = time.perf_counter()
        while self._jobs:
            self._settle()
        self.stalled_s += time.perf_counter() - began

    def _settle(self) -> None:
        future, done = self._jobs.popleft()
        done(future.result())

    def close(self) -> None:
        """The job that runs is finished, those behind it are dropped, results and errors are forgotten."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._jobs.clear()
