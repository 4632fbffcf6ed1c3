"""The table of adapters, and the operands that name a source: `feed:URL`, `git:PATH`, `file:GLOB`, `jsonl:FILE`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from clet.exits import UsageError
from clet.sources.adapter import Adapter
from clet.sources.paths import shown

ADAPTERS: dict[str, str] = {
    # kind: module with `read(locator, context)`
    "feed": "clet.sources.feeds",
    "file": "clet.sources.files",
    "git": "clet.sources.git",
    "jsonl": "clet.sources.jsonl",
}


@dataclass(frozen=True)
class Source:
    """One operand: which adapter, and where. `name` is the operand as given, `key` names its cursor in the state."""

    adapter: str
    locator: str

    @property
    def name(self) -> str:
        """The operand as text, with a password in a URL left out."""
        return f"{self.adapter}:{shown(without_credentials(self.locator))}"

    @property
    def key(self) -> str:
        """The same from every working directory."""
        local = self.locator != "-" and not is_url(self.locator) and not is_ssh_shorthand(self.locator)
        place = os.path.abspath(self.locator) if local else without_credentials(self.locator)
        return f"{self.adapter}:{shown(place)}"

    @property
    def is_stdin(self) -> bool:
        """Whether it reads standard input."""
        return self.locator == "-"

    def load(self) -> Adapter:
        """The adapter's module, imported now."""
        return importlib.import_module(ADAPTERS[self.adapter])


def is_url(locator: str) -> bool:
    """Whether a locator is `scheme://...` rather than a path."""
    scheme, separator, _ = locator.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("-", "").isalnum()


def is_ssh_shorthand(locator: str) -> bool:
    """`user@host:path`, git's short form of an ssh URL."""
    head, colon, _ = locator.partition(":")
    return bool(colon) and "@" in head and "/" not in head and not os.path.exists(locator)


def without_credentials(locator: str) -> str:
    """A URL as it may be shown and stored: `user:password@` left out; a path or `user@host:path` unchanged."""
    if not is_url(locator):
        return locator
    scheme, _, rest = locator.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def parse_sources(operands: Sequence[str]) -> list[Source]:
    """The sources that operands name; none, or `-`, is JSONL on stdin. Raises UsageError."""
    sources = []
    for operand in operands or ["-"]:
        kind, colon, locator = ("jsonl", ":", "-") if operand == "-" else operand.partition(":")
        if not colon or kind not in ADAPTERS:
            known = ", ".join(f"{name}:" for name in ADAPTERS)
            raise UsageError(f"{operand}: not a source; begin it with one of {known} (file:PATH reads a document)")
        if not locator or "\0" in locator:
            raise UsageError(f"{operand}: nothing follows {kind}:; name a file, a folder or a URL")
        sources.append(Source(kind, locator))
    if sum(source.is_stdin for source in sources) > 1:
        raise UsageError("only one source can read stdin")
    return sources
