"""The installed command as a process: where it is, the environment it is tested in, what it said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

CLET = Path(sys.executable).with_name("clet")


def clean_environment() -> dict[str, str]:
    """This environment without settings that a developer may have made for clet."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLET_")} | {
        "OMP_NUM_THREADS": "1",
    }


def clet(place: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The command run in `place`, with nothing on its standard input."""
    return subprocess.run(
        [CLET, *arguments],
        cwd=place,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        timeout=600,
        **more,
    )


def lines(body: bytes) -> list[dict[str, Any]]:
    """The objects of JSON lines."""
    return [orjson.loads(line) for line in body.splitlines()]


def refused(done: subprocess.CompletedProcess[bytes], status: int, words: bytes) -> bool:
    """Whether a command ended with a status and one line that says `words`."""
    assert done.returncode == status, done.stderr
    assert words in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    return True
