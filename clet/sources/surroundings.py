"""What all sources of one process share: the clock, the way to the network, the cache, and how they are interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clet.sources.adapter import Context, Outlet
from clet.sources.interruption import Interruption
from clet.sources.table import Source
from clet.sources.web.page import Download, Manners, Page

if TYPE_CHECKING:
    from clet.sources.web.archive import Archive
    from clet.sources.web.fetch import Fetcher


@dataclass
class Surroundings:
    """Makes the context of each source. The fetcher is made when a source first needs it."""

    clock: Callable[[], datetime]
    cache: Path
    user_agent: str
    connections: int = 16
    allow_private: bool = False
    follow: bool = False
    archive_folder: Path | None = None
    interruption: Interruption = field(default_factory=Interruption)
    _fetcher: Fetcher | None = None
    _archive: Archive | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def context(
        self, source: Source, cursor: dict[str, Any], now: datetime, outlet: Outlet, *, in_columns: bool = False
    ) -> Context:
        """What an adapter is given."""
        return Context(
            adapter=source.adapter,
            name=source.name,
            cursor=cursor,
            now=now,
            outlet=outlet,
            web=self,
            scrubber=self,
            cache=self.cache,
            options=source.options,
            allow_private=self.allow_private,
            follow=self.follow,
            in_columns=in_columns,
            interruption=self.interruption,
        )

    def get(self, url: str, validators: dict[str, str], manners: Manners = Manners()) -> Page | None:
        """See `clet.sources.web.fetch.Fetcher.get`."""
        return self._web().get(url, validators, manners)

    def download(
        self, url: str, folder: Path, validators: dict[str, str], manners: Manners = Manners()
    ) -> Download | None:
        """See `clet.sources.web.fetch.Fetcher.download`."""
        return self._web().download(url, folder, validators, manners)

    @staticmethod
    def scrub(text: str, kinds: frozenset[str]) -> tuple[str, dict[str, int]]:
        """See `clet.sources.text.scrub`."""
        from clet.sources.text.scrub import scrub

        return scrub(text, kinds)

    def _web(self) -> Fetcher:
        with self._lock:
            if self._fetcher is None:
                from clet.sources.web.archive import Archive
                from clet.sources.web.fetch import Fetcher

                self._archive = Archive(self.archive_folder) if self.archive_folder else None
                self._fetcher = Fetcher(
                    self.user_agent,
                    allow_private=self.allow_private,
                    interruption=self.interruption,
                    connections=self.connections,
                    archive=self._archive,
                )
            return self._fetcher

    def sync(self) -> None:
        """Make durable what was archived; called before cursors are committed."""
        if self._archive:
            self._archive.sync()

    def close(self) -> None:
        """End the connections and the archive's file."""
        if self._fetcher:
            self._fetcher.close()
        if self._archive:
            self._archive.close()
