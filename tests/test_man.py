"""Man pages: in step with the flags, rendered without complaint, their examples run as printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clet.commands import TABLE

MAN = Path(__file__).parent.parent / "man"
SOURCES = sorted(MAN.glob("*.in"))
BLOCK = re.compile(r'^\.\\" (run|not run: .+)\n\.Bd -literal.*\n((?:.*\n)*?)\.Ed', re.M)


def test_every_command_and_format_has_a_page():
    names = {path.name for path in SOURCES}
    assert {f"clet-{command}.1.in" for command in TABLE} <= names
    assert {"clet.1.in", "clet-record.5.in", "clet-batch.5.in", "clet-shard.5.in"} <= names


def test_pages_are_in_step_with_the_commands():
    done = subprocess.run([sys.executable, MAN.parent / "scripts" / "gen_man.py", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_page_renders_without_warnings_and_has_its_sections(source):
    page = source.with_suffix("")
    text = page.read_text()
    for section in ("NAME", "DESCRIPTION", "SEE ALSO"):
        assert f".Sh {section}\n" in text, f"{page.name} has no {section}"
    assert re.search(r"^\.Nd \S", text, re.M)
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", page], capture_output=True)
        assert done.stderr.decode() == ""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_cross_references_exist(source):
    for name, section in re.findall(r"^\.Xr (clet\S*) (\d)", source.read_text(), re.M):
        assert (MAN / f"{name}.{section}.in").exists(), f"{source.name} refers to {name}({section})"


@pytest.mark.parametrize("command", sorted(TABLE))
def test_examples_run_as_printed(command, bash, workshop, tmp_path):
    page = (MAN / f"clet-{command}.1.in").read_text()
    assert run_examples(page, bash, workshop, tmp_path) > 0, "no example is marked to be run"


def test_examples_of_the_overview_run(bash, workshop, tmp_path):
    assert run_examples((MAN / "clet.1.in").read_text(), bash, workshop, tmp_path) > 0


def run_examples(page, bash, workshop, tmp_path):
    examples = page.partition(".Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    assert examples.count(".Bd -literal") == len(BLOCK.findall(examples)), "each example says whether it is run"
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True, symlinks=True)
    ran = 0
    for mark, body in BLOCK.findall(examples):
        if mark == "run":
            commands = body.replace("\\e\n", "\\\n").replace("\\e", "\\").replace("\\-", "-").replace("\\&", "")
            lines = [line.removeprefix("$ ") for line in commands.splitlines()]
            done = bash("\n".join(lines))
            assert done.returncode == 0, f"{body}\n{done.stderr.decode()}"
            ran += 1
    return ran
