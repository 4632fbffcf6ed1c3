"""Man pages: in step with the flags, rendered without complaint, their examples run as printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clet.cli import build
from clet.commands import TABLE

MAN = Path(__file__).parent.parent / "man"
SOURCES = sorted(MAN.glob("*.in"))
BLOCK = re.compile(r'^\.\\" (run|not run: .+)\n\.Bd -literal.*\n((?:.*\n)*?)\.Ed', re.M)
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"]
NOT_GENERATED = {"CLET_CONFIG", "CLET_PLAIN", "CLET_NO_PROGRESS", "CLET_CACHE_DIR"}  # of several commands


def test_every_command_and_format_has_a_page():
    names = {path.name for path in SOURCES}
    assert {f"clet-{command}.1.in" for command in TABLE} <= names
    assert {"clet.1.in", "clet-record.5.in", "clet-batch.5.in", "clet-shard.5.in", "clet-pipeline.7.in"} <= names


def test_pages_are_in_step_with_the_commands():
    done = subprocess.run([sys.executable, MAN.parent / "scripts" / "gen_man.py", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_page_renders_without_warnings_and_has_its_sections(source):
    page = source.with_suffix("")
    text = page.read_text()
    assert text.isascii()
    for section in ("NAME", "DESCRIPTION", "SEE ALSO"):
        assert f".Sh {section}\n" in text, f"{page.name} has no {section}"
    assert re.search(r"^\.Nd \S", text, re.M)
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", page], capture_output=True)
        assert done.stderr.decode() == ""


@pytest.mark.parametrize("command", sorted(TABLE))
def test_page_of_a_command_has_all_sections_in_order(command):
    found = re.findall(r"^\.Sh (.+)$", (MAN / f"clet-{command}.1").read_text(), re.M)
    wanted = [section for section in SECTIONS if section in found or section != "FILES"]
    assert found == wanted


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_cross_references_exist(source):
    for name, section in re.findall(r"^\.Xr (clet\S*) (\d)", source.read_text(), re.M):
        assert (MAN / f"{name}.{section}.in").exists(), f"{source.name} refers to {name}({section})"


def contexts(command):
    """(sub-command's function as click sees it, its context) of a command, as on a command line."""
    root = build()
    top = root.context_class(root, info_name="clet", **root.context_settings)
    group = root.get_command(top, command)
    context = group.context_class(group, parent=top, info_name=command)
    for name, sub in (getattr(group, "commands", None) or {}).items():
        yield sub, sub.context_class(sub, parent=context, info_name=name)
    if not getattr(group, "commands", None):
        yield group, context


@pytest.mark.parametrize("command", sorted(TABLE))
def test_every_option_is_explained(command):
    page = (MAN / f"clet-{command}.1").read_text()
    for sub, _ in contexts(command):
        for option in sub.params:
            if option.param_type_name == "option" and option.name != "help":
                assert option.help, f"{command}: {option.name} has no help"
                assert option.is_flag or option.metavar, f"{command}: {option.name} has no metavar"
                shown = max(option.opts, key=len).replace("-", "\\-")
                assert f"Fl {shown.removeprefix(chr(92) + '-')}" in page, f"{shown} is not in the page"


@pytest.mark.parametrize("command", sorted(TABLE))
def test_every_variable_that_a_page_lists_sets_its_option(command, monkeypatch):
    page = (MAN / f"clet-{command}.1").read_text().partition(".Sh ENVIRONMENT\n")[2].partition("\n.Sh ")[0]
    variables = set(re.findall(r"^\.It Ev (CLET_\w+)", page, re.M)) - NOT_GENERATED
    assert variables
    working = set()
    for variable in variables:
        with monkeypatch.context() as environment:
            environment.setenv(variable, "1")
            for sub, context in contexts(command):
                values = [option.value_from_envvar(context) for option in sub.params if option.name != "help"]
                working |= {variable for value in values if value is not None}
    assert working == variables


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_examples_run_as_printed(source, bash, workshop, tmp_path):
    examples = source.read_text().partition(".Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    blocks = BLOCK.findall(examples)
    assert examples.count(".Bd -literal") == len(blocks), "each example says whether it is run"
    if source.suffixes[-2] == ".1":
        assert any(mark == "run" for mark, _ in blocks), "no example is marked to be run"
    shutil.copytree(workshop, tmp_path, dirs_exist_ok=True, symlinks=True)
    for mark, body in blocks:
        if mark == "run":
            commands = body.replace("\\e\n", "\\\n").replace("\\e", "\\").replace("\\-", "-").replace("\\&", "")
            lines = [line.removeprefix("$ ") for line in commands.splitlines()]
            done = bash("\n".join(lines))
            assert done.returncode == 0, f"{body}\n{done.stderr.decode()}"
