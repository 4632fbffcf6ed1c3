"""Bytes into text: which encoding, and is it text at all.

In order of trust: a byte-order mark, what the transport declared, what the document declares (meta, XML declaration),
UTF-8 if it is valid, UTF-16 without a mark where every other byte is zero, and what the bytes look like
(resiliparse's detector, after Mozilla's), else Windows-1252. A declared encoding that the bytes contradict is not
believed; one of eight bits a character cannot be contradicted, and gives way to UTF-8 where the bytes are that. One
pass over the bytes in the common case; the detector takes a millisecond, for what declares nothing and is no UTF-8.
"""

from __future__ import annotations

import codecs
import re

from clet.record import canonical_text

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins the same
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})|<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""",
    re.IGNORECASE,
)
_HEAD_BYTES = 4096
_ASCII = bytes(range(128))
_FEW_BYTES = 6  # beyond ASCII, among ten times as many: too little to tell Western languages from others
_DETECTED_BYTES = 8192  # from a little before the first byte that is no ASCII
# What browsers do with these labels: pages that declare them are nearly always the Windows or national superset.
_ALIASES = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-8859-9": "cp1254",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "x-sjis": "cp932",
}
# Bytes that UTF-8 has no use for (as Python escapes them), read as Windows-1252.
PASTED = {0xDC00 + code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0x100)}
_PIECES = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}|[\x80-\xff]")  # of UTF-8 beyond ASCII, and bytes that are none
_WESTERN = (b"\xc2", b"\xc3", b"\xe2\x80")  # how UTF-8 begins what Western languages need
# Codecs in which most sequences of bytes are no text, so that decoding is a test.
_WIDE = ("big5", "cp932", "cp949", "euc", "gb", "hz", "iso2022", "johab", "shift", "utf")
# Codecs that turn bytes into something else than a document's text.
_NO_TEXT = {"utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}


class NotText(ValueError):
    """The bytes are no text."""


def decode_text(body: bytes, declared: str | None = None, *, markup: bool = False) -> str:
    """The text of a body. `markup`: look for a declaration inside it. Raises NotText for binary data."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    if wide := _wide_encoding(body):
        return body.decode(wide, "replace")
    if b"\0" in body[:_HEAD_BYTES] and not markup:
        raise NotText("binary")
    candidates = [declared]
    if markup and (match := _DECLARED.search(body[:_HEAD_BYTES])):
        candidates.append((match[1] or match[2]).decode())
    for label in [*candidates, "utf-8"]:
        if label and (name := _codec(label)):
            if not name.startswith(_WIDE) and (text := _try("utf-8", body)) is not None:
                return text
            if (text := _try(name, body)) is not None:
                return text
    if not markup and _is_binary(body):
        raise NotText("binary")
    pieces = _PIECES.findall(body[: 1 << 20])
    good = sum(len(piece) > 1 for piece in pieces)
    if good > 9 * (len(pieces) - good):  # with a few broken places
        return body.decode("utf-8", "replace")
    name = _detect(body)
    # Both, as where people paste: no text in Windows-1252 has so many of these pairs.
    if name == "cp1252" and 4 * sum(piece.startswith(_WESTERN) for piece in pieces if len(piece) > 1) > len(pieces):
        return body.decode("utf-8", "surrogateescape").translate(PASTED)
    return body.decode(name, "replace")


def _try(name: str, body: bytes) -> str | None:
    try:
        return body.decode(name)
    except UnicodeDecodeError:
        return None


def _detect(body: bytes) -> str:
    """The codec that bytes look like which are not UTF-8 and declare nothing."""
    from resiliparse.parse.encoding import detect_encoding

    first = next(re.finditer(rb"[\x80-\xff]", body)).start()
    sample = body[max(0, first - 256) :][:_DETECTED_BYTES]
    if len(sample.translate(None, _ASCII)) < min(_FEW_BYTES, len(sample) / 10):
        return "cp1252"
    name = _codec(detect_encoding(sample) or "")
    if name and not name.startswith("utf"):
        return name
    korean = sample.decode("euc_kr", "replace")  # which the detector does not know
    hangul = sum("\uac00" <= char <= "\ud7a3" for char in korean)
    return "cp949" if hangul * 4 > 3 * sum(char > "\x7f" for char in korean) else "cp1252"


def _codec(label: str) -> str | None:
    """The Python codec for a declared label; None for unknown ones and for UTF-16, which only its bytes can prove."""
    name = _ALIASES.get(label.strip().lower(), label.strip())
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    usable = info._is_text_encoding and info.name not in _NO_TEXT and not info.name.startswith(("utf-16", "utf-32"))
    return info.name if usable else None


def _wide_encoding(body: bytes) -> str | None:
    head = body[: _HEAD_BYTES & ~1]
    if len(head) < 4:
        return None
    even, odd, half = head[0::2].count(0), head[1::2].count(0), len(head) // 2
    if odd > 0.4 * half and even < 0.02 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.02 * half:
        return "utf-16-be"
    return None


def _is_binary(body: bytes) -> bool:
    """Control bytes that no text has, in more than one of a hundred places."""
    head = body[:_HEAD_BYTES]
    control = sum(byte < 32 and byte not in b"\t\n\x0b\x0c\r\x1b" for byte in head)
    return control * 100 > len(head) or b"\0" in body


def one_line(text: str | None, limit: int = 500) -> str | None:
    """A title, name or tag: canonical, white space collapsed, at most `limit` characters; None where that is empty."""
    if not text:
        return None
    return " ".join(canonical_text(text[: 20 * limit]).split())[:limit] or None
