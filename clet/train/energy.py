"""Energy by the counters of the hardware: what a step cost in joules, where anything here can say it.

On a GPU NVML's `nvmlDeviceGetTotalEnergyConsumption` (millijoules since the driver was loaded; Volta and later), found
by the device's UUID so that CUDA_VISIBLE_DEVICES is obeyed. Of the processors the RAPL domains that Linux shows under
/sys/class/powercap: every package, and the memory beside it where it has a domain of its own (David et al. 2010,
ISLPED). Its counters wrap around at `max_energy_range_uj`, after a minute or more at full power; each is read at every
step, so one wrap is the most that can lie between two readings of a busy trainer.

A counter counts all that its device does, other processes' work too. Where there is none, or it may not be read (Linux
shows RAPL to root only, since CVE-2020-8694), nothing is invented: joules are unknown, or, where the user says how many
watts the machine takes, watts times seconds and labelled as the estimate that it is.

Cost: a file read for each domain of RAPL, a call for NVML, at every step.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch

from clet.exits import UsageError
from clet.log import log

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"intel-rapl:[0-9]{1,4}\Z")  # AMD's processors show themselves under this name too
_PART = re.compile(r"intel-rapl:[0-9]{1,4}:[0-9]{1,4}\Z")
MAX_COUNTER_BYTES = 64
MAX_WATTS = 1e6


class Counter(Protocol):
    """A source of energy readings."""

    name: str

    def joules(self) -> float:
        """Joules since the last call (the first: since it was opened). Raises OSError where it cannot be read."""
        ...


class Rapl:
    """The processor's own counters: packages, and memory where that is apart."""

    name = "rapl"

    def __init__(self, domains: list[tuple[Path, int]]):
        self._domains = domains  # file, and what it wraps around at
        self._last = [_read_number(path) for path, _ in domains]

    @staticmethod
    def open(root: Path = POWERCAP) -> Rapl | None:
        """None where there is no counter, or it may not be read."""
        found = []
        with contextlib.suppress(OSError, ValueError):
            for domain in sorted(_domains(root)):
                limit = _read_number(domain / "max_energy_range_uj")
                found.append((domain / "energy_uj", limit))
        try:
            return Rapl(found) if found else None
        except (OSError, ValueError) as error:
            log.detail(f"{found[0][0]}: {error}; joules of the processor stay unknown without --watts")
            return None

    def joules(self) -> float:
        """Joules of all domains since the last call."""
        total = 0
        for at, (path, limit) in enumerate(self._domains):
            now = _read_number(path)
            used = now - self._last[at]
            total += used if used >= 0 else used + limit
            self._last[at] = now
        return max(total, 0) / 1e6


def _domains(root: Path) -> Iterator[Path]:
    """Packages, and their parts called dram; `psys` is the whole board and would count the packages twice."""
    for path in root.iterdir():
        name = path.name
        if _PACKAGE.match(name) or _PART.match(name):
            label = (path / "name").read_text().strip()
            if label.startswith("package") if _PACKAGE.match(name) else label == "dram":
                yield path


def _read_number(path: Path) -> int:
    with open(path, "rb") as file:
        return int(file.read(MAX_COUNTER_BYTES))


class Nvml:
    """The energy counter of one NVIDIA device, by the library that comes with the driver."""

    name = "nvml"

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p):
        self._library, self._handle = library, handle
        self._last = self._millijoules()

    @staticmethod
    def open(uuid: str, library: ctypes.CDLL | None = None) -> Nvml | None:
        """The device with this UUID (`GPU-...`); None where it, the library, or its counter is not there."""
        try:
            library = library or ctypes.CDLL("libnvidia-ml.so.1")
            handle = ctypes.c_void_p()
            _check(library.nvmlInit_v2())
            _check(library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)))
            return Nvml(library, handle)
        except (OSError, AttributeError) as error:
            log.detail(f"nvml: {error}; joules of the GPU stay unknown without --watts")
            return None

    def joules(self) -> float:
        """Joules since the last call."""
        now = self._millijoules()
        used, self._last = now - self._last, now
        return max(used, 0) / 1e3  # a driver that was loaded anew counts from 0

    def _millijoules(self) -> int:
        value = ctypes.c_ulonglong()
        _check(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value)))
        return value.value


def _check(status: int) -> None:
    if status:
        raise OSError(f"error {status}")


class Meter:
    """Joules between two readings, and where they come from: `measured:nvml+rapl`, `estimated:65W`, or None."""

    def __init__(
        self, counters: list[Counter], watts: float | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._counters, self._watts, self._clock = counters, watts, clock
        self._since = clock()

    def read(self) -> tuple[float | None, str | None]:
        """(joules since the last reading, their origin). A counter that fails is given up for good."""
        now = self._clock()
        seconds, self._since = now - self._since, now
        if self._counters:
            try:
                joules = sum(counter.joules() for counter in self._counters)
                return joules, "measured:" + "+".join(counter.name for counter in self._counters)
            except (OSError, ValueError) as error:
                log.warn(f"energy counter: {error}; joules are not measured any more")
                self._counters = []
        if self._watts is not None:
            return self._watts * seconds, f"estimated:{self._watts:g}W"
        return None, None


def open_meter(device: torch.device, watts: float | None) -> Meter:
    """The counters that tell what this process's device takes; `watts` for where there is none.

    Of a trainer on a GPU both sides count; without the GPU's counter the processor's alone would pass for the whole.
    Raises UsageError for watts that no machine takes.
    """
    if watts is not None and not (math.isfinite(watts) and 0 < watts <= MAX_WATTS):
        raise UsageError(f"--watts {watts} is not between 0 and {MAX_WATTS:g}")
    counters: list[Counter] = []
    if device.type == "cuda":
        gpu = Nvml.open(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        counters = [gpu] if gpu else []
    if (device.type == "cpu" or counters) and (processor := Rapl.open()):
        counters.append(processor)
    return Meter(counters, watts)
