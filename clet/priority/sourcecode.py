"""Which records are source code, from their heads and their lines.

Code has few stop words, many symbols and short lines without sentence ends, and would fail every rule for prose, so
that other rules judge it. A record counts as code if it came through the adapters `git` or `file` and its name ends
like source code, or has no telling name and looks like it: at least three in ten of its first lines end like
statements or are comments. A publisher on the web cannot choose this.

Cost: 0.3 us a record for its head.
"""

from __future__ import annotations

import functools

import numpy as np

from clet.batch import Batch
from clet.heads import Heads
from clet.kernels import leaf
from clet.priority import lines as ln
from clet.priority.textstats import Stat

SOURCES = ("git", "file")
CODE_SUFFIXES = frozenset(
    """.asm .bash .bat .c .cc .cfg .clj .cmake .cpp .cs .css .cu .cxx .dart .el .ex .f90 .go .h .hpp .hs .html .in .ini
    .ipynb .java .jl .js .json .jsx .kt .lisp .lua .m .mk .ml .mm .nix .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rs
    .scala .scm .sh .sql .swift .tcl .toml .ts .tsx .v .vue .xml .yaml .yml .zig .zsh""".split()  # noqa: SIM905 - a table reads better as words
)
PROSE_SUFFIXES = frozenset((".md", ".markdown", ".rst", ".txt", ".adoc", ".tex", ".org", ".htm", ".pdf"))
MIN_STATEMENTS = 0.3  # of the lines

_NONE, _CODE, _PROSE, _OTHER = range(4)
_QUOTE, _HASH, _SLASH, _DOT = np.frombuffer(b'"#/.', np.uint8)
_MAX_SUFFIX = 8


@functools.cache
def _suffixes() -> tuple[np.ndarray, np.ndarray]:
    """(sorted suffixes as numbers of eight bytes, what each says)."""
    kinds = dict.fromkeys(CODE_SUFFIXES, _CODE) | dict.fromkeys(PROSE_SUFFIXES, _PROSE)
    numbers = {int.from_bytes(name[1:].encode(), "little"): kind for name, kind in kinds.items()}
    keys = np.array(sorted(numbers), np.uint64)
    return keys, np.array([numbers[int(key)] for key in keys], np.uint8)


@leaf
def _kinds(values, starts, ends, known, kinds, out):
    """What the suffix of the file name in each JSON string says; `out` keeps what is already known."""
    for row in range(len(out)):
        if out[row] or ends[row] == 0 or values[starts[row]] != _QUOTE:
            continue
        begin, stop = starts[row] + 1, ends[row] - 1
        dot, name = -1, begin
        for i in range(begin, stop):
            byte = values[i]
            if byte == _HASH:
                stop = i
                break
            if byte == _SLASH:
                name, dot = i + 1, -1
            elif byte == _DOT and i > name:
                dot = i
        if dot < 0 or dot + 1 >= stop:
            continue
        out[row] = _OTHER
        if stop - dot - 1 > _MAX_SUFFIX:
            continue
        number = np.uint64(0)
        for i in range(stop - 1, dot, -1):
            byte = values[i]
            number = number << np.uint64(8) | np.uint64(byte + 32 if 65 <= byte <= 90 else byte)
        at = np.searchsorted(known, number)
        if at < len(known) and known[at] == number:
            out[row] = kinds[at]


def is_code(batch: Batch, stats: np.ndarray) -> np.ndarray:
    """Which records are source code, `[n]` bool, from their heads and counts `[n, NUM_STATS]`."""
    heads = Heads.of(batch.head, ("source", "meta", "url", "title"))
    local = heads.is_one_of("source", SOURCES)
    if not local.any():
        return local
    kind = np.zeros(len(batch), np.uint8)
    inside = heads.inside("meta", ("path",))
    for fields, name in ((inside, "path"), (heads, "url"), (heads, "title")):
        _kinds(fields.values, *fields.span(name), *_suffixes(), kind)
    looked_at, statements = stats[:, Stat.LINE + ln.LOOKED_AT], stats[:, Stat.LINE + ln.STATEMENTS]
    looks = (looked_at > 0) & (statements >= MIN_STATEMENTS * looked_at)
    return local & ((kind == _CODE) | ((kind != _PROSE) & looks))
