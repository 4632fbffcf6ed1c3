"""The engine that answers, and how another takes its place without a failed or a mixed answer.

A run's link (`live`, `realtime`, `static`) is read twice a second. When it points to another release, that one is
loaded, checked and warmed beside the running engine; then it becomes the engine of every request that arrives from now
on, while the old one finishes what it has begun, on its own weights and its own cache, and ends. A request takes its
engine once, so each answer is of one release. A release that fails a check is refused with one line and not tried
again until its files change. At most two engines exist: a third is begun when the oldest has ended.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from clet.exits import UsageError
from clet.log import log
from clet.notify import notify
from clet.record import format_time
from clet.serve.engine import Engine
from clet.serve.metrics import Metrics
from clet.serve.source import Source

POLL_S = 0.5
STOP_S = 10.0  # an engine looks up between steps, and a step takes far less

MakeEngine = Callable[[Path, str | None], Engine]  # (model directory, tokenizer fingerprint it must have)


class Deck:
    """The current engine, and at most one other that is being made or is finishing its work."""

    def __init__(self, source: Source, make: MakeEngine, metrics: Metrics) -> None:
        """Load and warm the first engine. Raises what `make` raises."""
        self.source, self.metrics = source, metrics
        self._make = make
        self._lock = threading.Lock()  # guards the pair below; held for moments
        self._refreshing = threading.Lock()  # one look at the link at a time; held while loading
        self._closing = threading.Event()
        self._refused: tuple[Path, tuple] | None = None
        self._watcher: threading.Thread | None = None
        self._old: Engine | None = None
        self._target = source.target()
        if self._target is None:
            raise UsageError(f"{source.path}: {source.tier} points nowhere; see clet release list {source.path}")
        self._current = make(self._target, None)
        self._current.warm_up()
        self.since = datetime.now(UTC)

    @property
    def current(self) -> Engine:
        """The engine that new requests get."""
        return self._current

    @property
    def draining(self) -> Engine | None:
        """The engine before it, while it still has work."""
        old = self._old
        return old if old is not None and old.is_alive else None

    @contextlib.contextmanager
    def lease(self) -> Iterator[Engine]:
        """The current engine, kept from ending while a request is prepared and submitted."""
        with contextlib.ExitStack() as stack:
            with self._lock:
                engine = stack.enter_context(self._current.lease())
            yield engine

    def watch(self) -> None:
        """Begin to follow the link, on a thread of its own, until `close`."""
        self._watcher = threading.Thread(target=self._follow, name="releases", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stop following and end the engines; what still runs fails."""
        self._closing.set()
        engines = [engine for engine in (self._current, self._old) if engine is not None]
        for engine in engines:
            engine.stop()
        for engine in engines:
            engine.join(STOP_S)
        if self._watcher is not None:
            self._watcher.join(STOP_S)

    def refresh(self) -> bool:
        """Look at the link once and swap if it moved; whether another release answers now."""
        with self._refreshing:
            if self._old is not None:
                if not self._old.join(0.0):
                    return False
                self._old = None
            target = self.source.target()
            if target is None or target == self._target:
                return False
            key = (target, _signature(target))
            if key == self._refused:
                return False
            engine = self._made(target)
            if engine is None:
                self._refused = key
                return False
            self._swap(engine, target)
            return True

    def _made(self, target: Path) -> Engine | None:
        engine = None
        try:
            engine = self._make(target, self._current.served.tokenizer.fingerprint)
            engine.warm_up()
            return engine
        except Exception as error:  # whatever is wrong with a new release, the old one goes on answering
            if engine is not None:
                engine.stop()
            self.metrics.refused_releases += 1
            serving = self._current.served.release
            log.error(
                f"{target} is not served: {str(error).strip() or type(error).__name__}; still serving {serving}",
                event="release-refused",
                release=target.name,
                serving=serving,
            )
            return None

    def _swap(self, engine: Engine, target: Path) -> None:
        with self._lock:
            old, self._current = self._current, engine
            self._old = old
            self._target = target
        old.retire()
        self._refused = None
        self.metrics.swaps += 1
        self.since = datetime.now(UTC)
        release, before = engine.served.release, old.served.release
        log.info(f"serving release {release} (was {before})", event="swap", release=release, before=before)
        notify(f"STATUS=serving release {release} since {format_time(self.since)}")
        if self._closing.is_set():
            engine.stop()

    def _follow(self) -> None:
        while not self._closing.wait(POLL_S):
            try:
                self.refresh()
            except Exception as error:  # an unreadable run directory today may be readable tomorrow
                log.warn(f"{self.source.path}: {error}", event="watch-failed")
                self._closing.wait(10 * POLL_S)


def _signature(directory: Path) -> tuple:
    """What changes when somebody repairs a release: names, sizes and times of its files."""
    with contextlib.suppress(OSError):
        entries = ((path.name, path.stat()) for path in directory.iterdir())
        return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in entries))
    return ()
