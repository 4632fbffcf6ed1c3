"""Look-alikes: documents made from one template, cheaply: MinHash keys of their token triples.

Token triples are divided into KEYS classes by hash, and the least hash of each class is a key. Two documents whose
sets of triples have Jaccard similarity J share each key with probability J, so they share at least SHARED of 4 with
probability 4 J^3 - 3 J^4: 0.95 at J = 0.9, 0.82 at 0.8, 0.31 at 0.5, 0.03 at 0.2, which is what two reports of one
publisher have in common through its boilerplate. This catches families of poison that `clet dedup` passes as
different documents; copies nearer than its threshold are clusters of its own (`dedup.cluster`).

Cost: one comparison a token on hashes that exist already; 32 bytes a document.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit

KEYS = 4
SHARED = 3
MIN_TRIPLES = 16  # below, keys say little: every short notice is like every other

_U = np.uint64
_NONE = _U(0xFFFFFFFFFFFFFFFF)
_CLASS = _U(KEYS - 1)


@njit
def family_keys(triples, size, out):
    """The keys of a document into `out` [KEYS] uint64; 0 for a class without triples or a short document."""
    out[:] = _NONE
    for i in range(2, size):
        h = triples[i]
        k = np.int64(h & _CLASS)
        if h < out[k]:
            out[k] = h
    for k in range(KEYS):
        if out[k] == _NONE or size - 2 < MIN_TRIPLES:
            out[k] = _U(0)
