"""The record: one document and what each stage found out about it, as one JSON object a line (clet-record(5)).

A record is a plain dict. `text` and `tok` come last on a line, so that the line's head can be read, extended and
passed on without touching the bulk (see `clet.batch`); the other fields keep the order in which they arrived.
Everything read here may have been written by a stranger: sizes, types and numbers are checked at the edge.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import xxhash

Record = dict[str, Any]

MAX_LINE_BYTES = 64 << 20  # one JSON line; a 10-million-token document with its text still fits
MAX_DEPTH = 64  # of objects and lists inside each other; orjson reads 1,024 and writes 254

DTYPES: dict[str, np.dtype] = {"u16": np.dtype("<u2"), "u32": np.dtype("<u4")}

_ID = re.compile(r"[0-9a-f]{32}\Z")
# What a terminal, a log or a tokenizer should never see: C0 and C1 controls but tab and newline, and noncharacters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
# The same in UTF-8. Taking bytes out of bytes is ten times as fast as a search for a class of characters, and hardly a
# text holds any of these.
_PLAIN = bytes([9, 10, *range(32, 127)])
_C0 = bytes([*range(9), *range(11, 32), 127])
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_NONCHARACTERS = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")
# orjson reads integers above 64 bits as floats, silently losing digits. Lines in which such a number may occur are
# rare enough to be parsed twice.
_RISKY_NUMBER = re.compile(rb"[\[:,\s-]\d{19,}")
# An escaped backslash, or both halves of a surrogate pair (group 1); else one half.
_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_RISKY_ZEROS = b"0" * 19
_NESTED_OR_FLOAT = frozenset([dict, list, float])  # an object without these is flat and has lost no digits


class RecordError(ValueError):
    """A line that is not a record; the text is the reason, a few words."""


class LongLine(bytes):
    """The beginning of a line of over `MAX_LINE_BYTES`; `size` and `digest` are of all of it."""

    def __init__(self, _: bytes):
        self.size = 0
        self.digest = xxhash.xxh3_128()

    def pass_over(self, piece: bytes) -> None:
        """A further piece of the line, from its first byte on."""
        self.size += len(piece)
        self.digest.update(piece)


def canonical_text(text: str) -> str:
    """The form of a text that is kept and hashed: NFC, newlines as LF, no control characters, no outer white space.

    Lone surrogates, which JSON escapes can smuggle in, become U+FFFD.
    """
    return _canonical(text)[0]


def _canonical(text: str) -> tuple[str, bytes]:
    """The canonical form of a text, and its UTF-8, which is at hand where nothing had to be changed."""
    try:
        body = text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        body = text.encode()
    before = text
    if rest := body.translate(None, _PLAIN):
        if len(body) != len(text):
            text = unicodedata.normalize("NFC", text)
        if b"\r" in rest:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
            rest = rest.replace(b"\r", b"")
        if _has_control(rest):
            text = _CONTROL.sub("", text)
    text = text.strip()
    return text, body if text == before else text.encode()


def _has_control(rest: bytes) -> bool:
    """Whether UTF-8, from which plain ASCII was taken out, holds what `_CONTROL` matches."""
    if len(rest.translate(None, _C0)) != len(rest) or any(each in rest for each in _NONCHARACTERS):
        return True
    return b"\xc2" in rest and _C1.search(rest) is not None


def record_id(text: str) -> str:
    """First 128 bits of SHA-256 over the UTF-8 of a canonical text, as 32 hex digits.

    Writers of documents may be hostile, so the id has to resist collisions: Merkle leaves are made of it.
    """
    return _id(text.encode())


def _id(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def raw_hash(body: bytes) -> str:
    """SHA-256 of the bytes as they were fetched, hex: the field `raw`."""
    return hashlib.sha256(body).hexdigest()


def format_time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with seconds; a naive datetime is taken as UTC."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_time(text: str) -> datetime:
    """A datetime in UTC from RFC 3339 (a date alone is its midnight). Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999 in UTC") from None


