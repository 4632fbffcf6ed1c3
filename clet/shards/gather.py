"""Copying windows together: one pass, faster than numpy's fancy indexing, which needs a second one to scatter."""

from __future__ import annotations

import numpy as np

from clet.kernels import njit


@njit
def copy_windows(items, starts, rows, out):
    """`out[rows[i]]` = the items from `starts[i]` on, as many as a row has; all are in range."""
    for i in range(len(starts)):
        source = items[starts[i] : starts[i] + out.shape[1]]
        target = out[rows[i]]
        for k in range(len(source)):
            target[np.uint64(k)] = source[np.uint64(k)]
