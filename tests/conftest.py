"""What the tests share: the installed command as a process, and small records."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from processes import CLET, clean_environment

from clet.record import Record, encode_tok, make_record

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FETCHED = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def record() -> Callable[..., Record]:
    """Makes a record; `ids` gives it tokens of the tokenizer `fp`."""

    def make(text: str = "A text.", *, ids: object = None, fp: str = "fp", **fields: object) -> Record:
        made = make_record(**{"source": "test", "origin": "tests", "fetched": FETCHED, "text": text} | fields)
        if ids is not None:
            made["tok"] = encode_tok(np.asarray(ids, np.uint16), fp)
        return made

    return make


@pytest.fixture
def clet(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs `clet ARGS` in a fresh directory; `input` is stdin, the result has returncode, stdout and stderr."""

    def run(*arguments: object, input: bytes = b"", env: dict[str, str] = {}, cwd: Path | None = None):
        return subprocess.run(
            [CLET, *map(str, arguments)],
            input=input,
            capture_output=True,
            cwd=cwd or tmp_path,
            env=clean_environment() | env,
            timeout=120,
        )

    return run


@pytest.fixture
def bash(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a script under `bash -euo pipefail` with `clet` on the path, in a fresh directory."""

    def run(script: str, **env: str):
        path = f"{CLET.parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{script}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env=clean_environment() | {"PATH": path} | env,
            timeout=120,
        )

    return run
