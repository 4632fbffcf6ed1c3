"""Single fields out of many heads, without parsing JSON.

A head is one compact JSON object, checked when it entered (see `clet.batch`), and of its ten to fifteen fields the
packer needs four or five. `find` walks over the bytes once and says where their values are; what is rare (a lane, spans)
is then parsed, what is not (ids, times) is gathered by column. Time: about 1 ns a byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from clet.batch import Ragged
from clet.kernels import njit
from clet.record import format_time, parse_time

_QUOTE, _ESCAPE, _COMMA = ord('"'), ord("\\"), ord(",")
_OPEN, _CLOSE = (ord("{"), ord("[")), (ord("}"), ord("]"))
TIME_CHARS = 20  # 2026-01-31T08:00:00Z
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


class Heads:
    """The fields `names` of heads: `starts[i, k]` to `ends[i, k]` is the value of names[k] in head i, as JSON.

    Both are 0 where it is missing.
    """

    def __init__(self, column: Ragged, names: tuple[str, ...]):
        self._values, self._names = column.values, names
        keys = [np.frombuffer(f'"{name}":'.encode(), np.uint8) for name in names]
        offsets = np.cumsum([0] + [len(key) for key in keys])
        values = column.values.view()
        values.flags.writeable = False
        self.starts, self.ends = _find(values, column.offsets, np.concatenate(keys), offsets)

    def has(self, name: str) -> np.ndarray:
        """`[n]` bool: which heads have the field."""
        return self.ends[:, self._names.index(name)] > 0

    def value(self, row: int, name: str) -> Any:
        """The field of one head, parsed; None where it is missing."""
        field = self._names.index(name)
        body = self._values[self.starts[row, field] : self.ends[row, field]].tobytes()
        return orjson.loads(body) if body else None

    def ids(self) -> np.ndarray:
        """`[n, 16]` uint8: the ids, 32 hex digits in quotes each."""
        first = self.starts[:, self._names.index("id")] + 1
        digits = _HEX[self._values[first[:, None] + np.arange(32)]]
        return digits[:, ::2] << 4 | digits[:, 1::2]

    def latest(self, rows: np.ndarray, name: str, known: str | None) -> str | None:
        """The latest of `known` and the times of some heads (RFC 3339); what is no time does not count."""
        field = self._names.index(name)
        starts, sizes = self.starts[rows, field], self.ends[rows, field] - self.starts[rows, field]
        usual = starts[sizes == TIME_CHARS + 2] + 1
        texts = self._values[usual[:, None] + np.arange(TIME_CHARS)]
        plain = (texts[:, 10] == ord("T")) & (texts[:, -1] == ord("Z"))
        best = max(texts[plain].reshape(-1).view(f"S{TIME_CHARS}").tolist(), default=b"").decode("latin-1") or None
        if best is not None and _moment(best) != best:  # in that form, and no time: look at all of them
            plain[:] = False
            best = None
        others = (sizes > 2) & (sizes != TIME_CHARS + 2)
        rest = [(start, start + size) for start, size in zip(starts[others], sizes[others], strict=True)]
        rest += [(start - 1, start + TIME_CHARS + 1) for start in usual[~plain]]
        moments = [_moment(orjson.loads(self._values[start:end].tobytes())) for start, end in rest]
        return max(filter(None, (known, best, *moments)), default=None)


def _moment(text: Any) -> str | None:
    """A time in the one form whose texts sort as times do; None for what is no time."""
    try:
        return format_time(parse_time(text)) if isinstance(text, str) else None
    except ValueError:
        return None


@njit
def _find(values, offsets, keys, key_offsets):
    """Starts and ends `[n, k]` of the values of keys (with quotes and colon) in compact JSON objects."""
    size, fields = len(offsets) - 1, len(key_offsets) - 1
    starts = np.zeros((size, fields), np.int64)
    ends = np.zeros((size, fields), np.int64)
    for row in range(size):
        at, end = offsets[row] + 1, offsets[row + 1] - 1  # inside the braces
        while at < end:
            start = _after_string(values, at) + 1
            stop = _after_value(values, start, end)
            for field in range(fields):
                first = key_offsets[field]
                same = start - at == key_offsets[field + 1] - first
                for i in range(start - at if same else 0):
                    if values[at + i] != keys[first + i]:
                        same = False
                        break
                if same:
                    starts[row, field], ends[row, field] = start, stop
            at = stop + 1
    return starts, ends


@njit
def _after_string(values, at):
    """The byte behind a string that begins at `at`."""
    at += 1
    while values[at] != _QUOTE:
        at += 2 if values[at] == _ESCAPE else 1
    return at + 1


@njit
def _after_value(values, at, end):
    """The byte behind a value that begins at `at`, at most `end`."""
    depth = 0
    while at < end:
        byte = values[at]
        if byte == _QUOTE:
            at = _after_string(values, at)
            continue
        if byte == _COMMA and depth == 0:
            break
        if byte in _OPEN:
            depth += 1
        elif byte in _CLOSE:
            depth -= 1
        at += 1
    return at
