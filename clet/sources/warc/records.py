"""Records of a web archive: WARC 0.17 to 1.1 (ISO 28500) and ARC 1 and 2, whatever is wrong with them.

A record is believed when its header says how long it is and behind it stand the line ends that close it, another
record or the end, and the member that it ends in is undamaged.
Where it is not, it is given as `Broken`, and reading goes on at the next place where a record begins: searched from the
end of the broken one's header, because it is the length that was wrong. A gzip member that begins with a record ends
the one before it, whatever length that claimed; one that does not continues it.

Memory: one record, at most MAX_BLOCK_BYTES and what surrounds it. Cost: inflating, and 0.1 ms a record.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clet.sources.adapter import MAX_FILE_BYTES
from clet.sources.warc.members import Archive, Damage, Piece, Place

MAX_BLOCK_BYTES = MAX_FILE_BYTES
MAX_HEAD_BYTES = 64 << 10
_ARC_LINE_BYTES = 4096
_DIGITS = 18  # of a length

_WARC = re.compile(rb"WARC/\d\.\d{1,2}[ \t]*\r?\n")
# URL, address, date, type (in version 2 more fields), length: the URL may hold spaces, the type too.
_ARC_TEXT = (
    rb"([A-Za-z][A-Za-z0-9+.-]{0,19}:[^\n]{0,3000}?) (\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]{2,45}|-) (\d{8,20}) "
    rb"([^\n]{1,800}) ([^\s]{1,20})\r?\n"
)
_ARC = re.compile(_ARC_TEXT)
_NEXT_ARC = re.compile(rb"(?<=\n)" + _ARC_TEXT)
_NEXT_ANY = re.compile(_WARC.pattern + rb"|(?<=\n)" + _ARC_TEXT)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_BLANK = re.compile(rb"[\r\n]*")
_MAX_BLANK_BYTES = 64 << 10  # between two records
_CLOSING = b"\r\n\r\n"  # behind the block of a WARC record
_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "md5": 16}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `kind` is its WARC-Type (an ARC record is a `response`, its file's first a `warcinfo`).

    Names of `headers` are in lower case. `block` is None where it is larger than MAX_BLOCK_BYTES. Reading can begin
    at `begin`, and at `end`, behind it.
    """

    kind: str
    headers: dict[str, str]
    block: bytes | None
    begin: Place
    end: Place

    def intact(self) -> bool:
        """Whether the block has the digest that its header tells, if it tells one that can be checked."""
        name, _, value = self.headers.get("warc-block-digest", "").partition(":")
        name = name.strip().lower().replace("-", "")
        if name not in _DIGEST_BYTES or self.block is None:
            return True
        told = _digest(value.strip(), _DIGEST_BYTES[name])
        return told is None or told == hashlib.new(name, self.block).digest()


@dataclass(frozen=True, slots=True)
class Broken:
    """A record, or bytes where one should be, that cannot be read. `at_end`: the archive stops inside it."""

    reason: str
    place: Place
    at_end: bool


def read_records(
    archive: Archive, begin: Place, ahead: Callable[[int], bytes] | None = None
) -> Iterator[Record | Broken]:
    """The records of an archive from a place on.

    `ahead` gives some bytes at an offset of a plain file (none past its end): it tells whether a length is true before
    so much is read.
    """
    reader = _Reader(archive, begin)
    while reader.next_run():
        yield from _run_records(reader, ahead if archive.plain else None)


def _begins(body: bytes) -> object:
    return _WARC.match(body) or _ARC.match(body[:_ARC_LINE_BYTES])