def make_record(
    *,
    source: str,
    origin: str,
    text: str,
    fetched: datetime | None,
    url: str | None = None,
    title: str | None = None,
    lang: str | None = None,
    published: datetime | None = None,
    raw: str | None = None,
    license: str | None = None,
    meta: dict[str, Any] | None = None,
) -> Record:
    """A new record with canonical text and its id, fields in their documented order.

    `source` is the adapter's name, `origin` the feed, repository, filer or host, `raw` the hash of the bytes fetched.
    """
    text, body = _canonical(text)
    return {
        "id": _id(body),
        "source": source,
        "origin": origin,
        "url": url,
        "title": canonical_text(title) if title else title,
        "lang": lang,
        "published": format_time(published),
        "fetched": format_time(fetched),
        "raw": raw,
        "license": license,
        "meta": meta or {},
        "text": text,
    }


def parse_line(line: bytes) -> Record:
    """One JSON line as a record. Raises RecordError with the reason."""
    record = parse_object(line)
    check_record(record)
    return record


def parse_object(line: bytes, *, mend: bool = False) -> dict[str, Any]:
    """One JSON line as an object that can be written again as it was read. Raises RecordError with the reason.

    `mend`: halves of surrogate pairs, which no JSON of ours holds, become U+FFFD instead.
    """
    if isinstance(line, LongLine) or len(line) > MAX_LINE_BYTES:
        raise RecordError("line too long")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        if not mend:
            raise RecordError("not JSON") from None
        value = _with_lone_surrogates(line)
    if not isinstance(value, dict):
        raise RecordError("not an object")
    if not _NESTED_OR_FLOAT.isdisjoint(map(type, value.values())):
        if line.count(b"{") + line.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
            raise RecordError("nested too deeply")
        if _RISKY_ZEROS in line.translate(_AS_ZERO) and _RISKY_NUMBER.search(line):
            _refuse_wide_numbers(line)
    return value


def _with_lone_surrogates(line: bytes) -> Any:
    """The value of a line that may be unreadable only for halves of surrogate pairs, which become U+FFFD."""
    try:
        return orjson.loads(_SURROGATES.sub(lambda match: match[0] if match[1] else rb"\ufffd", line))
    except orjson.JSONDecodeError:
        raise RecordError("not JSON") from None


def _deeper(value: object, depth: int) -> bool:
    """Whether objects and lists lie inside each other more than `depth` times."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (depth == 0 or any(_deeper(item, depth - 1) for item in inner))


def _refuse_wide_numbers(line: bytes) -> None:
    def integer(text: str) -> int:
        value = int(text) if len(text) < 24 else 1 << 64
        if not -(1 << 63) <= value < 1 << 64:
            raise RecordError("number out of range")
        return value

    json.loads(line, parse_int=integer)


def check_record(record: object) -> None:
    """Raise RecordError unless `record` has the shape that every stage relies on."""
    if not isinstance(record, dict):
        raise RecordError("not an object")
    ident = record.get("id")
    if not isinstance(ident, str) or not _ID.match(ident):
        raise RecordError("no id of 32 hex digits; documents get theirs from clet ingest")
    for name in ("source", "origin", "url", "title", "lang", "published", "fetched", "raw", "license", "text"):
        value = record.get(name)
        if value is not None and not isinstance(value, str):
            raise RecordError(f"{name} is not a string")
    if not isinstance(record.get("meta", {}), dict):
        raise RecordError("meta is not an object")


def encode_tok(ids: np.ndarray, fingerprint: str) -> dict[str, Any]:
    """The `tok` object of a record: base64 of little-endian ids `[n]` of dtype uint16 or uint32."""
    dtype = "u16" if ids.dtype == np.uint16 else "u32"
    body = base64.b64encode(np.ascontiguousarray(ids, DTYPES[dtype]).tobytes()).decode()
    return {"n": len(ids), "dtype": dtype, "ids": body, "fp": fingerprint}


def decode_tok(tok: object) -> tuple[np.ndarray, str]:
    """(ids `[n]`, tokenizer fingerprint) of a `tok` object. Raises RecordError where it contradicts itself."""
    if not isinstance(tok, dict):
        raise RecordError("tok is not an object")
    dtype = DTYPES.get(tok.get("dtype", ""))
    fingerprint, body = tok.get("fp"), tok.get("ids")
    if dtype is None or not isinstance(body, str) or not isinstance(fingerprint, str) or not fingerprint:
        raise RecordError("tok lacks dtype, ids or fp")
    try:
        ids = np.frombuffer(base64.b64decode(body, validate=True), dtype)
    except (binascii.Error, ValueError):
        raise RecordError("tok.ids is not base64 of whole ids") from None
    if tok.get("n") != len(ids):
        raise RecordError("tok.n differs from the number of ids")
    return ids, fingerprint
