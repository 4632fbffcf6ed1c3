"""What a trainer tells Prometheus: a few numbers that follow the events of the loop, made into text when asked for.

`Metrics` is fed with what the loop emits and adds it up; each event costs some microseconds, and a scrape reads what
stands there. Counters (`_total`) count what this process did and begin at 0 with it, as Prometheus expects; gauges tell
of the run. Speeds and shares are means over the last half minute of steps, weighted down exponentially. Origins are no
labels: their names are chosen by strangers, and there is no end to them. The age of the knowledge is
`time() - clet_train_knowledge_watermark_timestamp_seconds`, so that it grows while nothing is scraped.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from clet.record import parse_time
from clet.release import read_release, release_numbers
from clet.train.breaker import read_trips

MEAN_OVER_S = 30.0
PREFIX = "clet_train"
GAUGES = {  # of the last step: field of its line, name, help
    "step": ("step", "Number of the run's last step."),
    "total_tokens": ("run_tokens", "Tokens that the run has learned."),
    "loss": ("loss", "Mean loss of the last step, in nats a token."),
    "grad_norm": ("grad_norm", "Norm of the last step's gradient, before clipping."),
    "lr": ("learning_rate", "Learning rate of the last step."),
    "backlog": ("backlog_windows", "Windows that are known and not learned yet."),
}
COUNTERS = {
    "tokens": ("tokens", "Tokens learned, replayed ones too."),
    "flops": ("flops", "Floating-point operations of the model, counted from its shapes."),
    "wait_s": ("wait_seconds", "Seconds waited for data."),
    "seconds": ("step_seconds", "Seconds of steps, waiting for data included."),
    "device_s": ("device_seconds", "Seconds of all cores used, or of the GPU held."),
}


class Metrics:
    """The numbers of one trainer; also a collector of prometheus_client's. Safe to call from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, Any] = {}
        self._sums = dict.fromkeys(COUNTERS, 0.0)
        self._recent = dict.fromkeys((*COUNTERS, "num_windows", "num_replayed"), 0.0)
        self._fresh = self._replayed = self._steps = 0
        self._joules: dict[str, float] = {}
        self._trips: int | None = None
        self._new_trips = 0
        self._release: int | None = None
        self._watermark: float | None = None
        self._last_step_at: float | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def begin(self, run: Path) -> None:
        """Take up what a run did before: its newest release, and how often the breaker tripped."""
        self._trips = len(read_trips(run))
        if numbers := release_numbers(run):
            facts = read_release(run, numbers[-1]).facts
            self._note_release(numbers[-1], facts.get("watermark"))

    def see(self, fields: dict[str, Any]) -> None:
        """Take in what the loop emitted."""
        event = fields.get("event")
        with self._lock:
            if event is None:
                self._note_step(fields)
            elif event == "release":
                self._note_release(fields["number"], fields.get("watermark"))
            elif event == "breaker":
                self._new_trips += 1

    def _note_step(self, fields: dict[str, Any]) -> None:
        self._last, self._last_step_at = fields, self._clock()
        self._steps += 1
        fade = math.exp(-fields["seconds"] / MEAN_OVER_S)
        for name in self._recent:
            self._recent[name] = self._recent[name] * fade + fields[name]
        for name in self._sums:
            self._sums[name] += fields[name]
        self._replayed += fields["num_replayed"]
        self._fresh += fields["num_windows"] - fields["num_replayed"]
        if fields["joules"] is not None:
            self._joules[fields["energy"]] = self._joules.get(fields["energy"], 0.0) + fields["joules"]

    def _note_release(self, number: int, watermark: str | None) -> None:
        self._release = number
        self._watermark = parse_time(watermark).timestamp() if watermark else None

    # ---- exposition

    def collect(self) -> Iterator[Metric]:
        """All that is known now, for a registry."""
        with self._lock:
            yield from self._gauges()
            yield from self._counters()

    def _gauges(self) -> Iterator[Metric]:
        for field, (name, text) in GAUGES.items():
            yield from _gauge(name, text, self._last.get(field))
        yield from _gauge("last_step_timestamp_seconds", "When the last step was over.", self._last_step_at)
        recent = self._recent
        if recent["seconds"]:
            per_s = 1 / recent["seconds"]
            yield from _gauge("tokens_per_second", "Tokens a second of steps.", recent["tokens"] * per_s)
            yield from _gauge("flops_per_second", "Operations a second of steps.", recent["flops"] * per_s)
            yield from _gauge("wait_share", "Share of the steps' time waited for data.", recent["wait_s"] * per_s)
        if recent["num_windows"]:
            share = recent["num_replayed"] / recent["num_windows"]
            yield from _gauge("replay_share", "Share of the windows that were replayed.", share)
        yield from _gauge("run_breaker_trips", "Trips of the breaker in the whole run.", self._all_trips())
        yield from _gauge("release", "Number of the newest release.", self._release)
        yield from _gauge(
            "knowledge_watermark_timestamp_seconds",
            "Publication of the newest document that the newest release learned.",
            self._watermark,
        )

    def _all_trips(self) -> int | None:
        return None if self._trips is None else self._trips + self._new_trips

    def _counters(self) -> Iterator[Metric]:
        yield _counter("steps", "Steps made.", self._steps)
        yield _counter("breaker_trips", "Trips of the breaker.", self._new_trips)
        for field, (name, text) in COUNTERS.items():
            yield _counter(name, text, self._sums[field])
        windows = CounterMetricFamily(f"{PREFIX}_windows", "Windows learned.", labels=["kind"])
        windows.add_metric(["fresh"], self._fresh)
        windows.add_metric(["replay"], self._replayed)
        yield windows
        joules = CounterMetricFamily(
            f"{PREFIX}_joules", "Energy used, by where the figure comes from.", labels=["from"]
        )
        for origin, value in sorted(self._joules.items()):
            joules.add_metric([origin], value)
        yield joules


def _gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, value=value)
