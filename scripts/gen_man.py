#!/usr/bin/env python3
"""Write man/*.N from man/*.N.in: prose by hand, options, environment and exit statuses from the commands themselves.

A line `.Sh OPTIONS` in a section 1 page is followed by a generated list; `.Sh ENVIRONMENT` and `.Sh EXIT STATUS`
likewise. What the .in file has below such a line comes after the list. Names of variables are asked of the command
line itself, so a variable that is listed is one that works. `scripts/gen_man.py --check` writes nothing and ends
with 1 where a page is out of step.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from clet.cli import build, load_command  # noqa: E402 - the checkout's own package
from clet.commands import TABLE  # noqa: E402
from clet.exits import MEANINGS  # noqa: E402

CONTROL = re.compile(r"^([.'])", re.M)
DASHES = re.compile(r"(?<![\w-])(--?)(?=[A-Za-z])")  # of a flag that prose names: to be printed as minus signs
FLAG_WORD = re.compile(r"\\-\\-[a-z-]+")
SHARED = ("json", "quiet", "verbose", "config", "print_config")  # what every command has: listed last
MACRO = re.compile(r"[A-Z][A-Za-z]?\Z|%.\Z")


# ---- roff


def escape(text: str) -> str:
    """Text as roff: backslashes, dashes of flags, and control characters at the start of a line."""
    text = CONTROL.sub(r"\\&\1", text.replace("\\", "\\e"))
    text = DASHES.sub(lambda match: match[1].replace("-", "\\-"), text)
    return FLAG_WORD.sub(lambda match: match[0][:4] + match[0][4:].replace("-", "\\-"), text)


def word(text: str) -> str:
    """A word as an argument of a macro: never a macro itself, never a minus sign turned hyphen."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if MACRO.match(text) else text


def sentence(text: str) -> str:
    """The text with a full stop at its end, if anything is there that lacks one."""
    text = " ".join(text.split())
    return text + "." if text and text[-1] not in ".!?]" else text


# ---- options


def contexts(name: str) -> Iterator[tuple[str, Any, Any]]:
    """(name after `clet`, command, context as on a command line) of a command, or of each of its sub-commands."""
    root = build()
    top = root.context_class(root, info_name="clet", **root.context_settings)
    command = load_command(name)
    context = command.context_class(command, parent=top, info_name=name)
    subcommands = getattr(command, "commands", None)
    if not subcommands:
        yield name, command, context
        return
    for sub, subcommand in subcommands.items():
        yield f"{name} {sub}", subcommand, subcommand.context_class(subcommand, parent=context, info_name=sub)


def options_of(command: Any, *, shared: bool) -> list[Any]:
    """Options of a command that every one has (`shared`), or its own; help is left out."""
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    return [p for p in options if (p.name in SHARED) == shared]


def option_list(options: list[Any]) -> list[str]:
    """An mdoc list of options."""
    lines = [".Bl -tag -width Ds"]
    for option in options:
        names = sorted([*option.opts, *option.secondary_opts], key=lambda name: (name.startswith("--"), len(name)))
        flags = " , ".join(f"Fl {word(name[1:])}" for name in names)
        takes = "" if option.is_flag else f" Ar {word(option.metavar or option.name.upper())}"
        facts = [sentence(option.help or ""), *_facts(option)]
        lines += [f".It {flags}{takes}", escape(" ".join(filter(None, facts)))]
    return [*lines, ".El"]


def _facts(option: Any) -> list[str]:
    """What a reader needs to know besides the help text: bounds, default, how often."""
    facts = []
    low, high = option.min, option.max
    if low is not None and high is not None:
        facts.append(f"From {_shown(low)} to {_shown(high)}.")
    elif low:
        facts.append(f"At least {_shown(low)}.")
    if option.required:
        facts.append("Required.")
    elif default := _default(option):
        facts.append(f"The default is {default}.")
    if option.multiple:
        facts.append("May be given more than once.")
    return facts


