#!/usr/bin/env python3
"""Write man/*.N from man/*.N.in: prose by hand, options, environment and exit statuses from the commands themselves.

A line `.Sh OPTIONS` in a section 1 page is followed by a generated list; `.Sh ENVIRONMENT` and `.Sh EXIT STATUS`
likewise. `scripts/gen_man.py --check` writes nothing and ends with 1 where a page is out of step.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from clet.cli import load_command  # noqa: E402 - the checkout's own package
from clet.commands import TABLE  # noqa: E402
from clet.exits import MEANINGS  # noqa: E402

SPECIAL = re.compile(r"^([.'])", re.M)
# Statuses that not every command can end with are listed all the same: a caller's script treats them alike.


def escape(text: str) -> str:
    """Text as roff: backslashes, and control characters at the start of a line."""
    return SPECIAL.sub(r"\\&\1", text.replace("\\", "\\e"))


def default_of(option: Any) -> str:
    """What a reader needs to know of an option's default."""
    value = option.default
    if value is None or value is False or value is True or callable(value) or option.required:
        return ""
    shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f" The default is {shown}." if shown else ""


def options_of(command: Any) -> list[Any]:
    """Options of a (sub)command, its own first, then those that all share, then help left out."""
    return [p for p in command.params if p.param_type_name == "option" and p.name != "help"]


def option_list(command: Any) -> list[str]:
    """An mdoc list of the options of one command."""
    lines = [".Bl -tag -width Ds"]
    for option in options_of(command):
        names = sorted([*option.opts, *option.secondary_opts], key=lambda name: (name.startswith("--"), name))
        flags = []
        for name in names:
            dashes = "" if not name.startswith("--") else "\\-"
            flags.append(f"Fl {dashes}{name.lstrip('-').replace('-', chr(92) + '-')}")
        takes = "" if option.is_flag else f" Ar {option.metavar or option.type.name.upper()}"
        lines.append(f".It {' , '.join(flags)}{takes}")
        lines.append(escape((option.help or "").strip() + default_of(option)))
    return [*lines, ".El"]


def environment_list(name: str, command: Any) -> list[str]:
    """Which variables set which options."""
    prefix = "CLET_" + name.upper().replace("-", "_").replace(" ", "_")
    lines = [
        f"Every option can be set by a variable named after it, as in {prefix}_JSON=1 for",
        ".Fl \\-json ;",
        "a flag on the command line wins.",
        ".Bl -tag -width Ds",
        ".It Ev CLET_CONFIG",
        "A TOML file with a table for each command, weaker than flags and variables.",
    ]
    if any(option.name == "plain" for option in options_of(command)):
        lines += [".It Ev CLET_PLAIN", "As", ".Fl \\-plain ."]
    return [*lines, ".It Ev CLET_NO_PROGRESS , NO_COLOR", "No moving line, no colour on a terminal.", ".El"]


def exit_list() -> list[str]:
    """The statuses of `clet.exits`."""
    lines = [".Bl -tag -width Ds"]
    for code, meaning in MEANINGS.items():
        lines += [f".It {int(code)}", escape(meaning[0].upper() + meaning[1:] + ".")]
    return [*lines, ".El"]


def render(source: Path) -> str:
    """The page made from one .in file."""
    name = source.name.removesuffix(".in")
    command_name = re.fullmatch(r"clet-(.+)\.1", name)
    out = [f'.\\" Made by scripts/gen_man.py from {source.name}: edit that.']
    command = load_command(command_name[1]) if command_name else None
    for line in source.read_text().splitlines():
        out.append(line)
        if command is not None and line == ".Sh OPTIONS":
            subcommands = getattr(command, "commands", None)
            if subcommands:
                for sub, subcommand in subcommands.items():
                    out += [f".Ss {command_name[1]} {sub}", *option_list(subcommand)]
            else:
                out += option_list(command)
        elif command is not None and line == ".Sh ENVIRONMENT":
            out += environment_list(command_name[1], command)
        elif line == ".Sh EXIT STATUS":
            out += exit_list()
        elif line == '.\\" COMMANDS':
            out += [".Bl -tag -width sync-server"]
            for each, (_, summary) in TABLE.items():
                out += [f".It Xr clet-{each} 1", escape(summary[0].upper() + summary[1:] + ".")]
            out += [".El"]
    return "\n".join(out) + "\n"


def main() -> int:
    """Write or check every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a page is out of step")
    check = parser.parse_args().check
    stale = []
    for source in sorted((ROOT / "man").glob("*.in")):
        target = source.with_suffix("")
        page = render(source)
        if check and (not target.exists() or target.read_text() != page):
            stale.append(target.name)
        elif not check:
            target.write_text(page)
    for name in stale:
        print(f"man/{name} is out of step; run scripts/gen_man.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
