"""The sources file: which sources there are, how often each is read, and what is known of it (clet-sources(7)).

    [defaults]
    interval = "15m"

    [[source]]
    name = "lwn"
    url = "feed:https://lwn.net/headlines/rss"
    trust = 0.8
    license = "CC-BY-SA-4.0"
    tags = ["linux"]

A path is meant from the folder of the file. A key that does not exist is refused, so that a misspelt one is noticed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clet.config import load_toml
from clet.exits import ConfigError, UsageError
from clet.sources.adapter import Options
from clet.sources.table import Source, is_ssh_shorthand, is_url, parse_source

MAX_FILE_BYTES = 64 << 20
MAX_INTERVAL_S = 366 * 86_400.0
EXTRACTORS = ("fast", "precise")
SCRUBS = ("pii", "secrets")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|)\Z")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def read_catalog(path: str | Path, options: Options = Options()) -> list[Source]:
    """The sources of a file, in its order; `options` are what holds where the file says nothing.

    Raises ConfigError naming the source and the key that is wrong.
    """
    table = load_toml(path, MAX_FILE_BYTES)
    if unknown := table.keys() - {"defaults", "source"}:
        raise ConfigError(f"{path}: [{min(unknown)}] is unknown; write [defaults] and [[source]]")
    defaults, entries = table.get("defaults", {}), table.get("source", [])
    if not isinstance(defaults, dict) or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ConfigError(f"{path}: write [defaults] once and [[source]] for each source")
    if shared := defaults.keys() & {"name", "url"}:
        raise ConfigError(f"{path}: [defaults] cannot hold {min(shared)!r}")
    folder = Path(path).parent
    sources: dict[str, Source] = {}
    names: set[str] = set()
    for number, entry in enumerate(entries, 1):
        where = f"{path}: source {entry.get('name') or number!r}"
        source = _source(defaults | entry, where, folder, options)
        if source.is_stdin:
            raise ConfigError(f"{where}: stdin is no source for a file")
        if source.key in sources:
            raise ConfigError(f"{where}: {source.key} is named twice")
        if source.options.label in names:
            raise ConfigError(f"{where}: another source has this name")
        names |= {source.options.label} - {None}
        sources[source.key] = source
    return list(sources.values())


def _source(entry: Mapping[str, Any], where: str, folder: Path, options: Options) -> Source:
    settings, interval_s = {}, None
    for key, value in entry.items():
        try:
            if key == "interval":
                interval_s = duration(value)
            elif key in _SETTINGS:
                name, check = _SETTINGS[key]
                settings[name] = check(value)
            elif key not in ("url", "adapter"):
                raise ValueError(
                    f"is unknown; known are {', '.join(sorted({*_SETTINGS, 'adapter', 'interval', 'url'}))}"
                )
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from None
    url, adapter = entry.get("url"), entry.get("adapter")
    if not isinstance(url, str) or not isinstance(adapter, str | None):
        raise ConfigError(f'{where}: needs url = "feed:https://...", or adapter and url')
    try:
        source = parse_source(f"{adapter}:{url}" if adapter else url, replace(options, **settings))
    except UsageError as error:
        raise ConfigError(f"{where}: {error}") from None
    local = not source.is_stdin and not is_url(source.locator) and not is_ssh_shorthand(source.locator)
    locator = str(folder / os.path.expanduser(source.locator)) if local else source.locator
    return replace(source, locator=locator, interval_s=interval_s)


def duration(value: Any) -> float:
    """Seconds of 90, "90s", "15m", "2h" or "1d". Raises ValueError."""
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    match = _DURATION.match(text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_INTERVAL_S:
        raise ValueError('write seconds, or "15m", "2h", "1d"')
    return seconds


def scrubs(value: Any) -> frozenset[str]:
    """The kinds that `--scrub` names: pii, secrets, both. Raises ValueError."""
    names = value.replace(",", " ").split() if isinstance(value, str) else _strings(value)
    if wrong := set(names) - set(SCRUBS):
        raise ValueError(f"{min(wrong)!r} is unknown; known are {', '.join(SCRUBS)}")
    return frozenset(names)


def extractor(value: Any) -> str:
    """How main text is found: fast or precise. Raises ValueError."""
    if value not in EXTRACTORS:
        raise ValueError(f"write one of {', '.join(EXTRACTORS)}")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and 0 < len(each) <= 100 for each in value):
        raise ValueError('write a list of short texts, such as ["a", "b"]')
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 200 or not value.isprintable():
        raise ValueError("write a text of one line, at most 200 characters")
    return value.strip()


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("write a number from 0 to 1")
    return float(value)


def _delay(value: Any) -> float:
    return 0.0 if value in (0, "0", "0s") and value is not False else duration(value)


_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    # key: (field of Options, what checks and converts the value)
    "name": ("label", _text),
    "trust": ("trust", _share),
    "license": ("license", _text),
    "tags": ("tags", _strings),
    "full-text": ("full_text", _flag),
    "extract": ("extract", extractor),
    "scrub": ("scrub", scrubs),
    "forms": ("forms", _strings),
    "delay": ("delay_s", _delay),
    "robots": ("robots", _flag),
}