class _Reader:
    """The bytes of a run: up to a damage, or to a member that begins with a record."""

    def __init__(self, archive: Archive, begin: Place):
        self._plain = archive.plain
        self._pieces = archive.pieces(begin, _begins)
        self._held: Piece | None = None
        self._body = bytearray()
        self._marks: list[tuple[int, Piece]] = []  # pieces and where in the body they begin; their data left out
        self._started = self._over = False
        self.is_arc: bool | None = None  # which of the two formats; None before the first record
        self.at = 0  # the next byte, by index into the body
        self.damage: Damage | None = None  # what ended the run
        self.last = False  # nothing follows the run

    def next_run(self) -> bool:
        """Go to the next run; False at the end."""
        self._body.clear()
        self._marks.clear()
        self.at, self.damage = 0, None
        self._started = self._over = False
        if self._held:
            self._append(self._held)
            self._held = None
            return True
        return self.more() or self.damage is not None

    def more(self) -> bool:
        """Get more bytes of this run; False where it is over."""
        if self._over:
            return False
        item = next(self._pieces, None)
        if item is None:
            self._over = self.last = True
        elif isinstance(item, Damage):
            self._over, self.damage, self.last = True, item, item.at_end
        elif item.first and self._started and _begins(item.data):
            self._over, self._held = True, item
        else:
            self._append(item)
        return not self._over

    def _append(self, piece: Piece) -> None:
        self._started = True
        self._marks.append((len(self._body), piece._replace(data=b"")))
        self._body += piece.data

    def place(self, index: int | None = None) -> Place:
        """Where a byte of the body (the next one) lies in the archive."""
        index = self.at if index is None else index
        start, piece = next(mark for mark in reversed(self._marks) if mark[0] <= index)
        return piece.place.after(index - start, plain=self._plain)

    def member_began_after(self, index: int) -> bool:
        """Whether the next byte lies in a later member than the one before `index`."""
        return any(piece.first and index <= start <= self.at for start, piece in self._marks)

    def forget(self) -> None:
        """Let go of the bytes before the next one."""
        if self.at < 1 << 20 and self.at < len(self._body):
            return
        del self._body[: self.at]
        moved = [(start - self.at, piece) for start, piece in self._marks]
        self._marks = [mark for i, mark in enumerate(moved) if i + 1 == len(moved) or moved[i + 1][0] > 0]
        self.at = 0

    def peek(self, size: int) -> bytes:
        """The next bytes; fewer only at the end of the run."""
        self.has(size)
        return self.cut(self.at, size)

    @property
    def num_left(self) -> int:
        """How many bytes of the body are still to come."""
        return len(self._body) - self.at

    def find(self, pattern: re.Pattern[bytes], limit: int) -> tuple[int, int] | None:
        """(start, end) of the first match at or after the next byte, in `limit` bytes, as indexes into the body."""
        while True:
            match = pattern.search(self._body, self.at, self.at + limit)
            if match or len(self._body) - self.at >= limit or not self.more():
                return match.span() if match else None

    def has(self, size: int) -> bool:
        """Whether the run has so many more bytes; they lie in the body then."""
        while len(self._body) - self.at < size:
            if not self.more():
                return False
        return True

    def cut(self, start: int, size: int) -> bytes:
        """Bytes of the body, by index."""
        with memoryview(self._body) as body:
            return bytes(body[start : start + size])

    def skip_blank(self) -> bool:
        """Pass over line ends; whether anything follows in this run."""
        begin = self.at
        while True:
            self.at = _BLANK.match(self._body, self.at).end()
            if self.at < len(self._body) or self.at - begin > _MAX_BLANK_BYTES:
                return True
            if not self.more():
                return False

    def skip_endless_head(self, limit: int) -> None:
        """Pass over bytes without a header's end, but not over the last place where a record might begin."""
        last = self._body.rfind(b"WARC/", self.at + 1, self.at + limit)
        self.at = min(self.at + limit, len(self._body)) if last < 0 else last

    def skip(self, size: int) -> bool:
        """Pass over bytes without keeping them; whether there were so many."""
        while size:
            step = min(size, len(self._body) - self.at)
            self.at += step
            size -= step
            self.forget()
            if size and not self.more():
                return False
        return True

    def seek_record(self) -> bool:
        """Go to the place, at the next byte or after it, where a record begins; False where this run has none."""
        pattern = _NEXT_ANY if self.is_arc is None else _NEXT_ARC if self.is_arc else _WARC
        while True:
            if match := pattern.search(self._body, self.at):
                self.at = match.start()
                return True
            self.at = max(self.at, len(self._body) - _ARC_LINE_BYTES)
            self.forget()
            if not self.more():
                self.at = len(self._body)
                return False


def _run_records(reader: _Reader, ahead: Callable[[int], bytes] | None) -> Iterator[Record | Broken]:
    told = False  # whether the damage that ended the run was told
    while reader.skip_blank():
        reader.forget()
        begin = reader.place()
        parse = _parse_arc if _ARC.match(reader.peek(_ARC_LINE_BYTES)) else _parse_warc
        try:
            made = parse(reader, begin, ahead)
        except _Wrong as wrong:
            found = reader.seek_record()
            told = not found and reader.damage is not None
            reasons = [str(wrong), reader.damage.reason if told else ""]
            yield Broken("; ".join(filter(None, reasons)), begin, at_end=wrong.cut and not found and reader.last)
        else:
            yield made
    if reader.damage and not told:
        yield Broken(reader.damage.reason, reader.damage.place, reader.damage.at_end)


