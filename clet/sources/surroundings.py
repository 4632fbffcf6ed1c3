"""What all sources of one process share: the clock, the way to the network, the cache, and how they are interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clet.sources.adapter import Context, Report
from clet.sources.interruption import Interruption
from clet.sources.table import Source

if TYPE_CHECKING:
    from clet.sources.fetch import Fetcher, Page


@dataclass
class Surroundings:
    """Makes the context of each source. The fetcher is made when a source first needs it."""

    clock: Callable[[], datetime]
    cache: Path
    user_agent: str
    allow_private: bool = False
    follow: bool = False
    interruption: Interruption = field(default_factory=Interruption)
    _fetcher: Fetcher | None = None

    def context(
        self, source: Source, cursor: dict[str, Any], now: datetime, report: Report, idle: Callable[[], None]
    ) -> Context:
        """What an adapter is given."""
        return Context(
            name=source.name,
            cursor=cursor,
            now=now,
            report=report,
            fetch=self.fetch,
            cache=self.cache,
            allow_private=self.allow_private,
            follow=self.follow,
            idle=idle,
            interruption=self.interruption,
        )

    def fetch(self, url: str, validators: dict[str, str]) -> Page | None:
        """See `clet.sources.fetch.Fetcher.get`."""
        if self._fetcher is None:
            from clet.sources.fetch import Fetcher

            self._fetcher = Fetcher(self.user_agent, allow_private=self.allow_private, interruption=self.interruption)
        return self._fetcher.get(url, validators)