def _default(option: Any) -> str:
    """The default as text; empty where there is none, or none that says anything."""
    value = option.default
    if value is None or isinstance(value, bool) or callable(value) or "default" in (option.help or "").lower():
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value))
    text = _shown(value)
    return "" if text.startswith("Sentinel") else "\u201c-\u201d" if text == "-" else text


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_section(name: str) -> list[str]:
    """All options of a command; those of several sub-commands each under a heading, shared ones once."""
    found = list(contexts(name))
    if len(found) == 1 and found[0][0] == name:
        command = found[0][1]
        return option_list([*options_of(command, shared=False), *options_of(command, shared=True)])
    lines = []
    for full_name, command, _ in found:
        if own := options_of(command, shared=False):
            lines += [f".Ss clet {full_name}", *option_list(own)]
    heading = "Every sub-command" if len(found) > 1 else "As with every command"
    return [*lines, f".Ss {heading}", *option_list(options_of(found[0][1], shared=True))]


# ---- environment and statuses


def environment_section(name: str) -> list[str]:
    """Which variables set which options."""
    found = [
        (option, variable) for _, command, context in contexts(name) for option, variable in _set(command, context)
    ]
    own = [(option, variable) for option, variable in found if option.name not in SHARED]
    shared = [variable for option, variable in found if option.name in ("json", "quiet", "verbose")]
    lines = [
        "A variable stands for an option that is not on the command line.",
        "One for a switch has the value 1 or 0.",
    ]
    if any(option.multiple for option, _ in own):
        lines.append("Where an option may be repeated, white space separates the values.")
    width = max([*(variable for _, variable in own), *shared], key=len)
    lines += [".Pp", f".Bl -tag -width {width} -compact"]
    for option, variable in own:
        lines += [f".It Ev {variable}", f".Fl {word(max(option.opts, key=len)[1:])}"]
    for variable in shared:
        lines += [f".It Ev {variable}", f".Fl \\-{variable.rpartition('_')[2].lower()}"]
    lines += [".It Ev CLET_CONFIG", ".Fl \\-config ,", "weaker than flags and the other variables", ".El"]
    if any(option.name == "max_errors" for option, _ in own):  # the commands that show progress have this one
        lines += [
            ".Pp",
            "Progress is shown only where standard error is a terminal, and never where",
            ".Ev CLET_NO_PROGRESS",
            "is set or",
            ".Ev TERM",
            "is",
            ".Dq dumb ;",
            ".Ev NO_COLOR",
            "takes its colours away.",
        ]
    return lines


def _set(command: Any, context: Any) -> Iterator[tuple[Any, str]]:
    """(option, variable that sets it): the one declared for it, or the one that its name makes."""
    for option in [*options_of(command, shared=False), *options_of(command, shared=True)]:
        if option.name != "print_config":  # it would keep the command from doing anything
            yield option, option.envvar or f"{context.auto_envvar_prefix}_{option.name.upper()}"


def exit_section() -> list[str]:
    """The statuses of `clet.exits`; those that a command cannot end with too: scripts treat all commands alike."""
    lines = [".Bl -tag -width Ds -compact"]
    for code, meaning in MEANINGS.items():
        lines += [f".It {int(code)}", escape(sentence(meaning[0].upper() + meaning[1:]))]
    return [*lines, ".El"]


def commands_section() -> list[str]:
    """The table of commands."""
    lines = [".Bl -tag -width Ds"]
    for each, (_, summary) in TABLE.items():
        lines += [f".It Xr clet-{each} 1", escape(sentence(summary[0].upper() + summary[1:]))]
    return [*lines, ".El"]


# ---- pages


def render(source: Path) -> str:
    """The page made from one .in file."""
    page = source.name.removesuffix(".in")
    match = re.fullmatch(r"clet-(.+)\.1", page)
    name = match[1] if match else None
    out = [f'.\\" Made by scripts/gen_man.py from {source.name}: edit that.']
    for line in source.read_text().splitlines():
        out.append(line)
        if line == ".Sh OPTIONS" and name:
            out += options_section(name)
        elif line == ".Sh ENVIRONMENT" and name:
            out += environment_section(name)
        elif line == ".Sh EXIT STATUS":
            out += exit_section()
        elif line == '.\\" COMMANDS':
            out += commands_section()
    return "\n".join(out).replace("\u201c", "\\(lq").replace("\u201d", "\\(rq") + "\n"


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
