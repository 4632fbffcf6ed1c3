"""The units that ship are units that systemd accepts, and readiness is told as sd_notify(3) says."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from clet.notify import notify, watchdog_interval_s

UNITS = sorted((Path(__file__).parent.parent / "scripts" / "systemd").iterdir())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_passes_systemd_analyze_verify(unit):
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda path: path.name)
def test_services_are_confined(unit):
    text = unit.read_text()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "StateDirectory=clet", "User=clet"):
        assert f"{line}\n" in text


def test_notify_sends_the_datagram(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    notify("STOPPING=1")  # the manager is gone: no error


def test_watchdog_is_half_of_what_is_expected(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert watchdog_interval_s() == 30
    monkeypatch.delenv("WATCHDOG_USEC")
    assert watchdog_interval_s() is None
