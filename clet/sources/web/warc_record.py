"""Records of WARC/1.1 (ISO 28500:2017) as clet writes them; each becomes one gzip member (annex D).

The payload of a record is the body as the reader of the source got it: chunks joined, and for pages content codings
taken off, so that WARC-Payload-Digest is the field `raw` of the documents made from it. The headers which that makes
untrue are kept as X-Archive-Orig-..., as other archives do.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clet import __version__

VERSION = b"WARC/1.1\r\n"
TIME = "%Y-%m-%dT%H:%M:%SZ"
MAX_HTTP_HEAD_BYTES = 16 << 10  # readers give up on longer ones; headers beyond it are left out
_SAME_PAYLOAD = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
_ONE_LINE = bytes.maketrans(b"\r\n\0", b"   ")
END = b"\r\n\r\n"  # of every record


@dataclass(frozen=True)
class Head:
    """Status line and headers of an HTTP answer. `decoded`: the body to be kept has its content codings taken off."""

    status: int
    reason: str
    headers: Sequence[tuple[bytes, bytes]]
    decoded: bool

    def block(self, length: int) -> bytes:
        """The head of an HTTP/1.1 answer whose body has `length` bytes as it is kept."""
        moved = (b"content-length", b"transfer-encoding") + ((b"content-encoding",) if self.decoded else ())
        lines = [f"HTTP/1.1 {self.status:03d} {self.reason}".encode("latin-1", "replace")]
        size = len(lines[0])
        for name, value in self.headers:
            lower = name.lower()
            if lower == b"content-length" and value == b"%d" % length:
                continue
            line = (b"X-Archive-Orig-" if lower in moved else b"") + name + b": " + value
            size += len(line)
            if size <= MAX_HTTP_HEAD_BYTES:
                lines.append(line)
        lines.append(b"Content-Length: %d" % length)
        return b"".join(line.translate(_ONE_LINE) + b"\r\n" for line in lines) + b"\r\n"


@dataclass(frozen=True)
class Seen:
    """Where a payload was kept first."""

    url: str
    date: str
    file: str


def record_id(name: str) -> str:
    """The URN of a record, from a name that no other has."""
    return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def payload_record(
    ident: str,
    url: str,
    date: datetime,
    raw: str,
    length: int,
    head: Head | None,
    content_type: str,
    address: str | None,
) -> bytes:
    """All of a response record but its payload; of a resource record where there is no HTTP head."""
    block = head.block(length) if head else b""
    fields = [
        ("WARC-Type", "response" if head else "resource"),
        ("WARC-Record-ID", f"<{ident}>"),
        ("WARC-Date", date.strftime(TIME)),
        ("WARC-Target-URI", url),
        ("WARC-IP-Address", address),
        ("WARC-Payload-Digest", f"sha256:{raw}"),
        ("WARC-Block-Digest", None if head else f"sha256:{raw}"),  # which is the same without an HTTP head
        ("Content-Type", "application/http; msgtype=response" if head else content_type or "application/octet-stream"),
        ("Content-Length", str(len(block) + length)),
    ]
    return _head(fields) + block


def revisit_record(
    ident: str, url: str, date: datetime, raw: str, length: int, head: Head | None, address: str | None, seen: Seen
) -> bytes:
    """A whole revisit record: the payload is the one that was `seen`."""
    block = head.block(length) if head else b""
    fields = [
        ("WARC-Type", "revisit"),
        ("WARC-Record-ID", f"<{ident}>"),
        ("WARC-Date", date.strftime(TIME)),
        ("WARC-Target-URI", url),
        ("WARC-IP-Address", address),
        ("WARC-Profile", _SAME_PAYLOAD),
        ("WARC-Refers-To-Target-URI", seen.url),
        ("WARC-Refers-To-Date", seen.date),
        ("WARC-Payload-Digest", f"sha256:{raw}"),
        ("Content-Type", "application/http; msgtype=response" if head else None),
        ("Content-Length", str(len(block))),
    ]
    return _head(fields) + block + END


def info_record(ident: str, name: str, date: datetime) -> bytes:
    """The record that a file begins with."""
    block = (
        f"software: clet/{__version__}\r\nformat: WARC File Format 1.1\r\n"
        "conformsTo: http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/\r\n"
    ).encode()
    fields = [
        ("WARC-Type", "warcinfo"),
        ("WARC-Record-ID", f"<{ident}>"),
        ("WARC-Date", date.strftime(TIME)),
        ("WARC-Filename", name),
        ("Content-Type", "application/warc-fields"),
        ("Content-Length", str(len(block))),
    ]
    return _head(fields) + block + END


def _head(fields: Sequence[tuple[str, str | None]]) -> bytes:
    lines = [f"{name}: {value}".encode().translate(_ONE_LINE) for name, value in fields if value is not None]
    return VERSION + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def parse_fields(head: bytes) -> dict[str, str]:
    """The named fields of a record that this module made, names in lower case."""
    fields = {}
    for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.decode("utf-8", "replace").partition(": ")
        fields[name.lower()] = value
    return fields
