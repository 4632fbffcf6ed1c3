"""Configuration from a named TOML file: flag > environment > file > default.

No file is read unless `--config` or `CLET_CONFIG` names it, so a run is reproducible from its command line and
environment. The file has one table a command, keys are flag names with `-` or `_`:

    [dedup]
    near = 0.8
    state = "var/seen"
"""

from __future__ import annotations

from collections.abc import Mapping
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


def command_defaults(path: str | Path, command: str, flags: Mapping[str, str]) -> dict[str, Any]:
    """Values of the table `[command]` by parameter name, where `flags` maps flag names (with `-`) to parameters.

    Raises ConfigError for a key that no flag has.
    """
    table: Any = load_toml(path)
    for part in command.split():
        table = table.get(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: [{command}] is not a table")
    values = {}
    for key, value in table.items():
        if key.replace("_", "-") in flags:
            values[flags[key.replace("_", "-")]] = value
        elif not isinstance(value, dict):  # a sub-command's table is somebody else's
            raise ConfigError(f"{path}: [{command}] has no setting {key!r}; see clet {command} --help")
    return values
