"""What EDGAR sends, opened without holding all of it, and what it is, told by its content alone.

What is large is mapped into memory, so a submission of hundreds of megabytes costs address space and no more; only
what is compressed is inflated whole, up to MAX_INFLATED_BYTES.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from clet.codecs import sniff
from clet.record import raw_hash
from clet.sources.adapter import MAX_FILE_BYTES, SourceFailed
from clet.sources.edgar.sgml import Body, is_submission
from clet.sources.paths import inflate, open_regular, read_file, shown

MAX_BODY_BYTES = 2 << 30  # mapped; the largest submissions, of asset-backed securities, have about 1 GB
MAX_INFLATED_BYTES = 256 << 20
HEAD_BYTES = 1 << 14

SUBMISSION, ATOM, JSON, INDEX, PAGE, LIMITED = "submission", "atom", "json", "index", "page", "limited"

_LIMITED = re.compile(
    rb"<title>[^<]{0,200}(?:Request Rate Threshold Exceeded|Undeclared Automated Tool)"
    rb"|<h1>[^<]{0,40}Exceeded the SEC.{1,8}s Traffic Limit"
)
_INDEX = re.compile(
    rb"^[^\n]*(?:Form Type[^\n]*Date Filed|Company Name[^\n]*Form Type)[^\n]*$", re.MULTILINE | re.IGNORECASE
)
_ATOM = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,1000}?-->\s*)*<feed[\s>]", re.DOTALL)
_FIRST_TAG = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!(?:--.{0,5000}?--|doctype[^>]*)>\s*)*<([a-z][a-z0-9:]*)", re.IGNORECASE | re.DOTALL
)
_OPENING = {"html", "head", "body", "title", "div", "p", "font", "center", "span", "hr", "br", "pre", "meta", "style"}
# Tags that ASCII filings do not use; their `<TABLE>` has no rows, and `<A>` or `<B>` can be a footnote.
_MARKUP = re.compile(r"<(?:html|body|head|div|font|br|t[dr]|center|h[1-6]|span|hr|p)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_LOOK_CHARS = 1 << 16


@contextmanager
def local_body(path: str) -> Iterator[tuple[Body, str]]:
    """(the body in somebody's file, inflated where it is gzip or zstd; SHA-256 of the file). Raises SourceFailed.

    A large one is copied before it is mapped: a file that its owner cuts short would kill who has it mapped.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BODY_BYTES:
            raise SourceFailed(f"{shown(path)}: over {MAX_BODY_BYTES} bytes")
        if size > MAX_FILE_BYTES:
            with tempfile.TemporaryFile() as copy:
                try:
                    shutil.copyfileobj(file, copy, 1 << 20)
                    copy.flush()
                except OSError as error:
                    raise SourceFailed(f"{shown(path)}: {error.strerror}", unreachable=True) from None
                with mapped(copy) as body:
                    yield plain(body, shown(path)), hashlib.sha256(body).hexdigest()
            return
    body = read_file(path)
    yield plain(body, shown(path)), raw_hash(body)


@contextmanager
def mapped(file: BinaryIO) -> Iterator[Body]:
    """The content of a file that nobody else writes to. Raises SourceFailed."""
    try:
        body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # empty, or on a file system without maps
        raise SourceFailed(f"cannot be mapped: {error}") from None
    try:
        yield body
    finally:
        with suppress(BufferError):  # a match still points into it; it goes with the match
            body.close()


def plain(body: Body, name: str) -> Body:
    """A body as it is, or inflated where it is gzip or zstd. Raises SourceFailed."""
    if sniff(body[:4]) not in ("gzip", "zstd"):
        return body
    if len(body) > MAX_INFLATED_BYTES:
        raise SourceFailed(f"{name}: over {MAX_INFLATED_BYTES} bytes, compressed; inflate it first")
    return inflate(body[:], name, MAX_INFLATED_BYTES)


def kind_of(body: Body) -> str | None:
    """What a body is, one of the words above; None where it holds no filing and no list of filings."""
    head = body[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if _LIMITED.search(head):
        return LIMITED
    if is_submission(head):
        return SUBMISSION
    if _ATOM.match(head):
        return ATOM
    start = head.lstrip()[:1]
    if start in (b"{", b"["):
        return JSON
    if start == b"<":
        return PAGE if is_markup(head.decode("utf-8", "replace")) else None
    return INDEX if _INDEX.search(head[:4096]) else None


def is_markup(text: str) -> bool:
    """Whether a text is HTML, a fragment without `<html>` or `<body>` included; other XML and ASCII are not."""
    match = _FIRST_TAG.match(text)
    if match and match[1].lower() in _OPENING:
        return True
    return not text[:100].lstrip().startswith("<?xml") and _MARKUP.search(text[:_LOOK_CHARS]) is not None
