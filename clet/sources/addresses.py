"""Which network addresses may be fetched from: the open internet, unless private ones are permitted.

Whoever connects must connect to an address that was checked here, not to the name again: a redirect, a name that
resolves to 127.0.0.1, or one that resolves differently the second time would otherwise reach this machine or its
network (server-side request forgery).
"""

from __future__ import annotations

import ipaddress
import socket

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


def checked_addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """Addresses of a host that may be connected to. Raises SourceFailed where there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise SourceFailed(f"{host}: {reason}", unreachable=True) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if allow_private or is_public(address)]
    if not allowed:
        raise SourceFailed(f"{host}: {addresses[0]} is a private address; --allow-private permits it")
    return allowed
