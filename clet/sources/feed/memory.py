"""What came out of a feed before, in little room: the cursor's part that tells new, edited and known entries apart.

For each entry 51 bytes of JSON: a name of 72 bits (made of its guid, else its link, else its title), and in base64 a
print of 72 bits of what the feed said and the id of the record that came of it. Prints of versions that were superseded
are kept beside (15 bytes each), so that a feed which wavers between two texts repeats neither. All entries of the last
poll are remembered, and of those that left the feed the KEEP_GONE that left last; one that comes back later than that
comes out once more, with the same id.

Names and prints are cut hashes: whoever forges a pair of them hides an entry of their own feed, no more.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

from clet.sources.feed.entry import Entry

KEEP_GONE = 512
KEEP_FORMER = 512
_HASH_BYTES = 9
_PRINT_CHARS = 12


class Memory:
    """Kept in `cursor["seen"]` and `cursor["former"]`, in the order in which the feed showed them last."""

    def __init__(self, cursor: dict[str, Any]):
        self._seen: dict[str, str] = cursor.setdefault("seen", {})
        self._former: list[str] = cursor.setdefault("former", [])
        self._holders = {packed[:_PRINT_CHARS]: name for name, packed in self._seen.items()}
        self._without_holder = set(self._former)
        self._ids = {packed[_PRINT_CHARS:] for packed in self._seen.values()}

    def knows(self, name: str, mark: str, shown: Set[str]) -> bool:
        """Whether a text with this print came out before, under this name or another; `shown` are those of the poll."""
        holder = self._holders.get(mark)
        if holder is None:
            return mark in self._without_holder
        if name not in self._seen and holder not in shown:  # the feed names its entries anew
            self._seen[name] = self._seen[holder]
        return True

    def knows_record(self, ident: str) -> bool:
        """Whether a record with this id is the last of some entry."""
        return _packed_id(ident) in self._ids

    def last_record(self, name: str) -> str | None:
        """The id of the last record of an entry; None for a new one."""
        packed = self._seen.get(name)
        return base64.b64decode(packed[_PRINT_CHARS:] + "==").hex() if packed else None

    def keep(self, name: str, mark: str, ident: str) -> None:
        """The record of that id is, or is about to be, yielded for an entry with that print."""
        before = self._seen.get(name)
        if before is not None:
            self.pass_over(before[:_PRINT_CHARS])
        self._seen[name] = mark + _packed_id(ident)
        self._holders[mark] = name
        self._ids.add(_packed_id(ident))

    def pass_over(self, mark: str) -> None:
        """A text with this print is not to come out again, and is no entry's last."""
        if mark not in self._without_holder:
            self._without_holder.add(mark)
            self._former.append(mark)
            del self._former[:-KEEP_FORMER]

    def forget_gone(self, names: Sequence[str]) -> None:
        """A poll that showed these names was read to its end: forget what left the feed long ago."""
        for name in reversed(names):
            if (packed := self._seen.pop(name, None)) is not None:
                self._seen[name] = packed
        shown = len(self._seen.keys() & set(names))
        for name in list(self._seen)[: max(0, len(self._seen) - shown - KEEP_GONE)]:
            del self._seen[name]


def entry_names(entries: Sequence[Entry]) -> list[str]:
    """A short name for each entry: of its guid, link or title; where entries share one, of all that names it."""
    names = [entry.guid or entry.link or entry.title or entry.body for entry in entries]
    shared = Counter(names)
    full = (
        f"{name}\0{entry.link}\0{entry.title}" if shared[name] > 1 else name
        for name, entry in zip(names, entries, strict=True)
    )
    return [cut_hash(name) for name in full]


def cut_hash(text: str) -> str:
    """72 bits of SHA-256 in 12 characters."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:_HASH_BYTES]).decode()


def _packed_id(ident: str) -> str:
    return base64.b64encode(bytes.fromhex(ident)).decode().rstrip("=")