class _Wrong(ValueError):
    """What is wrong with a record, apart from its bytes. From where the reader stands the next one is looked for.

    `cut`: it goes on where the run does not.
    """

    def __init__(self, reason: str, *, cut: bool = False):
        super().__init__(reason)
        self.cut = cut


def _parse_warc(reader: _Reader, begin: Place, ahead: Callable[[int], bytes] | None) -> Record:
    head = reader.peek(16)
    if not _WARC.match(head):
        reader.at += 1
        raise _Wrong("no record begins where one should", cut=len(head) < 10 and b"WARC/".startswith(head[:5]))
    end = reader.find(_HEAD_END, MAX_HEAD_BYTES)
    if end is None:
        cut = not reader.has(MAX_HEAD_BYTES)
        reader.skip_endless_head(MAX_HEAD_BYTES)
        raise _Wrong("its header does not end", cut=cut)
    headers = parse_headers(reader.peek(end[0] - reader.at).decode("utf-8", "replace").split("\n")[1:])
    reader.at, reader.is_arc = end[1], False
    kind, length = headers.get("warc-type", "").lower(), headers.get("content-length", "")
    return Record(kind, headers, _read_block(reader, length, ahead), begin, reader.place())


def _parse_arc(reader: _Reader, begin: Place, ahead: Callable[[int], bytes] | None) -> Record:
    match = _ARC.match(reader.peek(_ARC_LINE_BYTES))
    url, address, date, kind, length = (part.decode("utf-8", "replace") for part in match.groups())
    kind = kind.partition(" ")[0]
    headers = {"warc-target-uri": url, "warc-ip-address": address, "warc-date": date, "content-type": kind}
    reader.at, reader.is_arc = reader.at + match.end(), True
    kind = "warcinfo" if url.startswith("filedesc:") else "response"
    return Record(kind, headers, _read_block(reader, length, ahead), begin, reader.place())


def _read_block(reader: _Reader, length: str, ahead: Callable[[int], bytes] | None) -> bytes | None:
    """The block behind a header, None if it is too large; the reader stands behind it.

    Raises _Wrong where what follows shows that it is not the whole, with the reader back behind the header.
    """
    if not (length.isascii() and length.isdigit() and len(length) <= _DIGITS):
        raise _Wrong("its header tells no length")
    size, start = int(length), reader.at
    large = size > MAX_BLOCK_BYTES
    if large:
        if ahead and not _follows(ahead(reader.place().offset + size - 1)):
            raise _Wrong(f"has not the {size} bytes that it claims")
        if not reader.skip(size):
            raise _Wrong(f"cut short of the {size} bytes that it claims", cut=True)
        start = reader.at
    elif not reader.has(size):
        raise _Wrong(f"cut short: {reader.num_left} of {size} bytes", cut=True)
    else:
        reader.at += size
    behind = reader.at
    offset = reader.place().offset
    closed = not reader.is_arc and reader.peek(len(_CLOSING)) == _CLOSING
    if reader.skip_blank():
        if not (closed or reader.member_began_after(behind) or _begins(reader.peek(_ARC_LINE_BYTES))):
            reader.at = start
            raise _Wrong("its length is wrong")
    elif reader.damage and reader.damage.place.offset == offset:
        raise _Wrong("", cut=True)
    reader.at = behind
    return None if large else reader.cut(start, size)


def _follows(body: bytes) -> bool:
    """Whether behind the last byte of a block, the first of `body`, comes a record or the end."""
    rest = body[1:].lstrip(b"\r\n")
    return bool(body) and (not rest or body[1:].startswith(_CLOSING) or bool(_begins(rest)))


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Header lines as a dict with names in lower case; of one that is repeated the first counts."""
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name in headers:
            name = ""
        elif name:
            headers[name] = value.strip()
    return headers


def _digest(text: str, size: int) -> bytes | None:
    """A digest from base32 (as the standard has it), hex or base64; None where it is none of them."""
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        bare = text.rstrip("=")
        if len(bare) == -(-size * 8 // 5):
            return base64.b32decode(bare.upper() + "=" * (-len(bare) % 8))
        made = base64.b64decode(text, validate=True)
        return made if len(made) == size else None
    except (ValueError, binascii.Error):
        return None
