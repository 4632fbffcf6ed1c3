"""The README keeps its word: what it names exists, and its code runs."""

import re
import subprocess
import sys
from pathlib import Path

from clet.commands import TABLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_command_has_a_row_and_every_file_named_exists():
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| (`.*) \|$", README, re.M)
    assert [name for name, _ in rows] == list(TABLE)
    for _, files in rows:
        paths = re.findall(r"`([^`]+)`", files)
        folder = Path(paths[0]).parent
        for path in paths:
            assert (ROOT / (path if "/" in path else folder / path)).is_file(), path


def test_links_and_scripts_exist():
    for path in re.findall(r"\]\(([^)]+)\)", README) + re.findall(r"scripts/[a-z_./]+\w", README):
        assert (ROOT / path).exists(), path


def test_the_python_example_runs(workshop):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", code], cwd=workshop, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"5 \d+\n", done.stdout)


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
