"""Continuous batching (Orca, OSDI 2022) on one thread: sequences join and leave the running batch at any step.

A step is one chunk of prompts that are being read, then one token for every sequence that is answering. Prompts are
read in chunks of a fixed size (Sarathi, arXiv:2308.16369), so that a long one delays a token of the others by one
chunk at most; several short ones share a step. Chunk borders depend on the prompt alone, and attention on a slot
alone, so an answer does not depend on its neighbours beyond the rounding of a matrix product of another height.

Memory: the weights, and one KV cache of `max_batch` slots of `max_len` tokens, allocated at the start. Waiting is
bounded: beyond `max_waiting` sequences new ones are refused at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clet.log import log
from clet.model.cache import KVCache
from clet.seeds import python_random
from clet.serve.generation import Generation
from clet.serve.limits import Limits
from clet.serve.loading import Served
from clet.serve.metrics import Metrics
from clet.serve.sampling import Sampler, Sampling, pick_tokens, score

CHUNK_TOKENS = {"cpu": 128, "cuda": 1024}  # CPU: 90 % of the GEMM rate of 1024 rows, an eighth of the delay
FILL_CHUNKS = 4  # chunks' worth of padded prompt tokens a step while nobody is being answered
SCORE_ROWS = 64  # rows of logits at a time when a prompt is scored: 64 x 152k x 4 bytes = 39 MB


class QueueFull(Exception):
    """More sequences are waiting than allowed; try again later."""


class EngineEnded(Exception):
    """The engine was stopped, or died of a bug."""


class Engine:
    """One model answering. Threads: any may `submit`; one of its own computes."""

    def __init__(self, served: Served, limits: Limits, metrics: Metrics) -> None:
        self.served, self.limits, self.metrics = served, limits, metrics
        weight = served.model.head_weight
        self._device = weight.device
        self._chunk = CHUNK_TOKENS.get(self._device.type, 1024)
        self._cache = KVCache(served.model.config, limits.max_batch, limits.max_len, weight.dtype, weight.device)
        self._free = list(range(limits.max_batch))
        self._active: list[Generation] = []
        self._waiting: deque[Generation] = deque()
        self._wake = threading.Condition()
        self._leases = 0
        self._retired = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"engine-{served.release}", daemon=True)
        self._thread.start()

    # ---- for other threads

    @property
    def num_running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._active)

    @property
    def num_waiting(self) -> int:
        """Sequences that wait for a slot."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """False after the engine ended, by retirement, `stop` or a bug."""
        return self._thread.is_alive()

    def submit(self, generations: Sequence[Generation]) -> None:
        """Queue all of them, or raise QueueFull (or EngineEnded) and none.

        The caller has seen to it that each one's prompt and max_tokens fit in `max_len`.
        """
        for generation in generations:
            assert len(generation.prompt) + generation.max_tokens <= self.limits.max_len
        with self._wake:
            if self._stopped:
                raise EngineEnded
            # A request larger than the queue is served when nothing else waits: else it never could be.
            if self._waiting and len(self._waiting) + len(generations) > self.limits.max_waiting:
                raise QueueFull
            self._waiting.extend(generations)
            self._wake.notify()

    @contextlib.contextmanager
    def lease(self) -> Iterator[Engine]:
        """While held, the engine does not end, though it may have been retired; submitted work holds it by itself."""
        with self._wake:
            self._leases += 1
        try:
            yield self
        finally:
            with self._wake:
                self._leases -= 1
                self._wake.notify()

    def retire(self) -> None:
        """End once nothing is running, waiting or leased; memory is free when the thread has ended."""
        with self._wake:
            self._retired = True
            self._wake.notify()

    def stop(self) -> None:
        """End now: whatever is running fails."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the thread; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def warm_up(self) -> None:
        """Generate a few tokens and wait for them, so that the first request finds everything ready.

        Raises RuntimeError when the engine cannot.
        """
        done, errors = threading.Event(), []

        def sink(delta) -> None:
            if delta.error:
                errors.append(delta.error)
            if delta.error or delta.finish:
                done.set()

        prompt = (self.served.start_ids or [0]) * min(8, self.limits.max_len // 2 or 1)
        sampler = Sampler(Sampling(temperature=0.0), python_random(0, "serve/warm-up"))
        room = min(3, self.limits.max_len - len(prompt))
        self.submit([Generation(prompt, sampler, sink, max_tokens=room, pieces=self.served.pieces)])
        while not done.wait(1.0):
            if not self.is_alive:
                raise RuntimeError("the engine ended during warm-up")
        if errors:
            raise RuntimeError(errors[0])

    # ---- its own thread

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._await_work():
                    self._step()
        finally:
            with self._wake:
                self._stopped = True
            for generation in [*self._active, *self._waiting]:
                generation.fail("the engine has ended")
            self._cache = None  # a late reader of an answer may hold the engine a while longer, but not its memory

    def _await_work(self) -> bool:
        """Give free slots to those that wait; block while there is nothing to do. False at the end."""
        with self._wake:
            while True:
                self._drop_cancelled()
                while self._waiting and self._free:
                    generation = self._waiting.popleft()
                    generation.slot = self._free.pop()
                    self._active.append(generation)
                if self._stopped or (self._retired and not (self._active or self._leases)):
                    return False
                if self._active:
                    return True
                self._wake.wait()

    def _drop_cancelled(self) -> None:
        for generation in [g for g in self._active if g.cancelled]:
            self._leave(generation)
        if any(g.cancelled for g in self._waiting):
            kept = [g for g in self._waiting if not g.cancelled]
            self._waiting.clear()
            self._waiting.extend(kept)

    def _leave(self, generation: Generation) -> None:
        self._active.remove(generation)
        self._free.append(generation.slot)

    def _step(self) -> None:
        filling = [g for g in self._active if g.is_filling]
        answering = [g for g in self._active if not g.is_filling]
        for batch, work in ((self._fill_rows(filling, bool(answering)), self._fill), (answering, self._answer)):
            if not batch:
                continue
            try:
                work(batch)
            except Exception as error:  # one batch is lost, the server is not: the next may fit in memory again
                log.error(f"release {self.served.release}: a step failed: {type(error).__name__}: {error}")
                for generation in batch:
                    if not generation.finished:
                        generation.fail(f"the engine failed: {type(error).__name__}")
        for generation in [g for g in self._active if g.finished]:
            self._leave(generation)

    def _fill_rows(self, filling: list[Generation], busy: bool) -> list[Generation]:
        """The prompts to read on in this step, longest waiting first: as many as padding leaves room for."""
        budget = self._chunk * (1 if busy else FILL_CHUNKS)
        rows: list[Generation] = []
        longest = 0
        for generation in filling:
            longest = max(longest, min(self._chunk, len(generation.prompt) - generation.num_cached))
            if rows and longest * (len(rows) + 1) > budget:
                break
            rows.append(generation)
        return rows

    def _fill(self, rows: list[Generation]) -> None:
        """Read one chunk of each prompt; those that are through get their first token."""
        chunks = [g.prompt[g.num_cached : g.num_cached + self._chunk] for g in rows]
        counts = [len(chunk) for chunk in chunks]
        width = max(counts)
        padded = torch.tensor([chunk + [0] * (width - len(chunk)) for chunk in chunks], device=self._device)
        view = self._cache.view([g.slot for g in rows], [g.num_cached for g in rows], counts)
        hidden = self.served.model.hidden(padded, cache=view)  # [rows, width, hidden]
        through: list[tuple[Generation, Tensor]] = []
        for generation, states, count in zip(rows, hidden, counts, strict=True):
            if generation.score_prompt:
                self._score_prompt(generation, states[:count])
            generation.num_cached += count
            if not generation.is_filling:
                through.append((generation, states[count - 1]))
        self.metrics.add_prompt(sum(counts))
        for generation, _ in through:
            if not generation.max_tokens:
                generation.finish("length")
        through = [(g, state) for g, state in through if not g.finished]
        if through:
            self._choose([g for g, _ in through], torch.stack([state for _, state in through]))

    def _answer(self, rows: list[Generation]) -> None:
        """One more token for each."""
        ids = torch.tensor([[g.last] for g in rows], device=self._device)
        view = self._cache.view([g.slot for g in rows], [g.num_cached for g in rows])
        hidden = self.served.model.hidden(ids, cache=view)
        for generation in rows:
            generation.num_cached += 1
        self._choose(rows, hidden[:, 0])

    def _choose(self, rows: list[Generation], states: Tensor) -> None:
        """Pick the next token of each row from its last state [rows, hidden]."""
        logits = self._head(states)
        # Rows of the head beyond the vocabulary (padding) count in log-probabilities, but are no possible answer.
        tokens = pick_tokens(logits[:, : self.served.tokenizer.vocab_size], [g.sampler for g in rows])
        for row, (generation, token) in enumerate(zip(rows, tokens, strict=True)):
            if token is None:
                generation.fail("the model's logits are not finite")
                continue
            scored = None
            if generation.num_top is not None:
                scored = score(logits[row : row + 1], [token], generation.num_top)[0]
            generation.accept(token, scored)
        self.metrics.add_answer(len(rows))

    def _score_prompt(self, generation: Generation, states: Tensor) -> None:
        """Log-probabilities of the prompt's tokens that these states [count, hidden] predict."""
        first = generation.num_cached + 1
        targets = generation.prompt[first : first + len(states)]
        for start in range(0, len(targets), SCORE_ROWS):
            part = targets[start : start + SCORE_ROWS]
            logits = self._head(states[start : start + len(part)])
            generation.prompt_scores.extend(score(logits, part, generation.num_top or 0))

    def _head(self, states: Tensor) -> Tensor:
        return F.linear(states, self.served.model.head_weight)
