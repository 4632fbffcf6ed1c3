"""Configuration from a named TOML file: flag > environment > file > default.

No file is read unless `--config` or `CLET_CONFIG` names it, so a run is reproducible from its command line and
environment. The file has one table a command, keys are flag names with `-` or `_`:

    [dedup]
    near = 0.8
    state = "var/seen"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clet.exits import ConfigError

MAX_CONFIG_BYTES = 1 << 20


def load_toml(path: str | Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A TOML file as a dict. Raises ConfigError with the place of a mistake."""
    import tomllib

    try:
        with open(path, "rb") as file:
            body = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(body) > max_bytes:
        raise ConfigError(f"{path}: over {max_bytes >> 20} MB, not a configuration")
    try:
        return tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def line_of(path: str | Path, key: str) -> int:
    """The line of a file on which a table of that name, or else a key, first stands; 1 where it is not found."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    name = rf"[\"']?{re.escape(key)}[\"']?"
    for pattern in (rf"\s*\[\[?\s*([\w\"'-]+\s*\.\s*)*{name}\s*[].]", rf"\s*{name}\s*[=.]"):
        for number, line in enumerate(lines, 1):
            if re.match(pattern, line):
                return number
    return 1


def command_defaults(
    path: str | Path, levels: Sequence[tuple[str, Sequence[str]]], flags: Mapping[str, str]
) -> dict[str, Any]:
    """Values of a command's table by parameter name, where `flags` maps flag names (with `-`) to parameters.

    `levels` are the words of the command, each with all that could stand in its place. Raises ConfigError for a table
    that no command has, or a key that no flag has, with the line.
    """
    table: Any = load_toml(path)
    said: list[str] = []
    for name, known in levels:
        for key, value in table.items():
            if key not in known:
                what = "command" if isinstance(value, dict) else "table"
                where = f" in [{'.'.join(said)}]" if said else ""
                raise ConfigError(
                    f"{path}:{line_of(path, key)}: no {what} is called {key!r}{where}; known are {', '.join(known)}"
                )
        said.append(name)
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}:{line_of(path, name)}: [{'.'.join(said)}] is not a table")
    values, command = {}, " ".join(said)
    for key, value in table.items():
        if key.replace("_", "-") not in flags:
            place = f"{path}:{line_of(path, key)}"
            raise ConfigError(f"{place}: [{'.'.join(said)}] has no setting {key!r}; see clet {command} --help")
        values[flags[key.replace("_", "-")]] = value
    return values
