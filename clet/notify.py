"""The systemd readiness protocol (sd_notify(3)): a datagram to `NOTIFY_SOCKET`, nothing at all where there is none."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `STATUS=...`, `STOPPING=1` or `WATCHDOG=1`; a missing service manager is not an error."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(1.0)
            sock.sendto(state.encode(), address)
    except OSError:
        pass  # the manager went away; it will notice by itself


def watchdog_interval_s() -> float | None:
    """Half of the interval at which the service manager expects `WATCHDOG=1`, or None where it does not."""
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 2e6
    except (KeyError, ValueError):
        return None
