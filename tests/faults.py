"""Faults at system calls: a child process is killed at its n-th one, or that one is torn or fails.

    outcome = strike(function, at=n, how="kill")

`function` runs in a forked child, which therefore has everything imported already. Another process traces it with
ptrace(2), the child's threads included, counts the system calls that can change something outside it (`EFFECTS`), and
at the n-th does one of

    kill    SIGKILL before the call
    tear    half of the write is carried out, then SIGKILL; other calls as `kill`
    an errno number    the call is not made and fails so; closing does not fail, what was written is synced before it

Between two such calls nothing outside changes but memory that is mapped to a file: a scenario that has some is killed
at moments as well (`after_s`). `at=0` disturbs nothing and counts. A process may trace its own children in a plain
container, without privileges; where it may not, `strike` skips the test. Numbers of calls and registers are those of
x86-64; elsewhere every call counts and only `kill` works.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson
import pytest

SEEDS = int(os.environ.get("FAULT_SEEDS", "200"))  # scripts/faults takes more
WAYS = ("kill", "tear", errno.ENOSPC, errno.EIO)

IS_X86 = platform.machine() == "x86_64"
WRITES = {1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev"}
EFFECTS = WRITES | {
    2: "open", 3: "close", 40: "sendfile", 73: "flock", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 88: "symlink",
    257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat", 277: "sync_file_range", 26: "msync",
    285: "fallocate", 316: "renameat2", 326: "copy_file_range",
}  # fmt: skip
CLOSE = 3

_TRACEME, _CONT_CALL, _GETREGS, _SETREGS, _SETOPTIONS, _EVENTMSG = 0, 24, 12, 13, 0x4200, 0x4201
_OPTIONS = 0x01 | 0x02 | 0x04 | 0x08 | 0x100000  # mark calls, follow fork, vfork and clone, die with the tracer
_WALL = 0x40000000
_RAX, _RDX, _ORIG_RAX = 10, 12, 15  # in user_regs_struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Outcome(NamedTuple):
    """How the child ended: its exit status, or minus the signal; the calls that it made; the one that was struck."""

    status: int
    calls: int
    struck: str | None
    said: str  # on stderr


def strike(
    function: Callable[[], int | None], at: int = 0, how: str | int = "kill", *, after_s: float | None = None
) -> Outcome:
    """Run `function` in a child (what it returns is the exit status) and strike it once. See the module's head."""
    reading, writing = os.pipe()
    said_fd = os.memfd_create("said")
    tracer = os.fork()
    if tracer == 0:
        _leave(lambda: _trace(function, at, how, after_s, writing, said_fd))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        body = pipe.read()
    os.waitpid(tracer, 0)
    with os.fdopen(said_fd, "rb") as file:
        file.seek(0)
        said = file.read().decode(errors="replace")
    if not body:
        pytest.skip("a process may not trace its children here")
    return Outcome(*orjson.loads(body), said)


