"""Which network addresses may be fetched from: the open internet, unless private ones are permitted.

Whoever connects must connect to an address that was checked here, not to the name again: a redirect, a name that
resolves to 127.0.0.1, or one that resolves differently the second time would otherwise reach this machine or its
network (server-side request forgery).
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

from clet.sources.adapter import SourceFailed

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is on the open internet, and so is any IPv4 address that it embeds."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def numeric_address(host: str) -> str | None:
    """The address that a host is, if it is one in any spelling (`127.1`, `0x7f000001`); None for a name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0])


def checked_addresses(host: str, port: int, allow_private: bool, timeout_s: float | None = None) -> list[str]:
    """Addresses of a host that may be connected to. Raises SourceFailed where there is none, or none in time."""
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in _resolve(host, port, timeout_s)))
    allowed = [address for address in addresses if allow_private or is_public(address)]
    if not allowed:
        raise SourceFailed(f"{host}: {addresses[0]} is a private address; --allow-private permits it")
    return allowed


def _resolve(host: str, port: int, timeout_s: float | None) -> list[Any]:
    """getaddrinfo(3), which takes no deadline: it is left behind in its thread when it is too slow."""
    found: list[Any] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            failure.append(error)

    asking = threading.Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(timeout_s)
    if failure:
        reason = getattr(failure[0], "strerror", None) or "not a host name"
        raise SourceFailed(f"{host}: {reason}", unreachable=True)
    if not found:
        raise SourceFailed(f"{host}: the name was not resolved in time", unreachable=True)
    return found
