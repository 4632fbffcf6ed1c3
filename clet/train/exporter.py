"""Where a trainer's metrics can be had: an address that Prometheus scrapes, or a file for node_exporter's collector.

The address is answered by a thread, with the bounds on requests that clet's servers have; loopback unless a host is
named. The file (its name ends in `.prom`) is replaced whole, at most every `EVERY_S` seconds and at the end. Neither
may harm training: a disk that is full costs a line, not the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import make_asgi_app
from prometheus_client.exposition import generate_latest

from clet.exits import UsageError
from clet.http_server import bind, make_server
from clet.log import log
from clet.sinks import file_to_replace
from clet.train.metrics import Metrics

EVERY_S = 5.0
SUFFIX = ".prom"


class Exporter(Protocol):
    """Publishes metrics. `tick` is called after each event, `close` at the end."""

    def tick(self) -> None:
        """An event was taken in."""
        ...

    def close(self) -> None:
        """Stop; what is last known stays in the file."""
        ...


def open_exporter(metrics: Metrics, target: str) -> Exporter:
    """To a file named `*.prom`, else at HOST:PORT. Raises UsageError where that cannot be had."""
    if target.endswith(SUFFIX):
        return TextFile(metrics, file_to_replace(target, "--metrics"))
    return Endpoint(metrics, target)


class TextFile:
    """Prometheus text in a file that is always whole."""

    def __init__(self, metrics: Metrics, path: Path, clock: Callable[[], float] = time.monotonic):
        self._metrics, self._path, self._clock = metrics, path, clock
        self._failed = False
        try:
            self._write()
        except OSError as error:
            raise UsageError(f"--metrics {path}: {error.strerror}") from None
        self._written = clock()

    def tick(self) -> None:
        """Write, if it is time."""
        if self._clock() - self._written >= EVERY_S:
            self.close()

    def close(self) -> None:
        """Write what is known now; a failure is said once."""
        self._written = self._clock()
        try:
            self._write()
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warn(f"--metrics {self._path}: {error.strerror}; training goes on without", event="metrics")
            self._failed = True

    def _write(self) -> None:
        tmp = self._path.with_name(f".{self._path.name}.tmp-{os.getpid()}")  # the collector reads *.prom only
        try:
            tmp.write_bytes(generate_latest(self._metrics.registry))
            os.replace(tmp, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                tmp.unlink()
            raise


class Endpoint:
    """`GET /metrics` at an address, answered on a thread of its own."""

    def __init__(self, metrics: Metrics, listen: str):
        sock = bind(listen, flag="--metrics")
        host, self.port = sock.getsockname()[:2]
        app = _only_metrics(make_asgi_app(metrics.registry))
        self._server = make_server(app, lifespan="off", timeout_graceful_shutdown=1, limit_concurrency=64)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._server.serve(sockets=[sock]),), name="clet-metrics", daemon=True
        )
        self._thread.start()
        address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        log.info(f"metrics at {address}", event="metrics", address=address)

    def tick(self) -> None:
        """Nothing: whoever asks gets what is known then."""

    def close(self) -> None:
        """Answer no more."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)


def _only_metrics(app: Any) -> Any:
    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD"):
            return await app(scope, receive, send)
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"not found; try /metrics\n"})

    return answer
