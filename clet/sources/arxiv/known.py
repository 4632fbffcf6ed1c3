"""What came out of a source before: the name of a document -> the id of its last record, in bounded memory.

Two generations of names. A name that is met goes into the young one; when that is full it becomes the old one, and the
old one is forgotten. So the last GENERATION names are always known and never more than twice as many: 54 bytes each in
the cursor (0.9 to 1.8 MB when full), about 250 in memory. A document that was forgotten comes out again with the same
id if its text is the same, and without `meta.supersedes` if it was edited.
"""

from __future__ import annotations

import hashlib
from typing import Any

GENERATION = 16_384  # a week of what changes on arXiv; four times what one page of an OAI-PMH list holds
DELETED = ""


class Known:
    """Kept in `cursor["known"]`, as JSON can carry it."""

    def __init__(self, cursor: dict[str, Any]):
        self._generations: list[dict[str, str]] = cursor.setdefault("known", [{}, {}])

    def get(self, name: str) -> str | None:
        """The id of the last record of that name; DELETED; None where it is not known."""
        young, old = self._generations
        key = _key(name)
        ident = young.get(key)
        if ident is None and (ident := old.get(key)) is not None:
            self._put(key, ident)
        return ident

    def put(self, name: str, ident: str) -> None:
        """From now on the record of that name is `ident`."""
        self._put(_key(name), ident)

    def _put(self, key: str, ident: str) -> None:
        young = self._generations[0]
        young[key] = ident
        if len(young) >= GENERATION:
            self._generations[:] = [{}, young]


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:16]
