"""Start-up: help answers without the heavy libraries, whichever command is asked."""

import json
import subprocess
import sys

import pytest

from clet.commands import TABLE

HEAVY = ["torch", "rich", "tokenizers", "numba", "httpx", "lxml", "transformers", "uvicorn"]

PROBE = """
import json, sys
sys.argv = ["clet", *sys.argv[1:]]
try:
    from clet.__main__ import main
    status = main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(status)
"""


def modules_after(*arguments):
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in TABLE)])
def test_help_imports_nothing_heavy(arguments):
    shown, modules = modules_after(*arguments)
    assert shown
    assert not modules & set(HEAVY)


def test_top_level_help_needs_no_typer_and_names_every_command():
    shown, modules = modules_after("--help")
    assert "typer" not in modules
    for name, (_, summary) in TABLE.items():
        assert f"{name} " in shown
        assert summary in shown
