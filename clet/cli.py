"""The command line: a lazy table of commands, the flags they share, and the one place that turns errors into statuses.

`face` wraps a command's function with `--json`, `-q`, `-v`, `--config` and `--print-config`; `run` executes a command
line and returns its exit status. Only the command that was asked for is imported.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import importlib
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clet.commands import TABLE
from clet.config import command_defaults
from clet.exits import CletError, ExitCode, UsageError, WriteError, is_broken_pipe
from clet.log import log


class PipeClosed(BaseException):
    """The reader of stdout went away. Not an OSError: typer would end the process with 1 before `run` sees it."""


class Terminated(BaseException):
    """SIGTERM arrived in a command that has nothing to finish."""


AGAIN_S = 0.01
MAX_INTEGER = 2**63 - 1  # of an option: what JSON and columns hold

_NOT_IN_A_FILE = {"config", "print_config"}


def _load_config(context: typer.Context, path: str | None) -> str | None:
    if path:
        flags = {_flag(param): param.name for param in context.command.params if param.name not in _NOT_IN_A_FILE}
        context.default_map = command_defaults(path, _levels(context), flags)
    return path


def _levels(context: typer.Context) -> list[tuple[str, list[str]]]:
    """The words of the command line's command, each with the commands that could stand there."""
    levels: list[tuple[str, list[str]]] = []
    while context.parent is not None:
        group = context.parent.command
        levels.insert(0, (context.info_name or "", group.list_commands(context.parent)))
        context = context.parent
    return levels


def _flag(param: Any) -> str:
    """The long name of an option without its dashes; an argument's own name."""
    return max(param.opts, key=len).lstrip("-").replace("_", "-")


def _name(context: typer.Context) -> str:
    return context.command_path.partition(" ")[2]


