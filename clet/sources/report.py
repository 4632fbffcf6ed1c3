"""What went well and what did not, by source: for the summary, the exit status and the messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from clet.exits import InputError
from clet.log import log
from clet.sources.adapter import SourceFailed
from clet.sources.table import Source

MAX_SOURCES = 1000  # named one by one in a summary; beyond, only the sums


@dataclass
class Report:
    """Counts by source name, and how many sources failed."""

    sources: dict[str, Counter[str]] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    unreachable: int = 0
    _errors: dict[str, str] = field(default_factory=dict)

    def add(self, source: Source, counts: Counter[str]) -> None:
        """Add to the counts of a source."""
        if source.name in self.sources or len(self.sources) < MAX_SOURCES:
            self.sources.setdefault(source.name, Counter()).update(counts)
        self.totals.update(counts)

    def count(self, source: Source, what: str, number: int = 1) -> None:
        """Add to one count of a source: `add` for what happens with every document."""
        if source.name in self.sources or len(self.sources) < MAX_SOURCES:
            self.sources.setdefault(source.name, Counter())[what] += number
        self.totals[what] += number

    def failed(self, source: Source, error: SourceFailed | InputError) -> None:
        """Report a source that could not be read; said again only when the reason is another one."""
        reason = str(error)
        self.failures += 1
        self.unreachable += getattr(error, "unreachable", False)
        self.add(source, Counter(failed=1))
        if self._errors.get(source.key) != reason:
            self._errors[source.key] = reason
            log.error(f"{source.name}: {reason}", source=source.name)

    def succeeded(self, source: Source) -> None:
        """A source was read to its end."""
        if self._errors.pop(source.key, None):
            log.info(f"{source.name}: reads again", source=source.name)
