"""Files mapped for reading: no copies, and no more of them open at once than the process may have.

A mapping keeps a descriptor, and a run may read thousands of shards. The least recently used mapping is let go when
there are too many; arrays that still look into it keep it alive, and the next use maps the file again, if it is the
same. A shard is never changed once it has its name; one that is cut short all the same is told before it is touched
(what is cut while it is being read kills the process, as with any mapping).
"""

from __future__ import annotations

import mmap
import os
import resource
import stat
import threading
from collections import OrderedDict
from pathlib import Path

from clet.exits import InputError, UsageError

_OPEN: OrderedDict[int, memoryview] = OrderedDict()
_LOCK = threading.Lock()


def most_open() -> int:
    """How many mappings there may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if soft == resource.RLIM_INFINITY else max(8, min(1024, soft // 4))


class MappedFile:
    """A file as one buffer. Raises UsageError where it cannot be opened, InputError where it has changed."""

    def __init__(self, path: Path):
        self.path = path
        self._identity: tuple[int, ...] | None = None

    def view(self) -> memoryview:
        """All bytes of the file, read only."""
        with _LOCK:
            view = _OPEN.get(id(self))
            if view is None:
                view = _OPEN[id(self)] = self._map()
                while len(_OPEN) > most_open():
                    _OPEN.popitem(last=False)
            else:
                _OPEN.move_to_end(id(self))
        if len(view) and view.obj.size() != len(view):
            raise InputError(f"{self.path}: truncated while it was read")
        return view

    def _map(self) -> memoryview:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                what = "Is a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
                raise UsageError(f"{self.path}: {what}")
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if identity != (self._identity or identity):
                raise InputError(f"{self.path}: was replaced while it was read; start again")
            self._identity = identity
            return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ) if found.st_size else b"")
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        finally:
            os.close(fd)

    def __del__(self, mappings: OrderedDict[int, memoryview] = _OPEN) -> None:
        # Not under the lock: a collection may run inside it. Removing one key is atomic.
        mappings.pop(id(self), None)
