"""Energy counters: wrapped around, forbidden, gone, and never invented."""

from __future__ import annotations

import ctypes
import os

import pytest
import torch

from clet.exits import UsageError
from clet.train.energy import Meter, Nvml, Rapl, open_meter


class Powercap:
    """A tree as Linux shows it under /sys/class/powercap."""

    def __init__(self, root):
        self.root = root

    def set(self, domain, label, uj, limit=1000_000_000):
        path = self.root / domain
        path.mkdir(exist_ok=True)
        for name, value in (("name", label), ("energy_uj", uj), ("max_energy_range_uj", limit)):
            (path / name).write_text(f"{value}\n")


@pytest.fixture
def powercap(tmp_path):
    tree = Powercap(tmp_path)
    tree.set("intel-rapl:0", "package-0", 5_000_000)
    tree.set("intel-rapl:0:0", "core", 4_000_000)
    tree.set("intel-rapl:0:1", "dram", 1_000_000)
    tree.set("intel-rapl:1", "psys", 9_000_000)
    tree.set("intel-rapl-mmio:0", "package-0", 5_000_000)
    return tree


def test_packages_and_memory_are_counted_once(powercap):
    rapl = Rapl.open(powercap.root)
    powercap.set("intel-rapl:0", "package-0", 7_500_000)
    powercap.set("intel-rapl:0:0", "core", 6_000_000)
    powercap.set("intel-rapl:0:1", "dram", 1_250_000)
    powercap.set("intel-rapl:1", "psys", 99_000_000)
    assert rapl.joules() == pytest.approx(2.75)
    assert rapl.joules() == 0.0


def test_a_counter_that_wrapped_around_goes_on(powercap):
    powercap.set("intel-rapl:0", "package-0", 999_000_000)
    rapl = Rapl.open(powercap.root)
    powercap.set("intel-rapl:0", "package-0", 3_000_000)
    assert rapl.joules() == pytest.approx(4.0)


def test_no_counter_and_a_forbidden_or_broken_one_are_none(powercap, tmp_path, monkeypatch):
    assert Rapl.open(tmp_path / "nowhere") is None
    (powercap.root / "intel-rapl:0" / "energy_uj").write_text("")
    assert Rapl.open(powercap.root) is None
    powercap.set("intel-rapl:0", "package-0", 5)

    def forbidden(path, mode):
        if os.fspath(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return open(path, mode)

    monkeypatch.setattr("clet.train.energy.open", forbidden, raising=False)
    assert Rapl.open(powercap.root) is None


class Library:
    """NVML as ctypes would load it, with one device."""

    def __init__(self):
        self.millijoules, self.status = 7_000, 0

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        return 0 if uuid == b"GPU-0a" else 6  # not found

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, value):
        value._obj.value = self.millijoules
        return self.status


def test_nvml_counts_millijoules_of_the_device_with_that_uuid():
    library = Library()
    device = Nvml.open("GPU-0a", library)
    library.millijoules += 2_500
    assert device.joules() == pytest.approx(2.5)
    library.millijoules = 10  # the driver was loaded anew
    assert device.joules() == 0.0
    assert Nvml.open("GPU-0b", library) is None
    library.status = 3  # not supported
    assert Nvml.open("GPU-0a", library) is None


def test_without_the_drivers_library_there_is_no_counter(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert Nvml.open("GPU-0a") is None


def test_a_meter_says_where_its_joules_come_from(powercap, capfd):
    clock = iter([0.0, 2.0, 5.0, 6.0, 8.0])
    rapl = Rapl.open(powercap.root)
    meter = Meter([rapl], 50.0, lambda: next(clock))
    powercap.set("intel-rapl:0", "package-0", 6_000_000)
    assert meter.read() == (pytest.approx(1.0), "measured:rapl")
    (powercap.root / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.read() == (pytest.approx(150.0), "estimated:50W")  # 3 s
    assert "not measured any more" in capfd.readouterr().err
    assert meter.read() == (pytest.approx(50.0), "estimated:50W")
    assert Meter([]).read() == (None, None)


@pytest.mark.parametrize("watts", [0.0, -3.0, float("nan"), float("inf"), 1e7])
def test_watts_that_no_machine_takes_are_refused(watts):
    with pytest.raises(UsageError, match="--watts"):
        open_meter(torch.device("cpu"), watts)
