"""What an adapter is given and what it gives back.

An adapter is a module with one generator, `read(locator, context)`, that yields documents (dicts made by
`clet.record.make_record`). `table.py` names it. The rules that make every adapter safe to kill:

- The cursor may say "seen" of a document at the moment it is yielded, never before. What stands for many documents
  (an ETag, a commit) is set after the last of them was yielded.
- A source that cannot be read raises SourceFailed; a part of it that cannot (one feed of a list) is read inside
  `context.part`, which reports the failure and lets the next part go on.
- Before it waits for input it calls `context.idle()`, so that what was handed over is passed on meanwhile. That call
  may raise anything an output can raise, so it never stands inside a `try` for the input's own errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clet.log import log
from clet.record import Record
from clet.sources.interruption import Interruption

if TYPE_CHECKING:
    from clet.sources.fetch import Page

Document = Record

MAX_FILE_BYTES = 64 << 20  # a file or body read whole into memory
MAX_TEXT_BYTES = 8 << 20  # a document; with its ids in base64 it stays below the longest line a reader takes (64 MB)


class SourceFailed(Exception):
    """A source, or a part of one, cannot be read now; the text is the reason. `unreachable`: it did not answer."""

    def __init__(self, reason: str, *, unreachable: bool = False):
        super().__init__(reason)
        self.unreachable = unreachable


class Adapter(Protocol):
    """The one signature of all adapters."""

    def read(self, locator: str, context: Context) -> Iterator[Document]:
        """Documents of the source that the cursor has not seen, in the source's own order."""


@dataclass
class Report:
    """What went well and what did not, by source. `bad` and `bad_line` are those of the command's stage."""

    bad: Callable[[str], None]
    bad_line: Callable[[str, str, bytes], None]
    sources: dict[str, Counter[str]] = field(default_factory=dict)
    current: str = ""
    failures: int = 0
    unreachable: int = 0

    def begin(self, name: str) -> None:
        """What follows belongs to the source `name`."""
        self.current = name
        self.sources.setdefault(name, Counter())

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count of the current source: documents, or what was passed over and why."""
        self.sources[self.current][what] += number

    def failed(self, error: SourceFailed) -> None:
        """Report the current source as failed."""
        self.failures += 1
        self.unreachable += error.unreachable
        self.count("failed")
        log.error(f"{self.current}: {error}", source=self.current)


@dataclass
class Context:
    """All that an adapter may use besides its locator.

    `cursor` holds JSON values, belongs to this source, and is kept only after the documents were flushed. `now` is the
    time of this round. `fetch(url, validators)` is the one way to the network: a Page, or None where nothing changed.
    `cache` is a folder for what can be fetched again; adapters create it when they need it.
    """

    name: str
    cursor: dict[str, Any]
    now: datetime
    report: Report
    fetch: Callable[[str, dict[str, str]], Page | None]
    cache: Path
    allow_private: bool = False
    follow: bool = False
    idle: Callable[[], None] = lambda: None
    interruption: Interruption = field(default_factory=Interruption)

    @contextmanager
    def part(self, target: str, adapter: str) -> Iterator[Context]:
        """A context of its own for one part of the source; SourceFailed inside is reported and goes no further."""
        name = f"{adapter}:{target}"
        before = self.report.current
        self.report.begin(name)
        try:
            yield replace(self, name=name, cursor=self.cursor.setdefault(target, {}))
        except SourceFailed as error:
            self.report.failed(error)
        finally:
            self.report.begin(before)
