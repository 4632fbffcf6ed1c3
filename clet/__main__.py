"""Entry point: `clet`, `clet --help` and `clet --version` answer from the table before anything else is imported."""

from __future__ import annotations

import sys


def help_text() -> str:
    """What `clet --help` prints."""
    from clet.commands import TABLE

    rows = "\n".join(f"  {name:<12} {summary}" for name, (_, summary) in TABLE.items())
    return f"""Usage: clet COMMAND [OPTIONS] [FILE]...

clet keeps a language model fresh: documents in, releases out, every step a command that reads and writes
streams of records or token shards.

Commands:
{rows}

clet COMMAND --help explains one command, clet help COMMAND shows its man page.
"""


def show_man_page(topic: str) -> int:
    """Run man(1) on the page of a command or topic, found beside the package or on man's own path."""
    import os
    from pathlib import Path

    page = topic if topic.startswith("clet") else f"clet-{topic}"
    folder = Path(__file__).resolve().parent.parent / "man"
    local = sorted(folder.glob(f"{page}.[157]"))
    try:
        os.execvp("man", ["man", str(local[0]) if local else page])
    except OSError:
        if local:
            sys.stdout.write(local[0].read_text())
            return 0
        sys.stderr.write(f"clet: no man program, and no page {page} here; try clet {topic} --help\n")
        return 69


def main() -> int:
    """Run the command line of this process; the exit status."""
    arguments = sys.argv[1:]
    try:
        if not arguments or arguments[0] in ("-h", "--help") or arguments == ["help"]:
            stream = sys.stdout if arguments else sys.stderr
            stream.write(help_text())
            stream.flush()
            return 0 if arguments else 2
        if arguments[0] in ("-V", "--version"):
            from clet import __version__

            sys.stdout.write(f"clet {__version__}\n")
            sys.stdout.flush()
            return 0
        if arguments[0] == "help":
            return show_man_page(arguments[1])
    except BrokenPipeError:
        from clet.cli import _silence_stdout

        _silence_stdout()
        return 141
    from clet.cli import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
