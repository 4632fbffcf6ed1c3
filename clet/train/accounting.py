"""What a step was, cost and why: the fields of steps.jsonl beside the loss, made in one call a step.

`seed` and `rate` (schedule, phase, peak and the factor on it) say which numbers the step was made with; with the
windows, in order, they are what an auditor needs to make it again. `flops` are counted from shapes (see `flops`),
`joules` by the hardware's counters or not at all (see `energy`); they are those since the line before, so that the
sum over lines is what the run took, saves, releases and measurements included. `device_s` is the time that the
arithmetic had: on a CPU the seconds of all cores that the process used since the line before, on CUDA, which works on
one step at a time, the seconds of the step without the wait for data.

Only `time`, `wait_s`, `seconds`, `device_s`, `joules` and `energy` (`MEASURED`) depend on the moment: a resumed run
writes all other fields again bit for bit.

Cost: 50 microseconds a step, and the readings of the energy counters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from clet.model.decoder import Decoder
from clet.record import format_time
from clet.train.energy import Meter, open_meter
from clet.train.feed import Batch, Position, Segment
from clet.train.flops import step_flops
from clet.train.schedule import Rate, phase

MEASURED = ("time", "wait_s", "seconds", "device_s", "joules", "energy")  # of a line: these differ when run again


class Account:
    """Keeps the accounts of one invocation. `begin` before steps follow each other, then `step` after each."""

    def __init__(self, model: Decoder, seed: int, schedule: str, rate: Rate, watts: float | None = None):
        device = model.head_weight.device
        self._seed, self._schedule, self._rate = seed, schedule, rate
        self._flops = step_flops(model)
        self._meter: Meter = open_meter(device, watts)
        self._on_cpu = device.type == "cpu"
        self._cpu_s = time.process_time()
        self._ahead: list[int] = []  # windows of each segment, every epoch counted

    def begin(self) -> None:
        """Steps follow from here on: what was used before is nobody's."""
        self._meter.read()
        self._cpu_s = time.process_time()

    def step(self, batch: Batch, rate: float, wait_s: float, seconds: float, now: datetime) -> dict[str, Any]:
        """The account of a step that was made with this batch at this learning rate."""
        cpu_s = time.process_time()
        device_s = cpu_s - self._cpu_s if self._on_cpu else seconds - wait_s
        self._cpu_s = cpu_s
        joules, origin = self._meter.read()
        number = batch.draw.after.step
        return {
            "time": format_time(now),
            "seed": self._seed,
            "rate": {
                "schedule": self._schedule,
                "phase": phase(self._schedule, number, self._rate),
                "peak": self._rate.peak,
                "factor": round(rate / self._rate.peak, 6),
            },
            "flops": self._flops(batch.segments, batch.counted) if batch.counted else 0,
            "wait_s": round(wait_s, 6),
            "seconds": round(seconds, 6),
            "device_s": round(device_s, 6),
            "joules": None if joules is None else round(joules, 3),
            "energy": origin,
        }

    def progress(self, batch: Batch, segments: Sequence[Segment]) -> dict[str, int]:
        """Windows of this step, those of them that were replayed, and how many are known and not learned yet."""
        self._ahead += [segment.num_windows * segment.epochs for segment in segments[len(self._ahead) :]]
        return {
            "num_windows": len(batch.windows),
            "num_replayed": len(batch.draw.replayed),
            "backlog": windows_ahead(self._ahead, batch.draw.after),
        }


def windows_ahead(sizes: Sequence[int], position: Position) -> int:
    """Windows that follow a position in segments of these sizes; those in quarantine are counted until passed."""
    return max(0, sum(sizes[position.segment :]) - position.offset)