Json = Annotated[bool, typer.Option("--json", help="Make every line on stderr one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show more.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="CLET_CONFIG",
        is_eager=True,
        callback=_load_config,
        help="Take settings from the command's table in a TOML file.",
        show_default=False,
    ),
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the settings in force and exit.")]


def face(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the flags that every command has; it may declare `context: typer.Context` itself."""
    shared = {"json": Json, "quiet": Quiet, "verbose": Verbose, "config": Config, "print_config": PrintConfig}
    signature = inspect.signature(function, eval_str=True)
    wants_context = "context" in signature.parameters

    @functools.wraps(function)
    def command(context: typer.Context, **values: Any) -> int:
        flags = {name: values.pop(name) for name in shared}
        log.configure(_name(context), json=flags["json"], quiet=flags["quiet"], verbose=flags["verbose"])
        if flags["print_config"]:
            flags = {param.name: _flag(param) for param in context.command.params}
            _print_config({flags[name]: value for name, value in values.items()})
            return ExitCode.OK
        for param in context.command.params:
            if values.get(param.name) == "" and param.param_type_name == "option":
                raise UsageError(f"{param.opts[0]} is empty; name something, or leave it out")
            if type(value := values.get(param.name)) is int and abs(value) > MAX_INTEGER:
                raise UsageError(f"{param.opts[0]} {value} is too large")
        if wants_context:
            values["context"] = context
        _load_numpy()
        gc.freeze()  # modules stay: nobody has to look through them for cycles again and again
        gc.enable()
        try:
            return int(function(**values) or ExitCode.OK)
        except OSError as error:
            if is_broken_pipe(error):
                raise PipeClosed from None
            raise

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(kind=keyword) for p in signature.parameters.values() if p.name != "context"]
    context = inspect.Parameter("context", keyword, annotation=typer.Context)
    extra = [
        inspect.Parameter(name, keyword, annotation=kind, default=None if name == "config" else False)
        for name, kind in shared.items()
    ]
    command.__signature__ = inspect.Signature([context, *own, *extra])
    # typer reads annotations, not the signature, through get_type_hints: both have to agree.
    command.__annotations__ = {p.name: p.annotation for p in [context, *own, *extra]}
    return command


def _load_numpy() -> None:
    """numpy without the threads of its BLAS, which wait for work by spinning: a quarter of a start, and none is theirs.

    Only numpy is told so: torch may bring a BLAS of the same make.
    """
    if "OPENBLAS_NUM_THREADS" in os.environ:
        return
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy  # noqa: F401

    del os.environ["OPENBLAS_NUM_THREADS"]


def _print_config(values: dict[str, Any]) -> None:
    import orjson

    for name, value in sorted(values.items()):
        line = b"# %s is not set" % name.encode() if value is None else name.encode() + b" = " + orjson.dumps(value)
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def load_command(name: str) -> Any:
    """The command `name` as a typer (click) command object, its module imported."""
    module = importlib.import_module(TABLE[name][0])
    app = typer.Typer(
        pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False, no_args_is_help=False
    )
    settings = {"help_option_names": ["-h", "--help"]}
    subcommands = getattr(module, "SUBCOMMANDS", None)
    if subcommands is None:
        app.command(name, context_settings=settings)(face(module.main))
        return typer.main.get_command(app)
    app.callback(help=module.__doc__.splitlines()[0], no_args_is_help=True, context_settings=settings)(lambda: None)
    for sub, function in subcommands.items():
        app.command(sub, context_settings=settings)(face(function))
    group = typer.main.get_command(app)
    group.name = name
    return group


class LazyGroup(TyperGroup):
    """The group of all commands, each imported when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(TABLE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None for an unknown name."""
        return load_command(cmd_name) if cmd_name in TABLE else None


def build() -> Any:
    """The root command."""
    app = typer.Typer(cls=LazyGroup, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    app.callback(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CLET"})(lambda: None)
    root = typer.main.get_command(app)
    root.name = "clet"
    return root


def _on_sigterm(*_: object) -> None:
    raise Terminated


_SIGNALS = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}


def _send_again(lost: Any) -> None:
    """Where Python cannot raise (in a `__del__`, in a callback of a weak reference or from C) it goes on without the
    exception. If that was a signal's, it comes again a moment later, when something else is running.
    """
    number = _SIGNALS.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
        return
    later = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
    later.daemon = True
    later.start()


def run(arguments: list[str]) -> int:
    """Execute one command line; the exit status. Never raises for what a user or the system did."""
    log.command = arguments[0] if arguments and arguments[0] in TABLE else ""
    log.json = "--json" in arguments  # for what is wrong with the command line itself; `face` sets it for good
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.unraisablehook = _send_again
    try:
        return _execute(arguments)
    finally:
        log.close()


def _execute(arguments: list[str]) -> int:
    try:
        status = int(build()(arguments, prog_name="clet", standalone_mode=False) or 0)
        _flush_stdout()
        return status
    except PipeClosed:
        silence_stdout()
        return ExitCode.PIPE_CLOSED
    except Terminated:
        return ExitCode.TERMINATED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except CletError as error:
        log.error(str(error), event="error")
        return error.status
    except OSError as error:
        if error.errno not in _NO_ROOM:
            return _bug()
        silence_stdout()
        log.error(f"{error.filename or 'stdout'}: {error.strerror}", event="error")
        return ExitCode.WRITE_FAILED
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: typer vendors click, so its classes have no stable home
            return _usage(error)
        if type(error).__name__ == "Abort":
            return ExitCode.INTERRUPTED
        if type(error).__name__ == "Exit":
            return int(getattr(error, "exit_code", 0))
        return _bug()


# What writing says of a full disk, a full quota, a limit of the process, and a stdout that was closed. Outputs turn
# these into WriteError themselves; what is left is help and other short texts, and libraries.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF}


def _usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        os.write(2, (error.format_message().rstrip() + "\n").encode())
        return ExitCode.USAGE
    text = error.format_message().rstrip(".")
    help_line = f"clet {_name(context)} --help".replace("  ", " ") if context is not None else "clet --help"
    text, status = f"{text[:1].lower()}{text[1:]}", ExitCode.USAGE
    if _is_from_file(error):
        text, status = f"{context.params['config']}: {text}", ExitCode.CONFIG
    log.error(f"{text}; see {help_line}", event="error")
    return status


def _is_from_file(error: Any) -> bool:
    """Whether a value that was refused came from the configuration file."""
    name = getattr(getattr(error, "param", None), "name", None)
    source = error.ctx.get_parameter_source(name) if name and error.ctx is not None else None
    return source is not None and source.name == "DEFAULT_MAP"


def _bug() -> int:
    text = traceback.format_exc()
    if log.json:
        log.error(text.strip().splitlines()[-1], event="bug", traceback=text)
    else:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
    return ExitCode.BUG


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        silence_stdout()
        if is_broken_pipe(error):
            raise PipeClosed from None
        raise WriteError(f"stdout: {error.strerror}") from None


def silence_stdout() -> None:
    """Keep the interpreter's last flush from complaining about a pipe that is gone."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
