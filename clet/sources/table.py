"""The table of adapters, and the operands that name a source: `feed:URL`, `git:PATH`, `warc:GLOB`, `jsonl:-`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import urlsplit

from clet.exits import UsageError
from clet.sources.adapter import Adapter, Options
from clet.sources.paths import shown

ADAPTERS: dict[str, str] = {
    # kind: module with `read(locator, context)`
    "feed": "clet.sources.feed.adapter",
    "arxiv": "clet.sources.arxiv.adapter",
    "edgar": "clet.sources.edgar.adapter",
    "git": "clet.sources.git.adapter",
    "warc": "clet.sources.warc.adapter",
    "file": "clet.sources.files",
    "jsonl": "clet.sources.jsonl.adapter",
    "parquet": "clet.sources.parquet",
}
ENTRY_POINTS = "clet.adapters"  # the group in which an installed package names adapters of its own


@dataclass(frozen=True)
class Source:
    """Which adapter, where, and what a person said of it. `interval_s` is None where nobody set one."""

    adapter: str
    locator: str
    options: Options = Options()
    interval_s: float | None = None

    @cached_property
    def name(self) -> str:
        """What messages call it: its name in the sources file, else the operand, a password in a URL left out."""
        return self.options.label or f"{self.adapter}:{shown(without_credentials(self.locator))}"

    @cached_property
    def key(self) -> str:
        """Names its cursor in the state; the same from every working directory."""
        local = self.locator != "-" and not is_url(self.locator) and not is_ssh_shorthand(self.locator)
        place = os.path.abspath(self.locator) if local else without_credentials(self.locator)
        return f"{self.adapter}:{shown(place)}"

    @property
    def host(self) -> str:
        """Sources of one host are read one after the other; all that is local counts as one, stdin as another."""
        if self.is_stdin:
            return "-"
        if is_ssh_shorthand(self.locator):
            return self.locator.partition(":")[0].rpartition("@")[2]
        try:
            return (urlsplit(self.locator).hostname or "") if is_url(self.locator) else ""
        except ValueError:
            return ""

    @property
    def is_stdin(self) -> bool:
        """Whether it reads standard input."""
        return self.locator == "-"

    def member(self, locator: str) -> Source:
        """A source that this one lists: everything said of the list holds for it, but the name is its own."""
        return replace(self, locator=locator, options=replace(self.options, label=None))

    def load(self) -> Adapter:
        """The adapter's module, imported now. Raises UsageError where an installed one cannot be."""
        module = ADAPTERS.get(self.adapter)
        return importlib.import_module(module) if module else _installed(self.adapter)


def _installed(kind: str) -> Adapter:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=kind):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"{kind}: the installed adapter {point.value} cannot be loaded: {error}") from None
    known = ", ".join(f"{name}:" for name in ADAPTERS)
    raise UsageError(f"{kind}: is no adapter; known are {known} (file:PATH reads a document)")


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


def parse_source(operand: str, options: Options = Options()) -> Source:
    """The source that an operand names. Raises UsageError."""
    kind, colon, locator = ("jsonl", ":", "-") if operand == "-" else operand.partition(":")
    if not colon or not kind.isidentifier() or locator.startswith("//"):
        known = ", ".join(f"{name}:" for name in ADAPTERS)
        raise UsageError(f"{operand}: not a source; begin it with one of {known} (file:PATH reads a document)")
    if not locator or "\0" in locator:
        raise UsageError(f"{operand}: nothing follows {kind}:; name a file, a folder or a URL")
    if kind not in ADAPTERS:
        _installed(kind)
    return Source(kind, locator, options)


def parse_sources(operands: Sequence[str], options: Options = Options()) -> list[Source]:
    """The sources that operands name, each once. Raises UsageError."""
    sources = list({source.key: source for source in (parse_source(each, options) for each in operands)}.values())
    if sum(source.is_stdin for source in sources) > 1:
        raise UsageError("only one source can read stdin")
    return sources
