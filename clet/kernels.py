"""numba, with its compiled kernels cached where the user can write: compiled once a machine, loaded in milliseconds.

Import `njit` and `prange` from here, never from numba: an installed package may be read-only, and numba would then
compile again in every process.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from clet import __version__


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


# numba notices a change of the file that a kernel is in, but not of a kernel it calls in another file: the version of
# clet is part of the place, so that an update compiles anew.
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_directory() / f"numba-{__version__}"))

import numba  # noqa: E402 - the cache's place is read at import

njit = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")
# For kernels that allocate nothing and are called often: arrays passed to them are not reference-counted. Each count is
# a locked instruction, and a call with six arrays would cost 100 ns.
leaf = functools.partial(njit, _nrt=False)
prange = numba.prange

__all__ = ["cache_directory", "leaf", "njit", "prange"]
