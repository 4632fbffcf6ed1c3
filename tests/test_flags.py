"""The public flags are frozen: a new, changed or lost flag is a conscious change of tests/flags.txt."""

from pathlib import Path

from clet.cli import load_command
from clet.commands import TABLE

FROZEN = Path(__file__).with_name("flags.txt")


def flags():
    for name in TABLE:
        command = load_command(name)
        for path, each in (
            [(name, command)]
            if not hasattr(command, "commands")
            else [(f"{name} {sub}", each) for sub, each in command.commands.items()]
        ):
            for param in each.params:
                names = " ".join(sorted(param.opts)) if param.param_type_name == "option" else param.name.upper()
                if param.name != "help":
                    yield f"{path}: {names}"


def test_flags_are_the_frozen_ones():
    assert sorted(flags()) == FROZEN.read_text().splitlines()


def test_shared_flags_mean_the_same_everywhere():
    seen: dict[str, set[str]] = {}
    for name in TABLE:
        command = load_command(name)
        for each in getattr(command, "commands", {name: command}).values():
            for param in each.params:
                for flag in getattr(param, "opts", []) if param.param_type_name == "option" else []:
                    if len(flag) == 2:
                        seen.setdefault(flag, set()).add(max(param.opts, key=len))
    assert {flag: names for flag, names in seen.items() if len(names) > 1} == {}
