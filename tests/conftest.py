"""What the tests share: the installed command as a process, and small records."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from processes import CLET, clean_environment

from clet.bench.newsroom.world import World
from clet.record import Record, encode_tok, make_record

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell that starts the tests in the background has SIGINT ignored, and so would have what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time: whether a change passes must hang on the change. New ones are sought with
# `scripts/test --hypothesis-profile default --hypothesis-seed N`.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        for item in marked if not torch.cuda.is_available() else []:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


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
            timeout=600,
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
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it after a first day, made by the commands themselves: docs/, feed.xml, model/,
    docs.clet, news.clet, shards/, run/ with one release. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("workshop")
    write_documents(folder)
    for line in (
        "init model --preset pico --vocab 400 --corpus docs",
        "ingest file:docs --tokenizer model -o docs.clet",
        "ingest feed:feed.xml --tokenizer model -o news.clet",
        "shard docs.clet --tokenizer model --seq-len 64 -o shards",
        "train shards --model model --run run --tokens 1500 --batch-size 2",
    ):
        done = subprocess.run(
            [CLET, *line.split()], cwd=folder, env=clean_environment(), capture_output=True, timeout=300
        )
        assert done.returncode == 0, f"clet {line}: {done.stderr.decode()}"
    return folder


def write_documents(folder: Path) -> None:
    """docs/*.txt (twelve articles of the simulated newsroom) and feed.xml: the same every time."""
    world = World(seed=1, start=date(2026, 3, 1), days=1)
    articles = [a for a in world.training_articles(world.dates[0]) if a.copy_of is None and a.kind == "own"]
    (folder / "docs").mkdir()
    for number, article in enumerate(articles[:12]):
        (folder / "docs" / f"report-{number:02}.txt").write_text(f"{article.title}\n\n{article.text}\n")
    items = "".join(
        f"<item><title>Notice {n}</title><link>https://example.org/{n}</link><guid>notice-{n}</guid>"
        f"<pubDate>Sun, 0{n + 1} Mar 2026 08:00:00 GMT</pubDate>"
        f"<description>&lt;p&gt;The bridge at kilometre {n} will be closed for work on its {n + 2} pillars, the "
        f"council said, and traffic will be led over street number {n * 3}.&lt;/p&gt;</description></item>"
        for n in range(5)
    )
    (folder / "feed.xml").write_text(
        f'<rss version="2.0"><channel><title>Notices</title><link>https://example.org/</link>{items}</channel></rss>'
    )
