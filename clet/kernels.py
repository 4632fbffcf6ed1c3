"""numba, with its compiled kernels cached where the user can write: compiled once a machine, loaded in milliseconds.

Import `njit` and `prange` from here, never from numba: an installed package may be read-only, and numba would then
compile again in every process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clet import __version__
from clet.log import log

KERNEL_ROOMS = ("bench", "dedup", "model", "priority", "shards", "sources/jsonl", "sources/text", "tokenizing")
KEEP_S = 30 * 86_400


def cache_directory() -> Path:
    """`CLET_CACHE_DIR`, systemd's `CACHE_DIRECTORY`, or `XDG_CACHE_HOME/clet`; `TMPDIR` where none can be written."""
    import tempfile

    named = os.environ.get("CLET_CACHE_DIR") or os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for path in (Path(named) if named else Path(home, "clet"), Path(tempfile.gettempdir(), f"clet-{os.getuid()}")):
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Compiled code is executed when it is loaded: a folder of somebody else's is no cache of ours.
        if os.access(path, os.W_OK) and path.stat().st_uid == os.getuid():
            return path
    return Path(tempfile.mkdtemp(prefix="clet-"))


def _edition() -> str:
    """What the kernels are compiled from, in 16 hex digits: name, size and time of each file that may hold one."""
    home = Path(__file__).parent
    found = []
    for folder in (home, *(home / room for room in KERNEL_ROOMS)):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    found.append((folder.name, entry.name, status.st_size, status.st_mtime_ns))
    return hashlib.blake2b(repr(sorted(found)).encode(), digest_size=8).hexdigest()


def _place() -> Path:
    """This edition's folder in the cache; those of others that were not used for a month are removed."""
    place = cache_directory() / f"numba-{__version__}-{_edition()}"
    try:
        if not place.exists():
            place.mkdir(mode=0o700)
            for old in place.parent.glob("numba-*"):
                if time.time() - old.stat().st_mtime > KEEP_S:
                    shutil.rmtree(old, ignore_errors=True)
        else:
            os.utime(place)
    except OSError:
        pass  # another process was faster, or the disk is full: numba compiles without a cache then
    return place


# numba notices a change of the file that a kernel is in, but not of a kernel it calls in another file, nor that one
# moved: kernels are kept by all that they may be compiled from, so that an update compiles anew.
os.environ.setdefault("NUMBA_CACHE_DIR", str(_place()))

import numba  # noqa: E402 - the cache's place is read at import
from numba.core import entrypoints  # noqa: E402
from numba.core.caching import FunctionCache, IndexDataCacheFile  # noqa: E402
from numba.core.runtime import rtsys  # noqa: E402

# Before its first compilation numba imports the packages that have types to register; ours needs none of them, and
# awkward, which comes with gigatoken, takes half as long to import as all else that a stage imports.
entrypoints._already_initialized = True

prange = numba.prange
_told = False


class _Cache(FunctionCache):
    """numba's cache, which gives a kernel that it has without preparing the compiler (0.15 s) first.

    numba knows what it has compiled by the function and the types. The same function compiled with other options, to
    run on several threads say, would be taken for it, and is therefore kept under a name of its own.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function)
        said = sorted((name, sorted(value) if isinstance(value, set) else value) for name, value in options.items())
        mark = hashlib.blake2b(repr(said).encode(), digest_size=4).hexdigest()
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}.{mark}",
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for these types, or None; then the compiler prepares itself."""
        global _told
        with _scipy_hidden(), self._guard_against_spurious_io_errors():
            rtsys.initialize(target_context)
            kernel = self._load_overload(sig, target_context)
        if kernel is None and not _told:
            _told = True
            if sys.stderr is not None and sys.stderr.isatty():  # a person wonders; a log need not know
                log.info("compiling for this machine, once; it takes up to a minute")
        return kernel


@contextlib.contextmanager
def _scipy_hidden() -> Iterator[None]:
    """Where scipy is installed, numba loads it for a BLAS that no kernel here calls: 0.08 s of each start.

    Not with other threads about: one of them may want it.
    """
    if "scipy.linalg" in sys.modules or "numba.np.arraymath" in sys.modules or threading.active_count() > 1:
        yield
        return
    sys.modules["scipy.linalg"] = None
    try:
        yield
    finally:
        del sys.modules["scipy.linalg"]


class _SignalsLater:
    """While the compiler is at work, SIGTERM and SIGINT wait: it calls back through C, where an exception is lost and
    what was being compiled with it. They are raised again when it is done.
    """

    def __init__(self) -> None:
        self._depth, self._before, self._came = 0, {}, []

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1  # kernels that are called are compiled within
            if self._depth == 1:
                self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if self._depth == 0:
                for number, handler in self._before.items():
                    if handler is not None:  # one that was not set from Python cannot be set from here
                        signal.signal(number, handler)
                came, self._came = self._came, []
                for number in came:
                    signal.raise_signal(number)

    def _note(self, number: int, _: object) -> None:
        self._came.append(number)


_signals_later = _SignalsLater()


def _undisturbed(compile_: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compile_)
    def compile_undisturbed(*arguments: Any, **options: Any) -> Any:
        with _signals_later:
            return compile_(*arguments, **options)

    return compile_undisturbed


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` with what all kernels share: cached, without the interpreter's lock, division as numpy has it."""
    if function is None:
        return functools.partial(njit, **options)
    kernel = numba.njit(nogil=True, error_model="numpy", **options)(function)
    if options.get("inline") != "always":  # such a one is part of those that call it
        kernel._cache = _Cache(function, options)
    kernel.compile = _undisturbed(kernel.compile)
    return kernel


# For kernels that allocate nothing and are called often: arrays passed to them are not reference-counted. Each count is
# a locked instruction, and a call with six arrays would cost 100 ns.
leaf = functools.partial(njit, _nrt=False)

__all__ = ["cache_directory", "leaf", "njit", "prange"]
