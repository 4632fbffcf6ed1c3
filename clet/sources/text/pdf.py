"""PDF into text, in a child process: a PDF library is large, written in C++, and reads what strangers wrote.

The child (this module run with -m) reads the file on stdin and writes one JSON object to a file that it cannot make
large; its memory, processor time and open files are limited, and the parent ends it when it takes too long. PDFium
gives the text in the order in which pages draw it, which for what word processors and TeX write is the order of
reading. Lines that repeat at the top or bottom of pages, and page numbers there, are dropped; words divided at the end
of a line are joined. A scan without text gives none. Cost: 0.2 s for the child, and 1 to 5 ms a page.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MAX_PAGES = 20_000
MAX_CHARS = 9 << 20  # more than a document may have: what is cut here is refused later, and says so
MAX_WALL_S = 60.0
MAX_CPU_S = 30
MAX_MEMORY_BYTES = 2 << 30  # of addresses: the interpreter and the library alone take 0.3 GB
_MAX_OUTPUT_BYTES = 64 << 20
_MAX_FILES = 64
_POLL_S = 0.2
COMMAND = [sys.executable, "-P", "-m", "clet.sources.text.pdf"]  # -P: the working directory is nobody to import from
_REPEATED = 3  # pages on which a line at the edge makes it a running head
_EDGES = 2  # lines at the top, and at the bottom
_FOLIO = re.compile(r"\A\W*(\d{1,5})\b|\b(\d{1,5})\W*\Z")  # the number of a page, before or behind its running head
_ROMAN = re.compile(r"\W*[ivxlc]{1,8}\W*\Z")
_LETTER = re.compile(r"[^\W\d_]")
# PDFium writes U+FFFE for a hyphen at the end of a line and leaves the line's end out.
_DIVIDED = re.compile(r"(\w+)(?:\ufffe|-\n)([^\W\d_]\w*)")
_HYPHENATED = re.compile(r"\w+-\w+")


class PdfFailed(Exception):
    """No text can be had from the file; the message is the reason."""


class PdfMissing(PdfFailed):
    """The library is not installed."""

    def __init__(self) -> None:
        super().__init__("needs pypdfium2; pip install 'clet[pdf]'")


def is_pdf(body: bytes) -> bool:
    """Whether a file begins as PDF does."""
    return body.startswith(b"%PDF-")


def pdf_text(body: bytes, check: Callable[[], None]) -> tuple[str, str]:
    """(text, title or an empty string) of a PDF file. `check` is called meanwhile and may raise. Raises PdfFailed."""
    if importlib.util.find_spec("pypdfium2") is None:
        raise PdfMissing
    with tempfile.TemporaryFile() as out:
        status = _run_child(body, out, check)
        out.seek(0)
        try:
            made = json.loads(out.read(_MAX_OUTPUT_BYTES))
        except ValueError:
            ended = f"signal {-status}" if status < 0 else f"status {status}"
            raise PdfFailed(f"is too much for the PDF library, which ended with {ended}") from None
    match made:
        case {"text": str(text), "title": str(title)}:
            return text, title
        case {"failed": str(reason)}:
            raise PdfFailed(reason)
    raise PdfFailed("made the PDF library give what is no text")


def _run_child(body: bytes, out: BinaryIO, check: Callable[[], None]) -> int:
    package = str(Path(__file__).parents[3])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
    )
    deadline = time.monotonic() + MAX_WALL_S
    given: bytes | None = body
    try:
        while True:
            try:
                child.communicate(given, timeout=_POLL_S)
                return child.returncode
            except subprocess.TimeoutExpired:
                given = None  # what is left of it is sent by the next call
                check()
                if time.monotonic() > deadline:
                    raise PdfFailed(f"takes over {MAX_WALL_S:g} s") from None
    finally:
        child.kill()
        child.wait()


# ---- in the child


def main() -> None:
    """Read a PDF on stdin, write `{"text", "title"}` or `{"failed"}` on stdout."""
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _MAX_OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        resource.setrlimit(limit, (value, value))
    try:
        made = _read(sys.stdin.buffer.read())
    except MemoryError:
        made = {"failed": f"takes over {MAX_MEMORY_BYTES} bytes of memory"}
    sys.stdout.write(json.dumps(made))


def _read(body: bytes) -> dict[str, str]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(body)
        if len(document) > MAX_PAGES:
            return {"failed": f"has over {MAX_PAGES} pages"}
        pages, size = [], 0
        for number in range(len(document)):
            page = document[number]
            pages.append(page.get_textpage().get_text_range().replace("\r\n", "\n"))
            page.close()
            size += len(pages[-1])
            if size > MAX_CHARS:
                break
        return {"text": join_pages(pages), "title": document.get_metadata_value("Title")}
    except pypdfium2.PdfiumError as error:
        needs_password = "password" in str(error).lower()
        return {"failed": "needs a password" if needs_password else "is no PDF that can be read"}


def join_pages(pages: list[str]) -> str:
    """One text of pages: without running heads and page numbers, divided words joined."""
    lines = [[line.rstrip() for line in page.strip().split("\n")] for page in pages]
    for edge in [0, -1] * _EDGES:
        _drop_repeated(lines, edge)
    text = "\n".join("\n".join(page) for page in lines)
    compounds = set(_HYPHENATED.findall(text))

    def join(match: re.Match[str]) -> str:
        compound = f"{match[1]}-{match[2]}"
        return compound if compound in compounds or not match[2][0].islower() else match[1] + match[2]

    return _DIVIDED.sub(join, text)


def _drop_repeated(pages: list[list[str]], edge: int) -> None:
    """Drop the first (0) or last (-1) line of pages where it comes again and again; of a head, not the first time."""
    keys = [_head(page[edge], number) if page else None for number, page in enumerate(pages)]
    counts, met = Counter(keys), set()
    for page, key in zip(pages, keys, strict=True):
        if key and counts[key] >= _REPEATED and (key in met or not _LETTER.search(key[0])):
            del page[edge]
        met.add(key)


def _head(line: str, page: int) -> tuple[str, int | None]:
    """What is the same in all places where a line is a running head: its words, and how far its number is from the
    page's own, so that rows of figures which end pages are no heads."""
    if match := _FOLIO.search(line):
        words = (line[: match.start()] + line[match.end() :]).strip(" -|.:\u2013\u2014")
        return words, int(match[1] or match[2]) - page
    return ("", None) if _ROMAN.match(line) else (line, None)


if __name__ == "__main__":
    main()
