"""Texts to measure with: those that `clet ingest` finds in its sources."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clet.bench.processes import CLET
from clet.codecs import Peekable
from clet.exits import InputError
from clet.streams import read_stream, refuse_bad


def texts_of(sources: Sequence[str], size: int) -> list[str]:
    """The first texts of the sources, about `size` bytes together. Raises InputError where there are none."""
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="clet-bench-") as folder:
        log = Path(folder, "log")
        with open(log, "wb") as stderr:
            process = subprocess.Popen(
                [*CLET, "ingest", "-q", *sources], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
            )
        try:
            for batch in read_stream(Peekable(process.stdout.raw), "ingest", refuse_bad):
                for row in range(len(batch)):
                    if size > 0:
                        texts.append(batch.text_at(row))
                        size -= len(batch.text[row])
                if size <= 0:
                    break
        finally:
            process.stdout.close()  # a source that has more to give ends here
            process.wait()
        if not texts:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no documents"]
            raise InputError(f"ingest: {lines[-1]}")
    return texts
