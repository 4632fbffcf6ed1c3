"""What a git child finds around it: where the repository is, what it may do, which settings hold.

A repository's own configuration is a stranger's. It is read by two calls only, which look for the repository and
run no programs; everything else works on a git directory that clet made, with the objects of the repository put
under it by GIT_OBJECT_DIRECTORY, so that hooks, textconv, fsmonitor, aliases and promisor remotes are never seen.
Settings and passwords travel in the environment, not on command lines that others can list (git 2.31 or later).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Settings = Sequence[tuple[str, str]]

_SETTINGS: Settings = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.quotePath", "false"),
    ("log.showSignature", "false"),
    ("log.showRoot", "true"),
    ("log.follow", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
)


@dataclass(frozen=True)
class Repository:
    """Where git is to work: in the git directory `path`, with the objects in `objects` if they lie elsewhere.

    `search`: `path` is a stranger's folder, to be looked at for a repository.
    """

    path: Path
    objects: Path | None = None
    shallow: Path | None = None
    search: bool = False

    def environment(self, transport: str = "none", settings: Settings = ()) -> dict[str, str]:
        """The environment of a git child; no variable of a surrounding git process is inherited.

        GIT_ALLOW_PROTOCOL outranks every `protocol.*` setting. A child without a transport reads no configuration of
        the user's either, so that it does the same everywhere; one with a transport may need it (keys, proxies).
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        made = {
            "GIT_ALLOW_PROTOCOL": transport,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GCM_INTERACTIVE": "never",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "LC_ALL": "C",
        }
        settings = [*_SETTINGS, *settings]
        if transport == "none":
            made |= {"GIT_NO_LAZY_FETCH": "1", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        else:
            made["GIT_SSH_COMMAND"] = os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=15")
        if self.search:
            # Whoever owns it: nothing that it configures is run.
            settings += [("safe.directory", "*"), ("safe.bareRepository", "all")]
            made["GIT_CEILING_DIRECTORIES"] = str(self.path.parent)
        else:
            made["GIT_DIR"] = str(self.path)
        if self.objects:
            made["GIT_OBJECT_DIRECTORY"] = str(self.objects)
        if self.shallow:
            made["GIT_SHALLOW_FILE"] = str(self.shallow)
        made["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings):
            made |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return kept | made
