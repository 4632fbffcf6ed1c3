"""A sync server over HTTP inside the test process, on a vector instead of a model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from clet import seeds
from clet.http_server import bind
from clet.sync import rounds as rounds_module
from clet.sync.client import Client
from clet.sync.http import SyncApp
from clet.sync.protocol import Identity, Layout
from clet.sync.rounds import Rounds
from clet.sync.server import Settings, SyncServer
from clet.sync.store import Store

LAYOUT = Layout.of({"a.weight": (40, 20), "b.weight": (3,)})
IDENTITY = Identity.of({"hidden_size": 40}, "fp", LAYOUT)


def vector(seed: int, scale: float = 1.0) -> np.ndarray:
    """A random vector in the layout, gaps zero."""
    generator = seeds.numpy_generator(seed, "test")
    return LAYOUT.flatten(
        {
            name: (scale * generator.standard_normal(shape)).astype(np.float32)
            for name, shape in zip(LAYOUT.names, LAYOUT.shapes, strict=True)
        }
    )


class Running:
    """A server with its address; `stop` ends HTTP and closes everything, `drop` ends it as kill -9 would."""

    def __init__(
        self, state: Path, settings: Settings, tokens: list[str], initial: np.ndarray, identity: Identity, port: int
    ) -> None:
        self.store = Store.open(state, identity)
        self.server = SyncServer(self.store, identity, settings)
        self.server.start(initial.size, lambda: initial)
        self.app = SyncApp(self.server, tokens)
        sock = bind(f"127.0.0.1:{port}")
        self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(self.app.asgi, log_config=None, access_log=False, lifespan="on", http="httptools")
        self._uvicorn = uvicorn.Server(config)
        self._uvicorn.capture_signals = contextlib.nullcontext
        self._thread = threading.Thread(target=self._uvicorn.run, args=([sock],))
        self._thread.start()

    def drop(self) -> None:
        """End without a last snapshot."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self.app.close()
        self.store.close()

    def stop(self) -> None:
        """End as SIGTERM does."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self.app.close()
        self.server.close()
        self.store.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers on one state directory; the last one is ended with the test."""
    running: list[Running] = []

    def start(
        tokens: list[str] = [],
        initial: np.ndarray | None = None,
        identity: Identity = IDENTITY,
        port: int = 0,
        **settings: float,
    ) -> Running:
        first = vector(0) if initial is None else initial
        made = Running(tmp_path / "state", Settings(**settings), tokens, first, identity, port)
        running.append(made)
        return made

    yield start
    if running:
        with contextlib.suppress(Exception):
            running[-1].drop()


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rounds]]:
    """Makes a worker's rounds with a server at a URL."""
    monkeypatch.setattr(rounds_module, "CLOSE_S", 0.1)
    made: list[Rounds] = []

    def make(url: str, worker: str = "w", **options: object) -> Rounds:
        made.append(Rounds(Client(url), worker, IDENTITY, LAYOUT.size, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
