"""How a bench shows what it measured: conditions, a table for people, one JSON object for programs.

A figure is worth what its conditions are worth, so both go together: machine, versions, input, number of runs. Tables
are drawn by rich on a terminal and as aligned plain text elsewhere.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import orjson

from clet.tables import show_table


def conditions() -> dict[str, Any]:
    """The machine and the versions that a figure was measured with."""
    packages = ("tokenizers", "torch", "numpy", "numba", "zstandard", "orjson")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform's answer has to do
    return platform.processor() or "unknown"


def median(samples: Sequence[float]) -> float:
    """The middle one of the samples, the upper of two."""
    return sorted(samples)[len(samples) // 2]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print a table to stdout; numbers are right-aligned."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        show_table(
            columns, cells, right=[name for name, numeric in zip(columns, right, strict=True) if numeric], title=title
        )
        sys.stdout.write("".join(f"{note}\n" for note in notes))
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    out = [title]
    for line in [list(columns), *cells]:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        out.append("  ".join(parts).rstrip())
    sys.stdout.write("\n".join([*out, *notes]) + "\n")


def show_json(result: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
