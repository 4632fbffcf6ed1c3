"""The outer optimiser that `clet train --sync` stands around its steps: a model on one side, `Rounds` on the other.

It implements the protocol `Outer` of clet/train/outer.py by shape. A round has `every` steps (H). A merge happens
before the first step that finds an exchange finished; it costs a copy of the parameters, as does the end of a round.
Parameters are exchanged in float32 whatever the model's type. The inner optimiser keeps its moments across merges, as
in DiLoCo.

Rounds are numbered, and the number is saved with the weights. A worker that was killed repeats the steps since its last
saved state and so the numbers of rounds that the server may already have merged: it gets the recorded answers, and no
window is learned into the group twice.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clet.exits import InputError, UsageError
from clet.log import log
from clet.sync.client import Client
from clet.sync.codec import CODECS, DEFAULT_CODEC
from clet.sync.protocol import Layout, worker_name
from clet.sync.rounds import DEFAULT_MAX_AHEAD, Rounds
from clet.sync.weights import identity_of, layout_of, read_parameters, write_parameters

if TYPE_CHECKING:
    from torch import Tensor

    from clet.model.decoder import Decoder

DEFAULT_EVERY = 20


class SyncWorker:
    """An `Outer` that exchanges with the server at `url`. `tokenizer` is the fingerprint of the model's tokenizer."""

    def __init__(
        self,
        url: str,
        *,
        worker: str,
        tokenizer: str,
        every: int = DEFAULT_EVERY,
        codec: str = DEFAULT_CODEC,
        token: str | None = None,
        ca_file: str | None = None,
        max_ahead: int = DEFAULT_MAX_AHEAD,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if codec not in CODECS:
            raise UsageError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}")
        try:
            self.worker = worker_name(worker)
        except InputError as error:
            raise UsageError(str(error)) from None
        self._client = Client(url, token=token, ca_file=ca_file)
        self._tokenizer, self._every = tokenizer, every
        self._settings = {"codec": codec, "max_ahead": max_ahead, "should_stop": should_stop}
        self._layout: Layout | None = None
        self._rounds: Rounds | None = None
        self._saved: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None
        self._news: dict[str, Any] = {}

    def start(self, model: Decoder, step: int) -> None:
        """Join; a new worker begins with the group's weights. Raises Unavailable, or UsageError for another model."""
        self._layout = layout_of(model)
        identity = identity_of(model, self._tokenizer)
        self._rounds = Rounds(self._client, self.worker, identity, self._layout.size, **self._settings)
        if self._saved is not None:
            self._rounds.restore(*self._saved)
            self._saved = None
        weights = self._rounds.begin()
        if weights is not None:
            write_parameters(model, self._layout, weights)
        log.info(f"worker {self.worker} at version {self._rounds.base} of {self._client.url}", event="sync")

    def before_step(self, model: Decoder, step: int) -> None:
        """Merge, if an exchange has finished."""
        self._merge(model)

    def after_step(self, model: Decoder, step: int, tokens: int) -> dict[str, Any]:
        """Count a step, end a round after each `every` steps; what was merged before it, for its line."""
        assert self._layout is not None and self._rounds is not None, "start first"
        layout = self._layout
        self._rounds.tokens += tokens
        if step % self._every == 0:
            self._merge(model)  # an exchange that finished during this step must not prolong the round
            self._rounds.finish(lambda: read_parameters(model, layout))
        news, self._news = self._news, {}
        return news

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON values and tensors to save with the weights."""
        import torch

        assert self._rounds is not None, "start first"
        tensors = {name: torch.from_numpy(array.copy()) for name, array in self._rounds.vectors().items()}
        return self._rounds.values(), tensors

    def load_state(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises InputError where it belongs to another worker or model.

        Nothing (`{}`) is what a run saved that trained alone so far: it begins with the group's weights.
        """
        if not values:
            return
        vectors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        if self._rounds is None:
            self._saved = (values, vectors)
        else:
            self._rounds.restore(values, vectors)
            self._news = {}

    def _merge(self, model: Decoder) -> None:
        assert self._layout is not None and self._rounds is not None, "start first"
        layout = self._layout
        weights, news = self._rounds.poll(lambda: read_parameters(model, layout))
        if weights is not None:
            write_parameters(model, layout, weights)
            self._news = {"sync": news}

    def close(self) -> None:
        """Wait a moment for the message under way, then leave. Never raises."""
        if self._rounds is not None:
            self._rounds.close()
        else:
            self._client.close()


def default_worker_name(run: str | Path) -> str:
    """A name that stays the same for one run directory on one host: the host's name and a hash of the path."""
    host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())[:40].strip("-") or "worker"
    return f"{host}-{hashlib.sha256(str(Path(run).resolve()).encode()).hexdigest()[:8]}"