def _leave(function: Callable[[], int | None]) -> None:
    """Run a function and end this process, without what the test runner does at exit."""
    status = 1
    try:
        status = function() or 0
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _child(function: Callable[[], int | None], said_fd: int) -> None:
    os.dup2(said_fd, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if _libc.ptrace(_TRACEME, 0, None, None) < 0:
        os._exit(125)
    os.kill(os.getpid(), signal.SIGSTOP)
    _leave(function)


def _trace(
    function: Callable[[], int | None], at: int, how: str | int, after_s: float | None, writing: int, said_fd: int
) -> int:
    child = os.fork()
    if child == 0:
        os.close(writing)
        _child(function, said_fd)
    _, status = os.waitpid(child, _WALL)
    if not os.WIFSTOPPED(status):
        return 1
    _libc.ptrace(_SETOPTIONS, child, None, ctypes.c_void_p(_OPTIONS))
    tracing = _Tracing(child, at, how, None if after_s is None else time.monotonic() + after_s)
    tracing.go_on(child)
    ended = tracing.run()
    os.write(writing, orjson.dumps([ended, tracing.calls, tracing.struck]))
    return 0


class _Tracing:
    """The loop of the tracer over the stops of all threads of a child."""

    def __init__(self, child: int, at: int, how: str | int, deadline: float | None):
        self.child, self.at, self.how, self.deadline = child, at, how, deadline
        self.calls, self.struck = 0, None
        self._inside: dict[int, int] = {}  # the call that each thread is in
        self._doomed = 0  # a thread whose call is to be torn or to fail
        self._regs = (ctypes.c_ulong * 27)()

    def go_on(self, thread: int, number: int = 0) -> None:
        _libc.ptrace(_CONT_CALL, thread, None, ctypes.c_void_p(number))

    def run(self) -> int:
        """Until the child ends; its exit status, or minus the signal."""
        if self.deadline is not None:
            signal.signal(signal.SIGALRM, lambda *_: self._kill("moment"))
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, self.deadline - time.monotonic()))
        while True:
            thread, status = os.waitpid(-1, _WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if thread == self.child:
                    return os.waitstatus_to_exitcode(status)
                continue
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP | 0x80:
                self._at_call(thread)
                number = 0
            elif number == signal.SIGTRAP or (number == signal.SIGSTOP and thread not in self._inside):
                self._inside.setdefault(thread, -1)  # a thread begins, or has begun another
                number = 0
            self.go_on(thread, number)

    def _at_call(self, thread: int) -> None:
        self._read(thread)
        if self._inside.get(thread, -1) < 0:
            call = self._regs[_ORIG_RAX] if IS_X86 else 0
            self._inside[thread] = call
            if not IS_X86 or call in EFFECTS:
                self.calls += 1
                if self.calls == self.at:
                    self._strike(thread, call)
        else:
            call, self._inside[thread] = self._inside[thread], -1
            if thread == self._doomed:
                if self.how == "tear":
                    self._kill(EFFECTS[call])
                else:
                    self._regs[_RAX] = ctypes.c_ulong(-int(self.how)).value
                    _libc.ptrace(_SETREGS, thread, None, ctypes.byref(self._regs))
                    self._doomed = 0

    def _strike(self, thread: int, call: int) -> None:
        if call == CLOSE and self.how not in ("kill", "tear"):
            self.at += 1
            return
        self.struck = EFFECTS.get(call, "call")
        if self.how == "kill" or not IS_X86 or (self.how == "tear" and call not in WRITES):
            self._kill(self.struck)
            return
        if self.how == "tear":
            self._regs[_RDX] //= 2  # bytes, or buffers
            if self._regs[_RDX] == 0:
                self._kill(self.struck)
        else:
            self._regs[_ORIG_RAX] = ctypes.c_ulong(-1).value
        _libc.ptrace(_SETREGS, thread, None, ctypes.byref(self._regs))
        self._doomed = thread

    def _kill(self, where: str) -> None:
        self.struck = where
        os.kill(self.child, signal.SIGKILL)

    def _read(self, thread: int) -> None:
        if IS_X86:
            _libc.ptrace(_GETREGS, thread, None, ctypes.byref(self._regs))


def places(calls: int, seeds: range, name: str) -> list[tuple[int, int, str | int]]:
    """(seed, call, way) for each seed: any of `calls`, in turn each of `WAYS`."""
    ways = WAYS if IS_X86 else ("kill",)
    return [(seed, random.Random(f"{name}/{seed}").randint(1, calls), ways[seed % len(ways)]) for seed in seeds]


def parts(count: int = 4) -> list[range]:
    """The seeds, in parts, so that several workers share them."""
    return [range(part, SEEDS, count) for part in range(count)]


def run_here(*words: object) -> int:
    """Run a command line of clet in this process, which then is as it was before; its exit status."""
    from clet.cli import run
    from clet.log import log

    handler, said = signal.getsignal(signal.SIGTERM), dict(vars(log))
    try:
        return run([str(word) for word in words])
    finally:
        signal.signal(signal.SIGTERM, handler)
        vars(log).update(said)
