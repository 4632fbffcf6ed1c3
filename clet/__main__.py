"""Entry point: `clet`, `clet --help` and `clet --version` answer from the table before anything else is imported."""

from __future__ import annotations

import gc
import os
import sys


def reserve_standard_files() -> None:
    """Keep descriptors 0 to 2 for what they mean: a shell's `>&-` leaves one closed, and the next file opened, a
    state's lock for one, would take its number and be written to as stdout. Using a closed one stays an error; what
    is said on a closed stderr is lost.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, mode), fd)  # the number that open gives is this one: lower ones are taken
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


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
    gc.disable()  # until the command is imported (clet.cli.face): a tenth of a start is the search for cycles in that
    reserve_standard_files()
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
    except OSError as error:
        from clet.cli import silence_stdout

        silence_stdout()
        if isinstance(error, BrokenPipeError):
            return 141
        sys.stderr.write(f"clet: stdout: {error.strerror}\n")
        return 74
    from clet.cli import run

    status = run(arguments)
    gc.freeze()  # the interpreter's last look for cycles would go through everything once more
    return status


if __name__ == "__main__":
    sys.exit(main())
