"""The texts that a vocabulary is learned from: clet streams, plain text files, folders of them.

Operands are taken in order, folders sorted by path, so the same operands give the same texts in the same order. Texts
are brought into the form that records keep (`clet.record.canonical_text`). Memory: one file, or one batch of records.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from clet.exits import InputError, UsageError
from clet.record import canonical_text
from clet.streams import OnBad, read_records

# Read as text by name. Everything else is a stream of records, told by its first bytes.
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py", ".c", ".h", ".html", ".toml", ".cfg", ".sh", ".css", ".js")
MAX_TEXT_BYTES = 64 << 20


def corpus_texts(operands: Iterable[str], on_bad: OnBad) -> Iterator[str]:
    """Texts of all operands, empty ones left out. `-` is a stream on stdin.

    UsageError for a path that is not there, InputError for a text of over 64 MB and for a damaged stream; a malformed
    line of a stream goes to `on_bad`.
    """
    for operand in operands:
        path = Path(operand)
        if operand != "-" and path.is_dir():
            yield from _folder_texts(path)
        elif path.suffix.lower() in TEXT_SUFFIXES:
            yield from _file_text(path)
        else:
            yield from (record["text"] for record in read_records([operand], on_bad) if record.get("text"))


def _folder_texts(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            # Links are left alone: they may leave the folder or name a file twice.
            if path.suffix.lower() in TEXT_SUFFIXES and path.is_file() and not path.is_symlink():
                yield from _file_text(path)


def _file_text(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            body = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(body) > MAX_TEXT_BYTES:
        raise InputError(f"{path}: a text of over {MAX_TEXT_BYTES >> 20} MB; pass it through clet ingest")
    if text := canonical_text(body.decode("utf-8", "replace")):
        yield text
