"""The sync server without its HTTP: who has joined, which delta counts, what the weights are, what is durable.

A delta is judged in this order: is the sender the newest incarnation of its name (fencing), was the message answered
before (idempotence), is it fresh enough, is it well-formed, is it harmless. What is accepted, refused or joined is
journaled before it is answered; malformed bodies and fenced senders change nothing and leave no trace but a count.
Replaying the journal runs the same code as serving (`_take_in`), which is why a restarted server has the same bits.

Not thread-safe but for `published` and `identity`: one thread makes all calls (clet/sync/http.py).
Memory: weights, momentum, buffer, one message and its delta; a few hundred bytes a worker.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clet.exits import InputError, UsageError
from clet.log import log
from clet.sync.aggregate import DEFAULT_LR, DEFAULT_MOMENTUM, Acceptance, DelayedNesterov, Refused, l2_norm
from clet.sync.codec import CODECS, decode
from clet.sync.protocol import DEFAULT_MAX_STALENESS, HTTP_STATUS, DeltaHeader, Identity, Outcome
from clet.sync.store import Store

MAX_WORKERS = 4096
ANSWERS_KEPT = 16  # a worker; it has one message under way, so more than one is for duplicates on the network
DEFAULT_SAVE_EVERY = 20

Answer = tuple[int, dict[str, Any]]  # HTTP status, JSON body


@dataclass(frozen=True)
class Settings:
    """How deltas are merged. May change from one start to the next: the journal remembers what applied when."""

    max_staleness: int = DEFAULT_MAX_STALENESS
    lr: float = DEFAULT_LR
    momentum: float = DEFAULT_MOMENTUM
    save_every: int = DEFAULT_SAVE_EVERY


class SyncServer:
    """The state of one server. `start` before anything else; `published` is always (version, weights [size])."""

    def __init__(
        self, store: Store, identity: Identity, settings: Settings, export: Callable[[np.ndarray], None] | None = None
    ) -> None:
        self.identity = identity
        self.settings = settings
        self.malformed = self.fenced = 0  # since this start
        self._store = store
        self._export = export
        self._saver = ThreadPoolExecutor(1, "snapshot")
        self._saving: Future[None] | None = None
        self._journaled = 0  # entries since the last snapshot was begun
        self._saved_version = 0
        self._tables: dict[str, Any] = {"version": 0, "workers": {}, "outcomes": {}, "staleness": {}, "tokens": 0}
        self.size = 0

    def start(self, size: int, initial: Callable[[], np.ndarray]) -> None:
        """Restore the last acknowledged version, or make version 0 of `initial()` [size] durable. Raises InputError."""
        self.size = size
        if self._store.is_new:
            self._outer, self._acceptance = DelayedNesterov(initial()), Acceptance()
            self._publish()
            self._begin_snapshot().result()
            return
        vectors, tables = self._store.load(size)
        self._outer = DelayedNesterov(
            vectors["weights"], vectors["momentum"], vectors["buffer"], mass=tables.pop("mass")
        )
        self._acceptance = Acceptance(**tables.pop("acceptance"))
        self._tables = tables
        self._saved_version = self.version
        for facts, message in self._store.replay():
            self._take_in(facts, decode(message, size, "journal")[0] if message else None)
        self._publish()

    @property
    def version(self) -> int:
        """The newest version."""
        return self._tables["version"]

    def join(self, worker: str, identity: Identity) -> Answer:
        """Admit a new incarnation of `worker`; older ones are fenced off from now on."""
        if different := self.identity.differences(identity):
            text = (
                f"another {' and another '.join(different)} than the server's; start worker and server from one model"
            )
            return 409, {"status": "other-model", "message": text}
        known = self._tables["workers"].get(worker)
        if known is None and len(self._tables["workers"]) >= MAX_WORKERS:
            return 429, {"status": "full", "message": f"{MAX_WORKERS} workers are known already"}
        self._journal({"entry": "join", "worker": worker, "epoch": known["epoch"] + 1 if known else 1})
        entry = self._tables["workers"][worker]
        log.info(f"worker {worker} joined, epoch {entry['epoch']}", event="join", worker=worker, epoch=entry["epoch"])
        return 200, {
            "status": "joined",
            "epoch": entry["epoch"],
            "sequence": entry["sequence"],
            "version": self.version,
            "max_staleness": self.settings.max_staleness,
            "codecs": list(CODECS),
        }

    def delta(self, header: DeltaHeader, body: bytes) -> Answer:
        """Judge one message; apply it if it counts. Raises WriteError when the journal failed: the process must end."""
        entry = self._tables["workers"].get(header.worker)
        if entry is None or header.epoch > entry["epoch"]:
            return 404, {"status": "unknown", "message": "join first"}
        if header.epoch < entry["epoch"]:
            self.fenced += 1
            return 403, {"status": "fenced", "message": f"a newer incarnation of {header.worker} has joined"}
        if header.sequence <= entry["sequence"]:
            return _recorded(entry, header.sequence)
        staleness = self.version - header.base
        facts = {**asdict(header), "staleness": staleness}
        if not 0 <= staleness <= self.settings.max_staleness:
            reason = f"staleness {staleness}, the bound is {self.settings.max_staleness}"
            return self._journal({**facts, "entry": "refusal", "outcome": Outcome.STALE, "reason": reason})
        try:
            delta, _ = decode(body, self.size, "delta")
        except InputError as error:
            self.malformed += 1
            return 400, {"status": "malformed", "message": str(error)}
        try:
            verdict = self._acceptance.judge(
                delta, tokens=header.tokens, staleness=staleness, weights_norm=l2_norm(self._outer.weights)
            )
        except Refused as error:
            log.warn(f"refused delta {header.sequence} of worker {header.worker}: {error}", event="refused")
            return self._journal({**facts, "entry": "refusal", "outcome": Outcome.REFUSED, "reason": str(error)})
        facts |= {"entry": "delta", "lr": self.settings.lr, "momentum": self.settings.momentum, **asdict(verdict)}
        answer = self._journal(facts, body, delta)
        self._publish()
        log.detail(f"version {self.version} from worker {header.worker}, {staleness} late", event="delta", **answer[1])
        if self.version - self._saved_version >= self.settings.save_every:
            self._snapshot_if_idle()
        return answer

    def status(self) -> dict[str, Any]:
        """The object of GET /v1/status."""
        workers = {
            name: {key: value for key, value in entry.items() if key != "answers"}
            for name, entry in self._tables["workers"].items()
        }
        return {
            "version": self.version,
            "max_staleness": self.settings.max_staleness,
            "model": asdict(self.identity),
            "workers": workers,
            "outcomes": dict(self._tables["outcomes"]),
            "malformed": self.malformed,
            "fenced": self.fenced,
            "staleness": dict(self._tables["staleness"]),
            "tokens": self._tables["tokens"],
            "saved_version": self._saved_version,
        }

    def check(self) -> None:
        """Raise what the last snapshot raised, if it failed."""
        if self._saving is not None and self._saving.done():
            self._saving.result()

    def close(self, *, save: bool = True) -> None:
        """End the saver; with `save` make a last snapshot if anything changed. Raises WriteError.

        What was acknowledged is durable anyhow. The store's lock must be held until this returns.
        """
        try:
            if save and self._saving is not None:
                self._saving.result()
            if save and self._journaled:
                self._begin_snapshot().result()
        finally:
            self._saver.shutdown()

    def _journal(self, facts: dict[str, Any], body: bytes = b"", delta: np.ndarray | None = None) -> Answer:
        """Make an entry durable, then let it count; the answer for its sender."""
        self._store.append(facts, body)
        return self._take_in(facts, delta)

    def _take_in(self, facts: dict[str, Any], delta: np.ndarray | None) -> Answer:
        """Let a durable entry count: the one place where anything changes, in service and in replay."""
        self._journaled += 1
        tables, name = self._tables, facts["worker"]
        if facts["entry"] == "join":
            entry = tables["workers"].setdefault(
                name, {"epoch": 0, "sequence": 0, "accepted": 0, "refused": 0, "tokens": 0, "version": 0, "answers": []}
            )
            entry["epoch"] = facts["epoch"]
            return 200, {}
        entry = tables["workers"][name]
        body: dict[str, Any] = {"staleness": facts["staleness"]}
        if facts["entry"] == "delta":
            assert delta is not None
            self._outer.apply(delta, weight=facts["weight"], lr=facts["lr"], momentum=facts["momentum"])
            self._acceptance.remember(facts["norm"], facts["clip"], facts["tokens"])
            tables["version"] += 1
            tables["tokens"] += facts["tokens"]
            entry["accepted"] += 1
            entry["tokens"] += facts["tokens"]
            entry["version"] = tables["version"]
            outcome = Outcome.ACCEPTED
            body |= {"weight": facts["weight"]}
            _count(tables["staleness"], str(facts["staleness"]))
        else:
            outcome = Outcome(facts["outcome"])
            entry["refused"] += 1
            body |= {"reason": facts["reason"]}
        _count(tables["outcomes"], outcome.value)
        body = {"status": outcome.value, "version": tables["version"], **body}
        entry["sequence"] = facts["sequence"]
        entry["answers"] = [*entry["answers"], [facts["sequence"], HTTP_STATUS[outcome], body]][-ANSWERS_KEPT:]
        return HTTP_STATUS[outcome], body

    def _publish(self) -> None:
        self.published = (self.version, self._outer.weights)

    def _snapshot_if_idle(self) -> None:
        if self._saving is None or self._saving.done():
            self.check()
            self._saving = self._begin_snapshot()

    def _begin_snapshot(self) -> Future[None]:
        """Begin the next journal now; write the snapshot that it follows on the saver's thread."""
        number = self._store.begin()
        version, vectors = self.version, dict(self._outer.vectors())  # never written into: no copy is needed
        tables = copy.deepcopy(self._tables) | {"mass": self._outer.mass, "acceptance": self._acceptance.values()}
        self._journaled, self._saved_version = 0, version

        def save() -> None:
            self._store.keep(number, vectors, tables)
            if self._export is not None:
                self._export(vectors["weights"])
            log.detail(f"saved version {version}", event="saved", version=version)

        return self._saver.submit(save)


