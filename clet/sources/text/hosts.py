"""Public addresses of machines, IPv4 and IPv6; private, reserved and documentation ones lead nobody anywhere.

Four numbers with dots are also versions (11.3.244.4), sections (3.43.6.3) and object identifiers (2.5.29.15). They
are taken for an address where a word before them says so, or where they are larger than those ever are. Networks
(ending in zeros, or with a prefix length) are left.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from clet.sources.text.finds import Find, stands_free

_IPV4 = re.compile(r"(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?\w|-\w)")
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,35}")  # 2000::/3 is all that is global
_NETWORK = re.compile(r"/[0-9]")
_VERSION = re.compile(
    r"(?:\b(?:v|ver|vers|version|release|rev|section|sec|chapter|clause|rfc|oid|build|firmware|update|patch)s?\.?"
    r"[ :=#]{0,3}|[<>=~!^]= ?|[A-Za-z]/|\u00a7 ?)\Z",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?:(?:\bip(?:v4)?(?:[- ]?addr(?:ess)?)?|\baddr(?:ess)?|host|server|client|peer|origin|\bping)"
    r"[^\w\n]{0,4}|//|@)\Z",
    re.IGNORECASE,
)
_CONTEXT_CHARS = 16
_NUMBER_BEFORE = re.compile(r"(?<![0-9.])(?:[0-9]*\.)?[0-9]+ \Z")  # of a drawing's path
_LARGE = 100
_SMALL = 24  # versions and sections rarely begin with more


def find_ipv4(text: str, start: int, end: int) -> Iterator[Find]:
    """The public addresses in a run of digits and separators."""
    for match in _IPV4.finditer(text, start, min(len(text), end + 2)):
        first, second, third, last = parts = [int(part) for part in match[0].split(".")]
        if max(parts) > 255 or ".".join(map(str, parts)) != match[0] or (second, third, last) == (0, 0, 0):
            continue
        if last == 0 and _NETWORK.match(text, match.end()):
            continue
        public = first < 224 and ipaddress.IPv4Address(match[0]).is_global
        if public and _is_host(text, match.start(), parts) and stands_free(text, *match.span()):
            yield Find(*match.span(), "ip", "<ip>")


def _is_host(text: str, start: int, parts: list[int]) -> bool:
    """Whether four numbers are an address rather than a version."""
    before = text[max(0, start - _CONTEXT_CHARS) : start]
    if _VERSION.search(before) or _NUMBER_BEFORE.search(before):
        return False
    if _HOST.search(before):
        return True
    if parts[0] < _SMALL:
        return sum(part >= _LARGE for part in parts) >= 2 and parts[:2] not in ([1, 3], [2, 5])
    return max(parts[1:]) >= _SMALL


def find_ipv6(text: str, start: int) -> Iterator[Find]:
    """The public address whose first group stands at `start`, if there is one."""
    match = _IPV6.match(text, start) if start >= 0 else None
    if match is None or match[0].count(":") > 8:
        return
    shown = match[0] if match[0].endswith("::") else match[0].rstrip(":")
    end = start + len(shown)
    try:
        address = ipaddress.IPv6Address(shown)
    except ValueError:
        return
    if not address.is_global or (_NETWORK.match(text, end) and not int(address) & 0xFFFFFFFF):
        return
    if text[start - 1 : start] not in (":", ".") and stands_free(text, start, end):
        yield Find(start, end, "ip", "<ip>")
