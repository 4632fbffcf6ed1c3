"""Exit statuses and the exceptions that carry them.

The numbers follow sysexits.h where it has a word for the case (65, 69, 70, 74, 75, 78) and the shell's convention
of 128 + signal for ends by a signal or a closed pipe. Every expected failure is a `CletError` whose text is the one
line a person reads: what is wrong, and what to do about it.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """What a clet process tells its caller; the list of EXIT STATUS in every man page is made from it."""

    OK = 0
    SOME_BAD = 1
    USAGE = 2
    NOTHING_TO_DO = 3
    BAD_INPUT = 65
    UNAVAILABLE = 69
    BUG = 70
    WRITE_FAILED = 74
    TRY_LATER = 75
    CONFIG = 78
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "all input read, all output flushed, state committed",
    ExitCode.SOME_BAD: "finished, but some records were bad (counted, and kept in --rejects)",
    ExitCode.USAGE: "wrong usage",
    ExitCode.NOTHING_TO_DO: "nothing to do: no new input, no new shard",
    ExitCode.BAD_INPUT: "malformed or truncated input; nothing was committed",
    ExitCode.UNAVAILABLE: "a peer or a source cannot be reached",
    ExitCode.BUG: "a bug: the traceback is shown",
    ExitCode.WRITE_FAILED: "a write failed (disk full, /dev/full)",
    ExitCode.TRY_LATER: "try later: the state is locked by another process, or a peer is behind",
    ExitCode.CONFIG: "the configuration is wrong",
    ExitCode.INTERRUPTED: "interrupted (SIGINT)",
    ExitCode.PIPE_CLOSED: "the reader closed the pipe; nothing was committed",
    ExitCode.TERMINATED: "terminated (SIGTERM); nothing was committed",
}


class CletError(Exception):
    """An expected failure: one line for a person, one exit status for a script."""

    status = ExitCode.BUG


class SomeBad(CletError):
    """The work is finished, but part of the input was bad."""

    status = ExitCode.SOME_BAD


class UsageError(CletError):
    """Flags or operands that make no sense together."""

    status = ExitCode.USAGE


class NothingToDo(CletError):
    """There was no new input: not a failure, but worth a status of its own for timers."""

    status = ExitCode.NOTHING_TO_DO


class InputError(CletError):
    """Input that is malformed, truncated, or made for other parameters."""

    status = ExitCode.BAD_INPUT


class Unavailable(CletError):
    """A peer or a source cannot be reached."""

    status = ExitCode.UNAVAILABLE


class WriteError(CletError):
    """An output could not be written or made durable."""

    status = ExitCode.WRITE_FAILED


class TryLater(CletError):
    """A lock is held or a peer is behind; the same command may succeed later."""

    status = ExitCode.TRY_LATER


class Terminated(CletError):
    """SIGTERM, and what was still to be written could not be."""

    status = ExitCode.TERMINATED


class ConfigError(CletError):
    """A configuration file or a setting is wrong."""

    status = ExitCode.CONFIG


def is_broken_pipe(error: OSError) -> bool:
    """EPIPE in any of its shapes: the reader of an output went away."""
    return isinstance(error, BrokenPipeError) or error.errno == errno.EPIPE