def metrics(status: dict[str, Any]) -> str:
    """The status in Prometheus' text format."""
    lines = [
        "# TYPE clet_sync_version gauge",
        f"clet_sync_version {status['version']}",
        "# TYPE clet_sync_workers gauge",
        f"clet_sync_workers {len(status['workers'])}",
        "# TYPE clet_sync_tokens_total counter",
        f"clet_sync_tokens_total {status['tokens']}",
        "# TYPE clet_sync_deltas_total counter",
    ]
    outcomes = Counter(status["outcomes"]) + Counter(malformed=status["malformed"], fenced=status["fenced"])
    lines += [f'clet_sync_deltas_total{{outcome="{name}"}} {number}' for name, number in sorted(outcomes.items())]
    lines.append("# TYPE clet_sync_accepted_by_staleness_total counter")
    lines += [
        f'clet_sync_accepted_by_staleness_total{{staleness="{name}"}} {number}'
        for name, number in sorted(status["staleness"].items(), key=lambda item: int(item[0]))
    ]
    return "\n".join(lines) + "\n"


def open_server(model: str | Path, state: str | Path, settings: Settings) -> tuple[Store, SyncServer]:
    """The server of a model directory and a state directory, started. Raises as Store.open and load_model do."""
    from clet.sync.store import MODEL_DIRECTORY
    from clet.sync.weights import ModelDirectory

    directory = ModelDirectory(model)
    target = Path(state) / MODEL_DIRECTORY
    if target.resolve() == directory.directory.resolve():
        raise UsageError(f"--model {model} is where versions are written; name the model that was started from")
    store = Store.open(state, directory.identity)
    try:
        server = SyncServer(store, directory.identity, settings, lambda weights: directory.export(weights, target))
        server.start(directory.layout.size, directory.weights)
    except BaseException:
        store.close()
        raise
    return store, server


def _recorded(entry: dict[str, Any], sequence: int) -> Answer:
    for number, status, body in entry["answers"]:
        if number == sequence:
            return status, body
    return 200, {"status": Outcome.REPEATED.value, "version": entry["version"]}


def _count(table: dict[str, int], name: str) -> None:
    table[name] = table.get(name, 0) + 1
